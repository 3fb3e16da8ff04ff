// Blocks of weights (tensor/quant) as float32, 16 lanes at a time: the values of the formats' own to_f32, bit for bit. Part of
// kernels_body.h. A further format is one function and two rows.
#ifndef QN_BACKEND_CPU_UNPACK_BODY_H
#define QN_BACKEND_CPU_UNPACK_BODY_H
#include "backend/cpu/lanes.h"
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#ifdef SIMD_ISA

ALWAYS_INLINE void store_scaled(float *y, bytes q, float scale)
{
    lanes_store(y, lanes_mul(lanes_of_bytes(q), lanes_set(scale)));
}
// q · scale + add; the product is exact, so that it is rounded as in two steps.
ALWAYS_INLINE void store_sum(float *y, bytes q, float scale, float add)
{
    lanes_store(y, lanes_fma(lanes_of_bytes(q), lanes_set(scale), lanes_set(add)));
}
ALWAYS_INLINE bytes low_half(bytes a)
{
    return bytes_field(a, 0, 15);
}
ALWAYS_INLINE bytes high_half(bytes a)
{
    return bytes_field(a, 4, 15);
}

// ---- blocks of 32 ----

ALWAYS_INLINE void unpack_q8_0(const uint8_t *b, float *y)
{
    float d = half_load(b);
    store_scaled(y, bytes_load(b + 2), d);
    store_scaled(y + 16, bytes_load(b + 18), d);
}

ALWAYS_INLINE void unpack_q4_0(const uint8_t *b, float *y)
{
    float d = half_load(b);
    bytes q = bytes_load(b + 2);
    store_scaled(y, bytes_sub(low_half(q), bytes_set(8)), d);
    store_scaled(y + 16, bytes_sub(high_half(q), bytes_set(8)), d);
}

ALWAYS_INLINE void unpack_q4_1(const uint8_t *b, float *y)
{
    float d = half_load(b), m = half_load(b + 2);
    bytes q = bytes_load(b + 4);
    store_sum(y, low_half(q), d, m);
    store_sum(y + 16, high_half(q), d, m);
}

// 16 numbers of five bits, the fifth from 16 of `bits`.
ALWAYS_INLINE bytes fives(bytes four, uint32_t bits)
{
    return bytes_or(four, bytes_where(bits & 0xffff, 16));
}

ALWAYS_INLINE void unpack_q5_0(const uint8_t *b, float *y)
{
    float d = half_load(b);
    uint32_t bits = qn_block_u32(b + 2);
    bytes q = bytes_load(b + 6);
    store_scaled(y, bytes_sub(fives(low_half(q), bits), bytes_set(16)), d);
    store_scaled(y + 16, bytes_sub(fives(high_half(q), bits >> 16), bytes_set(16)), d);
}

ALWAYS_INLINE void unpack_q5_1(const uint8_t *b, float *y)
{
    float d = half_load(b), m = half_load(b + 2);
    uint32_t bits = qn_block_u32(b + 4);
    bytes q = bytes_load(b + 8);
    store_sum(y, fives(low_half(q), bits), d, m);
    store_sum(y + 16, fives(high_half(q), bits >> 16), d, m);
}

ALWAYS_INLINE void unpack_iq4_nl(const uint8_t *b, float *y)
{
    float d = half_load(b);
    bytes q = bytes_load(b + 2);
    store_scaled(y, bytes_choose(qn_iq4_values, low_half(q)), d);
    store_scaled(y + 16, bytes_choose(qn_iq4_values, high_half(q)), d);
}

// ---- blocks of 256 ----

// Loops over 128 or 256 numbers are unrolled, so that shifts are constants.
ALWAYS_INLINE void unpack_q2_k(const uint8_t *b, float *y)
{
    float d = half_load(b + 80), dmin = half_load(b + 82);
    const uint8_t *scales = b, *q = b + 16;
    for (int half = 0; half < 2; half++, scales += 8, q += 32, y += 128) {
        UNROLL
        for (int j = 0; j < 8; j++) // of 16 numbers each
            store_sum(y + 16 * j, bytes_field(bytes_load(q + j % 2 * 16), j / 2 * 2, 3),
                      d * (float)(scales[j] & 15), -(dmin * (float)(scales[j] >> 4)));
    }
}

ALWAYS_INLINE void unpack_q3_k(const uint8_t *b, float *y)
{
    float d = half_load(b + 108);
    const uint8_t *packed = b + 96, *q = b + 32;
    bytes upper[2] = {bytes_load(b), bytes_load(b + 16)};
    for (int half = 0; half < 2; half++, q += 32, y += 128) {
        UNROLL
        for (int j = 0; j < 8; j++) {
            int high_scale = packed[8 + j % 4] >> (half * 4 + j / 4 * 2) & 3;
            int scale = (packed[j] >> half * 4 & 15) | high_scale << 4;
            bytes low = bytes_field(bytes_load(q + j % 2 * 16), j / 2 * 2, 3);
            bytes high = bytes_left(bytes_field(upper[j % 2], j / 2, 1), 2);
            store_scaled(y + 16 * j, bytes_sub(bytes_or(low, high), bytes_set(4)),
                         d * (float)(scale - 32));
        }
        upper[0] = bytes_field(upper[0], 4, 15);
        upper[1] = bytes_field(upper[1], 4, 15);
    }
}

