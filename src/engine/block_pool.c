// See block_pool.h. A stack of free blocks: the one given back last is taken first, since it is likeliest in a cache.
#include "engine/block_pool.h"

#include <stdlib.h>

int qn_block_pool_init(qn_block_pool *p, int n_blocks, quern_error *e)
{
    *p = (qn_block_pool){.n_blocks = n_blocks, .n_free = n_blocks};
    p->free_blocks = calloc((size_t)n_blocks, sizeof *p->free_blocks);
    p->references = calloc((size_t)n_blocks, sizeof *p->references);
    if (!p->free_blocks || !p->references) {
        qn_block_pool_free(p);
        return qn_error_set(e, QUERN_E_MEMORY, "block pool: no memory for %d blocks", n_blocks);
    }
    for (int i = 0; i < n_blocks; i++)
        p->free_blocks[i] = n_blocks - 1 - i;
    return QUERN_OK;
}

void qn_block_pool_free(qn_block_pool *p)
{
    free(p->free_blocks);
    free(p->references);
    *p = (qn_block_pool){0};
}

int32_t qn_block_pool_take(qn_block_pool *p)
{
    if (!p->n_free) return -1;
    int32_t block = p->free_blocks[--p->n_free];
    p->references[block] = 1;
    return block;
}

void qn_block_pool_share(qn_block_pool *p, int32_t block)
{
    p->references[block]++;
}

void qn_block_pool_drop(qn_block_pool *p, int32_t block)
{
    if (--p->references[block] == 0) p->free_blocks[p->n_free++] = block;
}
