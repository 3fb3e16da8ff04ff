// IQ4_XS: 256 numbers in 136 bytes: a half d, upper two bits of the scales of each 32 numbers (16 bits), their lower four
// (4 bytes), then 16 bytes of q for each 32, laid as Q4_0. Value d · (scale - 32) · values[q], the values of IQ4_NL.
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"

enum { ELEMENTS = 256, BYTES = 136 };

static void block_to_f32(const uint8_t *b, float *y)
{
    float d = qn_block_f16(b);
    int high = b[2] | b[3] << 8;
    for (int j = 0; j < ELEMENTS / 32; j++, y += 32) {
        const uint8_t *q = b + 8 + 16 * j;
        int scale = (b[4 + j / 2] >> j % 2 * 4 & 15) | (high >> 2 * j & 3) << 4;
        float dl = d * (float)(scale - 32);
        for (int i = 0; i < 16; i++) {
            y[i] = dl * (float)qn_iq4_values[q[i] & 15];
            y[i + 16] = dl * (float)qn_iq4_values[q[i] >> 4];
        }
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

const qn_format qn_format_iq4_xs = {"iq4_xs", ELEMENTS, BYTES, to_f32, NULL};
