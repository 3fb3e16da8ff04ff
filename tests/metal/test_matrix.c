// Products in simdgroup matrices, kernel by kernel on the emulator: near the exact product, and the same bits for a row alone,
// among few, among many, and in the fused forms of one row. Shapes with every edge; memory of exactly the bytes that there are.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "backend/gpu/args.h"
#include "emulator/emulator.h"

enum { MAX_MEMORY = 64, MAX_ROWS = 140 };
#ifdef QN_SELFTEST_TSAN // which takes its time
enum { N_SHAPES = 3 };
#else
enum { N_SHAPES = 14 };
#endif

static struct {
    uint64_t random;
    void *memory[MAX_MEMORY];
    int n_memory;
} now;

static int pick(int from, int to)
{
    now.random = now.random * 6364136223846793005u + 1442695040888963407u;
    return from + (int)((now.random >> 33) % (uint64_t)(to - from + 1));
}

static float number(void)
{
    return (float)pick(-1000, 1000) / 1000 + (float)pick(-1000, 1000) * 1e-7f;
}

static void *take(size_t n_bytes)
{
    void *p = qn_emulator_guarded_alloc(n_bytes);
    assert_non_null(p);
    assert_true(now.n_memory < MAX_MEMORY);
    return now.memory[now.n_memory++] = p;
}

static void give_back(void)
{
    while (now.n_memory)
        assert_true(qn_emulator_guarded_free(now.memory[--now.n_memory]));
}

static float *floats(int n)
{
    float *p = take((size_t)n * sizeof *p);
    for (int i = 0; i < n; i++)
        p[i] = number();
    return p;
}

static void *weights(qn_dtype dtype, int n)
{
    uint16_t *p = take((size_t)n * 2);
    for (int i = 0; i < n; i++) {
        float f = number();
        qn_format_of(dtype)->from_f32(&f, p + i, 1);
    }
    return p;
}

static float at(qn_dtype dtype, const void *w, size_t i)
{
    float f;
    qn_format_of(dtype)->to_f32((const char *)w + 2 * i, &f, 1);
    return f;
}

// ---- kernels ----

typedef struct {
    const void *address;
    size_t n_bytes;
} buffer;

static const char *kernel_of(const char *name, qn_dtype dtype, const char *end)
{
    static char text[96];
    snprintf(text, sizeof text, "%s%s%s", name, dtype == QN_DTYPE_F16 ? "f16" : "bf16", end);
    return text;
}

static void run(const char *kernel, int x, int y, const buffer *buffers, int n, const void *args,
                size_t args_bytes)
{
    char error[512] = "";
    qn_emulator_dispatch d = {.kernel = kernel,
                              .n_groups = {(uint32_t)x, (uint32_t)y, 1},
                              .n_threads = 256,
                              .n_buffers = n,
                              .args = args,
                              .args_bytes = args_bytes};
    for (int i = 0; i < n; i++) {
        d.buffers[i].address = (void *)(uintptr_t)buffers[i].address;
        d.buffers[i].n_bytes = buffers[i].n_bytes;
    }
    if (qn_emulator_run(&d, error, sizeof error)) fail_msg("%s", error);
}

typedef struct {
    qn_dtype dtype;
    int n_rows, n_k, n_n;
    float *x;
    void *w, *bias;
    const float *y; // what is added to; NULL: nothing
    qn_step_counts *counts;
} product;

static product product_of(int n_rows, int n_k, int n_n)
{
    product p = {.dtype = pick(0, 1) ? QN_DTYPE_BF16 : QN_DTYPE_F16,
                 .n_rows = n_rows,
                 .n_k = n_k,
                 .n_n = n_n};
    p.x = floats(n_rows * n_k);
    p.w = weights(p.dtype, n_n * n_k);
    if (pick(0, 1)) p.bias = weights(p.dtype, n_n);
    if (pick(0, 1)) p.y = floats(n_rows * n_n);
    p.counts = take(sizeof *p.counts);
    return p;
}

