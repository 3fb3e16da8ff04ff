// Tiles of a Q8_0 cache (attention.cuh, attention_wide_blocks.cuh). They come into shared memory as they lie in the cache: of a key head, 16
// positions are one piece of whole 16 bytes. There they become the tile of F16 numbers that a copy would have made of an F16 cache: d · q,
// rounded once, by the instructions of weights in Q8_0. What is beyond F16's range, which no model's keys and values come near, is kept within it.
#ifndef QN_BACKEND_CUDA_ATTENTION_BLOCKS_CUH
#define QN_BACKEND_CUDA_ATTENTION_BLOCKS_CUH
#include "backend/cuda/blocks_packed.cuh"

#define QN_IN_BLOCKS(n) ((n) / 32 * 34) // bytes of n numbers
#define QN_BLOCKS_MOST 0x6007u          // 515.5 in F16: the largest d of which 127 d is within F16's range

// The pieces of a tile of which a position from … to is seen: of keys, then of values. On their way when this returns.
template <int D> FN void qn_blocks_load(const qn_view *c, int from, int to, int tile, char *stage)
{
    const int piece = QN_IN_BLOCKS(QN_BLOCK_TOKENS * D), chunks = piece / 16;
    for (int i = threadIdx.x; i < QN_FLASH_TILE / QN_BLOCK_TOKENS * chunks; i += QN_GPU_THREADS) {
        int p = tile * QN_FLASH_TILE + i / chunks * QN_BLOCK_TOKENS;
        if (p > to || p + QN_BLOCK_TOKENS <= from) continue;
        ulong at = QN_IN_BLOCKS(qn_block_at(c, p)) + (ulong)(i % chunks * 16);
        qn_copy16(stage + i * 16, (const char *)c->k + at, 1);
        qn_copy16(stage + QN_IN_BLOCKS(QN_FLASH_TILE * D) + i * 16, (const char *)c->v + at, 1);
    }
}

// A block's d, twice.
FN uint qn_blocks_scale(uint d)
{
    return (d < QN_BLOCKS_MOST ? d : QN_BLOCKS_MOST) * 0x10001u;
}
FN uint4 qn_blocks_eight(uint low, uint high, uint d)
{
    low ^= 0x80808080u; // signed bytes become quants + 128
    high ^= 0x80808080u;
    return make_uint4(qn_q8_pair(low, 0, d), qn_q8_pair(low, 1, d), qn_q8_pair(high, 0, d), qn_q8_pair(high, 1, d));
}
// Two blocks, 17 words, as F16: take(i, numbers 8 i … 8 i + 7). there = 0: zeros.
template <typename TAKE> FN void qn_blocks_decode(const char *from, bool there, TAKE take)
{
    const uint *u = (const uint *)from;
    if (!there) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            take(i, make_uint4(0, 0, 0, 0));
        return;
    }
    uint word = u[0], d = qn_blocks_scale(word & 0xffff);
#pragma unroll
    for (int i = 0; i < 4; i++) { // the first block's quants begin with half a word
        uint next = u[2 * i + 1], after = u[2 * i + 2];
        take(i, qn_blocks_eight(__byte_perm(word, next, 0x5432), __byte_perm(next, after, 0x5432), d));
        word = after;
    }
    d = qn_blocks_scale(word >> 16);
#pragma unroll
    for (int i = 0; i < 4; i++)
        take(4 + i, qn_blocks_eight(u[2 * i + 9], u[2 * i + 10], d));
}

// A tile's keys, or values, are D pairs of blocks. Pair i is of row qn_blocks_row, its first dim 64 · qn_blocks_half: so that a warp meets in
// no bank, neither where it reads nor where it writes.
template <int D> FN int qn_blocks_row(int i)
{
    return D == 64 ? i : i / 32 * 16 + i % 16;
}
template <int D> FN int qn_blocks_half(int i)
{
    return D == 64 ? 0 : i / 16 % 2;
}

