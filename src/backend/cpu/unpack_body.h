// Blocks of weights (tensor/quant) as float32, 16 lanes at a time: the values of the formats' own to_f32, bit for bit. They are
// stored, or multiplied with one row of activations before they leave their registers; in ascending order, for the sums' sake.
// Part of kernels_body.h. A further format is one function and two rows.
#ifndef QN_BACKEND_CPU_UNPACK_BODY_H
#define QN_BACKEND_CPU_UNPACK_BODY_H
#include "backend/cpu/lanes.h"
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#ifdef SIMD_ISA

// Where a block's numbers go: to memory, or (sum not NULL) times x into the sum.
typedef struct {
    float *y;
    const float *x;
    lanes *sum;
} sink;

ALWAYS_INLINE void emit(sink to, int at, lanes w)
{
    if (to.sum)
        *to.sum = lanes_fma(lanes_load(to.x + at), w, *to.sum);
    else
        lanes_store(to.y + at, w);
}
// q · scale, for the 16 numbers from `at` on.
ALWAYS_INLINE void emit_scaled(sink to, int at, bytes q, float scale)
{
    emit(to, at, lanes_mul(lanes_of_bytes(q), lanes_set(scale)));
}
// q · scale + add; the product is exact, so that it is rounded as in two steps.
ALWAYS_INLINE void emit_sum(sink to, int at, bytes q, float scale, float add)
{
    emit(to, at, lanes_fma(lanes_of_bytes(q), lanes_set(scale), lanes_set(add)));
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

ALWAYS_INLINE void unpack_q8_0(const uint8_t *b, sink to)
{
    float d = half_load(b);
    emit_scaled(to, 0, bytes_load(b + 2), d);
    emit_scaled(to, 16, bytes_load(b + 18), d);
}

ALWAYS_INLINE void unpack_q4_0(const uint8_t *b, sink to)
{
    float d = half_load(b);
    bytes q = bytes_load(b + 2);
    emit_scaled(to, 0, bytes_sub(low_half(q), bytes_set(8)), d);
    emit_scaled(to, 16, bytes_sub(high_half(q), bytes_set(8)), d);
}

ALWAYS_INLINE void unpack_q4_1(const uint8_t *b, sink to)
{
    float d = half_load(b), m = half_load(b + 2);
    bytes q = bytes_load(b + 4);
    emit_sum(to, 0, low_half(q), d, m);
    emit_sum(to, 16, high_half(q), d, m);
}

// 16 numbers of five bits, the fifth from 16 of `bits`.
ALWAYS_INLINE bytes fives(bytes four, uint32_t bits)
{
    return bytes_or(four, bytes_where(bits & 0xffff, 16));
}

ALWAYS_INLINE void unpack_q5_0(const uint8_t *b, sink to)
{
    float d = half_load(b);
    uint32_t bits = qn_block_u32(b + 2);
    bytes q = bytes_load(b + 6);
    emit_scaled(to, 0, bytes_sub(fives(low_half(q), bits), bytes_set(16)), d);
    emit_scaled(to, 16, bytes_sub(fives(high_half(q), bits >> 16), bytes_set(16)), d);
}

ALWAYS_INLINE void unpack_q5_1(const uint8_t *b, sink to)
{
    float d = half_load(b), m = half_load(b + 2);
    uint32_t bits = qn_block_u32(b + 4);
    bytes q = bytes_load(b + 8);
    emit_sum(to, 0, fives(low_half(q), bits), d, m);
    emit_sum(to, 16, fives(high_half(q), bits >> 16), d, m);
}

ALWAYS_INLINE void unpack_iq4_nl(const uint8_t *b, sink to)
{
    float d = half_load(b);
    bytes q = bytes_load(b + 2);
    emit_scaled(to, 0, bytes_choose(qn_iq4_values, low_half(q)), d);
    emit_scaled(to, 16, bytes_choose(qn_iq4_values, high_half(q)), d);
}

// ---- blocks of 256 ----

// Loops over 128 or 256 numbers are unrolled, so that shifts are constants.
ALWAYS_INLINE void unpack_q2_k(const uint8_t *b, sink to)
{
    float d = half_load(b + 80), dmin = half_load(b + 82);
    const uint8_t *scales = b, *q = b + 16;
    for (int half = 0; half < 2; half++, scales += 8, q += 32) {
        UNROLL
        for (int j = 0; j < 8; j++) // of 16 numbers each
            emit_sum(to, half * 128 + 16 * j, bytes_field(bytes_load(q + j % 2 * 16), j / 2 * 2, 3),
                     d * (float)(scales[j] & 15), -(dmin * (float)(scales[j] >> 4)));
    }
}

ALWAYS_INLINE void unpack_q3_k(const uint8_t *b, sink to)
{
    float d = half_load(b + 108);
    const uint8_t *packed = b + 96, *q = b + 32;
    bytes upper[2] = {bytes_load(b), bytes_load(b + 16)};
    for (int half = 0; half < 2; half++, q += 32) {
        UNROLL
        for (int j = 0; j < 8; j++) {
            int high_scale = packed[8 + j % 4] >> (half * 4 + j / 4 * 2) & 3;
            int scale = (packed[j] >> half * 4 & 15) | high_scale << 4;
            bytes low = bytes_field(bytes_load(q + j % 2 * 16), j / 2 * 2, 3);
            bytes high = bytes_left(bytes_field(upper[j % 2], j / 2, 1), 2);
            emit_scaled(to, half * 128 + 16 * j, bytes_sub(bytes_or(low, high), bytes_set(4)),
                        d * (float)(scale - 32));
        }
        upper[0] = bytes_field(upper[0], 4, 15);
        upper[1] = bytes_field(upper[1], 4, 15);
    }
}

ALWAYS_INLINE void unpack_q4_k(const uint8_t *b, sink to)
{
    float d = half_load(b), dmin = half_load(b + 2);
    uint8_t scale[8], minimum[8];
    qn_block_k_scales(b + 4, scale, minimum);
    b += 16;
    for (int j = 0; j < 8; j += 2, b += 32) { // of 32 numbers each
        float of = d * (float)scale[j], low = -(dmin * (float)minimum[j]);
        float of_next = d * (float)scale[j + 1], low_next = -(dmin * (float)minimum[j + 1]);
        bytes q = bytes_load(b), next = bytes_load(b + 16);
        emit_sum(to, 32 * j, low_half(q), of, low);
        emit_sum(to, 32 * j + 16, low_half(next), of, low);
        emit_sum(to, 32 * j + 32, high_half(q), of_next, low_next);
        emit_sum(to, 32 * j + 48, high_half(next), of_next, low_next);
    }
}

ALWAYS_INLINE void unpack_q5_k(const uint8_t *b, sink to)
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
            emit_sum(to, 32 * j + i * 16, bytes_or(four, fifth), of, low);
        }
    }
}

