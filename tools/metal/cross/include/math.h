// What the Metal backend uses of it (tools/metal/cross_macho.sh).
#pragma once
#define INFINITY (__builtin_inff())
#define isfinite(x) __builtin_isfinite(x)
#define isnan(x) __builtin_isnan(x)
double fabs(double);
float sqrtf(float);
float powf(float, float);
