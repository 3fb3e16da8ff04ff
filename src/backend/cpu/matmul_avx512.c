// matmul for avx512: the body on simd_avx512.h.
// clang-format off
#include "backend/cpu/simd_avx512.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matmul_body.h"
