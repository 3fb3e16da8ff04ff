// Calibration at load: a few short requests, alone and four at once, whose steps the engine times as it times all others.
#include <pthread.h>

#include "base/clock.h"
#include "fleet/internal.h"

enum { PROMPT_TOKENS = 48, OUTPUT_TOKENS = 12, AT_ONCE = 4 };

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int n_running;
    quern_error error; // of the first request that failed
} waiter;

static void on_event(void *user, const quern_event *event)
{
    waiter *w = user;
    if (event->type != QUERN_EVENT_DONE && event->type != QUERN_EVENT_ERROR) return;
    pthread_mutex_lock(&w->lock);
    if (event->type == QUERN_EVENT_ERROR && !w->error.code) w->error = *event->error;
    w->n_running--;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->lock);
}

// Waits for all requests; those that outlast until_ms are cancelled.
static void await_all(waiter *w, quern_request **requests, int n, double until_ms)
{
    int cancelled = 0;
    pthread_mutex_lock(&w->lock);
    while (w->n_running > 0) {
        qn_clock_await(&w->ended, &w->lock, 50);
        if (!cancelled && qn_clock_ms() > until_ms) {
            cancelled = 1;
            for (int i = 0; i < n; i++)
                quern_request_cancel(requests[i]);
        }
    }
    pthread_mutex_unlock(&w->lock);
}

// Sets a field by its place, so that its bit is set too: generation_config then plays no part.
static void set(quern_params *p, size_t offset, double value)
{
    size_t n;
    const quern_field *fields = quern_fields(&n);
    for (size_t i = 0; i < n; i++)
        if (fields[i].offset == offset) quern_params_set(p, &fields[i], value, NULL);
}

static int run_at_once(quern_model *m, int n, double until_ms, quern_error *e)
{
    quern_model_info info;
    quern_model_get_info(m, &info);
    int32_t ids[PROMPT_TOKENS];
    int n_prompt = info.n_context / 2 < PROMPT_TOKENS ? info.n_context / 2 : PROMPT_TOKENS;
    for (int i = 0; i < n_prompt; i++)
        ids[i] = (int32_t)((i * 7919 + 11) % info.n_vocab);
    quern_params p;
    quern_params_init(&p);
    p.ids = ids;
    p.n_ids = (size_t)n_prompt;
    set(&p, offsetof(quern_params, strategy), QUERN_GREEDY);
    set(&p, offsetof(quern_params, max_tokens), OUTPUT_TOKENS);
    set(&p, offsetof(quern_params, ignore_eos), 1);
    waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0}};
    quern_request *requests[AT_ONCE];
    int rc = 0, n_sent = 0;
    for (; n_sent < n && !rc; n_sent += !rc) {
        pthread_mutex_lock(&w.lock);
        w.n_running++;
        pthread_mutex_unlock(&w.lock);
        rc = quern_submit(m, &p, on_event, &w, &requests[n_sent], e);
    }
    pthread_mutex_lock(&w.lock);
    w.n_running -= rc != 0;
    pthread_mutex_unlock(&w.lock);
    await_all(&w, requests, n_sent, until_ms);
    for (int i = 0; i < n_sent; i++)
        quern_request_free(requests[i]);
    if (!rc && w.error.code) {
        if (e) *e = w.error;
        rc = w.error.code;
    }
    pthread_cond_destroy(&w.ended);
    pthread_mutex_destroy(&w.lock);
    return rc;
}

int qn_fleet_calibrate(quern_model *m, double max_ms, quern_error *e)
{
    quern_model_info info;
    quern_model_get_info(m, &info);
    double until_ms = qn_clock_ms() + max_ms;
    if (info.n_context < 2) return 0; // no room for a prompt and an answer
    int rc = run_at_once(m, 1, until_ms, e);
    int n = info.max_batch < AT_ONCE ? info.max_batch : AT_ONCE;
    if (!rc && n > 1 && info.max_queue >= n && qn_clock_ms() < until_ms)
        rc = run_at_once(m, n, until_ms, e);
    return rc;
}
