// IQ4_NL: 32 numbers in 18 bytes, laid as Q4_0; the four bits choose one of sixteen values. Value d · values[q].
#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

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

static void block_from_f32(const float *x, uint8_t *b)
{
    float scale = qn_search_values(x, ELEMENTS), inverse = scale != 0 ? 1 / scale : 0;
    qn_block_put_f16(b, scale);
    for (int i = 0; i < ELEMENTS / 2; i++)
        b[2 + i] = (uint8_t)(qn_search_value(inverse * x[i]) |
                             qn_search_value(inverse * x[i + ELEMENTS / 2]) << 4);
}

static void from_f32(const float *from, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS)
        block_from_f32(from, b);
}

const qn_format qn_format_iq4_nl = {"iq4_nl", ELEMENTS, BYTES, to_f32, from_f32};
