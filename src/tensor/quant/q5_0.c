// Q5_0: 32 numbers in 22 bytes: a half d, the fifth bits of all 32, then 16 bytes as in Q4_0. Value d · (q - 16).
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

enum { ELEMENTS = 32, BYTES = 22 };

static void block_to_f32(const uint8_t *b, float *y)
{
    float d = qn_block_f16(b);
    uint32_t high = qn_block_u32(b + 2);
    for (int i = 0; i < ELEMENTS / 2; i++) {
        int low = (b[6 + i] & 15) | (int)(high >> i & 1) << 4;
        int upper = b[6 + i] >> 4 | (int)(high >> (i + 16) & 1) << 4;
        y[i] = d * (float)(low - 16);
        y[i + ELEMENTS / 2] = d * (float)(upper - 16);
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

static float choose_scale(const float *x, const float *columns)
{
    float w[ELEMENTS];
    if (!columns) return qn_block_extreme(x, ELEMENTS) / -16;
    qn_search_weigh(x, columns, ELEMENTS, 1, w);
    return qn_search_symmetric(x, w, ELEMENTS, 16);
}

static void block_from_f32(const float *x, const float *columns, uint8_t *b)
{
    float d = choose_scale(x, columns), inverse = d != 0 ? 1 / d : 0;
    uint8_t q[ELEMENTS];
    qn_block_put_f16(b, d);
    for (int i = 0; i < ELEMENTS; i++)
        q[i] = qn_block_whole(x[i] * inverse + 16.5f, 31);
    qn_block_put_fives(q, b + 2);
}

void qn_q5_0_weighted(const float *from, const float *columns, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS) {
        block_from_f32(from, columns, b);
        if (columns) columns += ELEMENTS;
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    qn_q5_0_weighted(from, NULL, to, n);
}

const qn_format qn_format_q5_0 = {"q5_0", ELEMENTS, BYTES, to_f32, from_f32};
