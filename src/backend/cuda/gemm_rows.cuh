// Rows of x as the products of many rows read them: 16-bit, in tiles of n rows; of a tile, slabs of 64 along K; of a slab, a line of
// 128 bytes a row, whose eight pieces of 16 bytes are swapped by the row's number: piece i lies at i ^ row % 8. K is padded with 0.
// Also gemm_fold: the sums of parts that groups did on their own.
#ifndef QN_BACKEND_CUDA_GEMM_ROWS_CUH
#define QN_BACKEND_CUDA_GEMM_ROWS_CUH
#include "backend/cuda/gemm.cuh"

// Eight of the norm's weights, from k on.
FN void qn_gemm_weights(float v[8], const void *norm, int type, int k)
{
    const char *at = (const char *)norm + (ulong)k * (type ? 2 : 4);
    if ((ulong)at % 16) {
        for (int i = 0; i < 8; i++)
            v[i] = qn_load(norm, type, (ulong)(k + i));
        return;
    }
    float4 low, high;
    if (!type)
        low = ((const float4 *)at)[0], high = ((const float4 *)at)[1];
    else if (type == 1)
        qn_f16x8(*(const uint4 *)at, &low, &high);
    else
        qn_bf16x8(*(const uint4 *)at, &low, &high);
    qn_gemm_put(v, low);
    qn_gemm_put(v + 4, high);
}

// Eight numbers of a row, or of its norm as rms_norm has it, from k on.
FN void qn_gemm_eight(float v[8], const qn_cuda_gemm_rows_args &a, const float *x, const void *norm, int k, float inverse)
{
    if (a.n_k % 4 || k + 8 > a.n_k) {
        for (int i = 0; i < 8; i++) {
            v[i] = k + i < a.n_k ? __ldcg(x + k + i) : 0.0f;
            if (a.norm && k + i < a.n_k) v[i] = qn_load(norm, a.norm_type, (ulong)(k + i)) * (v[i] * inverse);
        }
        return;
    }
    float w[8];
    qn_gemm_put(v, __ldcg((const float4 *)(x + k)));
    qn_gemm_put(v + 4, __ldcg((const float4 *)(x + k + 4)));
    if (!a.norm) return;
    qn_gemm_weights(w, norm, a.norm_type, k);
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = w[i] * (v[i] * inverse);
}

// A warp has a row, and of it every n-th 256 numbers.
FN void qn_gemm_rows_run(char *to, const float *x, const void *norm, const qn_step_counts *counts, const qn_cuda_gemm_rows_args &a,
                         int3 at, int n_pieces)
{
    qn_grid_go_on();
    qn_grid_wait();
    int n_rows = a.over_outputs ? counts->n_outputs : counts->n_rows, lane = threadIdx.x & 31;
    int row = at.y * QN_GPU_SIMDS + (int)(threadIdx.x >> 5);
    if (row >= n_rows) return;
    const float *from = x + (ulong)row * (ulong)a.n_k;
    float inverse = 0.0f;
    if (a.norm && a.n_k % 4)
        inverse = qn_inverse(SG_SUM(qn_squares(from, a.n_k, lane)), a.n_k, a.eps);
    else if (a.norm)
        inverse = qn_row_inverse(from, a.n_k, a.eps);
#pragma unroll 2
    for (int k = (at.x * 32 + lane) * 8; k < a.padded_k; k += n_pieces * 256) {
        float v[8];
        qn_gemm_eight(v, a, from, norm, k, inverse);
        uint4 u = make_uint4(qn_gemm_pack(a.type, v[0], v[1]), qn_gemm_pack(a.type, v[2], v[3]), qn_gemm_pack(a.type, v[4], v[5]),
                             qn_gemm_pack(a.type, v[6], v[7]));
        *(uint4 *)(to + qn_gemm_tiled(a.tile_rows, a.padded_k, row, k) * 2) = u;
    }
}

// ---- the sums of parts ----

// Columns c … c + 3 of row r: the units' sums, added in order.
FN float4 qn_gemm_fold4(const qn_gemm_plan *p, const float *partials, int n_columns, int r, int c)
{
    const float *at = partials + (ulong)r * (ulong)n_columns + (ulong)c;
    ulong unit = (ulong)p->n_rows * (ulong)n_columns;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float4 v[QN_CUDA_SECTIONS];
#pragma unroll
    for (int i = 0; i < QN_CUDA_SECTIONS; i++)
        if (i < p->n_units) v[i] = __ldcg((const float4 *)(at + (ulong)i * unit));
#pragma unroll
    for (int i = 0; i < QN_CUDA_SECTIONS; i++)
        if (i == 0)
            sum = v[0];
        else if (i < p->n_units)
            sum = make_float4(sum.x + v[i].x, sum.y + v[i].y, sum.z + v[i].z, sum.w + v[i].w);
    return sum;
}

FN void qn_gemm_fold_plain(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, float4 sum, int r, int c)
{
    int strip = c / 16, m = qn_gemm_matrix(a, &strip);
    float v[4] = {sum.x, sum.y, sum.z, sum.w};
    for (int i = 0; i < 4; i++) {
        int n = strip * 16 + c % 16 + i;
        if (n >= a.n_n[m]) return;
        float s = v[i];
        if (a.bias[m] >= 0) s += qn_load(qn_gemm_pick(b->bias, m), a.bias[m], (ulong)n);
        float *y = qn_gemm_pick(b->y, m) + (ulong)r * (ulong)a.n_n[m] + (ulong)n;
        *y = a.accumulate ? s + __ldcg(y) : s;
    }
}

FN void qn_gemm_fold_gated(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, float4 gate, float4 up, int r, int c)
{
    float v[4] = {qn_silu(gate.x) * up.x, qn_silu(gate.y) * up.y, qn_silu(gate.z) * up.z, qn_silu(gate.w) * up.w};
    uint2 u = make_uint2(qn_gemm_pack(a.type, v[0], v[1]), qn_gemm_pack(a.type, v[2], v[3]));
    *(uint2 *)((ushort *)b->y[0] + qn_gemm_tiled(a.tile_rows, a.n_n[0], r, c)) = u;
}

// Group `at` of a grid of: columns (gated: of gate) by 1,024, n-th rows of x.
FN void qn_gemm_fold_run(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, int3 at, int n_groups)
{
    qn_grid_go_on();
    qn_grid_wait();
    int n_rows = a.over_outputs ? b->counts->n_outputs : b->counts->n_rows;
    int n_gate = qn_gemm_all_strips(a) * 16, c = (at.x * QN_GPU_THREADS + (int)threadIdx.x) * 4;
    qn_gemm_plan p;
    qn_gemm_make_plan(&p, a, n_rows, a.tile_rows, a.cluster, a.n_clusters);
    if (!p.split || c >= n_gate) return;
    for (int r = at.y; r < n_rows; r += n_groups)
        if (!a.gated)
            qn_gemm_fold_plain(b, a, qn_gemm_fold4(&p, b->partials, n_gate, r, c), r, c);
        else
            qn_gemm_fold_gated(b, a, qn_gemm_fold4(&p, b->partials, 2 * n_gate, r, c),
                               qn_gemm_fold4(&p, b->partials, 2 * n_gate, r, n_gate + c), r, c);
}

#endif
