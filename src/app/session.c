// One runtime with one model, and one request waited for.
#include <pthread.h>
#include <stdlib.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/observed.h"

static int open_runtime(const qn_engine_options *o, const qn_observer *observer, qn_app_session *s,
                        quern_error *e)
{
    quern_runtime_options options = o->runtime;
    if (o->log_level) options.log_level = (quern_log_level)qn_log_level_of(o->log_level);
    *s = (qn_app_session){0};
    return observer ? qn_runtime_open_observed(observer, &options, &s->runtime, e)
                    : quern_runtime_open(&options, &s->runtime, e);
}

int qn_app_open(const char *model, const qn_engine_options *o, qn_app_session *s, quern_error *e)
{
    return qn_app_open_observed(model, o, NULL, s, e);
}

int qn_app_open_observed(const char *model, const qn_engine_options *o, const qn_observer *observer,
                         qn_app_session *s, quern_error *e)
{
    char *path = NULL;
    *s = (qn_app_session){0};
    int rc = qn_app_find_model(model, &path, e);
    if (!rc) rc = open_runtime(o, observer, s, e);
    if (!rc) rc = quern_model_load(s->runtime, model, path, &o->model, &s->model, e);
    free(path);
    if (rc) qn_app_close(s);
    return rc;
}

int qn_app_open_shape(const char *shape, const char *dtype, const qn_engine_options *o,
                      qn_app_session *s, quern_error *e)
{
    int rc = open_runtime(o, NULL, s, e);
    if (!rc) rc = quern_model_load_shape(s->runtime, shape, dtype, &o->model, &s->model, e);
    if (rc) qn_app_close(s);
    return rc;
}

void qn_app_close(qn_app_session *s)
{
    quern_model_close(s->model);
    quern_runtime_close(s->runtime);
    *s = (qn_app_session){0};
}

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
    quern_error error;
    const qn_app_listener *listener;
} waiter;

static void on_event(void *user, const quern_event *event)
{
    waiter *w = user;
    const qn_app_listener *l = w->listener;
    if (event->type == QUERN_EVENT_TOKEN && l->on_token) l->on_token(l->user, event->token);
    if (event->type == QUERN_EVENT_DONE && l->on_done) l->on_done(l->user, event->result);
    if (event->type != QUERN_EVENT_DONE && event->type != QUERN_EVENT_ERROR) return;
    pthread_mutex_lock(&w->lock);
    if (event->type == QUERN_EVENT_ERROR) w->error = *event->error;
    w->done = true;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->lock);
}

// Waits for the end; looks at the cancel flag twenty times a second, since a signal handler may only set it.
static void await(waiter *w, quern_request *request, volatile int *cancel)
{
    pthread_mutex_lock(&w->lock);
    while (!w->done) {
        qn_clock_await(&w->ended, &w->lock, 50);
        if (cancel && *cancel) quern_request_cancel(request);
    }
    pthread_mutex_unlock(&w->lock);
}

int qn_app_generate(quern_model *m, const quern_params *params, const qn_app_listener *listener,
                    quern_error *e)
{
    waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, {0}, listener};
    quern_request *request = NULL;
    int rc = quern_submit(m, params, on_event, &w, &request, e);
    if (!rc) {
        await(&w, request, listener->cancel);
        quern_request_free(request);
        rc = w.error.code;
        if (rc && e) *e = w.error;
    }
    pthread_cond_destroy(&w.ended);
    pthread_mutex_destroy(&w.lock);
    return rc;
}
