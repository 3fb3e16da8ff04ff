// A model's part of the device: weights, state arena, slot table, step buffers, and a program for each class of step. Everything
// is sized and entered in the ledger before a weight is read, but for the rooms of a GPU's programs (docs/gpu.md): these when they are
// made. Owner thread, between two steps.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "engine/fit.h"
#include "engine/runtime.h"

static int take(quern_model *m, qn_ledger_kind kind, uint64_t n_bytes, const char *what,
                quern_error *e)
{
    int rc = qn_ledger_take(&m->runtime->ledger, kind, n_bytes, what, e);
    if (!rc) m->ledger_bytes[kind] += n_bytes;
    return rc;
}

static void give(quern_model *m, qn_ledger_kind kind, uint64_t n_bytes)
{
    qn_ledger_give(&m->runtime->ledger, kind, n_bytes);
    m->ledger_bytes[kind] -= n_bytes;
}

// A loader that only maps says nothing.
static void log_repack(const quern_model *m)
{
    const qn_model_repack *r = &m->facts->repack;
    const qn_log *log = &m->runtime->log;
    if (!r->n_matrices) return;
    qn_log_write(log, QUERN_LOG_INFO,
                 "repacked %s: %d %s matrices into %" PRIu64 " bytes of %s in %.2f s", m->name,
                 r->n_matrices, r->scheme, r->n_bytes, qn_format_of(m->facts->dtype)->name,
                 r->seconds);
    if (r->expanded_bytes)
        qn_log_write(log, QUERN_LOG_WARN,
                     "expanded %s: %" PRIu64
                     " bytes of its weights are f16, since their columns are "
                     "in another order than their groups (desc_act)",
                     m->name, r->expanded_bytes);
}

static int describe(quern_model *m, const qn_engine_source *from, quern_error *e)
{
    const qn_executor *x = &m->runtime->executor;
    qn_dtype cache = qn_sizes_cache_dtype(from->options);
    qn_model_options options = {x->backend, x->device, from->options->no_mmap,
                                cache != QN_DTYPE_COUNT, cache};
    int rc = from->shape
                 ? qn_model_describe_shape(from->shape, from->dtype, &options, &m->weights, e)
                 : qn_model_describe(m->path, &options, &m->weights, e);
    if (!rc) m->facts = qn_model_get_facts(m->weights);
    return rc;
}

static void log_need(const quern_model *m, const quern_memory_need *n)
{
    char weights[16], state[16], scratch[16], left[16];
    qn_log_write(
        &m->runtime->log, QUERN_LOG_INFO,
        "loading %s: weights %s, KV cache %s (%d tokens a sequence, %s), scratch %s, of %s left",
        m->name, qn_units_bytes(n->weights_bytes, weights), qn_units_bytes(n->state_bytes, state),
        n->n_context, n->kv_cache, qn_units_bytes(n->scratch_bytes, scratch),
        qn_units_bytes(n->left_bytes, left));
}

static int take_sizes(quern_model *m, const qn_sizes *s, quern_error *e)
{
    int rc = take(m, QN_LEDGER_STATE, qn_sizes_state_bytes(s), "the model's state", e);
    return rc ? rc
              : take(m, QN_LEDGER_SCRATCH, qn_sizes_scratch_bytes(m->weights, s),
                     "the model's scratch", e);
}

// All that the model will take, told and entered, or refused.
static int plan_memory(quern_model *m, const quern_model_options *o, qn_sizes *s, quern_error *e)
{
    qn_ledger *ledger = &m->runtime->ledger;
    qn_fit fit = {m->name, m->weights, o, qn_ledger_left(ledger), ledger->total_bytes};
    int rc = qn_fit_choose(&fit, s, e);
    if (!rc) rc = take(m, QN_LEDGER_WEIGHTS, m->facts->weight_bytes, "the model's weights", e);
    if (!rc) rc = take_sizes(m, s, e);
    if (rc) return rc;
    quern_memory_need need = qn_fit_need(&fit, s);
    if (o->on_memory)
        o->on_memory(o->user, &need);
    else
        log_need(m, &need);
    return QUERN_OK;
}

static int alloc(quern_model *m, uint64_t n_bytes, void **address, quern_error *e)
{
    const qn_executor *x = &m->runtime->executor;
    return x->backend->alloc(x->device, (size_t)n_bytes, address, e);
}