ALWAYS_INLINE void unpack_q4_k(const uint8_t *b, float *y)
{
    float d = half_load(b), dmin = half_load(b + 2);
    uint8_t scale[8], minimum[8];
    qn_block_k_scales(b + 4, scale, minimum);
    b += 16;
    for (int j = 0; j < 8; j += 2, b += 32, y += 64) { // of 32 numbers each
        float of = d * (float)scale[j], low = -(dmin * (float)minimum[j]);
        float of_next = d * (float)scale[j + 1], low_next = -(dmin * (float)minimum[j + 1]);
        UNROLL
        for (int i = 0; i < 32; i += 16) {
            bytes q = bytes_load(b + i);
            store_sum(y + i, low_half(q), of, low);
            store_sum(y + 32 + i, high_half(q), of_next, low_next);
        }
    }
}

ALWAYS_INLINE void unpack_q5_k(const uint8_t *b, float *y)
{
    float d = half_load(b), dmin = half_load(b + 2);
    uint8_t scale[8], minimum[8];
    qn_block_k_scales(b + 4, scale, minimum);
    bytes upper[2] = {bytes_load(b + 16), bytes_load(b + 32)};
    UNROLL
    for (int j = 0; j < 8; j++) {
        float of = d * (float)scale[j], low = -(dmin * (float)minimum[j]);
        UNROLL
        for (int i = 0; i < 2; i++) {
            bytes four = bytes_field(bytes_load(b + 48 + j / 2 * 32 + i * 16), j % 2 * 4, 15);
            bytes fifth = bytes_left(bytes_field(upper[i], j, 1), 4);
            store_sum(y + 32 * j + i * 16, bytes_or(four, fifth), of, low);
        }
    }
}

ALWAYS_INLINE void unpack_q6_k(const uint8_t *b, float *y)
{
    float d = half_load(b + 208);
    const uint8_t *four = b, *two = b + 128, *scales = b + 192;
    for (int half = 0; half < 2; half++, four += 64, two += 32, scales += 8, y += 128) {
        UNROLL
        for (int j = 0; j < 8; j++) { // of 16 numbers each
            bytes low = bytes_field(bytes_load(four + j % 4 * 16), j / 4 * 4, 15);
            bytes high = bytes_left(bytes_field(bytes_load(two + j % 2 * 16), j / 2 * 2, 3), 4);
            store_scaled(y + 16 * j, bytes_sub(bytes_or(low, high), bytes_set(32)),
                         d * (float)(int8_t)scales[j]);
        }
    }
}

ALWAYS_INLINE void unpack_iq4_xs(const uint8_t *b, float *y)
{
    float d = half_load(b);
    int high = b[2] | b[3] << 8;
    for (int j = 0; j < 8; j++) {
        int scale = (b[4 + j / 2] >> j % 2 * 4 & 15) | (high >> 2 * j & 3) << 4;
        float of = d * (float)(scale - 32);
        bytes q = bytes_load(b + 8 + 16 * j);
        store_scaled(y + 32 * j, bytes_choose(qn_iq4_values, low_half(q)), of);
        store_scaled(y + 32 * j + 16, bytes_choose(qn_iq4_values, high_half(q)), of);
    }
}

// ---- rows of blocks ----

typedef void (*unpack_function)(const uint8_t *from, float *to, int n);

#define UNPACK(format, elements, n_bytes)                                                          \
    static void unpack_row_##format(const uint8_t *from, float *to, int n)                         \
    {                                                                                              \
        for (; n > 0; n -= elements, from += n_bytes, to += elements)                              \
            unpack_##format(from, to);                                                             \
    }
UNPACK(q8_0, 32, 34)
UNPACK(q4_0, 32, 18)
UNPACK(q4_1, 32, 20)
UNPACK(q5_0, 32, 22)
UNPACK(q5_1, 32, 24)
UNPACK(q2_k, 256, 84)
UNPACK(q3_k, 256, 110)
UNPACK(q4_k, 256, 144)
UNPACK(q5_k, 256, 176)
UNPACK(q6_k, 256, 210)
UNPACK(iq4_nl, 32, 18)
UNPACK(iq4_xs, 256, 136)
#undef UNPACK

// clang-format off
static const unpack_function unpack_rows[QN_DTYPE_COUNT] = {
    [QN_DTYPE_Q8_0] = unpack_row_q8_0,
    [QN_DTYPE_Q4_0] = unpack_row_q4_0,
    [QN_DTYPE_Q4_1] = unpack_row_q4_1,
    [QN_DTYPE_Q5_0] = unpack_row_q5_0,
    [QN_DTYPE_Q5_1] = unpack_row_q5_1,
    [QN_DTYPE_Q2_K] = unpack_row_q2_k,
    [QN_DTYPE_Q3_K] = unpack_row_q3_k,
    [QN_DTYPE_Q4_K] = unpack_row_q4_k,
    [QN_DTYPE_Q5_K] = unpack_row_q5_k,
    [QN_DTYPE_Q6_K] = unpack_row_q6_k,
    [QN_DTYPE_IQ4_NL] = unpack_row_iq4_nl,
    [QN_DTYPE_IQ4_XS] = unpack_row_iq4_xs,
};
// clang-format on

// n numbers of a row, whole blocks.
static void unpack(qn_dtype dtype, const char *from, float *to, int n)
{
    if (unpack_rows[dtype])
        unpack_rows[dtype]((const uint8_t *)from, to, n);
    else
        qn_format_of(dtype)->to_f32(from, to, (size_t)n);
}

#endif
#endif
