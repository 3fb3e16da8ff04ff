// Q4_K: 256 numbers in 144 bytes: halves d and dmin, 12 bytes of scales and minima of each 32 numbers, 128 bytes of q.
// Of each 64 numbers, 32 bytes hold the first 32 in their low halves. Value d · scale · q - dmin · minimum.
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"

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

const qn_format qn_format_q4_k = {"q4_k", ELEMENTS, BYTES, to_f32, NULL};
