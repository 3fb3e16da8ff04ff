// What the files of the Metal backend share: the device's state. Owner thread only, but for open and close.
#ifndef QN_BACKEND_METAL_DEVICE_H
#define QN_BACKEND_METAL_DEVICE_H
#include "backend/backend.h"
#include "backend/metal/buffers.h"
#include "backend/metal/library.h"

enum { QN_METAL_N_FLIGHTS = 2 };

// One of the two launches that may be in flight, with its own memory for what the host sends and gets.
typedef struct {
    qn_ticket ticket;    // 0: none yet
    qn_metal_id command; // retained until it is over; NULL: over
    int state;           // QN_TICKET_…, once it is over
    qn_step_counts *step;
    qn_step_result *results;
    void *output; // the launch's own
    int n_outputs;
} qn_metal_flight;

struct qn_device {
    qn_metal_id device, queue; // retained
    qn_metal_library library;
    int matrices; // products of programs made from now on: in simdgroup matrices, or the dialect's
    qn_metal_buffers buffers;
    qn_metal_flight flights[QN_METAL_N_FLIGHTS];
    size_t step_bytes, results_bytes; // room in each
    uint64_t scratch_bytes;           // of all programs
    int32_t *done;                    // launches that ended, counted on the GPU (kernels/gate.h)
    int32_t n_begun;                  // what `done` must be when the next one starts
    qn_ticket last;                   // launched
    qn_ticket lost_through;           // up to here what is not over yet is lost
    int dead;
    char why[200]; // what Metal said of the last launch that failed
};

// Room for step blocks and results of these sizes in every flight.
int qn_metal_device_stage(qn_device *d, size_t step_bytes, size_t results_bytes, quern_error *e);

// program.c
int qn_metal_program_make(qn_device *d, const qn_plan *plan, qn_program **out, quern_error *e);
// Copies the first n_bytes at `memory` (a multiple of 4,096) to those behind them; takes a step block of one row.
int qn_metal_program_make_copy(qn_device *d, void *memory, size_t n_bytes, qn_program **out);
void qn_metal_program_free(qn_device *d, qn_program *p); // takes NULL

// launch.c
int qn_metal_launch(qn_device *d, qn_program *p, const qn_launch *step, qn_ticket *out);
int qn_metal_launch_poll(qn_device *d, qn_ticket t);
int qn_metal_launch_wait(qn_device *d, qn_ticket t, int timeout_ms);
// Waits until nothing is in flight: before memory goes away.
void qn_metal_launch_drain(qn_device *d);

// measure.c
double qn_metal_measure_read(qn_device *d);
int qn_metal_measure_limits(qn_device *d, qn_device_limits *out);

#endif
