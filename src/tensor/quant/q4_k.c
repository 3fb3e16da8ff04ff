// Q4_K: 256 numbers in 144 bytes: halves d and dmin, 12 bytes of scales and minima of each 32 numbers, 128 bytes of q.
// Of each 64 numbers, 32 bytes hold the first 32 in their low halves. Value d · scale · q - dmin · minimum.
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

enum { ELEMENTS = 256, BYTES = 144 };

static void block_to_f32(const uint8_t *b, float *y)
{
    const uint8_t *q = b + 16;
    float d = qn_block_f16(b), dmin = qn_block_f16(b + 2);
    uint8_t scale[8], minimum[8];
    qn_block_k_scales(b + 4, scale, minimum);
    for (int i = 0; i < ELEMENTS; i++) {
        int nibble = q[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
        y[i] = d * (float)scale[i / 32] * (float)nibble - dmin * (float)minimum[i / 32];
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

static void block_from_f32(const float *x, const float *columns, uint8_t *b)
{
    static const qn_search_range range = {32, 15, -1, 20, 0};
    uint8_t q[ELEMENTS];
    qn_search_k_scales(x, columns, &range, b);
    qn_search_k_numbers(x, range.most, b, q);
    for (int i = 0; i < ELEMENTS / 2; i++) {
        int first = i / 32 * 64 + i % 32;
        b[16 + i] = (uint8_t)(q[first] | q[first + 32] << 4);
    }
}

void qn_q4_k_weighted(const float *from, const float *columns, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS) {
        block_from_f32(from, columns, b);
        if (columns) columns += ELEMENTS;
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    qn_q4_k_weighted(from, NULL, to, n);
}

const qn_format qn_format_q4_k = {"q4_k", ELEMENTS, BYTES, to_f32, from_f32};
