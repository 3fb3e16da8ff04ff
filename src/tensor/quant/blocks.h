// What the block formats share: halves in memory, the packed scales of two formats, rounding of the quantisers.
// A block is bytes, little-endian, at any address. Products of a half and a block's small integers (11 bits by at most 13)
// are exact in float32, so a value is rounded at most once: where a minimum is added or taken away. Where scales are float32
// (affine), the sum is a fused multiply-add for the same reason.
#ifndef QN_TENSOR_QUANT_BLOCKS_H
#define QN_TENSOR_QUANT_BLOCKS_H
#include <string.h>

#include "tensor/tensor.h"

enum { QN_K_BLOCK = 256 }; // elements of a block of the K formats

static inline float qn_block_f16(const uint8_t *p)
{
    return qn_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static inline void qn_block_put_f16(uint8_t *p, float f)
{
    uint16_t h = qn_f32_to_f16(f);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

static inline uint32_t qn_block_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline float qn_block_f32(const uint8_t *p)
{
    uint32_t u = qn_block_u32(p);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline void qn_block_put_f32(uint8_t *p, float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(u >> 8 * i);
}

// Eight numbers of `bits` bits, which are as many bytes: the first is the lowest.
static inline uint64_t qn_block_eight(const uint8_t *p, int bits)
{
    uint64_t eight = 0;
    for (int i = 0; i < bits; i++)
        eight |= (uint64_t)p[i] << 8 * i;
    return eight;
}

static inline void qn_block_put_eight(uint8_t *p, int bits, uint64_t eight)
{
    for (int i = 0; i < bits; i++)
        p[i] = (uint8_t)(eight >> 8 * i);
}

// The whole part of f, within 0 … most.
static inline uint8_t qn_block_whole(float f, int most)
{
    if (!(f > 0)) return 0;
    return (uint8_t)(f < (float)most ? (int)f : most);
}

// The number of largest magnitude, with its sign; the first of several.
static inline float qn_block_extreme(const float *x, int n)
{
    float extreme = 0;
    for (int i = 0; i < n; i++) {
        float size = x[i] < 0 ? -x[i] : x[i], most = extreme < 0 ? -extreme : extreme;
        if (size > most) extreme = x[i];
    }
    return extreme;
}

static inline void qn_block_range(const float *x, int n, float *low, float *high)
{
    *low = *high = x[0];
    for (int i = 1; i < n; i++) {
        *low = x[i] < *low ? x[i] : *low;
        *high = x[i] > *high ? x[i] : *high;
    }
}

// q5_0 and q5_1: the fifth bits of 32 numbers, then their lower fours in pairs.
static inline void qn_block_put_fives(const uint8_t *q, uint8_t *to)
{
    for (int i = 0; i < 4; i++)
        to[i] = 0;
    for (int i = 0; i < 32; i++)
        to[i / 8] |= (uint8_t)(q[i] >> 4 << i % 8);
    for (int i = 0; i < 16; i++)
        to[4 + i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

// q4_k and q5_k: eight scales and eight minima of 6 bits in 12 bytes. Bytes 0-3 and 4-7 hold those of the first half,
// and in their upper two bits the upper two of the second half; bytes 8-11 its lower four.
static inline void qn_block_k_scales(const uint8_t *packed, uint8_t *scale, uint8_t *minimum)
{
    for (int i = 0; i < 4; i++) {
        scale[i] = packed[i] & 63;
        minimum[i] = packed[i + 4] & 63;
        scale[i + 4] = (uint8_t)((packed[i + 8] & 15) | packed[i] >> 6 << 4);
        minimum[i + 4] = (uint8_t)(packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4);
    }
}

#endif