// Rows first … first + n of the product, by groups of `tile` rows of x and `wide` of w, into new memory.
static float *multiply(const product *p, const char *name, int tile, int wide, int first, int n,
                       int n_groups_more)
{
    qn_gpu_matmul_args a = {.n_k = p->n_k,
                            .n_n = p->n_n,
                            .bias_type = p->bias ? (int)p->dtype : -1,
                            .accumulate = p->y != NULL,
                            .aligned = (uintptr_t)p->w % 16 == 0 && p->n_k % 8 == 0};
    size_t n_y = (size_t)n * (size_t)p->n_n;
    float *y = take(n_y * sizeof *y);
    if (p->y) memcpy(y, p->y + (size_t)first * (size_t)p->n_n, n_y * sizeof *y);
    *p->counts = (qn_step_counts){.n_rows = n};
    size_t n_x = (size_t)n * (size_t)p->n_k;
    const buffer buffers[] = {
        {y, n_y * sizeof *y},
        {p->x + (size_t)first * (size_t)p->n_k, n_x * sizeof(float)},
        {p->w, (size_t)p->n_n * (size_t)p->n_k * 2},
        {p->bias ? p->bias : p->counts, p->bias ? (size_t)p->n_n * 2 : sizeof *p->counts},
        {p->counts, sizeof *p->counts}};
    run(kernel_of(name, p->dtype, ""), (p->n_n + wide - 1) / wide,
        (n + tile - 1) / tile + n_groups_more, buffers, 5, &a, sizeof a);
    return y;
}

static float *few(const product *p, int first, int n)
{
    return multiply(p, "matrix_few_", 8, 16, first, n, pick(0, 1));
}

static float *tiles(const product *p, int first, int n)
{
    return multiply(p, "matrix_tiles_", 64, 64, first, n, pick(0, 1));
}

static void check_near(const product *p, const float *y)
{
    for (int r = 0; r < p->n_rows; r++)
        for (int n = 0; n < p->n_n; n++) {
            size_t i = (size_t)r * (size_t)p->n_n + (size_t)n;
            double exact = p->y ? p->y[i] : 0, size = 1;
            if (p->bias) exact += at(p->dtype, p->bias, (size_t)n);
            for (int k = 0; k < p->n_k; k++)
                exact += (double)p->x[r * p->n_k + k] *
                         at(p->dtype, p->w, (size_t)n * (size_t)p->n_k + (size_t)k);
            size += exact < 0 ? -exact : exact;
            if (!((exact - y[i]) / size < 2e-5 && (y[i] - exact) / size < 2e-5))
                fail_msg("row %d, %d of %d, K %d: expected %g, found %g", r, n, p->n_n, p->n_k,
                         exact, (double)y[i]);
        }
}

static void same(const float *a, const float *b, size_t n, const char *what)
{
#ifndef QN_TEST_FAST // fast maths may reorder what is outside of the matrices
    if (memcmp(a, b, n * sizeof *a)) fail_msg("%s: other bits", what);
#else
    (void)a, (void)b, (void)n, (void)what;
#endif
}

static void check_product(int n_rows, int n_k, int n_n)
{
    product p = product_of(n_rows, n_k, n_n);
    size_t width = (size_t)n_n;
    float *all = tiles(&p, 0, n_rows);
    check_near(&p, all);
    same(few(&p, 0, n_rows), all, (size_t)n_rows * width, "few rows");
    for (int i = 0; i < 4; i++) {
        int first = pick(0, n_rows - 1), n = pick(1, n_rows - first);
        same(tiles(&p, first, n), all + (size_t)first * width, (size_t)n * width, "some rows");
        same(few(&p, first, 1), all + (size_t)first * width, width, "a row alone");
    }
    give_back();
}

