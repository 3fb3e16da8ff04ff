// Layout of step block and slot table; see step.h. Every part starts at a multiple of 64 bytes.
#include "backend/step.h"

#include <string.h>

static size_t take(size_t *at, size_t bytes)
{
    size_t offset = *at;
    *at = (offset + bytes + 63) & ~(size_t)63;
    return offset;
}

static qn_step_view lay_out_step(const qn_step_limits *l, char *base, size_t *total)
{
    size_t at = 0, slots = (size_t)l->max_slots, edits = (size_t)l->max_edits;
    size_t counts = take(&at, sizeof(qn_step_counts));
    size_t rows = take(&at, (size_t)l->max_rows * sizeof(qn_row));
    size_t outputs = take(&at, (size_t)l->max_outputs * sizeof(qn_output));
    size_t slot_copies = take(&at, slots * sizeof(qn_slot_copy));
    size_t params_edits = take(&at, slots * sizeof(qn_params_edit));
    size_t token_edits = take(&at, edits * sizeof(qn_edit));
    size_t block_edits = take(&at, edits * sizeof(qn_edit));
    size_t block_copies = take(&at, slots * sizeof(qn_block_copy));
    *total = at;
    if (!base) return (qn_step_view){0};
    return (qn_step_view){
        .counts = (void *)(base + counts),
        .rows = (void *)(base + rows),
        .outputs = (void *)(base + outputs),
        .slot_copies = (void *)(base + slot_copies),
        .params_edits = (void *)(base + params_edits),
        .token_edits = (void *)(base + token_edits),
        .block_edits = (void *)(base + block_edits),
        .block_copies = (void *)(base + block_copies),
    };
}

size_t qn_step_bytes(const qn_step_limits *l)
{
    size_t total;
    lay_out_step(l, NULL, &total);
    return total;
}

qn_step_view qn_step_at(const qn_step_limits *l, void *base)
{
    size_t total;
    return lay_out_step(l, base, &total);
}

static void copy_some(void *to, const void *from, int32_t n, size_t bytes)
{
    if (n > 0) memcpy(to, from, (size_t)n * bytes);
}

void qn_step_copy(const qn_step_limits *l, void *to, const void *from)
{
    if (to == from) return;
    qn_step_view t = qn_step_at(l, to), f = qn_step_at(l, (void *)from); // f is only read
    const qn_step_counts *n = f.counts;
    *t.counts = *n;
    copy_some(t.rows, f.rows, n->n_rows, sizeof *f.rows);
    copy_some(t.outputs, f.outputs, n->n_outputs, sizeof *f.outputs);
    copy_some(t.slot_copies, f.slot_copies, n->n_slot_copies, sizeof *f.slot_copies);
    copy_some(t.params_edits, f.params_edits, n->n_params_edits, sizeof *f.params_edits);
    copy_some(t.token_edits, f.token_edits, n->n_token_edits, sizeof *f.token_edits);
    copy_some(t.block_edits, f.block_edits, n->n_block_edits, sizeof *f.block_edits);
    copy_some(t.block_copies, f.block_copies, n->n_block_copies, sizeof *f.block_copies);
}

int qn_step_fits(const qn_step_limits *l, int max_rows, const qn_step_counts *n)
{
    return n->n_rows >= 0 && n->n_rows <= max_rows && n->n_rows <= l->max_rows &&
           n->n_outputs >= 0 && n->n_outputs <= max_rows && n->n_outputs <= l->max_outputs &&
           n->n_slot_copies >= 0 && n->n_slot_copies <= l->max_slots && n->n_params_edits >= 0 &&
           n->n_params_edits <= l->max_slots && n->n_token_edits >= 0 &&
           n->n_token_edits <= l->max_edits && n->n_block_edits >= 0 &&
           n->n_block_edits <= l->max_edits && n->n_block_copies >= 0 &&
           n->n_block_copies <= l->max_slots;
}

static qn_slot_table lay_out_slots(const qn_step_limits *l, char *base, size_t *total)
{
    size_t at = 0, slots = (size_t)l->max_slots;
    int max_blocks = (l->max_context + QN_BLOCK_TOKENS - 1) / QN_BLOCK_TOKENS;
    size_t tokens = take(&at, slots * (size_t)l->max_context * sizeof(int32_t));
    size_t table = take(&at, slots * (size_t)max_blocks * sizeof(int32_t));
    size_t params = take(&at, slots * sizeof(qn_slot_params));
    *total = at;
    if (!base) return (qn_slot_table){0};
    return (qn_slot_table){
        .tokens = (void *)(base + tokens),
        .table = (void *)(base + table),
        .params = (void *)(base + params),
        .max_slots = l->max_slots,
        .max_context = l->max_context,
        .max_blocks = max_blocks,
    };
}

size_t qn_slot_table_bytes(const qn_step_limits *l)
{
    size_t total;
    lay_out_slots(l, NULL, &total);
    return total;
}

qn_slot_table qn_slot_table_at(const qn_step_limits *l, void *base)
{
    size_t total;
    return lay_out_slots(l, base, &total);
}
