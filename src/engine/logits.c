// quern_logits: a request without output that rides in the batch as others do and asks for the logits of each of its rows. The
// caller sleeps until its terminal event. Any thread but a text worker.
#include <string.h>

#include "engine/runtime.h"

typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool done;
    int code;
    quern_error error;
} wait_for_end;

static void on_event(void *user, const quern_event *event)
{
    wait_for_end *w = user;
    if (event->type != QUERN_EVENT_DONE && event->type != QUERN_EVENT_ERROR) return;
    pthread_mutex_lock(&w->mutex);
    if (event->type == QUERN_EVENT_ERROR) w->error = *event->error;
    w->code = w->error.code;
    w->done = true;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->mutex);
}

int quern_logits(quern_model *m, const int32_t *ids, size_t n_ids, float *out, quern_error *e)
{
    wait_for_end w = {.done = false};
    quern_request *r = NULL;
    if (!n_ids) return qn_error_set(e, QUERN_E_ARGUMENT, "ids: no tokens");
    pthread_mutex_init(&w.mutex, NULL);
    pthread_cond_init(&w.ended, NULL);
    int rc = qn_request_submit_logits(m, ids, n_ids, out, on_event, &w, &r, e);
    if (!rc) {
        pthread_mutex_lock(&w.mutex);
        while (!w.done)
            pthread_cond_wait(&w.ended, &w.mutex);
        pthread_mutex_unlock(&w.mutex);
        rc = w.code;
        if (rc && e) *e = w.error;
        quern_request_free(r);
    }
    pthread_cond_destroy(&w.ended);
    pthread_mutex_destroy(&w.mutex);
    return rc;
}
