// Q3_K: 256 numbers in 110 bytes: 32 bytes of third bits (number i in bit i / 32 of byte i % 32), 64 bytes of lower two
// bits laid as in Q2_K, 12 bytes of sixteen 6-bit scales, a half d. Value d · (scale - 32) · (q - 4).
// Scales: byte j < 8 holds the lower four bits of scales j and j + 8; byte 8 + j % 4 the upper two of j, j + 4, j + 8, j + 12.
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"

enum { ELEMENTS = 256, BYTES = 110 };

static int scale_of(const uint8_t *packed, int j)
{
    int low = packed[j % 8] >> j / 8 * 4 & 15, high = packed[8 + j % 4] >> j / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

static void block_to_f32(const uint8_t *b, float *y)
{
    const uint8_t *q = b + 32;
    float d = qn_block_f16(b + 108);
    for (int i = 0; i < ELEMENTS; i++) {
        int low = q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, high = b[i % 32] >> i / 32 & 1;
        float scale = d * (float)scale_of(b + 96, i / 16);
        y[i] = scale * (float)((low | high << 2) - 4);
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

const qn_format qn_format_q3_k = {"q3_k", ELEMENTS, BYTES, to_f32, NULL};
