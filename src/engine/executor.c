// See executor.h.
#include "engine/executor.h"

#include <time.h>

#include "base/clock.h"
#include "engine/runtime.h"

// A lost launch takes the one behind it along. After LOST_DEAD in a row the device counts as dead; the pauses before amount to
// about three seconds.
enum { LOST_TOGETHER = 2, LOST_DEAD = 64, PAUSE_MS = 50, WAIT_MS = 5, OWNER_STACK_BYTES = 4 << 20 };
// A model that has a deadline to meet is charged this part of its device time.
#define DEADLINE_SHARE 0.5

/* ---- from other threads ---- */

static void ring(qn_executor *x)
{
    x->awake = true;
    pthread_cond_signal(&x->wake);
}

void qn_executor_wake(qn_executor *x)
{
    pthread_mutex_lock(&x->mutex);
    ring(x);
    pthread_mutex_unlock(&x->mutex);
}

void qn_executor_mail(qn_executor *x, quern_request *r)
{
    pthread_mutex_lock(&x->mutex);
    r->sequence.mail_next = NULL;
    *(x->mail_last ? &x->mail_last->sequence.mail_next : &x->mail_first) = r;
    x->mail_last = r;
    ring(x);
    pthread_mutex_unlock(&x->mutex);
}

void qn_executor_call(qn_executor *x, void (*run)(void *argument), void *argument)
{
    qn_command command = {run, argument, false, NULL};
    pthread_mutex_lock(&x->mutex);
    qn_command **end = &x->commands;
    while (*end)
        end = &(*end)->next;
    *end = &command;
    ring(x);
    while (!command.done)
        pthread_cond_wait(&x->command_done, &x->mutex);
    pthread_mutex_unlock(&x->mutex);
}

/* ---- the owner ---- */

void qn_executor_mark(qn_executor *x, qn_sequence *s)
{
    if (s->dirty) return;
    s->dirty = true;
    s->dirty_next = NULL;
    *(x->dirty_last ? &x->dirty_last->sequence.dirty_next : &x->dirty_first) = s->request;
    x->dirty_last = s->request;
}

static void ring_doorbell(qn_executor *x)
{
    if (!x->dirty_first) return;
    qn_text_post_chain(&x->runtime->text, x->dirty_first);
    x->dirty_first = x->dirty_last = NULL;
}

// Takes what has arrived. False: the executor shall stop. Both are read under one lock, with `awake`: a stop in between, its bell
// silenced by the next round, would be slept over.
static bool take_mail(qn_executor *x)
{
    pthread_mutex_lock(&x->mutex);
    bool quit = x->quit;
    quern_request *mail = x->mail_first;
    x->mail_first = x->mail_last = NULL;
    qn_command *commands = x->commands;
    x->commands = NULL;
    x->awake = false;
    pthread_mutex_unlock(&x->mutex);
    for (quern_request *r = mail, *next; r; r = next) {
        next = r->sequence.mail_next;
        qn_engine_receive(r->model, r);
    }
    for (qn_command *c = commands, *next; c; c = next) {
        next = c->next;
        c->run(c->argument);
        pthread_mutex_lock(&x->mutex);
        c->done = true;
        pthread_cond_broadcast(&x->command_done);
        pthread_mutex_unlock(&x->mutex);
    }
    return !quit;
}

static void die(qn_executor *x)
{
    const char *why = x->backend->failure ? x->backend->failure(x->device) : NULL;
    if (!atomic_exchange(&x->dead, true))
        qn_log_write(&x->runtime->log, QUERN_LOG_ERROR, "the device has failed%s%s",
                     why ? ": " : "", why ? why : "");
    x->n_flying = 0;
    for (quern_model *m = x->models; m; m = m->next)
        qn_engine_fail(m);
}

static qn_program *program_for(const quern_model *m, int n_rows)
{
    int i = 0;
    while (i < m->n_programs - 1 && m->program_rows[i] < n_rows)
        i++;
    return m->programs[i];
}

static bool has_deadline(const quern_model *m)
{
    const qn_sequence_list *lists[] = {&m->running, &m->waiting};
    for (int i = 0; i < 2; i++)
        for (const qn_sequence *s = lists[i]->first; s; s = s->next)
            if (s->request->resolved.deadline_ms > 0) return true;
    return false;
}

// Fair shares of device time: a step is charged when it is launched, at what steps of the model took lately.
static void charge(qn_executor *x, quern_model *m)
{
    double cost = m->step_ms > 0 ? m->step_ms : 1;
    x->served_ms = m->served_ms;
    m->served_ms += has_deadline(m) ? cost * DEADLINE_SHARE : cost;
}

