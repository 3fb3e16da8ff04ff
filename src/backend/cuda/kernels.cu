// The CUDA module: the dialect's kernels as entries, and CUDA's own beside them. Compiled with -fmad=false, so that only what is
// written as a fused multiply-add is one.
#define QN_CUDA 1
#include "backend/gpu/kernels/all.h"

#include "backend/cuda/args.h"
#ifdef QN_PROFILE
#include <graph_trace.cuh> // bench/: when each kernel of a graph was there
#endif
#include "backend/cuda/blocks_pack.cuh"
#include "backend/cuda/embed_packed.cuh"
#include "backend/cuda/gemm_kernels.cuh"
#include "backend/cuda/product.cuh"
#include "backend/cuda/product_tiles.cuh"

#include "backend/cuda/attention.cuh"

extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS, 1)
    product(float *y0, float *y1, float *y2, const float *x, const void *norm, const uint4 *w0, const uint4 *w1,
            const uint4 *w2, const void *b0, const void *b1, const void *b2, const qn_step_counts *counts,
            const qn_cuda_product_args a)
{
    extern __shared__ __align__(16) char shared[];
    qn_product_buffers b = {{y0, y1, y2}, x, norm, {w0, w1, w2}, {b0, b1, b2}, counts};
    qn_product_run(&b, a, shared, QN_CUDA_PRODUCT_SHARED, QN_CUDA_PRODUCT_UNITS, blockIdx.y, blockIdx.x, gridDim.x);
}

static_assert(QN_TILES_INVERSES_AT + QN_TILES_MOST * 4 == QN_CUDA_TILES_SHARED, "args.h");
extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS, 1)
    product_tiles(float *y0, float *y1, float *y2, const float *x, const void *norm, const uint4 *w0, const uint4 *w1,
                  const uint4 *w2, const void *b0, const void *b1, const void *b2, const qn_step_counts *counts,
                  float *partials, const qn_cuda_product_args a)
{
    extern __shared__ __align__(16) char shared[];
    qn_product_buffers b = {{y0, y1, y2}, x, norm, {w0, w1, w2}, {b0, b1, b2}, counts};
    qn_tiles_run(&b, a, partials, shared, make_int3(blockIdx.x, blockIdx.y, blockIdx.z));
}

extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS)
    product_fold(float *y0, float *y1, float *y2, const void *b0, const void *b1, const void *b2,
                 const qn_step_counts *counts, const float *partials, const qn_cuda_product_args a)
{
    qn_product_buffers b = {{y0, y1, y2}, NULL, NULL, {}, {b0, b1, b2}, counts};
    qn_fold_run(&b, a, partials, make_int3(blockIdx.x, blockIdx.y, 0));
}

// A lane's 16 bytes a thread. to: strips of 16 rows, K padded; what is beyond the matrix is 0.
extern "C" __global__ void __launch_bounds__(QN_GPU_THREADS)
    pack_weights(const ushort *from, uint4 *to, const qn_cuda_pack_args a)
{
    ulong n_steps = (ulong)a.padded_k / 16, i = (ulong)blockIdx.x * QN_GPU_THREADS + threadIdx.x;
    ulong strip = i / (n_steps * 32);
    if (strip >= (ulong)(a.n_n + 15) / 16) return;
    int lane = (int)(i % 32), step = (int)(i / 32 % n_steps);
    uint u[4];
    for (int j = 0; j < 4; j++) {
        ulong n = strip * 16 + (ulong)((lane >> 2) + (j & 1) * 8);
        int k = step * 16 + (lane & 3) * 2 + (j >> 1) * 8;
        ushort low = 0, high = 0;
        if (n < (ulong)a.n_n && k < a.n_k) low = from[n * (ulong)a.n_k + (ulong)k];
        if (n < (ulong)a.n_n && k + 1 < a.n_k) high = from[n * (ulong)a.n_k + (ulong)k + 1];
        u[j] = (uint)low | (uint)high << 16;
    }
    to[i] = make_uint4(u[0], u[1], u[2], u[3]);
}

// Reads n · 16 bytes with 16 loads in flight a thread: the device's read rate.
extern "C" __global__ void __launch_bounds__(512) read_all(const uint4 *from, uint *sum, ulong n)
{
    uint s = 0;
    ulong stride = (ulong)gridDim.x * 512;
    for (ulong i = (ulong)blockIdx.x * 512 + threadIdx.x; i + 15 * stride < n; i += 16 * stride) {
        uint4 v[16];
#pragma unroll
        for (int j = 0; j < 16; j++)
            v[j] = __ldcs(from + i + j * stride);
#pragma unroll
        for (int j = 0; j < 16; j++)
            s += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (s == 0x9e3779b9u) *sum = s;
}
