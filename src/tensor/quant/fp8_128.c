// FP8 in blocks: 128 numbers in 132 bytes: a float32 scale, then 128 bytes of qn_fp8_to_f32. Value scale · number, rounded once.
#include <math.h>

#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"

enum { ELEMENTS = 128, BYTES = 132 };

// A half has one exponent bit more: the same bits one place lower are the number over 256, small ones too.
float qn_fp8_to_f32(uint8_t b)
{
    uint16_t half = (uint16_t)((b & 0x80) << 8 | (b & 0x7f) << 7);
    return (b & 0x7f) == 0x7f ? NAN : qn_f16_to_f32(half) * 256;
}

uint8_t qn_f32_to_fp8(float f)
{
    uint8_t sign = signbit(f) ? 0x80 : 0;
    float size = fabsf(f);
    if (isnan(f)) return 0x7f;
    if (size >= 448) return sign | 0x7e;
    int exponent;
    frexpf(size, &exponent); // size < 2^exponent
    if (size < 0x1p-6f) exponent = -5;
    int eighths =
        (int)rintf(ldexpf(size, 4 - exponent)); // of the power below: 8 … 16, fewer where small
    return (uint8_t)(sign | (((exponent + 5) << 3) + eighths));
}

static void to_f32(const void *from, float *to, size_t n)
{
    for (const uint8_t *b = from; n > 0; n -= ELEMENTS, b += BYTES, to += ELEMENTS) {
        float scale = qn_block_f32(b);
        for (int i = 0; i < ELEMENTS; i++)
            to[i] = scale * qn_fp8_to_f32(b[4 + i]);
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS) {
        float scale = fabsf(qn_block_extreme(from, ELEMENTS)) / 448;
        qn_block_put_f32(b, scale);
        for (int i = 0; i < ELEMENTS; i++)
            b[4 + i] = qn_f32_to_fp8(scale > 0 ? from[i] / scale : 0);
    }
}

const qn_format qn_format_fp8_128 = {"fp8_128", ELEMENTS, BYTES, to_f32, from_f32};
