// Simd, NEON (64-bit Arm): a register is 4 lanes of float32; see simd_avx512.h. Weights are loaded as bytes, because they may lie
// at any address.
#ifndef QN_BACKEND_CPU_SIMD_NEON_H
#define QN_BACKEND_CPU_SIMD_NEON_H
#ifdef SIMD_NEON
#include <arm_neon.h>

#define SIMD_NAME(function) function##_neon
#define SIMD_ISA "neon"
enum { VEC_LANES = 4, VEC_PARTS = 4, TILE_WEIGHTS = 4 };

typedef float32x4_t vec;

static inline vec vec_set(float f)
{
    return vdupq_n_f32(f);
}
static inline vec vec_load(const float *p)
{
    return vld1q_f32(p);
}
static inline vec vec_load_once(const float *p)
{
    return vld1q_f32(p);
}
static inline void vec_store(float *p, vec a)
{
    vst1q_f32(p, a);
}
static inline vec vec_load_f16(const char *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *)p)));
}
static inline vec vec_load_bf16(const char *p)
{
    uint16x4_t halves = vreinterpret_u16_u8(vld1_u8((const uint8_t *)p));
    return vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
}
static inline vec vec_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}
static inline vec vec_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}
static inline vec vec_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}
static inline vec vec_div(vec a, vec b)
{
    return vdivq_f32(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}
static inline vec vec_max(vec a, vec b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline vec vec_min(vec a, vec b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
static inline vec vec_scale(vec p, vec n)
{
    // In two steps, as qn_scalar_exp.
    int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    int32x4_t rest = vsubq_s32(whole, half), bias = vdupq_n_s32(127);
    vec a = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
    vec b = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23));
    return vec_mul(vec_mul(p, a), b);
}
static inline int vec_any_nan(vec a)
{
    return vminvq_u32(vceqq_f32(a, a)) == 0;
}
static inline vec sum_parts(vec a, vec b, vec c, vec d)
{
    return vec_add(vec_add(a, c), vec_add(b, d));
}
static inline float vec_sum(const vec *part)
{
    vec four = sum_parts(part[0], part[1], part[2], part[3]);
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
static inline void vec_sum_four(const float *p, float *out)
{
    vec four[4];
    for (int i = 0; i < 4; i++, p += 16)
        four[i] = sum_parts(vec_load(p), vec_load(p + 4), vec_load(p + 8), vec_load(p + 12));
    vec ab = vec_add(vcombine_f32(vget_low_f32(four[0]), vget_low_f32(four[1])),
                     vcombine_f32(vget_high_f32(four[0]), vget_high_f32(four[1])));
    vec cd = vec_add(vcombine_f32(vget_low_f32(four[2]), vget_low_f32(four[3])),
                     vcombine_f32(vget_high_f32(four[2]), vget_high_f32(four[3])));
    vst1q_f32(out, vpaddq_f32(ab, cd));
}

// ---- 16 bytes; see simd_avx512.h ----

typedef uint8x16_t bytes;

static inline bytes bytes_set(int byte)
{
    return vdupq_n_u8((uint8_t)byte);
}
static inline bytes bytes_load(const uint8_t *p)
{
    return vld1q_u8(p);
}
static inline bytes bytes_field(bytes a, int shift, int mask)
{
    return vandq_u8(vshlq_u8(a, vdupq_n_s8((int8_t)-shift)), bytes_set(mask));
}
static inline bytes bytes_left(bytes a, int shift)
{
    return vshlq_u8(a, vdupq_n_s8((int8_t)shift));
}
static inline bytes bytes_or(bytes a, bytes b)
{
    return vorrq_u8(a, b);
}
static inline bytes bytes_sub(bytes a, bytes b)
{
    return vsubq_u8(a, b);
}
static inline bytes bytes_of(uint64_t low, uint64_t high)
{
    return vcombine_u8(vcreate_u8(low), vcreate_u8(high));
}
static inline bytes bytes_zip(bytes a, bytes b)
{
    return vzip1q_u8(a, b);
}
static inline bytes bytes_choose(const int8_t *sixteen, bytes index)
{
    return vqtbl1q_u8(bytes_load((const uint8_t *)sixteen), index);
}
static inline bytes bytes_where(uint32_t bits, int value)
{
    const uint8x8_t bit = vcreate_u8(0x8040201008040201u);
    uint8x8_t low = vtst_u8(vdup_n_u8((uint8_t)bits), bit);
    uint8x8_t high = vtst_u8(vdup_n_u8((uint8_t)(bits >> 8)), bit);
    return vandq_u8(vcombine_u8(low, high), bytes_set(value));
}
static inline vec vec_of_bytes(bytes a, int part)
{
    int8x16_t numbers = vreinterpretq_s8_u8(a);
    int16x8_t eight = vmovl_s8(part < 2 ? vget_low_s8(numbers) : vget_high_s8(numbers));
    return vcvtq_f32_s32(vmovl_s16(part % 2 ? vget_high_s16(eight) : vget_low_s16(eight)));
}
static inline vec vec_of_fp8(bytes a, int part)
{
    uint16x8_t b = vmovl_u8(part < 2 ? vget_low_u8(a) : vget_high_u8(a));
    uint16x8_t size = vandq_u16(b, vdupq_n_u16(0x7f));
    uint16x8_t nan = vandq_u16(vceqq_u16(size, vdupq_n_u16(0x7f)), vdupq_n_u16(0x7c00));
    uint16x8_t sign = vshlq_n_u16(vandq_u16(b, vdupq_n_u16(0x80)), 8);
    float16x8_t half = vreinterpretq_f16_u16(vorrq_u16(vorrq_u16(sign, nan), vshlq_n_u16(size, 7)));
    return vcvt_f32_f16(part % 2 ? vget_high_f16(half) : vget_low_f16(half));
}
static inline float half_load(const uint8_t *p)
{
    __fp16 h;
    memcpy(&h, p, sizeof h);
    return (float)h;
}

#endif
#endif
