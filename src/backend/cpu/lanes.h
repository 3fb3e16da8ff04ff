// Lanes: what is built on the 16-lane functions alone and so reads the same for every instruction set.
#ifndef QN_BACKEND_CPU_LANES_H
#define QN_BACKEND_CPU_LANES_H
#include "backend/cpu/scalar.h"
#include "backend/cpu/simd.h"
#ifdef SIMD_ISA

#define ALWAYS_INLINE static inline __attribute__((always_inline))

// 16 numbers of a format whose block is one element, as float32. `dtype` is a constant where this is used.
ALWAYS_INLINE lanes lanes_load_as(qn_dtype dtype, const char *p)
{
    if (dtype == QN_DTYPE_BF16) return lanes_load_bf16(p);
    if (dtype == QN_DTYPE_F16) return lanes_load_f16(p);
    return lanes_load((const float *)(const void *)p);
}

static inline float lanes_scalar_as(qn_dtype dtype, const char *p)
{
    float f;
    uint16_t h;
    memcpy(&h, p, sizeof h);
    if (dtype == QN_DTYPE_BF16) return qn_bf16_to_f32(h);
    if (dtype == QN_DTYPE_F16) return qn_f16_to_f32(h);
    memcpy(&f, p, sizeof f);
    return f;
}

static inline int64_t lanes_element_bytes(qn_dtype dtype)
{
    return dtype == QN_DTYPE_F32 ? 4 : 2;
}

// qn_scalar_exp on 16 lanes.
static inline lanes lanes_exp(lanes x)
{
    lanes round = lanes_set(QN_EXP_ROUND);
    x = lanes_max(lanes_set(QN_EXP_LOW),
                  x); // a NaN passes through: the second operand is what remains
    x = lanes_min(lanes_set(QN_EXP_HIGH), x);
    lanes n = lanes_sub(lanes_fma(x, lanes_set(QN_EXP_LOG2E), round), round);
    lanes minus_n = lanes_sub(lanes_set(0), n);
    lanes r = lanes_fma(minus_n, lanes_set(QN_EXP_LN2_HIGH), x);
    r = lanes_fma(minus_n, lanes_set(QN_EXP_LN2_LOW), r);
    lanes p = lanes_set(QN_EXP_P0);
    p = lanes_fma(p, r, lanes_set(QN_EXP_P1));
    p = lanes_fma(p, r, lanes_set(QN_EXP_P2));
    p = lanes_fma(p, r, lanes_set(QN_EXP_P3));
    p = lanes_fma(p, r, lanes_set(QN_EXP_P4));
    p = lanes_fma(p, r, lanes_set(QN_EXP_P5));
    p = lanes_add(lanes_fma(p, lanes_mul(r, r), r), lanes_set(1));
    return lanes_scale(p, n);
}

#endif
#endif
