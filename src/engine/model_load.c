// Loading and closing a model: its text files on the caller's thread; what touches the device (model_device.c) on the owner's,
// between two steps.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/runtime.h"
#include "engine/sizes.h"
#include "engine/text_load.h"

typedef struct {
    quern_model *model;
    qn_engine_source from;
    quern_error *error;
    int rc;
} load;

/* ---- on the owner thread ---- */

static void load_on_owner(void *argument)
{
    load *l = argument;
    quern_model *m = l->model;
    l->rc = m->runtime->executor.dead
                ? qn_error_set(l->error, QUERN_E_DEVICE, "the device has failed")
                : qn_engine_open_device(m, &l->from, l->error);
    if (l->rc) {
        qn_engine_free_device(m);
        return;
    }
    qn_stats_init(&m->stats);
    m->stats.blocks_free = m->n_blocks_total;
    quern_model **end = &m->runtime->executor.models;
    while (*end)
        end = &(*end)->next;
    *end = m;
}

static void unload_on_owner(void *argument)
{
    quern_model *m = argument, **link = &m->runtime->executor.models;
    while (*link != m)
        link = &(*link)->next;
    *link = m->next;
    qn_engine_free_device(m);
}

/* ---- on the caller's thread ---- */

static void model_free(quern_model *m)
{
    qn_tokenizer_free(m->tokenizer);
    qn_chat_template_free(m->chat_template);
    free(m->name);
    free(m->path);
    free(m);
}

// A model may come without a tokenizer: then it serves token ids only.
static int load_text(quern_model *m, int n_vocab, quern_error *e)
{
    quern_error none = {0};
    int rc = qn_engine_load_tokenizer(m->path, &m->tokenizer, &none);
    if (rc == QUERN_E_NOT_FOUND) return QUERN_OK;
    if (!rc) rc = qn_engine_check_tokenizer(m->tokenizer, m->path, n_vocab, &none);
    if (!rc) rc = qn_engine_load_template(m->path, &m->chat_template, &none);
    if (rc && rc != QUERN_E_NOT_FOUND && e) *e = none;
    return rc == QUERN_E_NOT_FOUND ? QUERN_OK : rc;
}

// The caller's options, or none; where they leave the chunk open, the device's wish.
static quern_model_options complete(const quern_runtime *rt, const quern_model_options *options)
{
    quern_model_options o = options ? *options : (quern_model_options){0};
    if (!o.prefill_chunk) o.prefill_chunk = rt->info.prefill_rows;
    if (!o.prefill_chunk) o.prefill_chunk = QN_DEFAULT_CHUNK;
    return o;
}

static int model_new(quern_runtime *rt, const char *name, const char *path,
                     const quern_model_options *o, quern_model **out, quern_error *e)
{
    quern_model *m = calloc(1, sizeof *m);
    if (!m) return qn_error_set(e, QUERN_E_MEMORY, "no memory for the model");
    m->runtime = rt;
    m->name = strdup(name);
    m->path = strdup(path);
    m->prefill_chunk = m->chunk_most = o->prefill_chunk;
    m->max_batch = o->max_batch ? o->max_batch : QN_DEFAULT_BATCH;
    m->max_queue = o->max_queue ? o->max_queue : QN_DEFAULT_QUEUE;
    if (!m->name || !m->path) {
        model_free(m);
        return qn_error_set(e, QUERN_E_MEMORY, "no memory for the model");
    }
    *out = m;
    return QUERN_OK;
}

static void log_loaded(const quern_model *m)
{
    qn_log_write(&m->runtime->log, QUERN_LOG_INFO,
                 "loaded %s: %s, %" PRIu64 " parameters in %s, %" PRIu64 " bytes of weights, "
                 "%d blocks of %d tokens (%" PRIu64 " bytes), context %d, batch %d",
                 m->name, m->facts->architecture, m->facts->n_parameters,
                 qn_format_of(m->facts->dtype)->name, m->facts->weight_bytes, m->n_blocks_total,
                 QN_BLOCK_TOKENS, m->ledger_bytes[QN_LEDGER_STATE], m->n_context, m->max_batch);
}

static int run_load(load *l, quern_model **out)
{
    qn_executor_call(&l->model->runtime->executor, load_on_owner, l);
    if (l->rc) {
        model_free(l->model);
        return l->rc;
    }
    log_loaded(l->model);
    *out = l->model;
    return QUERN_OK;
}

int quern_model_load(quern_runtime *rt, const char *name, const char *path,
                     const quern_model_options *options, quern_model **out, quern_error *e)
{
    const quern_model_options completed = complete(rt, options);
    load l = {.from = {.options = &completed}, .error = e};
    qn_model_facts facts;
    int rc = qn_sizes_check(l.from.options, e);
    if (!rc) rc = qn_model_read_facts(path, &facts, e); // the plainest faults first
    if (!rc) rc = model_new(rt, name, path, l.from.options, &l.model, e);
    if (rc) return rc;
    rc = load_text(l.model, facts.n_vocab, e);
    if (rc) {
        model_free(l.model);
        return rc;
    }
    return run_load(&l, out);
}

int quern_model_load_shape(quern_runtime *rt, const char *shape, const char *dtype,
                           const quern_model_options *options, quern_model **out, quern_error *e)
{
    const quern_model_options completed = complete(rt, options);
    load l = {.from = {shape, qn_dtype_by_name(dtype), &completed}, .error = e};
    if (l.from.dtype == QN_DTYPE_COUNT)
        return qn_error_set(e, QUERN_E_ARGUMENT, "dtype: \"%s\" is unknown", dtype);
    int rc = qn_sizes_check(l.from.options, e);
    if (!rc) rc = model_new(rt, shape, "", l.from.options, &l.model, e);
    return rc ? rc : run_load(&l, out);
}

void quern_model_drain(quern_model *m)
{
    atomic_store(&m->draining, true);
}

void quern_model_close(quern_model *m)
{
    if (!m) return;
    quern_runtime *rt = m->runtime;
    quern_model_drain(m);
    atomic_store(&m->closing, true);
    qn_executor_wake(&rt->executor);
    pthread_mutex_lock(&rt->gone_mutex);
    while (m->n_active)
        pthread_cond_wait(&rt->gone, &rt->gone_mutex);
    pthread_mutex_unlock(&rt->gone_mutex);
    qn_executor_call(&rt->executor, unload_on_owner, m);
    model_free(m);
}
