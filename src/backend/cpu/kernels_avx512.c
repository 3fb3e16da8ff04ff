// The vector kernels, on simd_avx512.h.
#define SIMD_AVX512
#include "backend/cpu/kernels_body.h"
