// Tile: some rows of activations × some rows of weights, each pair with an accumulator of 16 lanes of its own. That keeps the
// order of summation (ops/matmul.h) whatever the tile's size. matmul multiplies with it, attention scores with it.
// Where 16 lanes are several registers, a tile of many rows takes one register's lanes after another, over a piece of K that
// stays in the first cache: so all registers can hold accumulators, and a weight is converted once for all rows.
// Weights that come from memory are asked for well ahead, as a rule for the next tile: processors do not look ahead from one row of
// weights, or one page, into another. A line is asked for several times over, since they may drop such requests (measured: Zen 5).
#ifndef QN_BACKEND_CPU_TILE_H
#define QN_BACKEND_CPU_TILE_H
#include "backend/cpu/lanes.h"
#ifdef SIMD_ISA

enum {
    TILE_ROWS = 6,
    TILE_PIECE = VEC_PARTS > 1 ? 512 : INT32_MAX / 2, // of K
};

typedef struct {
    const float *x;
    const char *w;
    int64_t x_stride, w_stride; // x: numbers, w: bytes
    int n_k,
        first; // how much of K, in whole lanes; whether the accumulators begin here (else they go on)
    float *sums;   // the accumulators: [rows][weights][16]
    int64_t ahead; // bytes: how far before their use weights that come from memory are asked for
} tile;

// Lanes from part · VEC_LANES on, n_parts registers of them, for k from `from` to `to`.
ALWAYS_INLINE void multiply_parts(const tile *t, const int n_rows, const int n_weights,
                                  const int n_parts, const int streams, const qn_dtype dtype,
                                  int part, int from, int to)
{
    const int64_t element = element_bytes(dtype);
    const int begins = t->first && from == 0;
    const float *x = t->x + part * VEC_LANES;
    const char *w = t->w + part * VEC_LANES * element;
    float *sums = t->sums + part * VEC_LANES;
    vec sum[TILE_ROWS][TILE_WEIGHTS][VEC_PARTS];
    UNROLL
    for (int r = 0; r < n_rows; r++) {
        UNROLL
        for (int j = 0; j < n_weights; j++) {
            const float *before = sums + (r * n_weights + j) * QN_CPU_LANES;
            UNROLL
            for (int i = 0; i < n_parts; i++)
                sum[r][j][i] = begins ? vec_set(0) : vec_load(before + i * VEC_LANES);
        }
    }
    for (int k = from; k < to; k += QN_CPU_LANES) {
        UNROLL
        for (int i = 0; i < n_parts; i++) {
            vec weight[TILE_WEIGHTS];
            UNROLL
            for (int j = 0; j < n_weights; j++) {
                const char *at = w + j * t->w_stride + (k + i * VEC_LANES) * element;
                weight[j] = vec_load_as(dtype, at);
                if (streams && i == 0) __builtin_prefetch(at + t->ahead, 0, 2);
            }
            UNROLL
            for (int r = 0; r < n_rows; r++) {
                vec activation = vec_load_once(x + r * t->x_stride + k + i * VEC_LANES);
                UNROLL
                for (int j = 0; j < n_weights; j++)
                    sum[r][j][i] = vec_fma(activation, weight[j], sum[r][j][i]);
            }
        }
    }
    UNROLL
    for (int r = 0; r < n_rows; r++) {
        UNROLL
        for (int j = 0; j < n_weights; j++) {
            float *after = sums + (r * n_weights + j) * QN_CPU_LANES;
            UNROLL
            for (int i = 0; i < n_parts; i++)
                vec_store(after + i * VEC_LANES, sum[r][j][i]);
        }
    }
}

ALWAYS_INLINE void multiply_tile(const tile *t, const int n_rows, const int n_weights,
                                 const int streams, const qn_dtype dtype)
{
    int from = 0;
    if (n_rows == 1) { // few accumulators: all lanes at once
        multiply_parts(t, 1, n_weights, VEC_PARTS, streams, dtype, 0, 0, t->n_k);
        return;
    }
    do {
        int to = t->n_k - from < TILE_PIECE ? t->n_k : from + TILE_PIECE;
        for (int part = 0; part < VEC_PARTS; part++)
            multiply_parts(t, n_rows, n_weights, 1, streams, dtype, part, from, to);
        from = to;
    } while (from < t->n_k);
}

// ---- one function a size ----

typedef void (*tile_function)(const tile *t);

#define TILE(type, rows, weights, streams, name)                                                   \
    static void type##_##rows##_##name(const tile *t)                                              \
    {                                                                                              \
        multiply_tile(t, rows, weights, streams, QN_DTYPE_##type);                                 \
    }
#define TILES(type, rows)                                                                          \
    TILE(type, rows, 1, 0, narrow)                                                                 \
    TILE(type, rows, TILE_WEIGHTS, 0, wide)                                                        \
    TILE(type, rows, TILE_WEIGHTS, 1, streaming)
#define ALL_TILES(type)                                                                            \
    TILES(type, 1)                                                                                 \
    TILES(type, 2)                                                                                 \
    TILES(type, 3)                                                                                 \
    TILES(type, 4)                                                                                 \
    TILES(type, 5)                                                                                 \
    TILES(type, 6)
ALL_TILES(F32)
ALL_TILES(F16)
ALL_TILES(BF16)

#define ROWS(type, name)                                                                           \
    {                                                                                              \
        type##_1_##name, type##_2_##name, type##_3_##name, type##_4_##name, type##_5_##name,       \
            type##_6_##name                                                                        \
    }
#define NAMES(type)                                                                                \
    {                                                                                              \
        ROWS(type, narrow), ROWS(type, wide), ROWS(type, streaming)                                \
    }
enum { NARROW, WIDE, STREAMING };
static const tile_function tiles[QN_DTYPE_COUNT][3][TILE_ROWS] = {
    [QN_DTYPE_F32] = NAMES(F32),
    [QN_DTYPE_F16] = NAMES(F16),
    [QN_DTYPE_BF16] = NAMES(BF16),
};
#undef NAMES
#undef ROWS
#undef ALL_TILES
#undef TILES
#undef TILE

// n_weights: TILE_WEIGHTS or 1. `streams`: the weights come from memory.
static tile_function choose_tile(qn_dtype dtype, int n_rows, int n_weights, int streams)
{
    if (n_weights == 1) return tiles[dtype][NARROW][n_rows - 1];
    return tiles[dtype][streams ? STREAMING : WIDE][n_rows - 1];
}

// What is left of K when no 16 are, n numbers at k, into the accumulators: lanes that it does not reach keep their bits.
static void add_tail(const tile *t, int n_rows, int n_weights, qn_dtype dtype, int k, int n)
{
    for (int i = 0; i < n_rows * n_weights; i++) {
        const float *x = t->x + i / n_weights * t->x_stride + k;
        const char *w = t->w + i % n_weights * t->w_stride + k * element_bytes(dtype);
        float *sums = t->sums + i * QN_CPU_LANES;
        for (int l = 0; l < n; l++)
            sums[l] = fmaf(x[l], scalar_load_as(dtype, w + l * element_bytes(dtype)), sums[l]);
    }
}

// The trees of n accumulators.
static void sum_tile(const float *sums, float *out, int n)
{
    for (; n >= 4; n -= 4, sums += 4 * QN_CPU_LANES, out += 4)
        vec_sum_four(sums, out);
    for (; n > 0; n--, sums += QN_CPU_LANES)
        *out++ = lanes_sum(lanes_load(sums));
}

#endif
#endif
