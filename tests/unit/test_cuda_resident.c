// Which plans run as one resident kernel: those whose every task it has a body for, and whose rows have room. No card is needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backend/cuda/resident.h"
#include "backend/gpu/lower.h"

enum { PROCESSORS = 132, SHARED = 232448, ROWS = 8 };

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
    const qn_device d = {.resident = 1, .n_processors = PROCESSORS, .shared_bytes = SHARED};
    assert_true(fits(&d, ROWS, QN_GPU_sample_finish, 16, 128));
    assert_true(fits(&d, ROWS, QN_GPU_matmul_q4_k_1x2, 16, 128));
    assert_true(fits(&d, ROWS, own(QN_CUDA_product), 16, 128));
    assert_true(fits(&d, ROWS, own(QN_CUDA_embed_packed), 16, 128));
    assert_true(fits(&d, ROWS, own(QN_CUDA_flash_rows_f16_64), 16, 128));
    assert_true(fits(&d, ROWS, own(QN_CUDA_flash_attend_bf16_128), 16, 128));
    assert_false(fits(&d, ROWS, own(QN_CUDA_flash_tiles_f16_64), 16, 128)); // rows in runs are its
    assert_false(fits(&d, ROWS, own(QN_CUDA_flash_tiles_bf16_128), 16, 128));
    assert_false(fits(&d, ROWS, own(QN_CUDA_product_tiles), 16, 128));
}

static void test_room(void **state)
{
    (void)state;
    const qn_device d = {.resident = 1, .n_processors = PROCESSORS, .shared_bytes = SHARED};
    qn_device few = d, fewer = d, old = d, small = d;
    few.n_processors = ROWS;
    fewer.n_processors = ROWS - 1;
    old.resident = 0;
    small.shared_bytes = 100 << 10;
    assert_true(fits(&d, ROWS, own(QN_CUDA_product), 8192, 29568));
    assert_true(fits(&few, 1, own(QN_CUDA_product), 8192, 29568));
    assert_false(
        fits(&few, ROWS, own(QN_CUDA_product), 8192, 29568)); // a group: five parts of eight rows
    assert_false(fits(&fewer, 1, own(QN_CUDA_product), 16, 128)); // a group tells one row's norm
    assert_false(fits(&d, ROWS + 1, own(QN_CUDA_product), 16, 128));
    assert_false(fits(&old, ROWS, own(QN_CUDA_product), 16, 128));
    assert_false(fits(&small, ROWS, own(QN_CUDA_product), 16, 128));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels), cmocka_unit_test(test_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
