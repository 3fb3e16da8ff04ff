// Q6_K: 256 numbers in 210 bytes: 128 bytes of lower four bits, 64 bytes of upper two, a signed scale byte of each 16
// numbers, a half d. Of each 128 numbers, 64 bytes hold the first 64 in their low halves, and 32 bytes the upper bits of
// numbers i, i + 32, i + 64, i + 96. Value d · scale · (q - 32).
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"

enum { ELEMENTS = 256, BYTES = 210 };

static void block_to_f32(const uint8_t *b, float *y)
{
    const uint8_t *upper = b + 128, *scales = b + 192;
    float d = qn_block_f16(b + 208);
    for (int i = 0; i < ELEMENTS; i++) {
        int low = b[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
        int high = upper[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
        y[i] = d * (float)(int8_t)scales[i / 16] * (float)((low | high << 4) - 32);
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

const qn_format qn_format_q6_k = {"q6_k", ELEMENTS, BYTES, to_f32, NULL};
