// step_begin in plain C; see ops/step_begin.h. One worker does it all: edits are few and their order counts.
#include "backend/ops/step_begin.h"

#include <string.h>

#include "backend/cpu/ref/ref.h"

int qn_ref_step_begin_supports(const void *args)
{
    const qn_step_begin_args *a = args;
    return a->step.counts && a->slots.tokens && a->slots.table && a->slots.params;
}

static void copy_slot(const qn_slot_table *s, qn_slot_copy c)
{
    size_t context = (size_t)s->max_context, blocks = (size_t)s->max_blocks;
    size_t n_blocks = ((size_t)c.n_tokens + QN_BLOCK_TOKENS - 1) / QN_BLOCK_TOKENS;
    memmove(s->tokens + (size_t)c.target * context, s->tokens + (size_t)c.source * context,
            (size_t)c.n_tokens * sizeof *s->tokens);
    memmove(s->table + (size_t)c.target * blocks, s->table + (size_t)c.source * blocks,
            n_blocks * sizeof *s->table);
}

void qn_ref_step_begin(const void *args, const qn_cpu_task *task)
{
    const qn_step_begin_args *a = args;
    const qn_slot_table *s = &a->slots;
    const qn_step_counts *n = a->step.counts;
    if (qn_cpu_take(task) != 0) return;
    for (int i = 0; i < n->n_slot_copies; i++)
        copy_slot(s, a->step.slot_copies[i]);
    for (int i = 0; i < n->n_params_edits; i++)
        s->params[a->step.params_edits[i].slot] = a->step.params_edits[i].params;
    for (int i = 0; i < n->n_token_edits; i++) {
        qn_edit edit = a->step.token_edits[i];
        s->tokens[(size_t)edit.slot * (size_t)s->max_context + (size_t)edit.index] = edit.value;
    }
    for (int i = 0; i < n->n_block_edits; i++) {
        qn_edit edit = a->step.block_edits[i];
        s->table[(size_t)edit.slot * (size_t)s->max_blocks + (size_t)edit.index] = edit.value;
    }
}
