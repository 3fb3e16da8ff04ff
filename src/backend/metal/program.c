// Compiling a plan: its tasks between the two halves of the gate, each with its pipeline and the places of its buffers. A barrier
// stands before a dispatch that meets one since the last barrier: ranges overlap, and one of the two writes.
#include "backend/metal/program.h"

#include <stdlib.h>
#include <string.h>

static int is_staged(const void *from)
{
    return from == QN_GPU_STAGED_STEP || from == QN_GPU_STAGED_RESULTS;
}

static int meets(const qn_access *a, const qn_access *b)
{
    const char *a_from = a->from, *b_from = b->from;
    if (!a->write && !b->write) return 0;
    if (is_staged(a_from) || is_staged(b_from)) return a_from == b_from;
    return a_from < b_from + b->n_bytes && b_from < a_from + a->n_bytes;
}

static int depends(const qn_gpu_task *later, const qn_gpu_task *earlier)
{
    for (int i = 0; i < later->n_buffers; i++)
        for (int j = 0; j < earlier->n_buffers; j++)
            if (meets(&later->buffers[i], &earlier->buffers[j])) return 1;
    return 0;
}

static int place(const qn_device *d, const qn_access *a, qn_metal_place *out, quern_error *e)
{
    if (is_staged(a->from)) {
        *out = (qn_metal_place){NULL, a->from == QN_GPU_STAGED_STEP ? QN_METAL_STAGED_STEP
                                                                    : QN_METAL_STAGED_RESULTS};
        return 0;
    }
    *out = qn_metal_buffers_find(&d->buffers, a->from, a->n_bytes);
    if (out->buffer) return 0;
    return qn_error_set(e, QUERN_E_UNSUPPORTED, "metal: %zu bytes are not the device's memory",
                        a->n_bytes);
}

// `kernel`: the task's own, or one of the gate's.
static int add(qn_device *d, qn_program *p, const qn_gpu_task *t, int kernel, quern_error *e)
{
    qn_metal_dispatch *to = &p->dispatches[p->n_dispatches];
    int rc = qn_metal_library_pipeline(&d->library, kernel, &to->pipeline, e);
    memcpy(to->n_groups, t->n_groups, sizeof to->n_groups);
    to->n_places = t->n_buffers;
    to->args_bytes = t->args_bytes;
    memcpy(to->args, t->args, t->args_bytes);
    for (int i = 0; i < t->n_buffers && !rc; i++)
        rc = place(d, &t->buffers[i], &to->places[i], e);
    if (!rc) p->n_dispatches++;
    return rc;
}

// A half of the gate: its buffers are the staged step block and the count of launches that ended.
static int add_gate(qn_device *d, qn_program *p, int kernel, quern_error *e)
{
    const qn_access staged = {QN_GPU_STAGED_STEP, sizeof(qn_step_counts), 2};
    const qn_access done = {d->done, sizeof *d->done, 2};
    qn_gpu_task t = {.n_groups = {1, 1, 1}, .n_buffers = 2, .buffers = {staged, done}};
    return add(d, p, &t, kernel, e);
}

static int is_empty(const qn_gpu_task *t)
{
    return !t->n_groups[0] || !t->n_groups[1] || !t->n_groups[2];
}

static int add_all(qn_device *d, qn_program *p, const qn_gpu_list *list, quern_error *e)
{
    int first = 0; // the first task since the last barrier
    int rc = add_gate(d, p, QN_METAL_gate_open, e);
    for (int i = 0; i < list->n_tasks && !rc; i++) {
        const qn_gpu_task *t = &list->tasks[i];
        if (is_empty(t)) continue;
        int barrier = p->n_dispatches == 1; // behind the gate
        for (int j = first; j < i && !barrier; j++)
            barrier = !is_empty(&list->tasks[j]) && depends(t, &list->tasks[j]);
        if (barrier) first = i;
        p->dispatches[p->n_dispatches].barrier_before = barrier;
        rc = add(d, p, t, (int)t->kernel, e);
    }
    if (rc) return rc;
    p->dispatches[p->n_dispatches].barrier_before = 1;
    return add_gate(d, p, QN_METAL_gate_close, e);
}

