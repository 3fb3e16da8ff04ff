// attention.cuh's form for one row: up to eight query heads of a key head are rows 0 … 7 of every product. Of a tile, warp w does the
// scores of keys 8 w … 8 w + 7 and the values' dims w · D / 8 ….
#ifndef QN_BACKEND_CUDA_ATTENTION_ROWS_CUH
#define QN_BACKEND_CUDA_ATTENTION_ROWS_CUH

#define QN_P_LINE 72 // 16-bit numbers from head to head: 64 keys, and no bank twice

// What a lane has of head g = lane / 4: its max and sum, and of the warp's dims 8 n + 2 c, + 1 the accumulators.
template <int D> struct qn_flash_head {
    float o[D / 64][4]; // [2], [3] belong to rows 8 … 15, which are not there
    float m, l;
};

// A tile: this row's heads times 64 keys.
template <int TYPE, int D>
FN void qn_flash_row_tile(const qn_view *c, int tile, const char *stage, const uint2 q[D / 16],
                          ushort *weights, float *tops, qn_flash_head<D> *h)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, quarter = lane & 3;
    int key = 8 * warp + 2 * quarter, p = tile * QN_FLASH_TILE + key;
    int seen0 = qn_seen(c, p), seen1 = qn_seen(c, p + 1);
    uint2 none[D / 16];
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        none[i] = make_uint2(0, 0);
    float s[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    qn_flash_scores<TYPE, D>(s, stage, 8 * warp, q, none);
    float s0 = seen0 ? s[0] * c->scale : QN_NEVER, s1 = seen1 ? s[1] * c->scale : QN_NEVER;
    float top = fmaxf(s0, s1);
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    if (quarter == 0) tops[8 * g + warp] = top;
    BARRIER();
    float most = h->m;
#pragma unroll
    for (int i = 0; i < 8; i++)
        most = fmaxf(most, tops[8 * g + i]);
    *(uint *)(weights + g * QN_P_LINE + key) = qn_flash_pack<TYPE>(
        seen0 ? qn_flash_weight(s0, most) : 0.0f, seen1 ? qn_flash_weight(s1, most) : 0.0f);
    BARRIER();
    uint w[4][2];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        w[i][0] = *(const uint *)(weights + g * QN_P_LINE + 16 * i + 2 * quarter);
        w[i][1] = *(const uint *)(weights + g * QN_P_LINE + 16 * i + 8 + 2 * quarter);
    }
    float shrink = qn_flash_weight(h->m, most);
    h->l = FMA(h->l, shrink, qn_flash_sum<TYPE>(w));
    h->m = most;
    const char *values = stage + QN_FLASH_TILE * D * 2;
#pragma unroll
    for (int n = 0; n < D / 64; n++) {
        h->o[n][0] *= shrink;
        h->o[n][1] *= shrink;
#pragma unroll
        for (int i = 0; i < 4; i += 2) { // 32 keys
            uint4 v = qn_transposed4(qn_value_row<D>(values, 16 * i + lane, warp * (D / 64) + n));
            qn_mma<TYPE>(h->o[n], make_uint4(w[i][0], 0, w[i][1], 0), make_uint2(v.x, v.y));
            qn_mma<TYPE>(h->o[n], make_uint4(w[i + 1][0], 0, w[i + 1][1], 0), make_uint2(v.z, v.w));
        }
    }
}

template <int D> FN void qn_flash_head_clear(qn_flash_head<D> *h)
{
#pragma unroll
    for (int n = 0; n < D / 64; n++)
        h->o[n][0] = h->o[n][1] = h->o[n][2] = h->o[n][3] = 0.0f;
    h->m = QN_NEVER;
    h->l = 0.0f;
}

// Joins a split to those before; all.l = 0: there is none.
template <int D> FN void qn_flash_head_join(qn_flash_head<D> *all, const qn_flash_head<D> *h)
{
    float m = all->m, l = all->l;
#pragma unroll
    for (int n = 0; n < D / 64; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            m = all->m;
            l = all->l;
            qn_merge(&all->o[n][e], &m, &l, h->o[n][e], h->m, h->l);
        }
    all->m = m;
    all->l = l;
}

