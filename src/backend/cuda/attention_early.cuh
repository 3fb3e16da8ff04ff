// What a group of flash_attend does in the resident kernel before its queries, key and value are there: the cache's earlier positions
// are on their way, and the angles of the rotation are computed, while it waits for the product that makes them.
#ifndef QN_BACKEND_CUDA_ATTENTION_EARLY_CUH
#define QN_BACKEND_CUDA_ATTENTION_EARLY_CUH

#define QN_FLASH_AHEAD 2 // tiles that are fetched into L2, behind those in shared memory

// What all attentions of a launch share, mostly of the row that this group has in each of them: beside the ring (resident.cu).
typedef struct {
    int known;  // 1: the rest has been read; −1: another row of the step enters keys that this one sees, or it has no row
    int armed;  // 1: the tiles that the task's walk begins with are on their way, all but the row's own position
    qn_row row;
    // Of the task alone, written at its begin: where its partials go and their mark, where it joins them (attention_join.cuh); NULL: it does not.
    uint mark;
    ulong *partials;
    // Of all the step's rows, wherever `known` is not 0:
    int n_rows, positions[QN_CUDA_RESIDENT_ROWS];
    const float *inv_freq; // of turn: cos and sin of the row's pairs
    float2 turn[64];
    int table[QN_CUDA_EARLY_BLOCKS]; // of the row's slot, as far as there is room
} qn_flash_early;
static_assert(sizeof(qn_flash_early) <= QN_CUDA_EARLY_BYTES, "args.h");

FN qn_flash_early *qn_flash_early_of(char *shared)
{
    return (qn_flash_early *)(shared + QN_CUDA_RESIDENT_SHARED - QN_CUDA_EARLY_BYTES);
}

// Where the row looks, for key head x.
FN void qn_flash_look_early(qn_view *c, const qn_gpu_attention_args &a, const qn_flash_early *early, const int *table, int x)
{
    qn_look(c, a, &early->row, table, x);
    if (c->position < QN_CUDA_EARLY_BLOCKS * QN_BLOCK_TOKENS) c->table = early->table;
}

// Splits that a group of the resident kernel takes of a row: of several rows with long contexts more than one, so that all are begun at once
// and no group comes to a second place, whose queries and first tiles it would have to wait for.
FN int qn_flash_splits_each(const qn_view *c, const qn_gpu_attention_args &a, int n_rows)
{
    int tiles = c->position / QN_FLASH_TILE - c->first / QN_FLASH_TILE + 1, live = tiles < c->n_splits ? tiles : c->n_splits;
    return (a.n_kv_heads * a.n_parts * n_rows * live + (int)gridDim.x - 1) / (int)gridDim.x;
}

// A tile's keys and values, asked for in L2: a line a thread and turn. Of blocks, then of numbers.
template <int D> FN void qn_blocks_prefetch(const qn_view *c, int tile)
{
    const int piece = QN_IN_BLOCKS(QN_BLOCK_TOKENS * D), lines = (piece + 127) / 128;
    for (int i = threadIdx.x; i < QN_FLASH_TILE / QN_BLOCK_TOKENS * lines * 2; i += QN_GPU_THREADS) {
        int p = tile * QN_FLASH_TILE + i / 2 / lines * QN_BLOCK_TOKENS, line = i / 2 % lines;
        if (p >= c->position || p + QN_BLOCK_TOKENS <= c->first) continue;
        ulong at = QN_IN_BLOCKS(qn_block_at(c, p)) + (ulong)(line * 128);
        asm volatile("prefetch.global.L2 [%0];" ::"l"((const char *)(i % 2 ? c->v : c->k) + at));
    }
}
template <int D> FN void qn_flash_prefetch(const qn_view *c, int tile)
{
    for (int i = threadIdx.x; i < QN_FLASH_TILE * D / 64 * 2; i += QN_GPU_THREADS) {
        int row = i / 2 / (D / 64), line = i / 2 % (D / 64), p = tile * QN_FLASH_TILE + row;
        if (p < c->first || p >= c->position) continue;
        ulong at = qn_block_at(c, p) + (ulong)(p % QN_BLOCK_TOKENS * D + line * 64);
        asm volatile("prefetch.global.L2 [%0];" ::"l"((const ushort *)(i % 2 ? c->v : c->k) + at));
    }
}

// Whether another row of the step enters a key that this one sees.
FN bool qn_sees_another(const qn_row *rows, int row, int n_rows)
{
    qn_row own = rows[row];
    bool sees = false;
    for (int i = 0; i < n_rows; i++)
        sees = sees || (i != row && rows[i].slot == own.slot && rows[i].position <= own.position);
    return sees;
}

