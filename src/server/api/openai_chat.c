// POST /v1/chat/completions: OpenAI's form over the same requests. A body is turned into Quern's fields, answers and
// events into OpenAI's. Fields of weight that are not supported are refused by name. Threads as in generate.c.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "server/answer.h"
#include "server/api/generate.h"
#include "server/api/handlers.h"

/* ---- the request ---- */

// Accepted, and without meaning here.
static const char *const IGNORED[] = {"user",
                                      "metadata",
                                      "store",
                                      "service_tier",
                                      "safety_identifier",
                                      "prompt_cache_key",
                                      "parallel_tool_calls",
                                      "verbosity"};
static const char *const UNSUPPORTED[] = {
    "tools", "functions",  "function_call",      "logit_bias",
    "audio", "prediction", "web_search_options", "reasoning_effort"};

typedef struct {
    json_t *from; // becomes Quern's fields
    bool include_usage;
    quern_error *e;
} translation;

static bool is_empty(const json_t *v)
{
    return json_is_null(v) || (json_is_array(v) && !json_array_size(v)) ||
           (json_is_object(v) && !json_object_size(v));
}

static int refuse_unsupported(translation *t)
{
    for (size_t i = 0; i < sizeof UNSUPPORTED / sizeof *UNSUPPORTED; i++) {
        const json_t *v = json_object_get(t->from, UNSUPPORTED[i]);
        if (v && !is_empty(v))
            return qn_request_refuse(t->e, UNSUPPORTED[i], "is not supported yet");
        json_object_del(t->from, UNSUPPORTED[i]);
    }
    for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++)
        json_object_del(t->from, IGNORED[i]);
    return 0;
}

// True where the field is absent, null, or the string `only`, of itself or in `key`.
static bool is_absent_or(const json_t *v, const char *key, const char *only)
{
    if (key && json_is_object(v)) v = json_object_get(v, key);
    const char *text = json_string_value(v);
    return !v || json_is_null(v) || (text && !strcmp(text, only));
}

static int read_fixed(translation *t)
{
    json_t *n = json_object_get(t->from, "n");
    json_t *choice = json_object_get(t->from, "tool_choice");
    json_t *modalities = json_object_get(t->from, "modalities");
    if (n && !json_is_null(n) && json_integer_value(n) != 1)
        return qn_request_refuse(t->e, "n", "only 1 is supported");
    if (!is_absent_or(json_object_get(t->from, "response_format"), "type", "text"))
        return qn_request_refuse(t->e, "response_format", "only the type text is supported yet");
    if (!is_absent_or(choice, NULL, "none") && !is_absent_or(choice, NULL, "auto"))
        return qn_request_refuse(t->e, "tool_choice", "tools are not supported yet");
    if (modalities && !json_is_null(modalities) &&
        (json_array_size(modalities) != 1 ||
         !is_absent_or(json_array_get(modalities, 0), NULL, "text")))
        return qn_request_refuse(t->e, "modalities", "only text is supported");
    json_object_del(t->from, "n");
    json_object_del(t->from, "response_format");
    json_object_del(t->from, "tool_choice");
    json_object_del(t->from, "modalities");
    return 0;
}

static int read_stream_options(translation *t)
{
    const json_t *options = json_object_get(t->from, "stream_options");
    const json_t *usage = json_object_get(options, "include_usage");
    if (options && !json_is_null(options) &&
        (!json_is_object(options) || (usage && !json_is_boolean(usage))))
        return qn_request_refuse(t->e, "stream_options",
                                 "must be {\"include_usage\": true or false}");
    t->include_usage = json_is_true(usage);
    json_object_del(t->from, "stream_options");
    return 0;
}

static int read_limit(translation *t)
{
    json_t *limit = json_object_get(t->from, "max_completion_tokens");
    if (limit && !json_is_null(limit)) {
        if (!json_is_integer(limit) || json_integer_value(limit) < 1)
            return qn_request_refuse(t->e, "max_completion_tokens",
                                     "must be a whole number of at least 1");
        json_object_set(t->from, "max_tokens", limit);
    }
    json_object_del(t->from, "max_completion_tokens");
    return 0;
}

// logprobs: true, top_logprobs: k  →  logprobs: k.
static int read_logprobs(translation *t)
{
    json_t *wanted = json_object_get(t->from, "logprobs");
    json_t *top = json_object_get(t->from, "top_logprobs");
    if (wanted && !json_is_null(wanted) && !json_is_boolean(wanted))
        return qn_request_refuse(t->e, "logprobs", "must be true or false");
    if (top && !json_is_null(top) &&
        (!json_is_integer(top) || json_integer_value(top) < 0 ||
         json_integer_value(top) > QUERN_MAX_TOP))
        return qn_request_refuse(t->e, "top_logprobs", "must be a whole number from 0 to %d",
                                 QUERN_MAX_TOP);
    json_int_t k = json_integer_value(top);
    bool on = json_is_true(wanted);
    if (k && !on) return qn_request_refuse(t->e, "top_logprobs", "needs logprobs: true");
    json_object_del(t->from, "top_logprobs");
    json_object_del(t->from, "logprobs");
    if (on) json_object_set_new(t->from, "logprobs", json_integer(k));
    return 0;
}

