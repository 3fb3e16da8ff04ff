// Live figures of a model. One writer a field (the owner; text workers for the requests' ends), any reader: all shared fields
// are atomics. Figures only; nothing here steers the engine.
#ifndef QN_ENGINE_STATS_H
#define QN_ENGINE_STATS_H
#include <stdatomic.h>
#include <stdbool.h>

#include "quern.h"

enum { QN_STATS_WINDOW = 1024 };

// The last QN_STATS_WINDOW values.
typedef struct {
    _Atomic float values[QN_STATS_WINDOW];
    atomic_uint n_added;
} qn_stats_ring;

// Sums that fade by a tenth with every entry; only their quotient is published.
typedef struct {
    double amount, seconds;
} qn_stats_quotient;

// What a finished step tells.
typedef struct {
    double seconds; // busy time
    int n_rows, n_prefill_rows, n_tokens;
    uint64_t bytes_read;
} qn_stats_step;

typedef struct {
    double started_ms;
    atomic_int running, waiting, blocks_free, batch_rows;
    _Atomic uint64_t steps, preemptions, tokens, prompt_tokens, queued_tokens;
    _Atomic uint64_t requests, requests_done, requests_cancelled, requests_failed;
    _Atomic double tokens_rate, tokens_rate_at_ms; // fades with a time constant of 2 s
    _Atomic double bytes_per_second, prefill_rate, decode_ms[QUERN_BATCH_CLASSES];
    qn_stats_ring ttft_ms, inter_token_ms;
    qn_stats_quotient bytes, prefill; // the owner's own
} qn_stats;

void qn_stats_init(qn_stats *s);
void qn_stats_add(qn_stats_ring *r, double value);
void qn_stats_step_done(qn_stats *s, const qn_stats_step *step, double now_ms);
// All of them but blocks_total.
void qn_stats_read(const qn_stats *s, quern_model_stats *out);

#endif
