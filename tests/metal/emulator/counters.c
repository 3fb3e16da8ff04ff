// Counting: kernels compiled with -fsanitize-coverage=func,trace-loads,trace-stores call these before each access; each marks
// the 32-byte sectors it touches in the bound buffer's two bitmaps. With strict bounds an access outside the bound
// buffers, the args, the kernel's threadgroup arrays and the thread's own stack stops the run; with strict races, one that races.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

typedef struct {
    uint64_t *bits[2]; // read, written; one bit a sector
    size_t n_words;
} sectors;

static struct {
    sectors buffers[QN_EMULATOR_MAX_CONCURRENT][QN_EMULATOR_MAX_BUFFERS];
    int n_dispatches;
    bool counted; // some access was seen
} counts;

static void release(void)
{
    for (int d = 0; d < counts.n_dispatches; d++)
        for (int b = 0; b < QN_EMULATOR_MAX_BUFFERS; b++)
            free(counts.buffers[d][b].bits[0]);
    memset(counts.buffers, 0, (size_t)counts.n_dispatches * sizeof(counts.buffers[0]));
    counts.n_dispatches = 0;
    counts.counted = false;
}

int qn_emulator_counters_begin(const qn_emulator_dispatch *list, int n)
{
    (void)list;
    release();
    counts.n_dispatches = n;
    return 0;
}

// Bitmaps are made at the first access: without a counting build there is none.
static bool prepare(sectors *s, size_t n_bytes)
{
    if (s->bits[0]) return true;
    s->n_words =
        n_bytes / QN_EMULATOR_SECTOR / 64 + 2; // an unaligned buffer touches one sector more
    s->bits[0] = calloc(2 * s->n_words, sizeof(uint64_t));
    s->bits[1] = s->bits[0] ? s->bits[0] + s->n_words : NULL;
    return s->bits[0] != NULL;
}

static void outside(uintptr_t p, size_t n, bool store)
{
    const qn_emulator_state *now = &qn_emulator_now;
    char where[128];
    const char *memory = now->threadgroup_memory;
    size_t n_bytes = now->threadgroup_bytes;
    const char *stack = now->current->stack, *top = now->current->stack_top;
    if ((p >= (uintptr_t)stack && p + n <= (uintptr_t)top) ||
        (p >= (uintptr_t)memory && p + n <= (uintptr_t)memory + n_bytes))
        return;
    uintptr_t args = (uintptr_t)now->pointers[now->n_pointers - 1];
    if (now->dispatch->args && p >= args && p + n <= args + now->dispatch->args_bytes) return;
    qn_emulator_where((const void *)p, where, sizeof(where));
    qn_emulator_fail("thread %d: %s of %zu bytes at %p, %s", (int)(now->current - now->fibers),
                     store ? "store" : "load", n, (const void *)p, where);
    qn_emulator_fiber_wait(QN_EMULATOR_STOPPED);
}

static void race(uint32_t other, int index, size_t offset, bool store)
{
    char name[160];
    qn_emulator_group_name(other, name, sizeof(name));
    qn_emulator_fail(
        "thread %d: %s at byte %zu of buffer %d, which %s touches too: nothing orders the two",
        (int)(qn_emulator_now.current - qn_emulator_now.fibers), store ? "store" : "load", offset,
        index, name);
    qn_emulator_fiber_wait(QN_EMULATOR_STOPPED);
}

static void touch(const void *address, size_t n, bool store)
{
    const qn_emulator_state *now = &qn_emulator_now;
    const qn_emulator_dispatch *d = now->dispatch;
    uintptr_t p = (uintptr_t)address;
    if (!now->running) return;
    counts.counted = true;
    for (int i = 0; i < d->n_buffers; i++) {
        uintptr_t begin = (uintptr_t)d->buffers[i].address;
        if (p < begin || p + n > begin + d->buffers[i].n_bytes) continue;
        sectors *s = &counts.buffers[now->index][i];
        if (!prepare(s, d->buffers[i].n_bytes)) return;
        size_t base = begin / QN_EMULATOR_SECTOR, last = (p + n - 1) / QN_EMULATOR_SECTOR - base;
        for (size_t k = p / QN_EMULATOR_SECTOR - base; k <= last; k++)
            s->bits[store][k / 64] |= 1ull << (k % 64);
        uint32_t other = now->strict_races ? qn_emulator_races_touch(p, n, store) : 0;
        if (other) race(other, i, p - begin, store);
        return;
    }
    if (now->strict_bounds) outside(p, n, store);
}

static uint64_t bytes_of(const sectors *s, int which)
{
    uint64_t n = 0;
    for (size_t i = 0; s->bits[0] && i < s->n_words; i++)
        n += (uint64_t)__builtin_popcountll(s->bits[which][i]);
    return n * QN_EMULATOR_SECTOR;
}

bool qn_emulator_counters(int index, qn_emulator_counts *out)
{
    if (!counts.counted || index < 0 || index >= counts.n_dispatches) return false;
    for (int b = 0; b < QN_EMULATOR_MAX_BUFFERS; b++) {
        out->read_bytes[b] = bytes_of(&counts.buffers[index][b], 0);
        out->written_bytes[b] = bytes_of(&counts.buffers[index][b], 1);
    }
    return true;
}

#define CALLBACKS(n)                                                                               \
    void __sanitizer_cov_load##n(const void *address);                                             \
    void __sanitizer_cov_store##n(const void *address);                                            \
    void __sanitizer_cov_load##n(const void *address)                                              \
    {                                                                                              \
        touch(address, n, false);                                                                  \
    }                                                                                              \
    void __sanitizer_cov_store##n(const void *address)                                             \
    {                                                                                              \
        touch(address, n, true);                                                                   \
    }

CALLBACKS(1)
CALLBACKS(2)
CALLBACKS(4)
CALLBACKS(8)
CALLBACKS(16)
