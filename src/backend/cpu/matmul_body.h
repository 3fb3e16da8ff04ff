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
    PIECE_K = 1024,           // of K between two visits of an accumulator in scratch
    BLOCK_WEIGHTS = 32,       // rows of weights a chunk, with many rows of activations
    CHUNK_BYTES = 128 * 1024, // of weights a chunk, with few
    LANES_BYTES = QN_CPU_LANES * sizeof(float),
    BLOCK_ROWS = QN_CPU_SCRATCH_BYTES / (BLOCK_WEIGHTS * LANES_BYTES),
};

// Rows [row, row + n_rows) of activations by rows [n, n + n_n) of weights.
typedef struct {
    const qn_matmul_args *a;
    float *sums;
    int row, n_rows, n_tile_rows, n_tile_weights, n_n;
    int64_t n, w_stride, element;
} matmul_block;

// One product's accumulators to its place in y: what is left of K when no 16 are, the tree, bias, residual.
static void finish_product(const matmul_block *b, float *sums, int row, int64_t n)
{
    const qn_matmul_args *a = b->a;
    int64_t n_k = a->x.dim[1], whole = n_k / QN_CPU_LANES * QN_CPU_LANES;
    const char *w = (const char *)a->w.data + n * b->w_stride;
    for (int64_t k = whole; k < n_k; k++)
        sums[k - whole] = fmaf(qn_cpu_row(&a->x, row)[k],
                               lanes_scalar_as(a->w.dtype, w + k * b->element), sums[k - whole]);
    float sum = lanes_sum(lanes_load(sums)), *y = qn_cpu_row(&a->y, row) + n;
    if (a->bias.data) {
        int64_t at = n * lanes_element_bytes(a->bias.dtype);
        sum += lanes_scalar_as(a->bias.dtype, (const char *)a->bias.data + at);
    }
    *y = a->accumulate ? sum + *y : sum;
}

// One tile's rows by all weights of the block, for the piece of K that starts at k.
static void multiply_rows(const matmul_block *b, int row, int n_rows, int k, int n_k)
{
    const qn_matmul_args *a = b->a;
    int last = k + n_k + QN_CPU_LANES > a->x.dim[1], whole = last && k == 0;
    tile p = {.x = qn_cpu_row(&a->x, row) + k,
              .x_stride = a->x.dim[1],
              .w_stride = b->w_stride,
              .n_k = n_k,
              .first = k == 0,
              .sums = whole ? b->sums : b->sums + (int64_t)(row - b->row) * b->n_n * QN_CPU_LANES};
    for (int j = 0, n_n; j < b->n_n; j += n_n) {
        n_n = b->n_n - j >= b->n_tile_weights ? b->n_tile_weights : 1;
        p.w = (const char *)a->w.data + (b->n + j) * b->w_stride + k * b->element;
        choose_tile(a->w.dtype, n_rows, n_n)(&p);
        for (int i = 0; last && i < n_rows * n_n; i++)
            finish_product(b, p.sums + i * QN_CPU_LANES, row + i / n_n, b->n + j + i % n_n);
        if (!whole) p.sums += n_rows * n_n * QN_CPU_LANES;
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

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

// Rows of weights a chunk: enough for the work to be worth taking, few enough for every worker to get some.
static int64_t chunk_weights(const qn_matmul_args *a, const matmul_block *b, int n_workers)
{
    int64_t share = round_up(a->w.dim[0] / (4 * n_workers) + 1, b->n_tile_weights), most;
    if (*a->n_rows > TILE_ROWS)
        most = BLOCK_WEIGHTS;
    else
        most = round_up(CHUNK_BYTES / b->w_stride + 1, b->n_tile_weights);
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
                      .n_tile_weights = rows == 1 ? TILE_WEIGHTS_ONE_ROW : TILE_WEIGHTS,
                      .element = lanes_element_bytes(a->w.dtype)};
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

#endif
#endif
