// World: what the operation tests run in. A slot table, a step block and random tensors in memory of exactly their size (so that
// ASan sees every overstep), and devices for each instruction set of this machine with several numbers of threads.
// A check runs one record on all of them and compares with plain C on one thread, bit for bit.
// With QUERN_TEST_BACKEND=metal or cuda the device under test is that GPU instead: its memory is shared with the host, and what
// it computes must be near plain C's.
#ifndef QN_TESTS_OPS_WORLD_H
#define QN_TESTS_OPS_WORLD_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/backend.h"

enum { MAX_ROWS = 72, MAX_OUTPUTS = 8, MAX_SLOTS = 6, MAX_CONTEXT = 200, MAX_BUFFERS = 256 };

typedef struct {
    qn_batch batch;
    void *buffers[MAX_BUFFERS];
    int n_buffers;
    uint64_t random;
    int max_threads; // a check leaves devices with more out; 0: none left out
} world;

int world_open(void **state); // cmocka's setup and teardown of a group
int world_close(void **state);
void world_begin(world *w, uint64_t seed); // frees the tensors of the test before

uint32_t world_random(world *w);
int world_pick(world *w, int from, int to); // from ≤ n ≤ to
float world_normal(world *w);               // about N(0, 1)

// A tensor of n rows (or a vector, rows 0), random numbers converted to its type.
qn_tensor world_tensor(world *w, qn_dtype dtype, int rows, int columns, float scale);
qn_tensor world_cache(world *w, qn_dtype dtype, int n_blocks, int n_heads, int head_dim);
void *world_memory(world *w, size_t n_bytes); // zeroed
// The same bytes at an odd address (GPUs: where they are).
void *world_shifted(world *w, const void *from, size_t n_bytes);
double world_at(const qn_tensor *t, int64_t i);       // element i
qn_tensor world_as_f32(world *w, const qn_tensor *t); // the same numbers

// n rows at random positions of random slots (distinct places), whose block tables and tokens are random.
void world_rows(world *w, int n_rows, int n_blocks, int n_vocab);

// Runs the record on plain C with one thread, keeps `out`, and then compares every other device. `out` is set to what it
// held before each run. A GPU too gives the very bits: operations that only move numbers.
void world_check(world *w, qn_op op, const void *args, void *out, size_t out_bytes);
// A GPU's numbers may be off by `tolerance` times the largest expected one of the same row; on the CPU, bits.
void world_check_near(world *w, qn_op op, const void *args, const qn_tensor *out, double tolerance);
// A GPU's tokens and ids are the same, its log-probabilities near; on the CPU, bits.
void world_check_results(world *w, qn_op op, const void *args, qn_step_result *out, int n);
int world_is_gpu(void);
// What a check by a formula may allow more than on the CPU: 1 there.
double world_slack(void);
// Where the device's products round the rows of x to the weights' type, x is of such numbers.
void world_round(const qn_tensor *x, qn_dtype dtype);
// Runs the record once on a device: plain C with one thread, or the best instruction set with the most threads, or the GPU.
void world_run_portable(world *w, qn_op op, const void *args);
void world_run_best(world *w, qn_op op, const void *args);

#endif