// The state arena; where the size was our own choice and the device has less than the budget says, less will do.
static int alloc_state(quern_model *m, qn_sizes *s, int n_context_asked, quern_error *e)
{
    for (;;) {
        int rc = alloc(m, qn_sizes_state_bytes(s), &m->state, e);
        int fewer = s->n_blocks / 2 > s->least_blocks ? s->n_blocks / 2 : s->least_blocks;
        if (rc != QUERN_E_MEMORY || !s->pool_is_default || fewer >= s->n_blocks) return rc;
        give(m, QN_LEDGER_STATE, m->ledger_bytes[QN_LEDGER_STATE]);
        give(m, QN_LEDGER_SCRATCH, m->ledger_bytes[QN_LEDGER_SCRATCH]);
        qn_sizes_set_blocks(m->weights, s, n_context_asked, fewer);
        rc = take_sizes(m, s, e);
        if (rc) return rc;
    }
}

static int alloc_scratch(quern_model *m, const qn_sizes *s, quern_error *e)
{
    const qn_step_limits *l = &s->limits;
    int rc = alloc(m, qn_step_bytes(l), &m->step_memory, e);
    if (!rc) rc = alloc(m, qn_slot_table_bytes(l), &m->slots_memory, e);
    if (!rc) rc = alloc(m, (size_t)l->max_outputs * sizeof(qn_step_result), &m->results_memory, e);
    if (!rc) rc = alloc(m, qn_model_scratch_bytes(m->weights, l), &m->scratch, e);
    return rc;
}

static void place_parts(const quern_model *m, qn_state_span spans[QN_MAX_PARTS])
{
    char *at = m->state;
    for (int i = 0; i < m->n_parts; i++) {
        const qn_state_part *p = &m->parts[i];
        size_t block_bytes = p->record_bytes * QN_BLOCK_TOKENS;
        spans[i] = (qn_state_span){at, p->n_layers, m->n_blocks_total, block_bytes};
        at += block_bytes * (size_t)p->n_layers * (size_t)m->n_blocks_total;
    }
}

typedef struct {
    const qn_executor *executor;
} support;

static int supports(void *context, const qn_record *r)
{
    const qn_executor *x = ((support *)context)->executor;
    return x->backend->supports(x->device, r);
}

static int compile(quern_model *m, const qn_batch *batch, int n_rows, quern_error *e)
{
    qn_executor *x = &m->runtime->executor;
    qn_state_span spans[QN_MAX_PARTS];
    qn_plan plan, composed;
    place_parts(m, spans);
    qn_plan_init(&plan, n_rows, batch);
    qn_model_record(m->weights, &plan, spans, m->scratch);
    int rc = qn_plan_compose(&plan, supports, &(support){x}, &composed, e);
    if (!rc) {
        rc = x->backend->compile(x->device, &composed, &m->programs[m->n_programs], e);
        if (!rc) m->program_rows[m->n_programs++] = n_rows;
    }
    qn_plan_free(&composed);
    qn_plan_free(&plan);
    return rc;
}

static uint64_t room_bytes(const quern_model *m)
{
    const qn_executor *x = &m->runtime->executor;
    return x->backend->room_bytes ? x->backend->room_bytes(x->device) : 0;
}

// What the programs took beside. Not entered where it is refused; so it is not given back either.
static int take_rooms(quern_model *m, uint64_t n_bytes, quern_error *e)
{
    int rc =
        qn_ledger_take(&m->runtime->ledger, QN_LEDGER_SCRATCH, n_bytes,
                       "room for its programs, beside what was told before (less with a smaller "
                       "--prefill-chunk, or leave it more by --context or --kv-blocks)",
                       e);
    m->has_rooms = !rc;
    if (rc) qn_error_prefix(e, "%.80s", m->name);
    return rc;
}

// Classes of 1, 2, 4 … rows up to the largest step.
static int compile_classes(quern_model *m, quern_error *e)
{
    qn_batch batch = {m->limits, qn_step_at(&m->limits, m->step_memory),
                      qn_slot_table_at(&m->limits, m->slots_memory), m->results_memory};
    int rc = QUERN_OK, most = m->limits.max_rows;
    for (int n = 1; !rc && n < most; n *= 2)
        rc = compile(m, &batch, n, e);
    return rc ? rc : compile(m, &batch, most, e);
}

