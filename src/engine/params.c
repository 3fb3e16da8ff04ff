// The table of request fields and what is made from it: setting by row, range checks, defaults. See params.h.
// Stateless; any thread. Knows no sequence and no text.
#include "engine/params.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const STRATEGIES[] = {"greedy", "sampling", "top_k", "top_p", "beam", NULL};
static const char *const EARLY_STOPPING[] = {"false", "true", "never", NULL};

#define AT(member) offsetof(quern_params, member)

// clang-format off
static const quern_field FIELDS[QN_FIELD_COUNT] = {
    [QN_FIELD_MAX_TOKENS] = {"max_tokens", QUERN_FIELD_INT, AT(max_tokens), 1, INT_MAX, false, false, NULL,
        "most tokens to generate; absent: what is left of the context"},
    [QN_FIELD_STRATEGY] = {"strategy", QUERN_FIELD_CHOICE, AT(strategy), 0, 4, false, true, STRATEGIES,
        "how tokens are chosen"},
    [QN_FIELD_TEMPERATURE] = {"temperature", QUERN_FIELD_FLOAT, AT(temperature), 0, 100, false, true, NULL,
        "divides the logits before sampling; 0 is greedy"},
    [QN_FIELD_TOP_K] = {"top_k", QUERN_FIELD_INT, AT(top_k), 0, INT_MAX, false, true, NULL,
        "sample among the k most probable tokens; 0: all"},
    [QN_FIELD_TOP_P] = {"top_p", QUERN_FIELD_FLOAT, AT(top_p), 0, 1, false, true, NULL,
        "sample among the most probable tokens that together reach p; 1: all"},
    [QN_FIELD_MIN_P] = {"min_p", QUERN_FIELD_FLOAT, AT(min_p), 0, 1, false, true, NULL,
        "drop tokens less probable than min_p times the best; 0: none"},
    [QN_FIELD_REPETITION_PENALTY] = {"repetition_penalty", QUERN_FIELD_FLOAT, AT(repetition_penalty), 0, 100, true, true, NULL,
        "divides the logits of tokens in prompt and output; 1: off"},
    [QN_FIELD_PRESENCE_PENALTY] = {"presence_penalty", QUERN_FIELD_FLOAT, AT(presence_penalty), -2, 2, false, true, NULL,
        "subtracted from tokens that the output has"},
    [QN_FIELD_FREQUENCY_PENALTY] = {"frequency_penalty", QUERN_FIELD_FLOAT, AT(frequency_penalty), -2, 2, false, true, NULL,
        "subtracted once for each time the output has a token"},
    [QN_FIELD_SEED] = {"seed", QUERN_FIELD_SEED, AT(seed), 0, 18446744073709551615.0, false, false, NULL,
        "the same seed gives the same text; absent: drawn and returned"},
    [QN_FIELD_LOGPROBS] = {"logprobs", QUERN_FIELD_INT, AT(logprobs), 0, QUERN_MAX_TOP, false, false, NULL,
        "log-probability of each token and of the k best beside it"},
    [QN_FIELD_NUM_BEAMS] = {"num_beams", QUERN_FIELD_INT, AT(num_beams), 1, QUERN_MAX_BEAMS, false, false, NULL,
        "beams of the beam search"},
    [QN_FIELD_LENGTH_PENALTY] = {"length_penalty", QUERN_FIELD_FLOAT, AT(length_penalty), -10, 10, false, false, NULL,
        "a beam's score is its log-probability divided by length to this power"},
    [QN_FIELD_EARLY_STOPPING] = {"early_stopping", QUERN_FIELD_CHOICE, AT(early_stopping), 0, 2, false, false, EARLY_STOPPING,
        "when a beam search with num_beams results ends"},
    [QN_FIELD_N_BEST] = {"n_best", QUERN_FIELD_INT, AT(n_best), 1, QUERN_MAX_BEAMS, false, false, NULL,
        "beams to return, at most num_beams"},
    [QN_FIELD_MIN_TOKENS] = {"min_tokens", QUERN_FIELD_INT, AT(min_tokens), 0, INT_MAX, false, false, NULL,
        "tokens before which neither EOS nor a stop string ends the text"},
    [QN_FIELD_IGNORE_EOS] = {"ignore_eos", QUERN_FIELD_BOOL, AT(ignore_eos), 0, 1, false, false, NULL,
        "an EOS token does not end the text"},
    [QN_FIELD_DEADLINE_MS] = {"deadline_ms", QUERN_FIELD_FLOAT, AT(deadline_ms), 0, 1e9, false, false, NULL,
        "time from submission after which the request fails; 0: none"},
};
// clang-format on

const quern_field *quern_fields(size_t *n)
{
    *n = QN_FIELD_COUNT;
    return FIELDS;
}

void quern_params_init(quern_params *p)
{
    *p = (quern_params){.temperature = 1,
                        .top_p = 1,
                        .repetition_penalty = 1,
                        .length_penalty = 1,
                        .num_beams = QN_DEFAULT_BEAMS,
                        .n_best = 1};
}

