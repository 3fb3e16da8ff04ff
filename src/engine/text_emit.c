// Emitting: what the owner has published of a request becomes events, in order, ending with exactly one terminal event. A
// stop string ends the request at the token that completes it, however many tokens lie behind it already, so the answer
// does not depend on timing. Text worker threads, one at a time a request.
#include <string.h>

#include "base/clock.h"
#include "engine/runtime.h"

static void send(quern_request *r, const quern_event *event)
{
    if (r->on_event) r->on_event(r->user, event);
}

static uint64_t seed_of(const quern_request *r)
{
    return (uint64_t)r->resolved.slot.seed_high << 32 | r->resolved.slot.seed_low;
}

void qn_text_emit_start(quern_request *r)
{
    send(r, &(quern_event){
                .type = QUERN_EVENT_START, .prompt_tokens = (int)r->prompt.n, .seed = seed_of(r)});
}

// The owner need not go on; it may be asleep or in the middle of a step.
static void abandon(quern_request *r)
{
    r->terminal = true;
    if (!r->prepared) return;
    atomic_store(&r->abandoned, true);
    qn_executor_wake(&r->model->runtime->executor);
}

void qn_text_emit_error(quern_request *r, const quern_error *e)
{
    abandon(r);
    atomic_fetch_add(&r->model->stats.requests_failed, 1);
    send(r, &(quern_event){.type = QUERN_EVENT_ERROR, .error = e});
}

static double rate(double n, double ms)
{
    return n > 0 && ms > 0 ? n * 1000 / ms : 0;
}

static void fill_times(const quern_request *r, quern_result *out)
{
    double now_ms = qn_clock_ms(), admitted_ms = r->admitted_ms, first_ms = r->first_token_ms;
    double last_ms = r->last_token_ms;
    out->total_ms = now_ms - r->submitted_ms;
    out->queue_ms = (admitted_ms > 0 ? admitted_ms : now_ms) - r->submitted_ms;
    if (!(first_ms > 0)) return;
    out->prefill_ms = first_ms - admitted_ms;
    out->decode_ms = last_ms - first_ms;
    out->prefill_tokens_per_second = rate((double)r->prompt.n, out->prefill_ms);
    out->tokens_per_second = rate(r->n_emitted - 1, out->decode_ms);
}

static void send_done(quern_request *r, quern_finish finish, const quern_beam *beams, int n_beams)
{
    qn_stats *stats = &r->model->stats;
    quern_result result = {.finish = finish,
                           .text = r->stream.text.data ? r->stream.text.data : "",
                           .n_text = r->stream.n_shown,
                           .ids = r->ids,
                           .n_ids = (size_t)r->n_emitted,
                           .seed = seed_of(r),
                           .prompt_tokens = (int)r->prompt.n,
                           .completion_tokens = r->n_emitted,
                           .beams = beams,
                           .n_beams = n_beams};
    fill_times(r, &result);
    abandon(r);
    bool cancelled = finish == QUERN_FINISH_CANCELLED;
    atomic_fetch_add(cancelled ? &stats->requests_cancelled : &stats->requests_done, 1);
    send(r, &(quern_event){.type = QUERN_EVENT_DONE, .result = &result});
}

void qn_text_emit_cancelled(quern_request *r)
{
    send_done(r, QUERN_FINISH_CANCELLED, NULL, 0);
}

static void emit_no_memory(quern_request *r)
{
    quern_error e = {0};
    qn_error_set(&e, QUERN_E_MEMORY, "no memory for the generated text");
    qn_text_emit_error(r, &e);
}

/* ---- beams ---- */

// Hypothesis i with its text in memory of the request's arena. A stop string cuts it as it does the best one.
static bool read_beam(quern_request *r, int i, quern_beam *out)
{
    const qn_beam_hypothesis *h = &r->search.finished[i];
    int32_t *ids = qn_arena_take_array(&r->arena, (size_t)h->n, sizeof *ids);
    qn_stop *stop = r->n_stops ? qn_stop_new((const char *const *)r->stops, r->n_stops) : NULL;
    if (!ids || (r->n_stops && !stop)) {
        qn_stop_free(stop);
        return false;
    }
    qn_beam_read(&r->search, i, ids);
    qn_text_stream stream;
    qn_text_stream_init(&stream, r->model->tokenizer, stop, r->resolved.slot.min_tokens);
    int n = 0, rc = 0;
    while (n < h->n && rc == 0) {
        bool last = n == h->n - 1;
        rc = qn_text_stream_push(
            &stream, &(qn_text_push){n, ids[n], last, last && qn_request_is_eos(r, ids[n])});
        n++;
    }
    char *text = rc < 0 ? NULL : qn_arena_text(&r->arena, stream.text.data, stream.n_shown);
    *out = (quern_beam){text, stream.n_shown, ids, (size_t)n, (double)h->score};
    qn_text_stream_free(&stream);
    return text != NULL;
}

