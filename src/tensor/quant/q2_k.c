// Q2_K: 256 numbers in 84 bytes: 16 bytes of scale (low four bits) and minimum (upper four) of each 16 numbers, 64 bytes
// of q, halves d and dmin. Of each 128 numbers, 32 bytes hold numbers i, i + 32, i + 64, i + 96 in two bits each.
// Value d · scale · q - dmin · minimum.
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"

enum { ELEMENTS = 256, BYTES = 84 };

static void block_to_f32(const uint8_t *b, float *y)
{
    const uint8_t *q = b + 16;
    float d = qn_block_f16(b + 80), dmin = qn_block_f16(b + 82);
    for (int i = 0; i < ELEMENTS; i++) {
        float scale = d * (float)(b[i / 16] & 15), minimum = dmin * (float)(b[i / 16] >> 4);
        y[i] = scale * (float)(q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - minimum;
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

const qn_format qn_format_q2_k = {"q2_k", ELEMENTS, BYTES, to_f32, NULL};
