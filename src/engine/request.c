// Requests from the caller's side: acceptance, cancel, the handle, and the end of their memory. Any thread.
#include "engine/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/runtime.h"

void qn_request_release(quern_request *r)
{
    if (atomic_fetch_sub(&r->references, 1) > 1) return;
    pthread_mutex_destroy(&r->lock);
    free(r);
}

// All but the handle: what a caller may still hold after the end is small.
static void free_contents(quern_request *r)
{
    qn_text_stream_free(&r->stream);
    qn_beam_free(&r->search);
    qn_ids_free(&r->prompt);
    qn_arena_free(&r->arena);
}

void qn_request_retire(quern_request *r)
{
    quern_model *m = r->model;
    quern_runtime *rt = m->runtime;
    pthread_mutex_lock(&r->lock);
    r->model = NULL;
    pthread_mutex_unlock(&r->lock);
    free_contents(r);
    qn_request_release(r);
    pthread_mutex_lock(&rt->gone_mutex);
    if (--m->n_active == 0) pthread_cond_broadcast(&rt->gone);
    pthread_mutex_unlock(&rt->gone_mutex);
}

void quern_request_cancel(quern_request *r)
{
    atomic_store(&r->cancelled, true);
    pthread_mutex_lock(&r->lock);
    if (r->model) {
        qn_text_post(&r->model->runtime->text, r);
        qn_executor_wake(&r->model->runtime->executor);
    }
    pthread_mutex_unlock(&r->lock);
}

void quern_request_free(quern_request *r)
{
    if (r) qn_request_release(r);
}

/* ---- acceptance ---- */

static int no_memory(quern_error *e)
{
    return qn_error_set(e, QUERN_E_MEMORY, "no memory for the request");
}

static int copy_ids(quern_request *r, const int32_t *ids, size_t n, quern_error *e)
{
    r->prompt.data = malloc(n * sizeof *ids);
    if (!r->prompt.data) return no_memory(e);
    for (size_t i = 0; i < n; i++)
        r->prompt.data[i] = ids[i];
    r->prompt.n = r->prompt.capacity = n;
    return QUERN_OK;
}

static int copy_text(quern_request *r, const char *text, size_t n, quern_error *e)
{
    r->text = qn_arena_text(&r->arena, text, n);
    r->n_text_bytes = n;
    return r->text ? QUERN_OK : no_memory(e);
}

static int copy_prompt(quern_request *r, const quern_params *p, quern_error *e)
{
    r->kind = p->ids ? QN_REQUEST_IDS : p->prompt ? QN_REQUEST_PROMPT : QN_REQUEST_CHAT;
    if (p->ids) return copy_ids(r, p->ids, p->n_ids, e);
    if (p->prompt) return copy_text(r, p->prompt, p->n_prompt_bytes, e);
    return copy_text(r, p->chat_json, p->n_chat_bytes, e);
}

static int copy_stops(quern_request *r, const quern_params *p, quern_error *e)
{
    if (!p->n_stop) return QUERN_OK;
    r->stops = qn_arena_take_array(&r->arena, p->n_stop, sizeof *r->stops);
    for (size_t i = 0; r->stops && i < p->n_stop; i++) {
        r->stops[i] = qn_arena_text(&r->arena, p->stop[i], strlen(p->stop[i]));
        if (!r->stops[i]) return no_memory(e);
    }
    r->n_stops = p->n_stop;
    return r->stops ? QUERN_OK : no_memory(e);
}

static int make_stream(quern_request *r, const quern_model *m, quern_error *e)
{
    qn_stop *stop = NULL;
    if (r->n_stops && m->tokenizer) {
        stop = qn_stop_new((const char *const *)r->stops, r->n_stops);
        if (!stop) return no_memory(e);
    }
    qn_text_stream_init(&r->stream, m->tokenizer, stop, r->resolved.slot.min_tokens);
    return QUERN_OK;
}