// What the launch's attentions share; y: the row of this group.
FN void qn_flash_know(const qn_cuda_resident_task *t, const qn_gpu_attention_args &a, qn_flash_early *early, int y, int n_rows)
{
    const qn_row *rows = (const qn_row *)t->buffers[10];
    const float *inv_freq = (const float *)t->buffers[4];
    bool alone = y < n_rows && !qn_sees_another(rows, y, n_rows);
    if (alone) {
        qn_row row = rows[y];
        const int *table = (const int *)t->buffers[11] + (ulong)row.slot * (ulong)a.max_blocks;
        for (int i = threadIdx.x; i < QN_CUDA_EARLY_BLOCKS && i <= row.position / QN_BLOCK_TOKENS; i += QN_GPU_THREADS)
            early->table[i] = table[i];
        if (threadIdx.x < a.head_dim / 2) early->turn[threadIdx.x] = qn_turn(inv_freq, threadIdx.x, row.position, a.rope_scale);
        if (threadIdx.x == 0) early->row = row;
    }
    if (threadIdx.x == 0) early->inv_freq = inv_freq, early->n_rows = n_rows;
    if (threadIdx.x < n_rows) early->positions[threadIdx.x] = rows[threadIdx.x].position;
    BARRIER();
    if (threadIdx.x == 0) early->known = alone ? 1 : -1;
    BARRIER();
}

// For the group's first place of the task's grid; n_rows: of the step.
template <int D, bool BLOCKS> FN void qn_flash_begin(const qn_cuda_resident_task *t, char *shared, int n_rows)
{
    const qn_gpu_attention_args &a = *(const qn_gpu_attention_args *)t->args;
    qn_flash_early *early = qn_flash_early_of(shared);
    int g = blockIdx.x, x = g % t->n_groups[0], y = g / t->n_groups[0] % t->n_groups[1], z = g / t->n_groups[0] / t->n_groups[1];
    if (z >= t->n_groups[2]) return;
    if (early->known == 0) qn_flash_know(t, a, early, y, n_rows);
    if (early->known < 0 || early->inv_freq != (const float *)t->buffers[4]) return;
    qn_view c;
    qn_flash_look_early(&c, a, early, (const int *)t->buffers[11], x);
    c.k = (const void *)t->buffers[7];
    c.v = (const void *)t->buffers[8];
    qn_range r;
    qn_walk at;
    qn_flash_range(&r, &at, &c, a.whole ? -1 : z, qn_flash_splits_each(&c, a, n_rows));
    if (at.split >= r.end) return;
    for (int i = 0; i < QN_FLASH_STAGES; i++)
        qn_flash_fetch<D, BLOCKS>(&c, &r, &at, c.first, c.position, shared + i * qn_flash_room<D, BLOCKS>::stage_bytes, c.position);
    for (int i = 0; i < QN_FLASH_AHEAD && at.split < r.end; i++) {
        if (BLOCKS)
            qn_blocks_prefetch<D>(&c, at.tile);
        else
            qn_flash_prefetch<D>(&c, at.tile);
        qn_walk_on(&r, &at);
    }
    if (threadIdx.x == 0) early->armed = 1;
}

// Number d of the row's key or value, to the cache from element `at` on, and to `room`, if there is any: the tile that has the row, or,
// of blocks, a place of the row's own. A warp has 32 neighbours.
template <int TYPE, int D, bool BLOCKS> FN void qn_flash_keep(void *cache, ulong at, char *room, int row, int d, float x)
{
    if (BLOCKS) {
        qn_store_q8_0(cache, at + (ulong)d, d % 32, x);
        if (room) qn_store_q8_0(room, (ulong)d, d % 32, x);
    } else {
        qn_store(cache, TYPE, at + (ulong)d, x);
        if (room) qn_store(room, TYPE, (ulong)(row * D + qn_chunk(row, d / 8) * 8 + d % 8), x);
    }
}

// What a lane has of a query head or a key before its rotation: dims lane + 32 j, then as the norm leaves them.
template <int D> struct qn_flash_entering {
    float x[D / 32], weight[D / 32];
    float4 own; // for the norm: dims 4 · lane …, where there are any
};
// All of a row's loads go out before anything waits for one of them: an L2 hit beside the stream of weights takes as long as all the rest.
template <int D> FN void qn_flash_enter_load(qn_flash_entering<D> *n, const float *x, const void *norm, int type)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int j = 0; j < D / 32; j++)
        n->x[j] = x[lane + 32 * j];
    if (type < 0) return;
    n->own = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (4 * lane < D) n->own = make_float4(x[4 * lane], x[4 * lane + 1], x[4 * lane + 2], x[4 * lane + 3]);
