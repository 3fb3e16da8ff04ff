// What makes x of the products of many rows the tiles of gemm_tiled.cuh: gemm_rows of rows or of their norms; gemm_norm of norms too, a
// group a row, and adds up the parts of the product before; gemm_merge of an attention's splits.
#ifndef QN_BACKEND_CUDA_GEMM_ROWS_CUH
#define QN_BACKEND_CUDA_GEMM_ROWS_CUH
#include "backend/cuda/gemm_fold.cuh"

FN void qn_gemm_put_eight(char *to, int type, int tile_rows, int padded_k, int row, int k, const float v[8])
{
    uint4 u = make_uint4(qn_gemm_pack(type, v[0], v[1]), qn_gemm_pack(type, v[2], v[3]), qn_gemm_pack(type, v[4], v[5]),
                         qn_gemm_pack(type, v[6], v[7]));
    *(uint4 *)(to + qn_gemm_tiled(tile_rows, padded_k, row, k) * 2) = u;
}

// Eight of the norm's weights, from k on.
FN void qn_gemm_weights(float v[8], const void *norm, int type, int k)
{
    const char *at = (const char *)norm + (ulong)k * (type ? 2 : 4);
    if ((ulong)at % 16) {
#pragma unroll
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
        qn_gemm_put_eight(to, a.type, a.tile_rows, a.padded_k, row, k, v);
    }
}

// ---- norms, a group a row ----

// Row blockIdx.x, by a group: the results of the product before, where they are not yet in x (b->y[0]), and then its norm as rms_norm has it.
// Where they are gathered it is of the row of output blockIdx.x, and x stays as it is. MOST: as of qn_gemm_quad.
template <int MOST>
FN void qn_gemm_norm_run(const qn_gemm_buffers *b, char *to, const void *norm, const qn_output *outputs, const qn_cuda_gemm_norm_args &a,
                         float4 *row, float *shared_inverse)
{
    const int at_once = 2; // fours of a thread
    int n_rows = a.product.over_outputs ? b->counts->n_outputs : b->counts->n_rows, n_k = a.product.n_n[0];
    int n_results = a.gathers ? b->counts->n_outputs : n_rows, r = blockIdx.x, from_row = a.gathers && r < n_results ? outputs[r].row : r;
    float4 *x = (float4 *)(b->y[0] + (ulong)from_row * (ulong)n_k);
    float w[QN_CUDA_NORM_WIDTH / (QN_CUDA_NORM_THREADS * 8)][8];
    qn_gemm_plan p;
    PROFILE_GRAPH();
    qn_grid_go_on();
#pragma unroll
    for (int i = 0; i < QN_CUDA_NORM_WIDTH / (QN_CUDA_NORM_THREADS * 8); i++)
        if ((i * QN_CUDA_NORM_THREADS + threadIdx.x) * 8 < n_k) qn_gemm_weights(w[i], norm, a.norm_type, (i * QN_CUDA_NORM_THREADS + threadIdx.x) * 8);
    p.split = 0;
    if (a.folds) qn_gemm_make_plan(&p, a.product, n_rows, a.product.tile_rows, a.product.cluster, a.product.n_clusters);
    qn_grid_wait();
    if (r >= n_results) return;
    for (int from = threadIdx.x; from < n_k / 4; from += at_once * QN_CUDA_NORM_THREADS) {
        qn_gemm_quad<MOST> quad[at_once];
#pragma unroll
        for (int i = 0; i < at_once; i++)
            if (from + i * QN_CUDA_NORM_THREADS < n_k / 4)
                qn_gemm_ask_results4(quad + i, b, a.product, &p, 0, from_row, (from + i * QN_CUDA_NORM_THREADS) * 4);
#pragma unroll
        for (int i = 0; i < at_once; i++) {
            int c = from + i * QN_CUDA_NORM_THREADS;
            if (c >= n_k / 4) break;
            float4 v = qn_gemm_results4(quad + i, a.product, &p, 0, p.split ? qn_gemm_bias4(b, a.product, 0, c * 4) : float4());
            row[c] = v;
            if (p.split && !a.gathers) x[c] = v;
        }
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        float inverse = qn_shared_row_inverse((const float *)row, n_k, a.eps);
        if (threadIdx.x == 0) *shared_inverse = inverse;
    }
    __syncthreads();
    float inverse = *shared_inverse;
#pragma unroll
    for (int i = 0; i < QN_CUDA_NORM_WIDTH / (QN_CUDA_NORM_THREADS * 8); i++) {
        int k = (i * QN_CUDA_NORM_THREADS + threadIdx.x) * 8;
        float v[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        if (k >= a.padded_k) break;
        if (k < n_k) {
            qn_gemm_put(v, row[k / 4]);
            qn_gemm_put(v + 4, row[k / 4 + 1]);
#pragma unroll
            for (int j = 0; j < 8; j++)
                v[j] = w[i][j] * (v[j] * inverse);
        }
        qn_gemm_put_eight(to, a.type, a.tile_rows, a.padded_k, r, k, v);
    }
}

// ---- an attention's splits ----

// Two neighbours of a head, joined of the splits that there are, in the order of qn_merged: those of a short context are all loaded at once.
// from: of the first split; to_end: how far it is from there to its max and sum.
FN float2 qn_gemm_merged(const float *from, int to_end, const qn_gpu_attention_args &a, int first, int last)
{
    enum { AT_ONCE = 4 };
    float2 o = make_float2(0.0f, 0.0f);
    float m = 0.0f, l = 0.0f;
#pragma unroll 1
    for (int z = 0; z < a.n_splits && z <= last; z += AT_ONCE) {
        float2 v[AT_ONCE], ml[AT_ONCE]; // a sum of 0: not there
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            bool there = z + u < a.n_splits && qn_first_piece(z + u, a.n_splits, first) <= last;
            const float *part = from + (z + u) * (a.head_dim + 2);
            v[u] = there ? *(const float2 *)part : make_float2(0, 0);
            ml[u] = there ? *(const float2 *)(part + to_end) : make_float2(0, 0);
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            float m_before = m, l_before = l;
            if (ml[u].y == 0.0f) continue;
            qn_merge(&o.x, &m, &l, v[u].x, ml[u].x, ml[u].y);
            qn_merge(&o.y, &m_before, &l_before, v[u].y, ml[u].x, ml[u].y);
        }
    }
    return make_float2(o.x / l, o.y / l);
}

// Two numbers a thread, of row blockIdx.y.
FN void qn_gemm_merge_run(char *to, const float *partials, const qn_step_counts *counts, const qn_row *rows, const qn_gpu_attention_args &a)
{
    int r = blockIdx.y, k = ((int)blockIdx.x * QN_GPU_THREADS + (int)threadIdx.x) * 2, width = a.n_heads * a.head_dim;
    bool there = r < counts->n_rows && k < width;
    int position = there ? rows[r].position : 0, first = qn_first_seen(position, a.window) / a.piece, last = position / a.piece;
    int head = k / a.head_dim, d = k - head * a.head_dim;
    const float *from = partials + ((ulong)r * (ulong)a.n_heads + (ulong)head) * (ulong)a.n_splits * (ulong)(a.head_dim + 2) + (ulong)d;
    qn_grid_go_on();
    qn_grid_wait();
    if (!there) return;
    float2 v = qn_gemm_merged(from, a.head_dim - d, a, first, last);
    *(uint *)(to + qn_gemm_tiled(a.tile_rows, width, r, k) * 2) = qn_gemm_pack(a.tile_type, v.x, v.y);
}

#endif
