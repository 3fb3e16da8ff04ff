// Simd, AVX-512: a register is 16 lanes of float32. simd_avx2.h and simd_neon.h have the same names for 8 and 4; lanes.h makes 16
// of them; scalar.h has the same arithmetic on one. For kernels_avx512.c alone, which is compiled for that instruction set.
#ifndef QN_BACKEND_CPU_SIMD_AVX512_H
#define QN_BACKEND_CPU_SIMD_AVX512_H
#ifdef SIMD_AVX512
#include <immintrin.h>

#define SIMD_NAME(function) function##_avx512
#define SIMD_ISA "avx512"
enum {
    VEC_LANES = 16,
    VEC_PARTS = 1,    // registers that make 16 lanes
    TILE_WEIGHTS = 4, // rows of weights that tile.h takes at once
};

typedef __m512 vec;

static inline vec vec_set(float f)
{
    return _mm512_set1_ps(f);
}
static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
// For several uses: see simd_avx2.h.
static inline vec vec_load_once(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void vec_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}
static inline vec vec_load_f16(const char *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline vec vec_load_bf16(const char *p)
{
    __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
static inline vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c) // a · b + c
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vec vec_max(vec a, vec b) // a > b ? a : b, as qn_scalar_max
{
    return _mm512_max_ps(a, b);
}
static inline vec vec_min(vec a, vec b) // a < b ? a : b
{
    return _mm512_min_ps(a, b);
}
// p · 2ⁿ for whole n from −150 to 129, rounded once.
static inline vec vec_scale(vec p, vec n)
{
    return _mm512_scalef_ps(p, n);
}
static inline int vec_any_nan(vec a)
{
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0;
}
// The tree of ops/matmul.h, of 16 lanes.
static inline float vec_sum(const vec *part)
{
    vec a = part[0];
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
// The same of four at once: out[i] is the sum of the 16 numbers at p + 16 i.
static inline void vec_sum_four(const float *p, float *out)
{
    vec a = vec_load(p), b = vec_load(p + 16), c = vec_load(p + 32), d = vec_load(p + 48);
    vec ab = vec_add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    vec cd = vec_add(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    vec four = vec_add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    vec two = vec_add(four, _mm512_permute_ps(four, 0x4e)); // of each quarter: l += l + 2
    vec one = vec_add(two, _mm512_movehdup_ps(two));
    __m512i first_of_quarters = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(first_of_quarters, one)));
}

// ---- 16 bytes, out of which unpack_body.h makes 16 lanes ----

typedef __m128i bytes;

static inline bytes bytes_set(int byte)
{
    return _mm_set1_epi8((char)byte);
}
static inline bytes bytes_load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}
// (a >> shift) & mask of each byte; shift + the mask's width ≤ 8.
static inline bytes bytes_field(bytes a, int shift, int mask)
{
    return _mm_and_si128(_mm_srli_epi16(a, shift), _mm_set1_epi8((char)mask));
}
static inline bytes bytes_left(bytes a, int shift) // nothing leaves its byte
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
// Sixteen bytes of two words, the lowest first.
static inline bytes bytes_of(uint64_t low, uint64_t high)
{
    return _mm_set_epi64x((long long)high, (long long)low);
}
// The first eight of each, in turns.
static inline bytes bytes_zip(bytes a, bytes b)
{
    return _mm_unpacklo_epi8(a, b);
}
// sixteen[index] of each byte.
static inline bytes bytes_choose(const int8_t *sixteen, bytes index)
{
    return _mm_shuffle_epi8(bytes_load((const uint8_t *)sixteen), index);
}
// `value` where the bit of that number is set in 16 of them, else 0.
static inline bytes bytes_where(uint32_t bits, int value)
{
    return _mm_maskz_set1_epi8((__mmask16)bits, (char)value);
}
// Signed bytes from VEC_LANES · part on.
static inline vec vec_of_bytes(bytes a, int part)
{
    (void)part;
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(a));
}
// Numbers of 8 bits (qn_fp8_to_f32) over 256, VEC_LANES · part on: their bits one place lower are halves, but for NaN.
static inline vec vec_of_fp8(bytes a, int part)
{
    (void)part;
    const __m256i number = _mm256_set1_epi16(0x7f);
    __m256i b = _mm256_cvtepu8_epi16(a), size = _mm256_and_si256(b, number);
    __m256i nan = _mm256_and_si256(_mm256_cmpeq_epi16(size, number), _mm256_set1_epi16(0x7c00));
    __m256i sign = _mm256_slli_epi16(_mm256_andnot_si256(number, b), 8);
    return _mm512_cvtph_ps(_mm256_or_si256(_mm256_or_si256(sign, nan), _mm256_slli_epi16(size, 7)));
}
// A half at any address.
static inline float half_load(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}

#endif
#endif
