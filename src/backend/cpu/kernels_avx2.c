// The vector kernels, on simd_avx2.h.
#define SIMD_AVX2
#include "backend/cpu/kernels_body.h"
