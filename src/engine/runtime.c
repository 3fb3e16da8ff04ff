// The runtime: opening and closing what all models share, and its figures. Any thread. See runtime.h.
#include "engine/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/observed.h"

enum { MAX_THREADS = 1024 };

static int text_threads(int n_threads)
{
    int n = 1 + n_threads / 4;
    return n < 2 ? 2 : n;
}

static int open_device(quern_runtime *rt, const qn_observer *observer,
                       const quern_runtime_options *o, quern_error *e)
{
    qn_executor *x = &rt->executor;
    const qn_device_options options = {.n_threads = o->n_threads, .observer = observer};
    int rc = x->backend->open(&options, &x->device, e);
    if (rc) return rc;
    x->backend->info(x->device, &rt->info);
    uint64_t budget = o->memory_bytes ? o->memory_bytes : rt->info.memory_bytes;
    qn_ledger_init(&rt->ledger, budget);
    return QUERN_OK;
}

static void close_device(quern_runtime *rt)
{
    rt->executor.backend->close(rt->executor.device);
    qn_ledger_destroy(&rt->ledger);
}

static int open_runtime(const qn_backend *backend, const qn_observer *observer,
                        const quern_runtime_options *options, quern_runtime **out, quern_error *e)
{
    if (options->n_threads < 0 || options->n_threads > MAX_THREADS)
        return qn_error_set(e, QUERN_E_ARGUMENT, "threads: must be 0 to %d, found %d", MAX_THREADS,
                            options->n_threads);
    quern_runtime *rt = calloc(1, sizeof *rt);
    if (!rt) return qn_error_set(e, QUERN_E_MEMORY, "no memory for the runtime");
    rt->log = qn_log_open(options->log_fd, options->log_level);
    rt->executor.backend = backend;
    rt->executor.runtime = rt;
    pthread_mutex_init(&rt->gone_mutex, NULL);
    pthread_cond_init(&rt->gone, NULL);
    int rc = open_device(rt, observer, options, e);
    if (rc) {
        free(rt);
        return rc;
    }
    rc = qn_executor_start(&rt->executor, e);
    if (!rc) rc = qn_text_pool_start(&rt->text, text_threads(rt->info.n_threads), e);
    if (rc) {
        qn_executor_stop(&rt->executor);
        close_device(rt);
        free(rt);
        return rc;
    }
    *out = rt;
    return QUERN_OK;
}

int qn_runtime_open_with(const qn_backend *backend, const quern_runtime_options *options,
                         quern_runtime **out, quern_error *e)
{
    return open_runtime(backend, NULL, options, out, e);
}

int qn_runtime_open_observed(const qn_observer *observer, const quern_runtime_options *options,
                             quern_runtime **out, quern_error *e)
{
    return open_runtime(qn_backend_by_name("cpu"), observer, options, out, e);
}

// The first backend that can be opened; the log says why the ones before it cannot.
static int open_first(const quern_runtime_options *options, quern_runtime **out, quern_error *e)
{
    const qn_log log = qn_log_open(options->log_fd, options->log_level);
    int rc = qn_error_set(e, QUERN_E_UNSUPPORTED, "backend: none can run here");
    for (int i = 0; qn_backend_at(i); i++) {
        const qn_backend *backend = qn_backend_at(i);
        quern_error why = {0};
        if (!backend->available()) continue;
        rc = qn_runtime_open_with(backend, options, out, &why);
        if (!rc) return QUERN_OK;
        if (e) *e = why;
        if (rc == QUERN_E_ARGUMENT) return rc;
        qn_log_write(&log, QUERN_LOG_WARN, "backend %s cannot be used: %s", backend->name,
                     why.message);
    }
    return rc;
}

int quern_runtime_open(const quern_runtime_options *options, quern_runtime **out, quern_error *e)
{
    const quern_runtime_options defaults = {.log_fd = -1};
    if (!options) options = &defaults;
    if (!options->backend || strcmp(options->backend, "auto") == 0)
        return open_first(options, out, e);
    const qn_backend *backend = qn_backend_by_name(options->backend);
    if (!backend)
        return qn_error_set(e, QUERN_E_UNSUPPORTED, "backend: \"%s\" is unknown or cannot run here",
                            options->backend ? options->backend : "auto");
    return qn_runtime_open_with(backend, options, out, e);
}

void quern_runtime_close(quern_runtime *rt)
{
    if (!rt) return;
    qn_executor_stop(&rt->executor);
    qn_text_pool_stop(&rt->text);
    close_device(rt);
    pthread_mutex_destroy(&rt->gone_mutex);
    pthread_cond_destroy(&rt->gone);
    free(rt);
}

void quern_runtime_get_info(quern_runtime *rt, quern_runtime_info *out)
{
    uint64_t used[QN_LEDGER_KINDS];
    qn_ledger_read(&rt->ledger, used);
    *out = (quern_runtime_info){.n_threads = rt->info.n_threads,
                                .memory_total_bytes = rt->ledger.total_bytes,
                                .memory_weights_bytes = used[QN_LEDGER_WEIGHTS],
                                .memory_state_bytes = used[QN_LEDGER_STATE],
                                .memory_scratch_bytes = used[QN_LEDGER_SCRATCH],
                                .read_bytes_per_second = rt->read_bytes_per_second};
    snprintf(out->backend, sizeof out->backend, "%s", rt->executor.backend->name);
    memcpy(out->device, rt->info.text, sizeof out->device);
}

bool quern_runtime_has_failed(const quern_runtime *rt)
{
    return rt->executor.dead;
}

static void measure(void *argument)
{
    quern_runtime *rt = argument;
    const qn_executor *x = &rt->executor;
    rt->read_bytes_per_second = x->backend->measure_read(x->device);
}

void quern_runtime_measure(quern_runtime *rt)
{
    qn_executor_call(&rt->executor, measure, rt);
}

typedef struct {
    quern_runtime *runtime;
    qn_device_limits limits;
    int rc;
} limits_call;

static void measure_limits(void *argument)
{
    limits_call *call = argument;
    quern_runtime *rt = call->runtime;
    const qn_executor *x = &rt->executor;
    if (x->backend->measure_limits)
        call->rc = x->backend->measure_limits(x->device, &call->limits);
    else
        call->limits.read_bytes_per_second = x->backend->measure_read(x->device);
    if (!call->rc) rt->read_bytes_per_second = call->limits.read_bytes_per_second;
}

int quern_runtime_measure_limits(quern_runtime *rt, quern_limits *out)
{
    limits_call call = {.runtime = rt};
    qn_executor_call(&rt->executor, measure_limits, &call);
    *out = (quern_limits){call.limits.read_bytes_per_second, call.limits.copy_bytes_per_second,
                          call.limits.matmul_flops_per_second, call.limits.launch_seconds};
    return call.rc;
}
