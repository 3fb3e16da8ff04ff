// Products with F16 and BF16 weights in simdgroup matrices, in place of the dialect's: matrix_few_… for up to 8 rows (a row alone
// too), matrix_tiles_… for many, and the fused forms of one row. Same buffers and argument structs as the dialect's kernels.
//
// Order of a sum, for one row as for thousands: K in slices of qn_slice(K) numbers; a slice is a chain of 8x8x8 products with
// float32 accumulators from 0: of each 32 numbers, product i = 0 … 3 takes those at 4 p + i, p = 0 … 7; slices are added
// ascending in float32; then + bias, then + y. Weights are widened to float32 (no bfloat: that is MSL 3.1's), x is not rounded.
// What the unit does within a product is its own affair: each row goes through the same ones.
//
// Lane l of a simdgroup holds elements (place.y, place.x) and (place.y, place.x + 1) of a matrix. The left one is the weights':
// rows of w down, so that a lane has eight numbers of one row of w in a load; the right one has rows of x across.
#ifndef QN_BACKEND_METAL_KERNELS_MATRIX_H
#define QN_BACKEND_METAL_KERNELS_MATRIX_H
#include "backend/gpu/kernels/attention.h"

#define QN_MM_STEP 32 // numbers of K at once
#define QN_MM_FEW 8   // rows of x of matrix_few_…
#define QN_MM_WIDE 16 // rows of w of a group of the others
#define QN_MM_TILE 64 // rows of w, and of x, of a group of matrix_tiles_…
#define QN_MM_X_LINE                                                                               \
    36 // floats of a row of the tile of x in threadgroup memory; the last 4 keep rows off each other's banks
#define QN_MM_W_LINE 5 // uint4 of a row of the tile of w, the last likewise

// K of a slice: an eighth, in whole 64s.
FN int qn_slice(int n_k)
{
    return (n_k + 511) / 512 * 64;
}
FN int2 qn_place(int lane)
{
    return int2((lane >> 3 & 1) * 4 + (lane & 1) * 2, (lane >> 4) * 4 + (lane >> 1 & 3));
}
FN void qn_mm_clear(thread simdgroup_float8x8 &m)
{
    m.thread_elements()[0] = 0.0f;
    m.thread_elements()[1] = 0.0f;
}
FN void qn_mm_one(thread simdgroup_float8x8 &sum, float w0, float w1, float x0, float x1)
{
    simdgroup_float8x8 w, x;
    w.thread_elements()[0] = w0;
    w.thread_elements()[1] = w1;
    x.thread_elements()[0] = x0;
    x.thread_elements()[1] = x1;
    simdgroup_multiply_accumulate(sum, w, x, sum);
}
// 32 numbers of K: wa, wb are this lane's eight of its row of w, x0 and x1 its four of its two rows of x.
FN void qn_mm_step(thread simdgroup_float8x8 &sum, float4 wa, float4 wb, float4 x0, float4 x1)
{
    qn_mm_one(sum, wa.x, wb.x, x0.x, x1.x);
    qn_mm_one(sum, wa.y, wb.y, x0.y, x1.y);
    qn_mm_one(sum, wa.z, wb.z, x0.z, x1.z);
    qn_mm_one(sum, wa.w, wb.w, x0.w, x1.w);
}
FN void qn_mm_add(thread simdgroup_float8x8 &to, thread simdgroup_float8x8 &from)
{
    to.thread_elements()[0] = to.thread_elements()[0] + from.thread_elements()[0];
    to.thread_elements()[1] = to.thread_elements()[1] + from.thread_elements()[1];
}
FN int qn_clamped(int n, int n_n)
{
    return n < n_n ? n : n_n - 1;
}
FN float4 qn_zero4()
{
    return F4(0.0f, 0.0f, 0.0f, 0.0f);
}
// This lane's eight of row n of w, from k on; zeros behind the end of the row.
FN uint4 qn_mm_fetch(GLOBAL const void *w, int n, int k, int n_k, int aligned)
{
    if (k >= n_k) return U4(0, 0, 0, 0);
    return qn_load16(w, ((ulong)n * (ulong)n_k + (ulong)k) * 2, aligned);
}
// The slices of output i added, of `width` outputs a simdgroup.
FN float qn_mm_join(LOCAL const float *parts, int i, int width, int n_k)
{
    int n = (n_k + qn_slice(n_k) - 1) / qn_slice(n_k);
    float sum = parts[i];
    for (int s = 1; s < n; s++)
        sum += parts[s * width + i];
    return sum;
}
// Of one row of x: the first column of the product's, by the lanes that have it.
FN void qn_mm_put(LOCAL float *parts, thread simdgroup_float8x8 &sum, int2 place)
{
    if (place.x == 0) parts[place.y] = sum.thread_elements()[0];
}

#define FORMAT f16
#include "backend/metal/kernels/matrix_body.h"
#undef FORMAT
#define FORMAT bf16
#include "backend/metal/kernels/matrix_body.h"
#undef FORMAT

#endif
