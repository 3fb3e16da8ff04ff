// The operations: one row each, in the order of qn_op, with what each reads and writes.
#include <stddef.h>

#include "backend/ops/all_gather.h"
#include "backend/ops/all_reduce.h"
#include "backend/ops/attention.h"
#include "backend/ops/copy_blocks.h"
#include "backend/ops/embed.h"
#include "backend/ops/gather.h"
#include "backend/ops/kv_append.h"
#include "backend/ops/matmul.h"
#include "backend/ops/qk_norm_rope.h"
#include "backend/ops/rms_norm.h"
#include "backend/ops/rope.h"
#include "backend/ops/sample.h"
#include "backend/ops/step_begin.h"
#include "backend/ops/swiglu.h"

enum { READ = 0, WRITE = 1, BOTH = 2 };

#define ROW(name)                                                                                  \
    {                                                                                              \
#name, sizeof(qn_##name##_args), qn_##name##_accesses                                      \
    }
static const qn_op_info ops[QN_OP_COUNT] = {
    [QN_OP_STEP_BEGIN] = ROW(step_begin),
    [QN_OP_COPY_BLOCKS] = ROW(copy_blocks),
    [QN_OP_EMBED] = ROW(embed),
    [QN_OP_RMS_NORM] = ROW(rms_norm),
    [QN_OP_MATMUL] = ROW(matmul),
    [QN_OP_ROPE] = ROW(rope),
    [QN_OP_QK_NORM_ROPE] = ROW(qk_norm_rope),
    [QN_OP_KV_APPEND] = ROW(kv_append),
    [QN_OP_ATTENTION] = ROW(attention),
    [QN_OP_SWIGLU] = ROW(swiglu),
    [QN_OP_GATHER] = ROW(gather),
    [QN_OP_SAMPLE] = ROW(sample),
    [QN_OP_ALL_REDUCE] = ROW(all_reduce),
    [QN_OP_ALL_GATHER] = ROW(all_gather),
};
#undef ROW

const qn_op_info *qn_op_get(qn_op op)
{
    return (unsigned)op < QN_OP_COUNT ? &ops[op] : NULL;
}

// The step block's arrays have no length of their own: the first byte stands for each. They are written by the host alone,
// between steps, so no record of a plan conflicts there.
static int add_host(qn_access *out, int n, const void *p)
{
    return qn_access_bytes(out, n, p, 1, READ);
}

static int add_tokens(qn_access *out, int n, const qn_slot_table *s, int write)
{
    size_t bytes = (size_t)s->max_slots * (size_t)s->max_context * sizeof(int32_t);
    return qn_access_bytes(out, n, s->tokens, bytes, write);
}

static int add_table(qn_access *out, int n, const qn_slot_table *s, int write)
{
    size_t bytes = (size_t)s->max_slots * (size_t)s->max_blocks * sizeof(int32_t);
    return qn_access_bytes(out, n, s->table, bytes, write);
}

static int add_params(qn_access *out, int n, const qn_slot_table *s, int write)
{
    return qn_access_bytes(out, n, s->params, (size_t)s->max_slots * sizeof(qn_slot_params), write);
}

int qn_step_begin_accesses(const void *args, qn_access *out)
{
    const qn_step_begin_args *a = args;
    int n = add_host(out, 0, a->step.counts);
    n = add_tokens(out, n, &a->slots, BOTH);
    n = add_table(out, n, &a->slots, BOTH);
    return add_params(out, n, &a->slots, WRITE);
}

int qn_copy_blocks_accesses(const void *args, qn_access *out)
{
    const qn_copy_blocks_args *a = args;
    int n = add_host(out, 0, a->counts);
    for (int i = 0; i < a->n_parts; i++) {
        const qn_state_span *s = &a->parts[i];
        size_t bytes = (size_t)s->n_layers * (size_t)s->n_blocks * s->block_bytes;
        n = qn_access_bytes(out, n, s->base, bytes, BOTH);
    }
    return n;
}

int qn_embed_accesses(const void *args, qn_access *out)
{
    const qn_embed_args *a = args;
    int n = qn_access_tensor(out, 0, &a->y, WRITE);
    n = qn_access_tensor(out, n, &a->table, READ);
    n = add_host(out, n, a->counts);
    return add_tokens(out, n, &a->slots, READ);
}

