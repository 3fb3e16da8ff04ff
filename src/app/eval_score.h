// Scores of quern eval: what a model's logits say of the tokens that follow, and how far they are from a reference's. One thread.
#ifndef QN_APP_EVAL_SCORE_H
#define QN_APP_EVAL_SCORE_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    double nll_sum, nll_squares; // negative log-likelihoods, natural
    double reference_nll_sum;
    double *divergences; // [capacity] KL(reference ‖ model) of each token; NULL without a reference
    size_t n, capacity, n_same_top;
} qn_eval_score;

typedef struct {
    double perplexity, perplexity_error; // error: of the mean, as one standard deviation
    double reference_perplexity;         // this and what follows: 0 without a reference
    double kl_mean, kl_p99, kl_max, top1_agreement;
} qn_eval_figures;

// One token: `logits` and (NULL: none) `reference`, n_vocab each, stand before `target`.
void qn_eval_add(qn_eval_score *s, const float *logits, const float *reference, size_t n_vocab,
                 int32_t target);
// Sorts the divergences; of at least one token.
void qn_eval_finish(qn_eval_score *s, qn_eval_figures *out);

#endif
