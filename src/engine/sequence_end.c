// How a sequence stops running: it ends, or goes back to wait; its slots and blocks are free once no step in flight has it any
// more. Owner thread.
#include "engine/runtime.h"

static void mark(quern_model *m, qn_sequence *s)
{
    qn_executor_mark(&m->runtime->executor, s);
}

void qn_sequence_settle(quern_model *m, qn_sequence *s)
{
    if (s->n_in_flight) return;
    if (s->state != QN_SEQUENCE_RETURNING && s->state != QN_SEQUENCE_ENDING) return;
    qn_sequence_free_slots(m, s);
    qn_sequence_remove(&m->running, s);
    if (s->state == QN_SEQUENCE_RETURNING) {
        qn_sequence_rewind(s);
        s->state = QN_SEQUENCE_WAITING;
        qn_sequence_insert(&m->waiting, s);
        atomic_fetch_add(&m->stats.waiting, 1);
        return;
    }
    s->state = QN_SEQUENCE_GONE;
    s->finished = true;
    mark(m, s);
}

void qn_sequence_return(quern_model *m, qn_sequence *s)
{
    if (s->state != QN_SEQUENCE_RUNNING) return;
    m->n_running--;
    s->state = QN_SEQUENCE_RETURNING;
    qn_sequence_settle(m, s);
}

void qn_sequence_end(quern_model *m, qn_sequence *s, qn_end end, int code, const char *message)
{
    quern_request *r = s->request;
    if (s->state == QN_SEQUENCE_ENDING || s->state == QN_SEQUENCE_GONE) return;
    if (end == QN_END_ERROR) qn_error_set(&r->error, code, "%s", message);
    int n_tokens = r->resolved.strategy == QUERN_BEAM ? 0 : s->n_out;
    atomic_store_explicit(&r->progress, qn_progress_of(n_tokens, end), memory_order_release);
    mark(m, s);
    if (s->state == QN_SEQUENCE_WAITING) {
        qn_sequence_remove(&m->waiting, s);
        atomic_fetch_sub(&m->stats.waiting, 1);
        s->state = QN_SEQUENCE_GONE;
        s->finished = true;
        return;
    }
    if (s->state == QN_SEQUENCE_RUNNING) m->n_running--;
    s->state = QN_SEQUENCE_ENDING;
    qn_sequence_settle(m, s);
}
