// Sampling: the arithmetic of ops/sample.h for one output row. Two things are given to it, so that the oracle and the fast
// kernels share the rest: how to sum over a whole vocabulary (math) and how to sort its head (order).
// Works in the caller's scratch alone; any thread, one a row.
#ifndef QN_BACKEND_CPU_SAMPLING_H
#define QN_BACKEND_CPU_SAMPLING_H
#include "backend/cpu/kernel.h"
#include "backend/ops/sample.h"

// The loops over a vocabulary. All give the same bits whatever the instruction set.
typedef struct {
    float (*max)(const float *v, int n);                // NaN where one is NaN
    float (*sum_exp)(const float *v, int n, float max); // Σ exp(v − max) in 16 lanes
    // e[i] = exp((v[i] − max) / temperature); e may be v
    void (*weights)(float *e, const float *v, int n, float max, float temperature);
    float (*sum)(const float *e, int n); // in 16 lanes
} qn_sampling_math;

// What of the sorted vocabulary is needed. More may be given.
typedef struct {
    int n_vocab;
    const float *v;                // what is sorted by; the largest is `max`
    const float *weights;          // where mass or min_weight count, else NULL
    float max, temperature, total; // total of the weights
    int count;                     // 0, or at least so many, and all that equal the last of them
    float mass;       // 0, or at least so many that their weights come to this share of the total
    float min_weight; // 0, or all whose weight is at least this
} qn_sampling_need;

// Writes ids by v, largest first and ties by lower id; returns how many. Room in both: n_vocab.
typedef int (*qn_sampling_order)(const qn_sampling_need *need, int32_t *ids, int32_t *buffer);

typedef struct {
    const qn_sampling_math *math;
    qn_sampling_order order;
} qn_sampling_kit;

// The list that a token is drawn from.
typedef struct {
    int n;
    const int32_t *ids;   // NULL: 0, 1, 2 …
    const float *weights; // in the list's order
    float total;
} qn_sampling_list;

typedef struct {
    const float *logits; // [n_vocab]
    float *scratch;      // [4 · n_vocab]
    int n_vocab, position;
    const qn_slot_params *params;
    const int32_t *tokens; // [position + 1]
} qn_sampling_row;

// Penalised values of the row's tokens into scratch[0 … n_vocab): of logits − shift.
void qn_sampling_penalise(const qn_sampling_row *row, float shift);
// The list, in the row's scratch, whose first part holds penalised values with the given largest one.
void qn_sampling_make_list(const qn_sampling_kit *kit, const qn_sampling_row *row, float max,
                           qn_sampling_list *out);
// The token that u draws.
int qn_sampling_draw(const qn_sampling_kit *kit, const qn_sampling_list *list, float u);
// The kernel: every output row of a step.
void qn_sampling_run(const qn_sample_args *a, const qn_cpu_task *task, const qn_sampling_kit *kit);

extern const qn_sampling_math qn_sampling_scalar; // in plain C
// Sorts everything (ref/sample.c), and only what is needed (sampling_order.c).
int qn_sampling_sort(const qn_sampling_need *need, int32_t *ids, int32_t *buffer);
int qn_sampling_select(const qn_sampling_need *need, int32_t *ids, int32_t *buffer);

#endif
