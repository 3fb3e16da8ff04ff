// The entries of the products of many rows, gemm_<type, or packed>_<rows of x of a tile; chain: 256, and one part>, and of what stands between them. Empty but on sm_90a.
#ifndef QN_BACKEND_CUDA_GEMM_KERNELS_CUH
#define QN_BACKEND_CUDA_GEMM_KERNELS_CUH
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#include "backend/cuda/gemm_packed.cuh"
#include "backend/cuda/gemm_rows.cuh"
#define QN_GEMM_ON(...) __VA_ARGS__
#define QN_GEMM_CLUSTER(n) __cluster_dims__(n, 1, 1)
#else
#define QN_GEMM_ON(...)
#define QN_GEMM_CLUSTER(n)
#endif

// each: groups a multiprocessor.
#define QN_GEMM_KERNEL(name, run, cluster, each)                                                                                   \
    extern "C" __global__ void QN_GEMM_CLUSTER(cluster) __launch_bounds__(384, each)                                               \
        name(float *y0, float *y1, float *y2, const char *x, const char *w0, const char *w1, const char *w2, const void *b0,       \
             const void *b1, const void *b2, const qn_step_counts *counts, float *partials, char *handed,                          \
             const __grid_constant__ qn_cuda_gemm_args a)                                                                          \
    {                                                                                                                              \
        QN_GEMM_ON(extern __shared__ __align__(16) char shared[];                                                                  \
                   qn_gemm_buffers b = {{y0, y1, y2}, x, {w0, w1, w2}, {b0, b1, b2}, counts, partials, handed};                    \
                   run(&b, a, shared);)                                                                                            \
    }
#define QN_GEMM_KERNELS(n, cluster)                                                                                                \
    QN_GEMM_KERNEL(gemm_f16_##n, (qn_gemm_run<1, n, cluster, 1>), cluster, 1)                                                      \
    QN_GEMM_KERNEL(gemm_bf16_##n, (qn_gemm_run<2, n, cluster, 1>), cluster, 1)
QN_GEMM_KERNELS(16, 1)
QN_GEMM_KERNELS(32, 1)
QN_GEMM_KERNELS(64, 1)
QN_GEMM_KERNELS(128, 2)
QN_GEMM_KERNELS(256, 2)
QN_GEMM_KERNEL(gemm_f16_chain, (qn_gemm_run<1, 256, 2, 0>), 2, 1)
QN_GEMM_KERNEL(gemm_bf16_chain, (qn_gemm_run<2, 256, 2, 0>), 2, 1)
QN_GEMM_KERNEL(gemm_packed_16, qn_gemm_packed_run<16>, 1, QN_CUDA_GEMM_PACKED_GROUPS(16))
QN_GEMM_KERNEL(gemm_packed_32, qn_gemm_packed_run<32>, 1, QN_CUDA_GEMM_PACKED_GROUPS(32))
QN_GEMM_KERNEL(gemm_packed_64, qn_gemm_packed_run<64>, 1, QN_CUDA_GEMM_PACKED_GROUPS(64))
QN_GEMM_ON(
    static_assert(qn_gemm_form<16, 1>::n_bytes <= QN_CUDA_GEMM_SHARED && qn_gemm_form<32, 1>::n_bytes <= QN_CUDA_GEMM_SHARED &&
                      qn_gemm_form<64, 1>::n_bytes <= QN_CUDA_GEMM_SHARED && qn_gemm_form<128, 2>::n_bytes <= QN_CUDA_GEMM_SHARED &&
                      qn_gemm_form<256, 2>::n_bytes <= QN_CUDA_GEMM_SHARED && qn_gemm_form<256, 2, 0>::n_bytes <= QN_CUDA_GEMM_SHARED,
                  "args.h");)

// Grid: pieces of K, rows by 8.
extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS)
    gemm_rows(char *to, const float *x, const void *norm, const qn_step_counts *counts, const qn_cuda_gemm_rows_args a)
{
    QN_GEMM_ON(qn_gemm_rows_run(to, x, norm, counts, a, make_int3(blockIdx.x, blockIdx.y, 0), gridDim.x);)
}

// Grid: rows.
#define QN_GEMM_NORM(name, most)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(QN_CUDA_NORM_THREADS)                                                             \
        name(char *to, float *x, const void *norm, const void *bias, const qn_step_counts *counts, float *partials,                \
             const qn_output *outputs, const __grid_constant__ qn_cuda_gemm_norm_args a)                                           \
    {                                                                                                                              \
        QN_GEMM_ON(__shared__ float4 row[QN_CUDA_NORM_WIDTH / 4]; __shared__ float inverse;                                        \
                   qn_gemm_buffers b = {{x}, NULL, {}, {bias}, counts, partials, NULL};                                            \
                   qn_gemm_norm_run<most>(&b, to, norm, outputs, a, row, &inverse);)                                               \
    }
QN_GEMM_NORM(gemm_norm, QN_CUDA_FEW_PARTS)
QN_GEMM_NORM(gemm_norm_parts, QN_CUDA_MOST_PARTS)

// Grid: pairs of a row's numbers by 256, rows.
extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS)
    gemm_merge(char *to, const float *partials, const qn_step_counts *counts, const qn_row *rows, const qn_gpu_attention_args a)
{
    QN_GEMM_ON(qn_gemm_merge_run(to, partials, counts, rows, a);)
}

// Grid: heads of queries, keys and values by 8, rows.
#define QN_GEMM_ENTER(name, most)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS)                                                                   \
        name(float *q, float *k, float *v, const void *b0, const void *b1, const void *b2, const qn_step_counts *counts,           \
             float *partials, const qn_row *rows, const float *inv_freq, const void *q_norm, const void *k_norm, void *k_cache,    \
             void *v_cache, const int *table, const __grid_constant__ qn_cuda_gemm_enter_args a)                                   \
    {                                                                                                                              \
        QN_GEMM_ON(__shared__ float4 heads[QN_GPU_SIMDS][QN_CUDA_ENTER_DIM / 4]; __shared__ float2 turn[QN_CUDA_ENTER_DIM / 2];    \
                   qn_gemm_buffers b = {{q, k, v}, NULL, {}, {b0, b1, b2}, counts, partials, NULL};                                \
                   qn_gemm_enter_buffers e = {rows, inv_freq, q_norm, k_norm, k_cache, v_cache, table};                            \
                   qn_gemm_enter_run<most>(&b, &e, a, (float *)heads[threadIdx.x >> 5], turn);)                                    \
    }
QN_GEMM_ENTER(gemm_enter, QN_CUDA_FEW_PARTS)
QN_GEMM_ENTER(gemm_enter_parts, QN_CUDA_MOST_PARTS)

extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS)
    gemm_fold(float *y0, float *y1, float *y2, const void *b0, const void *b1, const void *b2, const qn_step_counts *counts,
              const float *partials, const qn_cuda_gemm_args a)
{
    QN_GEMM_ON(qn_gemm_buffers b = {{y0, y1, y2}, NULL, {}, {b0, b1, b2}, counts, (float *)partials, NULL};
               qn_gemm_fold_run(&b, a, make_int3(blockIdx.x, blockIdx.y, 0), gridDim.y);)
}

#endif
