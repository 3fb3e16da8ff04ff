// Simd, AVX2 with FMA and F16C: 16 lanes of float32 as two registers; see simd_avx512.h.
#ifndef QN_BACKEND_CPU_SIMD_AVX2_H
#define QN_BACKEND_CPU_SIMD_AVX2_H
#ifdef SIMD_AVX2
#include <immintrin.h>

#include "backend/cpu/kernel.h"

#define SIMD_NAME(function) function##_avx2
#define SIMD_ISA "avx2"
#define SIMD_TILE_ROWS 2
enum { TILE_ROWS = 2, TILE_WEIGHTS = 3, TILE_WEIGHTS_ONE_ROW = 4 };

typedef struct {
    __m256 low, high;
} lanes;

static inline lanes lanes_set(float f)
{
    return (lanes){_mm256_set1_ps(f), _mm256_set1_ps(f)};
}
static inline lanes lanes_load(const float *p)
{
    return (lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void lanes_store(float *p, lanes a)
{
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
}
static inline lanes lanes_load_f16(const void *p)
{
    const __m128i *halves = p;
    return (lanes){_mm256_cvtph_ps(_mm_loadu_si128(halves)),
                   _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
static inline __m256 widen_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static inline lanes lanes_load_bf16(const void *p)
{
    const __m128i *halves = p;
    return (lanes){widen_bf16(_mm_loadu_si128(halves)), widen_bf16(_mm_loadu_si128(halves + 1))};
}
static inline lanes lanes_add(lanes a, lanes b)
{
    return (lanes){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
static inline lanes lanes_sub(lanes a, lanes b)
{
    return (lanes){_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
static inline lanes lanes_mul(lanes a, lanes b)
{
    return (lanes){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
static inline lanes lanes_div(lanes a, lanes b)
{
    return (lanes){_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
static inline lanes lanes_max(lanes a, lanes b)
{
    return (lanes){_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
static inline lanes lanes_min(lanes a, lanes b)
{
    return (lanes){_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
static inline __m256 scale_half(__m256 p, __m256 n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}
static inline lanes lanes_scale(lanes p, lanes n)
{
    return (lanes){scale_half(p.low, n.low), scale_half(p.high, n.high)};
}
static inline int lanes_any_nan(lanes a, lanes b)
{
    __m256 low = _mm256_cmp_ps(a.low, b.low, _CMP_UNORD_Q);
    __m256 high = _mm256_cmp_ps(a.high, b.high, _CMP_UNORD_Q);
    return _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0;
}
static inline float lanes_sum(lanes a)
{
    __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
#endif
