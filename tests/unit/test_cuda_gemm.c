// The task list of a plan of many rows on sm_90: which products become one, what is done on the way to them and behind them, and what
// stays where somebody else wants a result. No card is needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "backend/cuda/gemm.h"
#include "backend/gpu/args.h"
#include "backend/gpu/lower.h"

enum { ROWS = 300, WIDTH = 1024, INNER = 8704, HEADS = 512, PLACE = 1 << 24 };

// Buffers of a layer: addresses that nobody follows.
typedef enum { X = 1, H, Q, K, V, GATE, UP, PART, W, NORM, COUNTS } place;

typedef struct {
    qn_step_counts counts;
    qn_plan plan;
    qn_device device;
    qn_gpu_list in, out;
    qn_cuda_gemm_room room;
} state;

static qn_access at(place p, int write)
{
    return (qn_access){(const void *)((uintptr_t)p * PLACE), (size_t)ROWS * INNER * 4, write};
}

static qn_gpu_task *add(state *s, int kernel, const void *args, size_t n_bytes)
{
    return qn_gpu_task_add(&s->in, (qn_gpu_kernel)kernel, (uint32_t[]){1, 1, 1}, args, n_bytes);
}

static void buffer(qn_gpu_task *t, place p, int write)
{
    t->buffers[t->n_buffers++] = at(p, write);
}

static void norm(state *s, place y, place x)
{
    qn_gpu_rms_norm_args a = {.width = WIDTH, .n_groups = 1, .eps = 1e-6f};
    qn_gpu_task *t = add(s, QN_GPU_rms_norm, &a, sizeof a);
    buffer(t, y, 1);
    buffer(t, x, 0);
    buffer(t, NORM, 0);
    buffer(t, COUNTS, 0);
}

static void product_of(state *s, qn_dtype type, place y, place x, int n, int k, int accumulate)
{
    qn_cuda_product_args a = {.n_k = k,
                              .padded_k = k,
                              .n_matrices = 1,
                              .n_n = {n},
                              .bias = {-1, -1, -1},
                              .type = QN_DTYPE_F16,
                              .w_type = {(int)type},
                              .accumulate = accumulate};
    qn_gpu_task *t = add(s, QN_GPU_N_KERNELS + QN_CUDA_product, &a, sizeof a);
    static const place rest[] = {COUNTS, COUNTS};
    buffer(t, y, accumulate ? 2 : 1);
    buffer(t, rest[0], 0);
    buffer(t, rest[1], 0);
    buffer(t, x, 0);
    buffer(t, COUNTS, 0);
    for (int i = 0; i < 7; i++) // weights, biases, counts
        buffer(t, i == 0 ? W : COUNTS, 0);
}

static void product(state *s, place y, place x, int n, int k, int accumulate)
{
    product_of(s, QN_DTYPE_F16, y, x, n, k, accumulate);
}

static void swiglu(state *s, place y)
{
    qn_gpu_swiglu_args a = {INNER};
    qn_gpu_task *t = add(s, QN_GPU_swiglu, &a, sizeof a);
    buffer(t, y, 1);
    buffer(t, GATE, 0);
    buffer(t, UP, 0);
    buffer(t, COUNTS, 0);
}

static void reader(state *s, place p)
{
    qn_gpu_rope_args a = {0};
    qn_gpu_task *t = add(s, QN_GPU_rope, &a, sizeof a);
    buffer(t, p, 2);
}

static void begin(state *s)
{
    memset(s, 0, sizeof *s);
    s->plan.max_rows = ROWS;
    s->plan.batch.limits.max_outputs = ROWS;
    s->plan.batch.step.counts = &s->counts;
    s->device.n_processors = 132;
    s->device.capability = 90;
}

static void rewrite(state *s)
{
    qn_cuda_gemm_measure(&s->device, &s->plan, &s->in, &s->room);
    s->room.at = (void *)((uintptr_t)100 * PLACE);
    s->room.weights = (void *)((uintptr_t)200 * PLACE);
    qn_cuda_gemm_rewrite(&s->device, &s->plan, &s->in, &s->room, &s->out);
    assert_false(s->out.failed);
}

static void end(state *s)
{
    qn_gpu_list_free(&s->in);
    qn_gpu_list_free(&s->out);
}

