// The entries of attention_wide.cuh: flash_wide_<type>_<head dim>. Empty but on sm_90a.
#ifndef QN_BACKEND_CUDA_ATTENTION_WIDE_KERNELS_CUH
#define QN_BACKEND_CUDA_ATTENTION_WIDE_KERNELS_CUH
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#include "backend/cuda/attention_wide.cuh"
#define QN_WIDE_ON(...) __VA_ARGS__
#else
#define QN_WIDE_ON(...)
#endif

#define QN_WIDE_KERNEL(name, type, dim, blocks)                                                                                    \
    extern "C" __global__ void __launch_bounds__(QN_CUDA_WIDE_THREADS, 1)                                                          \
        name(float *y, const float *q, const void *k, const void *v, const qn_step_counts *counts, const qn_row *rows,             \
             const int *table, const __grid_constant__ qn_gpu_attention_args a)                                                    \
    {                                                                                                                              \
        QN_WIDE_ON(extern __shared__ __align__(128) char room[];                                                                   \
                   qn_grid_go_on();                                                                                                \
                   qn_grid_wait();                                                                                                 \
                   qn_wide_buffers b = {y, q, k, v, rows, table, counts->n_rows};                                                  \
                   qn_wide_run<type, dim, blocks>(&b, a, room);)                                                                   \
    }
QN_WIDE_KERNEL(flash_wide_f16_64, 1, 64, false)
QN_WIDE_KERNEL(flash_wide_f16_128, 1, 128, false)
QN_WIDE_KERNEL(flash_wide_bf16_64, 2, 64, false)
QN_WIDE_KERNEL(flash_wide_bf16_128, 2, 128, false)
QN_WIDE_KERNEL(flash_wide_q8_0_64, 1, 64, true)
QN_WIDE_KERNEL(flash_wide_q8_0_128, 1, 128, true)
QN_WIDE_ON(static_assert(qn_wide_form<64>::n_bytes <= QN_CUDA_WIDE_SHARED_64, "args.h");
           static_assert(qn_wide_form<128>::n_bytes <= QN_CUDA_WIDE_SHARED_128, "args.h");
           static_assert(qn_wide_form<64, true>::n_bytes <= QN_CUDA_WIDE_SHARED_64, "args.h");
           static_assert(qn_wide_form<128, true>::n_bytes <= QN_CUDA_WIDE_SHARED_128, "args.h");)

#endif
