// Runs sets of dispatches: checks them, draws the order of their threadgroups, and reports. See emulator.h.
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "internal.h"
#include "tsan.h"

qn_emulator_state qn_emulator_now = {.random = 1};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long n_races;

#ifdef QN_EMULATOR_TSAN
void __tsan_on_report(void *report);

void __tsan_on_report(void *report)
{
    (void)report;
    n_races++;
}
#endif

uint32_t qn_emulator_random(uint32_t n)
{
    uint32_t x = qn_emulator_now.random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    qn_emulator_now.random = x;
    return (uint32_t)(((uint64_t)x * n) >> 32);
}

void qn_emulator_seed(uint32_t seed)
{
    uint32_t x = (seed + 1) * 2654435761u;
    qn_emulator_now.random = x ? x : 1;
}

void qn_emulator_flush_denormals(bool on)
{
    qn_emulator_now.flush_denormals = on;
}

void qn_emulator_uneven_matrices(bool on)
{
    qn_emulator_now.uneven_matrices = on;
}

void qn_emulator_strict_bounds(bool on)
{
    qn_emulator_now.strict_bounds = on;
}

void qn_emulator_strict_races(bool on)
{
    qn_emulator_now.strict_races = on;
    if (!on) qn_emulator_races_release();
}

unsigned long qn_emulator_races(void)
{
    return n_races;
}

unsigned long long qn_emulator_n_switches(void)
{
    return qn_emulator_now.n_switches;
}

int qn_emulator_fail(const char *format, ...)
{
    const qn_emulator_state *now = &qn_emulator_now;
    va_list list;
    char text[512];
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    snprintf(now->error, now->error_bytes, "kernel %s, threadgroup (%u, %u, %u): %s",
             now->dispatch->kernel, now->group[0], now->group[1], now->group[2], text);
    return -1;
}

static void (*find_kernel(const char *name))(void)
{
    return (void (*)(void))(uintptr_t)dlsym(RTLD_DEFAULT, name);
}

bool qn_emulator_has_kernel(const char *kernel)
{
    return find_kernel(kernel) != NULL;
}

static int check(const qn_emulator_dispatch *d)
{
    int n_pointers = d->n_buffers + (d->args != NULL);
    memset(qn_emulator_now.group, 0, sizeof(qn_emulator_now.group));
    qn_emulator_now.dispatch = d;
    if (!find_kernel(d->kernel)) return qn_emulator_fail("no such kernel in the program");
    if (d->n_buffers < 0 || n_pointers < 1 || n_pointers > QN_EMULATOR_MAX_BUFFERS)
        return qn_emulator_fail("%d buffers, expected 1 to %d with the args", n_pointers,
                                QN_EMULATOR_MAX_BUFFERS);
    if (!d->n_threads || d->n_threads > QN_EMULATOR_MAX_THREADS || d->n_threads % QN_EMULATOR_LANES)
        return qn_emulator_fail("%u threads, expected a multiple of 32 up to 1024", d->n_threads);
    if (d->args_bytes > QN_EMULATOR_MAX_ARGS)
        return qn_emulator_fail("%zu bytes of args, at most 4096", d->args_bytes);
    if ((uint64_t)d->n_groups[0] * d->n_groups[1] * d->n_groups[2] > UINT32_MAX / 2)
        return qn_emulator_fail("too many threadgroups");
    if (qn_emulator_fibers_prepare(d->n_threads))
        return qn_emulator_fail("no memory for the stacks");
    return 0;
}

static uint32_t groups_of(const qn_emulator_dispatch *d)
{
    return d->n_groups[0] * d->n_groups[1] * d->n_groups[2];
}

typedef struct {
    int dispatch;
    uint32_t index;
} group_name;

// The set that runs: its dispatches, and its threadgroups in the order they run.
static const qn_emulator_dispatch *set_list;
static const group_name *set_order;

static void place(const qn_emulator_dispatch *d, uint32_t index, uint32_t xyz[3])
{
    xyz[0] = index % d->n_groups[0];
    xyz[1] = index / d->n_groups[0] % d->n_groups[1];
    xyz[2] = index / d->n_groups[0] / d->n_groups[1];
}

void qn_emulator_group_name(uint32_t number, char *text, size_t n_bytes)
{
    const group_name *g = &set_order[number - qn_emulator_now.first_group_number];
    const qn_emulator_dispatch *d = &set_list[g->dispatch];
    uint32_t xyz[3];
    place(d, g->index, xyz);
    snprintf(text, n_bytes, "threadgroup (%u, %u, %u) of kernel %s", xyz[0], xyz[1], xyz[2],
             d->kernel);
}

