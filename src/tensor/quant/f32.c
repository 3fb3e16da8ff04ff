// F32: IEEE 754 binary32, one number a block. Conversion is a copy.
#include <string.h>

#include "tensor/quant/formats.h"

static void to_f32(const void *from, float *to, size_t n)
{
    memcpy(to, from, n * sizeof(float));
}

static void from_f32(const float *from, void *to, size_t n)
{
    memcpy(to, from, n * sizeof(float));
}

const qn_format qn_format_f32 = {"f32", 1, 4, to_f32, from_f32};
