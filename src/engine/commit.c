// Commit: what a finished step means for its sequences: tokens become output, ends are found, beams are chosen, and who leaves
// is freed once no step has it any more. Owner thread.
#include <math.h>
#include <stdio.h>

#include "engine/runtime.h"

enum {
    CHUNKS_TO_TRUST = 200,
    LOST_CHUNKS = 4, // two launches in flight are lost together
};

static void mark(quern_model *m, qn_sequence *s)
{
    qn_executor_mark(&m->runtime->executor, s);
}

static void note_time(quern_model *m, quern_request *r, double now_ms)
{
    if (r->first_token_ms > 0)
        qn_stats_add(&m->stats.inter_token_ms, now_ms - r->last_token_ms);
    else
        qn_stats_add(&m->stats.ttft_ms, now_ms - r->submitted_ms);
    if (!(r->first_token_ms > 0)) r->first_token_ms = now_ms;
    r->last_token_ms = now_ms;
}

static void end_not_a_number(quern_model *m, qn_sequence *s)
{
    char message[96];
    snprintf(message, sizeof message, "the model's logits after token %d are not numbers",
             qn_sequence_n_tokens(s));
    qn_sequence_end(m, s, QN_END_ERROR, QUERN_E_INTERNAL, message);
}

static void copy_logprobs(quern_request *r, int index, const qn_step_result *result)
{
    int n_top = r->resolved.logprobs;
    if (n_top < 0) return;
    r->logprobs[index] = result->logprob;
    for (int i = 0; i < n_top; i++) {
        bool has = i < result->n_top;
        r->top_ids[index * n_top + i] = has ? result->top_id[i] : -1;
        r->top_logprobs[index * n_top + i] = has ? result->top_logprob[i] : -INFINITY;
    }
}

static void commit_token(quern_model *m, qn_sequence *s, const qn_step_result *result,
                         double now_ms)
{
    quern_request *r = s->request;
    s->n_pending--;
    if (result->token < 0) {
        end_not_a_number(m, s);
        return;
    }
    r->ids[s->n_out] = result->token;
    copy_logprobs(r, s->n_out, result);
    s->n_out++;
    note_time(m, r, now_ms);
    if (qn_request_is_eos(r, result->token))
        qn_sequence_end(m, s, QN_END_STOP, 0, NULL);
    else if (s->n_out == r->max_tokens)
        qn_sequence_end(m, s, QN_END_LENGTH, 0, NULL);
    else
        atomic_store_explicit(&r->progress, qn_progress_of(s->n_out, QN_END_NONE),
                              memory_order_release);
    mark(m, s);
}

// Slots of beams that nobody continues give their blocks back at once: no other step has them.
static void clear_dead_beams(quern_model *m, const qn_sequence *s, int n_live)
{
    unsigned alive = 0;
    for (int i = 0; i < s->beams.n; i++)
        alive |= 1u << s->beams.parent[i];
    for (int i = 0; i < n_live; i++)
        if (!(alive & 1u << i)) qn_slot_clear(m, s->beam_slots[i]);
}

// The outputs of a search's live beams stand side by side, from `first`.
static void commit_beams(quern_model *m, qn_sequence *s, const qn_step_result *first, double now_ms)
{
    quern_request *r = s->request;
    const qn_step_result *results[QUERN_MAX_BEAMS];
    int n_live = r->search.n_live;
    for (int i = 0; i < n_live; i++)
        results[i] = first + i;
    if (qn_beam_advance(&r->search, results, &s->beams)) {
        end_not_a_number(m, s);
        return;
    }
    note_time(m, r, now_ms);
    s->n_out = r->search.n_steps;
    if (!s->beams.n) {
        const qn_beam_hypothesis *best = &r->search.finished[0];
        qn_sequence_end(m, s, qn_request_is_eos(r, best->token) ? QN_END_STOP : QN_END_LENGTH, 0,
                        NULL);
        return;
    }
    s->beams_chosen = true;
    clear_dead_beams(m, s, n_live);
}

static void commit_logits(quern_model *m, qn_sequence *s, int output, int row)
{
    const qn_executor *x = &m->runtime->executor;
    quern_request *r = s->request;
    size_t n_vocab = (size_t)m->facts->n_vocab;
    const float *from = (const float *)m->logits.data + (size_t)output * n_vocab;
    float *to = r->logits + (size_t)row * n_vocab;
    if (x->backend->download(x->device, to, from, n_vocab * sizeof *to))
        qn_sequence_end(m, s, QN_END_ERROR, QUERN_E_DEVICE, "logits: the device gave no data");
    else if (row == (int)r->prompt.n - 1)
        qn_sequence_end(m, s, QN_END_LENGTH, 0, NULL);
}