// Where a row's results are a product's tiles (gemm_tiled.cuh), of the cache's type.
typedef struct {
    int rows, width; // of a tile; of a row
    int row, k;      // k: of the first head
} qn_flash_tiled;

// A split's partials, to out [n_heads][n_splits][D + 2].
template <int D> FN void qn_flash_put_split(const qn_view *c, const qn_flash_head<D> *h, int split, float *out)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, quarter = lane & 3;
    float *at = out + (g * c->n_splits + split) * (D + 2);
    if (g >= c->n_heads) return;
#pragma unroll
    for (int n = 0; n < D / 64; n++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            at[(warp * (D / 64) + n) * 8 + 2 * quarter + e] = h->o[n][e];
    if (warp == 0 && quarter == 0) at[D] = h->m, at[D + 1] = h->l;
}

// z < 0: the row's result to out [n_heads][D], or to tiles; else the z-th split's partials. q: [n_heads][D], anywhere.
// The caller's group is done with `room`.
template <int TYPE, int D, bool BLOCKS>
FN void qn_flash_row(const qn_view *c, int z, const float *q, char *room, float *out, const qn_flash_tiled *tiled = NULL)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, quarter = lane & 3;
    typedef qn_flash_room<D, BLOCKS> form;
    float *tops = (float *)(room + form::tops_at);         // [8 heads][8 warps]
    ushort *weights = (ushort *)(room + form::weights_at); // [8 heads][QN_P_LINE]
    qn_range r;
    qn_walk at;
    qn_flash_range(&r, &at, c, z);
    if (at.split >= r.end) return; // the whole group
    uint2 queries[D / 16];
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        queries[i] = g < c->n_heads ? qn_query_step<TYPE>(q + g * D + 16 * i, quarter) : make_uint2(0, 0);
    qn_flash_head<D> now, all;
    qn_flash_head_clear<D>(&now);
    qn_flash_head_clear<D>(&all);
    qn_walk ahead = at;
    for (int i = 0; i < QN_FLASH_STAGES; i++)
        qn_flash_fetch<D, BLOCKS>(c, &r, &ahead, c->first, c->position, room + i * form::stage_bytes);
    for (int i = 0; at.split < r.end; i = (i + 1) % QN_FLASH_STAGES) {
        char *stage = room + i * form::stage_bytes, *tile = BLOCKS ? room + form::tile_at : stage;
        int split = at.split;
        qn_copy_wait<QN_FLASH_STAGES - 1>();
        BARRIER();
        if (BLOCKS) {
            qn_blocks_tile<D>(stage, c->first, c->position, at.tile, tile);
            BARRIER();
        }
        qn_flash_row_tile<TYPE, D>(c, at.tile, tile, queries, weights, tops, &now);
        qn_walk_on(&r, &at);
        if (z < 0 && at.split != split) {
            qn_flash_head_join<D>(&all, &now);
            qn_flash_head_clear<D>(&now);
        }
        BARRIER(); // all are done with the stage
        qn_flash_fetch<D, BLOCKS>(c, &r, &ahead, c->first, c->position, stage);
    }
    qn_copy_wait<0>();
    if (z >= 0) qn_flash_put_split<D>(c, &now, z, out);
    if (z >= 0 || g >= c->n_heads) return;
    if (tiled && tiled->rows) {
#pragma unroll
        for (int n = 0; n < D / 64; n++) {
            int k = tiled->k + g * D + (warp * (D / 64) + n) * 8 + 2 * quarter;
            *(uint *)((ushort *)out + qn_gemm_tiled(tiled->rows, tiled->width, tiled->row, k)) =
                qn_pack2<TYPE>(all.o[n][0] / all.l, all.o[n][1] / all.l);
        }
        return;
    }
    float *to = out + g * D;
#pragma unroll
    for (int n = 0; n < D / 64; n++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            to[(warp * (D / 64) + n) * 8 + 2 * quarter + e] = all.o[n][e] / all.l;
}

#endif
