// IQ4_XS: 256 numbers in 136 bytes: a half d, upper two bits of the scales of each 32 numbers (16 bits), their lower four
// (4 bytes), then 16 bytes of q for each 32, laid as Q4_0. Value d · (scale - 32) · values[q], the values of IQ4_NL.
#include <math.h>

#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

enum { ELEMENTS = 256, BYTES = 136 };

static void block_to_f32(const uint8_t *b, float *y)
{
    float d = qn_block_f16(b);
    int high = b[2] | b[3] << 8;
    for (int j = 0; j < ELEMENTS / 32; j++, y += 32) {
        const uint8_t *q = b + 8 + 16 * j;
        int scale = (b[4 + j / 2] >> j % 2 * 4 & 15) | (high >> 2 * j & 3) << 4;
        float dl = d * (float)(scale - 32);
        for (int i = 0; i < 16; i++) {
            y[i] = dl * (float)qn_iq4_values[q[i] & 15];
            y[i + 16] = dl * (float)qn_iq4_values[q[i] >> 4];
        }
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

static void numbers_from_f32(const float *x, float scale, uint8_t *q)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < 16; i++)
        q[i] =
            (uint8_t)(qn_search_value(inverse * x[i]) | qn_search_value(inverse * x[i + 16]) << 4);
}

static void block_from_f32(const float *x, uint8_t *b)
{
    float scales[8], extreme = 0;
    int high = 0;
    for (int j = 0; j < 8; j++) {
        scales[j] = qn_search_values(x + 32 * j, 32);
        if (fabsf(scales[j]) > fabsf(extreme)) extreme = scales[j];
    }
    float d = -extreme / 32, inverse = d != 0 ? 1 / d : 0;
    qn_block_put_f16(b, d);
    for (int j = 0; j < 8; j++) {
        int scale = qn_search_nearest(inverse * scales[j], -32, 31);
        numbers_from_f32(x + 32 * j, d * (float)scale, b + 8 + 16 * j);
        scale += 32;
        b[4 + j / 2] = (uint8_t)((j % 2 ? b[4 + j / 2] : 0) | (scale & 15) << j % 2 * 4);
        high |= scale >> 4 << 2 * j;
    }
    b[2] = (uint8_t)high;
    b[3] = (uint8_t)(high >> 8);
}

static void from_f32(const float *from, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS)
        block_from_f32(from, b);
}

const qn_format qn_format_iq4_xs = {"iq4_xs", ELEMENTS, BYTES, to_f32, from_f32};
