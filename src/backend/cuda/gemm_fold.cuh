// What stands behind a product of many rows whose parts groups did on their own (gemm_schedule.cuh): their sums are added, by gemm_fold or
// by the kernel that reads the results: gemm_norm (gemm_rows.cuh), or gemm_enter, which rotates queries and keys and appends to the cache.
#ifndef QN_BACKEND_CUDA_GEMM_FOLD_CUH
#define QN_BACKEND_CUDA_GEMM_FOLD_CUH
#include "backend/cuda/gemm.cuh"

// Four neighbours of a result: the sums of MOST parts at most, and what they are added to. All are asked for before any is waited for.
template <int MOST> struct qn_gemm_quad {
    float4 part[MOST], before;
};

FN float4 qn_gemm_add4(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
FN float4 qn_gemm_load4(const void *at, int type, ulong i)
{
    return make_float4(qn_load(at, type, i), qn_load(at, type, i + 1), qn_load(at, type, i + 2), qn_load(at, type, i + 3));
}

// Columns c … c + 3 of row r; n_blocks: of all columns.
template <int MOST> FN void qn_gemm_ask4(qn_gemm_quad<MOST> *to, const qn_gemm_plan *p, const float *partials, int n_blocks, int r, int c)
{
    const float *at = partials + qn_gemm_partial(0, n_blocks, p->n_rows, c / QN_GEMM_BLOCK, r) + c % QN_GEMM_BLOCK;
    ulong part = (ulong)n_blocks * (ulong)p->n_rows * QN_GEMM_BLOCK;
#pragma unroll
    for (int i = 0; i < MOST; i++)
        if (i < p->n_parts) to->part[i] = __ldcg((const float4 *)(at + (ulong)i * part));
}
// The parts' sums, added in order.
template <int MOST> FN float4 qn_gemm_sum4(const qn_gemm_quad<MOST> *from, const qn_gemm_plan *p)
{
    float4 sum = from->part[0];
#pragma unroll
    for (int i = 1; i < MOST; i++)
        if (i < p->n_parts) sum = qn_gemm_add4(sum, from->part[i]);
    return sum;
}
FN float4 qn_gemm_fold4(const qn_gemm_plan *p, const float *partials, int n_blocks, int r, int c)
{
    qn_gemm_quad<QN_CUDA_MOST_PARTS> quad;
    qn_gemm_ask4(&quad, p, partials, n_blocks, r, c);
    return qn_gemm_sum4(&quad, p);
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
    int n_gate = qn_gemm_all_strips(a) * 16, n_blocks = qn_gemm_blocks(a), c = (at.x * QN_GPU_THREADS + (int)threadIdx.x) * 4;
    qn_gemm_plan p;
    qn_gemm_make_plan(&p, a, n_rows, a.tile_rows, a.cluster, a.n_clusters);
    if (!p.split || c >= n_gate) return;
    for (int r = at.y; r < n_rows; r += n_groups)
        if (!a.gated)
            qn_gemm_fold_plain(b, a, qn_gemm_fold4(&p, b->partials, n_blocks, r, c), r, c);
        else
            qn_gemm_fold_gated(b, a, qn_gemm_fold4(&p, b->partials, n_blocks, r, c),
                               qn_gemm_fold4(&p, b->partials, n_blocks, r, n_blocks / 2 * QN_GEMM_BLOCK + c), r, c);
}

// Four results of row r of a plain product, from column c of matrix m on, which has a multiple of four: from the parts' sums, or where the
// product left them. Asked for here,
template <int MOST>
FN void qn_gemm_ask_results4(qn_gemm_quad<MOST> *to, const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, int m, int r, int c)
{
    int before = 0;
    for (int i = 0; i < m; i++)
        before += (a.n_n[i] + 15) / 16 * 16;
    if (p->split) qn_gemm_ask4(to, p, b->partials, qn_gemm_blocks(a), r, before + c);
    if (!p->split || a.accumulate) to->before = __ldcg((const float4 *)(qn_gemm_pick(b->y, m) + (ulong)r * (ulong)a.n_n[m] + (ulong)c));
}
// had here. bias: four of the bias, where there is one.
template <int MOST> FN float4 qn_gemm_results4(const qn_gemm_quad<MOST> *from, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, int m, float4 bias)
{
    if (!p->split) return from->before;
    float4 v = qn_gemm_sum4(from, p);
    if (a.bias[m] >= 0) v = qn_gemm_add4(v, bias);
    return a.accumulate ? qn_gemm_add4(v, from->before) : v;
}
FN float4 qn_gemm_bias4(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, int m, int c)
{
    return a.bias[m] >= 0 ? qn_gemm_load4(qn_gemm_pick(b->bias, m), a.bias[m], (ulong)c) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// ---- queries, keys and values ----

typedef struct {
    const qn_row *rows;
    const float *inv_freq;
    const void *q_norm, *k_norm;
    void *k_cache, *v_cache;
    const int *table;
} qn_gemm_enter_buffers;

// Number `at` of a cache; of blocks a warp has one, or several.
FN void qn_gemm_keep(void *cache, int type, ulong at, float x)
{
    if (type == 3)
        qn_store_q8_0(cache, at, (int)(at % 32), x);
    else
        qn_store(cache, type, at, x);
}

enum { QN_GEMM_QUADS = QN_CUDA_ENTER_DIM / 128 }; // of a head, that a lane has

// A head of row r by a warp: of the queries (m = 0), the keys, the values. bias: this lane's; x: room for the head's numbers in shared memory;
// line: of the row's position in a block of the cache, of head 0; turn: cos and sin of the pairs of a head.
template <int MOST>
FN void qn_gemm_enter_head(const qn_gemm_buffers *b, const qn_gemm_enter_buffers *e, const qn_cuda_gemm_enter_args &a, const qn_gemm_plan *p,
                           int r, int m, int head, const float4 bias[QN_GEMM_QUADS], ulong line, const float2 *turn, float *x)
{
    int lane = threadIdx.x & 31, dim = a.head_dim, half_dim = dim / 2;
    ulong at = (line + (ulong)head * QN_BLOCK_TOKENS) * (ulong)dim;
    qn_gemm_quad<MOST> quad[QN_GEMM_QUADS];
#pragma unroll
    for (int i = 0; i < QN_GEMM_QUADS; i++)
        if (4 * lane + 128 * i < dim) qn_gemm_ask_results4(quad + i, b, a.product, p, m, r, head * dim + 4 * lane + 128 * i);
#pragma unroll
    for (int i = 0; i < QN_GEMM_QUADS; i++)
        if (4 * lane + 128 * i < dim) *(float4 *)(x + 4 * lane + 128 * i) = qn_gemm_results4(quad + i, a.product, p, m, bias[i]);
    __syncwarp();
    int norm_type = m == 0 ? a.q_norm_type : m == 1 ? a.k_norm_type : -1;
    const void *norm = m ? e->k_norm : e->q_norm;
    float inverse = norm_type >= 0 ? qn_inverse(SG_SUM(qn_squares(x, dim, lane)), dim, a.eps) : 0.0f;
#pragma unroll 1
    for (int d = lane; d < half_dim && m < 2; d += 32) {
        float2 t = turn[d];
        float x_low = qn_headed(x, norm, norm_type, inverse, d), x_high = qn_headed(x, norm, norm_type, inverse, d + half_dim);
        x[d] = qn_rotate(x_low, t.x, -x_high, t.y);
        x[d + half_dim] = qn_rotate(x_high, t.x, x_low, t.y);
    }
    __syncwarp();
    float *q = b->y[0] + ((ulong)r * (ulong)a.n_heads + (ulong)head) * (ulong)dim;
#pragma unroll 1
    for (int d = lane; d < dim; d += 32)
        if (m)
            qn_gemm_keep(m == 1 ? e->k_cache : e->v_cache, a.cache_type, at + (ulong)d, x[d]);
        else
            q[d] = x[d];
}

// A group has eight heads of row blockIdx.y. What kernels long before have left is read before the product is over.
template <int MOST>
FN void qn_gemm_enter_run(const qn_gemm_buffers *b, const qn_gemm_enter_buffers *e, const qn_cuda_gemm_enter_args &a, float *x, float2 *turn)
{
    int n_rows = b->counts->n_rows, r = blockIdx.y, head = blockIdx.x * QN_GPU_SIMDS + (int)(threadIdx.x >> 5);
    int m = head < a.n_heads ? 0 : head < a.n_heads + a.n_kv_heads ? 1 : 2, there = head < a.n_heads + 2 * a.n_kv_heads;
    float4 bias[QN_GEMM_QUADS];
    qn_gemm_plan p;
    ulong line = 0;
    qn_grid_go_on();
    if (m) head -= a.n_heads + (m - 1) * a.n_kv_heads;
#pragma unroll
    for (int i = 0; i < QN_GEMM_QUADS; i++) {
        int d = 4 * (threadIdx.x & 31) + 128 * i;
        if (there && d < a.head_dim) bias[i] = qn_gemm_bias4(b, a.product, m, head * a.head_dim + d);
    }
    if (r < n_rows) {
        qn_row row = e->rows[r];
        ulong block = (ulong)e->table[(ulong)row.slot * (ulong)a.max_blocks + (ulong)(row.position / QN_BLOCK_TOKENS)];
        line = block * (ulong)a.n_kv_heads * QN_BLOCK_TOKENS + (ulong)(row.position % QN_BLOCK_TOKENS);
        if (threadIdx.x < a.head_dim / 2) turn[threadIdx.x] = qn_turn(e->inv_freq, threadIdx.x, row.position, a.rope_scale);
        qn_gemm_make_plan(&p, a.product, n_rows, a.product.tile_rows, a.product.cluster, a.product.n_clusters);
    }
    __syncthreads();
    qn_grid_wait();
    if (r < n_rows && there) qn_gemm_enter_head<MOST>(b, e, a, &p, r, m, head, bias, line, turn, x);
}

#endif
