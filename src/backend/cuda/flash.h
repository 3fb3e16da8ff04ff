// Attention in CUDA's own form (attention.cuh): takes over the dialect's tasks of a list where the matrix units can have them.
#ifndef QN_BACKEND_CUDA_FLASH_H
#define QN_BACKEND_CUDA_FLASH_H
#include "backend/cuda/device.h"
#include "backend/gpu/task.h"

// *out: the tasks of `in`, those of attention rewritten; initialised by this. Where memory runs out the list has failed.
void qn_cuda_flash_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                           qn_gpu_list *out);
// 1 where all of the plan's attention is of such a form.
int qn_cuda_flash_all(const qn_plan *plan);
// Bytes of shared memory that a group of a task's kernel needs; 0 where it is not one of these.
int qn_cuda_flash_shared(int kernel);
// Threads of a group of such a kernel, where they are not as many as in the dialect's; else 0.
int qn_cuda_flash_threads(int kernel);

#endif
