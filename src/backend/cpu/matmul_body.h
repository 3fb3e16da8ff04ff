// matmul on 16 lanes; see ops/matmul.h. Part of kernels_body.h.
// With few rows of activations a tile (tile.h) runs through all of K and the weights stream past once. With many, K is cut into
// pieces: a tile's piece of activations stays in the first cache while the block's weights pass, and the accumulators wait in
// scratch, as lanes, for the next piece. Weights in blocks are made float32 a piece at a time, in scratch: once for up to 128 rows
// of activations. One row alone is multiplied as they are unpacked.
#ifndef QN_BACKEND_CPU_MATMUL_BODY_H
#define QN_BACKEND_CPU_MATMUL_BODY_H
#include "backend/cpu/tile.h"
#include "backend/cpu/unpack_body.h"
#include "backend/ops/matmul.h"
#ifdef SIMD_ISA

enum {
    PIECE_K = 2048, // of K between two visits of an accumulator in scratch
    UNPACKED_K =
        1024, // of K in a piece of unpacked weights that stays in the first cache, with few rows
    BLOCK_WEIGHTS = 32,      // rows of weights a chunk, with many rows of activations
    CHUNK_BYTES = 1 << 20,   // of weights a chunk, with few
    AHEAD_BYTES = 16 * 1024, // at least; whole tiles (tile.h)
    LANES_BYTES = QN_CPU_LANES * sizeof(float),
    UNPACKED_BYTES = BLOCK_WEIGHTS * PIECE_K * sizeof(float), // of scratch, before the accumulators
};

// Rows [row, row + n_rows) of activations by rows [n, n + n_n) of weights.
typedef struct {
    const qn_matmul_args *a;
    int row, n_rows, n_tile_rows, n_n;
    int64_t n;
    float *unpacked; // NULL: the weights are read as they lie
    float *sums;
    // What the tiles read: the first row of weights at the piece's first k.
    const char *w;
    int64_t w_stride;
    qn_dtype dtype;
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
        t.w = b->w + j * b->w_stride;
        choose_tile(b->dtype, n_rows, n_n, row == b->row && !b->unpacked)(&t);
        if (last) finish_tile(b, &t, row, n_rows, b->n + j, n_n);
        if (!whole) t.sums += n_rows * n_n * QN_CPU_LANES;
    }
}

// The weights of the block for the n_k of K that start at k.
static void place_piece(matmul_block *b, int k, int n_k)
{
    const qn_tensor *w = &b->a->w;
    if (!b->unpacked) {
        b->w = (const char *)w->data + b->n * b->w_stride + k * element_bytes(w->dtype);
        return;
    }
    const qn_format *f = qn_format_of(w->dtype);
    int64_t row_bytes = (int64_t)qn_tensor_row_bytes(w);
    int64_t before = k / f->block_elements * f->block_bytes;
    int64_t n_bytes = n_k / f->block_elements * f->block_bytes;
    // The next piece: of the same row, or the first of the row that comes in its place.
    int64_t ahead = before + n_bytes < row_bytes ? n_bytes : b->n_n * row_bytes - before;
    const char *from = (const char *)w->data + b->n * row_bytes + before;
    for (int j = 0; j < b->n_n; j++, from += row_bytes) {
        for (int64_t i = 0; i < n_bytes + 63; i += 64)
            __builtin_prefetch(from + ahead + i, 0, 3);
        unpack(w->dtype, from, b->unpacked + (int64_t)j * n_k, n_k);
    }
    b->w = (const char *)b->unpacked;
    b->w_stride = n_k * (int64_t)sizeof(float);
}

static void multiply_block(matmul_block *b, int piece_k)
{
    int whole_k = (int)b->a->x.dim[1] / QN_CPU_LANES * QN_CPU_LANES;
    for (int k = 0; k < whole_k || k == 0; k += piece_k) {
        int n_k = whole_k - k < piece_k ? whole_k - k : piece_k;
        place_piece(b, k, n_k);
        for (int row = b->row, end = b->row + b->n_rows; row < end; row += b->n_tile_rows)
            multiply_rows(b, row, end - row < b->n_tile_rows ? end - row : b->n_tile_rows, k, n_k);
    }
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

static matmul_block begin_block(const qn_matmul_args *a, char *scratch)
{
    matmul_block b = {.a = a, .sums = (float *)(void *)scratch, .dtype = a->w.dtype};
    if (qn_dtype_is_plain(a->w.dtype)) {
        b.w_stride = (int64_t)qn_tensor_row_bytes(&a->w);
        return b;
    }
    b.unpacked = b.sums;
    b.sums = (float *)(void *)(scratch + UNPACKED_BYTES);
    b.dtype = QN_DTYPE_F32;
    return b;
}

// All rows of activations by the block's rows of weights.
static void multiply_all_rows(matmul_block *b, int rows)
{
    int n_bytes = QN_CPU_SCRATCH_BYTES - (b->unpacked ? UNPACKED_BYTES : 0);
    int most = n_bytes / (BLOCK_WEIGHTS * LANES_BYTES) / b->n_tile_rows * b->n_tile_rows;
    int piece_k = PIECE_K;
    if (rows <= TILE_ROWS) {
        most = rows;
        piece_k = b->unpacked ? UNPACKED_K : (int)b->a->x.dim[1];
    }
    for (b->row = 0; b->row < rows; b->row += b->n_rows) {
        b->n_rows = rows - b->row < most ? rows - b->row : most;
        multiply_block(b, piece_k);
    }
}

// One row of activations by n_n rows of weights in blocks.
static void multiply_one_row(const matmul_block *b, int64_t n, int n_n)
{
    const qn_tensor *w = &b->a->w;
    int64_t row_bytes = (int64_t)qn_tensor_row_bytes(w);
    const uint8_t *from = (const uint8_t *)w->data + n * row_bytes;
    for (int j = 0; j < n_n; j++, from += row_bytes)
        blocks[w->dtype].dot(from, qn_cpu_row(&b->a->x, 0), (int)w->dim[1],
                             b->sums + j * QN_CPU_LANES);
    finish_tile(b, &(tile){.sums = b->sums}, 0, 1, n, n_n);
}

static void matmul(const void *args, const qn_cpu_task *task)
{
    const qn_matmul_args *a = args;
    int rows = *a->n_rows, n_tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    int64_t n_weights = a->w.dim[0], end;
    if (rows == 0) return;
    matmul_block b = begin_block(a, task->scratch);
    b.n_tile_rows = (rows + n_tiles - 1) / n_tiles;
    int64_t w_bytes = (int64_t)qn_tensor_row_bytes(&a->w);
    int64_t per_chunk = chunk_weights(a, w_bytes, task->n_workers), at_once = per_chunk;
    if (b.unpacked && rows <= TILE_ROWS)
        at_once = rows == 1 ? TILE_ROWS * TILE_WEIGHTS : TILE_WEIGHTS; // what finish_tile takes
    while ((b.n = qn_cpu_take(task) * per_chunk) < n_weights)
        for (end = b.n + per_chunk < n_weights ? b.n + per_chunk : n_weights; b.n < end;
             b.n += b.n_n) {
            b.n_n = (int)(end - b.n < at_once ? end - b.n : at_once);
            if (rows == 1 && b.unpacked && blocks[a->w.dtype].dot)
                multiply_one_row(&b, b.n, b.n_n);
            else
                multiply_all_rows(&b, rows);
        }
}

#endif
#endif
