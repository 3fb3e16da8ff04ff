// See answer.h.
#include "server/answer.h"

#include <math.h>
#include <string.h>

// What JSON can say of a probability of zero.
static const double LEAST_LOGPROB = -9999;

int qn_answer_status(int code)
{
    switch (code) {
    case QUERN_E_NOT_FOUND:
        return 404;
    case QUERN_E_DEADLINE:
        return 408;
    case QUERN_E_BUSY:
        return 429;
    case QUERN_E_CLOSING:
    case QUERN_E_MEMORY:
        return 503;
    case QUERN_E_DEVICE:
    case QUERN_E_IO:
    case QUERN_E_INTERNAL:
        return 500;
    default: // the request cannot be served as it is
        return 400;
    }
}

const char *qn_answer_state(const qn_server *s)
{
    return atomic_load(&s->failed)     ? "restarting"
           : atomic_load(&s->draining) ? "draining"
           : atomic_load(&s->loaded)   ? "ready"
                                       : "loading";
}

void qn_answer_error(qn_json *j, int status, const char *code, const char *param,
                     const char *message)
{
    const char *type = status >= 500 && status != 503   ? "server_error"
                       : status == 429 || status == 503 ? "overloaded_error"
                                                        : "invalid_request_error";
    qn_json_key(j, "error");
    qn_json_open(j, '{');
    qn_json_put_text(j, "type", type);
    qn_json_put_text(j, "code", code);
    qn_json_put_text(j, "message", message);
    qn_json_key(j, "param");
    if (param)
        qn_json_text(j, param);
    else
        qn_json_null(j);
    qn_json_close(j, '}');
}

static void logprob_fields(qn_json *j, const quern_logprob *l)
{
    qn_json_put_int(j, "id", l->id);
    qn_json_key(j, "token");
    qn_json_text_n(j, l->bytes ? l->bytes : "", l->n_bytes);
    qn_json_key(j, "bytes");
    qn_json_open(j, '[');
    for (size_t i = 0; i < l->n_bytes; i++)
        qn_json_int(j, (unsigned char)l->bytes[i]);
    qn_json_close(j, ']');
    qn_json_put_double(j, "logprob", isfinite(l->logprob) ? (double)l->logprob : LEAST_LOGPROB);
}

void qn_answer_logprob(qn_json *j, const quern_token *token)
{
    qn_json_open(j, '{');
    logprob_fields(j, &token->chosen);
    qn_json_key(j, "top");
    qn_json_open(j, '[');
    for (int i = 0; i < token->n_top; i++) {
        qn_json_open(j, '{');
        logprob_fields(j, &token->top[i]);
        qn_json_close(j, '}');
    }
    qn_json_close(j, ']');
    qn_json_close(j, '}');
}

void qn_answer_route(qn_json *j, const qn_generation *g)
{
    const qn_route *r = &g->route;
    qn_json_key(j, "route");
    qn_json_open(j, '{');
    qn_json_put_text(j, "requested", r->requested);
    qn_json_put_text(j, "priority", qn_priority_name(r->priority));
    qn_json_put_text(j, "chosen", r->chosen);
    qn_json_put_text(j, "reason", r->reason);
    qn_json_key(j, "predicted_ms");
    qn_json_open(j, '{');
    for (int i = 0; i < r->n_predicted; i++) {
        quern_model_info info;
        quern_model_get_info(qn_fleet_model_at(g->server->options.fleet, (size_t)i), &info);
        qn_json_put_double(j, info.name, r->predicted_ms[i]);
    }
    qn_json_close(j, '}');
    qn_json_close(j, '}');
}

void qn_answer_usage(qn_json *j, const quern_result *r)
{
    qn_json_key(j, "usage");
    qn_json_open(j, '{');
    qn_json_put_int(j, "prompt_tokens", r->prompt_tokens);
    qn_json_put_int(j, "completion_tokens", r->completion_tokens);
    qn_json_put_int(j, "cached_tokens", r->cached_tokens);
    qn_json_close(j, '}');
}

void qn_answer_timings(qn_json *j, const quern_result *r)
{
    qn_json_key(j, "timings");
    qn_json_open(j, '{');
    qn_json_put_double(j, "queue_ms", r->queue_ms);
    qn_json_put_double(j, "prefill_ms", r->prefill_ms);
    qn_json_put_double(j, "decode_ms", r->decode_ms);
    qn_json_put_double(j, "total_ms", r->total_ms);
    qn_json_put_double(j, "prefill_tokens_per_second", r->prefill_tokens_per_second);
    qn_json_put_double(j, "tokens_per_second", r->tokens_per_second);
    qn_json_close(j, '}');
}

