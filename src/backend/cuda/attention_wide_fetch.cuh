// attention_wide.cuh's ring of stages, the runs of a group, and the warpgroup that fetches.
#ifndef QN_BACKEND_CUDA_ATTENTION_WIDE_FETCH_CUH
#define QN_BACKEND_CUDA_ATTENTION_WIDE_FETCH_CUH
#include "backend/cuda/gemm_ptx.cuh"

#define QN_WIDE_HALF 8192 // bytes of a tile's half: 64 positions by 64 dims, swizzled over 128 bytes
#define QN_WIDE_ENDS 1    // of a note: the split ends with the tile
#define QN_WIDE_LAST 2    // and the walk; above: the tile
#define QN_WIDE_BLOCKS_TILES 3 // of a Q8_0 cache, in shared memory as they lie in the cache

// Sizes of a form. Shared memory: stages; what the splits before came to, a number a thread and accumulator; barriers; notes; and of a Q8_0
// cache tiles in blocks with their barriers.
template <int D, bool BLOCKS = false> struct qn_wide_form {
    static const int side_bytes = QN_FLASH_TILE * D * 2, stage_bytes = 2 * side_bytes;
    static const int kept_bytes = QN_WIDE_ROWS * D * 4;
    static const int blocks_bytes = BLOCKS ? QN_WIDE_BLOCKS_TILES * (QN_IN_BLOCKS(QN_FLASH_TILE * D * 2) + 16) : 0;
    static const int stages = (225 * 1024 - kept_bytes - blocks_bytes) / stage_bytes, most_stages = BLOCKS ? 4 : 6,
                     n_stages = stages > most_stages ? most_stages : stages;
    static const int kept_at = n_stages * stage_bytes, bars_at = kept_at + kept_bytes, notes_at = bars_at + 2 * 8 * 8;
    static const int blocks_at = notes_at + 8 * 4, blocks_bars_at = blocks_at + QN_WIDE_BLOCKS_TILES * QN_IN_BLOCKS(QN_FLASH_TILE * D * 2),
                     blocks_notes_at = blocks_bars_at + QN_WIDE_BLOCKS_TILES * 8;
    static const int n_bytes = blocks_at + blocks_bytes + 1024; // the stages begin at a multiple of 1,024
};

typedef struct {
    float *y;
    const float *q;
    const void *k, *v;
    const qn_row *rows;
    const int *table;
    int n_rows;
} qn_wide_buffers;

// Where a thread is in the ring of stages.
typedef struct {
    uint at, bars; // shared memory: the stages, the barriers (full, then empty)
    int *notes;
    int stage, n_stages;
    uint parity;
} qn_wide_ring;

FN void qn_wide_step(qn_wide_ring *r)
{
    if (++r->stage < r->n_stages) return;
    r->stage = 0;
    r->parity ^= 1;
}
FN uint qn_wide_full(const qn_wide_ring *r)
{
    return r->bars + r->stage * 8;
}
FN uint qn_wide_empty(const qn_wide_ring *r)
{
    return r->bars + 64 + r->stage * 8;
}

// ---- the runs of a group ----

// Windows by key heads are the items; those with most to do come first. Rows from … to − 1 are a run.
typedef struct {
    int round, kv_head, from, to, first, end; // of the window: first, end
    uint4 follows; // a bit a row of the window: the next one continues its run
} qn_wide_place;

// By a warp: the step's rows lie in the host's memory, far away, so a window's are read once and all at once.
FN uint4 qn_wide_follows(const qn_row *rows, int first, int end)
{
    uint on[4];
    int i = first + (int)(threadIdx.x & 31);
#pragma unroll
    for (int j = 0; j < 4; j++)
        on[j] = i + 32 * j + 1 < end && qn_follows(rows, i + 32 * j);
    return make_uint4(__ballot_sync(~0u, on[0]), __ballot_sync(~0u, on[1]), __ballot_sync(~0u, on[2]), __ballot_sync(~0u, on[3]));
}
// The row behind the run that begins at p->from.
FN int qn_wide_run_end(const qn_wide_place *p)
{
    for (int at = p->from - p->first;; at = (at / 32 + 1) * 32) {
        const uint4 &f = p->follows;
        uint word = at < 32 ? f.x : at < 64 ? f.y : at < 96 ? f.z : at < 128 ? f.w : 0, over = ~word >> at % 32;
        if (over) return p->first + at + __ffs(over);
    }
}
FN bool qn_wide_next(qn_wide_place *p, const qn_row *rows, int n_rows, int window, int n_kv_heads)
{
    for (;;) {
        if (p->to >= p->end) {
            int n_windows = (n_rows + window - 1) / window, n = gridDim.x, own = blockIdx.x;
            int item = p->round * n + (p->round & 1 ? n - 1 - own : own);
            if (item >= n_windows * n_kv_heads) return false;
            p->round++;
            p->kv_head = item % n_kv_heads;
            p->first = p->to = (n_windows - 1 - item / n_kv_heads) * window;
            p->end = p->to + window < n_rows ? p->to + window : n_rows;
            p->follows = qn_wide_follows(rows, p->first, p->end);
        }
        p->from = p->to;
        p->to = qn_wide_run_end(p);
        if (p->to - p->from >= QN_FLASH_RUN) return true;
    }
}

