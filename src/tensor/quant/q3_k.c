// Q3_K: 256 numbers in 110 bytes: 32 bytes of third bits (number i in bit i / 32 of byte i % 32), 64 bytes of lower two
// bits laid as in Q2_K, 12 bytes of sixteen 6-bit scales, a half d. Value d · (scale - 32) · (q - 4).
// Scales: byte j < 8 holds the lower four bits of scales j and j + 8; byte 8 + j % 4 the upper two of j, j + 4, j + 8, j + 12.
#include <math.h>

#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

enum { ELEMENTS = 256, BYTES = 110 };

static int scale_of(const uint8_t *packed, int j)
{
    int low = packed[j % 8] >> j / 8 * 4 & 15, high = packed[8 + j % 4] >> j / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

static void block_to_f32(const uint8_t *b, float *y)
{
    const uint8_t *q = b + 32;
    float d = qn_block_f16(b + 108);
    for (int i = 0; i < ELEMENTS; i++) {
        int low = q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, high = b[i % 32] >> i / 32 & 1;
        float scale = d * (float)scale_of(b + 96, i / 16);
        y[i] = scale * (float)((low | high << 2) - 4);
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

static float least_squares(const float *x, const int *q, float *sum_q2)
{
    float sum_xq = 0;
    *sum_q2 = 0;
    for (int i = 0; i < 16; i++) {
        float w = x[i] * x[i], number = (float)q[i];
        sum_xq += w * x[i] * number;
        *sum_q2 += w * number * number;
    }
    return sum_xq;
}

// Of 16 numbers: from the scale of the largest on, each number in turn takes what lessens the error, a few times over.
static float scale_for(const float *x)
{
    int q[16], changed = 1;
    float extreme = qn_block_extreme(x, 16), sum_q2;
    if (fabsf(extreme) < 1e-15f) return 0;
    for (int i = 0; i < 16; i++)
        q[i] = qn_search_nearest(-4 / extreme * x[i], -4, 3);
    float sum_xq = least_squares(x, q, &sum_q2);
    for (int round = 0; round < 5 && changed; round++) {
        changed = 0;
        for (int i = 0; i < 16; i++) {
            float w = x[i] * x[i], number = (float)q[i];
            float xq = sum_xq - w * x[i] * number, q2 = sum_q2 - w * number * number;
            if (!(xq > 0)) continue;
            int other = qn_search_nearest(x[i] * q2 / xq, -4, 3);
            if (other == q[i]) continue;
            xq += w * x[i] * (float)other;
            q2 += w * (float)other * (float)other;
            if (!(q2 > 0 && xq * xq * sum_q2 > sum_xq * sum_xq * q2)) continue;
            q[i] = other, sum_xq = xq, sum_q2 = q2, changed = 1;
        }
    }
    return sum_q2 > 0 ? sum_xq / sum_q2 : 0;
}

static void choose_scales(const float *x, uint8_t *b)
{
    float scales[16], extreme = 0;
    for (int j = 0; j < 16; j++) {
        scales[j] = scale_for(x + 16 * j);
        if (fabsf(scales[j]) > fabsf(extreme)) extreme = scales[j];
    }
    if (extreme == 0) return;
    float inverse = -32 / extreme;
    for (int j = 0; j < 16; j++) {
        int scale = qn_search_nearest(inverse * scales[j], -32, 31) + 32;
        b[96 + j % 8] |= (uint8_t)((scale & 15) << j / 8 * 4);
        b[104 + j % 4] |= (uint8_t)(scale >> 4 << j / 4 * 2);
    }
    qn_block_put_f16(b + 108, 1 / inverse);
}

static void block_from_f32(const float *x, uint8_t *b)
{
    for (int i = 0; i < BYTES; i++)
        b[i] = 0;
    choose_scales(x, b);
    float d = qn_block_f16(b + 108);
    for (int i = 0; i < ELEMENTS; i++) {
        float scale = d * (float)scale_of(b + 96, i / 16);
        int q = scale != 0 ? qn_search_nearest(x[i] / scale, -4, 3) + 4 : 0;
        b[32 + i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << i % 128 / 32 * 2);
        b[i % 32] |= (uint8_t)(q >> 2 << i / 32);
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS)
        block_from_f32(from, b);
}

const qn_format qn_format_q3_k = {"q3_k", ELEMENTS, BYTES, to_f32, from_f32};
