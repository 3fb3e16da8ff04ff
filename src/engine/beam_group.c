// The beams of a search on the device: each live beam has a slot; beams share the blocks that all their common tokens fill, by
// reference, and own the last, partly filled one. A parent's first child keeps its slot; further children get a spare slot by a
// slot copy, and a copy of the last block. Owner thread; which beams live is beam.c's business.
#include <string.h>

#include "engine/engine.h"

// Blocks that the next row of every beam needs: a new one each at a multiple of 16, else a copy for every further child.
static int n_blocks_needed(const qn_sequence *s)
{
    if (s->n_launched % QN_BLOCK_TOKENS == 0) return s->beams.n;
    unsigned parents = 0;
    int n_parents = 0;
    for (int i = 0; i < s->beams.n; i++) {
        unsigned bit = 1u << s->beams.parent[i];
        n_parents += !(parents & bit);
        parents |= bit;
    }
    return s->beams.n - n_parents;
}

static bool is_kept(const qn_sequence *s, int slot)
{
    for (int i = 0; i < s->beams.n; i++)
        if (s->beam_slots[s->beams.parent[i]] == slot) return true;
    return false;
}

// Makes slot `to` the equal of slot `from` as far as n_tokens.
static void fork_slot(qn_flight *f, int from, int to, int n_tokens)
{
    quern_model *m = f->model;
    const qn_slot *source = &m->slots[from];
    qn_slot *target = &m->slots[to];
    qn_step_counts *counts = f->step.counts;
    f->step.slot_copies[counts->n_slot_copies++] = (qn_slot_copy){from, to, n_tokens};
    int n_full = n_tokens / QN_BLOCK_TOKENS;
    for (int i = 0; i < n_full; i++) {
        target->blocks[i] = source->blocks[i];
        qn_block_pool_share(&m->pool, target->blocks[i]);
    }
    target->n_blocks = target->n_blocks_sent = n_full;
    if (n_tokens % QN_BLOCK_TOKENS == 0) return;
    qn_slot_reserve(m, to, n_tokens); // one block, known to be free
    f->step.block_copies[counts->n_block_copies++] =
        (qn_block_copy){source->blocks[n_full], target->blocks[n_full]};
}

static void assign_slots(qn_flight *f, qn_sequence *s)
{
    int old[QUERN_MAX_BEAMS], spare[QUERN_MAX_BEAMS], n_spare = 0;
    unsigned taken = 0;
    memcpy(old, s->beam_slots, sizeof old);
    for (int i = 0; i < s->n_slots; i++)
        if (!is_kept(s, s->slots[i])) spare[n_spare++] = s->slots[i];
    for (int i = 0; i < s->beams.n; i++) {
        int parent = s->beams.parent[i];
        s->beam_slots[i] = taken & 1u << parent ? spare[--n_spare] : old[parent];
        if (taken & 1u << parent) fork_slot(f, old[parent], s->beam_slots[i], s->n_launched);
        taken |= 1u << parent;
    }
}

bool qn_beam_group_write(quern_model *m, qn_flight *f, qn_sequence *s)
{
    if (m->pool.n_free < n_blocks_needed(s)) return false;
    int position = s->n_launched;
    assign_slots(f, s);
    for (int i = 0; i < s->beams.n; i++) {
        int slot = s->beam_slots[i];
        qn_slot_reserve(m, slot, position + 1);
        qn_step_send_slot(f, s, slot, position + 1);
        qn_step_set_token(f, slot, position, s->beams.token[i]);
        qn_step_add_row(f, slot, position, QN_OUTPUT_TOP, &(qn_output_owner){s, i, 0});
    }
    qn_step_add_member(f, s);
    s->n_launched++;
    s->beams_chosen = false;
    return true;
}
