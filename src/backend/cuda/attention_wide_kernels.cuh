// The entries of attention_wide.cuh: flash_wide_<type>_<head dim>. Empty but on sm_90a.
#ifndef QN_BACKEND_CUDA_ATTENTION_WIDE_KERNELS_CUH
#define QN_BACKEND_CUDA_ATTENTION_WIDE_KERNELS_CUH
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#include "backend/cuda/attention_wide.cuh"
#define QN_WIDE_ON(...) __VA_ARGS__
#else
#define QN_WIDE_ON(...)
#endif

#define QN_WIDE_KERNEL(name, type, dim, groups, keep)                                                                              \
    extern "C" __global__ void __launch_bounds__(128 * (groups) + 128, 1)                                                          \
        name(float *y, const float *q, const void *k, const void *v, const qn_step_counts *counts, const qn_row *rows,             \
             const int *table, const __grid_constant__ qn_gpu_attention_args a)                                                    \
    {                                                                                                                              \
        QN_WIDE_ON(extern __shared__ __align__(128) char room[];                                                                   \
                   qn_wide_buffers b = {y, q, k, v, rows, table, counts->n_rows};                                                  \
                   qn_wide_run<type, dim, groups, keep>(&b, a, room);)                                                             \
    }
#define QN_WIDE_KERNELS(dim)                                                                                                       \
    QN_WIDE_KERNEL(flash_wide_f16_##dim, 1, dim, QN_WIDE_GROUPS, 0) QN_WIDE_KERNEL(flash_wide_bf16_##dim, 2, dim, QN_WIDE_GROUPS, 0)
QN_WIDE_KERNELS(64)
QN_WIDE_KERNELS(128)

#endif