int qn_rms_norm_accesses(const void *args, qn_access *out)
{
    const qn_rms_norm_args *a = args;
    int n = qn_access_tensor(out, 0, &a->y, WRITE);
    n = qn_access_tensor(out, n, &a->x, READ);
    n = qn_access_tensor(out, n, &a->weight, READ);
    return add_host(out, n, a->n_rows);
}

int qn_matmul_accesses(const void *args, qn_access *out)
{
    const qn_matmul_args *a = args;
    int n = qn_access_tensor(out, 0, &a->y, a->accumulate ? BOTH : WRITE);
    n = qn_access_tensor(out, n, &a->x, READ);
    n = qn_access_tensor(out, n, &a->w, READ);
    n = qn_access_tensor(out, n, &a->bias, READ);
    return add_host(out, n, a->n_rows);
}

int qn_rope_accesses(const void *args, qn_access *out)
{
    const qn_rope_args *a = args;
    int n = qn_access_tensor(out, 0, &a->x, BOTH);
    n = qn_access_tensor(out, n, &a->inv_freq, READ);
    return add_host(out, n, a->counts);
}

int qn_qk_norm_rope_accesses(const void *args, qn_access *out)
{
    const qn_qk_norm_rope_args *a = args;
    int n = qn_rope_accesses(&a->rope, out);
    return qn_access_tensor(out, n, &a->weight, READ);
}

int qn_kv_append_accesses(const void *args, qn_access *out)
{
    const qn_kv_append_args *a = args;
    int n = qn_access_tensor(out, 0, &a->k, READ);
    n = qn_access_tensor(out, n, &a->v, READ);
    n = qn_access_tensor(out, n, &a->k_cache, BOTH);
    n = qn_access_tensor(out, n, &a->v_cache, BOTH);
    n = add_host(out, n, a->counts);
    return add_table(out, n, &a->slots, READ);
}

int qn_attention_accesses(const void *args, qn_access *out)
{
    const qn_attention_args *a = args;
    int n = qn_access_tensor(out, 0, &a->y, WRITE);
    n = qn_access_tensor(out, n, &a->q, READ);
    n = qn_access_tensor(out, n, &a->k_cache, READ);
    n = qn_access_tensor(out, n, &a->v_cache, READ);
    n = add_host(out, n, a->counts);
    return add_table(out, n, &a->slots, READ);
}

int qn_swiglu_accesses(const void *args, qn_access *out)
{
    const qn_swiglu_args *a = args;
    int n = qn_access_tensor(out, 0, &a->y, WRITE);
    n = qn_access_tensor(out, n, &a->gate, READ);
    n = qn_access_tensor(out, n, &a->up, READ);
    return add_host(out, n, a->n_rows);
}

int qn_gather_accesses(const void *args, qn_access *out)
{
    const qn_gather_args *a = args;
    int n = qn_access_tensor(out, 0, &a->y, WRITE);
    n = qn_access_tensor(out, n, &a->x, READ);
    return add_host(out, n, a->counts);
}

int qn_sample_accesses(const void *args, qn_access *out)
{
    const qn_sample_args *a = args;
    size_t n_outputs = (size_t)a->logits.dim[0];
    int n = qn_access_tensor(out, 0, &a->logits, READ);
    n = qn_access_tensor(out, n, &a->scratch, BOTH);
    n = qn_access_bytes(out, n, a->results, n_outputs * sizeof *a->results, WRITE);
    n = add_host(out, n, a->counts);
    n = add_tokens(out, n, &a->slots, BOTH);
    return add_params(out, n, &a->slots, READ);
}

int qn_all_reduce_accesses(const void *args, qn_access *out)
{
    const qn_all_reduce_args *a = args;
    return add_host(out, qn_access_tensor(out, 0, &a->x, BOTH), a->n_rows);
}

int qn_all_gather_accesses(const void *args, qn_access *out)
{
    const qn_all_gather_args *a = args;
    int n = qn_access_tensor(out, 0, &a->y, WRITE);
    n = qn_access_tensor(out, n, &a->x, READ);
    return add_host(out, n, a->n_rows);
}
