// Simd: picks the instruction set that a kernels_<isa>.c has named (SIMD_AVX512, SIMD_AVX2, SIMD_NEON). Without one there are no
// lanes, and the bodies built on them are empty.
#ifndef QN_BACKEND_CPU_SIMD_H
#define QN_BACKEND_CPU_SIMD_H
#if defined(SIMD_AVX512)
#include "backend/cpu/simd_avx512.h"
#elif defined(SIMD_AVX2)
#include "backend/cpu/simd_avx2.h"
#elif defined(SIMD_NEON)
#include "backend/cpu/simd_neon.h"
#endif
#endif
