// attention: grouped-query attention (Ainslie et al. 2023) of each row over the cached positions of its sequence, causal:
//   y[r, h] = Σ_p softmax_p(scale · q[r, h] · k[p, h / (n_heads/n_kv_heads)]) · v[p, …],  first ≤ p ≤ position(r)
//   first = max(0, position(r) − window + 1), or 0 where window = 0.
// q, y: F32 [rows, n_heads · D]; caches: [n_blocks, n_kv_heads, 16, D], of types as in kv_append.h. The row's own key is already appended.
// Order: blocks of 16 positions ascending, aligned to multiples of 16 of the absolute position (so that chunking, batch and
// threads do not matter), each with the online softmax of flash attention: m' = max(m, block's max), accumulators and sum
// times exp(m − m'), then the block's positions ascending (accumulators by fused multiply-add); at the end accumulator / sum.
// A dot product q·k is summed in 16 lanes as in matmul.h, then multiplied by scale. Positions out of sight are not looked at.
#ifndef QN_BACKEND_OPS_ATTENTION_H
#define QN_BACKEND_OPS_ATTENTION_H
#include "backend/plan.h"

typedef struct {
    qn_tensor y, q, k_cache, v_cache;
    int32_t n_heads, n_kv_heads, head_dim, window;
    float scale;
    const qn_step_counts *counts;
    const qn_row *rows;
    qn_slot_table slots;
} qn_attention_args;

int qn_attention_accesses(const void *args, qn_access *out);

// `shape` brings n_heads, n_kv_heads, head_dim, window and scale.
static inline void qn_attention(qn_plan *p, qn_tensor y, qn_tensor q, qn_tensor k_cache,
                                qn_tensor v_cache, qn_attention_args shape)
{
    shape.y = y;
    shape.q = q;
    shape.k_cache = k_cache;
    shape.v_cache = v_cache;
    shape.counts = p->batch.step.counts;
    shape.rows = p->batch.step.rows;
    shape.slots = p->batch.slots;
    qn_plan_add(p, QN_OP_ATTENTION, &shape);
}

#endif
