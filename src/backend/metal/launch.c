// Launching: a program as one command buffer with one encoder, and what became of it. Encoding needs nothing of the launch
// before, so it goes on while the GPU runs that one. The command buffers do not retain what they use: memory and pipelines end
// after a drain only.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backend/metal/calls.h"
#include "backend/metal/program.h"
#include "base/clock.h"

enum { SLEEP_NS = 50000, DRAIN_MS = 20000, MAX_COUNT = 1 << 30 };

// ---- encoding ----

// What the encoder has bound; binding it again costs.
typedef struct {
    qn_metal_id encoder, pipeline;
    qn_metal_place bound[QN_GPU_MAX_BUFFERS + 1];
} encoding;

static void bind(encoding *x, unsigned long index, qn_metal_place place)
{
    qn_metal_place *bound = &x->bound[index];
    if (bound->buffer != place.buffer)
        qn_metal_encode_buffer(x->encoder, place.buffer, place.offset, index);
    else if (bound->offset != place.offset)
        qn_metal_encode_offset(x->encoder, place.offset, index);
    *bound = place;
}

static void encode_one(encoding *x, const qn_metal_dispatch *t, const qn_metal_place staged[3])
{
    const qn_metal_size threads = {QN_GPU_N_THREADS, 1, 1};
    const qn_metal_size groups = {t->n_groups[0], t->n_groups[1], t->n_groups[2]};
    if (t->barrier_before) qn_metal_encode_barrier(x->encoder, QN_METAL_SCOPE_BUFFERS);
    if (x->pipeline != t->pipeline) qn_metal_encode_pipeline(x->encoder, t->pipeline);
    x->pipeline = t->pipeline;
    for (int i = 0; i < t->n_places; i++)
        bind(x, (unsigned long)i, t->places[i].buffer ? t->places[i] : staged[t->places[i].offset]);
    if (t->args_bytes) {
        qn_metal_encode_bytes(x->encoder, t->args, t->args_bytes, (unsigned long)t->n_places);
        x->bound[t->n_places] = (qn_metal_place){0};
    }
    qn_metal_encode_dispatch(x->encoder, groups, threads);
}

static int encode(qn_device *d, const qn_program *p, qn_metal_flight *f)
{
    const qn_metal_place staged[3] = {
        [QN_METAL_STAGED_STEP] = qn_metal_buffers_find(&d->buffers, f->step, d->step_bytes),
        [QN_METAL_STAGED_RESULTS] =
            qn_metal_buffers_find(&d->buffers, f->results, d->results_bytes)};
    qn_metal_id command = qn_metal_queue_buffer(d->queue);
    if (!command) return QUERN_E_DEVICE;
    encoding x = {.encoder = qn_metal_command_encoder(command, QN_METAL_DISPATCH_CONCURRENT)};
    if (!x.encoder) return QUERN_E_DEVICE;
    for (int i = 0; i < p->n_dispatches; i++)
        encode_one(&x, &p->dispatches[i], staged);
    qn_metal_encode_end(x.encoder);
    f->command = qn_metal_retain(command);
    qn_metal_commit(command);
    return 0;
}

// ---- the end of a launch ----

// Failures that another try can mend (MTLCommandBufferErrorCode): internal, which is also what a neighbour's fault and the windows' being
// held up come as; timeout; not in front; out of memory.
static int can_go_on(long code)
{
    return code == 1 || code == 2 || code == 7 || code == 8;
}

static int outcome(qn_device *d, const qn_metal_flight *f, unsigned long status)
{
    d->why[0] = 0;
    if (status == QN_METAL_STATUS_COMPLETED)
        return f->step->reserved < 0 ? QN_TICKET_LOST : QN_TICKET_DONE; // emptied by the gate
    qn_metal_id error = qn_metal_command_error(f->command);
    if (!error) return QUERN_E_DEVICE;
    const char *text = qn_metal_string_text(qn_metal_error_description(error));
    snprintf(d->why, sizeof d->why, "%s", text ? text : "");
    return can_go_on(qn_metal_error_code(error)) ? QN_TICKET_LOST : QUERN_E_DEVICE;
}

