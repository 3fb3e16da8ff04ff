// Every operation but attention and sample: instruction sets and threads against plain C bit for bit, plain C against the
// formula in double precision, and a row alone against the same row in a batch.
#include <math.h>
#include <string.h>

#include "backend/ops/copy_blocks.h"
#include "backend/ops/embed.h"
#include "backend/ops/gather.h"
#include "backend/ops/kv_append.h"
#include "backend/ops/matmul.h"
#include "backend/ops/qk_norm_rope.h"
#include "backend/ops/rms_norm.h"
#include "backend/ops/rope.h"
#include "backend/ops/step_begin.h"
#include "backend/ops/swiglu.h"
#include "world.h"

static void assert_near(double found, double expected, double magnitude)
{
    if (!(fabs(found - expected) <= world_slack() * 1e-6 * magnitude + 1e-30))
        fail_msg("expected %.9g, found %.9g", expected, found);
}

static int32_t *n_rows_of(world *w)
{
    return &w->batch.step.counts->n_rows;
}

// ---- matmul ----

typedef struct {
    int rows, n, k;
    qn_dtype w_dtype, bias_dtype;
    int bias, accumulate;
} matmul_case;

static qn_matmul_args make_matmul(world *w, const matmul_case *c)
{
    qn_matmul_args a = {.y = world_tensor(w, QN_DTYPE_F32, c->rows, c->n, 1),
                        .x = world_tensor(w, QN_DTYPE_F32, c->rows, c->k, 1),
                        .w = world_tensor(w, c->w_dtype, c->n, c->k, 0.05f),
                        .accumulate = c->accumulate,
                        .n_rows = n_rows_of(w)};
    world_round(&a.x, c->w_dtype);
    if (c->n % 2)
        a.w.data = world_shifted(w, a.w.data, qn_tensor_bytes(&a.w)); // files promise no alignment
    if (c->bias) a.bias = world_tensor(w, c->bias_dtype, 0, c->n, 1);
    *n_rows_of(w) = c->rows;
    return a;
}

static void check_matmul_formula(world *w, const qn_matmul_args *a, int64_t rows)
{
    int64_t n_n = a->w.dim[0], n_k = a->w.dim[1];
    float *before = world_memory(w, qn_tensor_bytes(&a->y));
    qn_tensor weights = world_as_f32(w, &a->w);
    memcpy(before, a->y.data, qn_tensor_bytes(&a->y));
    world_run_portable(w, QN_OP_MATMUL, a);
    for (int64_t i = 0; i < rows * n_n; i++) {
        double sum = a->bias.data ? world_at(&a->bias, i % n_n) : 0, size = fabs(sum);
        for (int64_t k = 0; k < n_k; k++) {
            double p = world_at(&a->x, i / n_n * n_k + k) * world_at(&weights, i % n_n * n_k + k);
            sum += p;
            size += fabs(p);
        }
        if (a->accumulate) sum += before[i], size += fabs(before[i]);
        assert_near(world_at(&a->y, i), sum, size);
    }
    memcpy(a->y.data, before, qn_tensor_bytes(&a->y));
}

// Each row by itself gives what the batch gave.
static void check_rows_alone(world *w, const qn_matmul_args *a, int rows)
{
    int64_t n_n = a->w.dim[0], n_k = a->w.dim[1];
    size_t row_bytes = (size_t)n_n * sizeof(float);
    char *before = world_memory(w, qn_tensor_bytes(&a->y));
    memcpy(before, a->y.data, qn_tensor_bytes(&a->y));
    world_run_best(w, QN_OP_MATMUL, a);
    qn_matmul_args one = *a;
    one.x.dim[0] = one.y.dim[0] = 1;
    one.y.data = world_memory(w, row_bytes);
    one.x.data = world_memory(w, (size_t)n_k * sizeof(float));
    *n_rows_of(w) = 1;
    for (int r = 0; r < rows; r++) {
        memcpy(one.x.data, (float *)a->x.data + r * n_k, (size_t)n_k * sizeof(float));
        memcpy(one.y.data, before + (size_t)r * row_bytes, row_bytes);
        world_run_best(w, QN_OP_MATMUL, &one);
        assert_memory_equal(one.y.data, (float *)a->y.data + r * n_n, row_bytes);
    }
}

