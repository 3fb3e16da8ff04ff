// CUDA's own attention: flash attention with the matrix units, for F16, BF16 and Q8_0 caches and heads of 64 or 128. It takes the tasks of
// the dialect's kernels (gpu/kernels/attention.h), with their buffers and arguments, and leaves partials of the same form, so that
// attention_merge, and products that merge, read them alike. flash_rows and flash_wide write whole rows' results as the tiles of the product that
// takes them where args.tile_rows says so.
//
// Order of a row, for decode, prefill and attend alike; it depends on absolute positions only, never on the rows beside it:
// - Numbers of a Q8_0 cache become F16 (attention_blocks.cuh), which is called the cache's type below.
// - q is rounded to the cache's type (F16: kept within its range). Keys come in tiles of 64 positions, aligned.
// - A score: one chain of m16n8k16 products with float32 accumulators from 0, over D / 16 steps; step i has the dims 16 i … 16 i + 15.
//   Then times scale. (mma.sync and wgmma give the same bits for the same 16 numbers a step: bench/cuda_flash.)
// - A tile is one step of the online softmax: m' = max(m, scores seen), p = 2^((s − m') log2 e) rounded to the cache's type, 0 where not
//   seen. l = l · 2^((m − m') log2 e) + Σ p: a quarter adds its keys 2 c, 2 c + 1 of each eight, ascending; then (0 + 1) + (2 + 3).
//   o = o · the same, then four products of 16 keys, ascending, on top.
// - A tile is a piece (args.piece): tile s belongs to split s mod n_splits, which takes its own ascending from (o, m, l) = (0, never, 0);
//   splits are joined ascending by qn_merge; y = o / l. So a short context has a group, or a warp, a tile, where
//   n_splits is not less (it is 16 where contexts may be of 4,096 and more): one is not walked behind another.
// A tile of which a row sees nothing changes nothing (p = 0, factor 1), so whether it is walked is no matter.
// Values of positions that no row of the group sees are zeros in shared memory; what the cache holds there is not used.
//
// For the host, with type f16, bf16 or q8_0, and unless said otherwise 256 threads and QN_FLASH_SHARED(D) bytes of dynamic shared memory (above 48 KiB: set the attribute):
//   flash_rows_<type>_<64|128>        for attention_<…>_<64|128>, same grid (key heads · n_parts, rows, n_splits or 1), buffers, args; where
//                                     args.whole fewer groups than rows will do. Of f16 and bf16 (attention_warps.cuh) a group has
//                                     32 · QN_CUDA_FLASH_WARPS threads, as many splits as warps, QN_CUDA_FLASH_WARPS_SHARED_<D> bytes
//   flash_attend_<type>_<64|128>      for attend_<…>, buffers, args; grid with the rows (at most 32) as y: unlike attend it takes several
//   flash_tiles_<type>_<64|128>       where args.whole: a second task with the buffers and args of attention_<…>, before or after flash_rows;
//                                     grid (n_kv_heads, ceil(max_rows / qn_flash_window(group)), 1). It does the rows that lie in runs (rows of
//                                     one slot at consecutive positions, QN_FLASH_RUN of them or more within a window); flash_rows the others.
//                                     Both write y, each its own rows. Not wanted for plans that cannot have runs.
//   flash_wide_<type>_<64|128>        on sm_90a in place of flash_tiles: windows of qn_wide_window(group) rows, whatever grid (n, 1, 1) of up to
//                                     n_kv_heads · windows groups, one a multiprocessor at most; QN_CUDA_WIDE_THREADS, QN_CUDA_WIDE_SHARED_<D>
// Conditions: head_dim is 64 or 128 exactly, both caches at multiples of 16 bytes.
#ifndef QN_BACKEND_CUDA_ATTENTION_CUH
#define QN_BACKEND_CUDA_ATTENTION_CUH
#include "backend/cuda/attention_ptx.cuh"
#include "backend/cuda/gemm_tiled.cuh"

#define QN_FLASH_TILE QN_CUDA_PIECE    // positions
#define QN_FLASH_STAGES 2              // tiles in shared memory
#define QN_FLASH_SHARED(D) (QN_FLASH_STAGES * QN_FLASH_TILE * (D)*4 + QN_FLASH_SIDE)
#define QN_FLASH_RUN 4                 // rows that make a run
#define QN_FLASH_ROWS 128              // query rows (of the batch × heads) of a group of flash_tiles
#define QN_WIDE_ROWS QN_CUDA_WIDE_ROWS // and of flash_wide
#define QN_FLASH_SIDE 8192             // bytes beside the tiles
#define QN_LOG2E 1.44269504f

