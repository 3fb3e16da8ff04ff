// Floating point: float32 to the last bit where PTX says how it rounds; what is "approx" by the C library. See ptx.h.
#include <fenv.h>
#include <math.h>

#include "halves.h"
#include "warp.h"

// Denormal numbers count as 0.
static inline float flushed(float v)
{
    return fabsf(v) < 0x1p-126f ? copysignf(0, v) : v;
}

BINARY(add, float, float, float, a + b)
BINARY(sub, float, float, float, a - b)
BINARY(mul, float, float, float, a *b)
BINARY(divide, float, float, float, a / b)
// Of a number and none, the number.
BINARY(least, float, float, float,
       a != a                            ? b
       : b != b                          ? a
       : a < b || (a == b && signbit(a)) ? a
                                         : b)
BINARY(most, float, float, float,
       a != a                             ? b
       : b != b                           ? a
       : a > b || (a == b && !signbit(a)) ? a
                                          : b)
UNARY(neg, uint32_t, uint32_t, a ^ 0x80000000u)
UNARY(absolute, uint32_t, uint32_t, a & 0x7fffffffu)
UNARY(root, float, float, sqrtf(a))
UNARY(reciprocal, float, float, 1 / a)
UNARY(reciprocal_near, float, float, flushed(1 / flushed(a)))
UNARY(power_near, float, float, flushed(exp2f(flushed(a))))
BINARY(mul_f64, double, double, double, a *b)

static void fma_near(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    float *d = OPERAND(float, 0);
    const float *a = OPERAND(float, 1), *b = OPERAND(float, 2), *c = OPERAND(float, 3);
    EACH_LANE(d[l] = fmaf(a[l], b[l], c[l]););
}

// Towards minus infinity. The values go through memory, so that none is computed outside.
static void fma_down(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    float *d = OPERAND(float, 0);
    const volatile float *a = OPERAND(float, 1), *b = OPERAND(float, 2), *c = OPERAND(float, 3);
    volatile float sums[PTX_LANES];
    fesetround(FE_DOWNWARD);
    for (int l = 0; l < PTX_LANES; l++)
        sums[l] = fmaf(a[l], b[l], c[l]);
    fesetround(FE_TONEAREST);
    EACH_LANE(d[l] = sums[l];);
}

UNARY(cvt_sat, float, float, a > 0 ? (a < 1 ? a : 1) : 0)
UNARY(cvt_f32_f16, float, uint32_t, from_f16((uint16_t)a))
UNARY(cvt_f16_f32, uint32_t, float, to_f16(a))
UNARY(cvt_f32_s16, float, uint32_t, (int16_t)a)
UNARY(cvt_f32_s32, float, int32_t, a)
UNARY(cvt_f32_u32, float, uint32_t, a)
UNARY(cvt_f32_f64, float, double, a)
UNARY(cvt_f64_s64, double, int64_t, a)
UNARY(cvt_near_s32, int32_t, float,
      a != a         ? 0
      : a >= 0x1p31f ? INT32_MAX
      : a < -0x1p31f ? INT32_MIN
                     : (int32_t)nearbyintf(a))
UNARY(cvt_zero_s32, int32_t, float,
      a != a         ? 0
      : a >= 0x1p31f ? INT32_MAX
      : a < -0x1p31f ? INT32_MIN
                     : (int32_t)a)
UNARY(cvt_zero_u32, uint32_t, float, !(a > 0) ? 0 : a >= 0x1p32f ? UINT32_MAX : (uint32_t)a)
BINARY(cvt_f16x2, uint32_t, float, float, (uint32_t)to_f16(a) << 16 | to_f16(b))
BINARY(cvt_bf16x2, uint32_t, float, float, (uint32_t)to_bf16(a) << 16 | to_bf16(b))

