// Which of attention's kernels a step's rows need: a row that the chosen graph has no kernel for would keep another step's results. No card is
// needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cuda/args.h"
#include "backend/cuda/flash.h"
#include "backend/gpu/args.h"

enum { ALONE = QN_CUDA_ALONE, RUNS = QN_CUDA_RUNS, MIXED = QN_CUDA_MIXED };

static void test_steps(void **state)
{
    (void)state;
    const qn_row crowd[] = {{0, 9, 0}, {1, 4, 1}, {2, 7, 2}, {3, 0, 3}, {4, 0, 4}};
    const qn_row prompt[] = {{5, 0, -1}, {5, 1, -1}, {5, 2, -1}, {5, 3, -1},
                             {5, 4, -1}, {5, 5, -1}, {5, 6, 0}};
    assert_int_equal(qn_cuda_flash_steps(crowd, 0, 18), ALONE);
    assert_int_equal(qn_cuda_flash_steps(crowd, 1, 18), ALONE);
    assert_int_equal(qn_cuda_flash_steps(crowd, 5, 18), ALONE); // slots side by side, positions too
    assert_int_equal(qn_cuda_flash_steps(prompt, 3, 18), ALONE);
    assert_int_equal(qn_cuda_flash_steps(prompt, 4, 18), RUNS);
    assert_int_equal(qn_cuda_flash_steps(prompt, 7, 18), RUNS);
    assert_int_equal(qn_cuda_flash_steps(prompt, 7, 4), MIXED); // the window's edge leaves three
    assert_int_equal(qn_cuda_flash_steps(prompt, 7, 1), ALONE);
    const qn_row both[] = {{5, 0, -1}, {5, 1, -1}, {5, 2, -1}, {5, 3, 0}, {6, 8, 1}};
    assert_int_equal(qn_cuda_flash_steps(both, 5, 18), MIXED);
    const qn_row gap[] = {{5, 0, -1}, {5, 1, -1}, {5, 3, -1}, {5, 4, 0}};
    assert_int_equal(qn_cuda_flash_steps(gap, 4, 18), ALONE);
}

static qn_gpu_task attention(qn_cuda_kernel kernel, int whole)
{
    qn_gpu_task t = {.kernel = (qn_gpu_kernel)(QN_GPU_N_KERNELS + (int)kernel)};
    qn_gpu_attention_args a = {.whole = whole};
    memcpy(t.args, &a, sizeof a);
    return t;
}

static void test_spared(void **state)
{
    (void)state;
    const qn_gpu_task rows = attention(QN_CUDA_flash_rows_bf16_128, 1),
                      parted = attention(QN_CUDA_flash_rows_f16_64, 0);
    const qn_gpu_task wide = attention(QN_CUDA_flash_wide_f16_128, 1),
                      tiles = attention(QN_CUDA_flash_tiles_bf16_64, 1);
    const qn_gpu_task other = attention(QN_CUDA_product, 1);
    const qn_gpu_task *all[] = {&rows, &parted, &wide, &tiles, &other};
    const int spared[QN_CUDA_N_STEPS][5] = {[MIXED] = {0, 0, 0, 0, 0},
                                            [ALONE] = {0, 0, 1, 1, 0},
                                            [RUNS] = {1, 0, 0, 0, 0},
                                            [QN_CUDA_FAR] = {0, 0, 0, 0, 0}};
    for (int steps = 0; steps < QN_CUDA_N_STEPS; steps++)
        for (int i = 0; i < 5; i++)
            assert_int_equal(qn_cuda_flash_spares((qn_cuda_steps)steps, all[i]), spared[steps][i]);
}

// From where on groups share a row's splits.
static void test_near(void **state)
{
    (void)state;
    static const struct {
        qn_cuda_kernel kernel;
        int whole, n_splits, near;
    } cases[] = {{QN_CUDA_flash_rows_f16_128, 0, 16, 512}, {QN_CUDA_flash_rows_bf16_64, 0, 2, 256},
                 {QN_CUDA_flash_rows_f16_64, 1, 16, 0},    {QN_CUDA_flash_rows_q8_0_128, 0, 16, 0},
                 {QN_CUDA_flash_wide_f16_128, 1, 16, 0},   {QN_CUDA_product, 0, 16, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_gpu_attention_args a = {.whole = cases[i].whole, .n_splits = cases[i].n_splits};
        qn_gpu_task t = attention(cases[i].kernel, 0);
        memcpy(t.args, &a, sizeof a);
        const qn_gpu_list list = {.tasks = &t, .n_tasks = 1};
        assert_int_equal(qn_cuda_flash_near(&list), cases[i].near);
    }
    const qn_row rows[] = {{0, 511, 0}, {1, 512, 1}};
    assert_false(qn_cuda_flash_is_far(rows, 1, 512));
    assert_true(qn_cuda_flash_is_far(rows, 2, 512));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps), cmocka_unit_test(test_spared),
                                       cmocka_unit_test(test_near)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
