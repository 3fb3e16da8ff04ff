// matmul for avx2: the body on simd_avx2.h.
// clang-format off
#include "backend/cpu/simd_avx2.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matmul_body.h"