static void test_matmul(void **state)
{
    static const matmul_case edges[] = {
        {1, 1, 1, QN_DTYPE_F32, QN_DTYPE_F32, 0, 0},
        {1, 37, 96, QN_DTYPE_BF16, QN_DTYPE_F32, 1, 1},
        {2, 64, 17, QN_DTYPE_F16, QN_DTYPE_F16, 1, 0},
        {3, 5, 2100, QN_DTYPE_BF16, QN_DTYPE_BF16, 1, 0},
        {4, 130, 640, QN_DTYPE_F16, QN_DTYPE_F32, 0, 1},
        {7, 31, 1030, QN_DTYPE_F32, QN_DTYPE_BF16, 1, 1},
        {70, 41, 47, QN_DTYPE_BF16, QN_DTYPE_F32, 0, 0},
        {64, 9, 1536, QN_DTYPE_BF16, QN_DTYPE_F32, 0, 1},
    };
    enum { N_EDGES = sizeof edges / sizeof *edges, N_CASES = N_EDGES + 24 };
    for (int i = 0; i < N_CASES; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 1);
        matmul_case c = {world_pick(w, 1, 20),
                         world_pick(w, 1, 90),
                         world_pick(w, 1, 300),
                         (qn_dtype)(i % 3),
                         (qn_dtype)(i / 3 % 3),
                         i & 1,
                         i >> 1 & 1};
        if (i < N_EDGES) c = edges[i];
        qn_matmul_args a = make_matmul(w, &c);
        world_check_near(w, QN_OP_MATMUL, &a, &a.y, 5e-6);
        if (c.n * c.k < 30000) check_matmul_formula(w, &a, c.rows);
        check_rows_alone(w, &a, c.rows);
    }
}

// Every format that comes in blocks: K of one block and of several pieces, rows of every form of a kernel.
static void test_matmul_blocks(void **state)
{
    static const int rows[] = {1, 2, 7, 70, 4};
    for (int d = QN_DTYPE_BF16 + 1; d < QN_DTYPE_COUNT; d++)
        for (int i = 0; i < 5; i++) {
            world *w = *state;
            world_begin(w, (uint64_t)(d * 8 + i) + 900);
            int block = qn_format_of((qn_dtype)d)->block_elements;
            int k = i == 1 || i == 2 ? 2048 + block : block * world_pick(w, 1, 4);
            matmul_case c = {rows[i],     world_pick(w, 1, 40), k,
                             (qn_dtype)d, (qn_dtype)(i % 3),    i & 1,
                             i >> 1 & 1};
            qn_matmul_args a = make_matmul(w, &c);
            world_check_near(w, QN_OP_MATMUL, &a, &a.y, 5e-6);
            if (c.n * c.k < 30000) check_matmul_formula(w, &a, c.rows);
            if (i < 3) check_rows_alone(w, &a, c.rows);
        }
}

// Every byte of 8-bit numbers, alone in its row; those of NaN give NaN.
static void test_matmul_fp8_bytes(void **state)
{
    enum { N_BYTES = 256, K = 128, BLOCK = 132 };
    for (int rows = 1; rows <= 2; rows++) {
        world *w = *state;
        world_begin(w, (uint64_t)rows + 1400);
        matmul_case c = {rows, N_BYTES, K, QN_DTYPE_FP8_128, QN_DTYPE_F32, 0, 0};
        qn_matmul_args a = make_matmul(w, &c);
        uint8_t *blocks = a.w.data;
        for (int i = 0; i < N_BYTES; i++) {
            memset(blocks + i * BLOCK + 4, 0, K);
            if ((i & 0x7f) != 0x7f) blocks[i * BLOCK + 4 + i % K] = (uint8_t)i;
        }
        world_check_near(w, QN_OP_MATMUL, &a, &a.y, 5e-6);
        check_matmul_formula(w, &a, rows);
        for (int i = 0x7f; i < N_BYTES; i += 0x80)
            blocks[i * BLOCK + 4 + i % K] = (uint8_t)i;
        world_run_best(w, QN_OP_MATMUL, &a);
        for (int i = 0; i < rows * N_BYTES; i++)
            assert_int_equal(isnan(world_at(&a.y, i)), (i & 0x7f) == 0x7f);
    }
}

