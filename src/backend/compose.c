// Fused operations as plain ones, for a backend that has no entry for them: one function and one row each.
// The plain records give the same bits as the fused one; tests/unit/test_plan.c holds each row to it.
#include "backend/ops/qk_norm_rope.h"
#include "backend/plan.h"

static void write_qk_norm_rope(qn_plan *p, const void *args)
{
    const qn_qk_norm_rope_args *a = args;
    qn_rms_norm_args norm = {.y = a->rope.x,
                             .x = a->rope.x,
                             .weight = a->weight,
                             .n_groups = a->rope.n_heads,
                             .eps = a->eps,
                             .n_rows = &a->rope.counts->n_rows};
    qn_plan_add(p, QN_OP_RMS_NORM, &norm);
    qn_plan_add(p, QN_OP_ROPE, &a->rope);
}

typedef void (*writer)(qn_plan *p, const void *args);
static const writer writers[QN_OP_COUNT] = {
    [QN_OP_QK_NORM_ROPE] = write_qk_norm_rope,
};

int qn_plan_compose(const qn_plan *in, int (*supports)(void *context, const qn_record *r),
                    void *context, qn_plan *out, quern_error *e)
{
    qn_plan_init(out, in->max_rows, &in->batch);
    int bad = -1;
    for (int i = 0; i < in->n_records && bad < 0; i++) {
        const qn_record *r = &in->records[i];
        int first = out->n_records;
        if (!supports(context, r) && writers[r->op])
            writers[r->op](out, r->args);
        else
            qn_plan_add(out, r->op, r->args);
        for (int j = first; j < out->n_records; j++)
            if (bad < 0 && !supports(context, &out->records[j])) bad = (int)out->records[j].op;
    }
    if (bad < 0 && !in->failed && !out->failed) return 0;
    qn_plan_free(out);
    if (bad < 0) return qn_error_set(e, QUERN_E_MEMORY, "plan: no memory for its records");
    return qn_error_set(e, QUERN_E_UNSUPPORTED,
                        "plan: the backend has no entry for %s of this type and shape",
                        qn_op_get((qn_op)bad)->name);
}
