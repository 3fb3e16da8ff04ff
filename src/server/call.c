// See call.h.
#include "server/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/answer.h"
#include "server/call_state.h"
#include "server/generation.h"

qn_call *qn_call_new(qn_server *s, struct MHD_Connection *connection)
{
    qn_call *call = calloc(1, sizeof *call);
    if (!call) return NULL;
    call->server = s;
    call->connection = connection;
    atomic_init(&call->refs, 1);
    pthread_mutex_init(&call->lock, NULL);
    pthread_mutex_lock(&s->lock);
    call->next = s->calls;
    if (call->next) call->next->prev = call;
    s->calls = call;
    pthread_mutex_unlock(&s->lock);
    return call;
}

qn_call *qn_call_hold(qn_call *call)
{
    atomic_fetch_add(&call->refs, 1);
    return call;
}

void qn_call_release(qn_call *call)
{
    if (!call || atomic_fetch_sub(&call->refs, 1) != 1) return;
    qn_generation_release(call->generation);
    qn_buffer_free(&call->body);
    qn_buffer_free(&call->out);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

void qn_call_complete(qn_call *call)
{
    qn_server *s = call->server;
    pthread_mutex_lock(&s->lock);
    if (call->prev)
        call->prev->next = call->next;
    else
        s->calls = call->next;
    if (call->next) call->next->prev = call->prev;
    pthread_mutex_unlock(&s->lock);
    qn_call_gone(call);
    if (call->dispatched) atomic_fetch_sub(&s->n_answering, 1);
}

qn_server *qn_call_server(const qn_call *call)
{
    return call->server;
}

const char *qn_call_body(const qn_call *call, size_t *n)
{
    *n = call->body.length;
    return call->body.data ? call->body.data : "";
}

// Under the call's lock: what waited goes on.
static void wake(qn_call *call)
{
    if (!call->suspended) return;
    call->suspended = false;
    MHD_resume_connection(call->connection);
}

void qn_call_header(qn_call *call, const char *name, const char *value)
{
    pthread_mutex_lock(&call->lock);
    if (call->n_headers < QN_CALL_HEADERS && !call->answered) {
        int i = call->n_headers++;
        snprintf(call->headers[i].name, sizeof call->headers[i].name, "%s", name);
        snprintf(call->headers[i].value, sizeof call->headers[i].value, "%s", value);
    }
    pthread_mutex_unlock(&call->lock);
}

// Under the lock; false where an answer has been decided before.
static bool decide(qn_call *call, int status, const char *content_type)
{
    if (call->answered) return false;
    call->answered = true;
    call->status = status;
    snprintf(call->content_type, sizeof call->content_type, "%s", content_type);
    atomic_fetch_add(&call->server->counters.answers[status / 100], 1);
    return true;
}

void qn_call_answer(qn_call *call, int status, const char *content_type, qn_buffer *body)
{
    if (body->failed) {
        qn_buffer_free(body);
        status = 503;
        qn_buffer_text(body, "{\"error\":{\"type\":\"server_error\",\"code\":\"memory\","
                             "\"message\":\"out of memory\",\"param\":null}}");
    }
    pthread_mutex_lock(&call->lock);
    if (decide(call, status, content_type)) {
        qn_buffer_free(&call->out);
        call->out = *body;
        *body = (qn_buffer)QN_BUFFER_INIT;
        call->ended = true;
        wake(call);
    }
    pthread_mutex_unlock(&call->lock);
    qn_buffer_free(body);
}

void qn_call_answer_static(qn_call *call, const char *content_type, const void *bytes, size_t n)
{
    pthread_mutex_lock(&call->lock);
    if (decide(call, 200, content_type)) {
        call->fixed = bytes;
        call->n_fixed = n;
        call->ended = true;
        wake(call);
    }
    pthread_mutex_unlock(&call->lock);
}

void qn_call_refuse(qn_call *call, int status, const char *code, const char *param,
                    const char *message)
{
    qn_buffer body = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&body);
    qn_json_open(&j, '{');
    qn_answer_error(&j, status, code, param, message);
    qn_json_close(&j, '}');
    qn_call_answer(call, status, "application/json", &body);
}

