// Block formats: those of GGUF files against the gguf package, bit for bit (tests/golden/data/formats, made by
// tools/goldens_formats.py), affine ones against MLX; fp8_128 against its definition.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

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

// Every format of GGUF files is among them, and a view spans whole blocks of any format.
static void test_registry(void **state)
{
    (void)state;
    for (int d = QN_DTYPE_BF16 + 1; d < QN_DTYPE_COUNT; d++) {
        const qn_format *f = qn_format_of((qn_dtype)d);
        if (d <= QN_DTYPE_IQ4_XS) assert_string_equal(f->name, names[d - QN_DTYPE_BF16 - 1]);
        assert_int_equal(qn_dtype_by_name(f->name), d);
        assert_int_equal(512 % f->block_elements, 0);
        qn_tensor t = qn_tensor_2d(NULL, (qn_dtype)d, 3, 512);
        assert_int_equal(qn_tensor_bytes(&t), 3 * 512 / f->block_elements * f->block_bytes);
    }
}

static uint32_t next(uint32_t *random)
{
    return (*random = *random * 1664525 + 1013904223) >> 8;
}

// Blocks written bit by bit, at an odd address; scales and biases of few enough places that a double holds each value exactly.
static void check_affine(qn_dtype dtype, int bits, int group)
{
    static uint8_t blocks[N * 2 + 1];
    static float expected[N], found[N];
    const qn_format *f = qn_format_of(dtype);
    assert_int_equal(f->block_elements, group);
    assert_int_equal(f->block_bytes, 8 + bits * group / 8);
    uint32_t random = (uint32_t)dtype;
    memset(blocks, 0, sizeof blocks);
    for (int i = 0; i < N; i += group) {
        uint8_t *b = blocks + 1 + i / group * f->block_bytes;
        float scale = ((float)next(&random) - 0x1p23f) * 0x1p-30f;
        float bias = ((float)next(&random) - 0x1p23f) * 0x1p-24f;
        memcpy(b, &scale, 4);
        memcpy(b + 4, &bias, 4);
        for (int j = 0; j < group; j++) {
            uint32_t q = next(&random) >> 7 & ((1U << bits) - 1);
            for (int bit = 0; bit < bits; bit++) {
                int at = j * bits + bit;
                b[8 + at / 8] |= (uint8_t)((q >> bit & 1) << at % 8);
            }
            expected[i + j] = (float)((double)scale * q + (double)bias);
        }
    }
    f->to_f32(blocks + 1, found, N);
    assert_memory_equal(found, expected, sizeof expected);
}

// Blocks of mlx.core.quantize, byte for byte.
static void check_affine_of_mlx(const qn_format *f)
{
    static float numbers[N];
    static char expected[N * 2], found[N * 2];
    size_t n_bytes = qn_format_bytes(f, N);
    read_file("quantise", "f32", numbers, sizeof numbers);
    read_file(f->name, "quantised", expected, n_bytes);
    f->from_f32(numbers, found, N);
    assert_memory_equal(found, expected, n_bytes);
}

// Half a step off at most; the end of the range that is larger in size, and 0, are met.
static void check_affine_written(qn_dtype dtype, int bits, int group)
{
    static float x[N], y[N];
    static uint8_t blocks[N * 2];
    const qn_format *f = qn_format_of(dtype);
    uint32_t random = 7;
    for (int i = 0; i < N; i++)
        x[i] = ((float)(next(&random) % 4001) - 1500) / 1000;
    memset(x, 0, sizeof *x * 128);
    for (int i = 128; i < 256; i++)
        x[i] = -1;
    f->from_f32(x, blocks, N);
    f->to_f32(blocks, y, N);
    for (int i = 0; i < N; i += group) {
        float low = 0, high = 0;
        for (int j = i; j < i + group; j++) {
            low = fminf(low, x[j]);
            high = fmaxf(high, x[j]);
        }
        float edge = high >= -low ? high : low, step = (high - low) / (float)((1 << bits) - 1);
        for (int j = i; j < i + group; j++) {
            if (x[j] == edge) assert_true(y[j] == edge);
            if (x[j] == 0) assert_true(fabsf(y[j]) < 1e-6f);
            // What meets 0 may cost a step at the other end.
            if (fabsf(x[j] - y[j]) > step * 1.01f) fail_msg("%s: number %d", f->name, j);
        }
    }
}

