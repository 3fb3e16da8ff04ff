// Simd, AVX2 with FMA and F16C: a register is 8 lanes of float32; see simd_avx512.h.
#ifndef QN_BACKEND_CPU_SIMD_AVX2_H
#define QN_BACKEND_CPU_SIMD_AVX2_H
#ifdef SIMD_AVX2
#include <immintrin.h>

#define SIMD_NAME(function) function##_avx2
#define SIMD_ISA "avx2"
enum { VEC_LANES = 8, VEC_PARTS = 2, TILE_WEIGHTS = 2 };

typedef __m256 vec;

static inline vec vec_set(float f)
{
    return _mm256_set1_ps(f);
}
static inline vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
// For several uses: keeps gcc from loading anew for each.
static inline vec vec_load_once(const float *p)
{
    vec a = _mm256_loadu_ps(p);
    __asm__("" : "+x"(a));
    return a;
}
static inline void vec_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}
static inline vec vec_load_f16(const char *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline vec vec_load_bf16(const char *p)
{
    __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
static inline vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
static inline vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
static inline vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
static inline vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}
static inline vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}
static inline vec vec_scale(vec p, vec n)
{
    // In two steps, as qn_scalar_exp.
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    return vec_mul(vec_mul(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}
static inline int vec_any_nan(vec a)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)) != 0;
}
static inline float vec_sum(const vec *part)
{
    vec eight = vec_add(part[0], part[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static inline void vec_sum_four(const float *p, float *out)
{
    vec a = vec_add(vec_load(p), vec_load(p + 8)), b = vec_add(vec_load(p + 16), vec_load(p + 24));
    vec c = vec_add(vec_load(p + 32), vec_load(p + 40));
    vec d = vec_add(vec_load(p + 48), vec_load(p + 56));
    vec ac = vec_add(_mm256_permute2f128_ps(a, c, 0x20), _mm256_permute2f128_ps(a, c, 0x31));
    vec bd = vec_add(_mm256_permute2f128_ps(b, d, 0x20), _mm256_permute2f128_ps(b, d, 0x31));
    __m256d low = _mm256_unpacklo_pd(_mm256_castps_pd(ac), _mm256_castps_pd(bd));
    __m256d high = _mm256_unpackhi_pd(_mm256_castps_pd(ac), _mm256_castps_pd(bd));
    vec two = vec_add(_mm256_castpd_ps(low), _mm256_castpd_ps(high)); // a a b b | c c d d
    vec one = vec_add(two, _mm256_movehdup_ps(two));
    __m128 ab = _mm256_castps256_ps128(one), cd = _mm256_extractf128_ps(one, 1);
    _mm_storeu_ps(out, _mm_shuffle_ps(ab, cd, 0x88));
}

// ---- 16 bytes; see simd_avx512.h ----

typedef __m128i bytes;

static inline bytes bytes_set(int byte)
{
    return _mm_set1_epi8((char)byte);
}
static inline bytes bytes_load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}
static inline bytes bytes_field(bytes a, int shift, int mask)
{
    return _mm_and_si128(_mm_srli_epi16(a, shift), _mm_set1_epi8((char)mask));
}
static inline bytes bytes_left(bytes a, int shift)
{
    return _mm_slli_epi16(a, shift);
}
static inline bytes bytes_or(bytes a, bytes b)
{
    return _mm_or_si128(a, b);
}
static inline bytes bytes_sub(bytes a, bytes b)
{
    return _mm_sub_epi8(a, b);
}
static inline bytes bytes_of(uint64_t low, uint64_t high)
{
    return _mm_set_epi64x((long long)high, (long long)low);
}
static inline bytes bytes_zip(bytes a, bytes b)
{
    return _mm_unpacklo_epi8(a, b);
}
static inline bytes bytes_choose(const int8_t *sixteen, bytes index)
{
    return _mm_shuffle_epi8(bytes_load((const uint8_t *)sixteen), index);
}
static inline bytes bytes_where(uint32_t bits, int value)
{
    const __m128i spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i bit = _mm_set1_epi64x((long long)0x8040201008040201);
    __m128i a = _mm_shuffle_epi8(_mm_cvtsi32_si128((int)bits), spread);
    return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(a, bit), bit), bytes_set(value));
}
static inline vec vec_of_bytes(bytes a, int part)
{
    if (part) a = _mm_srli_si128(a, 8);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a));
}
static inline vec vec_of_fp8(bytes a, int part)
{
    if (part) a = _mm_srli_si128(a, 8);
    const __m128i number = _mm_set1_epi16(0x7f);
    __m128i b = _mm_cvtepu8_epi16(a), size = _mm_and_si128(b, number);
    __m128i nan = _mm_and_si128(_mm_cmpeq_epi16(size, number), _mm_set1_epi16(0x7c00));
    __m128i sign = _mm_slli_epi16(_mm_andnot_si128(number, b), 8);
    return _mm256_cvtph_ps(_mm_or_si128(_mm_or_si128(sign, nan), _mm_slli_epi16(size, 7)));
}
static inline float half_load(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}

#endif
#endif
