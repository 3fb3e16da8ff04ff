// Preparing a request: its prompt becomes token ids (through the chat template where there are messages), is checked against
// the context, gets the room for all that it may output, and goes to the owner. Text worker threads.
#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "engine/runtime.h"

static int refuse(quern_error *e, int code, const char *param, const char *message)
{
    snprintf(e->param, sizeof e->param, "%s", param);
    return qn_error_set(e, code, "%s: %s", param, message);
}

static const char *param_of(const quern_request *r)
{
    return r->kind == QN_REQUEST_CHAT ? "messages" : "prompt";
}

static int render_chat(quern_request *r, qn_buffer *text, qn_buffer *trusted, quern_error *e)
{
    json_error_t where;
    json_t *variables = json_loadb(r->text, r->n_text_bytes, JSON_REJECT_DUPLICATES, &where);
    int rc = QUERN_OK;
    if (!json_is_object(variables))
        rc = refuse(e, QUERN_E_ARGUMENT, "messages", "the chat is no JSON object");
    if (!rc && !json_object_get(variables, "add_generation_prompt") &&
        json_object_set_new(variables, "add_generation_prompt", json_true()))
        rc = refuse(e, QUERN_E_MEMORY, "messages", "no memory");
    if (!rc)
        rc = qn_chat_template_render(r->model->chat_template, variables, (double)time(NULL), text,
                                     trusted, e);
    json_decref(variables);
    return rc;
}

static int encode_chat(quern_request *r, quern_error *e)
{
    qn_buffer text = QN_BUFFER_INIT, trusted = QN_BUFFER_INIT;
    int rc = render_chat(r, &text, &trusted, e);
    if (!rc && (text.failed || trusted.failed))
        rc = refuse(e, QUERN_E_MEMORY, "messages", "no memory for the rendered chat");
    if (!rc && text.length)
        rc = qn_tokenizer_encode(r->model->tokenizer, text.data, text.length,
                                 (const unsigned char *)trusted.data, &r->prompt, e);
    qn_buffer_free(&text);
    qn_buffer_free(&trusted);
    return rc;
}

static int encode(quern_request *r, quern_error *e)
{
    int rc = QUERN_OK;
    if (r->kind == QN_REQUEST_CHAT) rc = encode_chat(r, e);
    if (r->kind == QN_REQUEST_PROMPT)
        rc =
            qn_tokenizer_encode(r->model->tokenizer, r->text, r->n_text_bytes, NULL, &r->prompt, e);
    if (rc && !e->param[0]) snprintf(e->param, sizeof e->param, "%s", param_of(r));
    return rc;
}

static int check_ids(const quern_request *r, quern_error *e)
{
    int n_vocab = r->model->facts->n_vocab;
    if (!r->prompt.n) return refuse(e, QUERN_E_ARGUMENT, param_of(r), "has no tokens");
    for (size_t i = 0; i < r->prompt.n; i++)
        if (r->prompt.data[i] < 0 || r->prompt.data[i] >= n_vocab)
            return refuse(e, QUERN_E_ARGUMENT, param_of(r),
                          "has a token id that is not in the model's vocabulary");
    return QUERN_OK;
}

static int check_context(const quern_request *r, quern_error *e)
{
    size_t n_context = (size_t)r->model->n_context;
    bool logits = r->kind == QN_REQUEST_LOGITS;
    if (r->prompt.n < n_context || (logits && r->prompt.n == n_context)) return QUERN_OK;
    snprintf(e->param, sizeof e->param, "%s", param_of(r));
    return qn_error_set(e, QUERN_E_CONTEXT, "%s: %zu tokens fill the context of %zu", param_of(r),
                        r->prompt.n, n_context);
}

// The most tokens that n_beams beams can have in the pool, each with a tail of its own.
static int64_t max_beam_tokens(const quern_request *r)
{
    int64_t n_prompt = (int64_t)r->prompt.n;
    int64_t n_blocks = r->model->n_blocks_total - n_prompt / QN_BLOCK_TOKENS;
    return n_blocks / r->resolved.n_beams * QN_BLOCK_TOKENS - n_prompt % QN_BLOCK_TOKENS;
}

static int limit_tokens(quern_request *r, quern_error *e)
{
    int n_left = r->model->n_context - (int)r->prompt.n, asked = r->resolved.max_tokens;
    r->max_tokens = asked && asked < n_left ? asked : n_left;
    if (r->resolved.strategy != QUERN_BEAM) return QUERN_OK;
    int64_t most = max_beam_tokens(r);
    if (r->max_tokens <= most) return QUERN_OK;
    if (most < 1 || asked)
        return refuse(e, QUERN_E_LIMIT, asked ? "max_tokens" : "num_beams",
                      "so many beams of such a length can never fit the model's blocks");
    r->max_tokens = (int)most;
    return QUERN_OK;
}

static bool make_logprob_room(quern_request *r)
{
    size_t n = (size_t)r->max_tokens, n_top = (size_t)r->resolved.logprobs;
    r->logprobs = qn_arena_take_array(&r->arena, n, sizeof *r->logprobs);
    if (!r->logprobs || !n_top) return r->logprobs != NULL;
    r->top_ids = qn_arena_take_array(&r->arena, n, n_top * sizeof *r->top_ids);
    r->top_logprobs = qn_arena_take_array(&r->arena, n, n_top * sizeof *r->top_logprobs);
    return r->top_ids && r->top_logprobs;
}

static int make_search(quern_request *r, quern_error *e)
{
    const qn_resolved *d = &r->resolved;
    qn_beam_settings settings = {.n_beams = d->n_beams,
                                 .max_new = r->max_tokens,
                                 .early_stopping = d->early_stopping,
                                 .length_penalty = d->length_penalty,
                                 .n_eos = d->slot.n_eos};
    for (int i = 0; i < d->slot.n_eos; i++)
        settings.eos[i] = d->slot.eos[i];
    return qn_beam_init(&r->search, &settings, e);
}

static int make_room(quern_request *r, quern_error *e)
{
    int rc = limit_tokens(r, e);
    if (rc) return rc;
    r->ids = qn_arena_take_array(&r->arena, (size_t)r->max_tokens, sizeof *r->ids);
    if (!r->ids || (r->resolved.logprobs >= 0 && !make_logprob_room(r)))
        return qn_error_set(e, QUERN_E_MEMORY, "no memory for %d tokens of output", r->max_tokens);
    return r->resolved.strategy == QUERN_BEAM ? make_search(r, e) : QUERN_OK;
}

int qn_text_prepare_request(quern_request *r, quern_error *e)
{
    if (atomic_load(&r->model->closing))
        return qn_error_set(e, QUERN_E_CLOSING, "the model is being closed");
    int rc = encode(r, e);
    if (!rc) rc = check_ids(r, e);
    if (!rc) rc = check_context(r, e);
    if (!rc && r->kind != QN_REQUEST_LOGITS) rc = make_room(r, e);
    r->text = NULL; // its bytes are given back with the arena
    if (rc) return rc;
    r->resolved.slot.n_prompt = (int32_t)r->prompt.n;
    atomic_fetch_add(&r->model->stats.prompt_tokens, r->prompt.n);
    qn_executor_mail(&r->model->runtime->executor, r);
    return QUERN_OK;
}