FN qn_view qn_wide_look(const qn_wide_buffers *b, const qn_gpu_attention_args &a, const qn_wide_place *p)
{
    qn_view c;
    qn_look(&c, a, b->rows + p->from, b->table, p->kv_head * a.n_parts);
    c.n_heads = a.n_heads / a.n_kv_heads;
    c.k = b->k;
    c.v = b->v;
    return c;
}

// ---- fetching ----

// Where a thread's pieces of a run lie: its first of block 0 of the cache; and in a stage.
typedef struct {
    const char *k, *v;
    uint block_bytes, place;
    int from, to; // positions that are seen
    const int *table;
} qn_wide_source;

// A thread has one chunk of every eighth (heads of 64: 16th) row of a tile.
template <int D> FN qn_wide_source qn_wide_source_of(const qn_view *c, int to)
{
    const int chunks = D / 8;
    int own = threadIdx.x & 127, chunk = own % chunks, row = own / chunks;
    ulong at = (c->base + (ulong)(row * D + chunk * 8)) * 2;
    uint place = chunk / 8 * QN_WIDE_HALF + row * 128 + ((chunk ^ row) & 7) * 16;
    return qn_wide_source{(const char *)c->k + at, (const char *)c->v + at, (uint)c->block * 2, place, c->first, to, c->table};
}
// The blocks of a tile, those of which a position is seen.
FN int4 qn_wide_blocks(const qn_wide_source *s, int tile)
{
    int b[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int block = 4 * tile + i, p = block * QN_BLOCK_TOKENS;
        b[i] = p <= s->to && p + QN_BLOCK_TOKENS > s->from ? s->table[block] : 0;
    }
    return make_int4(b[0], b[1], b[2], b[3]);
}

// WHOLE: all of the tile is seen; else what is not becomes zeros.
template <int D, bool WHOLE> FN void qn_wide_load(const qn_wide_source *s, int tile, int4 blocks, uint stage)
{
    const int rows = 128 / (D / 8);
    int p0 = tile * QN_FLASH_TILE + (int)(threadIdx.x & 127) / (D / 8);
    uint to = stage + s->place;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint block = i == 0 ? blocks.x : i == 1 ? blocks.y : i == 2 ? blocks.z : blocks.w;
        const char *k = s->k + (ulong)block * s->block_bytes, *v = s->v + (ulong)block * s->block_bytes;
#pragma unroll
        for (int h = 0; h < QN_BLOCK_TOKENS; h += rows) {
            int p = p0 + 16 * i + h, n_bytes = WHOLE || (p >= s->from && p <= s->to) ? 16 : 0;
            qn_copy16_at(to + (16 * i + h) * 128, k + h * D * 2, n_bytes);
            qn_copy16_at(to + (16 * i + h) * 128 + QN_FLASH_TILE * D * 2, v + h * D * 2, n_bytes);
        }
    }
}

// A stage whose copies are there is announced, once a warp; they are writes of this proxy, and wgmma reads by the other.
FN void qn_wide_announce(uint *pending)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    if (qn_lane_arrives()) qn_bar_arrive(*pending);
    *pending = 0;
}

// The walk of a run. pending: the barrier of the stage before, whose copies may be on their way, or 0.
template <int D> FN void qn_wide_fetch_run(const qn_view *c, int last, qn_wide_ring *r, uint *pending)
{
    qn_range range = {c->first / QN_FLASH_TILE, last / QN_FLASH_TILE, c->n_splits, c->n_splits};
    qn_walk at = {0, 0};
    qn_walk_split(&range, &at);
    qn_wide_source source = qn_wide_source_of<D>(c, last);
    int4 ahead = qn_wide_blocks(&source, at.tile);
    while (at.split < range.end) {
        int tile = at.tile, split = at.split;
        int4 blocks = ahead;
        uint stage = r->at + r->stage * qn_wide_form<D>::stage_bytes, empty = qn_wide_empty(r);
        qn_walk_on(&range, &at);
        if (at.split < range.end) ahead = qn_wide_blocks(&source, at.tile);
        if (__ballot_sync(~0u, qn_bar_over(empty, r->parity ^ 1)) != ~0u) { // one lane may see it over before another: they announce together
            qn_copy_wait<0>();
            if (*pending) qn_wide_announce(pending);
            qn_bar_wait(empty, r->parity ^ 1);
        }
        if (tile * QN_FLASH_TILE >= c->first && tile * QN_FLASH_TILE + QN_FLASH_TILE - 1 <= last)
            qn_wide_load<D, true>(&source, tile, blocks, stage);
        else
            qn_wide_load<D, false>(&source, tile, blocks, stage);
        qn_copy_commit();
        if ((threadIdx.x & 127) == 0)
            r->notes[r->stage] = tile * 4 + (at.split != split ? QN_WIDE_ENDS : 0) + (at.split >= range.end ? QN_WIDE_LAST : 0);
        qn_copy_wait<1>();
        if (*pending) qn_wide_announce(pending);
        *pending = qn_wide_full(r);
        qn_wide_step(r);
    }
}

template <int D>
FN void qn_wide_fetch(const qn_wide_buffers *b, const qn_gpu_attention_args &a, qn_wide_ring r, int window)
{
    qn_wide_place place = {};
    uint pending = 0;
    while (qn_wide_next(&place, b->rows, b->n_rows, window, a.n_kv_heads)) {
        qn_view c = qn_wide_look(b, a, &place);
        qn_wide_fetch_run<D>(&c, c.position + place.to - place.from - 1, &r, &pending);
    }
    qn_copy_wait<0>();
    if (pending) qn_wide_announce(&pending);
}

#endif
