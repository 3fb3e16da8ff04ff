// Text workers: the threads that turn prompts into tokens and tokens into events. A request is in the hands of one worker at a
// time, so its events come one after the other. Two lanes: what is ready to be emitted goes before what is to be prepared,
// and one worker is always kept from preparing, since a prompt of 16 MiB takes a while.
#ifndef QN_ENGINE_TEXT_WORKER_H
#define QN_ENGINE_TEXT_WORKER_H
#include <pthread.h>

#include "engine/request.h"

enum { QN_MAX_TEXT_WORKERS = 4 };

typedef struct {
    quern_request *first, *last;
} qn_text_lane;

typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t ready;
    qn_text_lane prepare, emit;
    pthread_t threads[QN_MAX_TEXT_WORKERS];
    int n_threads, n_preparing;
    bool quit;
} qn_text_pool;

int qn_text_pool_start(qn_text_pool *p, int n_threads, quern_error *e);
// All models are closed: nothing is queued.
void qn_text_pool_stop(qn_text_pool *p);
// A new request: tokenise it.
void qn_text_prepare(qn_text_pool *p, quern_request *r);
// Something changed (progress, cancel): look at it.
void qn_text_post(qn_text_pool *p, quern_request *r);
// The owner's chain of a round (by sequence.dirty_next), under one lock.
void qn_text_post_chain(qn_text_pool *p, quern_request *first);

// text_prepare.c: renders, tokenises, makes the output room, hands the request to the owner. Nonzero: it did not, *e says why.
int qn_text_prepare_request(quern_request *r, quern_error *e);
// text_emit.c: START; then tokens as far as they are known, and the terminal event where the end is known.
void qn_text_emit_start(quern_request *r);
void qn_text_emit(quern_request *r);
void qn_text_emit_error(quern_request *r, const quern_error *e);
void qn_text_emit_cancelled(quern_request *r);

#endif