// The threadgroup `index` of dispatch d.
static int run_one(const qn_emulator_dispatch *d, int in_list, void *args, uint32_t index)
{
    qn_emulator_state *now = &qn_emulator_now;
    now->dispatch = d;
    now->index = in_list;
    now->function = find_kernel(d->kernel);
    qn_emulator_threadgroup_memory(d->kernel, &now->threadgroup_memory, &now->threadgroup_bytes);
    now->n_pointers = 0;
    for (int i = 0; i < d->n_buffers; i++)
        now->pointers[now->n_pointers++] = d->buffers[i].address;
    if (args) now->pointers[now->n_pointers++] = args;
    place(d, index, now->group);
    return qn_emulator_run_group();
}

// All threadgroups of the list in a random order. NULL: no memory, or none (*n 0).
static group_name *shuffled(const qn_emulator_dispatch *list, int n_dispatches, uint32_t *n)
{
    size_t total = 0, k = 0;
    for (int i = 0; i < n_dispatches; i++)
        total += groups_of(&list[i]);
    group_name *order = malloc((total ? total : 1) * sizeof(*order));
    for (int i = 0; order && i < n_dispatches; i++) {
        for (uint32_t g = 0; g < groups_of(&list[i]); g++, k++) {
            size_t j = qn_emulator_random((uint32_t)k + 1);
            order[k] = order[j];
            order[j] = (group_name){i, g};
        }
    }
    *n = (uint32_t)total;
    return order;
}

static int run_all(const qn_emulator_dispatch *list, int n)
{
    uint32_t n_groups;
    int result = 0;
    void *args[QN_EMULATOR_MAX_CONCURRENT] = {0};
    for (int i = 0; i < n; i++) {
        if (check(&list[i])) return -1;
        if (list[i].args && !(args[i] = qn_emulator_args_copy(list[i].args, list[i].args_bytes, i)))
            return qn_emulator_fail("no memory for the args");
    }
    if (qn_emulator_counters_begin(list, n)) return qn_emulator_fail("no memory for the counters");
    group_name *order = shuffled(list, n, &n_groups);
    if (!order) return qn_emulator_fail("no memory for %d dispatches", n);
    set_list = list;
    set_order = order;
    qn_emulator_now.first_group_number = qn_emulator_now.group_number + 1;
    for (uint32_t i = 0; i < n_groups && !result; i++) {
        qn_emulator_now.group_number++;
        result = run_one(&list[order[i].dispatch], order[i].dispatch, args[order[i].dispatch],
                         order[i].index);
    }
    free(order);
    return result;
}

#if defined(__x86_64__)
static unsigned set_flush(bool on)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(on ? before | 0x8040 : before); // flush to zero, denormals are zero
    return before;
}

static void restore_flush(unsigned before)
{
    _mm_setcsr((_mm_getcsr() & 0x3f) | (before & ~0x3fu)); // the exception flags stay
}
#else
static unsigned set_flush(bool on)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    if (on) __asm__ volatile("msr fpcr, %0" ::"r"(before | 1u << 24));
    return (unsigned)before;
}

static void restore_flush(unsigned before)
{
    __asm__ volatile("msr fpcr, %0" ::"r"((uint64_t)before));
}
#endif

// TSan reports an address once and then looks away from it: it is made to forget the buffers, so later runs report again.
static int fail_races(const qn_emulator_dispatch *list, int n, unsigned long found, int result)
{
    for (int d = 0; d < n; d++)
        for (int b = 0; b < list[d].n_buffers; b++)
            qn_emulator_tsan_forget(list[d].buffers[b].address, list[d].buffers[b].n_bytes);
    if (result) return result; // it has its message
    if (n > 1)
        return qn_emulator_fail(
            "%lu data races (ThreadSanitizer) in %d concurrent dispatches, kernels %s to %s", found,
            n, list[0].kernel, list[n - 1].kernel);
    return qn_emulator_fail("%lu data races (ThreadSanitizer)", found);
}

int qn_emulator_run_concurrent(const qn_emulator_dispatch *list, int n, char *error,
                               size_t error_bytes)
{
    qn_emulator_state *now = &qn_emulator_now;
    pthread_mutex_lock(&lock);
    now->error = error;
    now->error_bytes = error_bytes;
    now->dispatch = list;
    now->scheduler_tsan = qn_emulator_tsan_self();
    unsigned long races_before = n_races;
    int result;
    if (n < 1 || n > QN_EMULATOR_MAX_CONCURRENT) {
        snprintf(error, error_bytes, "%d dispatches at once, expected 1 to %d", n,
                 QN_EMULATOR_MAX_CONCURRENT);
        result = -1;
    } else {
        unsigned control = set_flush(now->flush_denormals);
        qn_emulator_faults_catch();
        now->running = true;
        result = run_all(list, n);
        now->running = false;
        qn_emulator_faults_release();
        qn_emulator_fibers_forget();
        restore_flush(control);
        qn_emulator_tsan_acquire(&now->sync_end);
    }
    if (n_races > races_before) result = fail_races(list, n, n_races - races_before, result);
    pthread_mutex_unlock(&lock);
    return result;
}

int qn_emulator_run(const qn_emulator_dispatch *dispatch, char *error, size_t error_bytes)
{
    return qn_emulator_run_concurrent(dispatch, 1, error, error_bytes);
}
