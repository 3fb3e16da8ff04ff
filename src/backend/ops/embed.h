// embed: y[r, :] = table[tokens[slot(r)][position(r)], :], as float32. A token outside the table gives zeros.
// y: F32 [max_rows, width]; table: [n_vocab, width], any weight format. Exact.
#ifndef QN_BACKEND_OPS_EMBED_H
#define QN_BACKEND_OPS_EMBED_H
#include "backend/plan.h"

typedef struct {
    qn_tensor y, table;
    const qn_step_counts *counts;
    const qn_row *rows;
    qn_slot_table slots;
} qn_embed_args;

int qn_embed_accesses(const void *args, qn_access *out);

static inline void qn_embed(qn_plan *p, qn_tensor y, qn_tensor table)
{
    qn_embed_args a = {y, table, p->batch.step.counts, p->batch.step.rows, p->batch.slots};
    qn_plan_add(p, QN_OP_EMBED, &a);
}

#endif
