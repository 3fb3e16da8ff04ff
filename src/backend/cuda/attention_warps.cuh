// flash_rows for caches of 16-bit numbers, as a kernel of its own (attention.cuh's order): a warp has a split to itself. Halves of a tile's keys and
// values come through a ring of the warp's own, which runs on from one row's heads to the next; nobody waits for another warp but to join the
// splits, ascending, in shared memory. A group takes a key head of every n-th row.
#ifndef QN_BACKEND_CUDA_ATTENTION_WARPS_CUH
#define QN_BACKEND_CUDA_ATTENTION_WARPS_CUH

#define QN_WARPS QN_CUDA_FLASH_WARPS
#define QN_WARP_SLOTS 2 // of a ring
#define QN_HALF_TILE (QN_FLASH_TILE / 2)

template <int D> struct qn_warps_room {
    static const int slot_bytes = QN_HALF_TILE * D * 2, ring_bytes = QN_WARP_SLOTS * slot_bytes;
    static const int line = D + 4; // floats of a head of a split: its numbers, max, sum
    static const int results_at = QN_WARPS * ring_bytes, n_bytes = results_at + QN_WARPS * QN_HEADS * line * 4;
    static const int query_bytes = D * 2 + 16; // of a head, where the results will be; no two meet in a bank
};

// ---- rows ----

// What the rows of a group have in common: one key head, in the caches at k and v (this lane's piece of a position), blocks `block` bytes apart.
typedef struct {
    const char *k, *v;
    ulong block;
    const qn_row *rows;
    const int *table;
    int n_rows, by; // rows, and from one of the group's to the next
    int max_blocks, sees, n_splits;
    int window; // of runs; 0: rows in runs are the group's too
    float per_window;
    int first, step; // of the splits of a row that the warp has
} qn_warp_work;

// A row of the group's; behind the last one `row` is n_rows or more.
typedef struct {
    int row, position, first; // it sees first … position
    const int *table;         // of its slot
} qn_warp_row;

// Finds the group's rows one ahead of their use. Lane l < 7 has row `after` + l - 3, where it is there. (Nothing depends on what is loaded ahead
// but its use: a select behind a load waits for it.)
typedef struct {
    int after, there, slot, position;
} qn_scout;

FN void qn_scout_look(const qn_warp_work *w, qn_scout *s)
{
    int lane = threadIdx.x & 31, i = s->after + lane - QN_FLASH_RUN + 1;
    int window = w->window ? w->window : 1, from = (int)(((float)s->after + 0.5f) * w->per_window) * window;
    s->there = lane < 2 * QN_FLASH_RUN - 1 && i >= from && i < from + window && i < w->n_rows;
    const qn_row *row = w->rows + max(0, min(i, w->n_rows - 1));
    s->slot = row->slot;
    s->position = row->position;
}
// Whether the row that was looked at stands in a run (qn_flash_in_run).
FN int qn_scout_in_run(const qn_scout *s)
{
    int lane = (threadIdx.x & 31) + 1, there = __shfl_sync(~0u, s->there, lane);
    int slot = __shfl_sync(~0u, s->slot, lane), position = __shfl_sync(~0u, s->position, lane);
    uint follows = __ballot_sync(~0u, s->there && there && slot == s->slot && position == s->position + 1);
    int after = __ffs(~(follows >> (QN_FLASH_RUN - 1))) - 1, before = __clz(~(follows << (33 - QN_FLASH_RUN)));
    return after + before + 1 >= QN_FLASH_RUN;
}
FN void qn_scout_on(const qn_warp_work *w, qn_scout *s, qn_warp_row *r)
{
    for (;;) {
        int skips = w->window && qn_scout_in_run(s), slot = __shfl_sync(~0u, s->slot, QN_FLASH_RUN - 1);
        r->row = s->after;
        r->position = __shfl_sync(~0u, s->position, QN_FLASH_RUN - 1);
        r->first = qn_first_seen(r->position, w->sees);
        if (r->row >= w->n_rows) return;
        r->table = w->table + (ulong)(uint)slot * (ulong)(uint)w->max_blocks;
        s->after += w->by;
        qn_scout_look(w, s);
        if (!skips) return;
    }
}

