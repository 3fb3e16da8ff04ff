// Products of many rows on cards that gemm.h is not for (product_tiles.cuh): takes over the product tasks of plans with more rows than the few that product.cuh is for.
#ifndef QN_BACKEND_CUDA_WIDE_H
#define QN_BACKEND_CUDA_WIDE_H
#include "backend/cuda/device.h"

// Bytes that the list's products share for the sums of their parts; 0: none is split.
size_t qn_cuda_wide_bytes(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in);
// *out: the tasks of `in`, those products rewritten; initialised by this. Where memory runs out the list has failed.
void qn_cuda_wide_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                          void *partials, qn_gpu_list *out);

#endif
