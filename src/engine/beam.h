// Beam search as Hugging Face transformers does it (generate with num_beams, no sampling): which continuations live on,
// which are finished, when to end. Pure bookkeeping over log-probabilities: no device, no blocks, no slots.
// A search belongs to the owner thread until it has finished; then to whoever reads the result.
#ifndef QN_ENGINE_BEAM_H
#define QN_ENGINE_BEAM_H
#include "backend/step.h"
#include "base/error.h"

typedef struct {
    int n_beams;
    int max_new; // most tokens of a hypothesis
    int early_stopping;
    double length_penalty;
    int n_eos;
    int32_t eos[QN_MAX_EOS];
} qn_beam_settings;

// A finished hypothesis: the trellis up to n − 1 tokens that ends in beam `parent`, and one last token.
typedef struct {
    float score; // sum / n^length_penalty
    int n, parent;
    int32_t token;
} qn_beam_hypothesis;

typedef struct {
    qn_beam_settings settings;
    int n_steps; // tokens that every live beam has generated
    int n_live;
    float sums[QUERN_MAX_BEAMS]; // of log-probabilities, a live beam; best first
    int32_t *tokens;        // trellis [max_new][n_beams]: the token that beam i got at a step …
    unsigned char *parents; // … and the beam of the step before that it continues
    int n_finished;
    qn_beam_hypothesis finished[QUERN_MAX_BEAMS]; // best first
    bool improvable; // the heuristic still sees a live beam that could beat the worst finished one
} qn_beam_search;

// Where the live beams of the next step come from: beam i = beam parent[i] + token[i].
typedef struct {
    int n; // 0: the search is over
    int parent[QUERN_MAX_BEAMS];
    int32_t token[QUERN_MAX_BEAMS];
} qn_beam_next;

int qn_beam_init(qn_beam_search *b, const qn_beam_settings *settings, quern_error *e);
void qn_beam_free(qn_beam_search *b);
// Back to the start: one live beam, the prompt.
void qn_beam_restart(qn_beam_search *b);
// Candidates wanted from each live beam.
int qn_beam_n_top(const qn_beam_settings *s);
// One step: results[i] holds the best continuations of live beam i (penalised log-probabilities). QUERN_E_INTERNAL where they
// are not numbers.
int qn_beam_advance(qn_beam_search *b, const qn_step_result *const *results, qn_beam_next *next);
// The tokens of finished hypothesis i, into out[finished[i].n].
void qn_beam_read(const qn_beam_search *b, int i, int32_t *out);

#endif