static int read_required(translation *t)
{
    const json_t *model = json_object_get(t->from, "model");
    const json_t *messages = json_object_get(t->from, "messages");
    if (!json_is_string(model)) return qn_request_refuse(t->e, "model", "is missing");
    if (!messages || json_is_null(messages))
        return qn_request_refuse(t->e, "messages", "is missing");
    if (json_object_get(t->from, "prompt"))
        return qn_request_refuse(t->e, "prompt", "is no field of a chat completion");
    return 0;
}

static int translate(translation *t)
{
    int rc = read_required(t);
    if (!rc) rc = refuse_unsupported(t);
    if (!rc) rc = read_fixed(t);
    if (!rc) rc = read_stream_options(t);
    if (!rc) rc = read_limit(t);
    if (!rc) rc = read_logprobs(t);
    return rc;
}

/* ---- the answer ---- */

static void write_head(qn_json *j, const qn_generation *g, const char *object)
{
    qn_json_put_text(j, "id", g->id);
    qn_json_put_text(j, "object", object);
    qn_json_put_int(j, "created", g->created_at);
    qn_json_put_text(j, "model", g->route.chosen);
    qn_answer_instance(j, g->server);
}

static void write_usage(qn_json *j, const quern_result *r)
{
    qn_json_key(j, "usage");
    qn_json_open(j, '{');
    qn_json_put_int(j, "prompt_tokens", r->prompt_tokens);
    qn_json_put_int(j, "completion_tokens", r->completion_tokens);
    qn_json_put_int(j, "total_tokens", r->prompt_tokens + r->completion_tokens);
    qn_json_key(j, "prompt_tokens_details");
    qn_json_open(j, '{');
    qn_json_put_int(j, "cached_tokens", r->cached_tokens);
    qn_json_close(j, '}');
    qn_json_close(j, '}');
}

static void write_one_logprob(qn_json *j, const quern_logprob *l)
{
    qn_json_key(j, "token");
    qn_json_text_n(j, l->bytes ? l->bytes : "", l->n_bytes);
    qn_json_put_double(j, "logprob", isfinite(l->logprob) ? (double)l->logprob : -9999.0);
    qn_json_key(j, "bytes");
    qn_json_open(j, '[');
    for (size_t i = 0; i < l->n_bytes; i++)
        qn_json_int(j, (unsigned char)l->bytes[i]);
    qn_json_close(j, ']');
}

static void write_logprob(qn_json *j, const quern_token *t)
{
    qn_json_open(j, '{');
    write_one_logprob(j, &t->chosen);
    qn_json_key(j, "top_logprobs");
    qn_json_open(j, '[');
    for (int i = 0; i < t->n_top; i++) {
        qn_json_open(j, '{');
        write_one_logprob(j, &t->top[i]);
        qn_json_close(j, '}');
    }
    qn_json_close(j, ']');
    qn_json_close(j, '}');
}

// "logprobs": {"content":[pieces]} or null.
static void write_logprobs(qn_json *j, const qn_generation *g, const qn_buffer *pieces)
{
    qn_json_key(j, "logprobs");
    if (!g->wants_logprobs) {
        qn_json_null(j);
        return;
    }
    qn_json_open(j, '{');
    qn_json_key(j, "content");
    qn_json_open(j, '[');
    if (pieces->length) qn_json_raw(j, pieces->data, pieces->length);
    qn_json_close(j, ']');
    qn_json_close(j, '}');
}

static const char *finish_of(const quern_result *r)
{
    return r->finish == QUERN_FINISH_LENGTH ? "length" : "stop";
}

static void write_completion(qn_buffer *to, const qn_generation *g, const quern_result *r)
{
    qn_json json = qn_json_to(to), *j = &json;
    qn_json_open(j, '{');
    write_head(j, g, "chat.completion");
    qn_json_key(j, "choices");
    qn_json_open(j, '[');
    qn_json_open(j, '{');
    qn_json_put_int(j, "index", 0);
    qn_json_key(j, "message");
    qn_json_open(j, '{');
    qn_json_put_text(j, "role", "assistant");
    qn_json_key(j, "content");
    qn_json_text_n(j, r->text ? r->text : "", r->n_text);
    qn_json_key(j, "refusal");
    qn_json_null(j);
    qn_json_close(j, '}');
    write_logprobs(j, g, &g->pieces);
    qn_json_put_text(j, "finish_reason", finish_of(r));
    qn_json_close(j, '}');
    qn_json_close(j, ']');
    write_usage(j, r);
    qn_json_put_uint(j, "seed", r->seed);
    qn_answer_timings(j, r);
    qn_answer_route(j, g);
    qn_json_close(j, '}');
}