static qn_flight *free_flight(quern_model *m)
{
    if (!m->flights[0].in_flight) return &m->flights[0];
    return m->flights[1].in_flight ? NULL : &m->flights[1];
}

static bool launch_step(qn_executor *x, quern_model *m)
{
    qn_flight *f = free_flight(m);
    double now_ms = qn_clock_ms();
    if (!f || !qn_scheduler_fill(m, f, now_ms)) return false;
    qn_launch launch = {f->block, f->results};
    f->launched_ms = now_ms;
    f->in_flight = true;
    charge(x, m);
    int n_rows = f->step.counts->n_rows;
    if (x->backend->launch(x->device, program_for(m, n_rows), &launch, &f->ticket)) {
        die(x);
        return true;
    }
    x->flying[x->n_flying++] = f;
    return true;
}

// The model with the least share that has something to run goes first.
static bool launch_one(qn_executor *x)
{
    if (x->n_flying == 2 || x->dead) return false;
    for (quern_model *m = x->models; m; m = m->next)
        m->tried = false;
    for (;;) {
        quern_model *best = NULL;
        for (quern_model *m = x->models; m; m = m->next)
            if (!m->tried && (!best || m->served_ms < best->served_ms)) best = m;
        if (!best) return false;
        if (launch_step(x, best)) return true;
        best->tried = true;
    }
}

static void pause_after_loss(qn_executor *x, const qn_flight *f)
{
    const char *why = x->backend->failure ? x->backend->failure(x->device) : NULL;
    qn_log_write(&x->runtime->log, QUERN_LOG_WARN,
                 "a step of %d rows of %s was lost%s%s; its sequences start again",
                 f->step.counts->n_rows, f->model->name, why ? ": " : "", why ? why : "");
    struct timespec t = {0, PAUSE_MS * 1000000L};
    if (x->n_lost > LOST_TOGETHER) nanosleep(&t, NULL);
}

// Commits the oldest launch if it is over. Launches of a device end in their order.
static bool commit_one(qn_executor *x)
{
    if (!x->n_flying) return false;
    qn_flight *f = x->flying[0];
    int status = x->backend->poll(x->device, f->ticket);
    if (status == QN_TICKET_RUNNING) return false;
    bool lost = status == QN_TICKET_LOST;
    x->n_lost = lost ? x->n_lost + 1 : 0;
    if ((!lost && status != QN_TICKET_DONE) || x->n_lost >= LOST_DEAD) {
        die(x);
        return true;
    }
    x->flying[0] = x->flying[1];
    x->n_flying--;
    double now_ms = qn_clock_ms();
    qn_commit_flight(f, lost, now_ms);
    x->committed_ms = now_ms;
    if (lost) pause_after_loss(x, f);
    return true;
}

// Nothing to launch or to commit: wait for the device, or sleep until somebody calls.
static void rest(qn_executor *x)
{
    if (x->n_flying) {
        x->backend->wait(x->device, x->flying[0]->ticket, WAIT_MS);
        return;
    }
    pthread_mutex_lock(&x->mutex);
    while (!x->awake)
        pthread_cond_wait(&x->wake, &x->mutex);
    pthread_mutex_unlock(&x->mutex);
}

static void *own_device(void *argument)
{
    qn_executor *x = argument;
    while (take_mail(x)) {
        double now_ms = qn_clock_ms();
        for (quern_model *m = x->models; m; m = m->next)
            qn_engine_tend(m, now_ms);
        bool busy = launch_one(x);
        while (commit_one(x))
            busy = true;
        ring_doorbell(x);
        if (!busy) rest(x);
    }
    return NULL;
}

int qn_executor_start(qn_executor *x, quern_error *e)
{
    pthread_mutex_init(&x->mutex, NULL);
    pthread_cond_init(&x->wake, NULL);
    pthread_cond_init(&x->command_done, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, OWNER_STACK_BYTES);
    x->started = pthread_create(&x->thread, &attributes, own_device, x) == 0;
    pthread_attr_destroy(&attributes);
    return x->started ? QUERN_OK
                      : qn_error_set(e, QUERN_E_MEMORY, "the owner thread cannot be started");
}

void qn_executor_stop(qn_executor *x)
{
    pthread_mutex_lock(&x->mutex);
    x->quit = true;
    ring(x);
    pthread_mutex_unlock(&x->mutex);
    if (x->started) pthread_join(x->thread, NULL);
    pthread_mutex_destroy(&x->mutex);
    pthread_cond_destroy(&x->wake);
    pthread_cond_destroy(&x->command_done);
}
