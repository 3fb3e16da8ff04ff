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

// ---- blocks of float32 scales ----

// Halves of `bits` bits, which lie side by side in twice `room` bits, each at the start of its own room; `ones`: a 1 at every start
// of two rooms.
ALWAYS_INLINE uint64_t apart(uint64_t x, int bits, int room, uint64_t ones)
{
    uint64_t mask = (((uint64_t)1 << bits) - 1) * ones;
    return (x & mask) | (x << (room - bits) & mask << room);
}
// Eight numbers of `bits` bits, a byte each.
ALWAYS_INLINE uint64_t spread_eight(uint64_t eight, int bits)
{
    eight = apart(eight, 4 * bits, 32, 1);
    eight = apart(eight, 2 * bits, 16, 0x0000000100000001);
    return apart(eight, bits, 8, 0x0001000100010001);
}
// Read with what lies before: a block's first eight bytes are its scale and bias, behind its last is no memory.
ALWAYS_INLINE uint64_t load_eight(const uint8_t *q, int bits)
{
    uint64_t eight;
    memcpy(&eight, q + bits - 8, sizeof eight);
    return eight >> (64 - 8 * bits);
}
// 16 numbers of `bits` bits.
ALWAYS_INLINE lanes affine_numbers(const uint8_t *q, int bits)
{
    if (bits == 8) // signed bytes are what becomes lanes
        return lanes_add(lanes_of_bytes(bytes_sub(bytes_load(q), bytes_set(128))), lanes_set(128));
    if (bits == 4) {
        bytes pairs = bytes_of(load_eight(q, 8), 0);
        return lanes_of_bytes(bytes_zip(low_half(pairs), high_half(pairs)));
    }
    return lanes_of_bytes(bytes_of(spread_eight(load_eight(q, bits), bits),
                                   spread_eight(load_eight(q + bits, bits), bits)));
}

ALWAYS_INLINE void unpack_affine(const uint8_t *b, sink to, int bits, int group)
{
    lanes scale = lanes_set(qn_block_f32(b)), bias = lanes_set(qn_block_f32(b + 4));
    b += 8;
    for (int i = 0; i < group; i += 16, b += 2 * bits)
        emit(to, i, lanes_fma(affine_numbers(b, bits), scale, bias));
}

ALWAYS_INLINE void unpack_fp8_128(const uint8_t *b, sink to)
{
    lanes scale = lanes_set(qn_block_f32(b));
    for (int i = 0; i < 128; i += 16)
        emit(to, i, lanes_mul(lanes_of_fp8(bytes_load(b + 4 + i)), scale));
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
FORMAT(fp8_128, 128, 132)
#define AFFINE(bits, group)                                                                        \
    ALWAYS_INLINE void unpack_affine##bits##_##group(const uint8_t *b, sink to)                    \
    {                                                                                              \
        unpack_affine(b, to, bits, group);                                                         \
    }                                                                                              \
    FORMAT(affine##bits##_##group, group, (8 + bits * group / 8))
#define AFFINE_GROUPS(X, bits) X(bits, 32) X(bits, 64) X(bits, 128)
#define AFFINE_ALL(X)                                                                              \
    AFFINE_GROUPS(X, 3)                                                                            \
    AFFINE_GROUPS(X, 4) AFFINE_GROUPS(X, 5) AFFINE_GROUPS(X, 6) AFFINE_GROUPS(X, 8)
AFFINE_ALL(AFFINE)
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
    [QN_DTYPE_FP8_128] = {unpack_row_fp8_128, dot_row_fp8_128},
#define ROW(bits, group) \
    [QN_DTYPE_AFFINE##bits##_##group] = {unpack_row_affine##bits##_##group, dot_row_affine##bits##_##group},
    AFFINE_ALL(ROW)
#undef ROW
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