static inline uint32_t both(float low, float high)
{
    return (uint32_t)to_f16(high) << 16 | to_f16(low);
}
#define LOW(v) from_f16((uint16_t)(v))
#define HIGH(v) from_f16((uint16_t)((v) >> 16))
BINARY(mul_f16x2, uint32_t, uint32_t, uint32_t, both(LOW(a) * LOW(b), HIGH(a) * HIGH(b)))
BINARY(sub_f16x2, uint32_t, uint32_t, uint32_t, both(LOW(a) - LOW(b), HIGH(a) - HIGH(b)))

// A product of two float16 is exact in float32, a sum with a third is in double but for what no float16 shows.
static void fma_f16x2(warp *w, const ptx_instruction *i, uint32_t lanes)
{
    uint32_t *d = OPERAND(uint32_t, 0);
    const uint32_t *a = OPERAND(uint32_t, 1), *b = OPERAND(uint32_t, 2), *c = OPERAND(uint32_t, 3);
    EACH_LANE(double low = (double)LOW(a[l]) * LOW(b[l]) + LOW(c[l]);
              double high = (double)HIGH(a[l]) * HIGH(b[l]) + HIGH(c[l]);
              d[l] = (uint32_t)to_f16_of_double(high) << 16 | to_f16_of_double(low););
}

const ptx_row ptx_float_rows[] = {
    {"add.rn.f32", "www", add, PTX_PLAIN},
    {"sub.rn.f32", "www", sub, PTX_PLAIN},
    {"mul.rn.f32", "www", mul, PTX_PLAIN},
    {"fma.rn.f32", "wwww", fma_near, PTX_PLAIN},
    {"fma.rm.f32", "wwww", fma_down, PTX_PLAIN},
    {"div.rn.f32", "www", divide, PTX_PLAIN},
    {"rcp.rn.f32", "ww", reciprocal, PTX_PLAIN},
    {"rcp.approx.ftz.f32", "ww", reciprocal_near, PTX_PLAIN},
    {"sqrt.rn.f32", "ww", root, PTX_PLAIN},
    {"ex2.approx.ftz.f32", "ww", power_near, PTX_PLAIN},
    {"min.f32", "www", least, PTX_PLAIN},
    {"max.f32", "www", most, PTX_PLAIN},
    {"neg.f32", "ww", neg, PTX_PLAIN},
    {"abs.f32", "ww", absolute, PTX_PLAIN},
    {"mul.rn.f64", "qqq", mul_f64, PTX_PLAIN},
    {"cvt.sat.f32.f32", "ww", cvt_sat, PTX_PLAIN},
    {"cvt.f32.f16", "ww", cvt_f32_f16, PTX_PLAIN},
    {"cvt.rn.f16.f32", "ww", cvt_f16_f32, PTX_PLAIN},
    {"cvt.rn.f32.s16", "ww", cvt_f32_s16, PTX_PLAIN},
    {"cvt.rn.f32.s32", "ww", cvt_f32_s32, PTX_PLAIN},
    {"cvt.rn.f32.u32", "ww", cvt_f32_u32, PTX_PLAIN},
    {"cvt.rn.f32.f64", "wq", cvt_f32_f64, PTX_PLAIN},
    {"cvt.rn.f64.s64", "qq", cvt_f64_s64, PTX_PLAIN},
    {"cvt.rni.s32.f32", "ww", cvt_near_s32, PTX_PLAIN},
    {"cvt.rzi.s32.f32", "ww", cvt_zero_s32, PTX_PLAIN},
    {"cvt.rzi.u32.f32", "ww", cvt_zero_u32, PTX_PLAIN},
    {"cvt.rn.f16x2.f32", "www", cvt_f16x2, PTX_PLAIN},
    {"cvt.rn.bf16x2.f32", "www", cvt_bf16x2, PTX_PLAIN},
    {"mul.f16x2", "www", mul_f16x2, PTX_PLAIN},
    {"sub.f16x2", "www", sub_f16x2, PTX_PLAIN},
    {"fma.rn.f16x2", "wwww", fma_f16x2, PTX_PLAIN},
    {NULL, NULL, NULL, PTX_PLAIN},
};
