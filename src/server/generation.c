// See generation.h.
#include "server/generation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

enum { MAX_RETRY_S = 60 };

// SplitMix64: ids that neither repeat nor tell how many there were.
static uint64_t scramble(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

qn_generation *qn_generation_new(qn_server *s, const char *prefix, qn_sink sink, void *user)
{
    qn_generation *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->server = s;
    g->sink = sink;
    g->user = user;
    g->created_at = (int64_t)time(NULL);
    uint64_t n = atomic_fetch_add(&s->n_ids, 1);
    snprintf(g->id, sizeof g->id, "%s-%016" PRIx64, prefix, scramble(s->id_seed + n));
    atomic_init(&g->refs, 1);
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

qn_generation *qn_generation_hold(qn_generation *g)
{
    atomic_fetch_add(&g->refs, 1);
    return g;
}

void qn_generation_release(qn_generation *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) != 1) return;
    quern_request_free(g->request);
    qn_buffer_free(&g->pieces);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static void link_in(qn_generation *g)
{
    qn_server *s = g->server;
    pthread_mutex_lock(&s->lock);
    g->next = s->generations;
    if (g->next) g->next->prev = g;
    s->generations = g;
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->n_generations, 1);
}

static void link_out(qn_generation *g)
{
    qn_server *s = g->server;
    pthread_mutex_lock(&s->lock);
    if (g->prev)
        g->prev->next = g->next;
    else
        s->generations = g->next;
    if (g->next) g->next->prev = g->prev;
    pthread_mutex_unlock(&s->lock);
}

// What the server ended on its own account is an error to the client, not a wish of its.
static void explain(int reason, quern_error *e)
{
    if (reason == QUERN_E_CLOSING)
        qn_error_set(e, reason, "the server is shutting down; the request was ended");
    else
        qn_error_set(e, reason, "the client reads too slowly; the request was ended");
}

static void count(qn_counters *c, const quern_event *event)
{
    if (event->type == QUERN_EVENT_ERROR)
        atomic_fetch_add(&c->failed, 1);
    else if (event->result->finish == QUERN_FINISH_CANCELLED)
        atomic_fetch_add(&c->cancelled, 1);
    else
        atomic_fetch_add(&c->complete, 1);
}

static void finish(qn_generation *g, const quern_event *event)
{
    quern_error why = {0};
    quern_event instead = {.type = QUERN_EVENT_ERROR, .error = &why};
    pthread_mutex_lock(&g->lock);
    g->ended = true;
    int reason = g->reason;
    pthread_mutex_unlock(&g->lock);
    bool cancelled =
        event->type == QUERN_EVENT_DONE && event->result->finish == QUERN_FINISH_CANCELLED;
    if (cancelled && (reason == QUERN_E_CLOSING || reason == QUERN_E_LIMIT)) {
        explain(reason, &why);
        event = &instead;
    }
    qn_server *s = g->server;
    // Before the client knows: its next connection is to reach the process that comes.
    if (event->type == QUERN_EVENT_ERROR && event->error->code == QUERN_E_DEVICE &&
        qn_fleet_has_failed(s->options.fleet))
        qn_server_fail(s);
    count(&s->counters, event);
    link_out(g);
    g->sink(g, g->user, event);
    qn_generation_release(g);
    atomic_fetch_sub(&s->n_generations, 1); // last of all: at 0 a draining server may go
}

static void on_event(void *user, const quern_event *event)
{
    qn_generation *g = user;
    if (event->type == QUERN_EVENT_DONE || event->type == QUERN_EVENT_ERROR)
        finish(g, event);
    else
        g->sink(g, g->user, event);
}

static int route(qn_generation *g, const qn_request_input *in, quern_error *e)
{
    const quern_params *p = &in->params;
    qn_route_query query = {.model = in->model,
                            .priority = in->priority,
                            .n_prompt_bytes = p->prompt ? p->n_prompt_bytes : p->n_chat_bytes,
                            .max_tokens = p->max_tokens,
                            .deadline_ms = p->deadline_ms};
    return qn_fleet_route(g->server->options.fleet, &query, &g->route, e);
}

int qn_generation_submit(qn_generation *g, const qn_request_input *input, quern_error *e)
{
    qn_server *s = g->server;
    quern_request *request = NULL;
    e->param[0] = 0;
    int rc = route(g, input, e);
    if (rc) return rc;
    qn_generation_hold(g); // the engine's, until the terminal event
    link_in(g);
    if (atomic_load(&s->draining))
        rc = qn_error_set(e, QUERN_E_CLOSING, "the server is shutting down");
    else
        rc = quern_submit(g->route.model, &input->params, on_event, g, &request, e);
    if (rc) {
        link_out(g);
        qn_generation_release(g);
        atomic_fetch_sub(&s->n_generations, 1);
        return rc;
    }
    atomic_fetch_add(&s->counters.accepted, 1);
    pthread_mutex_lock(&g->lock);
    g->request = request;
    bool cancel = g->cancel_asked && !g->ended;
    pthread_mutex_unlock(&g->lock);
    if (cancel) quern_request_cancel(request);
    return 0;
}

void qn_generation_refuse(qn_generation *g)
{
    pthread_mutex_lock(&g->lock);
    g->ended = true;
    pthread_mutex_unlock(&g->lock);
}

bool qn_generation_cancel(qn_generation *g, int reason)
{
    pthread_mutex_lock(&g->lock);
    bool runs = !g->ended, first = !g->cancel_asked;
    g->cancel_asked = true;
    if (!g->reason) g->reason = reason;
    quern_request *request = runs ? g->request : NULL;
    pthread_mutex_unlock(&g->lock);
    if (request) quern_request_cancel(request); // valid: the caller holds g
    return runs && first;
}

void qn_generation_cancel_all(qn_server *s, int reason)
{
    enum { A_ROUND = 64 };
    qn_generation *some[A_ROUND];
    int n;
    do { // a round at a time, since cancelling must not happen under the server's lock
        n = 0;
        pthread_mutex_lock(&s->lock);
        for (qn_generation *g = s->generations; g && n < A_ROUND; g = g->next) {
            pthread_mutex_lock(&g->lock);
            if (!g->cancel_asked) some[n++] = qn_generation_hold(g);
            pthread_mutex_unlock(&g->lock);
        }
        pthread_mutex_unlock(&s->lock);
        for (int i = 0; i < n; i++) {
            qn_generation_cancel(some[i], reason);
            qn_generation_release(some[i]);
        }
    } while (n == A_ROUND);
}

int qn_generation_retry_seconds(const qn_generation *g)
{
    quern_model_stats stats;
    if (!g->route.model) return 1;
    quern_model_get_stats(g->route.model, &stats);
    double rate = stats.tokens_per_second_now > stats.tokens_per_second_since_start
                      ? stats.tokens_per_second_now
                      : stats.tokens_per_second_since_start;
    // A place in the queue is free when one request of those that wait has been taken up.
    int n = stats.running + stats.waiting;
    double tokens = n ? (double)stats.queued_tokens / n : 0;
    double seconds = rate > 0 ? tokens / rate : 1;
    return seconds < 1 ? 1 : seconds > MAX_RETRY_S ? MAX_RETRY_S : (int)(seconds + 0.5);
}
