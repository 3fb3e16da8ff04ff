// Which plans' products are few, and what lists read later. No card is needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/cuda/accesses.h"
#include "backend/cuda/device.h"
#include "backend/ops/matmul.h"

enum { FEW_ROWS = 8 };

// On Hopper those of F32 weights alone: all others are gemm.h's, of one row too.
static void test_few_rows(void **state)
{
    (void)state;
    const qn_device hopper = {.capability = QN_CUDA_HOPPER};
    const qn_device others[] = {{.capability = 80}, {.capability = 89}, {.capability = 100}};
    static const qn_dtype types[] = {QN_DTYPE_F32, QN_DTYPE_F16, QN_DTYPE_BF16, QN_DTYPE_Q8_0,
                                     QN_DTYPE_FP8_128};
    qn_matmul_args args[2] = {{.w = {.dtype = QN_DTYPE_F32, .dim = {500, 1000}}}};
    qn_record records[] = {{.op = QN_OP_MATMUL, .args = &args[0]},
                           {.op = QN_OP_MATMUL, .args = &args[1]}};
    qn_plan plan = {.records = records, .n_records = 2};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        args[1] = args[0];
        args[1].w.dtype = types[i];
        assert_int_equal(qn_cuda_few_rows(&hopper, &plan), i ? 0 : FEW_ROWS);
        for (size_t j = 0; j < sizeof others / sizeof *others; j++)
            assert_int_equal(qn_cuda_few_rows(&others[j], &plan), FEW_ROWS);
    }
    records[1].op = QN_OP_EMBED; // no product
    assert_int_equal(qn_cuda_few_rows(&hopper, &plan), FEW_ROWS);
}

static qn_access bytes(const char *from, size_t n, int write)
{
    return (qn_access){.from = from, .n_bytes = n, .write = write};
}

// A room whose numbers become another product's tiles must not be read as rows by anyone behind it.
static void test_read_later(void **state)
{
    (void)state;
    static const char room[64];
    const qn_access all = bytes(room, 64, 0);
    qn_gpu_task tasks[3] = {{.n_buffers = 1}, {.n_buffers = 1}, {.n_buffers = 1}};
    const qn_gpu_list l = {.tasks = tasks, .n_tasks = 3};
    tasks[0].buffers[0] = bytes(room, 64, 0); // before the list's part that is asked for
    tasks[1].buffers[0] = bytes(room, 32, 1); // writes a half
    tasks[2].buffers[0] = bytes(room + 48, 8, 0);
    assert_true(qn_cuda_read_later(&l, 1, &all));
    tasks[1].buffers[0] = bytes(room, 64, 1); // all of it: what comes behind reads other numbers
    assert_false(qn_cuda_read_later(&l, 1, &all));
    tasks[1].buffers[0] = bytes(room, 64, 2); // adds to what is there
    assert_true(qn_cuda_read_later(&l, 1, &all));
    assert_false(qn_cuda_read_later(&l, 3, &all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_few_rows),
                                       cmocka_unit_test(test_read_later)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
