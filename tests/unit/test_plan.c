// Plans and the CPU device: recording, what operations say they touch, fused ones as plain ones, compiled programs whose
// records depend on one another, and each way to fail.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/ops/all_gather.h"
#include "backend/ops/all_reduce.h"
#include "backend/ops/matmul.h"
#include "backend/ops/qk_norm_rope.h"
#include "backend/ops/step_begin.h"
#include "backend/ops/swiglu.h"

enum { ROWS = 12, WIDTH = 96, HEADS = 3, HEAD_DIM = 32 };

typedef struct {
    const qn_backend *cpu;
    qn_device *device;
    qn_batch batch;
    void *input;
    quern_error e;
} fixture;

static void *memory(fixture *f, size_t n_bytes)
{
    void *p;
    assert_int_equal(f->cpu->alloc(f->device, n_bytes, &p, &f->e), 0);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (size_t i = 0; i < n_bytes; i++)
        assert_int_equal(((char *)p)[i], 0);
    return p;
}

static void open_device(fixture *f, int n_threads)
{
    qn_device_options options = {.n_threads = n_threads};
    *f = (fixture){.cpu = qn_backend_by_name("cpu")};
    assert_int_equal(f->cpu->open(&options, &f->device, &f->e), 0);
    qn_step_limits l = {ROWS, 2, 2, 8, 64};
    f->batch.limits = l;
    f->batch.step = qn_step_at(&l, memory(f, qn_step_bytes(&l)));
    f->batch.slots = qn_slot_table_at(&l, memory(f, qn_slot_table_bytes(&l)));
    f->batch.results = memory(f, 2 * sizeof *f->batch.results);
    f->input = memory(f, qn_step_bytes(&l));
    qn_step_view v = qn_step_at(&l, f->input);
    v.counts->n_rows = ROWS;
    for (int i = 0; i < ROWS; i++)
        v.rows[i] = (qn_row){i % 2, i, -1};
}

static qn_tensor tensor(fixture *f, int rows, int columns, uint32_t seed)
{
    size_t n = (size_t)(rows ? rows : 1) * (size_t)columns;
    float *data = memory(f, n * sizeof *data);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (float)(seed >> 8) * 0x1p-23f - 1;
    }
    return rows ? qn_tensor_2d(data, QN_DTYPE_F32, rows, columns)
                : qn_tensor_1d(data, QN_DTYPE_F32, columns);
}

static int launch(fixture *f, const qn_plan *plan)
{
    qn_program *program;
    qn_ticket ticket;
    qn_launch step = {f->input, NULL};
    int code = f->cpu->compile(f->device, plan, &program, &f->e);
    if (code != 0) return code;
    code = f->cpu->launch(f->device, program, &step, &ticket);
    if (code == 0) {
        assert_int_equal(f->cpu->poll(f->device, ticket), QN_TICKET_DONE);
        assert_int_equal(f->cpu->wait(f->device, ticket, 10), QN_TICKET_DONE);
    }
    f->cpu->free_program(f->device, program);
    return code;
}

// ---- recording ----

static void test_table(void **state)
{
    (void)state;
    for (int op = 0; op < QN_OP_COUNT; op++) {
        const qn_op_info *info = qn_op_get((qn_op)op);
        assert_non_null(info);
        assert_non_null(info->name);
        assert_true(info->args_bytes > 0 && info->accesses);
    }
    assert_null(qn_op_get(QN_OP_COUNT));
}

static int touches(const qn_access *accesses, int n, const void *p, int write)
{
    for (int i = 0; i < n; i++)
        if (accesses[i].from == p && accesses[i].write == write) return 1;
    return 0;
}

static void test_accesses(void **state)
{
    (void)state;
    fixture f;
    qn_plan plan;
    qn_access a[QN_MAX_ACCESSES];
    open_device(&f, 1);
    qn_plan_init(&plan, ROWS, &f.batch);
    qn_tensor x = tensor(&f, ROWS, WIDTH, 1), y = tensor(&f, ROWS, 8, 2),
              w = tensor(&f, 8, WIDTH, 3);
    qn_matmul(&plan, y, x, w, (qn_tensor){0});
    qn_matmul_residual(&plan, y, x, w, (qn_tensor){0});
    qn_step_begin(&plan);
    assert_int_equal(plan.n_records, 3);
    int n = qn_matmul_accesses(plan.records[0].args, a);
    assert_int_equal(n, 4);
    assert_true(touches(a, n, y.data, 1) && touches(a, n, x.data, 0) && touches(a, n, w.data, 0));
    assert_int_equal(a[0].n_bytes, ROWS * 8 * sizeof(float));
    n = qn_matmul_accesses(plan.records[1].args, a);
    assert_true(touches(a, n, y.data, 2));
    n = qn_step_begin_accesses(plan.records[2].args, a);
    assert_true(touches(a, n, f.batch.slots.tokens, 2) && touches(a, n, f.batch.slots.table, 2));
    qn_plan_free(&plan);
    f.cpu->close(f.device);
}

