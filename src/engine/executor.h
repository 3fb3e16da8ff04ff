// Executor: the owner thread of a device. For all models on it: take what has arrived, schedule the next step, launch it, commit
// the one before; at most two launches in flight; asleep when there is nothing to do. Its loop allocates nothing.
// Others reach it by mail (prepared requests), by commands (load, unload, measure) and by qn_executor_wake.
#ifndef QN_ENGINE_EXECUTOR_H
#define QN_ENGINE_EXECUTOR_H
#include <pthread.h>
#include <stdatomic.h>

#include "backend/backend.h"
#include "engine/engine.h"

typedef struct qn_command {
    void (*run)(void *argument); // on the owner thread, between steps
    void *argument;
    bool done;
    struct qn_command *next;
} qn_command;

typedef struct {
    const qn_backend *backend;
    qn_device *device;
    quern_runtime *runtime;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; // guards the next group
    pthread_cond_t wake, command_done;
    bool awake, quit;
    quern_request *mail_first, *mail_last; // by sequence.mail_next
    qn_command *commands;
    atomic_bool dead; // the device failed
    // owner only
    quern_model *models;
    qn_flight *flying[2];
    int n_flying, n_lost; // n_lost: launches lost one after the other
    double committed_ms;  // when the last step ended
    double served_ms;     // of the model that launched last, before that launch
    quern_request *dirty_first, *dirty_last;
} qn_executor;

int qn_executor_start(qn_executor *x, quern_error *e);
void qn_executor_stop(qn_executor *x);
void qn_executor_wake(qn_executor *x);
void qn_executor_mail(qn_executor *x, quern_request *r);
// Runs a function on the owner thread and waits for it.
void qn_executor_call(qn_executor *x, void (*run)(void *argument), void *argument);
// Owner: text workers shall look at r when this round of the loop is over.
void qn_executor_mark(qn_executor *x, qn_sequence *s);

#endif