// ---- norms and rotations ----

static void check_norm_formula(const qn_rms_norm_args *a, const float *x, int64_t rows)
{
    int64_t width = a->weight.dim[0];
    for (int64_t g = 0; g < rows * a->n_groups; g++) {
        double sum = 0;
        for (int64_t i = 0; i < width; i++)
            sum += (double)x[g * width + i] * x[g * width + i];
        double scale = 1 / sqrt(sum / (double)width + a->eps);
        for (int64_t i = 0; i < width; i++) {
            double y = world_at(&a->weight, i) * x[g * width + i] * scale;
            assert_near(world_at(&a->y, g * width + i), y, fabs(y));
        }
    }
}

static void test_rms_norm(void **state)
{
    for (int i = 0; i < 18; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 100);
        int rows = world_pick(w, 1, MAX_ROWS), groups = i & 1 ? world_pick(w, 2, 5) : 1;
        int width = world_pick(w, 1, 150);
        qn_rms_norm_args a = {.y = world_tensor(w, QN_DTYPE_F32, rows, groups * width, 1),
                              .x = world_tensor(w, QN_DTYPE_F32, rows, groups * width, 3),
                              .weight = world_tensor(w, (qn_dtype)(i % 3), 0, width, 1),
                              .n_groups = groups,
                              .eps = 1e-6f,
                              .n_rows = n_rows_of(w)};
        *n_rows_of(w) = rows;
        world_check_near(w, QN_OP_RMS_NORM, &a, &a.y, 2e-6);
        check_norm_formula(&a, a.x.data, rows);
        a.y = a.x; // in place
        world_check_near(w, QN_OP_RMS_NORM, &a, &a.y, 2e-6);
    }
}

static qn_rope_args make_rope(world *w, int rows, int n_heads, int head_dim)
{
    qn_rope_args a = {.x = world_tensor(w, QN_DTYPE_F32, rows, n_heads * head_dim, 2),
                      .inv_freq = world_tensor(w, QN_DTYPE_F32, 0, head_dim / 2, 1),
                      .n_heads = n_heads,
                      .head_dim = head_dim,
                      .scale = 1.25f,
                      .counts = w->batch.step.counts,
                      .rows = w->batch.step.rows};
    for (int i = 0; i < head_dim / 2; i++)
        ((float *)a.inv_freq.data)[i] = powf(10000, -2.0f * (float)i / (float)head_dim);
    world_rows(w, rows, 100, 10);
    w->batch.step.rows[0].position = 131071; // far out
    return a;
}

static void check_rope_formula(const qn_rope_args *a, const float *x, int64_t rows)
{
    int64_t half = a->head_dim / 2, n = rows * a->n_heads * half;
    for (int64_t i = 0; i < n; i++) {
        int64_t head = i / half, at = head * 2 * half + i % half;
        int32_t position = a->rows[head / a->n_heads].position;
        float angle = (float)position * ((const float *)a->inv_freq.data)[i % half];
        double c = a->scale * cos((double)angle), s = a->scale * sin((double)angle);
        double low = x[at], high = x[at + half], size = fabs(low) + fabs(high);
        assert_near(world_at(&a->x, at), low * c - high * s, size);
        assert_near(world_at(&a->x, at + half), high * c + low * s, size);
    }
}

static void test_rope(void **state)
{
    static const int dims[] = {2, 16, 24, 64, 80, 128};
    for (int i = 0; i < 12; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 200);
        int rows = world_pick(w, 1, 40);
        qn_rope_args a = make_rope(w, rows, world_pick(w, 1, 5), dims[i % 6]);
        float *before = world_memory(w, qn_tensor_bytes(&a.x));
        memcpy(before, a.x.data, qn_tensor_bytes(&a.x));
        world_check_near(w, QN_OP_ROPE, &a, &a.x, 2e-5);
        check_rope_formula(&a, before, rows);
    }
}

