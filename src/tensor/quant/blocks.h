// What the block formats share: halves in memory, the packed scales of two formats, rounding of the quantisers.
// A block is bytes, little-endian, at any address. Products of a half and a block's small integers (11 bits by at most 13)
// are exact in float32, so a value is rounded at most once: where a minimum is added or taken away.
#ifndef QN_TENSOR_QUANT_BLOCKS_H
#define QN_TENSOR_QUANT_BLOCKS_H
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