static int own(int kernel)
{
    return QN_GPU_N_KERNELS + kernel;
}

static void expect(const state *s, const int *kernels, int n)
{
    assert_int_equal(s->out.n_tasks, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(s->out.tasks[i].kernel, kernels[i]);
}

static const qn_cuda_gemm_args *args_of(const state *s, int i)
{
    return (const qn_cuda_gemm_args *)(const void *)s->out.tasks[i].args;
}

static void mlp(state *s, place joined)
{
    norm(s, H, X);
    product(s, GATE, H, INNER, WIDTH, 0);
    product(s, UP, H, INNER, WIDTH, 0);
    swiglu(s, joined);
    product(s, X, joined, WIDTH, INNER, 1);
}

// Norm, gate, up, what joins them and down: x's rows once, two products; in place or not. The next norm adds up what down has left.
static void test_mlp(void **unused)
{
    static const place joins[] = {GATE, PART};
    (void)unused;
    for (int i = 0; i < 2; i++) {
        state s;
        begin(&s);
        mlp(&s, joins[i]);
        mlp(&s, joins[i]); // the next layer writes the same places
        rewrite(&s);
        expect(&s,
               (const int[]){own(QN_CUDA_gemm_norm), own(QN_CUDA_gemm_f16_chain),
                             own(QN_CUDA_gemm_f16_256), own(QN_CUDA_gemm_norm),
                             own(QN_CUDA_gemm_f16_chain), own(QN_CUDA_gemm_f16_256),
                             own(QN_CUDA_gemm_fold)},
               7);
        for (int j = 0; j < 2; j++) {
            const qn_gpu_task *t = &s.out.tasks[3 * j];
            const qn_cuda_gemm_norm_args *a = (const qn_cuda_gemm_norm_args *)(const void *)t->args;
            assert_int_equal(a->folds, j);
            assert_int_equal(a->product.n_n[0], WIDTH);
            assert_ptr_equal(t->buffers[1].from, at(X, 0).from);
            assert_int_equal(t->buffers[1].write, 2 * j);
        }
        assert_int_equal(args_of(&s, 1)->gated, 1);
        assert_int_equal(args_of(&s, 1)->early, 1);
        assert_ptr_equal(s.out.tasks[1].buffers[0].from, s.out.tasks[2].buffers[3].from);
        assert_int_equal(args_of(&s, 2)->accumulate, 1);
        assert_ptr_equal(s.out.tasks[2].buffers[0].from, at(X, 0).from);
        const qn_access *last = &s.out.tasks[2].buffers[3];
        assert_true((const char *)last->from + last->n_bytes <=
                    (const char *)s.room.at + qn_cuda_gemm_room_bytes(&s.room));
        end(&s);
    }
}

// The last norm, of the outputs' rows: it takes them itself, and adds up what down has left, unless somebody wants x later.
static void test_last_norm(void **unused)
{
    (void)unused;
    for (int read = 0; read < 2; read++) {
        state s;
        begin(&s);
        product(&s, X, GATE, WIDTH, INNER, 1);
        qn_gpu_gather_args a = {WIDTH};
        qn_gpu_task *t = add(&s, QN_GPU_gather, &a, sizeof a);
        buffer(t, H, 1);
        buffer(t, X, 0);
        buffer(t, COUNTS, 0);
        buffer(t, COUNTS, 0);
        norm(&s, H, H);
        ((qn_gpu_rms_norm_args *)(void *)s.in.tasks[2].args)->over_outputs = 1;
        product(&s, Q, H, HEADS, WIDTH, 0);
        ((qn_cuda_product_args *)(void *)s.in.tasks[3].args)->over_outputs = 1;
        if (read) reader(&s, X);
        rewrite(&s);
        int large = own(QN_CUDA_gemm_f16_256), fold = own(QN_CUDA_gemm_fold);
        int rows = own(QN_CUDA_gemm_rows), sums = own(QN_CUDA_gemm_norm);
        if (read)
            expect(&s,
                   (const int[]){rows, large, fold, QN_GPU_gather, sums, large, fold, QN_GPU_rope},
                   8);
        else
            expect(&s, (const int[]){rows, large, sums, large, fold}, 5);
        t = &s.out.tasks[read ? 4 : 2];
        const qn_cuda_gemm_norm_args *n = (const qn_cuda_gemm_norm_args *)(const void *)t->args;
        assert_int_equal(n->gathers, !read);
        assert_int_equal(n->folds, !read);
        assert_int_equal(n->product.over_outputs, read);
        assert_ptr_equal(t->buffers[1].from, at(read ? H : X, 0).from);
        end(&s);
    }
}

// Products of one x side by side; the norm stays where its result is read again.
static void test_attention(void **unused)
{
    (void)unused;
    for (int read = 0; read < 2; read++) {
        state s;
        begin(&s);
        norm(&s, H, X);
        product(&s, Q, H, WIDTH, WIDTH, 0);
        product(&s, K, H, HEADS, WIDTH, 0);
        product(&s, V, H, HEADS, WIDTH, 0);
        if (read) reader(&s, H);
        rewrite(&s);
        int first = read; // rms_norm itself
        assert_int_equal(s.out.n_tasks, 3 + 2 * read);
        if (read) assert_int_equal(s.out.tasks[0].kernel, QN_GPU_rms_norm);
        assert_int_equal(s.out.tasks[first].kernel,
                         own(read ? QN_CUDA_gemm_rows : QN_CUDA_gemm_norm));
        assert_int_equal(args_of(&s, first + 1)->n_matrices, 3);
        assert_int_equal(args_of(&s, first + 1)->n_n[2], HEADS);
        assert_ptr_equal(s.out.tasks[first + 1].buffers[2].from, at(V, 0).from);
        end(&s);
    }
}

static void rotation(state *s, place p, int n)
{
    qn_gpu_rope_args a = {n / 128, 128, 1.0f};
    qn_gpu_task *t = add(s, QN_GPU_rope, &a, sizeof a);
    buffer(t, p, 2);
    for (int i = 0; i < 3; i++) // angles, counts, rows
        buffer(t, COUNTS, 0);
}

// Rotations and the append become one kernel, where nobody else wants keys and values and the step is not large.
static void test_entering(void **unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        state s;
        begin(&s);
        if (i == 2) s.plan.max_rows = QN_CUDA_EARLY_ROWS + 1;
        norm(&s, H, X);
        product(&s, Q, H, WIDTH, WIDTH, 0);
        product(&s, K, H, HEADS, WIDTH, 0);
        product(&s, V, H, HEADS, WIDTH, 0);
        rotation(&s, Q, WIDTH);
        rotation(&s, K, HEADS);
        qn_gpu_kv_append_args a = {HEADS / 128, 128, QN_DTYPE_F16, 4};
        qn_gpu_task *t = add(&s, QN_GPU_kv_append, &a, sizeof a);
        buffer(t, K, 0);
        buffer(t, V, 0);
        buffer(t, GATE, 2); // the caches
        buffer(t, UP, 2);
        for (int j = 0; j < 3; j++)
            buffer(t, COUNTS, 0);
        if (i == 1) reader(&s, V);
        rewrite(&s);
        assert_int_equal(s.out.tasks[2].kernel, own(i ? QN_CUDA_gemm_fold : QN_CUDA_gemm_enter));
        assert_int_equal(s.out.n_tasks, i == 0 ? 3 : i == 1 ? 7 : 6);
        end(&s);
    }
}