static void test_qk_norm_rope(void **state)
{
    for (int i = 0; i < 9; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 300);
        int head_dim = 2 * world_pick(w, 1, 70);
        qn_qk_norm_rope_args a = {
            .rope = make_rope(w, world_pick(w, 1, 40), world_pick(w, 1, 5), head_dim),
            .weight = world_tensor(w, (qn_dtype)(i % 3), 0, head_dim, 1),
            .eps = 1e-6f};
        world_check_near(w, QN_OP_QK_NORM_ROPE, &a, &a.rope.x, 2e-5);
    }
}

// ---- elements and rows ----

static void test_swiglu(void **state)
{
    for (int i = 0; i < 8; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 400);
        int rows = world_pick(w, 1, MAX_ROWS), width = world_pick(w, 1, 700);
        qn_swiglu_args a = {.gate = world_tensor(w, QN_DTYPE_F32, rows, width, i & 1 ? 60 : 3),
                            .up = world_tensor(w, QN_DTYPE_F32, rows, width, 1),
                            .y = world_tensor(w, QN_DTYPE_F32, rows, width, 1),
                            .n_rows = n_rows_of(w)};
        *n_rows_of(w) = rows;
        world_check_near(w, QN_OP_SWIGLU, &a, &a.y, 2e-6);
        for (int64_t j = 0; j < (int64_t)rows * width; j++) {
            double g = world_at(&a.gate, j), y = g / (1 + exp(-g)) * world_at(&a.up, j);
            assert_near(world_at(&a.y, j), y, fabs(y) + 1e-30);
        }
        a.y = a.gate;
        world_check_near(w, QN_OP_SWIGLU, &a, &a.y, 2e-6);
    }
}

static void test_embed_gather(void **state)
{
    for (int i = 0; i < 3 + QN_DTYPE_COUNT; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 500);
        qn_dtype dtype = (qn_dtype)(i % QN_DTYPE_COUNT);
        int rows = world_pick(w, 1, MAX_ROWS), width = world_pick(w, 1, 90), n_vocab = 50;
        if (!qn_dtype_is_plain(dtype))
            width = qn_format_of(dtype)->block_elements * world_pick(w, 1, 3);
        qn_embed_args a = {.y = world_tensor(w, QN_DTYPE_F32, rows, width, 1),
                           .table = world_tensor(w, dtype, n_vocab, width, 1),
                           .counts = w->batch.step.counts,
                           .rows = w->batch.step.rows,
                           .slots = w->batch.slots};
        world_rows(w, rows, 100, n_vocab + 3); // some tokens outside the table
        world_check(w, QN_OP_EMBED, &a, a.y.data, qn_tensor_bytes(&a.y));
        for (int64_t j = 0; j < (int64_t)rows * width; j++) {
            qn_row r = a.rows[j / width];
            int token = a.slots.tokens[r.slot * MAX_CONTEXT + r.position];
            double y = token < n_vocab ? world_at(&a.table, token * width + j % width) : 0;
            assert_true(world_at(&a.y, j) == y);
        }
        qn_gather_args g = {.x = a.y,
                            .y = world_tensor(w, QN_DTYPE_F32, MAX_OUTPUTS, width, 1),
                            .counts = a.counts,
                            .outputs = w->batch.step.outputs};
        w->batch.step.counts->n_outputs = MAX_OUTPUTS;
        for (int j = 0; j < MAX_OUTPUTS; j++)
            w->batch.step.outputs[j].row = world_pick(w, 0, rows - 1);
        world_check(w, QN_OP_GATHER, &g, g.y.data, qn_tensor_bytes(&g.y));
        for (int j = 0; j < MAX_OUTPUTS * width; j++)
            assert_true(world_at(&g.y, j) ==
                        world_at(&g.x, g.outputs[j / width].row * width + j % width));
    }
}

