// What the Metal backend uses of it (tools/metal/cross_macho.sh).
#pragma once
#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))
#define signbit(x) __builtin_signbit(x)
#define isfinite(x) __builtin_isfinite(x)
#define isnan(x) __builtin_isnan(x)
double fabs(double);
float frexpf(float, int *);
float ldexpf(float, int);
float fmaf(float, float, float);
float rintf(float);
float fabsf(float);
float fmaxf(float, float);
float fminf(float, float);
float roundf(float);
long lrintf(float);
float sqrtf(float);
float powf(float, float);
