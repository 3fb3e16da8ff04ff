// Affine: a block is a group of 32, 64 or 128 numbers of 3, 4, 5, 6 or 8 bits: a float32 scale, a float32 bias, then the q as one
// stream of bits, the first in the lowest of the first byte, as MLX packs them. Value scale · q + bias, rounded once (a fused
// multiply-add): exact for GPTQ and AWQ, whose bias is -scale · zero of a half.
#include <math.h>

#include "tensor/quant/formats.h"
#include "tensor/quant/search.h"

enum { HEAD = 8 }; // bytes before the q

static inline void to_f32(const uint8_t *b, float *y, size_t n, int bits, int group)
{
    uint64_t mask = (1U << bits) - 1;
    for (; n > 0; n -= (size_t)group) {
        float scale = qn_block_f32(b), bias = qn_block_f32(b + 4);
        b += HEAD;
        for (int i = 0; i < group; i += 8, b += bits, y += 8) {
            uint64_t eight = qn_block_eight(b, bits);
            for (int j = 0; j < 8; j++)
                y[j] = fmaf(scale, (float)(eight >> j * bits & mask), bias);
        }
    }
}

// The end of the range that is larger in size is met exactly, and so is 0 where the range has it (mlx.core.quantize).
static void find_scale(const float *x, int group, int most, float *scale, float *bias)
{
    float low, high;
    qn_block_range(x, group, &low, &high);
    int from_low = fabsf(low) > fabsf(high);
    float edge = from_low ? low : high, step = fmaxf((high - low) / (float)most, 1e-7f);
    if (!from_low) step = -step;
    float n_steps = rintf(edge / step);
    *scale = n_steps != 0 ? edge / n_steps : step;
    *bias = n_steps != 0 ? edge : 0;
}

static inline void from_f32(const float *x, uint8_t *b, size_t n, int bits, int group)
{
    int most = (1 << bits) - 1;
    for (; n > 0; n -= (size_t)group) {
        float scale, bias;
        find_scale(x, group, most, &scale, &bias);
        qn_block_put_f32(b, scale);
        qn_block_put_f32(b + 4, bias);
        b += HEAD;
        for (int i = 0; i < group; i += 8, b += bits, x += 8) {
            uint64_t eight = 0;
            for (int j = 0; j < 8; j++)
                eight |= (uint64_t)qn_search_nearest((x[j] - bias) / scale, 0, most) << j * bits;
            qn_block_put_eight(b, bits, eight);
        }
    }
}

#define FUNCTIONS(bits, group)                                                                     \
    static void to_f32_##bits##_##group(const void *from, float *to, size_t n)                     \
    {                                                                                              \
        to_f32(from, to, n, bits, group);                                                          \
    }                                                                                              \
    static void from_f32_##bits##_##group(const float *from, void *to, size_t n)                   \
    {                                                                                              \
        from_f32(from, to, n, bits, group);                                                        \
    }
#define ROW(bits, group)                                                                           \
    {"affine" #bits "_" #group, group, HEAD + bits * group / 8, to_f32_##bits##_##group,           \
     from_f32_##bits##_##group},
#define GROUPS(X, bits) X(bits, 32) X(bits, 64) X(bits, 128)
#define ALL(X) GROUPS(X, 3) GROUPS(X, 4) GROUPS(X, 5) GROUPS(X, 6) GROUPS(X, 8)

ALL(FUNCTIONS)
const qn_format qn_format_affine[QN_AFFINE_N] = {ALL(ROW)};
