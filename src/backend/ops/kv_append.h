// kv_append: writes each row's key and value into its place of the paged cache: block table[slot][position / 16], entry
// position mod 16, converted to the cache's type (round to nearest even; Q8_0 as tensor/quant/q8_0.c: blocks of 32 along a head).
// k, v: F32 [rows, n_kv_heads · D]; k_cache, v_cache: [n_blocks, n_kv_heads, 16, D], F32/F16/BF16, or Q8_0.
#ifndef QN_BACKEND_OPS_KV_APPEND_H
#define QN_BACKEND_OPS_KV_APPEND_H
#include "backend/plan.h"

typedef struct {
    qn_tensor k, v, k_cache, v_cache;
    const qn_step_counts *counts;
    const qn_row *rows;
    qn_slot_table slots;
} qn_kv_append_args;

int qn_kv_append_accesses(const void *args, qn_access *out);

static inline void qn_kv_append(qn_plan *p, qn_tensor k, qn_tensor v, qn_tensor k_cache,
                                qn_tensor v_cache)
{
    qn_kv_append_args a = {
        k, v, k_cache, v_cache, p->batch.step.counts, p->batch.step.rows, p->batch.slots};
    qn_plan_add(p, QN_OP_KV_APPEND, &a);
}

#endif
