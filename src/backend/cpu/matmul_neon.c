// matmul for neon: the body on simd_neon.h.
// clang-format off
#include "backend/cpu/simd_neon.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matmul_body.h"
