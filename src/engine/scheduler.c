// Scheduler: what the next step of a model runs. First whoever waits and fits is let in; then every running sequence gets its
// decode row, the oldest first; then prompts are read in chunks, the oldest first, in as much time as others can wait. When
// blocks run out, the youngest goes back to waiting. Knows nothing of tickets but that a sequence in flight cannot be freed yet.
// Owner thread; allocates nothing.
#include "engine/runtime.h"

// What a step with prompts may take where others wait for it: so long at least, or so many times a step without.
enum { STEP_MS = 100, STEP_DECODES = 4 };

static bool is_beam(const qn_sequence *s)
{
    return s->request->resolved.strategy == QUERN_BEAM && s->request->kind != QN_REQUEST_LOGITS;
}

static int n_slots_of(const qn_sequence *s)
{
    return s->request->resolved.n_beams;
}

// Room for all that is known of it, one block more for each of its rows, and one for every fourth row that already runs: so
// that it is not let in only to go back at once.
static bool fits_now(const quern_model *m, const qn_sequence *s)
{
    int n_slots = n_slots_of(s), n_running_slots = m->limits.max_slots - m->n_free_slots;
    if (m->n_free_slots < n_slots) return false;
    int n_blocks = (qn_sequence_n_tokens(s) + QN_BLOCK_TOKENS - 1) / QN_BLOCK_TOKENS;
    if (m->running.first) n_blocks += n_slots + n_running_slots / 4;
    return n_blocks <= m->pool.n_free;
}

static void admit(quern_model *m, double now_ms)
{
    for (qn_sequence *s; (s = m->waiting.first) && fits_now(m, s);) {
        qn_sequence_remove(&m->waiting, s);
        qn_sequence_insert(&m->running, s);
        s->state = QN_SEQUENCE_RUNNING;
        m->n_running++;
        atomic_fetch_sub(&m->stats.waiting, 1);
        qn_sequence_take_slots(m, s, n_slots_of(s));
        qn_slot_reserve(m, s->slots[0], qn_sequence_n_tokens(s));
        if (!s->request->admitted_ms) s->request->admitted_ms = now_ms;
    }
}

// Makes the youngest sequence that is younger than s go back. False where there is none. Its blocks may come later only,
// when the steps in flight are over.
static bool preempt_younger(quern_model *m, const qn_sequence *s)
{
    for (qn_sequence *v = m->running.last; v && v != s; v = v->previous) {
        if (v->state != QN_SEQUENCE_RUNNING) continue;
        atomic_fetch_add(&m->stats.preemptions, 1);
        qn_sequence_return(m, v);
        return true;
    }
    return false;
}

static bool anybody_leaves(const quern_model *m)
{
    for (const qn_sequence *v = m->running.first; v; v = v->next)
        if (v->state != QN_SEQUENCE_RUNNING) return true;
    return false;
}

// No blocks for s. True: a younger one gave some now, try again. Else s waits for those that are leaving, or goes back itself.
static bool make_room(quern_model *m, qn_sequence *s)
{
    int n_free = m->pool.n_free;
    if (anybody_leaves(m)) return false;
    if (preempt_younger(m, s)) return m->pool.n_free > n_free;
    atomic_fetch_add(&m->stats.preemptions, 1);
    qn_sequence_return(m, s);
    return false;
}

static bool wants_output(const qn_sequence *s)
{
    const quern_request *r = s->request;
    return r->kind != QN_REQUEST_LOGITS && (is_beam(s) || s->n_out + s->n_pending < r->max_tokens);
}

static bool is_ready_to_decode(const qn_sequence *s)
{
    if (s->state != QN_SEQUENCE_RUNNING) return false;
    if (is_beam(s)) return s->beams_chosen;
    return wants_output(s) && s->n_launched == qn_sequence_n_tokens(s) - 1;
}

static void decode_row(quern_model *m, qn_flight *f, qn_sequence *s)
{
    int slot = s->slots[0], position = s->n_launched;
    while (!qn_slot_reserve(m, slot, position + 1))
        if (!make_room(m, s)) return;
    if (s->n_sent <= position) qn_step_set_token(f, slot, position, qn_sequence_token(s, position));
    qn_step_send_slot(f, s, slot, position + 1);
    qn_step_add_row(f, slot, position, QN_OUTPUT_SAMPLE, &(qn_output_owner){s, 0, 0});
    qn_step_add_member(f, s);
    s->n_launched = position + 1;
    s->n_sent = position + 2;
    s->n_pending++;
}

