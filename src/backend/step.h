// The step block and the slot table: what the host writes for a step, what lives on the device between steps, and what a
// step gives back. All structures hold 32-bit scalars only, so that every backend lays them out alike.
//
// A sequence that runs has a slot: its tokens (prompt and output, by position), its block table and its sampling parameters
// live there. The host sends only what changed (edits); a step's `sample` appends the drawn token to the slot, so the next
// step's row can be launched before the host has seen it.
#ifndef QN_BACKEND_STEP_H
#define QN_BACKEND_STEP_H
#include <stddef.h>

#include "backend/step_layout.h"

// Capacities, fixed for a model at load.
typedef struct {
    int max_rows, max_outputs, max_slots, max_edits,
        max_context; // max_edits: of tokens, and of blocks
} qn_step_limits;

// Where the parts of a step block lie, at any base address: the host's copy and the device's have one layout.
typedef struct {
    qn_step_counts *counts;
    qn_row *rows;                 // [max_rows]
    qn_output *outputs;           // [max_outputs]
    qn_slot_copy *slot_copies;    // [max_slots]
    qn_params_edit *params_edits; // [max_slots]
    qn_edit *token_edits;         // [max_edits]
    qn_edit *block_edits;         // [max_edits]
    qn_block_copy *block_copies;  // [max_slots]
} qn_step_view;

size_t qn_step_bytes(const qn_step_limits *l);
qn_step_view qn_step_at(const qn_step_limits *l, void *base);
// Copies what a block holds (not its capacity): for backends whose device memory is the host's. to = from is nothing to do.
void qn_step_copy(const qn_step_limits *l, void *to, const void *from);
// 1 where the counts are within the limits and rows within a plan's class.
int qn_step_fits(const qn_step_limits *l, int max_rows, const qn_step_counts *n);

// The slot table on the device.
typedef struct {
    int32_t *tokens; // [max_slots][max_context]
    int32_t *table;  // [max_slots][max_blocks]: physical block of positions 16 i … 16 i + 15
    qn_slot_params *params;                     // [max_slots]
    int32_t max_slots, max_context, max_blocks; // max_blocks = ceil(max_context / 16)
} qn_slot_table;

size_t qn_slot_table_bytes(const qn_step_limits *l);
qn_slot_table qn_slot_table_at(const qn_step_limits *l, void *base);

#endif