#pragma unroll
    for (int j = 0; j < D / 32; j++)
        n->weight[j] = qn_load(norm, type, (ulong)(lane + 32 * j));
}
template <int D> FN void qn_flash_enter_norm(qn_flash_entering<D> *n, int type, float eps)
{
    if (type < 0) return;
    float inverse = qn_inverse(SG_SUM(qn_dot4(n->own, n->own, 0.0f)), D, eps); // as qn_squares adds
#pragma unroll
    for (int j = 0; j < D / 32; j++)
        n->x[j] = n->weight[j] * (n->x[j] * inverse);
}

// qn_enter_… (gpu/kernels/attention_body.h) of a row for which that was done; the same numbers. Key and value also go to their place in
// shared memory, if there is one (NULL: none). turn: NULL where nothing was done before.
template <int TYPE, int D, bool BLOCKS>
FN void qn_flash_enter(const qn_view *c, const qn_entry *e, const qn_gpu_attention_args &a, const float2 *turn, int appends, char *room,
                       float *q)
{
    enum { EACH = QN_HEADS / QN_GPU_SIMDS + 1 }; // heads of a warp, with the key
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row = c->position % QN_FLASH_TILE, own = threadIdx.x;
    int n = c->n_heads + appends;
    qn_flash_entering<D> entering[EACH];
    float value = appends && own < D ? e->v[own] : 0.0f;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int h = warp + i * QN_GPU_SIMDS, key = h == c->n_heads;
        if (h < n) qn_flash_enter_load<D>(&entering[i], key ? e->k : e->q + h * D, key ? e->k_norm : e->q_norm, key ? a.k_norm_type : a.q_norm_type);
    }
    ulong at = qn_block_at(c, c->position) + (ulong)(c->position % QN_BLOCK_TOKENS * D);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int h = warp + i * QN_GPU_SIMDS, key = h == c->n_heads;
        if (h >= n) continue;
        qn_flash_enter_norm<D>(&entering[i], key ? a.k_norm_type : a.q_norm_type, a.eps);
#pragma unroll
        for (int j = 0; j < D / 64; j++) {
            int d = lane + 32 * j;
            float2 t = turn ? turn[d] : qn_turn(e->inv_freq, d, c->position, a.rope_scale);
            float x_low = entering[i].x[j], x_high = entering[i].x[j + D / 64];
            float low = qn_rotate(x_low, t.x, -x_high, t.y), high = qn_rotate(x_high, t.x, x_low, t.y);
            if (key) {
                qn_flash_keep<TYPE, D, BLOCKS>(e->k_cache, at, room, row, d, low);
                qn_flash_keep<TYPE, D, BLOCKS>(e->k_cache, at, room, row, d + D / 2, high);
            } else {
                q[h * D + d] = low;
                q[h * D + d + D / 2] = high;
            }
        }
    }
    if (!appends || own >= D) return;
    qn_flash_keep<TYPE, D, BLOCKS>(e->v_cache, at, room ? room + (BLOCKS ? QN_IN_BLOCKS(D) : QN_FLASH_TILE * D * 2) : NULL, row, own, value);
}
FN void qn_enter_q8_0_64(const qn_view *c, const qn_entry *e, const qn_gpu_attention_args &a, int appends, int, float *q)
{
    qn_flash_enter<1, 64, true>(c, e, a, NULL, appends, NULL, q);
}
FN void qn_enter_q8_0_128(const qn_view *c, const qn_entry *e, const qn_gpu_attention_args &a, int appends, int, float *q)
{
    qn_flash_enter<1, 128, true>(c, e, a, NULL, appends, NULL, q);
}

// The place of the row's own tile among those of the walk's first that are in shared memory; NULL: it is not there. Of blocks, the place
// from which qn_flash_row takes the row's own key and value wherever its tile is.
template <int D, bool BLOCKS> FN char *qn_flash_own_room(const qn_view *c, int z, int each, char *room)
{
    if (BLOCKS) return room + qn_flash_room<D, true>::own_at;
    qn_range r;
    qn_walk at;
    qn_flash_range(&r, &at, c, z, each);
    for (int i = 0; i < QN_FLASH_STAGES && at.split < r.end; i++) {
        if (at.tile == c->position / QN_FLASH_TILE) return room + i * QN_FLASH_TILE * D * 4;
        qn_walk_on(&r, &at);
    }
    return NULL;
}

#endif