static void test_edges(void **state)
{
    (void)state;
    static const int shapes[][3] = {{1, 8, 1},    {8, 24, 15},   {9, 64, 17},  {64, 520, 64},
                                    {65, 40, 65}, {12, 1544, 7}, {16, 512, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_product(shapes[i][0], shapes[i][1], shapes[i][2]);
}

static void test_random_shapes(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        int n_k = 8 * (pick(0, 2) ? pick(1, 70) : pick(60, 260));
        check_product(pick(0, 2) ? pick(1, 20) : pick(20, MAX_ROWS), n_k, pick(1, 150));
    }
}

// Weights at a multiple of 8 bytes only, as a file's may lie.
static void test_unaligned(void **state)
{
    (void)state;
    product p = product_of(10, 72, 20);
    uint16_t *shifted = take((size_t)p.n_n * (size_t)p.n_k * 2 + 8);
    memcpy(shifted + 4, p.w, (size_t)p.n_n * (size_t)p.n_k * 2);
    float *y = tiles(&p, 0, p.n_rows);
    p.w = shifted + 4;
    same(tiles(&p, 0, p.n_rows), y, (size_t)p.n_rows * (size_t)p.n_n, "tiles");
    same(few(&p, 0, p.n_rows), y, (size_t)p.n_rows * (size_t)p.n_n, "few");
    check_near(&p, y);
    give_back();
}

// ---- the fused forms ----

// rms_norm of one row by its own kernel.
static float *normed(const float *x, const float *weight, int n_k, qn_step_counts *counts)
{
    qn_gpu_rms_norm_args a = {n_k, 1, 0, 1e-6f, 0};
    float *h = take((size_t)n_k * sizeof *h);
    size_t n_bytes = (size_t)n_k * sizeof(float);
    *counts = (qn_step_counts){.n_rows = 1};
    run("rms_norm", 1, 1,
        (buffer[]){{h, n_bytes}, {x, n_bytes}, {weight, n_bytes}, {counts, sizeof *counts}}, 4, &a,
        sizeof a);
    return h;
}

static void check_norm_project(int n_k, int n_q, int n_kv)
{
    product p[3];
    float *y[3], *x = floats(n_k), *weight = floats(n_k);
    size_t row = (size_t)n_k * sizeof(float);
    for (int i = 0; i < 3; i++) {
        p[i] = product_of(1, n_k, i ? n_kv : n_q);
        p[i].y = NULL;
        y[i] = take((size_t)p[i].n_n * sizeof(float));
    }
    p[1].w = weights(p[0].dtype, n_kv * n_k);
    p[2].w = weights(p[0].dtype, n_kv * n_k);
    qn_gpu_norm_project_args a = {n_k, n_q, n_kv, -1, -1, -1, 0, 1e-6f, 1};
    int *types[] = {&a.bias_q, &a.bias_k, &a.bias_v};
    buffer buffers[11] = {{0}};
    buffers[3] = (buffer){x, row};
    buffers[4] = (buffer){weight, row};
    for (int i = 0; i < 3; i++) {
        p[i].dtype = p[0].dtype;
        buffers[i] = (buffer){y[i], (size_t)p[i].n_n * sizeof(float)};
        buffers[5 + i] = (buffer){p[i].w, (size_t)p[i].n_n * (size_t)n_k * 2};
        buffers[8 + i] = (buffer){p[i].bias, (size_t)p[i].n_n * 2};
        if (!p[i].bias) buffers[8 + i] = (buffer){p[i].counts, sizeof *p[i].counts};
        if (p[i].bias) *types[i] = (int)p[0].dtype;
    }
    run(kernel_of("matrix_norm_project_", p[0].dtype, ""), (n_q + 2 * n_kv + 15) / 16, 1, buffers,
        11, &a, sizeof a);
    float *h = normed(x, weight, n_k, p[0].counts);
    for (int i = 0; i < 3; i++) {
        p[i].x = h;
        same(y[i], few(&p[i], 0, 1), (size_t)p[i].n_n, "norm_project");
        check_near(&p[i], y[i]);
    }
    give_back();
}

static void check_norm_gate_up(int n_k, int n_n)
{
    product p = product_of(1, n_k, n_n);
    float *x = p.x, *weight = floats(n_k), *y = take((size_t)n_n * sizeof *y);
    void *up = weights(p.dtype, n_n * n_k);
    size_t row = (size_t)n_k * sizeof(float), matrix = (size_t)n_n * (size_t)n_k * 2;
    qn_gpu_norm_gate_up_args a = {n_k, n_n, 0, 1e-6f, 1};
    p.bias = NULL;
    p.y = NULL;
    run(kernel_of("matrix_norm_gate_up_", p.dtype, ""), (n_n + 15) / 16, 1,
        (buffer[]){
            {y, (size_t)n_n * sizeof *y}, {x, row}, {weight, row}, {p.w, matrix}, {up, matrix}},
        5, &a, sizeof a);
    p.x = normed(x, weight, n_k, p.counts);
    float *g = few(&p, 0, 1), *both = take((size_t)n_n * sizeof *both);
    p.w = up;
    float *u = few(&p, 0, 1);
    size_t n_bytes = (size_t)n_n * sizeof(float);
    run("swiglu", (n_n + 255) / 256, 1,
        (buffer[]){{both, n_bytes}, {g, n_bytes}, {u, n_bytes}, {p.counts, sizeof *p.counts}}, 4,
        &(qn_gpu_swiglu_args){n_n}, sizeof(qn_gpu_swiglu_args));
    same(y, both, (size_t)n_n, "norm_gate_up");
    give_back();
}

static void check_merge_project(int n_heads, int head_dim, int n_n)
{
    int n_k = n_heads * head_dim, n_splits = pick(1, 4);
    product p = product_of(1, n_k, n_n);
    qn_row *row = take(sizeof *row);
    *row = (qn_row){0, pick(0, 900), -1};
    float *partials = floats(n_heads * n_splits * (head_dim + 2)), *merged = take((size_t)n_k * 4);
    for (int i = 0; i < n_heads * n_splits; i++) // sums are positive
        partials[i * (head_dim + 2) + head_dim + 1] = 1 + number() / 2;
    size_t n_partials = (size_t)(n_heads * n_splits * (head_dim + 2)) * sizeof(float);
    float *y = take((size_t)n_n * sizeof *y);
    if (p.y) memcpy(y, p.y, (size_t)n_n * sizeof *y);
    qn_gpu_merge_project_args a = {
        n_k, n_n, head_dim, 0, n_splits, 256, p.bias ? (int)p.dtype : -1, p.y != NULL, 1};
    *p.counts = (qn_step_counts){.n_rows = 1};
    run(kernel_of("matrix_merge_project_", p.dtype, n_k <= 2048 ? "_2048" : "_4096"),
        (n_n + 15) / 16, 1,
        (buffer[]){{y, (size_t)n_n * sizeof *y},
                   {partials, n_partials},
                   {p.w, (size_t)n_n * (size_t)n_k * 2},
                   {p.bias ? p.bias : p.counts, p.bias ? (size_t)n_n * 2 : sizeof *p.counts},
                   {p.counts, sizeof *p.counts},
                   {row, sizeof *row}},
        6, &a, sizeof a);
    qn_gpu_attention_args shape = {.n_heads = n_heads,
                                   .n_kv_heads = n_heads,
                                   .head_dim = head_dim,
                                   .n_splits = n_splits,
                                   .piece = 256};
    run("attention_merge", (n_k + 255) / 256, 1,
        (buffer[]){{merged, (size_t)n_k * 4},
                   {partials, n_partials},
                   {p.counts, sizeof *p.counts},
                   {row, sizeof *row}},
        4, &shape, sizeof shape);
    p.x = merged;
    same(y, few(&p, 0, 1), (size_t)n_n, "merge_project");
    check_near(&p, y);
    give_back();
}

static void test_fused(void **state)
{
    (void)state;
    check_norm_project(72, 21, 5); // parts end amid a group and amid an eight
    check_norm_project(1032, 64, 16);
    check_norm_gate_up(520, 19);
    check_norm_gate_up(64, 48);
    check_merge_project(3, 40, 33);
    check_merge_project(17, 128, 20);
}

static int set_up(void **state)
{
    (void)state;
    qn_emulator_strict_bounds(true);
    qn_emulator_strict_races(true);
    qn_emulator_seed(7);
    now.random = 7;
    return 0;
}

static int no_races(void **state)
{
    (void)state;
    qn_emulator_strict_races(false);
    return qn_emulator_races() ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges), cmocka_unit_test(test_unaligned),
        cmocka_unit_test(test_fused), cmocka_unit_test(test_random_shapes)};
    return cmocka_run_group_tests(tests, set_up, no_races);
}
