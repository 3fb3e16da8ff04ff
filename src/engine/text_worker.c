// See text_worker.h.
#include "engine/text_worker.h"

#include "engine/runtime.h"

enum { WORKER_STACK_BYTES = 4 << 20 };

static void lane_push(qn_text_lane *lane, quern_request *r)
{
    r->text_previous = lane->last;
    r->text_next = NULL;
    *(lane->last ? &lane->last->text_next : &lane->first) = r;
    lane->last = r;
}

static void lane_remove(qn_text_lane *lane, quern_request *r)
{
    *(r->text_previous ? &r->text_previous->text_next : &lane->first) = r->text_next;
    *(r->text_next ? &r->text_next->text_previous : &lane->last) = r->text_previous;
}

/* ---- from other threads ---- */

void qn_text_prepare(qn_text_pool *p, quern_request *r)
{
    pthread_mutex_lock(&p->mutex);
    r->text_state = QN_TEXT_TO_PREPARE;
    lane_push(&p->prepare, r);
    pthread_cond_signal(&p->ready);
    pthread_mutex_unlock(&p->mutex);
}

static void post_locked(qn_text_pool *p, quern_request *r)
{
    switch (r->text_state) {
    case QN_TEXT_TO_PREPARE: // cancelled: need not wait for its turn
        lane_remove(&p->prepare, r);
        break;
    case QN_TEXT_IDLE:
        break;
    case QN_TEXT_TO_EMIT:
        return;
    case QN_TEXT_RUNNING:
        r->text_again = true;
        return;
    }
    r->text_state = QN_TEXT_TO_EMIT;
    lane_push(&p->emit, r);
    pthread_cond_signal(&p->ready);
}

void qn_text_post(qn_text_pool *p, quern_request *r)
{
    pthread_mutex_lock(&p->mutex);
    post_locked(p, r);
    pthread_mutex_unlock(&p->mutex);
}

void qn_text_post_chain(qn_text_pool *p, quern_request *first)
{
    pthread_mutex_lock(&p->mutex);
    for (quern_request *r = first, *next; r; r = next) {
        next = r->sequence.dirty_next;
        r->sequence.dirty = false;
        if (r->sequence.finished) r->owner_done = true;
        post_locked(p, r);
    }
    pthread_mutex_unlock(&p->mutex);
}

/* ---- workers ---- */

static void prepare(quern_request *r)
{
    quern_error e = {0};
    // Set first: once the request is with the owner, its end must reach it.
    r->prepared = true;
    if (qn_text_prepare_request(r, &e) == QUERN_OK) {
        qn_text_emit_start(r);
        return;
    }
    r->prepared = false;
    atomic_fetch_sub(&r->model->stats.waiting, 1);
    qn_text_emit_error(r, &e);
}

static void cancel_unprepared(quern_request *r)
{
    atomic_fetch_sub(&r->model->stats.waiting, 1);
    qn_text_emit_cancelled(r);
}

// Works on a request that this worker holds. True: it has retired and must not be touched.
static bool work_on(quern_request *r, bool owner_done)
{
    if (!r->prepared && !r->terminal) {
        if (atomic_load(&r->cancelled))
            cancel_unprepared(r);
        else
            prepare(r);
    }
    if (r->prepared) qn_text_emit(r);
    if (!r->terminal || (r->prepared && !owner_done)) return false;
    qn_request_retire(r);
    return true;
}

static quern_request *take_locked(qn_text_pool *p, bool *preparing)
{
    quern_request *r = p->emit.first;
    *preparing = false;
    if (r) {
        lane_remove(&p->emit, r);
    } else if (p->prepare.first && (p->n_preparing < p->n_threads - 1 || p->n_threads == 1)) {
        r = p->prepare.first;
        lane_remove(&p->prepare, r);
        *preparing = true;
        p->n_preparing++;
    }
    if (r) r->text_state = QN_TEXT_RUNNING;
    return r;
}

static void give_back_locked(qn_text_pool *p, quern_request *r)
{
    bool again = r->text_again;
    r->text_again = false;
    r->text_state = QN_TEXT_IDLE;
    if (again) post_locked(p, r);
}

static void *work(void *argument)
{
    qn_text_pool *p = argument;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        bool preparing;
        quern_request *r = take_locked(p, &preparing);
        if (!r && p->quit) break;
        if (!r) {
            pthread_cond_wait(&p->ready, &p->mutex);
            continue;
        }
        bool owner_done = r->owner_done;
        pthread_mutex_unlock(&p->mutex);
        bool gone = work_on(r, owner_done);
        pthread_mutex_lock(&p->mutex);
        if (!gone) give_back_locked(p, r);
        p->n_preparing -= preparing;
        if (preparing && p->prepare.first) pthread_cond_signal(&p->ready);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

int qn_text_pool_start(qn_text_pool *p, int n_threads, quern_error *e)
{
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->ready, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    int n = n_threads < QN_MAX_TEXT_WORKERS ? n_threads : QN_MAX_TEXT_WORKERS;
    pthread_mutex_lock(&p->mutex); // workers read n_threads
    while (p->n_threads < n && !pthread_create(&p->threads[p->n_threads], &attributes, work, p))
        p->n_threads++;
    pthread_mutex_unlock(&p->mutex);
    pthread_attr_destroy(&attributes);
    return p->n_threads ? QUERN_OK
                        : qn_error_set(e, QUERN_E_MEMORY, "no text worker can be started");
}

void qn_text_pool_stop(qn_text_pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->quit = true;
    pthread_cond_broadcast(&p->ready);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->ready);
}
