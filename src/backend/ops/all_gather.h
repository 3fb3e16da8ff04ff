// all_gather: y[r] = the ranks' x[r] side by side, in rank order; at one rank x and y are the same tensor and nothing is done.
// x: F32 [max_outputs, width / n_ranks]; y: F32 [max_outputs, width] (the logits of a vocabulary cut by rows).
#ifndef QN_BACKEND_OPS_ALL_GATHER_H
#define QN_BACKEND_OPS_ALL_GATHER_H
#include "backend/plan.h"

typedef struct {
    qn_tensor y, x;
    int32_t n_ranks;
    const int32_t *n_rows;
} qn_all_gather_args;

int qn_all_gather_accesses(const void *args, qn_access *out);

static inline void qn_all_gather(qn_plan *p, qn_tensor y, qn_tensor x, int n_ranks)
{
    qn_all_gather_args a = {y, x, n_ranks, &p->batch.step.counts->n_outputs};
    qn_plan_add(p, QN_OP_ALL_GATHER, &a);
}

#endif
