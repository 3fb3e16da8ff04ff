// The emulator that runs kernels compiled from the shipped Metal text (tools/metal/msl_compile.sh) on the CPU.
// Every GPU thread is a fiber; simdgroups are exactly 32 lanes; lane, simdgroup and threadgroup order is drawn from a
// seed. It is strict: every simd operation needs its full simdgroup, every barrier its whole threadgroup.
// The caller owns all buffers; kernels work on them in place. One run at a time (a lock sees to it); any thread may run.
#ifndef QN_EMULATOR_H
#define QN_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QN_EMULATOR_MAX_BUFFERS = 16,
    QN_EMULATOR_MAX_CONCURRENT = 256, // dispatches without a barrier between them
    QN_EMULATOR_MAX_THREADS = 1024,
    QN_EMULATOR_MAX_ARGS = 4096, // what setBytes takes
    QN_EMULATOR_SECTOR = 32,     // the unit of the counters
};

// One dispatch: kernel(buffers[0], …, buffers[n_buffers - 1], args, ids…). args NULL: the kernel has no args struct.
// n_buffers and args together are 1..16 pointers. n_threads is a multiple of 32.
typedef struct {
    const char *kernel;
    uint32_t n_groups[3];
    uint32_t n_threads;
    int n_buffers;
    struct {
        void *address;
        size_t n_bytes; // to the end of the buffer
    } buffers[QN_EMULATOR_MAX_BUFFERS];
    const void *args;
    size_t args_bytes;
} qn_emulator_dispatch;

// Both return 0, or -1 with one line in error: unknown kernel, divergence, a barrier not reached by all, a fault (with
// kernel, group, thread, address and the nearest buffer), an access outside the buffers or a race between
// threadgroups (counting build, when asked for), data races (TSan build). After an error the buffers hold whatever was written.
int qn_emulator_run(const qn_emulator_dispatch *dispatch, char *error, size_t error_bytes);

// The n dispatches that no barrier separates: their threadgroups run in one random order, and in the TSan build no
// threadgroup is ordered before another, so a missing barrier between two of the dispatches is reported.
int qn_emulator_run_concurrent(const qn_emulator_dispatch *list, int n, char *error,
                               size_t error_bytes);

// Whether a kernel of this name is linked in (found by dlsym: link the program with -rdynamic).
bool qn_emulator_has_kernel(const char *kernel);

// The seed of every order to come.
void qn_emulator_seed(uint32_t seed);
// Kernels run with denormals flushed to zero, as a GPU may.
void qn_emulator_flush_denormals(bool on);
// Products of 8x8 matrices add up columns 4 to 7 in another order than columns 0 to 3: what no kernel should rely on not to be.
void qn_emulator_uneven_matrices(bool on);
// Counting build: a load or store outside the bound buffers, the args and the kernel's own arrays is an error.
void qn_emulator_strict_bounds(bool on);
// Counting build: a byte of a buffer that one threadgroup of a run writes and another touches is an error; false frees what
// was noted (12 bytes a byte touched). Exact, unlike TSan's view of threadgroups far apart.
void qn_emulator_strict_races(bool on);
// TSan build: reports so far in this process.
unsigned long qn_emulator_races(void);
// Fibers resumed so far.
unsigned long long qn_emulator_n_switches(void);

// Bytes of the last run's dispatch number `index`, in distinct 32-byte sectors of each buffer. False if that run was not
// counted: the kernels' object was not built for counting (-fsanitize-coverage), or there is no such dispatch.
// Atomic operations are not counted.
typedef struct {
    uint64_t read_bytes[QN_EMULATOR_MAX_BUFFERS];
    uint64_t written_bytes[QN_EMULATOR_MAX_BUFFERS];
} qn_emulator_counts;
bool qn_emulator_counters(int index, qn_emulator_counts *counts);

// Memory whose end, rounded up to 16 bytes, touches an unmapped page, with an unmapped page before it; filled with 0xcb.
// NULL when there is no memory. Free returns false if the bytes between n_bytes and the page were changed.
void *qn_emulator_guarded_alloc(size_t n_bytes);
bool qn_emulator_guarded_free(void *memory); // NULL is fine

#endif
