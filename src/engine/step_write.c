// Writing a step block: rows, outputs and what changed in the slot table. The limits are sized so that what the scheduler puts
// into one step always fits (sizes.c). Owner thread. See backend/step.h for the layout.
#include "engine/engine.h"

void qn_step_begin_write(qn_flight *f)
{
    *f->step.counts = (qn_step_counts){0};
    f->n_members = f->n_prefill_rows = 0;
    f->state_bytes = 0;
}

void qn_step_add_member(qn_flight *f, qn_sequence *s)
{
    f->members[f->n_members++] = s;
    s->n_in_flight++;
}

// What attention reads for a row: the records of its sequence as far back as a part's window goes.
static uint64_t bytes_read_by(const quern_model *m, int position)
{
    uint64_t bytes = 0;
    for (int i = 0; i < m->n_parts; i++) {
        const qn_state_part *part = &m->parts[i];
        int n = position + 1;
        if (part->window && n > part->window) n = part->window;
        bytes += (uint64_t)n * (uint64_t)part->n_layers * part->record_bytes;
    }
    return bytes;
}

void qn_step_add_row(qn_flight *f, int slot, int position, int kind, const qn_output_owner *owner)
{
    qn_step_counts *counts = f->step.counts;
    qn_row *row = &f->step.rows[counts->n_rows];
    *row = (qn_row){slot, position, -1};
    if (kind >= 0) {
        const quern_request *r = owner->sequence->request;
        int n_top = kind == QN_OUTPUT_TOP ? qn_beam_n_top(&r->search.settings)
                    : kind == QN_OUTPUT_SAMPLE
                        ? (r->resolved.logprobs > 0 ? r->resolved.logprobs : 0)
                        : 0;
        row->output = counts->n_outputs;
        f->outputs[counts->n_outputs] = *owner;
        f->step.outputs[counts->n_outputs++] = (qn_output){counts->n_rows, kind, n_top};
    }
    counts->n_rows++;
    f->state_bytes += bytes_read_by(f->model, position);
}

void qn_step_set_token(qn_flight *f, int slot, int position, int32_t token)
{
    f->step.token_edits[f->step.counts->n_token_edits++] = (qn_edit){slot, position, token};
}

void qn_step_set_block(qn_flight *f, int slot, int index, int32_t block)
{
    f->step.block_edits[f->step.counts->n_block_edits++] = (qn_edit){slot, index, block};
}

void qn_step_send_slot(qn_flight *f, const qn_sequence *s, int slot, int n_positions)
{
    qn_slot *t = &f->model->slots[slot];
    if (!t->params_sent) {
        qn_params_edit *edit = &f->step.params_edits[f->step.counts->n_params_edits++];
        *edit = (qn_params_edit){slot, s->request->resolved.slot};
        t->params_sent = true;
    }
    int n_blocks = (n_positions + QN_BLOCK_TOKENS - 1) / QN_BLOCK_TOKENS;
    for (; t->n_blocks_sent < n_blocks; t->n_blocks_sent++)
        qn_step_set_block(f, slot, t->n_blocks_sent, t->blocks[t->n_blocks_sent]);
}
