// Block formats against the gguf package, bit for bit: tests/golden/data/formats, made by tools/goldens_formats.py.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"

enum { N = 2048 };

static const char *const names[] = {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1",   "q2_k",
                                    "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"};

// The file's bytes must be n_bytes.
static void read_file(const char *name, const char *suffix, void *to, size_t n_bytes)
{
    char path[1024];
    const char *source = getenv("QUERN_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/data/formats/%s.%s", source ? source : ".", name,
             suffix);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(to, 1, n_bytes, f), n_bytes);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
}

// At an odd address too.
static void test_values(void **state)
{
    (void)state;
    static char blocks[N * 2 + 1];
    static float expected[N], found[N];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const qn_format *f = qn_format_of(qn_dtype_by_name(names[i]));
        assert_non_null(f);
        size_t n_bytes = N / (size_t)f->block_elements * (size_t)f->block_bytes;
        read_file(names[i], "blocks", blocks + 1, n_bytes);
        read_file(names[i], "f32", expected, sizeof expected);
        f->to_f32(blocks + 1, found, N);
        assert_memory_equal(found, expected, sizeof expected);
    }
}

// Blocks as llama.cpp's reference code makes them; where a scale is 0 the numbers under it mean nothing, and may differ.
static void test_quantised(void **state)
{
    (void)state;
    static float numbers[N], x[N], y[N];
    static char expected[N * 2], found[N * 2];
    read_file("quantise", "f32", numbers, sizeof numbers);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const qn_format *f = qn_format_of(qn_dtype_by_name(names[i]));
        size_t n_bytes = qn_format_bytes(f, N);
        read_file(names[i], "quantised", expected, n_bytes);
        f->from_f32(numbers, found, N);
        if (f->block_elements == 32) assert_memory_equal(found, expected, n_bytes);
        f->to_f32(expected, x, N);
        f->to_f32(found, y, N);
        for (int j = 0; j < N; j++)
            if (x[j] != y[j]) fail_msg("%s: number %d of block %d", names[i], j % 256, j / 256);
    }
}

// Root mean square of what a format takes from N(0, 1), at most; zeros stay zeros.
static void test_errors(void **state)
{
    (void)state;
    static const double most[] = {0.006, 0.095, 0.078, 0.047, 0.038, 0.30,
                                  0.155, 0.068, 0.034, 0.018, 0.081, 0.077};
    static float x[N], y[N], zeros[N];
    static char blocks[N * 2];
    uint32_t random = 1;
    for (int i = 0; i < N; i++) {
        x[i] = -6;
        for (int j = 0; j < 12; j++)
            x[i] += (float)((random = random * 1664525 + 1013904223) >> 8) * 0x1p-24f;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const qn_format *f = qn_format_of(qn_dtype_by_name(names[i]));
        double sum = 0;
        f->from_f32(x, blocks, N);
        f->to_f32(blocks, y, N);
        for (int j = 0; j < N; j++)
            sum += (y[j] - x[j]) * (y[j] - x[j]);
        if (sqrt(sum / N) > most[i]) fail_msg("%s: error %.4f", names[i], sqrt(sum / N));
        f->from_f32(zeros, blocks, N);
        f->to_f32(blocks, y, N);
        for (int j = 0; j < N; j++)
            assert_true(y[j] == 0);
        f->to_f32(blocks, x, N);
    }
}

// Every format of the registry that is stored in blocks is among them, and a view spans whole blocks.
static void test_registry(void **state)
{
    (void)state;
    for (int d = QN_DTYPE_BF16 + 1; d < QN_DTYPE_COUNT; d++) {
        const qn_format *f = qn_format_of((qn_dtype)d);
        assert_string_equal(f->name, names[d - QN_DTYPE_BF16 - 1]);
        assert_true(f->block_elements == 32 || f->block_elements == 256);
        qn_tensor t = qn_tensor_2d(NULL, (qn_dtype)d, 3, 512);
        assert_int_equal(qn_tensor_bytes(&t), 3 * 512 / f->block_elements * f->block_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_quantised),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_registry)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
