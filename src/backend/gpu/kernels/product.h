// Products of few rows, y = x · wᵀ, over the formats of the weights: product_body.h once a plain type, with that type's load of
// eight numbers; formats in blocks have the products alone, over the loads of blocks.h.
// Order of a sum, whatever the rows, groups and fusions: lane l takes the eights 8(l + 32 j), j ascending, by fused
// multiply-add; then simd_sum; then + bias, then + y.
#ifndef QN_BACKEND_GPU_KERNELS_PRODUCT_H
#define QN_BACKEND_GPU_KERNELS_PRODUCT_H
#include "backend/gpu/kernels/elements.h"
#include "backend/gpu/kernels/norm.h"

// 16 bytes at an address that is a multiple of 16, or of 8 (weights lie in the file's mapping as they are).
FN uint4 qn_load16(GLOBAL const void *p, ulong byte, int aligned)
{
    GLOBAL const uchar *at = (GLOBAL const uchar *)p + byte;
    if (aligned) return *(GLOBAL const uint4 *)at;
    uint2 low = *(GLOBAL const uint2 *)at, high = *(GLOBAL const uint2 *)(at + 8);
    return U4(low.x, low.y, high.x, high.y);
}
FN float4 qn_as_float4(uint4 u)
{
    return F4(AS_FLOAT(u.x), AS_FLOAT(u.y), AS_FLOAT(u.z), AS_FLOAT(u.w));
}
FN void qn_load8_f32(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    *a = qn_as_float4(qn_load16(p, i * 4, aligned));
    *b = qn_as_float4(qn_load16(p, i * 4 + 16, aligned));
}
FN void qn_load8_f16(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    qn_f16x8(qn_load16(p, i * 2, aligned), a, b);
}
FN void qn_load8_bf16(GLOBAL const void *p, ulong i, int aligned, PRIV float4 *a, PRIV float4 *b)
{
    qn_bf16x8(qn_load16(p, i * 2, aligned), a, b);
}
// Four numbers of a row of activations, which is aligned.
FN float4 qn_row4(GLOBAL const float *x, int k)
{
    return *(GLOBAL const float4 *)(x + k);
}
// What rms_norm would have written at k … k + 3. The norm's weights are of any type.
FN float4 qn_normed4(GLOBAL const float *x, GLOBAL const void *weight, int type, int k,
                     float inverse)
{
    ulong i = (ulong)k;
    float4 v = qn_row4(x, k);
    return F4(qn_load(weight, type, i) * (v.x * inverse),
              qn_load(weight, type, i + 1) * (v.y * inverse),
              qn_load(weight, type, i + 2) * (v.z * inverse),
              qn_load(weight, type, i + 3) * (v.w * inverse));
}

#define QN_JOIN_(a, b) a##b
#define QN_JOIN(a, b) QN_JOIN_(a, b)

