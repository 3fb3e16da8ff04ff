// matmul on 16 lanes; see ops/matmul.h. Included by matmul_<isa>.c.
// A tile is some rows of activations × some rows of weights, each pair with an accumulator of 16 lanes of its own: that keeps
// the order of summation whatever the tile. With few rows a tile runs through all of K and the weights stream past once. With
// many, K is cut into pieces: a tile's piece of activations stays in the first cache while the block's weights pass, and the
// accumulators wait in scratch, as lanes, for the next piece.
#include "backend/cpu/lanes.h"
#include "backend/ops/matmul.h"

enum {
    PIECE_K = 1024,           // of activations and weights between two visits of an accumulator
    BLOCK_WEIGHTS = 32,       // rows of weights a chunk, with many rows of activations
    CHUNK_BYTES = 128 * 1024, // of weights a chunk, with few
    LANES_BYTES = QN_CPU_LANES * sizeof(float),
    BLOCK_ROWS = QN_CPU_SCRATCH_BYTES / (BLOCK_WEIGHTS * LANES_BYTES) / TILE_ROWS * TILE_ROWS,
};

typedef struct {
    const float *x;
    const char *w;
    int64_t x_stride, w_stride; // x: numbers, w: bytes
    int n_k, first;             // the piece of K, in whole lanes; whether it is the first
    float *sums;                // accumulators between pieces and at the end: [rows][weights][16]
} piece;

ALWAYS_INLINE void multiply_tile(const int n_rows, const int n_weights, const qn_dtype dtype,
                                 const piece *p)
{
    const int element = dtype == QN_DTYPE_F32 ? 4 : 2;
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
            w[j] = lanes_load_as(dtype, p->w + j * p->w_stride + (int64_t)k * element);
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

// ---- one function a tile: [dtype][rows − 1], full width and one weight ----

typedef void (*tile_function)(const piece *p);

#define TILE(type, rows, weights, name)                                                            \
    static void type##_##rows##_##name(const piece *p)                                             \
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

// ---- blocks ----

// Rows [row, row + n_rows) of activations by rows [n, n + n_n) of weights.
typedef struct {
    const qn_matmul_args *a;
    float *sums;
    int row, n_rows, n_tile_rows, n_tile_weights, n_n, element;
    int64_t n, w_stride;
} block;

// One product's accumulators to its place in y: what is left of K when no 16 are, the tree, bias, residual.
static void finish(const block *b, float *sums, int row, int64_t n)
{
    const qn_matmul_args *a = b->a;
    int64_t n_k = a->x.dim[1], whole = n_k / QN_CPU_LANES * QN_CPU_LANES;
    const char *w = (const char *)a->w.data + n * b->w_stride;
    for (int64_t k = whole; k < n_k; k++)
        sums[k - whole] = fmaf(qn_cpu_row(&a->x, row)[k],
                               lanes_scalar_as(a->w.dtype, w + k * b->element), sums[k - whole]);
    float sum = lanes_sum(lanes_load(sums)), *y = qn_cpu_row(&a->y, row) + n;
    if (a->bias.data) {
        int64_t element = a->bias.dtype == QN_DTYPE_F32 ? 4 : 2;
        sum += lanes_scalar_as(a->bias.dtype, (const char *)a->bias.data + n * element);
    }
    *y = a->accumulate ? sum + *y : sum;
}

static tile_function choose_tile(const block *b, int n_rows, int n_n)
{
    qn_dtype dtype = b->a->w.dtype;
    if (n_n == 1) return narrow_tiles[dtype][n_rows - 1];
    return n_n == TILE_WEIGHTS ? wide_tiles[dtype][n_rows - 1] : widest_tiles[dtype];
}

// One tile's rows by all weights of the block, for the piece of K that starts at k.
static void multiply_rows(const block *b, int row, int n_rows, int k, int n_k)
{
    const qn_matmul_args *a = b->a;
    int last = k + n_k + QN_CPU_LANES > a->x.dim[1], whole = last && k == 0;
    piece p = {.x = qn_cpu_row(&a->x, row) + k,
               .x_stride = a->x.dim[1],
               .w_stride = b->w_stride,
               .n_k = n_k,
               .first = k == 0,
               .sums = whole ? b->sums : b->sums + (int64_t)(row - b->row) * b->n_n * QN_CPU_LANES};
    for (int j = 0, n_n; j < b->n_n; j += n_n) {
        n_n = b->n_n - j >= b->n_tile_weights ? b->n_tile_weights : 1;
        p.w = (const char *)a->w.data + (b->n + j) * b->w_stride + (int64_t)k * b->element;
        choose_tile(b, n_rows, n_n)(&p);
        for (int i = 0; last && i < n_rows * n_n; i++)
            finish(b, p.sums + i * QN_CPU_LANES, row + i / n_n, b->n + j + i % n_n);
        if (!whole) p.sums += n_rows * n_n * QN_CPU_LANES;
    }
}

static void multiply_block(const block *b, int piece_k)
{
    int n_k = (int)b->a->x.dim[1] / QN_CPU_LANES * QN_CPU_LANES;
    for (int k = 0; k < n_k || k == 0; k += piece_k)
        for (int row = b->row, end = b->row + b->n_rows; row < end; row += b->n_tile_rows)
            multiply_rows(b, row, end - row < b->n_tile_rows ? end - row : b->n_tile_rows, k,
                          n_k - k < piece_k ? n_k - k : piece_k);
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

// Rows of weights a chunk: enough for the work to be worth taking, few enough for every worker to get some.
static int64_t chunk_weights(const qn_matmul_args *a, const block *b, int n_workers)
{
    int64_t share = round_up(a->w.dim[0] / (4 * n_workers) + 1, b->n_tile_weights), most;
    if (*a->n_rows > TILE_ROWS)
        most = BLOCK_WEIGHTS;
    else
        most = round_up(CHUNK_BYTES / b->w_stride + 1, b->n_tile_weights);
    return share < most ? share : most;
}

static void multiply(const void *args, const qn_cpu_task *task)
{
    const qn_matmul_args *a = args;
    int rows = *a->n_rows, few = rows <= TILE_ROWS, n_tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    int64_t n_weights = a->w.dim[0];
    if (rows == 0) return;
    block b = {.a = a,
               .sums = task->scratch,
               .n_tile_rows = (rows + n_tiles - 1) / n_tiles,
               .n_tile_weights = rows == 1 ? TILE_WEIGHTS_ONE_ROW : TILE_WEIGHTS,
               .element = a->w.dtype == QN_DTYPE_F32 ? 4 : 2};
    b.w_stride = a->w.dim[1] * b.element;
    int64_t per_chunk = chunk_weights(a, &b, task->n_workers);
    while ((b.n = qn_cpu_take(task) * per_chunk) < n_weights) {
        b.n_n = (int)(n_weights - b.n < per_chunk ? n_weights - b.n : per_chunk);
        for (b.row = 0; b.row < rows; b.row += b.n_rows) {
            int most = few ? rows : BLOCK_ROWS / b.n_tile_rows * b.n_tile_rows;
            b.n_rows = rows - b.row < most ? rows - b.row : most;
            multiply_block(&b, few ? (int)a->x.dim[1] : PIECE_K);
        }
    }
}

void SIMD_NAME(qn_matmul)(const void *args, const qn_cpu_task *task)
{
    multiply(args, task);
}