// ---- composing ----

static int no_fused(void *context, const qn_record *r)
{
    fixture *f = context;
    return r->op != QN_OP_QK_NORM_ROPE && f->cpu->supports(f->device, r);
}

static int nothing(void *context, const qn_record *r)
{
    (void)context;
    (void)r;
    return 0;
}

static int everything(void *context, const qn_record *r)
{
    fixture *f = context;
    return f->cpu->supports(f->device, r);
}

static void test_compose(void **state)
{
    (void)state;
    fixture f;
    qn_plan fused, plain;
    open_device(&f, 2);
    qn_tensor x = tensor(&f, ROWS, WIDTH, 5), weight = tensor(&f, 0, HEAD_DIM, 6);
    qn_rope_args rope = {.x = x,
                         .inv_freq = tensor(&f, 0, HEAD_DIM / 2, 7),
                         .n_heads = HEADS,
                         .head_dim = HEAD_DIM,
                         .scale = 1.1f};
    qn_plan_init(&fused, ROWS, &f.batch);
    qn_qk_norm_rope(&fused, rope, weight, 1e-6f);
    float before[ROWS * WIDTH], expected[ROWS * WIDTH];
    memcpy(before, x.data, sizeof before);
    assert_int_equal(launch(&f, &fused), 0);
    memcpy(expected, x.data, sizeof expected);
    assert_memory_not_equal(expected, before, sizeof before);

    assert_int_equal(qn_plan_compose(&fused, no_fused, &f, &plain, &f.e), 0);
    assert_int_equal(plain.n_records, 2);
    assert_int_equal(plain.records[0].op, QN_OP_RMS_NORM);
    assert_int_equal(plain.records[1].op, QN_OP_ROPE);
    memcpy(x.data, before, sizeof before);
    assert_int_equal(launch(&f, &plain), 0);
    assert_memory_equal(x.data, expected, sizeof expected);
    qn_plan_free(&plain);

    assert_int_equal(qn_plan_compose(&fused, everything, &f, &plain, &f.e), 0);
    assert_int_equal(plain.n_records, 1); // what is supported stays
    qn_plan_free(&plain);
    assert_int_equal(qn_plan_compose(&fused, nothing, &f, &plain, &f.e), QUERN_E_UNSUPPORTED);
    assert_non_null(strstr(f.e.message, "rms_norm"));
    assert_int_equal(plain.n_records, 0);
    qn_plan_free(&plain);
    qn_plan_free(&fused);
    f.cpu->close(f.device);
}

// ---- running ----