// ROWS rows of x and N_A_SIMD rows of w a simdgroup: the more rows of w, the fewer reads of x. HOW: the argument that says how a
// load finds its numbers.
#define MATMUL(NAME, LOAD8, HOW, ROWS, N_A_SIMD)                                                   \
    KERNEL(NAME, BUF(0, float, y), BUF(1, const float, x), BUF(2, const void, w),                  \
           BUF(3, const void, bias), BUF(4, const qn_step_counts, counts),                         \
           ARGS(5, qn_gpu_matmul_args, a))                                                         \
    {                                                                                              \
        int n_rows = a.over_outputs ? counts->n_outputs : counts->n_rows;                          \
        int row0 = TG_Y * ROWS, n0 = (TG_X * QN_GPU_SIMDS + SG) * N_A_SIMD;                        \
        if (row0 >= n_rows || n0 >= a.n_n) return;                                                 \
        float sum[ROWS * N_A_SIMD];                                                                \
        for (int i = 0; i < ROWS * N_A_SIMD; i++)                                                  \
            sum[i] = 0.0f;                                                                         \
        for (int k = 8 * LANE; k < a.n_k; k += 256) {                                              \
            float4 wa[N_A_SIMD], wb[N_A_SIMD];                                                     \
            for (int j = 0; j < N_A_SIMD; j++) {                                                   \
                int n = n0 + j < a.n_n ? n0 + j : a.n_n - 1;                                       \
                LOAD8(w, (ulong)n *(ulong)a.n_k + (ulong)k, a.HOW, &wa[j], &wb[j]);                \
            }                                                                                      \
            for (int r = 0; r < ROWS; r++) {                                                       \
                int row = row0 + r < n_rows ? row0 + r : n_rows - 1;                               \
                GLOBAL const float *from = x + (ulong)row * (ulong)a.n_k;                          \
                float4 xa = qn_row4(from, k), xb = qn_row4(from, k + 4);                           \
                for (int j = 0; j < N_A_SIMD; j++) {                                               \
                    float s = qn_dot4(xa, wa[j], sum[r * N_A_SIMD + j]);                           \
                    sum[r * N_A_SIMD + j] = qn_dot4(xb, wb[j], s);                                 \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < ROWS; r++)                                                             \
            for (int j = 0; j < N_A_SIMD; j++) {                                                   \
                float s = SG_SUM(sum[r * N_A_SIMD + j]);                                           \
                if (LANE != 0 || row0 + r >= n_rows || n0 + j >= a.n_n) continue;                  \
                ulong at = (ulong)(row0 + r) * (ulong)a.n_n + (ulong)(n0 + j);                     \
                if (a.bias_type >= 0) s += qn_load(bias, a.bias_type, (ulong)(n0 + j));            \
                y[at] = a.accumulate ? s + y[at] : s;                                              \
            }                                                                                      \
    }

#define FORMAT f32
#include "backend/gpu/kernels/product_body.h"
#undef FORMAT
#define FORMAT f16
#include "backend/gpu/kernels/product_body.h"
#undef FORMAT
#define FORMAT bf16
#include "backend/gpu/kernels/product_body.h"
#undef FORMAT

// Weights in blocks: rows of whole eights, and two of w a simdgroup.
#define BLOCKS(VALUE, FORMAT)                                                                      \
    MATMUL(matmul_##FORMAT##_1x2, qn_load8_##FORMAT, aligned, 1, 2)                                \
    MATMUL(matmul_##FORMAT##_4x2, qn_load8_##FORMAT, aligned, 4, 2)
QN_GPU_BLOCK_FORMATS(BLOCKS)
#undef BLOCKS
#define BLOCKS(VALUE, BITS)                                                                        \
    MATMUL(matmul_affine##BITS##_1x2, qn_load8_affine##BITS, w_type, 1, 2)                         \
    MATMUL(matmul_affine##BITS##_4x2, qn_load8_affine##BITS, w_type, 4, 2)
QN_GPU_AFFINE_FORMATS(BLOCKS)
#undef BLOCKS
#undef MATMUL

// Any K and any alignment of an element: a lane takes the elements l + 32 j.
KERNEL(matmul_any, BUF(0, float, y), BUF(1, const float, x), BUF(2, const void, w),
       BUF(3, const void, bias), BUF(4, const qn_step_counts, counts),
       ARGS(5, qn_gpu_matmul_args, a))
{
    int row = TG_Y, n = TG_X * QN_GPU_SIMDS + SG;
    if (row >= (a.over_outputs ? counts->n_outputs : counts->n_rows) || n >= a.n_n) return;
    float sum = 0.0f;
    for (int k = LANE; k < a.n_k; k += 32)
        sum = FMA(x[(ulong)row * (ulong)a.n_k + (ulong)k],
                  qn_load(w, a.w_type, (ulong)n * (ulong)a.n_k + (ulong)k), sum);
    sum = SG_SUM(sum);
    if (LANE != 0) return;
    ulong at = (ulong)row * (ulong)a.n_n + (ulong)n;
    if (a.bias_type >= 0) sum += qn_load(bias, a.bias_type, (ulong)n);
    y[at] = a.accumulate ? sum + y[at] : sum;
}

#endif