// The tile of F16 numbers (qn_flash_load's) of a stage; positions from … to are seen.
template <int D> FN void qn_blocks_tile(const char *stage, int from, int to, int tile, char *room)
{
    for (int i = threadIdx.x; i < 2 * D; i += QN_GPU_THREADS) {
        int side = i / D, row = qn_blocks_row<D>(i % D), half = qn_blocks_half<D>(i % D), p = tile * QN_FLASH_TILE + row;
        int line = side * QN_FLASH_TILE + row;
        char *at = room + line * D * 2;
        qn_blocks_decode(stage + line * QN_IN_BLOCKS(D) + half * QN_IN_BLOCKS(64), p >= from && p <= to,
                         [&](int j, uint4 v) { *(uint4 *)(at + qn_chunk(row, half * 8 + j) * 16) = v; });
    }
}

// ---- what enters ----

// What a lane has of a query head or a key before its rotation: dims lane + 32 j, then as the norm leaves them.
template <int D> struct qn_blocks_entering {
    float x[D / 32], weight[D / 32];
    float4 own; // for the norm: dims 4 · lane …, where there are any
};
// All of a row's loads go out before anything waits for one of them.
template <int D> FN void qn_blocks_enter_load(qn_blocks_entering<D> *n, const float *x, const void *norm, int type)
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
template <int D> FN void qn_blocks_enter_norm(qn_blocks_entering<D> *n, int type, float eps)
{
    if (type < 0) return;
    float inverse = qn_inverse(SG_SUM(qn_dot4(n->own, n->own, 0.0f)), D, eps); // as qn_squares adds
#pragma unroll
    for (int j = 0; j < D / 32; j++)
        n->x[j] = n->weight[j] * (n->x[j] * inverse);
}

// qn_enter_… (gpu/kernels/attention_body.h) with key and value as blocks, of which a warp has 32 neighbours.
template <int D> FN void qn_blocks_enter(const qn_view *c, const qn_entry *e, const qn_gpu_attention_args &a, int appends, float *q)
{
    enum { EACH = QN_HEADS / QN_GPU_SIMDS + 1 }; // heads of a warp, with the key
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, own = threadIdx.x, n = c->n_heads + appends;
    qn_blocks_entering<D> entering[EACH];
    float value = appends && own < D ? e->v[own] : 0.0f;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int h = warp + i * QN_GPU_SIMDS, key = h == c->n_heads;
        if (h < n) qn_blocks_enter_load<D>(&entering[i], key ? e->k : e->q + h * D, key ? e->k_norm : e->q_norm, key ? a.k_norm_type : a.q_norm_type);
    }
    ulong at = qn_block_at(c, c->position) + (ulong)(c->position % QN_BLOCK_TOKENS * D);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int h = warp + i * QN_GPU_SIMDS, key = h == c->n_heads;
        if (h >= n) continue;
        qn_blocks_enter_norm<D>(&entering[i], key ? a.k_norm_type : a.q_norm_type, a.eps);
#pragma unroll
        for (int j = 0; j < D / 64; j++) {
            int d = lane + 32 * j;
            float2 t = qn_turn(e->inv_freq, d, c->position, a.rope_scale);
            float x_low = entering[i].x[j], x_high = entering[i].x[j + D / 64];
            float low = qn_rotate(x_low, t.x, -x_high, t.y), high = qn_rotate(x_high, t.x, x_low, t.y);
            if (key) {
                qn_store_q8_0(e->k_cache, at + (ulong)d, d % 32, low);
                qn_store_q8_0(e->k_cache, at + (ulong)(d + D / 2), (d + D / 2) % 32, high);
            } else {
                q[h * D + d] = low;
                q[h * D + d + D / 2] = high;
            }
        }
    }
    if (appends && own < D) qn_store_q8_0(e->v_cache, at + (ulong)own, own % 32, value);
}
FN void qn_enter_q8_0_64(const qn_view *c, const qn_entry *e, const qn_gpu_attention_args &a, int appends, int, float *q)
{
    qn_blocks_enter<64>(c, e, a, appends, q);
}
FN void qn_enter_q8_0_128(const qn_view *c, const qn_entry *e, const qn_gpu_attention_args &a, int appends, int, float *q)
{
    qn_blocks_enter<128>(c, e, a, appends, q);
}

#endif
