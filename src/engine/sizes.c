// See sizes.h.
#include "engine/sizes.h"

#include <stdio.h>

#include "base/checked.h"

enum {
    MAX_BLOCKS = 1 << 26,
    MAX_QUEUE = 1 << 20,
    TOKENS_A_SEQUENCE = 1024, // what the default pool holds for each of max_batch sequences
    STATE_SHARE =
        4, // … unless that is more than this part of the memory left, but for one sequence at least
};

static int refuse(quern_error *e, const char *name, int value, int most)
{
    if (e) snprintf(e->param, sizeof e->param, "%s", name);
    return qn_error_set(e, QUERN_E_ARGUMENT, "%s: must be 0 (default) to %d, found %d", name, most,
                        value);
}

int qn_sizes_check(const quern_model_options *o, quern_error *e)
{
    const struct {
        const char *name;
        int value, most;
    } rows[] = {{"prefill_chunk", o->prefill_chunk, QN_MAX_CHUNK},
                {"n_kv_blocks", o->n_kv_blocks, MAX_BLOCKS},
                {"max_batch", o->max_batch, QN_MAX_BATCH},
                {"max_queue", o->max_queue, MAX_QUEUE},
                {"n_context", o->n_context, INT32_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].value < 0 || rows[i].value > rows[i].most)
            return refuse(e, rows[i].name, rows[i].value, rows[i].most);
    if (!o->kv_cache || qn_sizes_cache_dtype(o) != QN_DTYPE_COUNT) return QUERN_OK;
    if (e) snprintf(e->param, sizeof e->param, "kv_cache");
    return qn_error_set(e, QUERN_E_ARGUMENT,
                        "kv_cache: expected f16, bf16, q8_0 or f32, found \"%s\"", o->kv_cache);
}

qn_dtype qn_sizes_cache_dtype(const quern_model_options *o)
{
    qn_dtype dtype = o->kv_cache ? qn_dtype_by_name(o->kv_cache) : QN_DTYPE_COUNT;
    return dtype != QN_DTYPE_COUNT && qn_kv_cache_supports(dtype, 0) ? dtype : QN_DTYPE_COUNT;
}

uint64_t qn_sizes_block_bytes(const qn_model *weights, qn_dtype cache)
{
    qn_state_part parts[QN_MAX_PARTS];
    int n = qn_model_state_parts_as(weights, cache, parts);
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += (uint64_t)parts[i].n_layers * parts[i].record_bytes * QN_BLOCK_TOKENS;
    return bytes;
}

void qn_sizes_set_blocks(const qn_model *weights, qn_sizes *s, int n_context_asked, int n_blocks)
{
    int64_t n_context = n_context_asked ? n_context_asked : qn_model_get_facts(weights)->n_context;
    if (n_context > (int64_t)n_blocks * QN_BLOCK_TOKENS)
        n_context = (int64_t)n_blocks * QN_BLOCK_TOKENS;
    s->n_blocks = n_blocks;
    s->n_context = (int)n_context;
    s->limits.max_context = (int)n_context;
}

uint64_t qn_sizes_state_bytes(const qn_sizes *s)
{
    return s->block_bytes * (uint64_t)s->n_blocks;
}

uint64_t qn_sizes_scratch_bytes(const qn_model *weights, const qn_sizes *s)
{
    const qn_step_limits *l = &s->limits;
    return (uint64_t)qn_step_bytes(l) + qn_slot_table_bytes(l) +
           (uint64_t)l->max_outputs * sizeof(qn_step_result) + qn_model_scratch_bytes(weights, l);
}

static uint64_t blocks_of(uint64_t n_tokens)
{
    uint64_t n = (n_tokens + QN_BLOCK_TOKENS - 1) / QN_BLOCK_TOKENS;
    return n > MAX_BLOCKS ? MAX_BLOCKS : n ? n : 1;
}

// A whole context at least, a fair length for each of the batch if memory has it: a quarter of what is left at most.
static int default_blocks(const qn_sizes *s, int n_context, uint64_t left_bytes)
{
    uint64_t usual = n_context < TOKENS_A_SEQUENCE ? (uint64_t)n_context : TOKENS_A_SEQUENCE;
    uint64_t n_tokens = usual * (uint64_t)s->limits.max_slots;
    if (n_tokens < (uint64_t)n_context) n_tokens = (uint64_t)n_context;
    uint64_t n = blocks_of(n_tokens);
    uint64_t most = left_bytes / STATE_SHARE / (s->block_bytes ? s->block_bytes : 1);
    if (n > most) n = most;
    return n > (uint64_t)s->least_blocks ? (int)n : s->least_blocks;
}

int qn_sizes_choose(const qn_model *weights, const quern_model_options *o, uint64_t left_bytes,
                    qn_sizes *out, quern_error *e)
{
    const qn_model_facts *facts = qn_model_get_facts(weights);
    if (o->n_context > facts->n_context) {
        if (e) snprintf(e->param, sizeof e->param, "n_context");
        return qn_error_set(e, QUERN_E_ARGUMENT, "n_context: the model has %d, asked for %d",
                            facts->n_context, o->n_context);
    }
    int max_batch = o->max_batch ? o->max_batch : QN_DEFAULT_BATCH;
    int chunk = o->prefill_chunk ? o->prefill_chunk : QN_DEFAULT_CHUNK;
    int n_context = o->n_context ? o->n_context : facts->n_context;
    *out = (qn_sizes){
        .block_bytes = qn_sizes_block_bytes(weights, qn_model_cache_dtype(weights)),
        .pool_is_default = o->n_kv_blocks == 0,
        .least_blocks = (int)blocks_of((uint64_t)(o->n_context || n_context < TOKENS_A_SEQUENCE
                                                      ? n_context
                                                      : TOKENS_A_SEQUENCE)),
        .limits = {.max_rows = chunk + max_batch,
                   .max_outputs = max_batch > QN_MIN_OUTPUTS ? max_batch : QN_MIN_OUTPUTS,
                   .max_slots = max_batch,
                   .max_edits = chunk + 2 * max_batch,
                   .max_context = n_context}};
    uint64_t scratch = qn_sizes_scratch_bytes(weights, out);
    left_bytes = left_bytes > scratch ? left_bytes - scratch : 0;
    int n_blocks = o->n_kv_blocks ? o->n_kv_blocks : default_blocks(out, n_context, left_bytes);
    qn_sizes_set_blocks(weights, out, o->n_context, n_blocks);
    return QUERN_OK;
}
