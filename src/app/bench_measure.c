// One measurement of quern bench: requests that run together, timed by their events. Where several run, the rate of decode is
// that of the one which started last, from its first token until the first of all ends: then all decode in every step.
#include <pthread.h>
#include <stdlib.h>

#include "app/bench.h"
#include "base/clock.h"
#include "base/error.h"

enum { LEAST_STEPS = 8, LOOK_MS = 20, PATIENCE = 4, MAX_AT_ONCE = 256 };

typedef struct meter meter;
typedef struct {
    meter *meter;
    quern_request *request;
} stream;

// Times are in ms, 0: not yet.
struct meter {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int n_streams, n_running, n_started, n_tokens;
    double first_ms, started_ms,
        last_ms;           // a first token, the last one's first token, the last token
    const stream *starter; // who started last
    int n_steps;           // its tokens since, until the first of all ended
    double stepped_ms;     // the last of those
    bool any_ended;
    double prefill_ms, decode_ms; // of the last that ended, as the engine tells
    quern_error error;
    stream streams[MAX_AT_ONCE];
};

static void on_token(meter *m, const stream *s, const quern_token *token)
{
    double now_ms = m->last_ms = qn_clock_ms();
    if (m->first_ms <= 0) m->first_ms = now_ms;
    if (token->index == 0 && ++m->n_started == m->n_streams) {
        m->starter = s;
        m->started_ms = now_ms;
    } else if (s == m->starter && !m->any_ended) {
        m->n_steps++;
        m->stepped_ms = now_ms;
    }
}

static void on_event(void *user, const quern_event *event)
{
    stream *s = user;
    meter *m = s->meter;
    pthread_mutex_lock(&m->lock);
    if (event->type == QUERN_EVENT_TOKEN) on_token(m, s, event->token);
    if (event->type == QUERN_EVENT_DONE) {
        m->n_tokens += event->result->completion_tokens;
        m->prefill_ms = event->result->prefill_ms;
        m->decode_ms = event->result->decode_ms;
    }
    if (event->type == QUERN_EVENT_ERROR) m->error = *event->error;
    if (event->type == QUERN_EVENT_DONE || event->type == QUERN_EVENT_ERROR) {
        m->any_ended = true;
        m->n_running--;
        pthread_cond_signal(&m->ended);
    }
    pthread_mutex_unlock(&m->lock);
}

/* ---- requests ---- */

static void set(quern_params *p, size_t offset, double value)
{
    size_t n;
    const quern_field *fields = quern_fields(&n);
    for (size_t i = 0; i < n; i++)
        if (fields[i].offset == offset) quern_params_set(p, &fields[i], value, NULL);
}

// Every request of a run has a prompt of its own: none shall profit from another's.
static void fill_prompt(int32_t *ids, int n, int n_vocab, int salt)
{
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(((int64_t)i * 7919 + (int64_t)salt * 104729 + 11) % n_vocab);
}

static int submit(const qn_bench_model *b, const qn_bench_row *r, int salt, stream *s,
                  quern_error *e)
{
    quern_params p;
    int32_t *ids = malloc((size_t)r->n_prompt * sizeof *ids);
    if (!ids) return qn_error_set(e, QUERN_E_MEMORY, "no memory for a prompt");
    fill_prompt(ids, r->n_prompt, b->info.n_vocab, salt);
    quern_params_init(&p);
    p.ids = ids;
    p.n_ids = (size_t)r->n_prompt;
    set(&p, offsetof(quern_params, strategy), r->strategy);
    set(&p, offsetof(quern_params, max_tokens), r->n_output);
    set(&p, offsetof(quern_params, ignore_eos), 1);
    if (r->strategy == QUERN_BEAM) set(&p, offsetof(quern_params, num_beams), QN_BENCH_BEAMS);
    quern_params_set_seed(&p, 1);
    int rc = quern_submit(b->model, &p, on_event, s, &s->request, e);
    free(ids);
    return rc;
}

