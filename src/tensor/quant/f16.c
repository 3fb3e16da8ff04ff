// F16: IEEE 754 binary16, one number a block. Conversions as the processors' own (round to nearest even, NaN made quiet).
#include <string.h>

#include "tensor/quant/formats.h"

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float qn_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
    if (exponent == 31) {
        uint32_t quiet = fraction ? 0x400000 : 0;
        return float_of(sign | 0x7f800000 | quiet | fraction << 13);
    }
    if (exponent == 0) { // subnormal: fraction · 2⁻²⁴, exact in float32
        float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t qn_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // 65520 and above: infinity
    if (magnitude < 0x38800000) {
        // Below 2⁻¹⁴: adding 0.5 puts the unit of the last place at 2⁻²⁴ and rounds to nearest even.
        uint32_t rounded = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | rounded);
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - (112u << 23)) >> 13);
}

static void to_f32(const void *from, float *to, size_t n)
{
    const char *p = from;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        to[i] = qn_f16_to_f32(h);
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    char *p = to;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = qn_f32_to_f16(from[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

const qn_format qn_format_f16 = {"f16", 1, 2, to_f32, from_f32};
