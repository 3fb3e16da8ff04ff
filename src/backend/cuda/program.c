// Plans become programs: tasks of the dialect, products in CUDA's own form, and then graphs of kernels.
#include "backend/cuda/program.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cuda/flash.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/wide.h"

enum {
    MAX_ROWS = 65535, // a grid's y
    MAX_PARAMETERS = QN_GPU_MAX_BUFFERS + 2,
};

const void *qn_cuda_program_place(const qn_program *p, int flight, const void *address)
{
    if (address == QN_GPU_STAGED_STEP) return p->step[flight];
    if (address == QN_GPU_STAGED_RESULTS) return p->results[flight];
    return address;
}

static int pinned(qn_device *d, size_t n_bytes, void **out, quern_error *e)
{
    int rc = qn_cuda_driver_check(d->cu->cuMemHostAlloc(out, n_bytes, CU_MEMHOSTALLOC_PORTABLE),
                                  "pinned memory", e);
    if (!rc) memset(*out, 0, n_bytes);
    return rc;
}

static int make_places(qn_device *d, qn_program *p, quern_error *e)
{
    size_t step_bytes = qn_step_bytes(&p->limits);
    size_t result_bytes = (size_t)p->limits.max_outputs * sizeof(qn_step_result);
    int rc = 0;
    for (int i = 0; i < QN_CUDA_IN_FLIGHT && !rc; i++) {
        rc = pinned(d, step_bytes, &p->step[i], e);
        if (!rc) rc = pinned(d, result_bytes, &p->results[i], e);
    }
    return rc;
}

// ---- a graph of kernels ----

// Early kernels read the step's counts and rows before they wait, so none is launched before step_begin, which writes them, is over.
static unsigned is_early(const qn_device *d, const qn_program *p, const qn_gpu_task *t,
                         const qn_gpu_task *before)
{
    int kernel = (int)t->kernel;
    return d->capability == QN_CUDA_HOPPER && p->max_rows <= QN_CUDA_EARLY_ROWS &&
           (!before || (int)before->kernel != QN_GPU_step_begin) &&
           (qn_cuda_gemm_early(kernel) || qn_cuda_flash_early(kernel));
}

// before: the task that is launched before it; NULL: it is the first.
static CUresult launch_task(qn_device *d, const qn_program *p, int flight, const qn_gpu_task *t,
                            const qn_gpu_task *before)
{
    CUdeviceptr values[MAX_PARAMETERS];
    void *parameters[MAX_PARAMETERS];
    uint32_t args[QN_GPU_MAX_ARGS_BYTES / 4];
    for (int i = 0; i < t->n_buffers; i++) {
        values[i] = qn_cuda_address(qn_cuda_program_place(p, flight, t->buffers[i].from));
        parameters[i] = &values[i];
    }
    memcpy(args, t->args, t->args_bytes);
    parameters[t->n_buffers] = args;
    CUlaunchAttribute early = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                               .value.programmaticStreamSerializationAllowed = 1};
    CUlaunchConfig config = {
        .gridDimX = t->n_groups[0],
        .gridDimY = t->n_groups[1],
        .gridDimZ = t->n_groups[2],
        .blockDimX = (unsigned)qn_cuda_device_threads((int)t->kernel),
        .blockDimY = 1,
        .blockDimZ = 1,
        .sharedMemBytes = (unsigned)qn_cuda_device_shared((int)t->kernel),
        .hStream = d->stream,
        .attrs = &early,
        .numAttrs = is_early(d, p, t, before),
    };
    return d->cu->cuLaunchKernelEx(&config, qn_cuda_device_kernel(d, (int)t->kernel), parameters,
                                   NULL);
}