static void test_affine(void **state)
{
    (void)state;
    int n = 0;
    for (int bits = 1; bits <= 9; bits++)
        for (int group = 16; group <= 256; group *= 2) {
            char name[32];
            snprintf(name, sizeof name, "affine%d_%d", bits, group);
            qn_dtype dtype = qn_dtype_affine(bits, group);
            assert_int_equal(dtype, qn_dtype_by_name(name));
            if (dtype == QN_DTYPE_COUNT) continue;
            check_affine(dtype, bits, group);
            check_affine_of_mlx(qn_format_of(dtype));
            check_affine_written(dtype, bits, group);
            n++;
        }
    assert_int_equal(n, 15);
}

static float fp8_by_definition(int b)
{
    int exponent = b >> 3 & 15, fraction = b & 7;
    double size = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
    return (float)(b & 0x80 ? -size : size);
}

// Every byte, and what each of many numbers is nearest to; ties go to even bytes.
static void test_fp8_numbers(void **state)
{
    (void)state;
    for (int b = 0; b < 256; b++) {
        if ((b & 0x7f) == 0x7f) {
            assert_true(isnan(qn_fp8_to_f32((uint8_t)b)));
            continue;
        }
        assert_true(qn_fp8_to_f32((uint8_t)b) == fp8_by_definition(b));
        assert_int_equal(qn_f32_to_fp8(fp8_by_definition(b)), b);
        if ((b & 0x7f) == 0x7e) continue;
        float here = fp8_by_definition(b), next_one = fp8_by_definition(b + 1);
        float half = (here + next_one) / 2, even = b & 1 ? next_one : here;
        assert_true(qn_fp8_to_f32(qn_f32_to_fp8(half)) == even);
        assert_int_equal(qn_f32_to_fp8(nextafterf(half, here)), b);
        assert_int_equal(qn_f32_to_fp8(nextafterf(half, next_one)), b + 1);
    }
    assert_int_equal(qn_f32_to_fp8(1e30f), 0x7e);
    assert_int_equal(qn_f32_to_fp8(-INFINITY), 0xfe);
    assert_true(isnan(qn_fp8_to_f32(qn_f32_to_fp8(NAN))));
}

static void test_fp8_blocks(void **state)
{
    (void)state;
    const qn_format *f = qn_format_of(QN_DTYPE_FP8_128);
    uint8_t block[133];
    float x[128], y[128], scale = 0.3f;
    memcpy(block + 1, &scale, 4);
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 128; i++)
            block[5 + i] = (uint8_t)(half * 128 + i);
        f->to_f32(block + 1, y, 128);
        for (int i = 0; i < 127; i++)
            assert_true(y[i] == scale * fp8_by_definition(half * 128 + i));
        assert_true(isnan(y[127]));
    }
    for (int i = 0; i < 128; i++)
        x[i] = ((float)(i * 37 % 128) - 90) * 1e-3f;
    f->from_f32(x, block, 128);
    f->to_f32(block, y, 128);
    for (int i = 0; i < 128; i++)
        assert_true(fabsf(y[i] - x[i]) <= fabsf(x[i]) / 16 + 1e-7f);
    memset(x, 0, sizeof x);
    f->from_f32(x, block, 128);
    f->to_f32(block, y, 128);
    for (int i = 0; i < 128; i++)
        assert_true(y[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),    cmocka_unit_test(test_quantised),
        cmocka_unit_test(test_errors),    cmocka_unit_test(test_registry),
        cmocka_unit_test(test_affine),    cmocka_unit_test(test_fp8_numbers),
        cmocka_unit_test(test_fp8_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
