// Simd, AVX-512: 16 lanes of float32 as one register. simd_avx2.h, simd_neon.h: the same functions; scalar.h: the same
// arithmetic. For kernels_avx512.c alone, which is compiled for
// that instruction set.
#ifndef QN_BACKEND_CPU_SIMD_AVX512_H
#define QN_BACKEND_CPU_SIMD_AVX512_H
#ifdef SIMD_AVX512
#include <immintrin.h>

#include "backend/cpu/kernel.h"

#define SIMD_NAME(function) function##_avx512
#define SIMD_ISA "avx512"
// Sizes of register tiles: rows of activations × rows of weights, and weights for one row of activations alone.
#define SIMD_TILE_ROWS 6 // for the preprocessor, which cannot see TILE_ROWS
enum { TILE_ROWS = 6, TILE_WEIGHTS = 4, TILE_WEIGHTS_ONE_ROW = 8 };

typedef __m512 lanes;

static inline lanes lanes_set(float f)
{
    return _mm512_set1_ps(f);
}
static inline lanes lanes_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void lanes_store(float *p, lanes a)
{
    _mm512_storeu_ps(p, a);
}
static inline lanes lanes_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
static inline lanes lanes_load_bf16(const void *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}
static inline lanes lanes_sub(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}
static inline lanes lanes_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}
static inline lanes lanes_div(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c) // a · b + c
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline lanes lanes_max(lanes a, lanes b) // a > b ? a : b, as qn_scalar_max
{
    return _mm512_max_ps(a, b);
}
static inline lanes lanes_min(lanes a, lanes b) // a < b ? a : b
{
    return _mm512_min_ps(a, b);
}
// p · 2ⁿ for whole n from −150 to 129, rounded once.
static inline lanes lanes_scale(lanes p, lanes n)
{
    return _mm512_scalef_ps(p, n);
}
// 1 where a lane of either is NaN.
static inline int lanes_any_nan(lanes a, lanes b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0;
}
// The tree of ops/matmul.h.
static inline float lanes_sum(lanes a)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
#endif
