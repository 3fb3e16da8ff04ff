// Numbers of 16 bits. Rounding is to nearest, ties to even.
#ifndef QN_TEST_HALVES_H
#define QN_TEST_HALVES_H
#include <string.h>

#include "warp.h"

static inline float from_f16(uint16_t bits)
{
    _Float16 v;
    memcpy(&v, &bits, sizeof v);
    return (float)v;
}
static inline uint16_t to_f16(float f)
{
    _Float16 v = (_Float16)f;
    uint16_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
static inline uint16_t to_f16_of_double(double f)
{
    _Float16 v = (_Float16)f;
    uint16_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
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
