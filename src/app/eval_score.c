// See eval_score.h.
#include "app/eval_score.h"

#include <math.h>
#include <stdlib.h>

static size_t best_of(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

// log Σ exp(logits), in double precision.
static double log_sum(const float *logits, size_t n, size_t best)
{
    double most = (double)logits[best], sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    return most + log(sum);
}

// Σ p · (log p - log q), p the reference's; never below 0 but by rounding.
static double divergence(const float *q, double q_sum, const float *p, double p_sum, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double log_p = (double)p[i] - p_sum, log_q = (double)q[i] - q_sum;
        sum += exp(log_p) * (log_p - log_q);
    }
    return sum > 0 ? sum : 0;
}

void qn_eval_add(qn_eval_score *s, const float *logits, const float *reference, size_t n_vocab,
                 int32_t target)
{
    size_t best = best_of(logits, n_vocab);
    double sum = log_sum(logits, n_vocab, best), nll = sum - (double)logits[target];
    s->nll_sum += nll;
    s->nll_squares += nll * nll;
    if (reference && s->n < s->capacity) {
        size_t their_best = best_of(reference, n_vocab);
        double their_sum = log_sum(reference, n_vocab, their_best);
        s->reference_nll_sum += their_sum - (double)reference[target];
        s->n_same_top += best == their_best;
        s->divergences[s->n] = divergence(logits, sum, reference, their_sum, n_vocab);
    }
    s->n++;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Between the two nearest, as NumPy's percentile.
static double quantile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1), part = at - floor(at);
    size_t low = (size_t)at, high = low + 1 < n ? low + 1 : low;
    return sorted[low] * (1 - part) + sorted[high] * part;
}

void qn_eval_finish(qn_eval_score *s, qn_eval_figures *out)
{
    double n = (double)s->n, mean = s->nll_sum / n, sum = 0;
    double variance = s->n > 1 ? (s->nll_squares / n - mean * mean) / (n - 1) : 0;
    *out = (qn_eval_figures){.perplexity = exp(mean)};
    out->perplexity_error = variance > 0 ? out->perplexity * sqrt(variance) : 0;
    if (!s->divergences) return;
    qsort(s->divergences, s->n, sizeof *s->divergences, ascending);
    for (size_t i = 0; i < s->n; i++)
        sum += s->divergences[i];
    out->reference_perplexity = exp(s->reference_nll_sum / n);
    out->kl_mean = sum / n;
    out->kl_p99 = quantile(s->divergences, s->n, 0.99);
    out->kl_max = s->divergences[s->n - 1];
    out->top1_agreement = (double)s->n_same_top / n;
}