static int commit_outputs(quern_model *m, qn_flight *f, double now_ms)
{
    int n_tokens = 0;
    for (int i = 0; i < f->step.counts->n_outputs; i++) {
        qn_output_owner *o = &f->outputs[i];
        qn_sequence *s = o->sequence;
        if (s->state == QN_SEQUENCE_ENDING) continue;
        switch (f->step.outputs[i].kind) {
        case QN_OUTPUT_SAMPLE:
            commit_token(m, s, &f->results[i], now_ms);
            n_tokens++;
            break;
        case QN_OUTPUT_TOP:
            if (o->beam) continue;
            commit_beams(m, s, &f->results[i], now_ms);
            n_tokens++;
            break;
        default:
            commit_logits(m, s, i, o->logits_row);
        }
    }
    return n_tokens;
}

// Once for each step that had the sequence.
static void leave_step(quern_model *m, qn_sequence *s, bool lost)
{
    s->n_in_flight--;
    if (lost) qn_sequence_return(m, s);
    qn_sequence_settle(m, s);
}

static void fade_in(double *average, double value)
{
    *average = *average > 0 ? 0.8 * *average + 0.2 * value : value;
}

static void time_step(quern_model *m, const qn_flight *f, double ms)
{
    fade_in(&m->step_ms, ms);
    if (!f->n_prefill_rows) fade_in(&m->decode_ms, ms);
    if (f->n_prefill_rows >= QN_LEAST_CHUNK) fade_in(&m->prefill_ms, ms / f->step.counts->n_rows);
}

static void count_step(quern_model *m, const qn_flight *f, int n_tokens, double now_ms)
{
    double since = m->runtime->executor.committed_ms;
    if (f->launched_ms > since) since = f->launched_ms;
    time_step(m, f, now_ms - since);
    qn_stats_step step = {.seconds = (now_ms - since) / 1000,
                          .n_rows = f->step.counts->n_rows,
                          .n_prefill_rows = f->n_prefill_rows,
                          .n_tokens = n_tokens,
                          .bytes_read = m->facts->active_bytes + f->state_bytes};
    qn_stats_step_done(&m->stats, &step, now_ms);
}

// A step that takes a device too long may be lost, and would be again: then there are half as many rows of prompts in one, and twice as many
// again when many of so many have gone well. Of a step with few rows of them, for what it might have had, they need not be the reason: only
// after some such losses, with no step of as many between that went well, they are the most there may be.
static void fit_chunk(quern_model *m, int n_rows, bool lost)
{
    bool many = n_rows > m->chunk_most / 2;
    bool counts = lost && n_rows > QN_LEAST_CHUNK;
    if (counts && (m->n_lost_chunks++ == 0 || n_rows < m->lost_rows)) m->lost_rows = n_rows;
    if (!lost && n_rows >= m->lost_rows) m->n_lost_chunks = 0;
    if (lost) m->n_chunks = 0;
    if (counts && (many || m->n_lost_chunks >= LOST_CHUNKS)) {
        int fewer = many ? n_rows / 2 : n_rows; // lost once more they are many
        if (fewer < QN_LEAST_CHUNK) fewer = QN_LEAST_CHUNK;
        if (fewer < m->chunk_most) m->chunk_most = fewer;
        m->n_lost_chunks = 0;
    }
    if (lost || n_rows < m->chunk_most || m->chunk_most == m->prefill_chunk) return;
    if (++m->n_chunks < CHUNKS_TO_TRUST) return;
    m->chunk_most = 2 * m->chunk_most < m->prefill_chunk ? 2 * m->chunk_most : m->prefill_chunk;
    m->n_chunks = 0;
}

void qn_commit_flight(qn_flight *f, bool lost, double now_ms)
{
    quern_model *m = f->model;
    f->in_flight = false;
    fit_chunk(m, f->n_prefill_rows, lost);
    // Nothing of this model was launched behind a step with logits: once it is over, all may go on.
    if (m->exclusive && !m->flights[0].in_flight && !m->flights[1].in_flight) m->exclusive = false;
    int n_tokens = lost ? 0 : commit_outputs(m, f, now_ms);
    for (int i = 0; i < f->n_members; i++)
        leave_step(m, f->members[i], lost);
    if (!lost) count_step(m, f, n_tokens, now_ms);
}
