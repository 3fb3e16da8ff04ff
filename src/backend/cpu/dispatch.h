// Dispatch: which kernels run on this processor. An instruction set is one row in dispatch.c: a table of kernels, empty where
// the plain C of ref/ serves.
#ifndef QN_BACKEND_CPU_DISPATCH_H
#define QN_BACKEND_CPU_DISPATCH_H
#include "backend/cpu/kernel.h"

typedef struct {
    const char *name; // "avx512", "avx2", "neon", "portable"
    qn_cpu_kernel kernels[QN_OP_COUNT];
} qn_cpu_isa;

// The instruction sets of this build that this processor has, best first; NULL past the end. The last is always "portable".
const qn_cpu_isa *qn_dispatch_isa(int i);
// The named one, or the best for NULL; NULL where this machine or build has none of that name.
const qn_cpu_isa *qn_dispatch_isa_by_name(const char *name);

int qn_dispatch_supports(const qn_record *r);
// The kernel for an operation: the instruction set's own or else ref's.
qn_cpu_kernel qn_dispatch_kernel(const qn_cpu_isa *isa, qn_op op);

#endif
