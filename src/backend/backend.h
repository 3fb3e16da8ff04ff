// Backend: records of operations in, a compiled program out, launched a step at a time.
// One table of functions a backend (backend/registry.c has the rows). All calls on a device come from its owner thread, except
// open and close. A backend never reads a clock, a socket or a model's name.
#ifndef QN_BACKEND_BACKEND_H
#define QN_BACKEND_BACKEND_H
#include "backend/plan.h"
#include "base/error.h"

typedef struct qn_device qn_device; // each backend has its own struct behind these
typedef struct qn_program qn_program;
typedef uint64_t qn_ticket;

// Who looks at the inputs of every product before it is computed (calibration): x, F32 [n_rows, n_columns], of the weight at
// `weight`. Called on compute threads; products of different weights at once, those of one weight one after the other.
typedef struct {
    void (*product)(void *user, const void *weight, const float *x, int64_t n_rows,
                    int64_t n_columns);
    void *user;
} qn_observer;

typedef struct {
    int n_threads; // compute threads; 0: one a core
    const char *
        isa; // CPU: instruction set ("portable", "avx2", "avx512", "neon"); NULL: the best that the machine has
    int unified; // GPUs: alloc gives memory that the host can read and write too, slow as it may be (tests)
    const qn_observer
        *observer; // CPU: NULL, or who sees the inputs of products; outlives the device
    int unchecked; // GPUs: open does not compare their kernels with the CPU's first (the self-test itself)
} qn_device_options;

typedef struct {
    char text[64]; // "AMD EPYC, 2 threads, avx512"
    int n_threads;
    uint64_t memory_bytes; // what the device has in all
    int prefill_rows;      // prompt rows of a step that it takes to be busy; 0: no wish
} qn_device_info;

// State of a launch.
enum {
    QN_TICKET_RUNNING = 0,
    QN_TICKET_DONE = 1,
    // The step did not happen, or not wholly. One launched behind it relied on its edits: that has not run at all, and is lost
    // too. The device works: sequences resume as after preemption.
    QN_TICKET_LOST = -100,
    // QUERN_E_DEVICE: the device is dead; nothing more can be launched
};

typedef struct {
    const void *input; // a step block of the host, laid out as the plan's limits say
    void *output;      // qn_step_result[max_outputs] of the host: valid once the ticket is done
    // both stay untouched by the host until then
} qn_launch;

// What the device can do at most, measured. 0: not measured.
typedef struct {
    double read_bytes_per_second;
    double copy_bytes_per_second;   // from memory to memory: bytes read plus bytes written
    double matmul_flops_per_second; // with a large BF16 matrix; a multiply-add is two
    double launch_seconds;          // of a launch that computes next to nothing, waited for
} qn_device_limits;

typedef struct {
    const char *name;
    // 1: products with F16 and BF16 weights round the rows of x to that type first (the matrix units' form).
    int rounds_activations;
    // 1 where this machine can run it.
    int (*available)(void);
    int (*open)(const qn_device_options *options, qn_device **out, quern_error *e);
    void (*close)(qn_device *d);
    void (*info)(qn_device *d, qn_device_info *out);

    // Device memory, 64-byte aligned and zeroed. alloc: QUERN_E_MEMORY; free takes NULL.
    int (*alloc)(qn_device *d, size_t n_bytes, void **address, quern_error *e);
    void (*free)(qn_device *d, void *address);
    // A read-only weight at host address `from`: the same address where the device can read it there (no copy), else a new device
    // buffer, until free or close. `from` stays valid as long as a program reads it, unless adopt_copies.
    int adopt_copies; // 1: adopt copies at once, whatever the address
    int (*adopt)(qn_device *d, const void *from, size_t n_bytes, void **address, quern_error *e);
    // (optional: NULL) A whole mapping of the host that weights will be adopted from, told once and before the first of them; a
    // backend that has this copies what was not lent. take_back: its weights are not used any more, nothing that reads them is
    // in flight, and the device lets go of every page before this returns: it comes before the mapping ends. Does nothing
    // for what was not lent at `begin`.
    void (*lend)(qn_device *d, const void *begin, size_t n_bytes);
    void (*take_back)(qn_device *d, const void *begin);
    int (*upload)(qn_device *d, void *to, const void *from, size_t n_bytes);
    int (*download)(qn_device *d, void *to, const void *from, size_t n_bytes);
    // 1 where the record's operation, types and shapes have an entry here.
    int (*supports)(qn_device *d, const qn_record *r);
    // Makes what is fastest of a plan whose records are all supported (else QUERN_E_UNSUPPORTED; QUERN_E_MEMORY). The plan may
    // be freed afterwards.
    int (*compile)(qn_device *d, const qn_plan *plan, qn_program **out, quern_error *e);
    void (*free_program)(qn_device *d, qn_program *p);
    // (optional: NULL) Bytes of device memory that its programs hold beside what alloc and adopt gave. Programs may share some.
    uint64_t (*room_bytes)(qn_device *d);
    // Starts a step and returns its ticket without waiting (a backend may finish it before it returns). Up to two launches are
    // in flight; they run in order. Nonzero: nothing was started: QUERN_E_DEVICE, or QUERN_E_INTERNAL where the step block's
    // counts exceed the plan's limits.
    int (*launch)(qn_device *d, qn_program *p, const qn_launch *step, qn_ticket *out);
    // QN_TICKET_… or QUERN_E_DEVICE. poll does not wait; wait does, for at most timeout_ms.
    int (*poll)(qn_device *d, qn_ticket t);
    int (*wait)(qn_device *d, qn_ticket t, int timeout_ms);
    // Bytes a second that the device can read from its memory, measured (about 0.3 s).
    double (*measure_read)(qn_device *d);
    // (optional: NULL) All of qn_device_limits, in a few seconds at most. QUERN_E_MEMORY, QUERN_E_DEVICE.
    int (*measure_limits)(qn_device *d, qn_device_limits *out);
    // (optional: NULL) After QUERN_E_DEVICE or a lost ticket: what the driver calls it, until the next ticket is over; NULL where unknown.
    const char *(*failure)(qn_device *d);
    // (optional: NULL) For the self-test: programs compiled from now on take form `i` of the kernels. Its name, form 0 being the
    // one that open tries first; NULL, and nothing changed, past the last.
    const char *(*use_form)(qn_device *d, int i);
    // (optional: NULL) What a report of the self-test should tell about the device, in lines; may take a second.
    void (*notes)(qn_device *d, char *text, size_t n_bytes);
} qn_backend;

// The registry: rows in order of preference for "auto". NULL past the end / where unknown or not available.
const qn_backend *qn_backend_at(int i);
const qn_backend *qn_backend_by_name(const char *name); // NULL or "auto": the first available

#endif