// Gate's sums are wanted: nothing is joined.
static void test_left(void **unused)
{
    state s;
    (void)unused;
    begin(&s);
    mlp(&s, PART);
    reader(&s, GATE);
    rewrite(&s);
    assert_int_equal(args_of(&s, 1)->gated, 0);
    assert_int_equal(s.out.tasks[2].kernel, QN_GPU_swiglu);
    end(&s);
}

// All are rewritten, one row too.
static void test_one_row(void **unused)
{
    state s;
    (void)unused;
    begin(&s);
    s.plan.max_rows = 1;
    mlp(&s, GATE);
    rewrite(&s);
    assert_int_equal(s.out.tasks[1].kernel, own(QN_CUDA_gemm_f16_16));
    assert_int_equal(s.out.tasks[2].kernel, own(QN_CUDA_gemm_f16_16));
    end(&s);
}

// Of up to 128 rows blocks are multiplied as they lie, each format as it is: no room for them.
static void test_packed(void **unused)
{
    static const struct {
        int rows, kernel,
            next; // next: of the product whose x is gate · up, in tiles as gate and up leave them
        qn_dtype down;
    } all[] = {{16, QN_CUDA_gemm_packed_16, QN_CUDA_gemm_packed_16, QN_DTYPE_Q6_K},
               {32, QN_CUDA_gemm_packed_32, QN_CUDA_gemm_f16_32, QN_DTYPE_F16},
               {128, QN_CUDA_gemm_packed_64, QN_CUDA_gemm_packed_64, QN_DTYPE_Q6_K},
               {128, QN_CUDA_gemm_packed_64, QN_CUDA_gemm_f16_64, QN_DTYPE_F16}};
    (void)unused;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        state s;
        begin(&s);
        s.plan.max_rows = all[i].rows;
        norm(&s, H, X);
        product_of(&s, QN_DTYPE_Q4_K, GATE, H, INNER, WIDTH, 0);
        product_of(&s, QN_DTYPE_Q5_K, UP, H, INNER, WIDTH, 0);
        swiglu(&s, GATE);
        product_of(&s, all[i].down, X, GATE, WIDTH, INNER, 1);
        rewrite(&s);
        expect(&s,
               (const int[]){own(QN_CUDA_gemm_norm), own(all[i].kernel), own(all[i].next),
                             own(QN_CUDA_gemm_fold)},
               4);
        assert_int_equal(s.room.weight_bytes, 0);
        assert_int_equal(args_of(&s, 1)->gated, 1);
        assert_int_equal(args_of(&s, 1)->early, 1);
        assert_int_equal(args_of(&s, 1)->w_type[0], QN_DTYPE_Q4_K);
        assert_int_equal(args_of(&s, 1)->w_type[1], QN_DTYPE_Q5_K);
        assert_int_equal(args_of(&s, 2)->tile_rows, args_of(&s, 1)->tile_rows);
        int each = all[i].rows == 16 ? 2 : 1; // groups a multiprocessor
        assert_int_equal(s.out.tasks[1].n_groups[0], 132 * each);
        assert_int_equal(qn_cuda_gemm_shared((int)s.out.tasks[1].kernel),
                         each == 2 ? QN_CUDA_GEMM_HALF_SHARED : QN_CUDA_GEMM_SHARED);
        assert_ptr_equal(s.out.tasks[1].buffers[4].from, at(W, 0).from);
        end(&s);
    }
}