static int refuse(quern_error *e, const char *param, const char *message)
{
    if (e) snprintf(e->param, sizeof e->param, "%s", param);
    return qn_error_set(e, QUERN_E_ARGUMENT, "%s: %s", param, message);
}

static int refuse_range(quern_error *e, const quern_field *f, double value)
{
    char message[160];
    if (f->kind == QUERN_FIELD_CHOICE)
        snprintf(message, sizeof message, "not one of its choices");
    else if (f->kind == QUERN_FIELD_INT && value != floor(value))
        snprintf(message, sizeof message, "must be a whole number, found %g", value);
    else
        snprintf(message, sizeof message, "must be %s %.10g and at most %.10g, found %.10g",
                 f->above_min ? "above" : "at least", f->min, f->max, value);
    return refuse(e, f->name, message);
}

static int check_value(const quern_field *f, double value, quern_error *e)
{
    bool whole = f->kind != QUERN_FIELD_FLOAT;
    if (!(value >= f->min && value <= f->max) || (f->above_min && value <= f->min) ||
        (whole && value != floor(value)))
        return refuse_range(e, f, value);
    return QUERN_OK;
}

int quern_params_set(quern_params *p, const quern_field *field, double value, quern_error *e)
{
    if (field < FIELDS || field >= FIELDS + QN_FIELD_COUNT || field->kind == QUERN_FIELD_SEED)
        return qn_error_set(e, QUERN_E_ARGUMENT, "quern_params_set: not a settable field");
    int rc = check_value(field, value, e);
    if (rc) return rc;
    char *at = (char *)p + field->offset;
    switch (field->kind) {
    case QUERN_FIELD_FLOAT:
        *(float *)(void *)at = (float)value;
        break;
    case QUERN_FIELD_BOOL:
        *(bool *)(void *)at = value != 0;
        break;
    default:
        *(int *)(void *)at = (int)value;
    }
    // A positive value so small that float32 makes it 0 must not slip under an open bound.
    if (field->kind == QUERN_FIELD_FLOAT && field->above_min &&
        !(*(float *)(void *)at > field->min))
        return refuse_range(e, field, value);
    p->given |= 1u << (field - FIELDS);
    return QUERN_OK;
}

void quern_params_set_seed(quern_params *p, uint64_t seed)
{
    p->seed = seed;
    p->given |= 1u << QN_FIELD_SEED;
}

static double value_of(const quern_params *p, const quern_field *f)
{
    const char *at = (const char *)p + f->offset;
    switch (f->kind) {
    case QUERN_FIELD_FLOAT:
        return *(const float *)(const void *)at;
    case QUERN_FIELD_BOOL:
        return *(const bool *)(const void *)at;
    case QUERN_FIELD_SEED:
        return 0;
    default:
        return *(const int *)(const void *)at;
    }
}

static int check_prompt(const quern_params *p, quern_error *e)
{
    int n = (p->prompt != NULL) + (p->chat_json != NULL) + (p->ids != NULL);
    if (n != 1)
        return refuse(e, "prompt", n ? "give only one of prompt and messages" : "is missing");
    if (p->prompt && !p->n_prompt_bytes) return refuse(e, "prompt", "is empty");
    if (p->chat_json && !p->n_chat_bytes) return refuse(e, "messages", "is empty");
    if (p->ids && !p->n_ids) return refuse(e, "prompt", "has no tokens");
    return QUERN_OK;
}

static int check_stops(const quern_params *p, quern_error *e)
{
    if (p->n_stop > QUERN_MAX_STOPS) return refuse(e, "stop", "has more than 16 strings");
    for (size_t i = 0; i < p->n_stop; i++)
        if (!p->stop[i] || !p->stop[i][0]) return refuse(e, "stop", "has an empty string");
    return QUERN_OK;
}

int qn_params_check(const quern_params *p, quern_error *e)
{
    int rc = check_prompt(p, e);
    if (!rc) rc = check_stops(p, e);
    for (int i = 0; !rc && i < QN_FIELD_COUNT; i++)
        if (qn_params_has(p, i)) rc = check_value(&FIELDS[i], value_of(p, &FIELDS[i]), e);
    if (rc) return rc;
    if (qn_params_has(p, QN_FIELD_MIN_TOKENS) && qn_params_has(p, QN_FIELD_MAX_TOKENS) &&
        p->min_tokens > p->max_tokens)
        return refuse(e, "min_tokens", "is more than max_tokens");
    int n_beams = qn_params_has(p, QN_FIELD_NUM_BEAMS) ? p->num_beams : QN_DEFAULT_BEAMS;
    if (qn_params_has(p, QN_FIELD_STRATEGY) && p->strategy == QUERN_BEAM &&
        qn_params_has(p, QN_FIELD_N_BEST) && p->n_best > n_beams)
        return refuse(e, "n_best", "is more than num_beams");
    return QUERN_OK;
}