// One chunk: what is new, or (finish not NULL) that it is over.
static void write_chunk(qn_buffer *to, const qn_generation *g, const quern_token *token,
                        const char *role, const char *finish)
{
    qn_buffer piece = QN_BUFFER_INIT;
    qn_json json = qn_json_to(to), *j = &json, p = qn_json_to(&piece);
    qn_json_open(j, '{');
    write_head(j, g, "chat.completion.chunk");
    qn_json_key(j, "choices");
    qn_json_open(j, '[');
    qn_json_open(j, '{');
    qn_json_put_int(j, "index", 0);
    qn_json_key(j, "delta");
    qn_json_open(j, '{');
    if (role) qn_json_put_text(j, "role", role);
    if (role || token) {
        qn_json_key(j, "content");
        qn_json_text_n(j, token && token->text ? token->text : "", token ? token->n_text : 0);
    }
    qn_json_close(j, '}');
    if (token && g->wants_logprobs) {
        write_logprob(&p, token);
        write_logprobs(j, g, &piece);
    }
    qn_json_key(j, "finish_reason");
    if (finish)
        qn_json_text(j, finish);
    else
        qn_json_null(j);
    qn_json_close(j, '}');
    qn_json_close(j, ']');
    qn_json_close(j, '}');
    qn_buffer_free(&piece);
}

static void write_usage_chunk(qn_buffer *to, const qn_generation *g, const quern_result *r)
{
    qn_json json = qn_json_to(to), *j = &json;
    qn_json_open(j, '{');
    write_head(j, g, "chat.completion.chunk");
    qn_json_key(j, "choices");
    qn_json_open(j, '[');
    qn_json_close(j, ']');
    write_usage(j, r);
    qn_json_close(j, '}');
}

/* ---- the sinks ---- */

static void fail(qn_call *call, const quern_error *e)
{
    if (e->code == QUERN_E_NOT_FOUND)
        qn_call_refuse(call, 404, "model_not_found", "model", e->message);
    else
        qn_call_fail(call, e);
}

static void on_plain(qn_generation *g, void *user, const quern_event *event)
{
    qn_call *call = user;
    qn_buffer body = QN_BUFFER_INIT;
    if (event->type == QUERN_EVENT_START) return;
    if (event->type == QUERN_EVENT_TOKEN) {
        qn_json j = {&g->pieces, g->pieces.length > 0};
        if (g->wants_logprobs) write_logprob(&j, event->token);
        return;
    }
    if (event->type == QUERN_EVENT_DONE) {
        write_completion(&body, g, event->result);
        qn_call_answer(call, 200, "application/json", &body);
    } else {
        fail(call, event->error);
    }
    qn_call_release(call);
}

static void push_error(qn_generation *g, qn_call *call, const quern_error *e)
{
    qn_buffer json = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&json);
    qn_json_open(&j, '{');
    qn_answer_error(&j, qn_answer_status(e->code), quern_code_name(e->code),
                    e->param[0] ? e->param : NULL, e->message);
    qn_json_close(&j, '}');
    qn_generate_push(g, call, &json, true);
    qn_buffer_free(&json);
}

static void push_chunk(qn_generation *g, qn_call *call, const quern_token *token, const char *role,
                       const char *finish)
{
    qn_buffer json = QN_BUFFER_INIT;
    write_chunk(&json, g, token, role, finish);
    qn_generate_push(g, call, &json, finish != NULL);
    qn_buffer_free(&json);
}

static void push_end(qn_generation *g, qn_call *call, const quern_result *r)
{
    qn_buffer json = QN_BUFFER_INIT;
    push_chunk(g, call, NULL, NULL, finish_of(r));
    if (!g->include_usage) return;
    write_usage_chunk(&json, g, r);
    qn_generate_push(g, call, &json, true);
    qn_buffer_free(&json);
}

static void on_stream(qn_generation *g, void *user, const quern_event *event)
{
    qn_call *call = user;
    bool began = qn_call_is_streaming(call);
    if (event->type == QUERN_EVENT_ERROR && !began) {
        fail(call, event->error);
        qn_call_release(call);
        return;
    }
    if (!began) {
        qn_call_stream_begin(call, "text/event-stream");
        push_chunk(g, call, NULL, "assistant", NULL);
    }
    switch (event->type) {
    case QUERN_EVENT_START:
        return;
    case QUERN_EVENT_TOKEN:
        if (event->token->n_text || g->wants_logprobs)
            push_chunk(g, call, event->token, NULL, NULL);
        return;
    case QUERN_EVENT_DONE:
        push_end(g, call, event->result);
        break;
    case QUERN_EVENT_ERROR:
        push_error(g, call, event->error);
    }
    qn_generate_end(call);
    qn_call_release(call);
}

static void set_up(qn_generation *g, void *translated)
{
    g->include_usage = ((const translation *)translated)->include_usage;
}

void qn_api_openai_chat(qn_call *call)
{
    quern_error e = {0};
    qn_request_input input;
    translation t = {.from = qn_generate_load(call), .e = &e};
    if (!t.from) return;
    if (translate(&t)) {
        json_decref(t.from);
        qn_call_fail(call, &e);
    } else if (qn_request_input_read(t.from, true, &input, &e)) {
        qn_call_fail(call, &e);
    } else {
        qn_generate_start(call, &input, "chatcmpl", input.stream ? on_stream : on_plain, set_up,
                          &t);
    }
}
