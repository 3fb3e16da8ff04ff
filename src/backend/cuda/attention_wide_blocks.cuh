// The warpgroup of attention_wide.cuh that fetches, of a Q8_0 cache. Pieces of the cache (attention_blocks.cuh) come by bulk copies into a ring
// of their own, some tiles ahead; of each tile the warpgroup makes the stage that copies would have made of an F16 cache.
#ifndef QN_BACKEND_CUDA_ATTENTION_WIDE_BLOCKS_CUH
#define QN_BACKEND_CUDA_ATTENTION_WIDE_BLOCKS_CUH
#include "backend/cuda/attention_wide_fetch.cuh"

// Where a thread is in the ring of tiles in blocks.
typedef struct {
    char *at;
    uint bars;
    int *notes;
    int place;
    uint parity;
} qn_wide_blocks_ring;

// What the first warp asks for. Its lane l < 8 has of each tile piece l % 4 of the keys (l < 4) or the values.
typedef struct {
    qn_range range;
    qn_walk next;     // that is asked for next
    const char *from; // the key head in block 0 of the cache
    const int *table;
    uint block_bytes;
    int first, last, block; // positions that are seen; the block of `next` that is this lane's
} qn_wide_pieces;

FN bool qn_wide_has_piece(const qn_wide_pieces *s)
{
    int lane = threadIdx.x & 31, p = (4 * s->next.tile + lane % 4) * QN_BLOCK_TOKENS;
    return lane < 8 && p <= s->last && p + QN_BLOCK_TOKENS > s->first;
}
FN void qn_wide_find_piece(qn_wide_pieces *s)
{
    if (s->next.split < s->range.end && qn_wide_has_piece(s)) s->block = s->table[4 * s->next.tile + (int)(threadIdx.x & 3)];
}
// The next tile, if there is one, to a place that is free, with a note that says of it what attention_wide.cuh's say.
template <int D> FN void qn_wide_ask(qn_wide_pieces *s, const qn_wide_blocks_ring *b, int place)
{
    const int n_bytes = QN_IN_BLOCKS(QN_BLOCK_TOKENS * D);
    if (s->next.split >= s->range.end) return;
    int lane = threadIdx.x & 31, tile = s->next.tile, split = s->next.split;
    bool mine = qn_wide_has_piece(s);
    uint bar = b->bars + place * 8, n = __popc(__ballot_sync(~0u, mine));
    qn_walk_on(&s->range, &s->next);
    if (lane == 0) {
        b->notes[place] =
            tile * 4 + (s->next.split != split ? QN_WIDE_ENDS : 0) + (s->next.split >= s->range.end ? QN_WIDE_LAST : 0);
        qn_bar_expect(bar, n * n_bytes);
    }
    __syncwarp();
    if (mine)
        qn_copy_in(qn_shared_address(b->at) + (place * 8 + lane) * n_bytes, s->from + (ulong)s->block * s->block_bytes, n_bytes, bar);
    qn_wide_find_piece(s);
}

// The stage of a tile.
template <int D> FN void qn_wide_blocks_stage(const char *tile, int p0, int first, int last, char *stage)
{
    int own = threadIdx.x & 127;
#pragma unroll 1
    for (int i = own; i < 2 * D; i += 128) {
        int side = i / D, row = qn_blocks_row<D>(i % D), half = qn_blocks_half<D>(i % D), p = p0 + row;
        const char *numbers = tile + (side * QN_FLASH_TILE + row) * QN_IN_BLOCKS(D) + half * QN_IN_BLOCKS(64);
        char *at = stage + side * qn_wide_form<D>::side_bytes + half * QN_WIDE_HALF + row * 128;
        qn_blocks_decode(numbers, p >= first && p <= last, [&](int j, uint4 v) { *(uint4 *)(at + qn_chunk(row, j) * 16) = v; });
    }
}

template <int D> FN void qn_wide_fetch_blocks_run(const qn_view *c, int last, qn_wide_ring *r, char *stages, qn_wide_blocks_ring *b)
{
    bool asks = threadIdx.x >> 5 == QN_WIDE_ROWS / 16; // the first warp
    qn_wide_pieces s;
    int note, first = c->first;
    if (asks) {
        const char *side = (const char *)((threadIdx.x & 4) ? c->v : c->k);
        s = qn_wide_pieces{{c->first / QN_FLASH_TILE, last / QN_FLASH_TILE, c->n_splits, c->n_splits}, {0, 0}, side + QN_IN_BLOCKS(c->base),
                           c->table, (uint)QN_IN_BLOCKS(c->block), c->first, last, 0};
        qn_walk_split(&s.range, &s.next);
        qn_wide_find_piece(&s);
        for (int i = 0; i < QN_WIDE_BLOCKS_TILES; i++)
            qn_wide_ask<D>(&s, b, (b->place + i) % QN_WIDE_BLOCKS_TILES);
    }
    do {
        uint full = qn_wide_full(r);
        qn_bar_wait(b->bars + b->place * 8, b->parity);
        note = b->notes[b->place];
        qn_bar_wait(qn_wide_empty(r), r->parity ^ 1);
        qn_wide_blocks_stage<D>(b->at + b->place * QN_IN_BLOCKS(QN_FLASH_TILE * D * 2), (note >> 2) * QN_FLASH_TILE, first, last,
                                stages + r->stage * qn_wide_form<D>::stage_bytes);
        if ((threadIdx.x & 127) == 0) r->notes[r->stage] = note;
        qn_wide_announce(&full);
        qn_wide_step(r);
        qn_fetchers_meet(); // the place has been read
        if (asks) qn_wide_ask<D>(&s, b, b->place);
        if (++b->place == QN_WIDE_BLOCKS_TILES) b->place = 0, b->parity ^= 1;
    } while (!(note & QN_WIDE_LAST));
}

template <int D> FN void qn_wide_fetch_blocks(const qn_wide_buffers *b, const qn_gpu_attention_args &a, qn_wide_ring r, char *shared, int window)
{
    typedef qn_wide_form<D, true> form;
    qn_wide_blocks_ring blocks = {shared + form::blocks_at, qn_shared_address(shared + form::blocks_bars_at),
                                  (int *)(shared + form::blocks_notes_at), 0, 0};
    qn_wide_place place = {};
    while (qn_wide_next(&place, b->rows, b->n_rows, window, a.n_kv_heads)) {
        qn_view c = qn_wide_look(b, a, &place);
        qn_wide_fetch_blocks_run<D>(&c, c.position + place.to - place.from - 1, &r, shared, &blocks);
    }
}

#endif