static void send_beams(quern_request *r, quern_finish finish)
{
    int n = r->resolved.n_best < r->search.n_finished ? r->resolved.n_best : r->search.n_finished;
    quern_beam beams[QUERN_MAX_BEAMS];
    for (int i = 0; i < n; i++)
        if (!read_beam(r, i, &beams[i])) {
            emit_no_memory(r);
            return;
        }
    send_done(r, finish, beams, n);
}

/* ---- tokens ---- */

static quern_logprob logprob_of(const quern_request *r, int32_t id, float value)
{
    quern_logprob p = {.id = id, .logprob = value};
    if (r->model->tokenizer) p.bytes = qn_tokenizer_bytes(r->model->tokenizer, id, &p.n_bytes);
    return p;
}

static void fill_logprobs(quern_request *r, int index, quern_token *token)
{
    int n_top = r->resolved.logprobs;
    if (n_top < 0) return;
    token->chosen = logprob_of(r, token->id, r->logprobs[index]);
    token->top = r->top;
    for (int i = 0; i < n_top && r->top_ids[index * n_top + i] >= 0; i++) {
        size_t at = (size_t)index * (size_t)n_top + (size_t)i;
        r->top[token->n_top++] = logprob_of(r, r->top_ids[at], r->top_logprobs[at]);
    }
}

// Pushes and sends token `index`. As qn_text_stream_push.
static int emit_token(quern_request *r, int index, bool last, bool silent)
{
    quern_token token = {.index = index, .id = r->ids[index]};
    size_t before = r->stream.n_shown;
    int rc = qn_text_stream_push(&r->stream, &(qn_text_push){index, token.id, last, silent});
    if (rc < 0) return rc;
    token.text = r->stream.text.data ? r->stream.text.data + before : "";
    token.n_text = r->stream.n_shown - before;
    fill_logprobs(r, index, &token);
    r->n_emitted = index + 1;
    send(r, &(quern_event){.type = QUERN_EVENT_TOKEN, .token = &token});
    return rc;
}

static void finish(quern_request *r, quern_finish how)
{
    if (r->resolved.strategy == QUERN_BEAM && how != QUERN_FINISH_CANCELLED)
        send_beams(r, how);
    else
        send_done(r, how, NULL, 0);
}

// True: the request has had its terminal event.
static bool emit_tokens(quern_request *r, int n_tokens, qn_end end)
{
    bool ended = end == QN_END_STOP || end == QN_END_LENGTH;
    while (r->n_emitted < n_tokens) {
        bool last = ended && r->n_emitted == n_tokens - 1;
        int rc = emit_token(r, r->n_emitted, last, last && end == QN_END_STOP);
        if (rc < 0) emit_no_memory(r);
        if (rc > 0) finish(r, QUERN_FINISH_STOP);
        if (rc) return true;
    }
    return false;
}

void qn_text_emit(quern_request *r)
{
    if (r->terminal) return;
    uint64_t progress = atomic_load_explicit(&r->progress, memory_order_acquire);
    qn_end end = (qn_end)(progress & 0xff);
    int n_tokens = (int)(progress >> 8);
    bool ended = end == QN_END_STOP || end == QN_END_LENGTH;
    if (ended && r->resolved.strategy == QUERN_BEAM) {
        qn_beam_read(&r->search, 0, r->ids);
        n_tokens = r->search.finished[0].n;
    }
    if (emit_tokens(r, n_tokens, end) || end == QN_END_NONE) return;
    if (end == QN_END_ERROR)
        qn_text_emit_error(r, &r->error);
    else if (end == QN_END_CANCELLED)
        qn_text_emit_cancelled(r);
    else
        finish(r, end == QN_END_STOP ? QUERN_FINISH_STOP : QUERN_FINISH_LENGTH);
}
