// See beam.h. The semantics are those of transformers' GenerationMixin._beam_search (4.50 and later):
// of all continuations the best max(2, 1 + n_eos) · n_beams are looked at; those that end only count among the best n_beams;
// the best n_beams of the others live on. Sums and scores are float32, as there, so that near ties fall alike.
#include "engine/beam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    float sum;
    int parent;
    int32_t token;
} candidate;

int qn_beam_n_top(const qn_beam_settings *s)
{
    int n = s->n_beams * (s->n_eos > 1 ? 1 + s->n_eos : 2);
    return n < QN_TOP_MAX ? n : QN_TOP_MAX;
}

int qn_beam_init(qn_beam_search *b, const qn_beam_settings *settings, quern_error *e)
{
    *b = (qn_beam_search){.settings = *settings};
    size_t cells = (size_t)settings->max_new * (size_t)settings->n_beams;
    b->tokens = calloc(cells, sizeof *b->tokens);
    b->parents = calloc(cells, sizeof *b->parents);
    if (!b->tokens || !b->parents) {
        qn_beam_free(b);
        return qn_error_set(e, QUERN_E_MEMORY, "beam search: no memory for %d beams of %d tokens",
                            settings->n_beams, settings->max_new);
    }
    qn_beam_restart(b);
    return QUERN_OK;
}

void qn_beam_free(qn_beam_search *b)
{
    free(b->tokens);
    free(b->parents);
    b->tokens = NULL;
    b->parents = NULL;
}

void qn_beam_restart(qn_beam_search *b)
{
    b->n_steps = 0;
    b->n_live = 1;
    b->sums[0] = 0;
    b->n_finished = 0;
    b->improvable = true;
}

// Merges the beams' lists, each sorted, into the best n of all; ties go to the lower beam, then the earlier entry.
static int merge(const qn_beam_search *b, const qn_step_result *const *results, candidate *out,
                 int n)
{
    int at[QUERN_MAX_BEAMS] = {0}, found = 0;
    for (; found < n; found++) {
        int best = -1;
        float best_sum = 0;
        for (int i = 0; i < b->n_live; i++) {
            if (at[i] >= results[i]->n_top) continue;
            float sum = b->sums[i] + results[i]->top_logprob[at[i]];
            if (sum == -INFINITY) continue; // impossible: an EOS id before min_tokens
            if (best < 0 || sum > best_sum) best = i, best_sum = sum;
        }
        if (best < 0) break;
        out[found] = (candidate){best_sum, best, results[best]->top_id[at[best]++]};
    }
    return found;
}

static bool ends(const qn_beam_search *b, int32_t token)
{
    for (int i = 0; i < b->settings.n_eos; i++)
        if (b->settings.eos[i] == token) return true;
    return b->n_steps + 1 >= b->settings.max_new;
}

static float score_of(float sum, int n, double length_penalty)
{
    return sum / (float)pow(n, length_penalty);
}

// Keeps the best n_beams of finished hypotheses; an older one wins a tie.
static void finish(qn_beam_search *b, const candidate *c)
{
    int n = b->n_steps + 1, at = b->n_finished;
    float score = score_of(c->sum, n, b->settings.length_penalty);
    while (at > 0 && score > b->finished[at - 1].score)
        at--;
    if (at == b->settings.n_beams) return;
    if (b->n_finished < b->settings.n_beams) b->n_finished++;
    size_t behind = (size_t)(b->n_finished - 1 - at);
    memmove(&b->finished[at + 1], &b->finished[at], behind * sizeof *b->finished);
    b->finished[at] = (qn_beam_hypothesis){score, n, c->parent, c->token};
}

static bool is_full(const qn_beam_search *b)
{
    return b->n_finished == b->settings.n_beams;
}

static void collect_finished(qn_beam_search *b, const candidate *c, int n)
{
    // As there: what is full under early_stopping, or cannot improve, takes nothing more; decided before the step.
    if (!b->improvable) return;
    if (is_full(b) && b->settings.early_stopping == QUERN_EARLY_TRUE) return;
    for (int i = 0; i < n && i < b->settings.n_beams; i++)
        if (ends(b, c[i].token)) finish(b, &c[i]);
}

static void collect_live(qn_beam_search *b, const candidate *c, int n, qn_beam_next *next)
{
    float sums[QUERN_MAX_BEAMS];
    size_t row = (size_t)b->n_steps * (size_t)b->settings.n_beams;
    next->n = 0;
    for (int i = 0; i < n && next->n < b->settings.n_beams; i++) {
        if (ends(b, c[i].token)) continue;
        sums[next->n] = c[i].sum;
        next->parent[next->n] = c[i].parent;
        next->token[next->n] = c[i].token;
        b->parents[row + (size_t)next->n] = (unsigned char)c[i].parent;
        b->tokens[row + (size_t)next->n] = c[i].token;
        next->n++;
    }
    memcpy(b->sums, sums, (size_t)next->n * sizeof *sums);
    b->n_live = next->n;
}

// Could the best live beam still beat the worst finished one? early_stopping "never" assumes the length that helps it most.
static void look_ahead(qn_beam_search *b)
{
    const qn_beam_settings *s = &b->settings;
    if (!b->n_live || !is_full(b)) return;
    bool longest = s->early_stopping == QUERN_EARLY_NEVER && s->length_penalty > 0;
    int n = longest ? s->max_new : b->n_steps;
    float best = score_of(b->sums[0], n, s->length_penalty);
    if (!(best > b->finished[b->n_finished - 1].score)) b->improvable = false;
}

int qn_beam_advance(qn_beam_search *b, const qn_step_result *const *results, qn_beam_next *next)
{
    candidate c[QN_TOP_MAX];
    for (int i = 0; i < b->n_live; i++)
        if (results[i]->n_top < 1 || isnan(results[i]->top_logprob[0])) return QUERN_E_INTERNAL;
    int n = merge(b, results, c, qn_beam_n_top(&b->settings));
    collect_finished(b, c, n);
    collect_live(b, c, n, next);
    b->n_steps++;
    look_ahead(b);
    if (!b->improvable || (is_full(b) && b->settings.early_stopping == QUERN_EARLY_TRUE))
        next->n = 0;
    return n ? QUERN_OK : QUERN_E_INTERNAL;
}

void qn_beam_read(const qn_beam_search *b, int i, int32_t *out)
{
    const qn_beam_hypothesis *h = &b->finished[i];
    int beam = h->parent;
    out[h->n - 1] = h->token;
    for (int step = h->n - 2; step >= 0; step--) {
        size_t cell = (size_t)step * (size_t)b->settings.n_beams + (size_t)beam;
        out[step] = b->tokens[cell];
        beam = b->parents[cell];
    }
}
