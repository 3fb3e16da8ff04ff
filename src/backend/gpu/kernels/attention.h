// attention over the paged cache by splits, their merge, and the forms for one row: attend (norms, rotation, append and
// attention in one) and merge_project (merge and the product that follows).
//
// Order of a row, whatever the batch, the grid and the fusion; it depends on absolute positions only:
// - Pieces of 256 positions, aligned. Piece s belongs to split s mod n_splits, which walks its pieces ascending. n_splits is
//   QN_SPLITS, or fewer where the longest context has no more pieces than that (each is then a split of its own).
// - Of a piece, simdgroup g takes the blocks of 16 positions g and g + 8, as one step of the online softmax: m' = max(m, scores),
//   accumulators and sum times exp(m − m'), then the positions ascending. A score: quarter c of a quad of lanes takes the eights
//   8 (c + 4 j), j ascending; (0 + 1) + (2 + 3); times scale.
// - A split's simdgroups are joined at its end: M their greatest, each times exp(m − M), added g ascending.
// - Splits are joined ascending: qn_merge. A split without a visible position does not exist.
// Positions out of sight are not used, not even times zero.
//
// Group of threads: one row, one key head, up to QN_HEADS of its query heads. Grid: x key heads × parts of their query heads,
// y rows, z splits (1 where a group does all splits of its row and writes the result itself).
#ifndef QN_BACKEND_GPU_KERNELS_ATTENTION_H
#define QN_BACKEND_GPU_KERNELS_ATTENTION_H
#include "backend/gpu/kernels/product.h"

#define QN_HEADS 8      // query heads a group has at once
#define QN_PIECE 256    // positions; a host's own kernels may have others (args: piece)
#define QN_HALF 128     // from a simdgroup's first block of a piece to its second
#define QN_NEVER -1e30f // below every score

// What a group looks at.
typedef struct {
    GLOBAL const void *k, *v;
    GLOBAL const int *table; // of the row's slot
    ulong base, block;       // elements: of the key head in a block, of a block over all heads
    int dim, first, position;
    int n_heads, n_splits;
    int wide_k, wide_v; // whole vectors may be loaded
    float scale;
} qn_view;

// What enters the cache with a row, for one key head; q: of its first query head.
typedef struct {
    GLOBAL const float *q, *k, *v, *inv_freq;
    GLOBAL const void *q_norm, *k_norm;
    GLOBAL void *k_cache, *v_cache;
} qn_entry;

FN int qn_first_seen(int position, int window)
{
    return window > 0 && position >= window ? position - window + 1 : 0;
}
// The first piece of split z that has a visible position, given the first and the last piece that have one; > last: none.
FN int qn_first_piece(int z, int n_splits, int first)
{
    return first + (z + n_splits - first % n_splits) % n_splits;
}
FN int qn_block_seen(PRIV const qn_view *c, int p0)
{
    return p0 <= c->position && p0 + QN_BLOCK_TOKENS > c->first;
}
FN int qn_seen(PRIV const qn_view *c, int p)
{
    return p >= c->first && p <= c->position;
}
// Element 0 of position p0, which begins a block.
FN ulong qn_block_at(PRIV const qn_view *c, int p0)
{
    return (ulong)c->table[p0 / QN_BLOCK_TOKENS] * c->block + c->base;
}
FN int qn_head_of(ARGS_OF(qn_gpu_attention_args, a), int x)
{
    return x / a.n_parts * (a.n_heads / a.n_kv_heads) + x % a.n_parts * QN_HEADS;
}
// x: the group's place along the grid's x.
FN void qn_look(PRIV qn_view *c, ARGS_OF(qn_gpu_attention_args, a), GLOBAL const qn_row *row,
                GLOBAL const int *table, int x)
{
    int n = a.n_heads / a.n_kv_heads - x % a.n_parts * QN_HEADS;
    ulong head = (ulong)QN_BLOCK_TOKENS * (ulong)a.head_dim;
    c->table = table + (ulong)row->slot * (ulong)a.max_blocks;
    c->base = (ulong)(x / a.n_parts) * head;
    c->block = (ulong)a.n_kv_heads * head;
    c->dim = a.head_dim;
    c->position = row->position;
    c->first = qn_first_seen(c->position, a.window);
    c->n_heads = n < QN_HEADS ? n : QN_HEADS;
    c->n_splits = a.n_splits;
    c->wide_k = a.wide_k;
    c->wide_v = a.wide_v;
    c->scale = a.scale;
}
// One step of joining splits: (o, m, l) with (po, pm, pl); l = 0: nothing there yet.
FN void qn_merge(PRIV float *o, PRIV float *m, PRIV float *l, float po, float pm, float pl)
{
    float most = *l > 0.0f && *m > pm ? *m : pm;
    float old = *l > 0.0f ? EXP(*m - most) : 0.0f, fresh = EXP(pm - most);
    *o = FMA(po, fresh, *o * old);
    *l = FMA(pl, fresh, *l * old);
    *m = most;
}
// Element d of head h of a row whose partials lie at `from`; first, last: the pieces of its first and its last visible position.
FN float qn_merged(GLOBAL const float *from, int h, int d, int dim, int n_splits, int first,
                   int last)
{
    float o = 0.0f, m = 0.0f, l = 0.0f;
    for (int z = 0; z < n_splits; z++) {
        if (qn_first_piece(z, n_splits, first) > last) continue;
        GLOBAL const float *part =
            from + ((ulong)h * (ulong)n_splits + (ulong)z) * (ulong)(dim + 2);
        qn_merge(&o, &m, &l, part[d], part[dim], part[dim + 1]);
    }
    return o / l;
}

