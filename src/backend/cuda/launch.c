// Launches: the step goes to pinned memory, the program is started, an event says when it is over. See backend.h.
#include <string.h>
#include <time.h>

#include "backend/cuda/program.h"
#include "base/clock.h"

enum { NAP_NS = 20000 };

static CUresult start(qn_device *d, qn_program *p, int flight, const qn_step_view *view)
{
    qn_cuda_steps steps = QN_CUDA_MIXED;
    if (p->near && qn_cuda_flash_is_far(view->rows, view->counts->n_rows, p->near))
        steps = QN_CUDA_FAR;
    else if (p->run_window)
        steps = qn_cuda_flash_steps(view->rows, view->counts->n_rows, p->run_window);
    return d->cu->cuGraphLaunch(p->graphs[flight][steps], d->stream);
}

int qn_cuda_launch(qn_device *d, qn_program *p, const qn_launch *step, qn_ticket *out)
{
    if (d->dead) return QUERN_E_DEVICE;
    qn_step_view view = qn_step_at(&p->limits, (void *)(uintptr_t)step->input);
    if (!qn_step_fits(&p->limits, p->max_rows, view.counts)) return QUERN_E_INTERNAL;
    qn_cuda_use(d);
    int flight = (int)((d->last + 1) % QN_CUDA_IN_FLIGHT);
    qn_cuda_flight *f = &d->flights[flight];
    qn_step_copy(&p->limits, p->step[flight], step->input);
    CUresult rc = start(d, p, flight, &view);
    if (rc == CUDA_SUCCESS) rc = d->cu->cuEventRecord(f->over, d->stream);
    if (rc != CUDA_SUCCESS) {
        d->dead = (int)rc;
        return QUERN_E_DEVICE;
    }
    f->ticket = *out = ++d->last;
    f->output = p->has_results ? step->output : NULL;
    f->staged = p->results[flight];
    f->n_outputs = view.counts->n_outputs;
    return 0;
}

static void copy_results(const qn_cuda_flight *f)
{
    for (int i = 0; f->output && i < f->n_outputs; i++) {
        const qn_step_result *from = &f->staged[i];
        qn_step_result *to = &f->output[i];
        size_t n = (size_t)(from->n_top > 0 ? from->n_top : 0);
        to->token = from->token;
        to->logprob = from->logprob;
        to->n_top = from->n_top;
        to->reserved = 0;
        memcpy(to->top_id, from->top_id, n * sizeof *to->top_id);
        memcpy(to->top_logprob, from->top_logprob, n * sizeof *to->top_logprob);
    }
}

int qn_cuda_poll(qn_device *d, qn_ticket t)
{
    qn_cuda_flight *f = &d->flights[t % QN_CUDA_IN_FLIGHT];
    if (f->ticket != t) return d->dead ? QUERN_E_DEVICE : QN_TICKET_DONE;
    qn_cuda_use(d);
    CUresult rc = d->cu->cuEventQuery(f->over);
    if (rc == CUDA_ERROR_NOT_READY) return QN_TICKET_RUNNING;
    if (rc != CUDA_SUCCESS) {
        d->dead = (int)rc;
        return QUERN_E_DEVICE;
    }
    f->ticket = 0;
    copy_results(f);
    return QN_TICKET_DONE;
}

int qn_cuda_wait(qn_device *d, qn_ticket t, int timeout_ms)
{
    uint64_t end = qn_clock_ns() + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        int status = qn_cuda_poll(d, t);
        if (status != QN_TICKET_RUNNING || qn_clock_ns() >= end) return status;
        nanosleep(&(struct timespec){0, NAP_NS}, NULL);
    }
}