static int compile_all(quern_model *m, quern_error *e)
{
    uint64_t before = room_bytes(m);
    int rc = compile_classes(m, e);
    return rc ? rc : take_rooms(m, room_bytes(m) - before, e);
}

static int make_flight(quern_model *m, qn_flight *f)
{
    const qn_step_limits *l = &m->limits;
    f->model = m;
    f->block = aligned_alloc(64, qn_step_bytes(l));
    f->results = calloc((size_t)l->max_outputs, sizeof *f->results);
    f->outputs = calloc((size_t)l->max_outputs, sizeof *f->outputs);
    f->members = calloc((size_t)l->max_slots, sizeof *f->members);
    if (!f->block || !f->results || !f->outputs || !f->members) return QUERN_E_MEMORY;
    memset(f->block, 0, qn_step_bytes(l));
    f->step = qn_step_at(l, f->block);
    return QUERN_OK;
}

static int make_tables(quern_model *m, quern_error *e)
{
    size_t n_slots = (size_t)m->limits.max_slots;
    size_t n_blocks = (size_t)(m->n_context + QN_BLOCK_TOKENS - 1) / QN_BLOCK_TOKENS;
    int rc = qn_block_pool_init(&m->pool, m->n_blocks_total, e);
    if (rc) return rc;
    m->slots = calloc(n_slots, sizeof *m->slots);
    m->free_slots = calloc(n_slots, sizeof *m->free_slots);
    m->slot_blocks = calloc(n_slots * n_blocks, sizeof *m->slot_blocks);
    if (!m->slots || !m->free_slots || !m->slot_blocks || make_flight(m, &m->flights[0]) ||
        make_flight(m, &m->flights[1]))
        return qn_error_set(e, QUERN_E_MEMORY, "no memory for the model's tables");
    for (size_t i = 0; i < n_slots; i++) {
        m->slots[i].blocks = m->slot_blocks + i * n_blocks;
        m->free_slots[i] = (int)(n_slots - 1 - i);
    }
    m->n_free_slots = (int)n_slots;
    return QUERN_OK;
}

int qn_engine_open_device(quern_model *m, const qn_engine_source *from, quern_error *e)
{
    qn_sizes sizes;
    int rc = describe(m, from, e);
    if (!rc) rc = plan_memory(m, from->options, &sizes, e);
    if (!rc) rc = qn_model_place(m->weights, e);
    if (!rc) log_repack(m);
    if (!rc) rc = alloc_state(m, &sizes, from->options->n_context, e);
    if (!rc) rc = alloc_scratch(m, &sizes, e);
    if (rc) return rc;
    m->limits = sizes.limits;
    m->n_context = sizes.n_context;
    m->n_blocks_total = sizes.n_blocks;
    m->n_parts = qn_model_state_parts(m->weights, m->parts);
    m->logits = qn_model_logits(m->weights, &m->limits, m->scratch);
    rc = make_tables(m, e);
    return rc ? rc : compile_all(m, e);
}

static void free_flight(qn_flight *f)
{
    free(f->block);
    free(f->results);
    free(f->outputs);
    free(f->members);
}

void qn_engine_free_device(quern_model *m)
{
    const qn_executor *x = &m->runtime->executor;
    void *const memory[] = {m->state, m->slots_memory, m->step_memory, m->results_memory,
                            m->scratch};
    uint64_t rooms = room_bytes(m);
    for (int i = 0; i < m->n_programs; i++)
        x->backend->free_program(x->device, m->programs[i]);
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        x->backend->free(x->device, memory[i]);
    qn_model_free(m->weights);
    // What is shared with other models stays, and goes with the last of them.
    if (m->has_rooms) qn_ledger_give(&m->runtime->ledger, QN_LEDGER_SCRATCH, rooms - room_bytes(m));
    qn_block_pool_free(&m->pool);
    free_flight(&m->flights[0]);
    free_flight(&m->flights[1]);
    free(m->slots);
    free(m->free_slots);
    free(m->slot_blocks);
    for (int i = 0; i < QN_LEDGER_KINDS; i++)
        give(m, (qn_ledger_kind)i, m->ledger_bytes[i]);
}
