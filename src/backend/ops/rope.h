// rope: rotary position embedding (Su et al. 2021; HF apply_rotary_pos_emb, halves rotated), in place, for each head of a row:
//   a = position · inv_freq[i] (float32 product), c = scale·cos a, s = scale·sin a
//   (x[i], x[i + D/2]) = (x[i]·c − x[i + D/2]·s,  x[i + D/2]·c + x[i]·s),  i < D/2
// x: F32 [rows, n_heads · D]; inv_freq: F32 [D/2]; scale: yarn's attention factor, else 1.
// cos and sin are correctly rounded to within 1 ulp of float32. Products and sums rounded one by one (no fused multiply-add).
#ifndef QN_BACKEND_OPS_ROPE_H
#define QN_BACKEND_OPS_ROPE_H
#include "backend/plan.h"

typedef struct {
    qn_tensor x, inv_freq;
    int32_t n_heads, head_dim;
    float scale;
    const qn_step_counts *counts;
    const qn_row *rows;
} qn_rope_args;

int qn_rope_accesses(const void *args, qn_access *out);

static inline void qn_rope(qn_plan *p, qn_tensor x, qn_tensor inv_freq, int n_heads, int head_dim,
                           float scale)
{
    qn_rope_args a = {
        x, inv_freq, n_heads, head_dim, scale, p->batch.step.counts, p->batch.step.rows};
    qn_plan_add(p, QN_OP_ROPE, &a);
}

#endif
