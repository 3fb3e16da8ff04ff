// Numbers of 16 bits. Rounding is to nearest, ties to even.
#ifndef QN_TEST_HALVES_H
#define QN_TEST_HALVES_H
#include <string.h>

#include "warp.h"

static inline float from_f16(uint16_t bits)
{
    uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu;
    // The exponent's bias is 112 less; that this also makes denormal numbers normal is the multiplication's doing.
    uint32_t finite = bits_of(float_of(rest << 13) * 0x1p112f);
    return float_of(sign | (rest < 0x7c00 ? finite : 0x7f800000u | (rest & 0x3ffu) << 13));
}
static inline uint16_t to_f16(float f)
{
    uint32_t bits = bits_of(f), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    uint32_t normal = (rest - (112u << 23) + 0xfffu + (rest >> 13 & 1)) >> 13;
    uint32_t denormal =
        bits_of(float_of(rest) + 0.5f) - bits_of(0.5f); // one half's last place is F16's smallest
    uint32_t half = rest > 0x7f800000u    ? 0x7fffu
                    : rest >= 0x477ff000u ? 0x7c00u
                    : rest < 0x38800000u  ? denormal
                                          : normal;
    return (uint16_t)(sign | half);
}
// By way of a float32 that is rounded to odd, so that nothing is rounded twice.
static inline uint16_t to_f16_of_double(double d)
{
    float f = (float)d;
    uint32_t bits = bits_of(f);
    if ((double)f == d || d != d) return to_f16(f);
    if ((d < 0 ? -(double)f : (double)f) > (d < 0 ? -d : d)) bits--;
    return to_f16(float_of(bits | 1));
}
static inline float from_bf16(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}
static inline uint16_t to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if (f != f) return 0x7fff;
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

#endif