// Who adds up more than four parts has a kernel with room for them.
static void test_many_parts(void **unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        state s;
        begin(&s);
        s.plan.max_rows = 16;
        product_of(&s, i ? QN_DTYPE_Q8_0 : QN_DTYPE_F16, X, GATE, WIDTH, 18944, 1);
        norm(&s, H, X);
        product(&s, Q, H, WIDTH, WIDTH, 0);
        rewrite(&s);
        assert_int_equal(s.out.tasks[2].kernel,
                         own(i ? QN_CUDA_gemm_norm_parts : QN_CUDA_gemm_norm));
        const qn_cuda_gemm_norm_args *a =
            (const qn_cuda_gemm_norm_args *)(const void *)s.out.tasks[2].args;
        assert_int_equal(a->folds, 1);
        assert_int_equal(qn_cuda_gemm_threads((int)s.out.tasks[2].kernel), QN_CUDA_NORM_THREADS);
        end(&s);
    }
}

// Formats side by side where each has whole warpgroups; else, or beside 16-bit weights, the room.
static void test_packed_formats(void **unused)
{
    static const struct {
        qn_dtype second, third;
        int n, packed; // n: rows of w of the first
    } all[] = {{QN_DTYPE_Q6_K, QN_DTYPE_Q4_K, WIDTH, 1},
               {QN_DTYPE_Q6_K, QN_DTYPE_Q4_K, WIDTH - 8,
                1}, // whole warpgroups of strips, the last not full
               {QN_DTYPE_Q4_K, QN_DTYPE_Q4_K, WIDTH - 16, 1},
               {QN_DTYPE_Q6_K, QN_DTYPE_Q6_K, WIDTH - 16, 0},
               {QN_DTYPE_Q4_K, QN_DTYPE_Q6_K, WIDTH - 16, 0},
               {QN_DTYPE_Q4_K, QN_DTYPE_F16, WIDTH, 0}};
    (void)unused;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        state s;
        begin(&s);
        s.plan.max_rows = 64;
        product_of(&s, QN_DTYPE_Q4_K, Q, H, all[i].n, WIDTH, 0);
        product_of(&s, all[i].second, K, H, HEADS, WIDTH, 0);
        product_of(&s, all[i].third, V, H, HEADS, WIDTH, 0);
        rewrite(&s);
        int last = s.out.n_tasks - 2; // before the fold
        assert_int_equal(s.out.tasks[last].kernel,
                         own(all[i].packed ? QN_CUDA_gemm_packed_64 : QN_CUDA_gemm_f16_64));
        assert_int_equal(s.room.weight_bytes != 0, !all[i].packed);
        assert_int_equal(args_of(&s, last)->early, all[i].packed);
        end(&s);
    }
}