// ---- tiles ----

// The tiles in sight, as splits have them; turn: the split of the first one.
typedef struct {
    int first, last, turn;
} qn_sight;

FN qn_sight qn_sight_of(const qn_warp_row *r, int n_splits)
{
    int first = r->first / QN_FLASH_TILE;
    return {first, r->position / QN_FLASH_TILE, first ? first % n_splits : 0};
}
// The first tile of a split; behind the last in sight: it has none.
FN int qn_sight_tile(const qn_sight *s, int split, int n_splits)
{
    int to = split - s->turn;
    return s->first + (to < 0 ? to + n_splits : to);
}

// A warp's way through the tiles of its splits of the group's rows, one tile ahead of the ring, so that the block table's words are there in time.
typedef struct {
    qn_scout scout;
    qn_warp_row r;
    qn_sight sight;
    int split, tile;
    int block; // of lane l: the tile's (l % 4)-th, or another in sight
} qn_warp_next;
// What comes into the ring: half 0, 1 of a tile's keys, 2, 3 of its values; the next one is always QN_WARP_SLOTS behind the one that is read.
typedef struct {
    qn_warp_next next;
    int there, tile, first, position, block; // there = 0: nothing more
    uint ring, to[QN_BLOCK_TOKENS / 2];      // addresses: of the ring; within a slot, of this lane's pieces of eight lines
    int slot;
} qn_warp_ahead;

FN void qn_warp_on(const qn_warp_work *w, qn_warp_next *n)
{
    n->tile += w->n_splits;
    if (n->tile > n->sight.last)
        for (n->split += w->step;; n->split = w->first) {
            while (n->split < w->n_splits && qn_sight_tile(&n->sight, n->split, w->n_splits) > n->sight.last)
                n->split += w->step;
            n->tile = qn_sight_tile(&n->sight, n->split, w->n_splits);
            if (n->split < w->n_splits) break;
            qn_scout_on(w, &n->scout, &n->r);
            if (n->r.row >= w->n_rows) return;
            n->sight = qn_sight_of(&n->r, w->n_splits);
        }
    int at = n->tile * (QN_FLASH_TILE / QN_BLOCK_TOKENS) + (threadIdx.x & 3);
    n->block = n->r.table[max(n->r.first / QN_BLOCK_TOKENS, min(at, n->r.position / QN_BLOCK_TOKENS))];
}
FN void qn_warp_enter(const qn_warp_work *w, qn_warp_ahead *h)
{
    h->there = h->next.r.row < w->n_rows;
    h->tile = h->next.tile;
    h->first = h->next.r.first;
    h->position = h->next.r.position;
    h->block = h->next.block;
    if (h->there) qn_warp_on(w, &h->next);
}

// Half HALF % 4 into the slot that has been read; a group of copies is closed in any case.
template <int D, int HALF> FN void qn_warp_fetch(const qn_warp_work *w, qn_warp_ahead *h)
{
    const int lines = 256 / D, half = HALF % 4; // lines that a warp copies at once
    if (h->there) {
        int p = h->tile * QN_FLASH_TILE + half % 2 * QN_HALF_TILE + (threadIdx.x & 31) / (D / 8) - h->first;
        uint to = h->ring + h->slot * qn_warps_room<D>::slot_bytes;
#pragma unroll
        for (int b = 0; b < QN_HALF_TILE / QN_BLOCK_TOKENS; b++) {
            const char *from = (half < 2 ? w->k : w->v) + (ulong)(uint)__shfl_sync(~0u, h->block, half % 2 * 2 + b) * w->block;
#pragma unroll
            for (int i = 0; i < QN_BLOCK_TOKENS; i += lines) {
                int line = b * QN_BLOCK_TOKENS + i, seen = (uint)(p + line) <= (uint)(h->position - h->first);
                qn_copy16_at(to + line * D * 2 + h->to[i % 8 / lines], from + i * D * 2, seen ? 16 : 0);
            }
        }
        if (half == 3) qn_warp_enter(w, h);
    }
    qn_copy_commit();
    h->slot = h->slot + 1 < QN_WARP_SLOTS ? h->slot + 1 : 0;
}
// The oldest half, once it is there.
template <int D> FN uint qn_warp_come(const qn_warp_ahead *h)
{
    qn_copy_wait<QN_WARP_SLOTS - 1>();
    __syncwarp();
    return h->ring + h->slot * qn_warps_room<D>::slot_bytes;
}
template <int D> FN void qn_warp_begin(const qn_warp_work *w, const qn_scout *scout, char *ring, qn_warp_ahead *h)
{
    const int across = D / 8, lines = 32 / across;
    int lane = threadIdx.x & 31;
    h->next.scout = *scout;
    h->next.sight = {0, -1, 0};
    h->next.split = w->n_splits; // the first row is next
    h->next.tile = 0;
    h->ring = qn_shared_address(ring);
    h->slot = 0;
#pragma unroll
    for (int i = 0; i < 8 / lines; i++)
        h->to[i] = lane / across * D * 2 + qn_chunk(i * lines + lane / across, lane % across) * 16;
    qn_warp_on(w, &h->next);
    qn_warp_enter(w, h);
}

