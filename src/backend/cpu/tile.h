// Tile: some rows of activations × some rows of weights, each pair with an accumulator of 16 lanes of its own. That keeps the
// order of summation (ops/matmul.h) whatever the tile's size. matmul multiplies with it, attention scores with it.
#ifndef QN_BACKEND_CPU_TILE_H
#define QN_BACKEND_CPU_TILE_H
#include "backend/cpu/lanes.h"
#ifdef SIMD_ISA

typedef struct {
    const float *x;
    const char *w;
    int64_t x_stride, w_stride; // x: numbers, w: bytes
    int n_k, first;             // the piece of K, in whole lanes; whether it is the first
    float *sums;                // accumulators between pieces and at the end: [rows][weights][16]
} tile;

ALWAYS_INLINE void multiply_tile(const int n_rows, const int n_weights, const qn_dtype dtype,
                                 const tile *p)
{
    const int64_t element = lanes_element_bytes(dtype);
    lanes sum[TILE_ROWS][TILE_WEIGHTS_ONE_ROW], w[TILE_WEIGHTS_ONE_ROW];
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 8
        for (int j = 0; j < n_weights; j++)
            sum[r][j] =
                p->first ? lanes_set(0) : lanes_load(p->sums + (r * n_weights + j) * QN_CPU_LANES);
    for (int k = 0; k < p->n_k; k += QN_CPU_LANES) {
#pragma GCC unroll 8
        for (int j = 0; j < n_weights; j++)
            w[j] = lanes_load_as(dtype, p->w + j * p->w_stride + k * element);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            lanes x = lanes_load(p->x + r * p->x_stride + k);
#pragma GCC unroll 8
            for (int j = 0; j < n_weights; j++)
                sum[r][j] = lanes_fma(x, w[j], sum[r][j]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 8
        for (int j = 0; j < n_weights; j++)
            lanes_store(p->sums + (r * n_weights + j) * QN_CPU_LANES, sum[r][j]);
}

// One function a size: TILE_WEIGHTS weights, one, and TILE_WEIGHTS_ONE_ROW for a single row of activations.

typedef void (*tile_function)(const tile *p);

#define TILE(type, rows, weights, name)                                                            \
    static void type##_##rows##_##name(const tile *p)                                              \
    {                                                                                              \
        multiply_tile(rows, weights, QN_DTYPE_##type, p);                                          \
    }
#define TILES(rows)                                                                                \
    TILE(F32, rows, TILE_WEIGHTS, wide)                                                            \
    TILE(F16, rows, TILE_WEIGHTS, wide)                                                            \
    TILE(BF16, rows, TILE_WEIGHTS, wide)                                                           \
    TILE(F32, rows, 1, narrow)                                                                     \
    TILE(F16, rows, 1, narrow)                                                                     \
    TILE(BF16, rows, 1, narrow)
TILE(F32, 1, TILE_WEIGHTS_ONE_ROW, widest)
TILE(F16, 1, TILE_WEIGHTS_ONE_ROW, widest)
TILE(BF16, 1, TILE_WEIGHTS_ONE_ROW, widest)
TILES(1)
TILES(2)
#if SIMD_TILE_ROWS > 2
TILES(3)
TILES(4)
TILES(5)
TILES(6)
#define ROW(type, name)                                                                            \
    {                                                                                              \
        type##_1_##name, type##_2_##name, type##_3_##name, type##_4_##name, type##_5_##name,       \
            type##_6_##name                                                                        \
    }
#else
#define ROW(type, name)                                                                            \
    {                                                                                              \
        type##_1_##name, type##_2_##name                                                           \
    }
#endif
static const tile_function wide_tiles[][TILE_ROWS] = {[QN_DTYPE_F32] = ROW(F32, wide),
                                                      [QN_DTYPE_F16] = ROW(F16, wide),
                                                      [QN_DTYPE_BF16] = ROW(BF16, wide)};
static const tile_function narrow_tiles[][TILE_ROWS] = {[QN_DTYPE_F32] = ROW(F32, narrow),
                                                        [QN_DTYPE_F16] = ROW(F16, narrow),
                                                        [QN_DTYPE_BF16] = ROW(BF16, narrow)};
static const tile_function widest_tiles[] = {
    [QN_DTYPE_F32] = F32_1_widest, [QN_DTYPE_F16] = F16_1_widest, [QN_DTYPE_BF16] = BF16_1_widest};

// n_weights: one of the three widths.
static tile_function choose_tile(qn_dtype dtype, int n_rows, int n_weights)
{
    if (n_weights == 1) return narrow_tiles[dtype][n_rows - 1];
    return n_weights == TILE_WEIGHTS ? wide_tiles[dtype][n_rows - 1] : widest_tiles[dtype];
}

#endif
#endif
