// all_reduce: x = Σ over ranks of x, in rank order; nothing at one rank. x: F32 [rows, width].
#ifndef QN_BACKEND_OPS_ALL_REDUCE_H
#define QN_BACKEND_OPS_ALL_REDUCE_H
#include "backend/plan.h"

typedef struct {
    qn_tensor x;
    int32_t n_ranks;
    const int32_t *n_rows;
} qn_all_reduce_args;

int qn_all_reduce_accesses(const void *args, qn_access *out);

static inline void qn_all_reduce(qn_plan *p, qn_tensor x, int n_ranks)
{
    qn_all_reduce_args a = {x, n_ranks, &p->batch.step.counts->n_rows};
    qn_plan_add(p, QN_OP_ALL_REDUCE, &a);
}

#endif
