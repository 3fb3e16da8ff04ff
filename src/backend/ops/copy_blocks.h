// copy_blocks: for every pair of the step block, block `target` = block `source` in all parts of the state and all layers
// (copy-on-write of beams). Exact.
#ifndef QN_BACKEND_OPS_COPY_BLOCKS_H
#define QN_BACKEND_OPS_COPY_BLOCKS_H
#include "backend/plan.h"

enum { QN_MAX_PARTS = 8 };

// One part of the state in the arena: [n_layers][n_blocks][block_bytes].
typedef struct {
    char *base;
    int32_t n_layers, n_blocks;
    size_t block_bytes;
} qn_state_span;

typedef struct {
    const qn_step_counts *counts;
    const qn_block_copy *copies;
    int32_t n_parts;
    qn_state_span parts[QN_MAX_PARTS];
} qn_copy_blocks_args;

int qn_copy_blocks_accesses(const void *args, qn_access *out);

static inline void qn_copy_blocks(qn_plan *p, const qn_state_span *parts, int n_parts)
{
    qn_copy_blocks_args a = {p->batch.step.counts, p->batch.step.block_copies, n_parts, {{0}}};
    for (int i = 0; i < n_parts && i < QN_MAX_PARTS; i++)
        a.parts[i] = parts[i];
    qn_plan_add(p, QN_OP_COPY_BLOCKS, &a);
}

#endif
