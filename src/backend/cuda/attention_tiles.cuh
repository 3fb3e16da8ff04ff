// attention.cuh's form for runs: rows of one sequence at consecutive positions, times the query heads of a key head, are up to 128 rows of
// the products, 16 a warp; keys and values of a tile are loaded once for all. A lane has rows g and g + 8 of its warp's (g = lane / 4).
#ifndef QN_BACKEND_CUDA_ATTENTION_TILES_CUH
#define QN_BACKEND_CUDA_ATTENTION_TILES_CUH

// Row r + 1 follows row r: one slot, the next position.
FN int qn_follows(const qn_row *rows, int r)
{
    return rows[r + 1].slot == rows[r].slot && rows[r + 1].position == rows[r].position + 1;
}
// Whether flash_tiles, or flash_wide, does this row: the run around it, within its window, is long enough.
FN int qn_flash_in_run(const qn_row *rows, int row, int n_rows, int group)
{
    int window = qn_flash_run_window(group), first = row / window * window;
    int end = first + window < n_rows ? first + window : n_rows, from = row, to = row;
    while (from > first && to - from + 1 < QN_FLASH_RUN && qn_follows(rows, from - 1))
        from--;
    while (to + 1 < end && to - from + 1 < QN_FLASH_RUN && qn_follows(rows, to))
        to++;
    return to - from + 1 >= QN_FLASH_RUN;
}

// What a lane has of its two rows. [n][0], [n][1] are row g's dims 8 n + 2 c, + 1; [n][2], [n][3] row g + 8's.
template <int D> struct qn_flash_pair {
    float o[D / 8][4];
    float m[2], l[2];
};
typedef struct {
    int first[2], position[2]; // what the rows see; position −1: not there
    int all_from, all_to;      // what all rows of the warp see
    int any;                   // the warp has rows
    float scale;
} qn_flash_sight;

template <int D> FN void qn_flash_pair_clear(qn_flash_pair<D> *h)
{
#pragma unroll
    for (int n = 0; n < D / 8; n++)
        h->o[n][0] = h->o[n][1] = h->o[n][2] = h->o[n][3] = 0.0f;
    h->m[0] = h->m[1] = QN_NEVER;
    h->l[0] = h->l[1] = 0.0f;
}

// Scores to weights: scales, masks, and the online softmax's step. s[n] are keys 8 n + 2 c, + 1 of both rows; w the A fragments of the
// weights by row, [row][step][half].
template <int TYPE>
FN void qn_flash_soften(const qn_flash_sight *t, int p0, float s[8][4], float m[2], float l[2],
                        float shrink[2], uint w[2][4][2])
{
    int quarter = threadIdx.x & 3, open = p0 >= t->all_from && p0 + QN_FLASH_TILE - 1 <= t->all_to;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float most = m[r];
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                int p = p0 + 8 * n + 2 * quarter + e;
                float v = s[n][2 * r + e] * t->scale;
                v = open || (p >= t->first[r] && p <= t->position[r]) ? v : QN_NEVER;
                s[n][2 * r + e] = v;
                most = fmaxf(most, v);
            }
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
#pragma unroll
        for (int n = 0; n < 8; n++) {
            float a = s[n][2 * r], b = s[n][2 * r + 1];
            a = a > QN_NEVER ? qn_flash_weight(a, most) : 0.0f;
            b = b > QN_NEVER ? qn_flash_weight(b, most) : 0.0f;
            w[r][n / 2][n % 2] = qn_flash_pack<TYPE>(a, b);
        }
        shrink[r] = qn_flash_weight(m[r], most);
        l[r] = FMA(l[r], shrink[r], qn_flash_sum<TYPE>(w[r]));
        m[r] = most;
    }
}

template <int TYPE, int D>
FN void qn_flash_run_tile(const qn_flash_sight *t, int tile, const char *stage,
                          const uint2 q[2][D / 16], qn_flash_pair<D> *h)
{
    int lane = threadIdx.x & 31;
    float s[8][4], shrink[2];
    uint w[2][4][2];
#pragma unroll
    for (int n = 0; n < 8; n++) {
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0.0f;
        qn_flash_scores<TYPE, D>(s[n], stage, 8 * n, q[0], q[1]);
    }
    qn_flash_soften<TYPE>(t, tile * QN_FLASH_TILE, s, h->m, h->l, shrink, w);
    const char *values = stage + QN_FLASH_TILE * D * 2;
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
        h->o[n][0] *= shrink[0];
        h->o[n][1] *= shrink[0];
        h->o[n][2] *= shrink[1];
        h->o[n][3] *= shrink[1];
    }
#pragma unroll
    for (int i = 0; i < 4; i++) { // 16 keys
        uint4 a = make_uint4(w[0][i][0], w[1][i][0], w[0][i][1], w[1][i][1]);
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            uint4 v =
                qn_transposed4(qn_value_row<D>(values, 16 * i + (lane & 15), n + (lane >> 4)));
            qn_mma<TYPE>(h->o[n], a, make_uint2(v.x, v.y));
            qn_mma<TYPE>(h->o[n + 1], a, make_uint2(v.z, v.w));
        }
    }
}

