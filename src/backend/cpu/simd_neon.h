// Simd, NEON (64-bit Arm): 16 lanes of float32 as four registers; see simd_avx512.h.
#ifndef QN_BACKEND_CPU_SIMD_NEON_H
#define QN_BACKEND_CPU_SIMD_NEON_H
#ifdef SIMD_NEON
#include <arm_neon.h>

#include "backend/cpu/kernel.h"

#define SIMD_NAME(function) function##_neon
#define SIMD_ISA "neon"
#define SIMD_TILE_ROWS 2
enum { TILE_ROWS = 2, TILE_WEIGHTS = 2, TILE_WEIGHTS_ONE_ROW = 4 };

typedef struct {
    float32x4_t part[4];
} lanes;

// One function of a register, for each of the four.
#define FOUR(expression)                                                                           \
    lanes out;                                                                                     \
    for (int i = 0; i < 4; i++)                                                                    \
        out.part[i] = (expression);                                                                \
    return out

static inline lanes lanes_set(float f)
{
    FOUR(vdupq_n_f32(f));
}
static inline lanes lanes_load(const float *p)
{
    FOUR(vld1q_f32(p + 4 * i));
}
static inline void lanes_store(float *p, lanes a)
{
    for (int i = 0; i < 4; i++)
        vst1q_f32(p + 4 * i, a.part[i]);
}
static inline lanes lanes_load_f16(const void *p)
{
    // Bytes, because a weight may lie at any address.
    const uint8_t *bytes = p;
    float16x8_t low = vreinterpretq_f16_u8(vld1q_u8(bytes));
    float16x8_t high = vreinterpretq_f16_u8(vld1q_u8(bytes + 16));
    return (lanes){{vcvt_f32_f16(vget_low_f16(low)), vcvt_f32_f16(vget_high_f16(low)),
                    vcvt_f32_f16(vget_low_f16(high)), vcvt_f32_f16(vget_high_f16(high))}};
}
static inline float32x4_t widen_bf16(uint16x4_t h)
{
    return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}
static inline lanes lanes_load_bf16(const void *p)
{
    const uint8_t *bytes = p;
    uint16x8_t low = vreinterpretq_u16_u8(vld1q_u8(bytes));
    uint16x8_t high = vreinterpretq_u16_u8(vld1q_u8(bytes + 16));
    return (lanes){{widen_bf16(vget_low_u16(low)), widen_bf16(vget_high_u16(low)),
                    widen_bf16(vget_low_u16(high)), widen_bf16(vget_high_u16(high))}};
}
static inline lanes lanes_add(lanes a, lanes b)
{
    FOUR(vaddq_f32(a.part[i], b.part[i]));
}
static inline lanes lanes_sub(lanes a, lanes b)
{
    FOUR(vsubq_f32(a.part[i], b.part[i]));
}
static inline lanes lanes_mul(lanes a, lanes b)
{
    FOUR(vmulq_f32(a.part[i], b.part[i]));
}
static inline lanes lanes_div(lanes a, lanes b)
{
    FOUR(vdivq_f32(a.part[i], b.part[i]));
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    FOUR(vfmaq_f32(c.part[i], a.part[i], b.part[i]));
}
static inline lanes lanes_max(lanes a, lanes b)
{
    FOUR(vbslq_f32(vcgtq_f32(a.part[i], b.part[i]), a.part[i], b.part[i]));
}
static inline lanes lanes_min(lanes a, lanes b)
{
    FOUR(vbslq_f32(vcltq_f32(a.part[i], b.part[i]), a.part[i], b.part[i]));
}
static inline float32x4_t scale_four(float32x4_t p, float32x4_t n)
{
    int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    int32x4_t rest = vsubq_s32(whole, half), bias = vdupq_n_s32(127);
    float32x4_t a = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
    float32x4_t b = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23));
    return vmulq_f32(vmulq_f32(p, a), b);
}
static inline lanes lanes_scale(lanes p, lanes n)
{
    FOUR(scale_four(p.part[i], n.part[i]));
}
static inline int lanes_any_nan(lanes a, lanes b)
{
    uint32x4_t ordered = vdupq_n_u32(UINT32_MAX);
    for (int i = 0; i < 4; i++) {
        ordered = vandq_u32(ordered, vceqq_f32(a.part[i], a.part[i]));
        ordered = vandq_u32(ordered, vceqq_f32(b.part[i], b.part[i]));
    }
    return vminvq_u32(ordered) == 0;
}
static inline float lanes_sum(lanes a)
{
    float32x4_t low = vaddq_f32(a.part[0], a.part[2]), high = vaddq_f32(a.part[1], a.part[3]);
    float32x4_t four = vaddq_f32(low, high);
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

#undef FOUR
#endif
#endif