// ---- a split ----

// What a lane has: of head g = lane / 4 the sum, of heads 2 c and 2 c + 1 (c = lane % 4) the max, and their dims 16 n + g, + 8 the accumulators:
// [n][0], [1] of the first dim, [2], [3] of the second.
template <int D> struct qn_warp_sums {
    float o[D / 16][4];
    float m[2], l;
};

// Scores of keys to weights; s[i]: keys 16 i + g and, [2], [3], + 8, of heads 2 c, + 1. w: [16 keys][halves] of head g, keys 2 c, + 1, the B
// fragments of the weights. shrink: of heads 2 c, + 1.
template <int TYPE, int D>
FN void qn_warp_soften(const qn_warp_row *r, int p0, float scale, float s[4][4], qn_warp_sums<D> *h, uint w[4][2], float shrink[2])
{
    int lane = threadIdx.x & 31, g = lane >> 2;
    float most[2] = {h->m[0], h->m[1]};
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int p = p0 + 16 * i + 8 * (e / 2) + g;
            s[i][e] = p >= r->first && p <= r->position ? s[i][e] * scale : QN_NEVER;
            most[e % 2] = fmaxf(most[e % 2], s[i][e]);
        }
#pragma unroll
    for (int e = 0; e < 2; e++) {
        for (int by = 4; by < 32; by *= 2)
            most[e] = fmaxf(most[e], __shfl_xor_sync(~0u, most[e], by));
        shrink[e] = qn_flash_weight(h->m[e], most[e]);
        h->m[e] = most[e];
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float a = s[i][2 * half], b = s[i][2 * half + 1];
            a = a <= QN_NEVER ? 0.0f : qn_flash_weight(a, most[0]); // what is no number stays none
            b = b <= QN_NEVER ? 0.0f : qn_flash_weight(b, most[1]);
            w[i][half] = qn_transposed(qn_flash_pack<TYPE>(a, b));
        }
    float even = __shfl_sync(~0u, shrink[0], g / 2), odd = __shfl_sync(~0u, shrink[1], g / 2);
    h->l = FMA(h->l, g % 2 ? odd : even, qn_flash_sum<TYPE>(w));
}

