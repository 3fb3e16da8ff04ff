// What tasks of a list touch.
#ifndef QN_BACKEND_CUDA_ACCESSES_H
#define QN_BACKEND_CUDA_ACCESSES_H

#include "backend/gpu/task.h"

// 1 where a task of the list from number `i` on reads of the bytes before one has written them all.
int qn_cuda_read_later(const qn_gpu_list *l, int i, const qn_access *bytes);

#endif
