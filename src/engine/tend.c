// Tending: arrivals, cancels, deadlines, closing, a dead device, and the figures that follow from the lists. Owner thread, once a
// round of its loop.
#include "engine/runtime.h"

// A model that comes back from idleness has no claim on the time in which it wanted nothing.
static void forget_idle_claim(quern_model *m)
{
    double served_ms = m->runtime->executor.served_ms;
    bool idle = !m->waiting.first && !m->running.first;
    if (idle && m->served_ms < served_ms) m->served_ms = served_ms;
}

void qn_engine_receive(quern_model *m, quern_request *r)
{
    qn_sequence *s = &r->sequence;
    *s = (qn_sequence){.request = r, .order = m->n_arrived++, .state = QN_SEQUENCE_WAITING};
    forget_idle_claim(m);
    qn_sequence_insert(&m->waiting, s);
    if (m->runtime->executor.dead)
        qn_sequence_end(m, s, QN_END_ERROR, QUERN_E_DEVICE, "the device has failed");
}

static void tend_one(quern_model *m, qn_sequence *s, double now_ms)
{
    quern_request *r = s->request;
    double deadline_ms = r->resolved.deadline_ms;
    if (atomic_load(&r->abandoned) || atomic_load(&r->cancelled))
        qn_sequence_end(m, s, QN_END_CANCELLED, 0, NULL);
    else if (atomic_load(&m->closing))
        qn_sequence_end(m, s, QN_END_ERROR, QUERN_E_CLOSING, "the model is being closed");
    else if (deadline_ms > 0 && now_ms - r->submitted_ms > deadline_ms)
        qn_sequence_end(m, s, QN_END_ERROR, QUERN_E_DEADLINE, "deadline_ms has passed");
}

static uint64_t n_tokens_left(const qn_sequence *s)
{
    const quern_request *r = s->request;
    int n_prompt_left = (int)r->prompt.n - s->n_launched;
    return (uint64_t)(r->max_tokens - s->n_out) + (uint64_t)(n_prompt_left > 0 ? n_prompt_left : 0);
}

// The tokens that they still may take. Who ends in this round takes none: the owner may rest behind it, and count no more.
static uint64_t tend_list(quern_model *m, qn_sequence_list *list, double now_ms)
{
    uint64_t n_queued = 0;
    for (qn_sequence *s = list->first, *next; s; s = next) {
        next = s->next;
        tend_one(m, s, now_ms);
        if (s->state != QN_SEQUENCE_ENDING && s->state != QN_SEQUENCE_GONE)
            n_queued += n_tokens_left(s);
    }
    return n_queued;
}

void qn_engine_tend(quern_model *m, double now_ms)
{
    uint64_t n_queued = tend_list(m, &m->waiting, now_ms);
    n_queued += tend_list(m, &m->running, now_ms);
    atomic_store(&m->stats.queued_tokens, n_queued);
    atomic_store(&m->stats.running, m->n_running);
    atomic_store(&m->stats.blocks_free, m->pool.n_free);
}

static void fail_list(quern_model *m, qn_sequence_list *list)
{
    for (qn_sequence *s = list->first, *next; s; s = next) {
        next = s->next;
        s->n_in_flight = 0;
        if (s->state == QN_SEQUENCE_ENDING) {
            qn_sequence_settle(m, s);
            continue;
        }
        qn_sequence_end(m, s, QN_END_ERROR, QUERN_E_DEVICE, "the device has failed");
    }
}

void qn_engine_fail(quern_model *m)
{
    m->flights[0].in_flight = m->flights[1].in_flight = false;
    m->exclusive = false;
    fail_list(m, &m->running);
    fail_list(m, &m->waiting);
    qn_engine_tend(m, 0);
}
