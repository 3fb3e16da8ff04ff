// qk_norm_rope: Qwen3's per-head RMSNorm of queries or keys and then RoPE, in place. Fused; compose.c writes it as
// rms_norm (n_groups = heads) and rope where a backend has no entry. Orders: theirs.
#ifndef QN_BACKEND_OPS_QK_NORM_ROPE_H
#define QN_BACKEND_OPS_QK_NORM_ROPE_H
#include "backend/ops/rms_norm.h"
#include "backend/ops/rope.h"

typedef struct {
    qn_rope_args rope; // rope.x is what is worked on
    qn_tensor weight;  // [head_dim]
    float eps;
} qn_qk_norm_rope_args;

int qn_qk_norm_rope_accesses(const void *args, qn_access *out);

static inline void qn_qk_norm_rope(qn_plan *p, qn_rope_args rope, qn_tensor weight, float eps)
{
    rope.counts = p->batch.step.counts;
    rope.rows = p->batch.step.rows;
    qn_qk_norm_rope_args a = {rope, weight, eps};
    qn_plan_add(p, QN_OP_QK_NORM_ROPE, &a);
}

#endif