// A loss takes along what was launched behind it, though not what comes later: from here on, the gate lets the next one in.
static void lose(qn_device *d)
{
    d->lost_through = d->last;
    *d->done = d->n_begun;
}

static void finish(qn_device *d, qn_metal_flight *f, unsigned long status)
{
    f->state = outcome(d, f, status);
    if (f->state == QN_TICKET_LOST && f->ticket > d->lost_through) lose(d);
    if (f->state == QN_TICKET_DONE && f->ticket <= d->lost_through) f->state = QN_TICKET_LOST;
    if (f->state == QUERN_E_DEVICE) d->dead = 1;
    if (f->state == QN_TICKET_DONE && f->output && f->n_outputs)
        memcpy(f->output, f->results, (size_t)f->n_outputs * sizeof *f->results);
    qn_metal_release(f->command);
    f->command = NULL;
}

// 1 where it is over.
static int look(qn_device *d, qn_metal_flight *f)
{
    if (!f->command) return 1;
    unsigned long status = qn_metal_command_status(f->command);
    if (status != QN_METAL_STATUS_COMPLETED && status != QN_METAL_STATUS_ERROR) return 0;
    finish(d, f, status);
    return 1;
}

// The older one first: what became of it tells what the other is worth.
static int look_until(qn_device *d, qn_ticket t)
{
    qn_metal_flight *f = &d->flights[t % QN_METAL_N_FLIGHTS];
    qn_metal_flight *other = &d->flights[(t + 1) % QN_METAL_N_FLIGHTS];
    if (other->ticket < t && !look(d, other)) return 0;
    return f->ticket != t || look(d, f);
}

int qn_metal_launch_poll(qn_device *d, qn_ticket t)
{
    const qn_metal_flight *f = &d->flights[t % QN_METAL_N_FLIGHTS];
    void *pool = objc_autoreleasePoolPush();
    int over = look_until(d, t);
    objc_autoreleasePoolPop(pool);
    if (!over) return QN_TICKET_RUNNING;
    return f->ticket == t ? f->state : QN_TICKET_DONE;
}

int qn_metal_launch_wait(qn_device *d, qn_ticket t, int timeout_ms)
{
    const double until_ms = qn_clock_ms() + timeout_ms;
    for (;;) {
        int state = qn_metal_launch_poll(d, t);
        if (state != QN_TICKET_RUNNING || qn_clock_ms() >= until_ms) return state;
        nanosleep(&(struct timespec){0, SLEEP_NS}, NULL);
    }
}

void qn_metal_launch_drain(qn_device *d)
{
    if (d->last) qn_metal_launch_wait(d, d->last, DRAIN_MS);
}

int qn_metal_launch(qn_device *d, qn_program *p, const qn_launch *step, qn_ticket *out)
{
    const qn_step_counts *counts = step->input;
    qn_metal_flight *f = &d->flights[(d->last + 1) % QN_METAL_N_FLIGHTS];
    if (d->dead) return QUERN_E_DEVICE;
    if (!qn_step_fits(&p->limits, p->max_rows, counts)) return QUERN_E_INTERNAL;
    void *pool = objc_autoreleasePoolPush();
    int rc = look(d, f) ? 0 : QUERN_E_INTERNAL; // a third one
    if (!rc) {
        qn_step_copy(&p->limits, f->step, step->input);
        f->step->reserved = d->n_begun;
        f->output = step->output;
        f->n_outputs = counts->n_outputs;
        qn_metal_wired_use(&d->buffers.wired);
        rc = encode(d, p, f);
        if (rc) d->dead = 1;
    }
    if (!rc) {
        d->n_begun = (d->n_begun + 1) % MAX_COUNT;
        *out = f->ticket = ++d->last;
    }
    objc_autoreleasePoolPop(pool);
    return rc;
}
