// Kernels: the tables of the instruction sets, one file each (kernels_<isa>.c), compiled for it. Which run: dispatch.c.
#ifndef QN_BACKEND_CPU_KERNELS_H
#define QN_BACKEND_CPU_KERNELS_H
#include "backend/cpu/dispatch.h"

extern const qn_cpu_isa qn_kernels_avx512;
extern const qn_cpu_isa qn_kernels_avx2;
extern const qn_cpu_isa qn_kernels_neon;

#endif
