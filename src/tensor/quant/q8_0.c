// Q8_0: 32 numbers in 34 bytes: a half d, then 32 signed bytes q. Value d · q.
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

const qn_format qn_format_q8_0 = {"q8_0", ELEMENTS, BYTES, to_f32, NULL};
