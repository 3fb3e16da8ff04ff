// step_begin: applies the step block's edits to the slot table, in this order: slot copies, parameters, token edits, block edits.
// First record of every plan. Exact (no arithmetic).
#ifndef QN_BACKEND_OPS_STEP_BEGIN_H
#define QN_BACKEND_OPS_STEP_BEGIN_H
#include "backend/plan.h"

typedef struct {
    qn_step_limits limits;
    qn_step_view step;
    qn_slot_table slots;
} qn_step_begin_args;

int qn_step_begin_accesses(const void *args, qn_access *out);

static inline void qn_step_begin(qn_plan *p)
{
    qn_step_begin_args a = {p->batch.limits, p->batch.step, p->batch.slots};
    qn_plan_add(p, QN_OP_STEP_BEGIN, &a);
}

#endif
