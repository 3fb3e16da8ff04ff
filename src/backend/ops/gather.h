// gather: y[i, :] = x[outputs[i].row, :]: the rows whose logits are wanted. x: F32 [max_rows, width]; y: F32 [max_outputs, width]. Exact.
#ifndef QN_BACKEND_OPS_GATHER_H
#define QN_BACKEND_OPS_GATHER_H
#include "backend/plan.h"

typedef struct {
    qn_tensor y, x;
    const qn_step_counts *counts;
    const qn_output *outputs;
} qn_gather_args;

int qn_gather_accesses(const void *args, qn_access *out);

static inline void qn_gather(qn_plan *p, qn_tensor y, qn_tensor x)
{
    qn_gather_args a = {y, x, p->batch.step.counts, p->batch.step.outputs};
    qn_plan_add(p, QN_OP_GATHER, &a);
}

#endif
