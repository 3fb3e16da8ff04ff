// POST /generate: Quern's own form, plain or as a stream of events. Handlers run on an I/O thread or a worker, sinks on
// text threads. See generate.h.
#include "server/api/generate.h"

#include <stdio.h>
#include <string.h>

#include "server/answer.h"
#include "server/api/handlers.h"
#include "server/watch.h"

json_t *qn_generate_load(qn_call *call)
{
    quern_error e = {0};
    size_t n;
    const char *body = qn_call_body(call, &n);
    json_t *document = qn_request_load(body, n, &e);
    if (!document) qn_call_fail(call, &e);
    return document;
}

static void fail(qn_call *call, const quern_error *e)
{
    qn_call_fail(call, e);
    qn_call_release(call);
}

void qn_generate_start(qn_call *call, qn_request_input *input, const char *prefix, qn_sink sink,
                       void (*setup)(qn_generation *g, void *arg), void *arg)
{
    quern_error e = {0};
    quern_event failure = {.type = QUERN_EVENT_ERROR, .error = &e};
    qn_call_hold(call); // the sink's
    qn_generation *g = qn_generation_new(qn_call_server(call), prefix, sink, call);
    if (!g) {
        qn_error_set(&e, QUERN_E_MEMORY, "out of memory");
        fail(call, &e);
    } else {
        g->wants_logprobs = qn_request_has(input, "logprobs");
        if (setup) setup(g, arg);
        qn_call_attach(call, qn_generation_hold(g));
        if (qn_watch_start(call))
            qn_error_set(&e, QUERN_E_MEMORY, "too many connections");
        else
            qn_generation_submit(g, input, &e);
        if (e.code) {
            qn_generation_refuse(g);
            sink(g, call, &failure); // there will be no event
        }
    }
    qn_generation_release(g);
    qn_request_input_free(input);
}

void qn_generate_push(qn_generation *g, qn_call *call, const qn_buffer *json, bool last)
{
    qn_buffer event = QN_BUFFER_INIT;
    if (!json->length) return;
    qn_buffer_reserve(&event, json->length + 8);
    qn_buffer_text(&event, "data: ");
    qn_buffer_append(&event, json->data, json->length);
    qn_buffer_text(&event, "\n\n");
    bool taken =
        !event.failed && !json->failed && qn_call_stream_push(call, event.data, event.length, last);
    qn_buffer_free(&event);
    if (!taken && qn_generation_cancel(g, QUERN_E_LIMIT))
        atomic_fetch_add(&g->server->counters.slow_clients, 1);
}

void qn_generate_end(qn_call *call)
{
    static const char DONE[] = "data: [DONE]\n\n";
    qn_call_stream_push(call, DONE, sizeof DONE - 1, true);
    qn_call_stream_end(call);
}

/* ---- the sinks ---- */

static void keep_logprob(qn_generation *g, const quern_token *token)
{
    if (!g->wants_logprobs) return;
    qn_json j = {&g->pieces, g->pieces.length > 0};
    qn_answer_logprob(&j, token);
}

static void on_plain(qn_generation *g, void *user, const quern_event *event)
{
    qn_call *call = user;
    qn_buffer body = QN_BUFFER_INIT;
    switch (event->type) {
    case QUERN_EVENT_START:
        return;
    case QUERN_EVENT_TOKEN:
        keep_logprob(g, event->token);
        return;
    case QUERN_EVENT_DONE:
        qn_answer_result(&body, g, event->result);
        qn_call_answer(call, 200, "application/json", &body);
        break;
    case QUERN_EVENT_ERROR:
        qn_call_fail(call, event->error);
    }
    qn_call_release(call);
}

static void on_stream(qn_generation *g, void *user, const quern_event *event)
{
    qn_call *call = user;
    qn_buffer json = QN_BUFFER_INIT;
    char id[48];
    bool last = event->type == QUERN_EVENT_DONE || event->type == QUERN_EVENT_ERROR;
    // Until the prompt is known to fit, an error can still be a status.
    if (event->type == QUERN_EVENT_ERROR && !qn_call_is_streaming(call)) {
        fail(call, event->error);
        return;
    }
    if (!qn_call_is_streaming(call)) qn_call_stream_begin(call, "text/event-stream");
    snprintf(id, sizeof id, "\"%s\"", g->id);
    qn_answer_event(&json, g, id, event);
    qn_generate_push(g, call, &json, last);
    qn_buffer_free(&json);
    if (!last) return;
    qn_generate_end(call);
    qn_call_release(call);
}

void qn_api_generate(qn_call *call)
{
    quern_error e = {0};
    qn_request_input input;
    json_t *document = qn_generate_load(call);
    if (!document) return;
    if (qn_request_input_read(document, false, &input, &e)) {
        qn_call_fail(call, &e);
        return;
    }
    qn_generate_start(call, &input, "gen", input.stream ? on_stream : on_plain, NULL, NULL);
}
