// Which plans run as one resident kernel: those whose every task it has a body for, and whose rows have room; and what lists read later. No card is needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/cuda/accesses.h"
#include "backend/cuda/resident.h"
#include "backend/gpu/lower.h"
#include "backend/ops/matmul.h"

enum { PROCESSORS = 132, SHARED = 232448, ROWS = QN_CUDA_RESIDENT_ROWS };

static int fits(const qn_device *d, int max_rows, int kernel, int n, int k)
{
    qn_plan plan = {.max_rows = max_rows};
    qn_cuda_product_args a = {.n_k = k, .padded_k = k, .n_matrices = 1, .n_n = {n}};
    qn_gpu_list list = {0};
    qn_gpu_task_add(&list, QN_GPU_rms_norm, (uint32_t[]){1, 1, 1}, &a, sizeof a);
    qn_gpu_task_add(&list, (qn_gpu_kernel)kernel, (uint32_t[]){1, 1, 1}, &a, sizeof a);
    int yes = qn_cuda_resident_fits(d, &plan, &list);
    qn_gpu_list_free(&list);
    return yes;
}

static int own(qn_cuda_kernel kernel)
{
    return QN_GPU_N_KERNELS + (int)kernel;
}

static void test_kernels(void **state)
{
    (void)state;
    const qn_device d = {.capability = QN_CUDA_HOPPER,
                         .resident = 1,
                         .n_processors = PROCESSORS,
                         .shared_bytes = SHARED};
    assert_true(fits(&d, ROWS, QN_GPU_sample_finish, 16, 128));
    assert_true(fits(&d, ROWS, QN_GPU_matmul_q4_k_1x2, 16, 128));
    assert_true(fits(&d, ROWS, own(QN_CUDA_product), 16, 128));
    assert_true(fits(&d, ROWS, own(QN_CUDA_embed_packed), 16, 128));
    assert_true(fits(&d, ROWS, own(QN_CUDA_flash_rows_f16_64), 16, 128));
    assert_true(fits(&d, ROWS, own(QN_CUDA_flash_attend_bf16_128), 16, 128));
    assert_false(fits(&d, ROWS, own(QN_CUDA_flash_tiles_f16_64), 16, 128)); // rows in runs are its
    assert_false(fits(&d, ROWS, own(QN_CUDA_flash_tiles_bf16_128), 16, 128));
    assert_false(fits(&d, ROWS, own(QN_CUDA_flash_wide_bf16_128), 16, 128));
    assert_false(fits(&d, ROWS, own(QN_CUDA_product_tiles), 16, 128));
}

static void test_room(void **state)
{
    (void)state;
    const qn_device d = {.capability = QN_CUDA_HOPPER,
                         .resident = 1,
                         .n_processors = PROCESSORS,
                         .shared_bytes = SHARED};
    qn_device few = d, fewer = d, old = d, small = d;
    few.n_processors = 8;
    fewer.n_processors = 7;
    old.resident = 0;
    small.shared_bytes = 100 << 10;
    assert_true(fits(&d, ROWS, own(QN_CUDA_product), 8192, 29568));
    assert_true(fits(&few, 1, own(QN_CUDA_product), 8192, 29568));
    assert_true(
        fits(&few, ROWS, own(QN_CUDA_product), 8192, 29568)); // a group: five parts of four rows
    assert_false(fits(&few, ROWS, own(QN_CUDA_product), 8192, 65536)); // ten
    assert_false(fits(&fewer, 1, own(QN_CUDA_product), 16, 128)); // a group tells one row's norm
    assert_false(fits(&d, ROWS + 1, own(QN_CUDA_product), 16, 128));
    assert_false(fits(&old, ROWS, own(QN_CUDA_product), 16, 128));
    assert_false(fits(&small, ROWS, own(QN_CUDA_product), 16, 128));
}

static int fits_plan(const qn_device *d, const qn_plan *of, int max_rows)
{
    qn_plan plan = *of;
    qn_gpu_list list = {0};
    plan.max_rows = max_rows;
    return qn_cuda_resident_fits(d, &plan, &list);
}

// More than few rows are a graph's on Hopper; of weights in blocks fewer are few, of 16-bit weights none.
static void test_rows(void **state)
{
    (void)state;
    const qn_device hopper = {.capability = QN_CUDA_HOPPER}, older = {.capability = 80};
    const qn_device able = {.capability = QN_CUDA_HOPPER,
                            .resident = 1,
                            .n_processors = PROCESSORS,
                            .shared_bytes = SHARED};
    qn_matmul_args args = {.w = {.dtype = QN_DTYPE_F16, .dim = {500, 1000}}};
    qn_record record = {.op = QN_OP_MATMUL, .args = &args};
    qn_plan plan = {.records = &record, .n_records = 1};
    assert_int_equal(qn_cuda_few_rows(&hopper, &plan), 0);
    assert_false(fits_plan(&able, &plan, 1));
    assert_int_equal(qn_cuda_few_rows(&older, &plan), 8);
    args.w.dtype = QN_DTYPE_Q8_0;
    assert_int_equal(qn_cuda_few_rows(&hopper, &plan), 2);
    assert_true(fits_plan(&able, &plan, 2) && !fits_plan(&able, &plan, 3));
    args.w.dtype = QN_DTYPE_F32;
    assert_int_equal(qn_cuda_few_rows(&hopper, &plan), ROWS);
    record.op = QN_OP_EMBED;
    args.w.dtype = QN_DTYPE_F16;
    assert_int_equal(qn_cuda_few_rows(&hopper, &plan), ROWS);
}

static qn_access bytes(const char *from, size_t n, int write)
{
    return (qn_access){.from = from, .n_bytes = n, .write = write};
}

// A room whose numbers become another product's fragments must not be read as rows by anyone behind it.
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels), cmocka_unit_test(test_room),
                                       cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_read_later)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
