// Tensor: sizes of views, and conversions between number formats against their definition.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tensor/tensor.h"

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void test_sizes(void **state)
{
    (void)state;
    qn_tensor t = {NULL, QN_DTYPE_BF16, 4, {3, 5, 7, 2}};
    assert_int_equal(qn_tensor_n_elements(&t), 210);
    assert_int_equal(qn_tensor_bytes(&t), 420);
    t = qn_tensor_2d(NULL, QN_DTYPE_F32, 1 << 20, 1 << 14);
    assert_true(qn_tensor_bytes(&t) == (size_t)1 << 36);
    t = (qn_tensor){0};
    assert_int_equal(qn_tensor_n_elements(&t), 0);
    assert_int_equal(qn_dtype_by_name("bf16"), QN_DTYPE_BF16);
    assert_int_equal(qn_dtype_by_name("f32"), QN_DTYPE_F32);
    assert_int_equal(qn_dtype_by_name("q4"), QN_DTYPE_COUNT);
    assert_null(qn_format_of(QN_DTYPE_COUNT));
}

static double f16_value(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent ? ldexp(1 + fraction / 1024.0, exponent - 15) : ldexp(fraction, -24);
    return h & 0x8000 ? -v : v;
}

static void test_f16_values(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = qn_f16_to_f32((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00) {
            assert_true(h & 1023 ? isnan(f) : isinf(f) && (f < 0) == (h >> 15));
            if (h & 1023)
                assert_int_equal(qn_f32_to_f16(f), h | 0x200); // made quiet
            else
                assert_int_equal(qn_f32_to_f16(f), h);
            continue;
        }
        assert_true((double)f == f16_value((uint16_t)h) && !signbit(f) == !(h >> 15));
        assert_int_equal(qn_f32_to_f16(f), h);
    }
}

// Midway between two neighbours goes to the even one, a little off it to the nearer.
static void test_f16_rounding(void **state)
{
    (void)state;
    for (uint16_t h = 0; h < 0x7bff; h++) {
        float low = qn_f16_to_f32(h), high = qn_f16_to_f32((uint16_t)(h + 1));
        float middle = low + (high - low) / 2;
        assert_int_equal(qn_f32_to_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(qn_f32_to_f16(nextafterf(middle, -1e9f)), h);
        assert_int_equal(qn_f32_to_f16(-nextafterf(middle, 1e9f)), (h + 1) | 0x8000);
    }
    assert_int_equal(qn_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(qn_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(qn_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(qn_f32_to_f16(1e-30f), 0);
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = qn_bf16_to_f32((uint16_t)h);
        int is_nan = (h & 0x7fff) > 0x7f80;
        assert_int_equal(qn_f32_to_bf16(f), is_nan ? h | 0x40 : h);
        if ((h & 0x7fff) >= 0x7f80) continue;
        assert_int_equal(qn_f32_to_bf16(float_of(h << 16 | 0x7fff)), h);
        assert_int_equal(qn_f32_to_bf16(float_of(h << 16 | 0x8000)), h & 1 ? h + 1 : h);
        assert_int_equal(qn_f32_to_bf16(float_of(h << 16 | 0x8001)), h + 1);
    }
    assert_int_equal(qn_f32_to_bf16(float_of(0x7f800001)),
                     0x7fc0); // its fraction is in the lower half alone
}

// Rows of any length at any address, where numbers stand alone.
static void test_formats(void **state)
{
    (void)state;
    for (int d = 0; d <= QN_DTYPE_BF16; d++) {
        const qn_format *f = qn_format_of((qn_dtype)d);
        float from[37], to[37];
        char packed[37 * 4 + 1];
        for (int i = 0; i < 37; i++)
            from[i] = (float)(i - 18) * 0.25f; // exact in all of them
        f->from_f32(from, packed + 1, 37);
        f->to_f32(packed + 1, to, 37);
        assert_memory_equal(from, to, sizeof from);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),        cmocka_unit_test(test_f16_values),
        cmocka_unit_test(test_f16_rounding), cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
