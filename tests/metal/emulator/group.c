// Runs one threadgroup: picks a simdgroup, runs its 32 lanes in a random order to their next wait, checks that they wait
// in the same place, and goes on. Simdgroups advance one operation at a time in random turns, or each as far as it can:
// a missing barrier shows itself in one or the other.
#include <string.h>

#include "internal.h"
#include "tsan.h"

// What barriers release and acquire under TSan. Two objects that take turns: with one, a fast thread's release at its
// next barrier would be acquired by a slow thread that still waits at this one, and hide a race.
static uint64_t sync_threadgroup[2], sync_simdgroup[QN_EMULATOR_MAX_THREADS / QN_EMULATOR_LANES][2];

static void barrier(qn_emulator_fiber_state state, uint32_t flags, const void *site)
{
    qn_emulator_fiber *f = qn_emulator_now.current;
    size_t g = (size_t)(f - qn_emulator_now.fibers) / QN_EMULATOR_LANES;
    bool simd = state == QN_EMULATOR_IN_SIMDGROUP_BARRIER;
    uint32_t turn = f->generation[simd]++ & 1;
    uint64_t *sync = simd ? &sync_simdgroup[g][turn] : &sync_threadgroup[turn];
    f->arg = flags;
    f->site = site;
    if (flags) qn_emulator_tsan_release(sync);
    qn_emulator_fiber_wait(state);
    if (flags) qn_emulator_tsan_acquire(sync);
}

// Called by kernels. flags are those of metal::mem_flags; with none the barrier orders no memory.
void qn_emulator_threadgroup_barrier(uint32_t flags)
{
    barrier(QN_EMULATOR_IN_BARRIER, flags, __builtin_return_address(0));
}

void qn_emulator_simdgroup_barrier(uint32_t flags)
{
    barrier(QN_EMULATOR_IN_SIMDGROUP_BARRIER, flags, __builtin_return_address(0));
}

static const char *state_name(const qn_emulator_fiber *f)
{
    switch (f->state) {
    case QN_EMULATOR_IN_SIMD:
        return qn_emulator_simd_name(f->op);
    case QN_EMULATOR_IN_SIMDGROUP_BARRIER:
        return "simdgroup_barrier";
    case QN_EMULATOR_IN_BARRIER:
        return "threadgroup_barrier";
    default:
        return "its return";
    }
}

static int fail_lane(uint32_t thread)
{
    const qn_emulator_fiber *f = &qn_emulator_now.fibers[thread],
                            *first = f - thread % QN_EMULATOR_LANES;
    const char *same = f->state == first->state && f->op == first->op ? "another " : "";
    if (f->state == QN_EMULATOR_STOPPED) return -1;
    if (f->state == QN_EMULATOR_FAULTED) {
        char text[256];
        qn_emulator_fault_describe(text, sizeof(text));
        return qn_emulator_fail("thread %u: %s", thread, text);
    }
    return qn_emulator_fail("divergent simdgroup %u: lane 0 is at %s, lane %u at %s%s",
                            thread / QN_EMULATOR_LANES, state_name(first),
                            thread % QN_EMULATOR_LANES, same, state_name(f));
}

// Runs the 32 lanes once; -1 when they end in different places.
static int run_lanes(uint32_t simdgroup)
{
    qn_emulator_fiber *lanes = &qn_emulator_now.fibers[simdgroup * QN_EMULATOR_LANES];
    uint32_t r = qn_emulator_random(UINT32_MAX), start = r >> 8, step = (r >> 16) | 1, k;
    for (k = 0; k < QN_EMULATOR_LANES; k++) {
        qn_emulator_fiber *f = &lanes[(start + k * step) % QN_EMULATOR_LANES];
        qn_emulator_fiber_resume(f);
        if (f->state >= QN_EMULATOR_FAULTED)
            return fail_lane((uint32_t)(f - qn_emulator_now.fibers));
    }
    for (k = 1; k < QN_EMULATOR_LANES; k++) {
        bool same = lanes[k].state == lanes[0].state &&
                    (lanes[k].state == QN_EMULATOR_RETURNED || lanes[k].site == lanes[0].site);
        if (!same || (lanes[k].state == QN_EMULATOR_IN_SIMD && lanes[k].op != lanes[0].op))
            return fail_lane(simdgroup * QN_EMULATOR_LANES + k);
    }
    return lanes[0].state == QN_EMULATOR_IN_SIMD ? qn_emulator_simd_resolve(lanes) : 0;
}

// All simdgroups wait or have returned: 1 when the group has ended, 0 when a barrier lets all go on, else -1.
static int meet(uint32_t n_simdgroups)
{
    const qn_emulator_fiber *f = qn_emulator_now.fibers;
    for (uint32_t g = 1; g < n_simdgroups; g++) {
        const qn_emulator_fiber *other = &f[g * QN_EMULATOR_LANES];
        if (other->state != f->state)
            return qn_emulator_fail(
                "threadgroup_barrier not reached by every thread: simdgroup 0 is at %s, "
                "simdgroup %u at %s",
                state_name(f), g, state_name(other));
        if (f->state == QN_EMULATOR_IN_BARRIER && (other->site != f->site || other->arg != f->arg))
            return qn_emulator_fail("simdgroups 0 and %u are at different threadgroup_barriers", g);
    }
    return f->state == QN_EMULATOR_RETURNED;
}

static int schedule(uint32_t n_simdgroups)
{
    uint32_t ready[QN_EMULATOR_MAX_THREADS / QN_EMULATOR_LANES], n_ready = 0;
    bool far = qn_emulator_random(2);
    for (;;) {
        for (n_ready = 0; n_ready < n_simdgroups; n_ready++)
            ready[n_ready] = n_ready;
        while (n_ready) {
            uint32_t pick = qn_emulator_random(n_ready);
            const qn_emulator_fiber *f = &qn_emulator_now.fibers[ready[pick] * QN_EMULATOR_LANES];
            do {
                if (run_lanes(ready[pick])) return -1;
            } while (far && f->state < QN_EMULATOR_IN_BARRIER);
            if (f->state >= QN_EMULATOR_IN_BARRIER) ready[pick] = ready[--n_ready];
        }
        int met = meet(n_simdgroups);
        if (met) return met > 0 ? 0 : -1;
    }
}

// Fibers are created in a random order: TSan reuses the identity of ended ones, and must not pair thread i with thread i.
static void start_fibers(uint32_t n)
{
    uint16_t order[QN_EMULATOR_MAX_THREADS];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = qn_emulator_random(i + 1);
        order[i] = order[j];
        order[j] = (uint16_t)i;
    }
    for (uint32_t i = 0; i < n; i++)
        qn_emulator_fiber_start(&qn_emulator_now.fibers[order[i]]);
}

int qn_emulator_run_group(void)
{
    uint32_t n = qn_emulator_now.dispatch->n_threads;
    char *memory = qn_emulator_now.threadgroup_memory;
    size_t n_bytes = qn_emulator_now.threadgroup_bytes;
    qn_emulator_tsan_forget(memory, n_bytes);
    if (n_bytes) memset(memory, 0xff, n_bytes); // NaN: nothing is there before it is stored
    qn_emulator_tsan_forget(sync_threadgroup, sizeof(sync_threadgroup));
    qn_emulator_tsan_forget(sync_simdgroup, sizeof(sync_simdgroup));
    start_fibers(n);
    int result = schedule(n / QN_EMULATOR_LANES);
    for (uint32_t i = 0; i < n; i++)
        qn_emulator_fiber_end(&qn_emulator_now.fibers[i]);
    return result;
}