// How far the cache may be from what was appended: half a step of its type at number i of x.
static double half_step(const qn_tensor *x, int64_t i, qn_dtype dtype)
{
    double largest = 0;
    if (dtype != QN_DTYPE_Q8_0)
        return fabs(world_at(x, i)) * (dtype == QN_DTYPE_BF16 ? 0x1p-8 : 0x1p-11);
    for (int64_t j = i / 32 * 32; j < i / 32 * 32 + 32; j++)
        largest = fmax(largest, fabs(world_at(x, j)));
    return largest / 127 * 0.501 + largest * 0x1p-11 + 0x1p-24 * 127; // the scale is a half
}

static void test_kv_append(void **state)
{
    for (int i = 0; i < 12; i++) {
        world *w = *state;
        world_begin(w, (uint64_t)i + 600);
        int rows = world_pick(w, 1, MAX_ROWS), heads = world_pick(w, 1, 4),
            dim = world_pick(w, 1, 70);
        qn_dtype dtype = (qn_dtype)(i % 4);
        if (dtype == QN_DTYPE_Q8_0) dim = 32 * world_pick(w, 1, 4);
        int n_blocks = MAX_SLOTS * w->batch.slots.max_blocks; // no block is shared
        qn_kv_append_args a = {.k = world_tensor(w, QN_DTYPE_F32, rows, heads * dim, 1),
                               .v = world_tensor(w, QN_DTYPE_F32, rows, heads * dim, 1e-5f),
                               .k_cache = world_cache(w, dtype, n_blocks, heads, dim),
                               .v_cache = world_cache(w, dtype, n_blocks, heads, dim),
                               .counts = w->batch.step.counts,
                               .rows = w->batch.step.rows,
                               .slots = w->batch.slots};
        world_rows(w, rows, n_blocks, 10);
        double near = dtype == QN_DTYPE_Q8_0 ? 1.01 / 127 : 0; // GPUs: the neighbour will do
        world_check_near(w, QN_OP_KV_APPEND, &a, &a.k_cache, near);
        world_check_near(w, QN_OP_KV_APPEND, &a, &a.v_cache, near);
        for (int64_t j = 0; j < (int64_t)rows * heads * dim; j++) {
            qn_row r = a.rows[j / (heads * dim)];
            int64_t block = a.slots.table[r.slot * a.slots.max_blocks + r.position / 16];
            int64_t head = j / dim % heads,
                    at = ((block * heads + head) * 16 + r.position % 16) * dim;
            assert_true(fabs(world_at(&a.k_cache, at + j % dim) - world_at(&a.k, j)) <=
                        half_step(&a.k, j, dtype));
        }
    }
}

// ---- the slot table and blocks ----

static void test_step_begin(void **state)
{
    world *w = *state;
    world_begin(w, 700);
    qn_slot_table *s = &w->batch.slots;
    qn_step_view *v = &w->batch.step;
    world_rows(w, 1, 100, 1000);
    int32_t source_token = s->tokens[1 * MAX_CONTEXT + 20], kept = s->tokens[2 * MAX_CONTEXT + 21];
    int32_t block = s->table[1 * s->max_blocks + 1], kept_block = s->table[2 * s->max_blocks + 2];
    v->slot_copies[0] = (qn_slot_copy){1, 2, 21}; // tokens 0 … 20, blocks 0 and 1
    v->params_edits[0] = (qn_params_edit){2, {.top_k = 7}};
    v->token_edits[0] = (qn_edit){2, 5, 4242};
    v->block_edits[0] = (qn_edit){2, 0, 77};
    v->counts->n_slot_copies = v->counts->n_params_edits = 1;
    v->counts->n_token_edits = v->counts->n_block_edits = 1;
    qn_step_begin_args a = {w->batch.limits, *v, *s};
    world_check(w, QN_OP_STEP_BEGIN, &a, s->tokens, sizeof(int32_t) * MAX_SLOTS * MAX_CONTEXT);
    assert_int_equal(s->tokens[2 * MAX_CONTEXT + 20], source_token);
    assert_int_equal(s->tokens[2 * MAX_CONTEXT + 21], kept);
    assert_int_equal(s->tokens[2 * MAX_CONTEXT + 5], 4242);
    assert_int_equal(s->table[2 * s->max_blocks], 77);
    assert_int_equal(s->table[2 * s->max_blocks + 1], block);
    assert_int_equal(s->table[2 * s->max_blocks + 2], kept_block);
    assert_int_equal(s->params[2].top_k, 7);
}