// All of a split, from `tile` on; > last: none. q: [step] of head g, dims 2 c, + 1 and the same of the second eight, the B fragments of the
// queries.
template <int TYPE, int D>
FN void qn_warp_split(const qn_warp_work *work, qn_warp_ahead *ahead, const qn_warp_row *r, float scale, int tile, const uint2 q[D / 16],
                      qn_warp_sums<D> *h)
{
    int lane = threadIdx.x & 31, line = lane & 15, second = lane >> 4, last = r->position / QN_FLASH_TILE;
#pragma unroll
    for (int n = 0; n < D / 16; n++)
        h->o[n][0] = h->o[n][1] = h->o[n][2] = h->o[n][3] = 0.0f;
    h->m[0] = h->m[1] = QN_NEVER;
    h->l = 0.0f;
#pragma unroll 1
    for (; tile <= last; tile += work->n_splits) {
        float s[4][4], shrink[2];
        uint w[4][2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint keys = qn_warp_come<D>(ahead) + line * D * 2;
#pragma unroll
            for (int i = 0; i < 2; i++)
                s[2 * half + i][0] = s[2 * half + i][1] = s[2 * half + i][2] = s[2 * half + i][3] = 0.0f;
#pragma unroll
            for (int step = 0; step < D / 16; step++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    qn_mma<TYPE>(s[2 * half + i], qn_matrices4_at(keys + i * 16 * D * 2 + qn_chunk(line, 2 * step + second) * 16), q[step]);
            __syncwarp();
            if (half == 0)
                qn_warp_fetch<D, 0 + QN_WARP_SLOTS>(work, ahead);
            else
                qn_warp_fetch<D, 1 + QN_WARP_SLOTS>(work, ahead);
        }
        qn_warp_soften<TYPE, D>(r, tile * QN_FLASH_TILE, scale, s, h, w, shrink);
#pragma unroll
        for (int n = 0; n < D / 16; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                h->o[n][e] *= shrink[e % 2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint values = qn_warp_come<D>(ahead) + ((lane & 7) + 8 * second) * D * 2;
#pragma unroll
            for (int n = 0; n < D / 16; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    qn_mma<TYPE>(h->o[n], qn_transposed4_at(values + i * 16 * D * 2 + qn_chunk(lane & 7, 2 * n + (lane >> 3 & 1)) * 16),
                                 make_uint2(w[2 * half + i][0], w[2 * half + i][1]));
            __syncwarp();
            if (half == 0)
                qn_warp_fetch<D, 2 + QN_WARP_SLOTS>(work, ahead);
            else
                qn_warp_fetch<D, 3 + QN_WARP_SLOTS>(work, ahead);
        }
    }
}

// A split's numbers, [head][numbers, max, sum], a head a `line`.
template <int D> FN void qn_warp_put(int n_heads, const qn_warp_sums<D> *h, float *to, int line)
{
    int lane = threadIdx.x & 31, g = lane >> 2, head = 2 * (lane & 3);
#pragma unroll
    for (int e = 0; e < 2; e++) {
        if (head + e >= n_heads) continue;
#pragma unroll
        for (int n = 0; n < D / 16; n++)
            to[(head + e) * line + 16 * n + g] = h->o[n][e], to[(head + e) * line + 16 * n + 8 + g] = h->o[n][2 + e];
        if (g == 0) to[(head + e) * line + D] = h->m[e];
    }
    if (head == 0 && g < n_heads) to[g * line + D + 1] = h->l;
}

// ---- joining ----

// What a thread joins: of a head, every 16th pair.
template <int D> struct qn_warp_joined {
    float2 o[D / 32];
    float m, l; // l = 0: nothing yet
};
// A round's splits, ascending: qn_merge, whose factors are the same for all of a head.
template <int D> FN void qn_warp_join(qn_warp_joined<D> *all, const float *results)
{
    const int line = qn_warps_room<D>::line;
    float2 o[QN_WARPS][D / 32], ml[QN_WARPS];
    results += threadIdx.x / 16 * line;
#pragma unroll
    for (int i = 0; i < QN_WARPS; i++) {
        const float2 *at = (const float2 *)(results + i * QN_HEADS * line);
        ml[i] = at[D / 2];
#pragma unroll
        for (int j = 0; j < D / 32; j++)
            o[i][j] = at[threadIdx.x % 16 + 16 * j];
    }
#pragma unroll
    for (int i = 0; i < QN_WARPS; i++) {
        if (ml[i].y == 0.0f) continue;
        float most = all->l > 0.0f && all->m > ml[i].x ? all->m : ml[i].x;
        float old = all->l > 0.0f ? EXP(all->m - most) : 0.0f, fresh = EXP(ml[i].x - most);
#pragma unroll
        for (int j = 0; j < D / 32; j++) {
            all->o[j].x = FMA(o[i][j].x, fresh, all->o[j].x * old);
            all->o[j].y = FMA(o[i][j].y, fresh, all->o[j].y * old);
        }
        all->l = FMA(ml[i].y, fresh, all->l * old);
        all->m = most;
    }
}
// To out [head][D], or to tiles.
template <int TYPE, int D> FN void qn_warp_store(const qn_warp_joined<D> *all, float *out, const qn_flash_tiled *tiled)
{
    int head = threadIdx.x / 16;
#pragma unroll
    for (int j = 0; j < D / 32; j++) {
        int d = 2 * (threadIdx.x % 16 + 16 * j);
        float2 y = make_float2(all->o[j].x / all->l, all->o[j].y / all->l);
        if (tiled->rows)
            *(uint *)((ushort *)out + qn_gemm_tiled(tiled->rows, tiled->width, tiled->row, tiled->k + head * D + d)) = qn_pack2<TYPE>(y.x, y.y);
        else
            *(float2 *)(out + head * D + d) = y;
    }
}

// ---- the kernel ----

// Queries come a row ahead: all threads load them, and leave them in shared memory as 16-bit numbers once those before have been read.
template <int D> struct qn_warp_queries {
    static const int each = QN_HEADS * D / 4 / (QN_WARPS * 32);
    float4 raw[each];
};
template <int D> FN void qn_warp_load(qn_warp_queries<D> *to, const float *q, int n_heads)
{
#pragma unroll
    for (int i = 0; i < to->each; i++)
        to->raw[i] = *(const float4 *)(q + min(4 * (int)(threadIdx.x + i * QN_WARPS * 32), n_heads * D - 4)); // heads that are not there: any
}
template <int TYPE, int D> FN void qn_warp_leave(const qn_warp_queries<D> *q, char *queries)
{
#pragma unroll
    for (int i = 0; i < q->each; i++) {
        int at = 4 * (threadIdx.x + i * QN_WARPS * 32);
        float4 v = q->raw[i];
        *(uint2 *)(queries + at / D * qn_warps_room<D>::query_bytes + at % D * 2) = make_uint2(qn_pack2<TYPE>(v.x, v.y), qn_pack2<TYPE>(v.z, v.w));
    }
}
// The B fragments of the queries: of head g dims 2 c, + 1 of a step, and of its second eight.
template <int D> FN void qn_warp_take(uint2 to[D / 16], const char *queries)
{
    int lane = threadIdx.x & 31;
    const uint *from = (const uint *)(queries + (lane >> 2) * qn_warps_room<D>::query_bytes) + (lane & 3);
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        to[i] = make_uint2(from[8 * i], from[8 * i + 4]);
}

// Key head x of rows y, y + by, …. whole: to out [row][head][D] or to tiles; else the splits of group z, a warp one, as partials, to
// out [row][head][n_splits][D + 2].
template <int TYPE, int D>
FN void qn_warps_run(qn_warp_work *w, const qn_gpu_attention_args &a, int x, int y, int z, const float *q, char *room, float *out)
{
    const int line = qn_warps_room<D>::line;
    int warp = threadIdx.x >> 5, head = qn_head_of(a, x), left = a.n_heads / a.n_kv_heads - x % a.n_parts * QN_HEADS;
    int n_heads = left < QN_HEADS ? left : QN_HEADS, joins = (int)threadIdx.x / 16 < n_heads;
    float *results = (float *)(room + qn_warps_room<D>::results_at);
    ulong lane_at = (ulong)(x / a.n_parts) * (QN_BLOCK_TOKENS * D * 2) + (ulong)(threadIdx.x & 31) * 16;
    w->k += lane_at;
    w->v += lane_at;
    w->block = (ulong)a.n_kv_heads * (QN_BLOCK_TOKENS * D * 2);
    w->max_blocks = a.max_blocks;
    w->sees = a.window;
    w->n_splits = a.n_splits;
    w->window = a.whole ? qn_flash_run_window(a.n_heads / a.n_kv_heads) : 0;
    w->per_window = 1.0f / (float)(w->window ? w->window : 1);
    w->first = (a.whole ? 0 : z * QN_WARPS) + warp;
    w->step = a.whole ? QN_WARPS : a.n_splits;
    qn_scout scout = {y, 0, 0, 0};
    if (y >= w->n_rows) return qn_grid_wait();
    qn_scout_look(w, &scout);
    qn_warp_ahead ahead;
    qn_warp_row row, next;
    qn_warp_begin<D>(w, &scout, room + warp * qn_warps_room<D>::ring_bytes, &ahead);
    qn_scout_on(w, &scout, &row);
    qn_grid_wait(); // rows and block table are older than the kernel before (program.c)
    if (row.row >= w->n_rows) return;
    qn_warp_fetch<D, 0>(w, &ahead);
    qn_warp_fetch<D, 1>(w, &ahead);
    static_assert(QN_WARP_SLOTS == 2, "what is on its way");
    q += head * D;
    qn_warp_queries<D> coming;
    qn_warp_load<D>(&coming, q + (ulong)(uint)row.row * (ulong)(uint)(a.n_heads * D), n_heads);
    for (;;) {
        qn_warp_leave<TYPE, D>(&coming, (char *)results);
        __syncthreads();
        uint2 queries[D / 16];
        qn_warp_take<D>(queries, (const char *)results);
        qn_scout_on(w, &scout, &next);
        if (next.row < w->n_rows) qn_warp_load<D>(&coming, q + (ulong)(uint)next.row * (ulong)(uint)(a.n_heads * D), n_heads);
        qn_sight t = qn_sight_of(&row, a.n_splits);
        qn_warp_joined<D> all = {};
        int most = a.whole && t.turn == 0 ? min(t.last - t.first + 1, a.n_splits) : a.n_splits; // splits that there may be
#pragma unroll 1
        for (int from = 0; from < most; from += w->step) {
            int split = from + w->first, tile = split < a.n_splits ? qn_sight_tile(&t, split, a.n_splits) : t.last + 1;
            qn_warp_sums<D> h;
            qn_warp_split<TYPE, D>(w, &ahead, &row, a.scale, tile, queries, &h);
            if (!a.whole) {
                float *to = out + ((ulong)(uint)(row.row * a.n_heads + head) * (ulong)(uint)a.n_splits + (ulong)(uint)split) * (D + 2);
                if (tile <= t.last) qn_warp_put<D>(n_heads, &h, to, a.n_splits * (D + 2));
                break;
            }
            __syncthreads(); // queries, and the splits before, have been read
            qn_warp_put<D>(n_heads, &h, results + warp * QN_HEADS * line, line);
            __syncthreads();
            if (joins) qn_warp_join<D>(&all, results);
        }
        qn_flash_tiled tiled = {a.tile_rows, a.n_heads * D, row.row, head * D};
        float *to = a.tile_rows ? out : out + (ulong)(uint)(row.row * a.n_heads + head) * D;
        if (a.whole && joins) qn_warp_store<TYPE, D>(&all, to, &tiled);
        if (next.row >= w->n_rows) break;
        row = next;
        __syncthreads(); // the splits have been read
    }
    qn_copy_wait<0>();
}

#define QN_WARPS_KERNEL(FORMAT, TYPE, D)                                                                                           \
    extern "C" __global__ void __launch_bounds__(QN_WARPS * 32, 2)                                                                 \
        flash_rows_##FORMAT##_##D(float *out, const float *q, const void *k, const void *v, const qn_step_counts *counts,          \
                                  const qn_row *rows, const int *table, const __grid_constant__ qn_gpu_attention_args a)           \
    {                                                                                                                              \
        extern __shared__ __align__(128) char room[];                                                                              \
        qn_grid_go_on();                                                                                                           \
        qn_warp_work w = {(const char *)k, (const char *)v, 0, rows, table, counts->n_rows, (int)gridDim.y};                       \
        qn_warps_run<TYPE, D>(&w, a, blockIdx.x, blockIdx.y, blockIdx.z, q, room, out);                                            \
    }
QN_WARPS_KERNEL(f16, 1, 64)
QN_WARPS_KERNEL(f16, 1, 128)
QN_WARPS_KERNEL(bf16, 2, 64)
QN_WARPS_KERNEL(bf16, 2, 128)
static_assert(qn_warps_room<64>::n_bytes == QN_CUDA_FLASH_WARPS_SHARED_64 && qn_warps_room<128>::n_bytes == QN_CUDA_FLASH_WARPS_SHARED_128, "args.h");
static_assert(QN_WARPS * 32 == QN_HEADS * 16, "a sixteenth of a head's pairs a thread");

#endif