ALWAYS_INLINE void unpack_q6_k(const uint8_t *b, sink to)
{
    float d = half_load(b + 208);
    const uint8_t *four = b, *two = b + 128, *scales = b + 192;
    for (int half = 0; half < 2; half++, four += 64, two += 32, scales += 8) {
        UNROLL
        for (int j = 0; j < 8; j++) { // of 16 numbers each
            bytes low = bytes_field(bytes_load(four + j % 4 * 16), j / 4 * 4, 15);
            bytes high = bytes_left(bytes_field(bytes_load(two + j % 2 * 16), j / 2 * 2, 3), 4);
            emit_scaled(to, half * 128 + 16 * j, bytes_sub(bytes_or(low, high), bytes_set(32)),
                        d * (float)(int8_t)scales[j]);
        }
    }
}

ALWAYS_INLINE void unpack_iq4_xs(const uint8_t *b, sink to)
{
    float d = half_load(b);
    int high = b[2] | b[3] << 8;
    for (int j = 0; j < 8; j++) {
        int scale = (b[4 + j / 2] >> j % 2 * 4 & 15) | (high >> 2 * j & 3) << 4;
        float of = d * (float)(scale - 32);
        bytes q = bytes_load(b + 8 + 16 * j);
        emit_scaled(to, 32 * j, bytes_choose(qn_iq4_values, low_half(q)), of);
        emit_scaled(to, 32 * j + 16, bytes_choose(qn_iq4_values, high_half(q)), of);
    }
}

