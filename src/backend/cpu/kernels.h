// Kernels: those that an instruction set has of its own. <op>_<isa>.c brings simd_<isa>.h and <op>_body.h together.
#ifndef QN_BACKEND_CPU_KERNELS_H
#define QN_BACKEND_CPU_KERNELS_H
#include "backend/cpu/kernel.h"

#define QN_KERNELS(isa) void qn_matmul_##isa(const void *args, const qn_cpu_task *task);
QN_KERNELS(avx512)
QN_KERNELS(avx2)
QN_KERNELS(neon)
#undef QN_KERNELS

#endif