// Joins a split to those before, for each row that saw any of it.
template <int D> FN void qn_flash_pair_join(qn_flash_pair<D> *all, const qn_flash_pair<D> *h)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (!(h->l[r] > 0.0f)) continue;
        float m = all->m[r], l = all->l[r];
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int e = 2 * r; e < 2 * r + 2; e++) {
                m = all->m[r];
                l = all->l[r];
                qn_merge(&all->o[n][e], &m, &l, h->o[n][e], h->m[r], h->l[r]);
            }
        all->m[r] = m;
        all->l[r] = l;
    }
}

// Row i of the products is row i / group of the run, head i % group. row0: of the batch; head0: of the heads.
template <int TYPE, int D, bool BLOCKS>
FN void qn_flash_run(const qn_view *c, int n_rows, int window, ulong row0, int n_heads, int head0,
                     const float *q, char *room, float *y)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, quarter = lane & 3,
        last = c->position + n_rows - 1;
    typedef qn_flash_room<D, BLOCKS> form;
    qn_flash_sight t;
    uint2 queries[2][D / 16];
    ulong line[2];
    int low = 16 * warp,
        high = low + 15 < n_rows * c->n_heads - 1 ? low + 15 : n_rows * c->n_heads - 1;
    t.any = low <= high;
    t.all_from = t.any ? qn_first_seen(c->position + high / c->n_heads, window) : 0;
    t.all_to = c->position + low / c->n_heads;
    t.scale = c->scale;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int i = low + (lane >> 2) + 8 * r, there = i <= high, row = there ? i / c->n_heads : 0;
        line[r] =
            ((row0 + (ulong)row) * (ulong)n_heads + (ulong)(head0 + (there ? i % c->n_heads : 0))) *
            D;
        t.position[r] = there ? c->position + row : -1;
        t.first[r] = qn_first_seen(c->position + row, window);
#pragma unroll
        for (int j = 0; j < D / 16; j++)
            queries[r][j] = there ? qn_query_step<TYPE>(q + line[r] + 16 * j, quarter) : make_uint2(0, 0);
    }
    qn_range range = {c->first / QN_FLASH_TILE, last / QN_FLASH_TILE, c->n_splits, c->n_splits};
    qn_walk at = {0, 0};
    qn_walk_split(&range, &at);
    qn_flash_pair<D> now, all;
    qn_flash_pair_clear<D>(&now);
    qn_flash_pair_clear<D>(&all);
    qn_walk ahead = at;
    for (int i = 0; i < QN_FLASH_STAGES; i++)
        qn_flash_fetch<D, BLOCKS>(c, &range, &ahead, c->first, last, room + i * form::stage_bytes);
    for (int i = 0; at.split < range.end; i = (i + 1) % QN_FLASH_STAGES) {
        char *stage = room + i * form::stage_bytes, *tile = BLOCKS ? room + form::tile_at : stage;
        int split = at.split;
        qn_copy_wait<QN_FLASH_STAGES - 1>();
        BARRIER();
        if (BLOCKS) {
            qn_blocks_tile<D>(stage, c->first, last, at.tile, tile);
            BARRIER();
        }
        if (t.any) qn_flash_run_tile<TYPE, D>(&t, at.tile, tile, queries, &now);
        qn_walk_on(&range, &at);
        if (at.split != split) {
            qn_flash_pair_join<D>(&all, &now);
            qn_flash_pair_clear<D>(&now);
        }
        BARRIER(); // all are done with the stage
        qn_flash_fetch<D, BLOCKS>(c, &range, &ahead, c->first, last, stage);
    }
    qn_copy_wait<0>();
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (t.position[r] >= 0)
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                *(float2 *)(y + line[r] + 8 * n + 2 * quarter) =
                    make_float2(all.o[n][2 * r] / all.l[r], all.o[n][2 * r + 1] / all.l[r]);
}

// The runs of a window of rows; the last windows, which have most to do, first.
template <int TYPE, int D, bool BLOCKS>
FN void qn_flash_windows(float *y, const float *q, const void *k, const void *v, int n_rows,
                         const qn_row *rows, const int *table, ARGS_OF(qn_gpu_attention_args, a),
                         int kv_head, int place, char *room)
{
    int group = a.n_heads / a.n_kv_heads, window = qn_flash_window(group);
    int n_windows = (n_rows + window - 1) / window, first = (n_windows - 1 - place) * window;
    if (first < 0) return;
    int end = first + window < n_rows ? first + window : n_rows;
    for (int from = first, to; from < end; from = to) {
        for (to = from + 1; to < end && qn_follows(rows, to - 1);)
            to++;
        if (to - from < QN_FLASH_RUN) continue;
        qn_view c;
        qn_look(&c, a, rows + from, table, kv_head * a.n_parts);
        c.k = k;
        c.v = v;
        c.n_heads = group;
        qn_flash_run<TYPE, D, BLOCKS>(&c, to - from, a.window, (ulong)from, a.n_heads,
                                      kv_head * group, q, room, y);
        BARRIER();
    }
}

#endif