// More edits of tokens than a GPU's group has threads, which take them in rounds, and many of blocks.
static void test_many_edits(void **state)
{
    enum { EDITS = 600, ENTRIES = 60 };
    world *w = *state;
    world_begin(w, 701);
    w->batch.limits.max_edits = EDITS;
    w->batch.step = qn_step_at(&w->batch.limits, world_memory(w, qn_step_bytes(&w->batch.limits)));
    world_rows(w, MAX_ROWS, 100, 1000);
    qn_slot_table *s = &w->batch.slots;
    qn_step_view *v = &w->batch.step;
    for (int i = 0; i < EDITS; i++)
        v->token_edits[i] = (qn_edit){i % MAX_SLOTS, i / MAX_SLOTS, 2000 + i};
    for (int i = 0; i < ENTRIES; i++)
        v->block_edits[i] = (qn_edit){i % MAX_SLOTS, i / MAX_SLOTS, 300 + i};
    v->counts->n_token_edits = EDITS;
    v->counts->n_block_edits = ENTRIES;
    qn_step_begin_args a = {w->batch.limits, *v, *s};
    world_check(w, QN_OP_STEP_BEGIN, &a, s->tokens, sizeof(int32_t) * MAX_SLOTS * MAX_CONTEXT);
    for (int i = 0; i < EDITS; i++)
        assert_int_equal(s->tokens[i % MAX_SLOTS * MAX_CONTEXT + i / MAX_SLOTS], 2000 + i);
    for (int i = 0; i < ENTRIES; i++)
        s->table[i % MAX_SLOTS * s->max_blocks + i / MAX_SLOTS] = -1; // as no edit leaves it
    world_check(w, QN_OP_STEP_BEGIN, &a, s->table,
                sizeof(int32_t) * (size_t)(MAX_SLOTS * s->max_blocks));
    for (int i = 0; i < ENTRIES; i++)
        assert_int_equal(s->table[i % MAX_SLOTS * s->max_blocks + i / MAX_SLOTS], 300 + i);
}

static void test_copy_blocks(void **state)
{
    world *w = *state;
    world_begin(w, 800);
    enum { LAYERS = 3, BLOCKS = 10, BYTES = 100, SIZE = LAYERS * BLOCKS * BYTES };
    char *memory = world_memory(w, 2 * SIZE);
    for (int i = 0; i < 2 * SIZE; i++)
        memory[i] = (char)world_random(w);
    char *before = world_memory(w, 2 * SIZE);
    memcpy(before, memory, 2 * SIZE);
    qn_copy_blocks_args a = {w->batch.step.counts,
                             w->batch.step.block_copies,
                             2,
                             {{memory, LAYERS, BLOCKS, BYTES}, {memory + SIZE, 1, BLOCKS, BYTES}}};
    w->batch.step.counts->n_block_copies = 2;
    w->batch.step.block_copies[0] = (qn_block_copy){3, 9};
    w->batch.step.block_copies[1] = (qn_block_copy){0, 4};
    world_check(w, QN_OP_COPY_BLOCKS, &a, memory, 2 * SIZE);
    for (int layer = 0; layer <= LAYERS; layer++) // the last is the second part's only layer
        for (int b = 0; b < BLOCKS; b++) {
            int from = b == 9 ? 3 : b == 4 ? 0 : b, at = layer * BLOCKS * BYTES;
            assert_memory_equal(memory + at + b * BYTES, before + at + from * BYTES, BYTES);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_matmul_blocks),
        cmocka_unit_test(test_matmul_fp8_bytes),
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_qk_norm_rope),
        cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_embed_gather),
        cmocka_unit_test(test_kv_append),
        cmocka_unit_test(test_step_begin),
        cmocka_unit_test(test_many_edits),
        cmocka_unit_test(test_copy_blocks),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
