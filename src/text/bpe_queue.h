// The queue of merges to do in one piece, lowest (rank, position) first. Entries that come in the order of their positions,
// as nearly all do, wait in a run of their rank and cost constant time; the others go into a heap. So a piece of one letter
// is merged in linear time, and no order of arrival costs more than n log n. One encode call owns it.
#ifndef QN_TEXT_BPE_QUEUE_H
#define QN_TEXT_BPE_QUEUE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QN_BPE_NODE_ENTRIES = 15 };

// A part of a run: 64 bytes.
typedef struct {
    uint32_t position[QN_BPE_NODE_ENTRIES];
    uint32_t next; // 0: none
} qn_bpe_node;

typedef struct {
    uint32_t first, last; // nodes; first 0: the run is empty
    uint32_t last_position;
    uint16_t head, tail; // the next entry to take in `first`, the next free one in `last`
} qn_bpe_run;

typedef struct {
    uint64_t *heap; // rank << 32 | position
    size_t n_heap, heap_capacity;
    bool use_runs;
    qn_bpe_run *runs; // by rank; all empty between pieces
    uint32_t *active; // heap of the ranks whose runs are not empty
    size_t n_active, active_capacity;
    qn_bpe_node *nodes; // node 0 is never used
    size_t n_nodes, nodes_capacity;
    uint32_t free_node; // 0: none
} qn_bpe_queue;

// Makes the (empty) queue ready for a piece of n bytes. False: no memory.
bool qn_bpe_queue_begin(qn_bpe_queue *q, size_t n, uint32_t n_ranks);
bool qn_bpe_queue_push(qn_bpe_queue *q, uint32_t rank, uint32_t position);
// False: the queue is empty.
bool qn_bpe_queue_pop(qn_bpe_queue *q, uint32_t *rank, uint32_t *position);
void qn_bpe_queue_free(qn_bpe_queue *q);

#endif