static void decode_beams(quern_model *m, qn_flight *f, qn_sequence *s)
{
    while (!qn_beam_group_write(m, f, s))
        if (!make_room(m, s)) return;
}

static void decode_all(quern_model *m, qn_flight *f)
{
    for (qn_sequence *s = m->running.first, *next; s; s = next) {
        if (is_ready_to_decode(s)) (is_beam(s) ? decode_beams : decode_row)(m, f, s);
        // Whoever went back was the youngest of those that run; behind it there are only some that leave.
        next = s->state == QN_SEQUENCE_WAITING ? NULL : s->next;
    }
}

static bool is_prefilling(const qn_sequence *s)
{
    if (s->state != QN_SEQUENCE_RUNNING || s->n_pending || is_ready_to_decode(s)) return false;
    int n_tokens = qn_sequence_n_tokens(s);
    if (is_beam(s)) return s->request->search.n_steps == 0 && s->n_launched < n_tokens;
    return s->n_launched < n_tokens;
}

// The next n rows of a prompt; the last token's row has the output.
static void prefill_rows(quern_model *m, qn_flight *f, qn_sequence *s, int n)
{
    int slot = s->slots[0], end = s->n_launched + n, n_tokens = qn_sequence_n_tokens(s);
    bool logits = s->request->kind == QN_REQUEST_LOGITS;
    qn_step_send_slot(f, s, slot, end);
    for (int p = s->n_launched; p < end; p++) {
        int kind = logits ? QN_OUTPUT_LOGITS : -1;
        if (p == n_tokens - 1 && wants_output(s))
            kind = is_beam(s) ? QN_OUTPUT_TOP : QN_OUTPUT_SAMPLE;
        qn_step_set_token(f, slot, p, qn_sequence_token(s, p));
        qn_step_add_row(f, slot, p, kind, &(qn_output_owner){s, 0, p});
    }
    qn_step_add_member(f, s);
    f->n_prefill_rows += n;
    s->n_launched = s->n_sent = end;
    if (logits) m->exclusive = true;
    if (logits || end < n_tokens || is_beam(s)) return;
    s->n_pending++;
    s->n_sent++;
}

static bool others_wait(const quern_model *m, const qn_flight *f)
{
    if (f->step.counts->n_rows) return true; // they decode
    for (const quern_model *other = m->runtime->executor.models; other; other = other->next)
        if (other != m && other->running.first) return true;
    return false;
}

// Rows of prompts for this step.
static int chunk_for(const quern_model *m, const qn_flight *f)
{
    if (!others_wait(m, f) || !(m->prefill_ms > 0)) return m->chunk_most;
    double ms = STEP_DECODES * m->decode_ms > STEP_MS ? STEP_DECODES * m->decode_ms : STEP_MS;
    double n = ms / m->prefill_ms;
    if (n < QN_LEAST_CHUNK) n = QN_LEAST_CHUNK;
    return n < m->chunk_most ? (int)n : m->chunk_most;
}

// Rows of a prompt that this step still takes, of n_budget: each that has an output needs room for it.
static int n_rows_to_read(const quern_model *m, const qn_flight *f, const qn_sequence *s,
                          int n_budget)
{
    int n_left = qn_sequence_n_tokens(s) - s->n_launched;
    int n_outputs_left = m->limits.max_outputs - f->step.counts->n_outputs;
    int n = n_left < n_budget ? n_left : n_budget;
    if (s->request->kind == QN_REQUEST_LOGITS) return n < n_outputs_left ? n : n_outputs_left;
    return n == n_left && n_outputs_left == 0 ? n - 1 : n;
}

static void prefill_all(quern_model *m, qn_flight *f)
{
    int chunk = chunk_for(m, f);
    for (qn_sequence *s = m->running.first; s; s = s->next) {
        if (!is_prefilling(s)) continue;
        int n = n_rows_to_read(m, f, s, chunk - f->n_prefill_rows);
        if (n > 0) prefill_rows(m, f, s, n);
    }
}

int qn_scheduler_fill(quern_model *m, qn_flight *f, double now_ms)
{
    qn_step_begin_write(f);
    if (m->exclusive) return 0;
    admit(m, now_ms);
    decode_all(m, f);
    prefill_all(m, f);
    return f->step.counts->n_rows;
}
