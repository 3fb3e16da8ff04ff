// swiglu: y = silu(gate) · up, silu(x) = x / (1 + exp(−x))  (Shazeer 2020). gate, up, y: F32 [rows, width]; y may be gate.
// Element by element: no order of summation. exp is within 2 ulp of float32.
#ifndef QN_BACKEND_OPS_SWIGLU_H
#define QN_BACKEND_OPS_SWIGLU_H
#include "backend/plan.h"

typedef struct {
    qn_tensor y, gate, up;
    const int32_t *n_rows;
} qn_swiglu_args;

int qn_swiglu_accesses(const void *args, qn_access *out);

static inline void qn_swiglu(qn_plan *p, qn_tensor y, qn_tensor gate, qn_tensor up)
{
    qn_swiglu_args a = {y, gate, up, &p->batch.step.counts->n_rows};
    qn_plan_add(p, QN_OP_SWIGLU, &a);
}

#endif