static quern_request *request_new(quern_model *m, quern_event_fn on_event, void *user)
{
    quern_request *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    pthread_mutex_init(&r->lock, NULL);
    r->model = m;
    r->references = 2;
    r->on_event = on_event;
    r->user = user;
    r->submitted_ms = qn_clock_ms();
    r->resolved.n_beams = 1;
    return r;
}

static void discard(quern_request *r)
{
    free_contents(r);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static int refuse(quern_error *e, int code, const char *param, const char *message)
{
    if (e) snprintf(e->param, sizeof e->param, "%s", param);
    return qn_error_set(e, code, "%s%s%s", param, *param ? ": " : "", message);
}

static int check_state(const quern_model *m, quern_error *e)
{
    if (m->runtime->executor.dead) return refuse(e, QUERN_E_DEVICE, "", "the device has failed");
    if (m->draining) return refuse(e, QUERN_E_CLOSING, "", "the model is being closed");
    return QUERN_OK;
}

static int busy(int n_waiting, quern_error *e)
{
    return qn_error_set(e, QUERN_E_BUSY, "the queue is full: %d requests wait", n_waiting);
}

// A place among those that wait, taken before any text is looked at.
static int take_place(quern_model *m, quern_error *e)
{
    int n = m->stats.waiting;
    do {
        if (n >= m->max_queue) return busy(n, e);
    } while (!atomic_compare_exchange_weak(&m->stats.waiting, &n, n + 1));
    return QUERN_OK;
}

static int accept(quern_model *m, quern_request *r, quern_request **out, quern_error *e)
{
    int rc = take_place(m, e);
    if (rc) return rc;
    pthread_mutex_lock(&m->runtime->gone_mutex);
    m->n_active++;
    pthread_mutex_unlock(&m->runtime->gone_mutex);
    atomic_fetch_add(&m->stats.requests, 1);
    *out = r; // before the first event, whose receiver may look at it
    qn_text_prepare(&m->runtime->text, r);
    return QUERN_OK;
}

static int check_fit(const quern_model *m, const quern_params *p, const qn_resolved *d,
                     quern_error *e)
{
    if (p->prompt && !m->tokenizer)
        return refuse(e, QUERN_E_UNSUPPORTED, "prompt", "the model has no tokenizer");
    if (p->chat_json && (!m->tokenizer || !m->chat_template))
        return refuse(e, QUERN_E_UNSUPPORTED, "messages", "the model has no chat template");
    if (d->n_beams > m->limits.max_slots)
        return refuse(e, QUERN_E_ARGUMENT, "num_beams", "more than the model's max_batch");
    return QUERN_OK;
}

int quern_submit(quern_model *m, const quern_params *params, quern_event_fn on_event, void *user,
                 quern_request **out, quern_error *e)
{
    qn_resolved resolved;
    *out = NULL;
    int rc = check_state(m, e);
    if (!rc) rc = qn_params_check(params, e);
    if (!rc) rc = qn_params_resolve(params, &m->facts->generation, &resolved, e);
    if (!rc) rc = check_fit(m, params, &resolved, e);
    if (rc) return rc;
    if (m->stats.waiting >= m->max_queue) return busy(m->stats.waiting, e); // before any copy
    quern_request *r = request_new(m, on_event, user);
    if (!r) return no_memory(e);
    r->resolved = resolved;
    rc = copy_prompt(r, params, e);
    if (!rc) rc = copy_stops(r, params, e);
    if (!rc) rc = make_stream(r, m, e);
    if (!rc) rc = accept(m, r, out, e);
    if (rc) discard(r);
    return rc;
}

int qn_request_submit_logits(quern_model *m, const int32_t *ids, size_t n_ids, float *logits,
                             quern_event_fn on_event, void *user, quern_request **out,
                             quern_error *e)
{
    int rc = check_state(m, e);
    if (rc) return rc;
    quern_request *r = request_new(m, on_event, user);
    if (!r) return no_memory(e);
    r->kind = QN_REQUEST_LOGITS;
    r->logits = logits;
    rc = copy_ids(r, ids, n_ids, e);
    if (!rc) rc = accept(m, r, out, e);
    if (rc) discard(r);
    return rc;
}
