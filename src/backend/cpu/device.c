// The CPU as a device: host functions of backend.h. A launch runs at once, on the calling thread and the pool, so its ticket is
// done when launch returns. Device memory is memory; weights are used where they lie.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/limits.h"
#include "backend/cpu/machine.h"
#include "backend/cpu/pool.h"
#include "backend/cpu/program.h"

enum { MAP_FROM_BYTES = 1 << 20 }; // allocations from here on come straight from the system

typedef struct allocation {
    struct allocation *next;
    void *address;
    size_t n_bytes;
    int mapped;
} allocation;

struct qn_device {
    qn_pool *pool;
    const qn_cpu_isa *isa;
    const qn_observer *observer;
    char *scratch; // QN_CPU_SCRATCH_BYTES a worker
    allocation *allocations;
    qn_ticket last;
};

static int available(void)
{
    return 1;
}

// ---- memory ----

static allocation *allocate(qn_device *d, size_t n_bytes)
{
    allocation *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->n_bytes = n_bytes ? n_bytes : 1;
    a->mapped = n_bytes >= MAP_FROM_BYTES;
    if (a->mapped)
        a->address = qn_machine_map(a->n_bytes);
    else if (posix_memalign(&a->address, 64, a->n_bytes) == 0)
        memset(a->address, 0, a->n_bytes);
    else
        a->address = NULL;
    if (!a->address) {
        free(a);
        return NULL;
    }
    a->next = d->allocations;
    d->allocations = a;
    return a;
}

static void release(allocation *a)
{
    if (a->mapped)
        qn_machine_unmap(a->address, a->n_bytes);
    else
        free(a->address);
    free(a);
}

static int device_alloc(qn_device *d, size_t n_bytes, void **address, quern_error *e)
{
    allocation *a = allocate(d, n_bytes);
    *address = a ? a->address : NULL;
    if (a) return 0;
    return qn_error_set(e, QUERN_E_MEMORY, "cpu: no memory for %zu bytes", n_bytes);
}

static void device_free(qn_device *d, void *address)
{
    if (!address) return;
    for (allocation **at = &d->allocations; *at; at = &(*at)->next) {
        allocation *a = *at;
        if (a->address != address) continue;
        *at = a->next;
        release(a);
        return;
    }
}

static int adopt(qn_device *d, const void *from, size_t n_bytes, void **address, quern_error *e)
{
    (void)d;
    (void)n_bytes;
    (void)e;
    *address = (void *)from; // read-only from here on, as the contract says
    return 0;
}

static int transfer(qn_device *d, void *to, const void *from, size_t n_bytes)
{
    (void)d;
    if (n_bytes) memmove(to, from, n_bytes);
    return 0;
}

// ---- open and close ----

static void device_close(qn_device *d)
{
    if (!d) return;
    qn_pool_close(d->pool);
    for (allocation *a = d->allocations, *next; a; a = next) {
        next = a->next;
        release(a);
    }
    free(d);
}

static int device_open(const qn_device_options *options, qn_device **out, quern_error *e)
{
    int n_threads = options->n_threads ? options->n_threads : qn_machine_n_cpus();
    *out = NULL;
    qn_device *d = calloc(1, sizeof *d);
    if (!d) return qn_error_set(e, QUERN_E_MEMORY, "cpu: no memory for the device");
    int code = 0;
    d->observer = options->observer;
    d->isa = qn_dispatch_isa_by_name(options->isa);
    if (!d->isa)
        code = qn_error_set(e, QUERN_E_UNSUPPORTED, "cpu: no instruction set \"%s\" here",
                            options->isa);
    if (!code) code = qn_pool_open(n_threads, &d->pool, e);
    if (!code) {
        void *scratch;
        code = device_alloc(d, (size_t)n_threads * QN_CPU_SCRATCH_BYTES, &scratch, e);
        d->scratch = scratch;
    }
    if (code)
        device_close(d);
    else
        *out = d;
    return code;
}

static void info(qn_device *d, qn_device_info *out)
{
    char name[64], rest[32];
    *out = (qn_device_info){.n_threads = qn_pool_n_threads(d->pool),
                            .memory_bytes = qn_machine_memory_bytes()};
    qn_machine_name(name, sizeof name);
    snprintf(rest, sizeof rest, ", %d thread%s, %s", out->n_threads, out->n_threads == 1 ? "" : "s",
             d->isa->name);
    int room = (int)(sizeof out->text - strlen(rest)) - 1;
    snprintf(out->text, sizeof out->text, "%.*s%s", room, name, rest);
}

// ---- programs ----

static int supports(qn_device *d, const qn_record *r)
{
    (void)d;
    return qn_dispatch_supports(r);
}

static int compile(qn_device *d, const qn_plan *plan, qn_program **out, quern_error *e)
{
    return qn_program_make(d->isa, d->observer, plan, out, e);
}

static void free_program(qn_device *d, qn_program *p)
{
    (void)d;
    qn_program_free(p);
}

static int launch(qn_device *d, qn_program *p, const qn_launch *step, qn_ticket *out)
{
    int code = qn_program_run(p, d->pool, d->scratch, step);
    if (code == 0) *out = ++d->last;
    return code;
}

static int poll_ticket(qn_device *d, qn_ticket t)
{
    (void)d;
    (void)t;
    return QN_TICKET_DONE;
}

static int wait_ticket(qn_device *d, qn_ticket t, int timeout_ms)
{
    (void)timeout_ms;
    return poll_ticket(d, t);
}

// ---- what it can do at most ----

static double measure_read(qn_device *d)
{
    return qn_limits_read(d->pool);
}

static int measure_limits(qn_device *d, qn_device_limits *out)
{
    *out = (qn_device_limits){.read_bytes_per_second = qn_limits_read(d->pool),
                              .copy_bytes_per_second = qn_limits_copy(d->pool)};
    return qn_limits_run_plans(&qn_cpu_backend, d, out);
}

const qn_backend qn_cpu_backend = {
    .name = "cpu",
    .available = available,
    .open = device_open,
    .close = device_close,
    .info = info,
    .alloc = device_alloc,
    .free = device_free,
    .adopt = adopt,
    .upload = transfer,
    .download = transfer,
    .supports = supports,
    .compile = compile,
    .free_program = free_program,
    .launch = launch,
    .poll = poll_ticket,
    .wait = wait_ticket,
    .measure_read = measure_read,
    .measure_limits = measure_limits,
};
