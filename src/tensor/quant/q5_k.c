// Q5_K: 256 numbers in 176 bytes: as Q4_K with 32 bytes of fifth bits before q (number i in bit i / 32 of byte i % 32).
// Value d · scale · q - dmin · minimum.
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

enum { ELEMENTS = 256, BYTES = 176 };

static void block_to_f32(const uint8_t *b, float *y)
{
    const uint8_t *high = b + 16, *q = b + 48;
    float d = qn_block_f16(b), dmin = qn_block_f16(b + 2);
    uint8_t scale[8], minimum[8];
    qn_block_k_scales(b + 4, scale, minimum);
    for (int i = 0; i < ELEMENTS; i++) {
        int low = q[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
        int value = low | (high[i % 32] >> i / 32 & 1) << 4;
        y[i] = d * (float)scale[i / 32] * (float)value - dmin * (float)minimum[i / 32];
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

static void block_from_f32(const float *x, const float *columns, uint8_t *b)
{
    static const qn_search_range range = {32, 31, -0.5f, 15, 0};
    uint8_t q[ELEMENTS];
    qn_search_k_scales(x, columns, &range, b);
    qn_search_k_numbers(x, range.most, b, q);
    for (int i = 0; i < 32; i++)
        b[16 + i] = 0;
    for (int i = 0; i < ELEMENTS; i++)
        b[16 + i % 32] |= (uint8_t)(q[i] >> 4 << i / 32);
    for (int i = 0; i < ELEMENTS / 2; i++) {
        int first = i / 32 * 64 + i % 32;
        b[48 + i] = (uint8_t)((q[first] & 15) | (q[first + 32] & 15) << 4);
    }
}

void qn_q5_k_weighted(const float *from, const float *columns, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS) {
        block_from_f32(from, columns, b);
        if (columns) columns += ELEMENTS;
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    qn_q5_k_weighted(from, NULL, to, n);
}

const qn_format qn_format_q5_k = {"q5_k", ELEMENTS, BYTES, to_f32, from_f32};