// ---- rows of blocks ----

typedef struct {
    void (*unpack)(const uint8_t *from, float *to, int n);
    // Adds to 16 lanes, from 0, as ops/matmul.h says.
    void (*dot)(const uint8_t *from, const float *x, int n, float *sums);
} block_functions;

enum { DOT_AHEAD = 4096 }; // bytes: how far before their use a row's blocks are asked for

#define FORMAT(format, elements, n_bytes)                                                          \
    static void unpack_row_##format(const uint8_t *from, float *to, int n)                         \
    {                                                                                              \
        for (; n > 0; n -= elements, from += n_bytes, to += elements)                              \
            unpack_##format(from, (sink){.y = to});                                                \
    }                                                                                              \
    static void dot_row_##format(const uint8_t *from, const float *x, int n, float *sums)          \
    {                                                                                              \
        lanes sum = lanes_set(0);                                                                  \
        for (; n > 0; n -= elements, from += n_bytes, x += elements) {                             \
            for (int i = 0; i < n_bytes; i += 64)                                                  \
                __builtin_prefetch(from + DOT_AHEAD + i, 0, 3);                                    \
            unpack_##format(from, (sink){.x = x, .sum = &sum});                                    \
        }                                                                                          \
        lanes_store(sums, sum);                                                                    \
    }
FORMAT(q8_0, 32, 34)
FORMAT(q4_0, 32, 18)
FORMAT(q4_1, 32, 20)
FORMAT(q5_0, 32, 22)
FORMAT(q5_1, 32, 24)
FORMAT(q2_k, 256, 84)
FORMAT(q3_k, 256, 110)
FORMAT(q4_k, 256, 144)
FORMAT(q5_k, 256, 176)
FORMAT(q6_k, 256, 210)
FORMAT(iq4_nl, 32, 18)
FORMAT(iq4_xs, 256, 136)
#undef FORMAT

// clang-format off
static const block_functions blocks[QN_DTYPE_COUNT] = {
    [QN_DTYPE_Q8_0] = {unpack_row_q8_0, dot_row_q8_0},
    [QN_DTYPE_Q4_0] = {unpack_row_q4_0, dot_row_q4_0},
    [QN_DTYPE_Q4_1] = {unpack_row_q4_1, dot_row_q4_1},
    [QN_DTYPE_Q5_0] = {unpack_row_q5_0, dot_row_q5_0},
    [QN_DTYPE_Q5_1] = {unpack_row_q5_1, dot_row_q5_1},
    [QN_DTYPE_Q2_K] = {unpack_row_q2_k, dot_row_q2_k},
    [QN_DTYPE_Q3_K] = {unpack_row_q3_k, dot_row_q3_k},
    [QN_DTYPE_Q4_K] = {unpack_row_q4_k, dot_row_q4_k},
    [QN_DTYPE_Q5_K] = {unpack_row_q5_k, dot_row_q5_k},
    [QN_DTYPE_Q6_K] = {unpack_row_q6_k, dot_row_q6_k},
    [QN_DTYPE_IQ4_NL] = {unpack_row_iq4_nl, dot_row_iq4_nl},
    [QN_DTYPE_IQ4_XS] = {unpack_row_iq4_xs, dot_row_iq4_xs},
};
// clang-format on

// n numbers of a row, whole blocks.
static void unpack(qn_dtype dtype, const char *from, float *to, int n)
{
    if (blocks[dtype].unpack)
        blocks[dtype].unpack((const uint8_t *)from, to, n);
    else
        qn_format_of(dtype)->to_f32(from, to, (size_t)n);
}

#endif
#endif
