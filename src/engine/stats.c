// See stats.h.
#include "engine/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define RATE_MS 2000.0
// Shorter prefills are mostly overhead and say little about the rate.
enum { PREFILL_ROWS_LEAST = 16 };

void qn_stats_init(qn_stats *s)
{
    memset(s, 0, sizeof *s);
    s->started_ms = qn_clock_ms();
}

void qn_stats_add(qn_stats_ring *r, double value)
{
    unsigned n = atomic_load_explicit(&r->n_added, memory_order_relaxed);
    atomic_store_explicit(&r->values[n % QN_STATS_WINDOW], (float)value, memory_order_relaxed);
    // The count stays between one and two windows once full, so that it never wraps to "few".
    n = n + 1 < 2 * QN_STATS_WINDOW ? n + 1 : QN_STATS_WINDOW;
    atomic_store_explicit(&r->n_added, n, memory_order_release);
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void read_quantiles(const qn_stats_ring *r, double out[3])
{
    static const double AT[3] = {0.50, 0.95, 0.99};
    float values[QN_STATS_WINDOW];
    unsigned n = atomic_load_explicit(&r->n_added, memory_order_acquire);
    if (n > QN_STATS_WINDOW) n = QN_STATS_WINDOW;
    for (unsigned i = 0; i < n; i++)
        values[i] = atomic_load_explicit(&r->values[i], memory_order_relaxed);
    qsort(values, n, sizeof *values, compare);
    for (int i = 0; i < 3; i++)
        out[i] = n ? (double)values[(unsigned)(AT[i] * (double)(n - 1) + 0.5)] : 0;
}

static double faded_rate(const qn_stats *s, double now_ms)
{
    double age_ms = now_ms - s->tokens_rate_at_ms;
    return s->tokens_rate * exp(-(age_ms > 0 ? age_ms : 0) / RATE_MS);
}

static double add_quotient(qn_stats_quotient *q, double amount, double seconds)
{
    q->amount = 0.9 * q->amount + amount;
    q->seconds = 0.9 * q->seconds + seconds;
    return q->seconds > 0 ? q->amount / q->seconds : 0;
}

static int class_of(int n_rows)
{
    int i = 0;
    while (i < QUERN_BATCH_CLASSES - 1 && n_rows > 1 << i)
        i++;
    return i;
}

// A step's usual time. A stall (a core lent to another process) raises it by little, and one at the very start is soon
// forgotten; what lasts is followed within some dozens of steps.
static double follow(double usual_ms, double ms)
{
    if (usual_ms <= 0) return ms;
    if (ms > 1.5 * usual_ms) ms = 1.5 * usual_ms;
    return usual_ms + (ms < 0.5 * usual_ms ? 0.5 : 0.1) * (ms - usual_ms);
}

void qn_stats_step_done(qn_stats *s, const qn_stats_step *step, double now_ms)
{
    atomic_fetch_add(&s->steps, 1);
    atomic_fetch_add(&s->tokens, (uint64_t)step->n_tokens);
    s->batch_rows = step->n_rows;
    s->tokens_rate = faded_rate(s, now_ms) + step->n_tokens * 1000.0 / RATE_MS;
    s->tokens_rate_at_ms = now_ms;
    s->bytes_per_second = add_quotient(&s->bytes, (double)step->bytes_read, step->seconds);
    if (step->n_prefill_rows >= PREFILL_ROWS_LEAST)
        s->prefill_rate = add_quotient(&s->prefill, step->n_rows, step->seconds);
    if (step->n_prefill_rows) return;
    _Atomic double *ms = &s->decode_ms[class_of(step->n_rows)];
    *ms = follow(*ms, step->seconds * 1000);
}

void qn_stats_read(const qn_stats *s, quern_model_stats *out)
{
    double now_ms = qn_clock_ms(), age_s = (now_ms - s->started_ms) / 1000;
    *out = (quern_model_stats){
        .running = s->running,
        .waiting = s->waiting,
        .blocks_free = s->blocks_free,
        .batch_rows = s->batch_rows,
        .steps_total = s->steps,
        .preemptions_total = s->preemptions,
        .tokens_total = s->tokens,
        .prompt_tokens_total = s->prompt_tokens,
        .requests_total = s->requests,
        .requests_done = s->requests_done,
        .requests_cancelled = s->requests_cancelled,
        .requests_failed = s->requests_failed,
        .tokens_per_second_now = faded_rate(s, now_ms),
        .bytes_per_second = s->bytes_per_second,
        .prefill_tokens_per_second = s->prefill_rate,
        .queued_tokens = s->queued_tokens,
    };
    out->tokens_per_second_since_start = age_s > 0 ? (double)s->tokens / age_s : 0;
    for (int i = 0; i < QUERN_BATCH_CLASSES; i++)
        out->decode_step_ms[i] = s->decode_ms[i];
    read_quantiles(&s->ttft_ms, out->ttft_ms);
    read_quantiles(&s->inter_token_ms, out->inter_token_ms);
}