// Rows of the batch that a group of flash_tiles looks at.
FN int qn_flash_window(int group)
{
    int n = 1;
    while (2 * n * group <= QN_FLASH_ROWS)
        n *= 2;
    return n;
}

// The same of flash_wide.
FN int qn_wide_window(int group)
{
    return group < QN_WIDE_ROWS ? QN_WIDE_ROWS / group : 1;
}
// Of the one that this card has.
FN int qn_flash_run_window(int group)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    return qn_wide_window(group);
#else
    return qn_flash_window(group);
#endif
}

// ---- the tiles of a walk ----

// Where a group is: a tile of a split. split = end: over.
typedef struct {
    int split, tile;
} qn_walk;
typedef struct {
    int first, last; // tiles in sight
    int n_splits, end;
} qn_range;

// To the first tile of the first split from w->split on that has any.
FN void qn_walk_split(const qn_range *r, qn_walk *w)
{
    while (w->split < r->end && qn_first_piece(w->split, r->n_splits, r->first) > r->last)
        w->split++;
    w->tile = qn_first_piece(w->split, r->n_splits, r->first);
}
FN void qn_walk_on(const qn_range *r, qn_walk *w)
{
    w->tile += r->n_splits;
    if (w->tile <= r->last) return;
    w->split++;
    qn_walk_split(r, w);
}

// The walk of all splits (z < 0), or of the z-th.
FN void qn_flash_range(qn_range *r, qn_walk *at, const qn_view *c, int z)
{
    *r = {c->first / QN_FLASH_TILE, c->position / QN_FLASH_TILE, c->n_splits, z < 0 ? c->n_splits : z + 1};
    *at = {z < 0 ? 0 : z, 0};
    qn_walk_split(r, at);
}

// ---- shared memory ----

// The stages, tiles as they come from the cache, then of blocks the tile of F16 numbers that is made of one; then what is beside them.
template <int D, bool BLOCKS> struct qn_flash_room {
    static const int tile_bytes = QN_FLASH_TILE * D * 4, stage_bytes = BLOCKS ? tile_bytes / 64 * 34 : tile_bytes;
    static const int tile_at = QN_FLASH_STAGES * stage_bytes, tops_at = tile_at + (BLOCKS ? tile_bytes : 0);
    static const int weights_at = tops_at + 256, end = weights_at + 1152; // of attention_rows.cuh
};

// A row of 16-byte chunks, permuted so that eight rows at one chunk do not meet in a bank.
FN int qn_chunk(int row, int chunk)
{
    return chunk ^ (row & 7);
}

// A tile's keys and values, those at positions from … to, on their way, zeros elsewhere.
template <int D> FN void qn_flash_load(const qn_view *c, int from, int to, int tile, char *stage)
{
    for (int i = threadIdx.x; i < QN_FLASH_TILE * D / 8; i += QN_GPU_THREADS) {
        int row = i / (D / 8), chunk = i % (D / 8), p = tile * QN_FLASH_TILE + row;
        int there = p >= from && p <= to;
        ulong at = 0;
        if (there) at = qn_block_at(c, p) + (ulong)(p % QN_BLOCK_TOKENS * D + chunk * 8);
        char *room = stage + row * D * 2 + qn_chunk(row, chunk) * 16;
        qn_copy16(room, (const ushort *)c->k + at, there);
        qn_copy16(room + QN_FLASH_TILE * D * 2, (const ushort *)c->v + at, there);
    }
}

#include "backend/cuda/attention_blocks.cuh"

// Walks `ahead` one tile further, loading it; a group of copies is closed in any case.
template <int D, bool BLOCKS>
FN void qn_flash_fetch(const qn_view *c, const qn_range *r, qn_walk *ahead, int from, int to,
                       char *stage)
{
    if (ahead->split < r->end) {
        if (BLOCKS)
            qn_blocks_load<D>(c, from, to, ahead->tile, stage);
        else
            qn_flash_load<D>(c, from, to, ahead->tile, stage);
        qn_walk_on(r, ahead);
    }
    qn_copy_commit();
}

// ---- fragments ----

