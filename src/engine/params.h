// Request parameters: the table of scalar fields (quern_fields), their checks, and their resolution with a model's
// generation_config to what the sampler needs. Pure functions, any thread; knows no sequence.
#ifndef QN_ENGINE_PARAMS_H
#define QN_ENGINE_PARAMS_H
#include "base/error.h"
#include "model/model.h"

// Rows of the table, in its order; the bit of a field in quern_params.given is 1u << row.
enum {
    QN_FIELD_MAX_TOKENS,
    QN_FIELD_STRATEGY,
    QN_FIELD_TEMPERATURE,
    QN_FIELD_TOP_K,
    QN_FIELD_TOP_P,
    QN_FIELD_MIN_P,
    QN_FIELD_REPETITION_PENALTY,
    QN_FIELD_PRESENCE_PENALTY,
    QN_FIELD_FREQUENCY_PENALTY,
    QN_FIELD_SEED,
    QN_FIELD_LOGPROBS,
    QN_FIELD_NUM_BEAMS,
    QN_FIELD_LENGTH_PENALTY,
    QN_FIELD_EARLY_STOPPING,
    QN_FIELD_N_BEST,
    QN_FIELD_MIN_TOKENS,
    QN_FIELD_IGNORE_EOS,
    QN_FIELD_DEADLINE_MS,
    QN_FIELD_COUNT
};

enum { QN_DEFAULT_BEAMS = 4 };

static inline bool qn_params_has(const quern_params *p, int field)
{
    return (p->given >> field) & 1u;
}

// Everything that quern_submit can refuse without looking at text: ranges, contradictions, the one prompt.
int qn_params_check(const quern_params *p, quern_error *e);

// What a request asks for once the model's defaults are in; n_prompt of `slot` is filled when the prompt is known.
typedef struct {
    quern_strategy strategy;
    qn_slot_params slot; // seed included
    int max_tokens;      // 0: all that the context leaves
    int logprobs;        // -1: none wanted
    bool ignore_eos;
    int n_beams, n_best, early_stopping; // beam search only, else 1, 1, 0
    double length_penalty;
    double deadline_ms; // 0: none
} qn_resolved;

// p has passed qn_params_check. Draws a seed where none is given; QUERN_E_INTERNAL where the system has no randomness.
int qn_params_resolve(const quern_params *p, const qn_generation_config *config, qn_resolved *out,
                      quern_error *e);

#endif
