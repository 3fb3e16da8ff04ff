// See test_engine_collect.h.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "test_engine_collect.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/runtime.h"

#define GENERATION "{\"eos_token_id\":[256,46]}"

engine engine_open(const fake_options *fake, const quern_model_options *options)
{
    engine g = {0};
    quern_error e = {0};
    const quern_runtime_options runtime = {.n_threads = 2, .log_fd = -1};
    tiny_model_write(&g.files, GENERATION);
    if (qn_runtime_open_with(fake_backend(fake), &runtime, &g.runtime, &e) ||
        quern_model_load(g.runtime, "tiny", g.files.directory, options, &g.model, &e))
        fail_msg("open: %s", e.message);
    return g;
}

void engine_close(engine *g)
{
    quern_model_close(g->model);
    quern_runtime_close(g->runtime);
    tiny_model_remove(&g->files);
    if (fake_backend_log()->violation) fail_msg("%s", fake_backend_log()->violation);
}

static void on_token(collected *c, const quern_token *t)
{
    if (!c->n_starts || c->n_terminals) c->disorder = "a token outside START … end";
    if (t->index != c->n_tokens) c->disorder = "a token out of order";
    if (c->n_tokens < MAX_IDS) c->ids[c->n_tokens] = t->id;
    c->n_tokens++;
    if (c->n_text + t->n_text <= MAX_TEXT) memcpy(c->text + c->n_text, t->text, t->n_text);
    c->n_text += t->n_text;
    c->logprobs += t->chosen.logprob;
    for (int i = 0; i < t->n_top; i++)
        c->logprobs += t->top[i].logprob * (i + 2) + t->top[i].id;
    if (c->cancel_at && c->n_tokens == c->cancel_at) quern_request_cancel(c->request);
}

static void on_done(collected *c, const quern_result *r)
{
    c->result = *r;
    c->finish = r->finish;
    c->n_ids = (int)r->n_ids;
    c->n_beams = r->n_beams;
    if (r->n_beams) c->score = r->beams[0].score;
    if ((int)r->n_ids != c->n_tokens || (r->n_ids && memcmp(r->ids, c->ids, 4 * r->n_ids)))
        c->disorder = "token events and result have other ids";
    if (r->n_text != c->n_text || memcmp(r->text, c->text, c->n_text))
        c->disorder = "token events and result have another text";
    if (r->completion_tokens != c->n_tokens) c->disorder = "usage counts other tokens";
}

int collect_n_tokens(collected *c)
{
    pthread_mutex_lock(&c->mutex);
    int n = c->n_terminals ? MAX_IDS : c->n_tokens;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

static void on_event(void *user, const quern_event *event)
{
    collected *c = user;
    pthread_mutex_lock(&c->mutex);
    switch (event->type) {
    case QUERN_EVENT_START:
        if (c->n_starts++ || c->n_terminals) c->disorder = "a second START, or a late one";
        c->seed = event->seed;
        if (c->beside) c->beside_at_start = collect_n_tokens(c->beside);
        break;
    case QUERN_EVENT_TOKEN:
        on_token(c, event->token);
        break;
    case QUERN_EVENT_DONE:
        on_done(c, event->result);
        c->n_terminals++;
        break;
    case QUERN_EVENT_ERROR:
        c->error = *event->error;
        c->n_terminals++;
        break;
    }
    if (c->beside && c->n_terminals) c->beside_at_end = collect_n_tokens(c->beside);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static void begin(collected *c)
{
    int cancel_at = c->cancel_at;
    collected *beside = c->beside;
    memset(c, 0, sizeof *c);
    c->cancel_at = cancel_at;
    c->beside = beside;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, NULL);
}

int collect_submit(engine *g, collected *c, const quern_params *p)
{
    begin(c);
    pthread_mutex_lock(&c->mutex); // an event may come before request is set
    int rc = quern_submit(g->model, p, on_event, c, &c->request, &c->error);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

int collect_submit_logits(engine *g, collected *c, const int32_t *ids, size_t n, float *logits)
{
    begin(c);
    pthread_mutex_lock(&c->mutex);
    int rc = qn_request_submit_logits(g->model, ids, n, logits, on_event, c, &c->request, NULL);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

void collect_await_token(collected *c, int n_tokens)
{
    pthread_mutex_lock(&c->mutex);
    while (!c->n_terminals && c->n_tokens < n_tokens)
        pthread_cond_wait(&c->changed, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

void collect_wait(collected *c)
{
    pthread_mutex_lock(&c->mutex);
    while (!c->n_terminals)
        pthread_cond_wait(&c->changed, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

void collect_free(collected *c)
{
    quern_request_free(c->request);
    c->request = NULL;
}

void collect(engine *g, collected *c, const quern_params *p)
{
    if (collect_submit(g, c, p)) fail_msg("submit: %s", c->error.message);
    collect_wait(c);
    collect_free(c);
    assert_null(c->disorder);
}

quern_params params_of(const int32_t *ids, int n, int max_tokens)
{
    quern_params p;
    quern_params_init(&p);
    p.ids = ids;
    p.n_ids = (size_t)n;
    params_set(&p, "max_tokens", max_tokens);
    return p;
}

void params_set(quern_params *p, const char *name, double value)
{
    size_t n;
    const quern_field *f = quern_fields(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(f[i].name, name)) {
            assert_int_equal(quern_params_set(p, &f[i], value, NULL), QUERN_OK);
            return;
        }
    fail_msg("no field %s", name);
}

quern_model_stats engine_stats(engine *g)
{
    quern_model_stats s;
    quern_model_get_stats(g->model, &s);
    return s;
}

void engine_settle(engine *g)
{
    for (int i = 0; i < 5000; i++) {
        quern_model_stats s = engine_stats(g);
        if (!s.running && !s.waiting && s.blocks_free == s.blocks_total) return;
        usleep(1000);
    }
    fail_msg("blocks or requests are left over");
}
