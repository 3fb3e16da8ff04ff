// Slots of the slot table as the host knows them: the blocks that each refers to. Owner thread. See sequence.h.
#include "engine/engine.h"

void qn_slot_clear(quern_model *m, int slot)
{
    qn_slot *t = &m->slots[slot];
    for (int i = 0; i < t->n_blocks; i++)
        qn_block_pool_drop(&m->pool, t->blocks[i]);
    t->n_blocks = t->n_blocks_sent = 0;
}

bool qn_slot_reserve(quern_model *m, int slot, int n_positions)
{
    qn_slot *t = &m->slots[slot];
    while ((int64_t)t->n_blocks * QN_BLOCK_TOKENS < n_positions) {
        int32_t block = qn_block_pool_take(&m->pool);
        if (block < 0) return false;
        t->blocks[t->n_blocks++] = block;
    }
    return true;
}
