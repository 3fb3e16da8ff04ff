// matmul on 16 lanes; see ops/matmul.h. Part of kernels_body.h.
// With few rows of activations a tile (tile.h) runs through all of K and the weights stream past once. With many, K is cut into
// pieces: a tile's piece of activations stays in the first cache while the block's weights pass, and the accumulators wait in
// scratch, as lanes, for the next piece.
#ifndef QN_BACKEND_CPU_MATMUL_BODY_H
#define QN_BACKEND_CPU_MATMUL_BODY_H
#include "backend/cpu/tile.h"
#include "backend/ops/matmul.h"
#ifdef SIMD_ISA

enum {
    PIECE_K = 2048,          // of K between two visits of an accumulator in scratch
    BLOCK_WEIGHTS = 32,      // rows of weights a chunk, with many rows of activations
    CHUNK_BYTES = 1 << 20,   // of weights a chunk, with few
    AHEAD_BYTES = 16 * 1024, // at least; whole tiles (tile.h)
    LANES_BYTES = QN_CPU_LANES * sizeof(float),
    BLOCK_ROWS = QN_CPU_SCRATCH_BYTES / (BLOCK_WEIGHTS * LANES_BYTES),
};

// Rows [row, row + n_rows) of activations by rows [n, n + n_n) of weights.
typedef struct {
    const qn_matmul_args *a;
    float *sums;
    int row, n_rows, n_tile_rows, n_n;
    int64_t n, w_stride;
} matmul_block;

// A tile's accumulators to their places in y: what is left of K, the trees, bias, residual.
static void finish_tile(const matmul_block *b, const tile *t, int row, int n_rows, int64_t n,
                        int n_n)
{
    const qn_matmul_args *a = b->a;
    float sums[TILE_ROWS * TILE_WEIGHTS];
    if (a->x.dim[1] % QN_CPU_LANES)
        add_tail(t, n_rows, n_n, a->w.dtype, t->n_k, (int)(a->x.dim[1] % QN_CPU_LANES));
    sum_tile(t->sums, sums, n_rows * n_n);
    for (int j = 0; a->bias.data && j < n_n; j++) {
        const char *bias = (const char *)a->bias.data + (n + j) * element_bytes(a->bias.dtype);
        for (int r = 0; r < n_rows; r++)
            sums[r * n_n + j] += scalar_load_as(a->bias.dtype, bias);
    }
    for (int r = 0; r < n_rows; r++) {
        float *y = qn_cpu_row(&a->y, row + r) + n;
        for (int j = 0; j < n_n; j++)
            y[j] = a->accumulate ? sums[r * n_n + j] + y[j] : sums[r * n_n + j];
    }
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

// One tile's rows by all weights of the block, for the n_k of K that start at k.
static void multiply_rows(const matmul_block *b, int row, int n_rows, int k, int n_k)
{
    const qn_matmul_args *a = b->a;
    int last = k + n_k + QN_CPU_LANES > a->x.dim[1], whole = last && k == 0;
    tile t = {.x = qn_cpu_row(&a->x, row) + k,
              .x_stride = a->x.dim[1],
              .w_stride = b->w_stride,
              .n_k = n_k,
              .first = k == 0,
              .ahead = round_up(AHEAD_BYTES, TILE_WEIGHTS * b->w_stride),
              .sums = whole ? b->sums : b->sums + (int64_t)(row - b->row) * b->n_n * QN_CPU_LANES};
    for (int j = 0, n_n; j < b->n_n; j += n_n) {
        n_n = b->n_n - j >= TILE_WEIGHTS ? TILE_WEIGHTS : 1;
        t.w = (const char *)a->w.data + (b->n + j) * b->w_stride + k * element_bytes(a->w.dtype);
        choose_tile(a->w.dtype, n_rows, n_n, row == b->row)(&t);
        if (last) finish_tile(b, &t, row, n_rows, b->n + j, n_n);
        if (!whole) t.sums += n_rows * n_n * QN_CPU_LANES;
    }
}

static void multiply_block(const matmul_block *b, int piece_k)
{
    int n_k = (int)b->a->x.dim[1] / QN_CPU_LANES * QN_CPU_LANES;
    for (int k = 0; k < n_k || k == 0; k += piece_k)
        for (int row = b->row, end = b->row + b->n_rows; row < end; row += b->n_tile_rows)
            multiply_rows(b, row, end - row < b->n_tile_rows ? end - row : b->n_tile_rows, k,
                          n_k - k < piece_k ? n_k - k : piece_k);
}

// Rows of weights a chunk: enough for the work to be worth taking, few enough for every worker to get some.
static int64_t chunk_weights(const qn_matmul_args *a, int64_t w_stride, int n_workers)
{
    int64_t share = round_up(a->w.dim[0] / (4 * n_workers) + 1, TILE_WEIGHTS), most;
    if (*a->n_rows > TILE_ROWS)
        most = BLOCK_WEIGHTS;
    else
        most = round_up(CHUNK_BYTES / w_stride + 1, TILE_WEIGHTS);
    return share < most ? share : most;
}

static void matmul(const void *args, const qn_cpu_task *task)
{
    const qn_matmul_args *a = args;
    int rows = *a->n_rows, few = rows <= TILE_ROWS, n_tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    int64_t n_weights = a->w.dim[0];
    if (rows == 0) return;
    matmul_block b = {.a = a,
                      .sums = task->scratch,
                      .n_tile_rows = (rows + n_tiles - 1) / n_tiles,
                      .w_stride = a->w.dim[1] * element_bytes(a->w.dtype)};
    int64_t per_chunk = chunk_weights(a, b.w_stride, task->n_workers);
    while ((b.n = qn_cpu_take(task) * per_chunk) < n_weights) {
        b.n_n = (int)(n_weights - b.n < per_chunk ? n_weights - b.n : per_chunk);
        for (b.row = 0; b.row < rows; b.row += b.n_rows) {
            int most = few ? rows : BLOCK_ROWS / b.n_tile_rows * b.n_tile_rows;
            b.n_rows = rows - b.row < most ? rows - b.row : most;
            multiply_block(&b, few ? (int)a->x.dim[1] : PIECE_K);
        }
    }
}

#endif
#endif
