// Q2_K: 256 numbers in 84 bytes: 16 bytes of scale (low four bits) and minimum (upper four) of each 16 numbers, 64 bytes
// of q, halves d and dmin. Of each 128 numbers, 32 bytes hold numbers i, i + 32, i + 64, i + 96 in two bits each.
// Value d · scale · q - dmin · minimum.
#include <math.h>

#include "tensor/quant/blocks.h"
#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

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

static void choose_scales(const float *x, uint8_t *b)
{
    static const qn_search_range range = {16, 3, -0.5f, 15, 1};
    float scales[16], minima[16], w[16], most = 0, most_minimum = 0;
    for (int j = 0; j < 16; j++, x += 16) {
        for (int i = 0; i < 16; i++)
            w[i] = fabsf(x[i]);
        scales[j] = qn_search_affine(&range, x, w, &minima[j]);
        most = scales[j] > most ? scales[j] : most;
        most_minimum = minima[j] > most_minimum ? minima[j] : most_minimum;
    }
    for (int j = 0; j < 16; j++) {
        int scale = most > 0 ? qn_search_nearest(15 / most * scales[j], 0, 15) : 0;
        int low = most_minimum > 0 ? qn_search_nearest(15 / most_minimum * minima[j], 0, 15) : 0;
        b[j] = (uint8_t)(scale | low << 4);
    }
    qn_block_put_f16(b + 80, most / 15);
    qn_block_put_f16(b + 82, most_minimum / 15);
}

static void block_from_f32(const float *x, uint8_t *b)
{
    choose_scales(x, b);
    float d = qn_block_f16(b + 80), dmin = qn_block_f16(b + 82);
    for (int i = 0; i < 64; i++)
        b[16 + i] = 0;
    for (int i = 0; i < ELEMENTS; i++) {
        float scale = d * (float)(b[i / 16] & 15), minimum = dmin * (float)(b[i / 16] >> 4);
        int q = scale != 0 ? qn_search_nearest((x[i] + minimum) / scale, 0, 3) : 0;
        b[16 + i / 128 * 32 + i % 32] |= (uint8_t)(q << i % 128 / 32 * 2);
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    for (uint8_t *b = to; n > 0; n -= ELEMENTS, b += BYTES, from += ELEMENTS)
        block_from_f32(from, b);
}

const qn_format qn_format_q2_k = {"q2_k", ELEMENTS, BYTES, to_f32, from_f32};