// A long chain in which every record needs the one before, and some that need none: the same bits with one thread and many.
static void run_chain(int n_threads, float *out)
{
    fixture f;
    qn_plan plan;
    open_device(&f, n_threads);
    qn_plan_init(&plan, ROWS, &f.batch);
    qn_tensor a = tensor(&f, ROWS, WIDTH, 11), b = tensor(&f, ROWS, WIDTH, 12),
              c = tensor(&f, ROWS, WIDTH, 13);
    qn_tensor w = tensor(&f, WIDTH, WIDTH, 14), norm = tensor(&f, 0, WIDTH, 15);
    for (int i = 0; i < 20; i++) {
        qn_rms_norm(&plan, b, a, norm, (qn_rms_norm_args){.eps = 1e-6f});
        qn_matmul(&plan, c, b, w, norm);
        qn_matmul_residual(&plan, a, b, w, (qn_tensor){0}); // meets neither c nor its readers
        qn_swiglu(&plan, c, c, b);
        qn_all_reduce(&plan, c, 1);
        qn_matmul_residual(&plan, a, c, w, (qn_tensor){0});
    }
    qn_all_gather(&plan, a, a, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(launch(&f, &plan), 0);
    memcpy(out, a.data, ROWS * WIDTH * sizeof *out);
    qn_plan_free(&plan);
    f.cpu->close(f.device);
}

static void test_chain(void **state)
{
    (void)state;
    float expected[ROWS * WIDTH], found[ROWS * WIDTH];
    run_chain(1, expected);
    for (int i = 0; i < ROWS * WIDTH; i++)
        assert_true(expected[i] == expected[i]);
    for (int n = 2; n <= 7; n++) {
        run_chain(n, found);
        assert_memory_equal(found, expected, sizeof found);
    }
}

// ---- failing ----

static void test_unsupported(void **state)
{
    (void)state;
    fixture f;
    qn_plan plan;
    open_device(&f, 1);
    qn_plan_init(&plan, ROWS, &f.batch);
    qn_tensor x = tensor(&f, ROWS, WIDTH, 1), y = tensor(&f, ROWS, 8, 2),
              w = tensor(&f, 8, WIDTH + 1, 3);
    qn_matmul(&plan, y, x, w, (qn_tensor){0});
    assert_int_equal(f.cpu->supports(f.device, &plan.records[0]), 0);
    assert_int_equal(launch(&f, &plan), QUERN_E_UNSUPPORTED);
    assert_non_null(strstr(f.e.message, "matmul"));
    qn_plan_free(&plan);
    qn_plan_init(&plan, ROWS, &f.batch);
    qn_all_reduce(&plan, x, 2); // more than one rank
    assert_int_equal(launch(&f, &plan), QUERN_E_UNSUPPORTED);
    qn_plan_free(&plan);
    f.cpu->close(f.device);
}

static void test_no_memory(void **state)
{
    (void)state;
    fixture f;
    qn_plan plan, composed;
    void *p;
    open_device(&f, 1);
    qn_tensor x = tensor(&f, ROWS, WIDTH, 1);
    qn_plan_init(&plan, ROWS, &f.batch);
    plan.arena.limit_bytes = 2000;
    for (int i = 0; i < 100; i++)
        qn_all_reduce(&plan, x, 1);
    assert_int_equal(plan.failed, 1);
    assert_int_equal(launch(&f, &plan), QUERN_E_MEMORY);
    assert_int_equal(qn_plan_compose(&plan, everything, &f, &composed, &f.e), QUERN_E_MEMORY);
    qn_plan_free(&plan);
    assert_int_equal(f.cpu->alloc(f.device, SIZE_MAX / 4, &p, &f.e), QUERN_E_MEMORY);
    assert_null(p);
    f.cpu->free(f.device, NULL);
    f.cpu->close(f.device);
}

// A step block whose counts exceed the plan is refused before anything is touched.
static void test_bad_counts(void **state)
{
    (void)state;
    fixture f;
    qn_plan plan;
    open_device(&f, 2);
    qn_plan_init(&plan, 4, &f.batch); // a class of 4 rows
    qn_step_begin(&plan);
    qn_step_view v = qn_step_at(&f.batch.limits, f.input);
    v.counts->n_rows = 5;
    v.counts->n_token_edits = 1;
    v.token_edits[0] = (qn_edit){1, 3, 99};
    assert_int_equal(launch(&f, &plan), QUERN_E_INTERNAL);
    assert_int_equal(f.batch.slots.tokens[64 + 3], 0);
    v.counts->n_rows = 4;
    assert_int_equal(launch(&f, &plan), 0);
    assert_int_equal(f.batch.slots.tokens[64 + 3], 99);
    v.counts->n_token_edits = -1;
    assert_int_equal(launch(&f, &plan), QUERN_E_INTERNAL);
    qn_plan_free(&plan);
    f.cpu->close(f.device);
}

// ---- the device ----

static void test_device(void **state)
{
    (void)state;
    quern_error e;
    qn_device *d;
    qn_device_info info;
    const qn_backend *cpu = qn_backend_by_name("auto");
    assert_non_null(cpu);
    assert_null(qn_backend_by_name("abacus"));
    assert_null(qn_backend_at(100));
    qn_device_options options = {.n_threads = 3, .isa = "portable"};
    assert_int_equal(cpu->open(&options, &d, &e), 0);
    cpu->info(d, &info);
    assert_int_equal(info.n_threads, 3);
    assert_true(info.memory_bytes > 0);
    assert_non_null(strstr(info.text, "3 threads, portable"));
    void *large, *address;
    assert_int_equal(cpu->alloc(d, 3 << 20, &large, &e), 0); // mapped
    memset(large, 1, 3 << 20);
    assert_int_equal(cpu->adopt(d, large, 100, &address, &e), 0);
    assert_ptr_equal(address, large);
    int from = 7, to = 0;
    assert_int_equal(cpu->upload(d, large, &from, sizeof from), 0);
    assert_int_equal(cpu->download(d, &to, large, sizeof to), 0);
    assert_int_equal(to, 7);
    cpu->free(d, large);
    cpu->close(d);
    options.isa = "abacus";
    assert_int_equal(cpu->open(&options, &d, &e), QUERN_E_UNSUPPORTED);
    assert_null(d);
    cpu->close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),       cmocka_unit_test(test_accesses),
        cmocka_unit_test(test_compose),     cmocka_unit_test(test_chain),
        cmocka_unit_test(test_unsupported), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_bad_counts),  cmocka_unit_test(test_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
