// Q4_0: 32 numbers in 18 bytes: a half d, then 16 bytes, low halves first: q of numbers 0-15 and 16-31. Value d · (q - 8).
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

enum { ELEMENTS = 32, BYTES = 18 };

static void block_to_f32(const uint8_t *b, float *y)
{
    float d = qn_block_f16(b);
    for (int i = 0; i < ELEMENTS / 2; i++) {
        y[i] = d * (float)((b[2 + i] & 15) - 8);
        y[i + ELEMENTS / 2] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

static uint8_t nibble(float x, float inverse)
{
    return qn_block_whole(x * inverse + 8.5f, 15);
}

static float choose_scale(const float *x, const float *columns)
{
    float w[ELEMENTS];
    if (!columns) return qn_block_extreme(x, ELEMENTS) / -8;
    qn_search_weigh(x, columns, ELEMENTS, 1, w);
    return qn_search_symmetric(x, w, ELEMENTS, 8);
}

static void block_from_f32(const float *x, const float *columns, uint8_t *b)
{
    float d = choose_scale(x, columns), inverse = d != 0 ? 1 / d : 0;
    qn_block_put_f16(b, d);
    for (int i = 0; i < ELEMENTS / 2; i++)
        b[2 + i] = (uint8_t)(nibble(x[i], inverse) | nibble(x[i + ELEMENTS / 2], inverse) << 4);
}

void qn_q4_0_weighted(const float *from, const float *columns, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS) {
        block_from_f32(from, columns, b);
        if (columns) columns += ELEMENTS;
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    qn_q4_0_weighted(from, NULL, to, n);
}

const qn_format qn_format_q4_0 = {"q4_0", ELEMENTS, BYTES, to_f32, from_f32};