static int capture(qn_device *d, qn_program *p, int flight, qn_cuda_steps steps,
                   const qn_gpu_list *list, quern_error *e)
{
    const qn_cuda_driver *cu = d->cu;
    CUgraph graph = NULL;
    int rc = qn_cuda_driver_check(
        cu->cuStreamBeginCapture_v2(d->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "capture", e);
    if (rc) return rc;
    CUresult launched = CUDA_SUCCESS;
    const qn_gpu_task *before = NULL;
    for (int i = 0; i < list->n_tasks && launched == CUDA_SUCCESS; i++) {
        if (qn_cuda_flash_spares(steps, &list->tasks[i])) continue;
        launched = launch_task(d, p, flight, &list->tasks[i], before);
        before = &list->tasks[i];
    }
    rc = qn_cuda_driver_check(cu->cuStreamEndCapture(d->stream, &graph), "capture", e);
    if (launched != CUDA_SUCCESS) rc = qn_cuda_driver_check(launched, "a kernel of the graph", e);
    if (!rc)
        rc = qn_cuda_driver_check(
            cu->cuGraphInstantiateWithFlags(&p->graphs[flight][steps], graph, 0), "graph", e);
    if (graph) cu->cuGraphDestroy(graph);
    return rc;
}

// ---- compile ----

static int has_results(const qn_plan *plan)
{
    for (int i = 0; i < plan->n_records; i++)
        if (plan->records[i].op == QN_OP_SAMPLE) return 1;
    return 0;
}

// The room between tasks, once: a program's second list has that of the first.
static int take_partials(qn_device *d, qn_program *p, size_t n_bytes, quern_error *e)
{
    if (p->partials && n_bytes <= p->partial_bytes) return 0;
    if (p->partials)
        return qn_error_set(e, QUERN_E_INTERNAL,
                            "cuda: a second list with more room: %zu bytes, found %zu", n_bytes,
                            p->partial_bytes);
    p->partial_bytes = n_bytes;
    return n_bytes ? qn_cuda_device_alloc(d, n_bytes, &p->partials, e) : 0;
}

// Products of many rows, by the units that the card has.
static int widen(qn_device *d, const qn_plan *plan, qn_program *p, const qn_gpu_list *in,
                 qn_gpu_list *out, quern_error *e)
{
    qn_cuda_gemm_room room;
    int rc = 0;
    if (d->capability != QN_CUDA_HOPPER) {
        size_t n_bytes = qn_cuda_wide_bytes(d, plan, in);
        rc = take_partials(d, p, n_bytes, e);
        if (!rc) qn_cuda_wide_rewrite(d, plan, in, p->partials, out);
        return rc;
    }
    qn_cuda_gemm_measure(d, plan, in, &room);
    size_t n_bytes = qn_cuda_gemm_room_bytes(&room);
    rc = take_partials(d, p, n_bytes, e);
    room.at = p->partials;
    if (!rc && room.weight_bytes) {
        if (!p->unpacked) p->unpacked = qn_cuda_shared_take(d, room.weight_bytes, e);
        rc = p->unpacked && p->unpacked->n_bytes >= room.weight_bytes ? 0 : QUERN_E_MEMORY;
        room.weights = rc ? NULL : p->unpacked->at;
    }
    if (!rc) qn_cuda_gemm_rewrite(d, plan, in, &room, out);
    return rc;
}

// The dialect's fused kernels take one row and no blocks: none may be left where there are more, or where all are CUDA's own.
static int is_for_one_row(int kernel)
{
    return (kernel >= QN_GPU_attend_f32_64 && kernel <= QN_GPU_attend_bf16_256) ||
           (kernel >= QN_GPU_norm_project_f32 && kernel <= QN_GPU_norm_gate_up_bf16) ||
           (kernel >= QN_GPU_merge_project_f32_2048 && kernel <= QN_GPU_merge_project_bf16_6144);
}

static int check_rows(const qn_plan *plan, int own, const qn_gpu_list *list, quern_error *e)
{
    for (int i = 0; i < list->n_tasks && (own || plan->max_rows > 1); i++)
        if (is_for_one_row((int)list->tasks[i].kernel))
            return qn_error_set(e, QUERN_E_INTERNAL, "cuda: %s for %d rows",
                                qn_gpu_kernel_name(list->tasks[i].kernel), plan->max_rows);
    return 0;
}

// The plan as tasks in CUDA's forms. whole: no row's attention is split. A second list of a program has the rooms of the first.
static int make_list(qn_device *d, const qn_plan *plan, qn_program *p, int whole, qn_gpu_list *out,
                     quern_error *e)
{
    // The fused forms of CUDA's own take several rows; the dialect's take one.
    int flash = qn_cuda_flash_all(plan), all_own = flash && qn_cuda_products_all(d, p, plan);
    // Where one row is not few, it has the products that many have, whatever its attention is.
    int few_rows = qn_cuda_few_rows(d, plan);
    qn_gpu_options options = {.fuse_rows = all_own || !few_rows ? few_rows : 1,
                              .fuse_blocks = all_own,
                              .piece = flash ? QN_CUDA_PIECE : 0,
                              .whole = whole};
    qn_gpu_list dialect = {0}, own = {0};
    int rc = 0;
    options.scratch_bytes = qn_gpu_scratch_bytes(plan);
    if (options.scratch_bytes && !p->scratch)
        rc = qn_cuda_device_alloc(d, options.scratch_bytes, &p->scratch, e);
    options.scratch = p->scratch;
    if (!rc) rc = qn_gpu_lower(plan, &options, &dialect, e);
    if (!rc) qn_cuda_flash_rewrite(d, plan, &dialect, &own);
    if (!rc && !own.failed) qn_cuda_products_rewrite(d, p, plan, &own);
    if (!rc && !own.failed) rc = widen(d, plan, p, &own, out, e);
    if (!rc && (own.failed || out->failed))
        rc = qn_error_set(e, QUERN_E_MEMORY, "cuda: no memory for a program's tasks");
    if (!rc) rc = check_rows(plan, all_own, out, e);
    qn_gpu_list_free(&own);
    qn_gpu_list_free(&dialect);
    return rc;
}

// Graphs of each kind of step. `list` is for all of them; near: for those without long contexts, or NULL.
static int capture_all(qn_device *d, qn_program *p, const qn_gpu_list *list,
                       const qn_gpu_list *near, quern_error *e)
{
    int rc = 0;
    p->near = near ? qn_cuda_flash_near(list) : 0;
    p->run_window = qn_cuda_flash_window(d, near ? near : list);
    for (int i = 0; i < QN_CUDA_IN_FLIGHT && !rc; i++) {
        for (int steps = QN_CUDA_MIXED;
             steps <= (p->run_window ? QN_CUDA_RUNS : QN_CUDA_MIXED) && !rc; steps++)
            rc = capture(d, p, i, (qn_cuda_steps)steps, near ? near : list, e);
        if (!rc && near) rc = capture(d, p, i, QN_CUDA_FAR, list, e);
    }
    return rc;
}

static int build(qn_device *d, const qn_plan *plan, qn_program *p, quern_error *e)
{
    qn_gpu_list list = {0}, near = {0};
    int rc = make_places(d, p, e);
    if (!rc) rc = qn_cuda_products_pack(d, p, plan, e);
    if (!rc) rc = make_list(d, plan, p, 0, &list, e);
    int shares = !rc && qn_cuda_flash_near(&list) > 0;
    if (shares) rc = make_list(d, plan, p, 1, &near, e);
    if (!rc) rc = capture_all(d, p, &list, shares ? &near : NULL, e);
    qn_gpu_list_free(&near);
    qn_gpu_list_free(&list);
    return rc;
}

int qn_cuda_compile(qn_device *d, const qn_plan *plan, qn_program **out, quern_error *e)
{
    *out = NULL;
    if (plan->max_rows > MAX_ROWS)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "cuda: a step of at most %d rows, found %d (--prefill-chunk)", MAX_ROWS,
                            plan->max_rows);
    qn_program *p = calloc(1, sizeof *p);
    if (!p) return qn_error_set(e, QUERN_E_MEMORY, "cuda: no memory for a program");
    qn_cuda_use(d);
    p->limits = plan->batch.limits;
    p->max_rows = plan->max_rows;
    p->has_results = has_results(plan);
    int rc = build(d, plan, p, e);
    if (rc)
        qn_cuda_free_program(d, p);
    else
        *out = p;
    return rc;
}

void qn_cuda_free_program(qn_device *d, qn_program *p)
{
    if (!p) return;
    qn_cuda_use(d);
    d->cu->cuStreamSynchronize(d->stream);
    for (int i = 0; i < QN_CUDA_IN_FLIGHT; i++) {
        for (int j = 0; j < QN_CUDA_N_STEPS; j++)
            if (p->graphs[i][j]) d->cu->cuGraphExecDestroy(p->graphs[i][j]);
        if (p->step[i]) d->cu->cuMemFreeHost(p->step[i]);
        if (p->results[i]) d->cu->cuMemFreeHost(p->results[i]);
    }
    qn_cuda_products_forget(d, NULL, p);
    qn_cuda_device_free(d, p->scratch);
    qn_cuda_device_free(d, p->partials);
    qn_cuda_shared_drop(d, p->unpacked);
    free(p);
}
