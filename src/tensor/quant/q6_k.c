// Q6_K: 256 numbers in 210 bytes: 128 bytes of lower four bits, 64 bytes of upper two, a signed scale byte of each 16
// numbers, a half d. Of each 128 numbers, 64 bytes hold the first 64 in their low halves, and 32 bytes the upper bits of
// numbers i, i + 32, i + 64, i + 96. Value d · scale · (q - 32).
#include <math.h>

#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

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

static void choose_scales(const float *x, const float *columns, uint8_t *b)
{
    float scales[16], extreme = 0;
    for (int j = 0; j < 16; j++) {
        scales[j] = qn_search_symmetric(x + 16 * j, columns ? columns + 16 * j : NULL, 16, 32);
        if (fabsf(scales[j]) > fabsf(extreme)) extreme = scales[j];
    }
    if (fabsf(extreme) < 1e-15f) return;
    float inverse = -128 / extreme;
    for (int j = 0; j < 16; j++)
        b[192 + j] = (uint8_t)(int8_t)qn_search_nearest(inverse * scales[j], -128, 127);
    qn_block_put_f16(b + 208, 1 / inverse);
}

static void block_from_f32(const float *x, const float *columns, uint8_t *b)
{
    for (int i = 0; i < BYTES; i++)
        b[i] = 0;
    choose_scales(x, columns, b);
    float d = qn_block_f16(b + 208);
    for (int i = 0; i < ELEMENTS; i++) {
        float scale = d * (float)(int8_t)b[192 + i / 16];
        int q = scale != 0 ? qn_search_nearest(x[i] / scale, -32, 31) + 32 : 0;
        b[i / 128 * 64 + i % 64] |= (uint8_t)((q & 15) << i % 128 / 64 * 4);
        b[128 + i / 128 * 32 + i % 32] |= (uint8_t)(q >> 4 << i % 128 / 32 * 2);
    }
}

void qn_q6_k_weighted(const float *from, const float *columns, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS) {
        block_from_f32(from, columns, b);
        if (columns) columns += ELEMENTS;
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    qn_q6_k_weighted(from, NULL, to, n);
}

const qn_format qn_format_q6_k = {"q6_k", ELEMENTS, BYTES, to_f32, from_f32};