static int submit_all(const qn_bench_model *b, const qn_bench_row *r, int salt, meter *m,
                      quern_error *e)
{
    int rc = 0, n_sent = 0;
    for (; n_sent < r->n_at_once; n_sent++) {
        m->streams[n_sent].meter = m;
        rc = submit(b, r, salt * MAX_AT_ONCE + n_sent, &m->streams[n_sent], e);
        if (rc) break;
    }
    pthread_mutex_lock(&m->lock);
    m->n_running -= r->n_at_once - n_sent;
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static void cancel_all(const meter *m)
{
    for (int i = 0; i < m->n_streams; i++)
        if (m->streams[i].request) quern_request_cancel(m->streams[i].request);
}

// True where their time ran out. Beams tell their tokens at the end, so that for them the longer time counts.
static bool await_all(meter *m, double row_ms, bool stop_now)
{
    double from_ms = qn_clock_ms();
    bool cut = false;
    pthread_mutex_lock(&m->lock);
    while (m->n_running > 0) {
        double now_ms = qn_clock_ms();
        bool over = now_ms > from_ms + PATIENCE * row_ms ||
                    (m->started_ms > 0 && now_ms > m->started_ms + row_ms);
        if (!cut && (over || stop_now)) {
            cut = true;
            cancel_all(m);
        }
        qn_clock_await(&m->ended, &m->lock, LOOK_MS);
    }
    pthread_mutex_unlock(&m->lock);
    return cut;
}

/* ---- figures ---- */

static double rate(double n, double ms)
{
    return n > 0 && ms > 0 ? n * 1e3 / ms : 0;
}

static void note_one(const meter *m, qn_bench_row *r)
{
    r->tokens_per_second = rate(m->n_tokens - 1, m->decode_ms);
    r->prefill_tokens_per_second = m->n_tokens ? rate(r->n_prompt, m->prefill_ms) : 0;
}

static void note_several(const meter *m, double from_ms, qn_bench_row *r)
{
    r->prompts_included = m->n_steps < LEAST_STEPS;
    r->tokens_per_second =
        r->prompts_included
            ? rate(m->n_tokens - m->n_started, m->last_ms - m->first_ms)
            : rate((double)m->n_steps * r->n_at_once, m->stepped_ms - m->started_ms);
    if (m->started_ms > 0)
        r->prefill_tokens_per_second =
            rate((double)r->n_prompt * r->n_at_once, m->started_ms - from_ms);
}

// A pass over a prompt reads the weights once a step.
static void note_prefill(const qn_bench_model *b, const meter *m, uint64_t n_steps,
                         const quern_model_stats *now, qn_bench_row *r)
{
    if (r->prefill_tokens_per_second <= 0)
        r->prefill_tokens_per_second = now->prefill_tokens_per_second; // of the steps until the cut
    r->tokens_per_second = r->prefill_tokens_per_second;
    r->bytes_per_second = rate((double)n_steps * (double)b->info.active_bytes, m->prefill_ms);
}

static void note(const qn_bench_model *b, const meter *m, double from_ms,
                 const quern_model_stats *before, qn_bench_row *r)
{
    quern_model_stats now;
    quern_model_get_stats(b->model, &now);
    r->n_tokens = m->n_tokens;
    r->whole_tokens_per_second = rate(m->n_tokens, qn_clock_ms() - from_ms);
    r->bytes_per_second = now.bytes_per_second;
    if (r->n_at_once == 1)
        note_one(m, r);
    else
        note_several(m, from_ms, r);
    if (r->group == QN_BENCH_PREFILL)
        note_prefill(b, m, now.steps_total - before->steps_total, &now, r);
}

int qn_bench_measure(const qn_bench_model *b, double row_ms, int salt, qn_bench_row *r,
                     quern_error *e)
{
    quern_model_stats before;
    meter *m = calloc(1, sizeof *m);
    if (!m) return qn_error_set(e, QUERN_E_MEMORY, "no memory for a measurement");
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->ended, NULL);
    m->n_streams = m->n_running = r->n_at_once;
    quern_model_get_stats(b->model, &before);
    double from_ms = qn_clock_ms();
    int rc = submit_all(b, r, salt, m, e);
    r->cut = await_all(m, row_ms, rc != 0);
    if (!rc && (rc = m->error.code) && e) *e = m->error;
    if (!rc) note(b, m, from_ms, &before, r);
    for (int i = 0; i < m->n_streams; i++)
        quern_request_free(m->streams[i].request);
    pthread_cond_destroy(&m->ended);
    pthread_mutex_destroy(&m->lock);
    free(m);
    return rc;
}