// The head of a few outputs has no room either, though its step has many rows.
static void test_packed_outputs(void **unused)
{
    state s;
    (void)unused;
    begin(&s);
    s.plan.batch.limits.max_outputs = 16;
    product_of(&s, QN_DTYPE_Q8_0, Q, H, INNER, WIDTH, 0);
    ((qn_cuda_product_args *)(void *)s.in.tasks[0].args)->over_outputs = 1;
    rewrite(&s);
    assert_int_equal(s.out.tasks[1].kernel, own(QN_CUDA_gemm_packed_16));
    assert_int_equal(s.room.weight_bytes, 0);
    end(&s);
}

// In larger steps weights in blocks become F16 in one room right before their product, side by side; 16-bit ones are read where they are.
static void test_blocks(void **unused)
{
    state s;
    (void)unused;
    begin(&s);
    product_of(&s, QN_DTYPE_Q4_K, Q, H, WIDTH, WIDTH, 0);
    product_of(&s, QN_DTYPE_F16, K, H, HEADS, WIDTH, 0);
    product_of(&s, QN_DTYPE_Q6_K, V, H, HEADS, WIDTH, 0);
    product_of(&s, QN_DTYPE_Q8_0, X, Q, HEADS, WIDTH, 0);
    rewrite(&s);
    expect(&s,
           (const int[]){own(QN_CUDA_gemm_rows), own(QN_CUDA_unpack_blocks),
                         own(QN_CUDA_unpack_blocks), own(QN_CUDA_gemm_f16_256),
                         own(QN_CUDA_gemm_fold), own(QN_CUDA_gemm_rows), own(QN_CUDA_unpack_blocks),
                         own(QN_CUDA_gemm_f16_256), own(QN_CUDA_gemm_fold)},
           9);
    const qn_gpu_task *t = s.out.tasks;
    const char *room = s.room.weights;
    assert_int_equal(args_of(&s, 3)->early,
                     0); // what is written by the kernel in front is not fetched before it is over
    assert_int_equal(s.room.weight_bytes, (WIDTH + HEADS) * WIDTH * 2);
    assert_ptr_equal(t[1].buffers[0].from, room);
    assert_ptr_equal(t[2].buffers[0].from, room + WIDTH * WIDTH * 2);
    assert_int_equal(t[2].buffers[0].n_bytes, HEADS * WIDTH * 2);
    assert_ptr_equal(t[2].buffers[1].from, at(W, 0).from);
    assert_ptr_equal(t[3].buffers[4].from, room);
    assert_ptr_equal(t[3].buffers[5].from, at(W, 0).from);
    assert_ptr_equal(t[3].buffers[6].from, room + WIDTH * WIDTH * 2);
    assert_ptr_equal(t[6].buffers[0].from, room);
    end(&s);
}

