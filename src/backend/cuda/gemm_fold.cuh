// What stands behind a product of many rows whose parts groups did on their own (gemm_schedule.cuh): their sums are added, by gemm_fold or
// by the kernel that reads the results: gemm_norm (gemm_rows.cuh), or gemm_enter, which rotates queries and keys and appends to the cache.
#ifndef QN_BACKEND_CUDA_GEMM_FOLD_CUH
#define QN_BACKEND_CUDA_GEMM_FOLD_CUH
#include "backend/cuda/gemm.cuh"

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

// Four results of row r of a plain product, from column c of matrix m on, which has a multiple of four: from the parts' sums, or where the
// product left them.
FN float4 qn_gemm_results4(const qn_gemm_buffers *b, const qn_cuda_gemm_args &a, const qn_gemm_plan *p, int m, int r, int c)
{
    float4 *y = (float4 *)(qn_gemm_pick(b->y, m) + (ulong)r * (ulong)a.n_n[m] + (ulong)c);
    if (!p->split) return __ldcg(y);
    int before = 0;
    for (int i = 0; i < m; i++)
        before += (a.n_n[i] + 15) / 16 * 16;
    float4 v = qn_gemm_fold4(p, b->partials, qn_gemm_all_strips(a) * 16, r, before + c);
    if (a.bias[m] >= 0) {
        const void *bias = qn_gemm_pick(b->bias, m);
        v = make_float4(v.x + qn_load(bias, a.bias[m], (ulong)c), v.y + qn_load(bias, a.bias[m], (ulong)c + 1),
                        v.z + qn_load(bias, a.bias[m], (ulong)c + 2), v.w + qn_load(bias, a.bias[m], (ulong)c + 3));
    }
    if (!a.accumulate) return v;
    float4 x = __ldcg(y);
    return make_float4(v.x + x.x, v.y + x.y, v.z + x.z, v.w + x.w);
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

// A head of row r by a warp: of the queries, then of the keys, then of the values. x: its numbers in shared memory; line: of the row's
// position in a block of the cache, of head 0; turn: cos and sin of the pairs of a head.
FN void qn_gemm_enter_head(const qn_gemm_buffers *b, const qn_gemm_enter_buffers *e, const qn_cuda_gemm_enter_args &a, const qn_gemm_plan *p,
                           int r, int head, ulong line, const float2 *turn, float *x)
{
    int lane = threadIdx.x & 31, dim = a.head_dim, half_dim = dim / 2, m = head < a.n_heads ? 0 : head < a.n_heads + a.n_kv_heads ? 1 : 2;
    if (m) head -= a.n_heads + (m - 1) * a.n_kv_heads;
    ulong at = (line + (ulong)head * QN_BLOCK_TOKENS) * (ulong)dim;
#pragma unroll
    for (int i = 0; i < QN_CUDA_ENTER_DIM / 128; i++)
        if (4 * lane + 128 * i < dim)
            *(float4 *)(x + 4 * lane + 128 * i) = qn_gemm_results4(b, a.product, p, m, r, head * dim + 4 * lane + 128 * i);
    __syncwarp();
    if (m == 2) {
        for (int d = lane; d < dim; d += 32)
            qn_gemm_keep(e->v_cache, a.cache_type, at + (ulong)d, x[d]);
        return;
    }
    int norm_type = m ? a.k_norm_type : a.q_norm_type;
    const void *norm = m ? e->k_norm : e->q_norm;
    float *q = b->y[0] + ((ulong)r * (ulong)a.n_heads + (ulong)head) * (ulong)dim;
    float inverse = norm_type >= 0 ? qn_inverse(SG_SUM(qn_squares(x, dim, lane)), dim, a.eps) : 0.0f;
#pragma unroll 2
    for (int d = lane; d < half_dim; d += 32) {
        float2 t = turn[d];
        float x_low = qn_headed(x, norm, norm_type, inverse, d), x_high = qn_headed(x, norm, norm_type, inverse, d + half_dim);
        float low = qn_rotate(x_low, t.x, -x_high, t.y), high = qn_rotate(x_high, t.x, x_low, t.y);
        if (m) {
            qn_gemm_keep(e->k_cache, a.cache_type, at + (ulong)d, low);
            qn_gemm_keep(e->k_cache, a.cache_type, at + (ulong)(d + half_dim), high);
        } else {
            q[d] = low;
            q[d + half_dim] = high;
        }
    }
}

// A group has eight heads of row blockIdx.y. What kernels long before have left is read before the product is over.
FN void qn_gemm_enter_run(const qn_gemm_buffers *b, const qn_gemm_enter_buffers *e, const qn_cuda_gemm_enter_args &a, float *x, float2 *turn)
{
    int n_rows = b->counts->n_rows, r = blockIdx.y, head = blockIdx.x * QN_GPU_SIMDS + (int)(threadIdx.x >> 5);
    qn_gemm_plan p;
    ulong line = 0;
    qn_grid_go_on();
    if (r < n_rows) {
        qn_row row = e->rows[r];
        ulong block = (ulong)e->table[(ulong)row.slot * (ulong)a.max_blocks + (ulong)(row.position / QN_BLOCK_TOKENS)];
        line = block * (ulong)a.n_kv_heads * QN_BLOCK_TOKENS + (ulong)(row.position % QN_BLOCK_TOKENS);
        if (threadIdx.x < a.head_dim / 2) turn[threadIdx.x] = qn_turn(e->inv_freq, threadIdx.x, row.position, a.rope_scale);
        qn_gemm_make_plan(&p, a.product, n_rows, a.product.tile_rows, a.product.cluster, a.product.n_clusters);
    }
    __syncthreads();
    qn_grid_wait();
    if (r < n_rows && head < a.n_heads + 2 * a.n_kv_heads) qn_gemm_enter_head(b, e, a, &p, r, head, line, turn, x);
}

#endif
