// Block pool: which blocks of a model's state are free, and how many references each of the others has. Pure bookkeeping.
// Invariant: n_free blocks have no reference and stand in the free list once; all others have at least one.
// Owner thread. Knows neither sequences nor bytes.
#ifndef QN_ENGINE_BLOCK_POOL_H
#define QN_ENGINE_BLOCK_POOL_H
#include "base/error.h"

typedef struct {
    int32_t *free_blocks; // [n_blocks], the first n_free are free
    int32_t *references;  // [n_blocks]
    int n_blocks, n_free;
} qn_block_pool;

int qn_block_pool_init(qn_block_pool *p, int n_blocks, quern_error *e);
void qn_block_pool_free(qn_block_pool *p);
// A free block with one reference, or -1.
int32_t qn_block_pool_take(qn_block_pool *p);
// One more reference to a block that has some.
void qn_block_pool_share(qn_block_pool *p, int32_t block);
// One reference less; the block is free after the last.
void qn_block_pool_drop(qn_block_pool *p, int32_t block);

#endif