// Of a step of a query, at its first dim, what quarter c has of the A fragment: dims 2 c, 2 c + 1 and the same of the second eight.
template <int TYPE> FN uint2 qn_query_step(const float *q, int quarter)
{
    float2 a = *(const float2 *)(q + 2 * quarter), b = *(const float2 *)(q + 8 + 2 * quarter);
    return make_uint2(qn_pack2<TYPE>(a.x, a.y), qn_pack2<TYPE>(b.x, b.y));
}
template <int TYPE> FN float2 qn_unpack2(uint u)
{
    if (TYPE == 1) return qn_h2(u);
    return make_float2(AS_FLOAT(u << 16), AS_FLOAT(u & 0xffff0000u));
}
// Scores of eight keys, tile rows `key` and on, by the queries low (rows g) and high (rows g + 8).
template <int TYPE, int D>
FN void qn_flash_scores(float s[4], const char *keys, int key, const uint2 low[D / 16], const uint2 high[D / 16])
{
    int lane = threadIdx.x & 31, row = key + (lane & 7);
#pragma unroll
    for (int i = 0; i < D / 16; i += 2) {
        uint4 k = qn_matrices4(keys + row * D * 2 + qn_chunk(row, 2 * i + (lane >> 3)) * 16);
        qn_mma<TYPE>(s, make_uint4(low[i].x, high[i].x, low[i].y, high[i].y), make_uint2(k.x, k.y));
        qn_mma<TYPE>(s, make_uint4(low[i + 1].x, high[i + 1].x, low[i + 1].y, high[i + 1].y), make_uint2(k.z, k.w));
    }
}
FN float qn_flash_weight(float s, float m)
{
    return qn_exp2((s - m) * QN_LOG2E);
}
// Two of them (0 … 1: within every type's range) in the cache's type.
template <int TYPE> FN uint qn_flash_pack(float a, float b)
{
    if (TYPE == 2) return qn_pack_bf16(a, b);
    __half2 h = __floats2half2_rn(a, b);
    return *(uint *)&h;
}
// Σ p of a row over a tile, from its halves of the A fragments: [step][keys 2 c, 2 c + 1 of the first and of the second eight].
template <int TYPE> FN float qn_flash_sum(const uint p[4][2])
{
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 a = qn_unpack2<TYPE>(p[i][0]), b = qn_unpack2<TYPE>(p[i][1]);
        sum = sum + a.x + a.y + b.x + b.y;
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    return sum + __shfl_xor_sync(~0u, sum, 2);
}
// The 16 bytes of a key's values that begin at dim 8 · chunk: a row for qn_transposed4.
template <int D> FN const char *qn_value_row(const char *values, int key, int chunk)
{
    return values + key * D * 2 + qn_chunk(key, chunk) * 16;
}

static_assert(qn_flash_room<128, true>::end <= QN_FLASH_SHARED(128) - QN_HEADS * 128 * 4 &&
                  qn_flash_room<64, true>::end <= QN_FLASH_SHARED(64) - QN_HEADS * 64 * 4,
              "attend's queries");

#include "backend/cuda/attention_rows.cuh"
#include "backend/cuda/attention_tiles.cuh"
#include "backend/cuda/attention_wide_kernels.cuh"

// ---- entries ----

// Of at most 32 rows, those that a group of flash_attend enters, a bit each: its own, and those before it in the same slot whose keys
// are its split's. Groups that enter the same key write the same bits.
FN uint qn_entering(const qn_row *rows, int row, int n_rows, const qn_gpu_attention_args &a, int z)
{
    int lane = threadIdx.x & 31, there = lane < n_rows;
    int slot = there ? rows[lane].slot : -1, position = there ? rows[lane].position : 0;
    int own_slot = __shfl_sync(~0u, slot, row), own_position = __shfl_sync(~0u, position, row);
    int enters = slot == own_slot && position < own_position && (a.whole || position / QN_FLASH_TILE % a.n_splits == z);
    return __ballot_sync(~0u, lane == row || (there && enters));
}

// Of a Q8_0 cache; of 16-bit ones: attention_warps.cuh.
#define FLASH_ROWS(D)                                                                              \
    KERNEL(flash_rows_q8_0_##D, BUF(0, float, out), BUF(1, const float, q_in),                     \
           BUF(2, const void, k_cache), BUF(3, const void, v_cache),                               \
           BUF(4, const qn_step_counts, counts), BUF(5, const qn_row, rows),                       \
           BUF(6, const int, table), ARGS(7, qn_gpu_attention_args, a))                            \
    {                                                                                              \
        extern __shared__ __align__(128) char room[];                                              \
        qn_grid_go_on();                                                                           \
        int n_rows = counts->n_rows;                                                               \
        for (int row = TG_Y; row < n_rows; row += (int)gridDim.y) {                                \
            if (a.whole && qn_flash_in_run(rows, row, n_rows, a.n_heads / a.n_kv_heads)) continue; \
            qn_view c;                                                                             \
            qn_look(&c, a, rows + row, table, TG_X);                                               \
            c.k = k_cache;                                                                         \
            c.v = v_cache;                                                                         \
            ulong line = (ulong)row * (ulong)a.n_heads + (ulong)qn_head_of(a, TG_X);               \
            qn_grid_wait(); /* rows and block table are older than the kernel before (program.c) */ \
            qn_flash_tiled tiled = {a.tile_rows, a.n_heads * D, row, qn_head_of(a, TG_X) * D};     \
            qn_flash_row<1, D, true>(&c, a.whole ? -1 : TG_Z, q_in + line * D, room,               \
                                     a.tile_rows ? out : out + line * (ulong)(a.whole ? D : a.n_splits * (D + 2)), &tiled); \
            BARRIER(); /* all are done with the room */                                            \
        }                                                                                          \
        qn_grid_wait();                                                                            \
    }

