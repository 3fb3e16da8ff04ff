// The vector kernels, on simd_neon.h.
#define SIMD_NEON
#include "backend/cpu/kernels_body.h"