// The plan as tasks, with scratch memory of the device for them.
static int lower(qn_device *d, const qn_plan *plan, void **scratch, size_t scratch_bytes,
                 qn_gpu_list *list, quern_error *e)
{
    qn_gpu_options o = {.fuse_rows = 1, .scratch_bytes = scratch_bytes};
    if (o.scratch_bytes) {
        int rc = qn_metal_buffers_alloc(&d->buffers, o.scratch_bytes, scratch, e);
        if (rc) return rc;
    }
    o.scratch = *scratch;
    int rc = qn_gpu_lower(plan, &o, list, e);
    if (!rc && d->matrices) qn_metal_products_rewrite(list);
    return rc;
}

// A program with room for n tasks between the halves of the gate, and its step blocks and results staged.
static int make(qn_device *d, const qn_step_limits *l, int max_rows, int n_tasks, qn_program **out,
                quern_error *e)
{
    qn_program *p = *out = calloc(1, sizeof *p);
    if (p) p->dispatches = calloc((size_t)n_tasks + 2, sizeof *p->dispatches);
    if (!p || !p->dispatches)
        return qn_error_set(e, QUERN_E_MEMORY, "metal: no memory for a program of %d dispatches",
                            n_tasks);
    p->limits = *l;
    p->max_rows = max_rows;
    return qn_metal_device_stage(d, qn_step_bytes(l),
                                 (size_t)l->max_outputs * sizeof(qn_step_result), e);
}

static int finish(qn_device *d, int rc, qn_program **p)
{
    if (!rc) return 0;
    qn_metal_program_free(d, *p);
    *p = NULL;
    return rc;
}

int qn_metal_program_make(qn_device *d, const qn_plan *plan, qn_program **out, quern_error *e)
{
    qn_gpu_list list = {0};
    void *scratch = NULL;
    size_t scratch_bytes = qn_gpu_scratch_bytes(plan);
    *out = NULL;
    int rc = lower(d, plan, &scratch, scratch_bytes, &list, e);
    if (!rc) rc = make(d, &plan->batch.limits, plan->max_rows, list.n_tasks, out, e);
    if (*out) {
        (*out)->scratch = scratch;
        (*out)->scratch_bytes = scratch ? scratch_bytes : 0;
        d->scratch_bytes += (*out)->scratch_bytes;
    } else {
        qn_metal_buffers_free(&d->buffers, scratch);
    }
    if (!rc) rc = add_all(d, *out, &list, e);
    qn_gpu_list_free(&list);
    return finish(d, rc, out);
}

int qn_metal_program_make_copy(qn_device *d, void *memory, size_t n_bytes, qn_program **out)
{
    static const qn_step_limits limits = {1, 1, 1, 1, QN_BLOCK_TOKENS};
    const qn_access to = {(char *)memory + n_bytes, n_bytes, 1}, from = {memory, n_bytes, 0};
    qn_gpu_task t = {.n_groups = {(uint32_t)(n_bytes / 16 / QN_GPU_N_THREADS), 1, 1},
                     .n_buffers = 2,
                     .buffers = {to, from}};
    int rc = make(d, &limits, 1, 1, out, NULL);
    if (!rc) rc = add_gate(d, *out, QN_METAL_gate_open, NULL);
    if (!rc) rc = add(d, *out, &t, QN_METAL_copy_all, NULL);
    if (!rc) rc = add_gate(d, *out, QN_METAL_gate_close, NULL);
    if (!rc) (*out)->dispatches[1].barrier_before = (*out)->dispatches[2].barrier_before = 1;
    return finish(d, rc, out);
}

void qn_metal_program_free(qn_device *d, qn_program *p)
{
    if (!p) return;
    qn_metal_launch_drain(d);
    qn_metal_buffers_free(&d->buffers, p->scratch);
    d->scratch_bytes -= p->scratch_bytes;
    free(p->dispatches);
    free(p);
}
