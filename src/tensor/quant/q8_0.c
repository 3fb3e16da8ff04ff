// Q8_0: 32 numbers in 34 bytes: a half d, then 32 signed bytes q. Value d · q.
#include <math.h>

#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"

enum { ELEMENTS = 32, BYTES = 34 };

static void block_to_f32(const uint8_t *b, float *y)
{
    float d = qn_block_f16(b);
    for (int i = 0; i < ELEMENTS; i++)
        y[i] = d * (float)(int8_t)b[2 + i];
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

static void block_from_f32(const float *x, uint8_t *b)
{
    float d = fabsf(qn_block_extreme(x, ELEMENTS)) / 127, inverse = d != 0 ? 1 / d : 0;
    qn_block_put_f16(b, d);
    for (int i = 0; i < ELEMENTS; i++)
        b[2 + i] = (uint8_t)(int8_t)roundf(fminf(fmaxf(x[i] * inverse, -127), 127));
}

static void from_f32(const float *from, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS)
        block_from_f32(from, b);
}

const qn_format qn_format_q8_0 = {"q8_0", ELEMENTS, BYTES, to_f32, from_f32};
