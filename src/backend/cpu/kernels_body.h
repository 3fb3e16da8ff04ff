// All vector kernels of an instruction set, and their table: all that a kernels_<isa>.c consists of. A new kernel is a body file,
// one line where the others are included, and one row.
#ifndef QN_BACKEND_CPU_KERNELS_BODY_H
#define QN_BACKEND_CPU_KERNELS_BODY_H
#include "backend/cpu/attention_body.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matmul_body.h"
#include "backend/cpu/norm_body.h"
#include "backend/cpu/sample_body.h"
#include "backend/cpu/swiglu_body.h"
#ifdef SIMD_ISA

const qn_cpu_isa SIMD_NAME(qn_kernels) = {
    .name = SIMD_ISA,
    .kernels =
        {
            [QN_OP_ATTENTION] = attention,
            [QN_OP_MATMUL] = matmul,
            [QN_OP_RMS_NORM] = rms_norm,
            [QN_OP_ROPE] = rope,
            [QN_OP_QK_NORM_ROPE] = qk_norm_rope,
            [QN_OP_SAMPLE] = sample,
            [QN_OP_SWIGLU] = swiglu,
        },
};

#endif
#endif