// What the kernels keep in memory: what is handed over (gemm_handed.cuh), and where groups share tiles a sum a part of K: four at most of
// 16-bit weights, eight of blocks, however long K is.
static void test_rooms(void **unused)
{
    static const struct {
        int k, rows, parts, tile, groups; // groups: a multiprocessor
        qn_dtype type;
    } all[] = {{1024, 300, 4, 256, 1, QN_DTYPE_F16},
               {18944, 300, 4, 256, 1, QN_DTYPE_F16},
               {1024, 16, 4, 16, 2, QN_DTYPE_Q8_0},
               {18944, 16, 8, 16, 2, QN_DTYPE_Q8_0},
               {18944, 64, 8, 64, 1, QN_DTYPE_Q8_0}};
    (void)unused;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        state s;
        begin(&s);
        s.plan.max_rows = all[i].rows;
        product_of(&s, all[i].type, Q, H, HEADS, all[i].k, 0);
        rewrite(&s);
        size_t sums = (size_t)all[i].groups * QN_CUDA_GEMM_KINDS * 132 * (size_t)all[i].tile * 128;
        assert_int_equal(s.room.handed_bytes, QN_CUDA_GEMM_FLAG_BYTES + sums * sizeof(float));
        assert_int_equal(s.room.partial_bytes,
                         (size_t)(all[i].parts * all[i].rows) * HEADS * sizeof(float));
        end(&s);
    }
}

// Parts that are work of their own in the largest form, unless some cluster's share is longer than one: a second round of short ones is not.
static void test_rounds(void **unused)
{
    static const struct {
        int n, k, kernel;
    } all[] = {
        {4608, 3584, QN_CUDA_gemm_f16_256}, // 18 tiles of 256 rows of w in 3 parts, for 66 clusters
        {4224, 3584, QN_CUDA_gemm_f16_128}, // 17 in 4 parts: two go round, as long as the others
        {4224, 896, QN_CUDA_gemm_f16_256}}; // half as long
    (void)unused;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        state s;
        begin(&s);
        s.plan.max_rows = 256;
        product(&s, Q, H, all[i].n, all[i].k, 0);
        rewrite(&s);
        int found = 0;
        for (int j = 0; j < s.out.n_tasks; j++)
            found += (int)s.out.tasks[j].kernel == own(all[i].kernel);
        assert_int_equal(found, 1);
        end(&s);
    }
}

// Chains are as long as leave each multiprocessor a tile of 128 rows of w, of blocks two, for any number of rows of x; with all of K in one,
// tiles of 256 rows have a form of their own.
static void test_chains(void **unused)
{
    static const struct {
        int n, k, part;
        qn_dtype type;
        int kernel; // of 256 rows
    } all[] = {{18944, 3584, 3584, QN_DTYPE_F16, QN_CUDA_gemm_f16_chain},
               {3584, 18944, 4736, QN_DTYPE_F16, QN_CUDA_gemm_f16_256},
               {4608, 3584, 1280, QN_DTYPE_F16, QN_CUDA_gemm_f16_256},
               {3584, 3584, 896, QN_DTYPE_F16, QN_CUDA_gemm_f16_256},
               {896, 896, 256, QN_DTYPE_F16, QN_CUDA_gemm_f16_256},
               {9472, 3584, 1280, QN_DTYPE_Q8_0, QN_CUDA_gemm_f16_128},
               {37888, 3584, 3584, QN_DTYPE_Q8_0, QN_CUDA_gemm_f16_chain},
               {3584, 18944, 2560, QN_DTYPE_Q4_K, QN_CUDA_gemm_f16_128},
               {3584, 3584, 512, QN_DTYPE_Q4_K, QN_CUDA_gemm_f16_128},
               {896, 896, 256, QN_DTYPE_Q8_0, QN_CUDA_gemm_f16_256}};
    static const int rows[] = {16, 256};
    (void)unused;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int j = 0; j < 2; j++) {
            state s;
            begin(&s);
            s.plan.max_rows = rows[j];
            product_of(&s, all[i].type, Q, H, all[i].n, all[i].k, 0);
            rewrite(&s);
            int at = s.out.n_tasks - 1;
            while (at >= 0 && (s.out.tasks[at].kernel < (qn_gpu_kernel)own(QN_CUDA_gemm_f16_16) ||
                               s.out.tasks[at].kernel > (qn_gpu_kernel)own(QN_CUDA_gemm_packed_64)))
                at--;
            assert_true(at >= 0);
            assert_int_equal(args_of(&s, at)->part, all[i].part);
            if (j) assert_int_equal(s.out.tasks[at].kernel, own(all[i].kernel));
            end(&s);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_mlp),
        cmocka_unit_test(test_last_norm),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_left),
        cmocka_unit_test(test_one_row),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_rooms),
        cmocka_unit_test(test_entering),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_many_parts),
        cmocka_unit_test(test_packed_formats),
        cmocka_unit_test(test_packed_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
