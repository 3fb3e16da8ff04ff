// BF16: the upper half of a binary32, one number a block. Rounded to nearest even, NaN made quiet.
#include <string.h>

#include "tensor/quant/formats.h"

uint16_t qn_f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static void to_f32(const void *from, float *to, size_t n)
{
    const char *p = from;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        to[i] = qn_bf16_to_f32(h);
    }
}

static void from_f32(const float *from, void *to, size_t n)
{
    char *p = to;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = qn_f32_to_bf16(from[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

const qn_format qn_format_bf16 = {"bf16", 1, 2, to_f32, from_f32};