#define FLASH(FORMAT, TYPE, D, BLOCKS)                                                             \
    KERNEL(flash_tiles_##FORMAT##_##D, BUF(0, float, y), BUF(1, const float, q_in),                \
           BUF(2, const void, k_cache), BUF(3, const void, v_cache),                               \
           BUF(4, const qn_step_counts, counts), BUF(5, const qn_row, rows),                       \
           BUF(6, const int, table), ARGS(7, qn_gpu_attention_args, a))                            \
    {                                                                                              \
        extern __shared__ __align__(128) char room[];                                              \
        qn_flash_windows<TYPE, D, BLOCKS>(y, q_in, k_cache, v_cache, counts->n_rows, rows, table,  \
                                          a, TG_X, TG_Y, room);                                    \
    }                                                                                              \
    KERNEL(flash_attend_##FORMAT##_##D, BUF(0, float, out), BUF(1, const float, q_in),             \
           BUF(2, const float, k_in), BUF(3, const float, v_in), BUF(4, const float, inv_freq),    \
           BUF(5, const void, q_norm), BUF(6, const void, k_norm), BUF(7, void, k_cache),          \
           BUF(8, void, v_cache), BUF(9, const qn_step_counts, counts),                            \
           BUF(10, const qn_row, rows), BUF(11, const int, table),                                 \
           ARGS(12, qn_gpu_attention_args, a))                                                     \
    {                                                                                              \
        extern __shared__ __align__(128) char room[];                                              \
        int row = TG_Y, z = a.whole ? -1 : TG_Z, n_rows = counts->n_rows;                          \
        qn_view c;                                                                                 \
        qn_range range;                                                                            \
        qn_walk at;                                                                                \
        if (row >= n_rows) return;                                                                 \
        qn_look(&c, a, rows + row, table, TG_X);                                                   \
        c.k = k_cache;                                                                             \
        c.v = v_cache;                                                                             \
        int head = qn_head_of(a, TG_X);                                                            \
        qn_flash_range(&range, &at, &c, z);                                                        \
        if (at.split >= range.end) return;                                                         \
        float *q = (float *)(room + QN_FLASH_SHARED(D) - QN_HEADS * D * 4);                        \
        uint left = n_rows == 1 ? 1u << row : qn_entering(rows, row, n_rows, a, TG_Z);             \
        for (; left; left &= left - 1) {                                                           \
            int r = __ffs(left) - 1;                                                               \
            qn_view w = c;                                                                         \
            if (r != row) w.n_heads = 0, w.position = rows[r].position;                            \
            qn_entry e = {q_in + (r * a.n_heads + head) * D, k_in + (r * a.n_kv_heads + TG_X) * D, \
                          v_in + (r * a.n_kv_heads + TG_X) * D, inv_freq, q_norm, k_norm, k_cache, v_cache};\
            int appends = a.whole || w.position / QN_FLASH_TILE % a.n_splits == TG_Z;              \
            qn_enter_##FORMAT##_##D(&w, &e, a, appends, TID, q);                                   \
        }                                                                                          \
        BARRIER();                                                                                 \
        int line = row * a.n_heads + head;                                                         \
        qn_flash_row<TYPE, D, BLOCKS>(&c, z, q, room, out + line * (a.whole ? D : a.n_splits * (D + 2))); \
    }

FLASH(f16, 1, 64, false)
FLASH(f16, 1, 128, false)
FLASH(bf16, 2, 64, false)
FLASH(bf16, 2, 128, false)
FLASH(q8_0, 1, 64, true)
FLASH(q8_0, 1, 128, true)
FLASH_ROWS(64)
FLASH_ROWS(128)
#include "backend/cuda/attention_warps.cuh"

#endif
