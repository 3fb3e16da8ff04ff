// Scalar: the arithmetic that ref/ and the vector kernels have in common, one number at a time. simd_<isa>.h has the same
// functions on 16 lanes, operation for operation, so that the bits agree.
#ifndef QN_BACKEND_CPU_SCALAR_H
#define QN_BACKEND_CPU_SCALAR_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tensor/tensor.h"

// exp(x) within 2 ulp: x = n·ln 2 + r, a polynomial in r (Moshier, Cephes expf), times 2ⁿ. Below −104: 0, above 89: infinity.
#define QN_EXP_LOW (-104.0f)
#define QN_EXP_HIGH 89.0f
#define QN_EXP_ROUND 12582912.0f // 1.5 · 2²³: adding and taking it away rounds to an integer
#define QN_EXP_LOG2E 1.44269504088896341f
#define QN_EXP_LN2_HIGH 0.693359375f
#define QN_EXP_LN2_LOW (-2.12194440e-4f)
#define QN_EXP_P0 1.9875691500e-4f
#define QN_EXP_P1 1.3981999507e-3f
#define QN_EXP_P2 8.3334519073e-3f
#define QN_EXP_P3 4.1665795894e-2f
#define QN_EXP_P4 1.6666665459e-1f
#define QN_EXP_P5 5.0000001201e-1f

static inline float qn_scalar_power_of_two(int32_t n) // n in [-126, 127]
{
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float qn_scalar_exp(float x)
{
    if (x != x) return x;
    x = QN_EXP_LOW > x ? QN_EXP_LOW : x;
    x = QN_EXP_HIGH < x ? QN_EXP_HIGH : x;
    float n = fmaf(x, QN_EXP_LOG2E, QN_EXP_ROUND) - QN_EXP_ROUND;
    float r = fmaf(-n, QN_EXP_LN2_HIGH, x);
    r = fmaf(-n, QN_EXP_LN2_LOW, r);
    float p = QN_EXP_P0;
    p = fmaf(p, r, QN_EXP_P1);
    p = fmaf(p, r, QN_EXP_P2);
    p = fmaf(p, r, QN_EXP_P3);
    p = fmaf(p, r, QN_EXP_P4);
    p = fmaf(p, r, QN_EXP_P5);
    p = fmaf(p, r * r, r) + 1.0f;
    // In two steps, so that results below 2⁻¹²⁶ are rounded once.
    int32_t whole = (int32_t)n, half = whole >> 1;
    return p * qn_scalar_power_of_two(half) * qn_scalar_power_of_two(whole - half);
}

static inline float qn_scalar_silu(float x)
{
    return x / (1.0f + qn_scalar_exp(-x));
}

// The larger; b where either is NaN.
static inline float qn_scalar_max(float a, float b)
{
    return a > b ? a : b;
}

// The 16 lanes added as the tree of ops/matmul.h. Changes them.
static inline float qn_scalar_tree(float *sums)
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            sums[i] += sums[i + half];
    return sums[0];
}

// sin and cos of a (|a| < 2²⁰) in double precision, errors below 1e-15: n·π/2 taken away in two parts (the first exact for
// n < 2²⁰), then the polynomials of fdlibm. Without branches, so that compilers can vectorise loops over it.
static inline void qn_scalar_sincos(double a, double *sine, double *cosine)
{
    const double round = 6755399441055744.0; // 1.5 · 2⁵²
    double n = (a * 6.36619772367581382433e-01 + round) - round;
    double r = (a - n * 1.57079632673412561417e+00) - n * 6.07710050650619224932e-11;
    double z = r * r;
    double s = -2.50507602534068634195e-08 + z * 1.58969099521155010221e-10;
    s = -1.98412698298579493134e-04 + z * (2.75573137070700676789e-06 + z * s);
    s = r + r * z * (-1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 + z * s));
    double c = 2.08757232129817482790e-09 + z * -1.13596475577881948265e-11;
    c = 2.48015872894767294178e-05 + z * (-2.75573143513906633035e-07 + z * c);
    c = 4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * c);
    c = 1.0 - (0.5 * z - z * z * c);
    double quarter = n - 4.0 * ((n * 0.25 - 0.375 + round) - round); // n mod 4: 0, 1, 2, 3
    double swapped_sine = quarter == 1.0 || quarter == 3.0 ? c : s;
    double swapped_cosine = quarter == 1.0 || quarter == 3.0 ? s : c;
    *sine = quarter >= 2.0 ? -swapped_sine : swapped_sine;
    *cosine = quarter == 1.0 || quarter == 2.0 ? -swapped_cosine : swapped_cosine;
}

// cos and sin of a rotation, times scale (ops/rope.h).
static inline void qn_scalar_rotation(float angle, float scale, float *c, float *s)
{
    double sine, cosine;
    qn_scalar_sincos((double)angle, &sine, &cosine);
    *c = scale * (float)cosine;
    *s = scale * (float)sine;
}

#endif
