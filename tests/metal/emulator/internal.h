// What the emulator's files share: a fiber, the state of the run in progress, and the calls between the files.
// The state is one global, guarded by the lock that qn_emulator_run_concurrent holds; kernels reach it through `current`.
#ifndef QN_EMULATOR_INTERNAL_H
#define QN_EMULATOR_INTERNAL_H

#include "emulator.h"
#include "operations.h"

enum { QN_EMULATOR_LANES = 32, QN_EMULATOR_STACK = 64 << 10, QN_EMULATOR_STACK_GUARD = 256 << 10 };

typedef enum {
    QN_EMULATOR_READY,
    QN_EMULATOR_IN_SIMD,
    QN_EMULATOR_IN_SIMDGROUP_BARRIER,
    QN_EMULATOR_IN_BARRIER,
    QN_EMULATOR_RETURNED,
    QN_EMULATOR_FAULTED, // by a signal
    QN_EMULATOR_STOPPED, // by a check of the emulator, which has set the error
} qn_emulator_fiber_state;

typedef float qn_emulator_pair __attribute__((vector_size(8))); // Metal's float2

typedef union {
    float f;
    uint32_t u;
    int32_t i;
} qn_emulator_value;

// One GPU thread. Its stack lies between two unmapped pages and is kept from group to group.
typedef struct {
    void *sp; // while it is not running
    char *stack, *stack_top, *lowest_sp;
    qn_emulator_fiber_state state;
    uint32_t op, arg;        // of the collective operation it waits in, or the flags of the barrier
    const void *site;        // the call it waits in
    qn_emulator_value value; // the operand, then the result
    qn_emulator_pair a, b, c; // its share of a matrix product's operands; c then holds the result's
    uint32_t generation[2];   // barriers passed: threadgroup's, simdgroup's
    void *tsan;
} qn_emulator_fiber;

typedef struct {
    const qn_emulator_dispatch *dispatch; // of the threadgroup that runs
    void (*function)(void);
    void *pointers[QN_EMULATOR_MAX_BUFFERS + 1];
    int n_pointers;
    int index; // of the dispatch in the list
    uint32_t group[3];
    qn_emulator_fiber fibers[QN_EMULATOR_MAX_THREADS];
    qn_emulator_fiber *current;
    void *scheduler_sp, *scheduler_tsan;
    uint32_t random;
    uint64_t sync_end; // TSan: the work of every fiber is before the end of the set
    unsigned long long n_switches;
    bool flush_denormals, uneven_matrices, strict_bounds, strict_races, running;
    uint32_t group_number, first_group_number; // of this threadgroup, of the set's first; never 0
    char *threadgroup_memory;                  // of the kernel that runs
    size_t threadgroup_bytes;
    int signal; // of a fault
    const void *fault_address;
    char *error;
    size_t error_bytes;
} qn_emulator_state;

extern qn_emulator_state qn_emulator_now;

// emulator.c. fail() sets the run's error, "kernel …, threadgroup …: " and the text, and returns -1.
__attribute__((format(printf, 1, 2))) int qn_emulator_fail(const char *format, ...);
void qn_emulator_group_name(uint32_t number, char *text, size_t n_bytes); // of this set
uint32_t qn_emulator_random(uint32_t n);                                  // below n

// group.c: one threadgroup
int qn_emulator_run_group(void);

// fibers.c
int qn_emulator_fibers_prepare(uint32_t n_threads); // stacks; -1 when there is no memory
void qn_emulator_fiber_start(qn_emulator_fiber *f);
void qn_emulator_fiber_end(qn_emulator_fiber *f);
void qn_emulator_fibers_forget(void); // after a set of dispatches
void qn_emulator_fiber_resume(qn_emulator_fiber *f);
void qn_emulator_fiber_wait(qn_emulator_fiber_state state); // on the fiber: back to the scheduler
void qn_emulator_call_kernel(void);                         // call.c, on the fiber

// simd.c: all lanes wait in the same operation
int qn_emulator_simd_resolve(qn_emulator_fiber *lanes);
const char *qn_emulator_simd_name(uint32_t op);

// faults.c: signals of kernels while a run is in progress
void qn_emulator_faults_catch(void);
void qn_emulator_faults_release(void);
void qn_emulator_fault_describe(char *text, size_t n_bytes);
void qn_emulator_where(const void *address, char *text, size_t n_bytes); // "4 bytes past …"

// counters.c
int qn_emulator_counters_begin(const qn_emulator_dispatch *list, int n);

// Called by kernels, through the shim.
float qn_emulator_simd_f(uint32_t op, float x, uint32_t arg);
uint32_t qn_emulator_simd_u(uint32_t op, uint32_t x, uint32_t arg);
int32_t qn_emulator_simd_i(uint32_t op, int32_t x, uint32_t arg);
void qn_emulator_simd_uniform(const void *pointer, uint64_t stride);
qn_emulator_pair qn_emulator_simd_matrix(qn_emulator_pair a, qn_emulator_pair b,
                                         qn_emulator_pair c);
uint32_t qn_emulator_lane(void);
void qn_emulator_threadgroup_barrier(uint32_t flags);
void qn_emulator_simdgroup_barrier(uint32_t flags);

// threadgroup.c: the memory of a kernel's threadgroup arrays
void qn_emulator_threadgroup_memory(const char *kernel, char **begin, size_t *n_bytes);

// races.c: between threadgroups, in the counting build
uint32_t qn_emulator_races_touch(uintptr_t p, size_t n, bool store);
void qn_emulator_races_release(void);

// memory.c: a guarded copy, one for each dispatch of a list
void *qn_emulator_args_copy(const void *args, size_t n_bytes, int index);

#endif