// Element d of a head as its norm leaves it (type −1: no norm), as rms_norm writes it.
FN float qn_headed(GLOBAL const float *x, GLOBAL const void *weight, int type, float inverse, int d)
{
    if (type < 0) return x[d];
    return qn_load(weight, type, (ulong)d) * (x[d] * inverse);
}
// cos and sin of a pair of a head, as rope has them.
FN float2 qn_turn(GLOBAL const float *inv_freq, int d, int position, float scale)
{
    float angle = (float)position * inv_freq[d];
    return F2(scale * COS(angle), scale * SIN(angle));
}

// Numbers of the cache, D / 32 of a lane.
FN void qn_load4_f32(GLOBAL const void *p, ulong i, PRIV float *to)
{
    float4 f = *(GLOBAL const float4 *)((GLOBAL const float *)p + i);
    to[0] = f.x, to[1] = f.y, to[2] = f.z, to[3] = f.w;
}
FN void qn_load2_f32(GLOBAL const void *p, ulong i, PRIV float *to)
{
    float2 f = *(GLOBAL const float2 *)((GLOBAL const float *)p + i);
    to[0] = f.x, to[1] = f.y;
}
FN void qn_load4_f16(GLOBAL const void *p, ulong i, PRIV float *to)
{
    uint2 u = *(GLOBAL const uint2 *)((GLOBAL const f16s *)p + i);
    float2 a = qn_h2(u.x), b = qn_h2(u.y);
    to[0] = a.x, to[1] = a.y, to[2] = b.x, to[3] = b.y;
}
FN void qn_load2_f16(GLOBAL const void *p, ulong i, PRIV float *to)
{
    float2 f = qn_h2(*(GLOBAL const uint *)((GLOBAL const f16s *)p + i));
    to[0] = f.x, to[1] = f.y;
}
FN void qn_load4_bf16(GLOBAL const void *p, ulong i, PRIV float *to)
{
    uint2 u = *(GLOBAL const uint2 *)((GLOBAL const bf16s *)p + i);
    to[0] = AS_FLOAT(u.x << 16), to[1] = AS_FLOAT(u.x & 0xffff0000u);
    to[2] = AS_FLOAT(u.y << 16), to[3] = AS_FLOAT(u.y & 0xffff0000u);
}
FN void qn_load2_bf16(GLOBAL const void *p, ulong i, PRIV float *to)
{
    uint u = *(GLOBAL const uint *)((GLOBAL const bf16s *)p + i);
    to[0] = AS_FLOAT(u << 16), to[1] = AS_FLOAT(u & 0xffff0000u);
}

// Blocks of q8_0, at multiples of 2 only. Numbers of a lane lie in one block.
FN uint qn_four_by_2(GLOBAL const uchar *p)
{
    GLOBAL const ushort *h = (GLOBAL const ushort *)p;
    return (uint)h[0] | (uint)h[1] << 16;
}
FN void qn_load4_q8_0(GLOBAL const void *p, ulong i, PRIV float *to)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 5, 34);
    float4 f =
        qn_scaled4(qn_four_by_2(block + 2 + (uint)(i & 31)) ^ 0x80808080u, 128, qn_half_at(block));
    to[0] = f.x, to[1] = f.y, to[2] = f.z, to[3] = f.w;
}
FN void qn_load2_q8_0(GLOBAL const void *p, ulong i, PRIV float *to)
{
    GLOBAL const uchar *block = qn_block_at(p, i >> 5, 34);
    uint u = (uint) * (GLOBAL const ushort *)(block + 2 + (uint)(i & 31)) ^ 0x8080u;
    float d = qn_half_at(block);
    to[0] = d * (float)((int)(u & 255u) - 128);
    to[1] = d * (float)((int)(u >> 8) - 128);
}

#define FORMAT f32
#define FORMAT_TYPE 0
#include "backend/gpu/kernels/attention_format.h"
#undef FORMAT
#undef FORMAT_TYPE
#define FORMAT f16
#define FORMAT_TYPE 1
#include "backend/gpu/kernels/attention_format.h"
#undef FORMAT
#undef FORMAT_TYPE
#define FORMAT bf16
#define FORMAT_TYPE 2
#include "backend/gpu/kernels/attention_format.h"
#undef FORMAT
#undef FORMAT_TYPE
#define FORMAT q8_0
#define FORMAT_TYPE 3
#include "backend/gpu/kernels/attention_format.h"
#undef FORMAT
#undef FORMAT_TYPE

// Joins the splits of every row: a thread an element.
KERNEL(attention_merge, BUF(0, float, y), BUF(1, const float, partials),
       BUF(2, const qn_step_counts, counts), BUF(3, const qn_row, rows),
       ARGS(4, qn_gpu_attention_args, a))
{
    int r = TG_Y, i = TG_X * QN_GPU_THREADS + TID, width = a.n_heads * a.head_dim;
    if (r >= counts->n_rows || i >= width) return;
    int position = rows[r].position;
    ulong line = (ulong)a.n_splits * (ulong)(a.head_dim + 2);
    y[(ulong)r * (ulong)width + (ulong)i] = qn_merged(
        partials + (ulong)r * (ulong)a.n_heads * line, i / a.head_dim, i % a.head_dim, a.head_dim,
        a.n_splits, qn_first_seen(position, a.window) / a.piece, position / a.piece);
}

#endif