void qn_answer_beams(qn_json *j, const quern_result *r)
{
    qn_json_key(j, "beams");
    qn_json_open(j, '[');
    for (int i = 0; i < r->n_beams; i++) {
        const quern_beam *b = &r->beams[i];
        qn_json_open(j, '{');
        qn_json_key(j, "text");
        qn_json_text_n(j, b->text ? b->text : "", b->n_text);
        qn_json_key(j, "tokens");
        qn_json_open(j, '[');
        for (size_t k = 0; k < b->n_ids; k++)
            qn_json_int(j, b->ids[k]);
        qn_json_close(j, ']');
        qn_json_put_double(j, "score", b->score);
        qn_json_close(j, '}');
    }
    qn_json_close(j, ']');
}

void qn_answer_instance(qn_json *j, const qn_server *s)
{
    if (s->options.horizontal) qn_json_put_text(j, "instance", s->instance);
}

static void logprobs_so_far(qn_json *j, const qn_generation *g)
{
    qn_json_key(j, "logprobs");
    qn_json_open(j, '[');
    if (g->pieces.length) qn_json_raw(j, g->pieces.data, g->pieces.length);
    qn_json_close(j, ']');
}

void qn_answer_result(qn_buffer *to, const qn_generation *g, const quern_result *r)
{
    qn_json json = qn_json_to(to), *j = &json;
    qn_json_open(j, '{');
    qn_json_put_text(j, "id", g->id);
    qn_json_put_text(j, "model", g->route.chosen);
    qn_json_key(j, "text");
    qn_json_text_n(j, r->text ? r->text : "", r->n_text);
    qn_json_put_text(j, "finish_reason", quern_finish_name(r->finish));
    qn_json_put_uint(j, "seed", r->seed);
    qn_answer_usage(j, r);
    qn_answer_timings(j, r);
    qn_answer_route(j, g);
    if (r->n_beams) qn_answer_beams(j, r);
    if (g->wants_logprobs) logprobs_so_far(j, g);
    qn_answer_instance(j, g->server);
    qn_json_close(j, '}');
}

static void start_fields(qn_json *j, const qn_generation *g, const quern_event *event)
{
    qn_json_put_text(j, "model", g->route.chosen);
    qn_answer_route(j, g);
    qn_json_put_uint(j, "seed", event->seed);
    qn_json_put_int(j, "prompt_tokens", event->prompt_tokens);
    qn_answer_instance(j, g->server);
}

static void token_fields(qn_json *j, const qn_generation *g, const quern_token *t)
{
    qn_json_put_int(j, "index", t->index);
    qn_json_key(j, "text");
    qn_json_text_n(j, t->text ? t->text : "", t->n_text);
    if (!g->wants_logprobs) return;
    qn_json_key(j, "logprobs");
    qn_json_open(j, '[');
    qn_answer_logprob(j, t);
    qn_json_close(j, ']');
}

static void done_fields(qn_json *j, const quern_result *r)
{
    qn_json_put_text(j, "finish_reason", quern_finish_name(r->finish));
    qn_answer_usage(j, r);
    qn_answer_timings(j, r);
    qn_json_put_uint(j, "seed", r->seed);
    if (r->n_beams) qn_answer_beams(j, r);
}

static void error_fields(qn_json *j, const quern_error *e)
{
    qn_answer_error(j, qn_answer_status(e->code), quern_code_name(e->code),
                    e->param[0] ? e->param : NULL, e->message);
}

void qn_answer_event(qn_buffer *to, const qn_generation *g, const char *id,
                     const quern_event *event)
{
    static const char *const TYPES[] = {"start", "token", "done", "error"};
    if (event->type == QUERN_EVENT_TOKEN && !event->token->n_text && !g->wants_logprobs) return;
    qn_json json = qn_json_to(to), *j = &json;
    qn_json_open(j, '{');
    qn_json_put_text(j, "type", TYPES[event->type]);
    qn_json_key(j, "id");
    qn_json_raw(j, id, strlen(id));
    switch (event->type) {
    case QUERN_EVENT_START:
        start_fields(j, g, event);
        break;
    case QUERN_EVENT_TOKEN:
        token_fields(j, g, event->token);
        break;
    case QUERN_EVENT_DONE:
        done_fields(j, event->result);
        break;
    case QUERN_EVENT_ERROR:
        error_fields(j, event->error);
    }
    qn_json_close(j, '}');
}