void qn_call_fail(qn_call *call, const quern_error *e)
{
    int status = qn_answer_status(e->code);
    if (status == 429 || status == 503) {
        pthread_mutex_lock(&call->lock);
        qn_generation *g = call->generation ? qn_generation_hold(call->generation) : NULL;
        pthread_mutex_unlock(&call->lock);
        int seconds = g ? qn_generation_retry_seconds(g) : 1;
        qn_generation_release(g);
        char text[16];
        snprintf(text, sizeof text, "%d", seconds);
        qn_call_header(call, "Retry-After", text);
    }
    qn_call_refuse(call, status, quern_code_name(e->code), e->param[0] ? e->param : NULL,
                   e->message);
}

void qn_call_stream_begin(qn_call *call, const char *content_type)
{
    pthread_mutex_lock(&call->lock);
    if (decide(call, 200, content_type)) {
        call->streaming = true;
        call->pushed_ns = qn_clock_ns();
        wake(call);
    }
    pthread_mutex_unlock(&call->lock);
}

// Under the lock: forgets what was taken once it is the larger part.
static void compact(qn_call *call)
{
    qn_buffer *b = &call->out;
    if (call->n_taken < b->length - call->n_taken) return;
    memmove(b->data, b->data + call->n_taken, b->length - call->n_taken);
    b->length -= call->n_taken;
    call->n_taken = 0;
}

bool qn_call_stream_push(qn_call *call, const char *bytes, size_t n, bool last)
{
    bool taken = true;
    pthread_mutex_lock(&call->lock);
    if (!call->gone && !call->ended) {
        size_t held = call->out.length - call->n_taken;
        if (!last && held + n > call->server->options.limits.stream_bytes) {
            taken = false;
        } else {
            if (call->n_taken) compact(call);
            taken = qn_buffer_append(&call->out, bytes, n);
            call->pushed_ns = qn_clock_ns();
            wake(call);
        }
    }
    pthread_mutex_unlock(&call->lock);
    return taken;
}

void qn_call_stream_end(qn_call *call)
{
    pthread_mutex_lock(&call->lock);
    call->ended = true;
    wake(call);
    pthread_mutex_unlock(&call->lock);
}

bool qn_call_is_streaming(qn_call *call)
{
    pthread_mutex_lock(&call->lock);
    bool is = call->streaming;
    pthread_mutex_unlock(&call->lock);
    return is;
}

int64_t qn_call_take(qn_call *call, char *to, size_t max)
{
    pthread_mutex_lock(&call->lock);
    size_t held = call->out.length - call->n_taken;
    int64_t n = 0;
    if (call->gone || atomic_load(&call->server->stopping)) {
        n = -2;
    } else if (held) {
        n = (int64_t)(held < max ? held : max);
        memcpy(to, call->out.data + call->n_taken, (size_t)n);
        call->n_taken += (size_t)n;
        if (call->n_taken == call->out.length) {
            qn_buffer_clear(&call->out);
            call->n_taken = 0;
        }
    } else if (call->ended) {
        n = -1;
    } else {
        call->suspended = true;
        MHD_suspend_connection(call->connection);
    }
    pthread_mutex_unlock(&call->lock);
    return n;
}

bool qn_call_is_quiet(qn_call *call, uint64_t now_ns, uint64_t quiet_ns)
{
    pthread_mutex_lock(&call->lock);
    bool quiet = call->streaming && !call->ended && now_ns > call->pushed_ns &&
                 now_ns - call->pushed_ns > quiet_ns;
    pthread_mutex_unlock(&call->lock);
    return quiet;
}

void qn_call_ping(qn_call *call)
{
    static const char PING[] = ": ping\n\n";
    qn_call_stream_push(call, PING, sizeof PING - 1, false);
}

void qn_call_attach(qn_call *call, qn_generation *g)
{
    pthread_mutex_lock(&call->lock);
    call->generation = g;
    bool gone = call->gone;
    pthread_mutex_unlock(&call->lock);
    if (gone) qn_generation_cancel(g, QUERN_E_CANCELLED);
}

void qn_call_gone(qn_call *call)
{
    pthread_mutex_lock(&call->lock);
    bool first = !call->gone;
    call->gone = true;
    wake(call);
    qn_generation *g = call->generation ? qn_generation_hold(call->generation) : NULL;
    pthread_mutex_unlock(&call->lock);
    if (g && first && qn_generation_cancel(g, QUERN_E_CANCELLED))
        atomic_fetch_add(&call->server->counters.clients_gone, 1);
    qn_generation_release(g);
}
