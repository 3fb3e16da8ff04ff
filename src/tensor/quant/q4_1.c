// Q4_1: 32 numbers in 20 bytes: halves d and m, then 16 bytes as in Q4_0. Value d · q + m.
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

enum { ELEMENTS = 32, BYTES = 20 };

static void block_to_f32(const uint8_t *b, float *y)
{
    float d = qn_block_f16(b), m = qn_block_f16(b + 2);
    for (int i = 0; i < ELEMENTS / 2; i++) {
        y[i] = d * (float)(b[4 + i] & 15) + m;
        y[i + ELEMENTS / 2] = d * (float)(b[4 + i] >> 4) + m;
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

static uint8_t nibble(float x, float low, float inverse)
{
    return qn_block_whole((x - low) * inverse + 0.5f, 15);
}

// The scale, and the number that 0 stands for.
static float choose_scale(const float *x, const float *columns, float *low)
{
    static const qn_search_range range = {ELEMENTS, 15, -1, 20, 0};
    float w[ELEMENTS], high, minimum;
    if (columns) {
        qn_search_weigh(x, columns, ELEMENTS, 1, w);
        float scale = qn_search_affine(&range, x, w, &minimum);
        *low = -minimum;
        return scale;
    }
    qn_block_range(x, ELEMENTS, low, &high);
    return (high - *low) / 15;
}

static void block_from_f32(const float *x, const float *columns, uint8_t *b)
{
    float low, d = choose_scale(x, columns, &low), inverse = d != 0 ? 1 / d : 0;
    qn_block_put_f16(b, d);
    qn_block_put_f16(b + 2, low);
    for (int i = 0; i < ELEMENTS / 2; i++)
        b[4 + i] =
            (uint8_t)(nibble(x[i], low, inverse) | nibble(x[i + ELEMENTS / 2], low, inverse) << 4);
}

void qn_q4_1_weighted(const float *from, const float *columns, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS) {
        block_from_f32(from, columns, b);
        if (columns) columns += ELEMENTS;
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    qn_q4_1_weighted(from, NULL, to, n);
}

const qn_format qn_format_q4_1 = {"q4_1", ELEMENTS, BYTES, to_f32, from_f32};
