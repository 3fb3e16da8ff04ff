// Resolution: what a request names, what its strategy defaults to and what the model's generation_config says become one
// set of sampling parameters (DESIGN.md §4). Stateless; any thread.
#include <math.h>
#include <string.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

#include "engine/params.h"

enum { TOP_K_DEFAULT = 50 };
#define TOP_P_DEFAULT 0.9f
// Below this temperature the most probable token wins anyway, and logits / temperature could overflow.
#define TEMPERATURE_LEAST 1e-6f

static bool names_any(const quern_params *p, uint32_t fields)
{
    return (p->given & fields) != 0;
}

static uint32_t sampling_fields(void)
{
    size_t n;
    const quern_field *f = quern_fields(&n);
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++)
        if (f[i].sampling) bits |= 1u << i;
    return bits;
}

// Who names a filter wants to sample; who names none gets the directory's own way.
static quern_strategy strategy_of(const quern_params *p, const qn_generation_config *config)
{
    const uint32_t filters = 1u << QN_FIELD_TEMPERATURE | 1u << QN_FIELD_TOP_K |
                             1u << QN_FIELD_TOP_P | 1u << QN_FIELD_MIN_P;
    if (qn_params_has(p, QN_FIELD_STRATEGY)) return (quern_strategy)p->strategy;
    if (names_any(p, filters)) return QUERN_SAMPLING;
    return config->do_sample ? QUERN_SAMPLING : QUERN_GREEDY;
}

static void take_from_config(qn_slot_params *s, const qn_generation_config *config, bool sampling)
{
    if (config->has_repetition_penalty) s->repetition_penalty = config->repetition_penalty;
    if (!sampling) return;
    if (config->has_temperature) s->temperature = config->temperature;
    if (config->has_top_k) s->top_k = config->top_k;
    if (config->has_top_p) s->top_p = config->top_p;
    if (config->has_min_p) s->min_p = config->min_p;
}

static void take_given(qn_slot_params *s, const quern_params *p)
{
    if (qn_params_has(p, QN_FIELD_TEMPERATURE)) s->temperature = p->temperature;
    if (qn_params_has(p, QN_FIELD_TOP_K)) s->top_k = p->top_k;
    if (qn_params_has(p, QN_FIELD_TOP_P)) s->top_p = p->top_p;
    if (qn_params_has(p, QN_FIELD_MIN_P)) s->min_p = p->min_p;
    if (qn_params_has(p, QN_FIELD_REPETITION_PENALTY))
        s->repetition_penalty = p->repetition_penalty;
    if (qn_params_has(p, QN_FIELD_PRESENCE_PENALTY)) s->presence_penalty = p->presence_penalty;
    if (qn_params_has(p, QN_FIELD_FREQUENCY_PENALTY)) s->frequency_penalty = p->frequency_penalty;
}

static void fill_slot(qn_slot_params *s, const quern_params *p, const qn_generation_config *config,
                      quern_strategy strategy)
{
    *s = (qn_slot_params){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
    if (strategy == QUERN_TOP_K) s->top_k = TOP_K_DEFAULT;
    if (strategy == QUERN_TOP_P) s->top_p = TOP_P_DEFAULT;
    if (!names_any(p, sampling_fields())) take_from_config(s, config, strategy != QUERN_GREEDY);
    take_given(s, p);
    s->greedy = strategy == QUERN_GREEDY || strategy == QUERN_BEAM ||
                !(s->temperature >= TEMPERATURE_LEAST);
    if (s->greedy) s->temperature = 1;
    if (qn_params_has(p, QN_FIELD_MIN_TOKENS)) s->min_tokens = p->min_tokens;
    if (qn_params_has(p, QN_FIELD_IGNORE_EOS) && p->ignore_eos) return;
    s->n_eos = config->n_eos;
    memcpy(s->eos, config->eos_ids, sizeof s->eos);
}

// 53 bits: a seed that goes through a client's JSON numbers unharmed.
static int draw_seed(uint64_t *out, quern_error *e)
{
    if (getentropy(out, sizeof *out))
        return qn_error_set(e, QUERN_E_INTERNAL, "seed: the system gives no random bytes");
    *out &= (UINT64_C(1) << 53) - 1;
    return QUERN_OK;
}

int qn_params_resolve(const quern_params *p, const qn_generation_config *config, qn_resolved *out,
                      quern_error *e)
{
    uint64_t seed = p->seed;
    int rc = qn_params_has(p, QN_FIELD_SEED) ? QUERN_OK : draw_seed(&seed, e);
    if (rc) return rc;
    *out = (qn_resolved){.strategy = strategy_of(p, config), .n_beams = 1, .n_best = 1};
    fill_slot(&out->slot, p, config, out->strategy);
    out->slot.seed_low = (uint32_t)seed;
    out->slot.seed_high = (uint32_t)(seed >> 32);
    out->max_tokens = qn_params_has(p, QN_FIELD_MAX_TOKENS) ? p->max_tokens : 0;
    out->logprobs = qn_params_has(p, QN_FIELD_LOGPROBS) ? p->logprobs : -1;
    out->ignore_eos = qn_params_has(p, QN_FIELD_IGNORE_EOS) && p->ignore_eos;
    out->deadline_ms = qn_params_has(p, QN_FIELD_DEADLINE_MS) ? (double)p->deadline_ms : 0;
    out->length_penalty = 1;
    if (out->strategy != QUERN_BEAM) return QUERN_OK;
    out->n_beams = qn_params_has(p, QN_FIELD_NUM_BEAMS) ? p->num_beams : QN_DEFAULT_BEAMS;
    out->n_best = qn_params_has(p, QN_FIELD_N_BEST) ? p->n_best : 1;
    if (qn_params_has(p, QN_FIELD_LENGTH_PENALTY)) out->length_penalty = (double)p->length_penalty;
    if (qn_params_has(p, QN_FIELD_EARLY_STOPPING)) out->early_stopping = p->early_stopping;
    out->logprobs = -1;
    return QUERN_OK;
}
