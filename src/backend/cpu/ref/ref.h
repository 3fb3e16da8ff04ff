// Ref: every operation in plain C, exactly in the order of its header (backend/ops/<op>.h): the oracle that kernels are held
// to, and what runs where an instruction set has no kernel of its own. One file an operation.
// qn_ref_<op> is the kernel (cpu/kernel.h); qn_ref_<op>_supports says whether types and shapes are ones that it takes.
#ifndef QN_BACKEND_CPU_REF_REF_H
#define QN_BACKEND_CPU_REF_REF_H
#include "backend/cpu/kernel.h"

#define QN_REF(op)                                                                                 \
    void qn_ref_##op(const void *args, const qn_cpu_task *task);                                   \
    int qn_ref_##op##_supports(const void *args);
QN_REF(step_begin)
QN_REF(copy_blocks)
QN_REF(embed)
QN_REF(rms_norm)
QN_REF(matmul)
QN_REF(rope)
QN_REF(qk_norm_rope)
QN_REF(kv_append)
QN_REF(attention)
QN_REF(swiglu)
QN_REF(gather)
QN_REF(sample)
QN_REF(all_reduce)
QN_REF(all_gather)
#undef QN_REF

#endif
