// Lanes: 16 numbers in as many registers as the instruction set needs (simd_<isa>.h), and what is built on them. Reads the same for
// every instruction set; the bits are those of scalar.h.
#ifndef QN_BACKEND_CPU_LANES_H
#define QN_BACKEND_CPU_LANES_H
#include "backend/cpu/kernel.h"
#include "backend/cpu/scalar.h"
#include "backend/cpu/simd.h"
#ifdef SIMD_ISA

#define ALWAYS_INLINE static inline __attribute__((always_inline))
// Before a loop of few and constant rounds over an array of registers: unrolled, so that the array lives in registers.
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

typedef struct {
    vec part[VEC_PARTS];
} lanes;

// An expression for each register.
#define EACH_PART(expression)                                                                      \
    lanes out;                                                                                     \
    for (int i = 0; i < VEC_PARTS; i++)                                                            \
        out.part[i] = (expression);                                                                \
    return out

ALWAYS_INLINE lanes lanes_set(float f)
{
    EACH_PART(vec_set(f));
}
ALWAYS_INLINE lanes lanes_load(const float *p)
{
    EACH_PART(vec_load(p + i * VEC_LANES));
}
ALWAYS_INLINE void lanes_store(float *p, lanes a)
{
    for (int i = 0; i < VEC_PARTS; i++)
        vec_store(p + i * VEC_LANES, a.part[i]);
}
ALWAYS_INLINE lanes lanes_add(lanes a, lanes b)
{
    EACH_PART(vec_add(a.part[i], b.part[i]));
}
ALWAYS_INLINE lanes lanes_sub(lanes a, lanes b)
{
    EACH_PART(vec_sub(a.part[i], b.part[i]));
}
ALWAYS_INLINE lanes lanes_mul(lanes a, lanes b)
{
    EACH_PART(vec_mul(a.part[i], b.part[i]));
}
ALWAYS_INLINE lanes lanes_div(lanes a, lanes b)
{
    EACH_PART(vec_div(a.part[i], b.part[i]));
}
ALWAYS_INLINE lanes lanes_fma(lanes a, lanes b, lanes c) // a · b + c
{
    EACH_PART(vec_fma(a.part[i], b.part[i], c.part[i]));
}
ALWAYS_INLINE lanes lanes_max(lanes a, lanes b) // a > b ? a : b, as qn_scalar_max
{
    EACH_PART(vec_max(a.part[i], b.part[i]));
}
ALWAYS_INLINE lanes lanes_of_bytes(bytes a) // signed
{
    EACH_PART(vec_of_bytes(a, i));
}
ALWAYS_INLINE lanes lanes_of_fp8(bytes a)
{
    EACH_PART(vec_mul(vec_of_fp8(a, i), vec_set(256)));
}
ALWAYS_INLINE int lanes_any_nan(lanes a)
{
    int any = 0;
    for (int i = 0; i < VEC_PARTS; i++)
        any |= vec_any_nan(a.part[i]);
    return any;
}
// The tree of ops/matmul.h.
ALWAYS_INLINE float lanes_sum(lanes a)
{
    return vec_sum(a.part);
}

// ---- numbers of a format whose block is one element; `dtype` is a constant where speed counts ----

ALWAYS_INLINE int64_t element_bytes(qn_dtype dtype)
{
    return dtype == QN_DTYPE_F32 ? 4 : 2;
}

ALWAYS_INLINE vec vec_load_as(qn_dtype dtype, const char *p)
{
    if (dtype == QN_DTYPE_BF16) return vec_load_bf16(p);
    if (dtype == QN_DTYPE_F16) return vec_load_f16(p);
    return vec_load((const float *)(const void *)p);
}

ALWAYS_INLINE lanes lanes_load_as(qn_dtype dtype, const char *p)
{
    EACH_PART(vec_load_as(dtype, p + i * VEC_LANES * element_bytes(dtype)));
}

static inline float scalar_load_as(qn_dtype dtype, const char *p)
{
    float f;
    uint16_t h;
    memcpy(&h, p, sizeof h);
    if (dtype == QN_DTYPE_BF16) return qn_bf16_to_f32(h);
    if (dtype == QN_DTYPE_F16) return qn_f16_to_f32(h);
    memcpy(&f, p, sizeof f);
    return f;
}

// ---- qn_scalar_exp on 16 lanes ----

ALWAYS_INLINE vec vec_exp(vec x)
{
    vec round = vec_set(QN_EXP_ROUND);
    x = vec_max(vec_set(QN_EXP_LOW), x); // a NaN passes through: the second operand is what remains
    x = vec_min(vec_set(QN_EXP_HIGH), x);
    vec n = vec_sub(vec_fma(x, vec_set(QN_EXP_LOG2E), round), round);
    vec minus_n = vec_sub(vec_set(0), n);
    vec r = vec_fma(minus_n, vec_set(QN_EXP_LN2_HIGH), x);
    r = vec_fma(minus_n, vec_set(QN_EXP_LN2_LOW), r);
    vec p = vec_set(QN_EXP_P0);
    p = vec_fma(p, r, vec_set(QN_EXP_P1));
    p = vec_fma(p, r, vec_set(QN_EXP_P2));
    p = vec_fma(p, r, vec_set(QN_EXP_P3));
    p = vec_fma(p, r, vec_set(QN_EXP_P4));
    p = vec_fma(p, r, vec_set(QN_EXP_P5));
    p = vec_add(vec_fma(p, vec_mul(r, r), r), vec_set(1));
    return vec_scale(p, n);
}

ALWAYS_INLINE lanes lanes_exp(lanes x)
{
    EACH_PART(vec_exp(x.part[i]));
}

#undef EACH_PART
#endif
#endif
