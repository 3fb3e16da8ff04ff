// IQ4_NL: 32 numbers in 18 bytes, laid as Q4_0; the four bits choose one of sixteen values. Value d · values[q].
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"

enum { ELEMENTS = 32, BYTES = 18 };

const int8_t qn_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

static void block_to_f32(const uint8_t *b, float *y)
{
    float d = qn_block_f16(b);
    for (int i = 0; i < ELEMENTS / 2; i++) {
        y[i] = d * (float)qn_iq4_values[b[2 + i] & 15];
        y[i + ELEMENTS / 2] = d * (float)qn_iq4_values[b[2 + i] >> 4];
    }
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS)
        block_to_f32(b, to);
}

const qn_format qn_format_iq4_nl = {"iq4_nl", ELEMENTS, BYTES, to_f32, NULL};
