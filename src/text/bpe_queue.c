// See bpe_queue.h.
#include "text/bpe_queue.h"

#include <stdlib.h>

// Pieces up to this many bytes use the heap alone: it stays in the cache and needs no table of ranks.
enum { HEAP_ONLY_BYTES = 256 };

// `data` with room for `need` entries, or NULL (data is then as it was).
static void *grown(void *data, size_t *capacity, size_t need, size_t entry_bytes)
{
    size_t more = *capacity ? *capacity : 256;
    while (more < need)
        more += more / 2;
    if (more > SIZE_MAX / 2 / entry_bytes) return NULL;
    void *p = realloc(data, more * entry_bytes);
    if (p) *capacity = more;
    return p;
}

static bool heap_push(qn_bpe_queue *q, uint64_t key)
{
    if (q->n_heap == q->heap_capacity) {
        uint64_t *p = grown(q->heap, &q->heap_capacity, q->n_heap + 1, sizeof *p);
        if (!p) return false;
        q->heap = p;
    }
    size_t i = q->n_heap++;
    for (; i && q->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = key;
    return true;
}

static uint64_t heap_pop(qn_bpe_queue *q)
{
    uint64_t top = q->heap[0], key = q->heap[--q->n_heap];
    size_t i = 0, n = q->n_heap;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && q->heap[child + 1] < q->heap[child]) child++;
        if (q->heap[child] >= key) break;
        q->heap[i] = q->heap[child];
    }
    if (n) q->heap[i] = key;
    return top;
}

static bool activate(qn_bpe_queue *q, uint32_t rank)
{
    if (q->n_active == q->active_capacity) {
        uint32_t *p = grown(q->active, &q->active_capacity, q->n_active + 1, sizeof *p);
        if (!p) return false;
        q->active = p;
    }
    size_t i = q->n_active++;
    for (; i && q->active[(i - 1) / 2] > rank; i = (i - 1) / 2)
        q->active[i] = q->active[(i - 1) / 2];
    q->active[i] = rank;
    return true;
}

// Takes the lowest rank out of the active ones.
static void deactivate(qn_bpe_queue *q)
{
    uint32_t rank = q->active[--q->n_active];
    size_t i = 0, n = q->n_active;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && q->active[child + 1] < q->active[child]) child++;
        if (q->active[child] >= rank) break;
        q->active[i] = q->active[child];
    }
    if (n) q->active[i] = rank;
}

// A fresh node, or 0.
static uint32_t node_take(qn_bpe_queue *q)
{
    uint32_t node = q->free_node;
    if (node) {
        q->free_node = q->nodes[node].next;
    } else {
        if (q->n_nodes >= q->nodes_capacity) {
            qn_bpe_node *p = grown(q->nodes, &q->nodes_capacity, q->n_nodes + 1, sizeof *p);
            if (!p || q->nodes_capacity > UINT32_MAX) return 0;
            q->nodes = p;
        }
        node = (uint32_t)q->n_nodes++;
    }
    q->nodes[node].next = 0;
    return node;
}

bool qn_bpe_queue_begin(qn_bpe_queue *q, size_t n, uint32_t n_ranks)
{
    q->use_runs = n > HEAP_ONLY_BYTES;
    if (!q->use_runs) return true;
    if (!q->runs && !(q->runs = calloc((size_t)n_ranks + 1, sizeof *q->runs))) return false;
    if (!q->n_nodes) q->n_nodes = 1;
    return true;
}

static bool run_push(qn_bpe_queue *q, qn_bpe_run *run, uint32_t rank, uint32_t position)
{
    if (!run->first) {
        uint32_t node = node_take(q);
        if (!node || !activate(q, rank)) return false;
        *run = (qn_bpe_run){.first = node, .last = node};
    } else if (run->tail == QN_BPE_NODE_ENTRIES) {
        uint32_t node = node_take(q);
        if (!node) return false;
        q->nodes[run->last].next = node;
        run->last = node;
        run->tail = 0;
    }
    q->nodes[run->last].position[run->tail++] = position;
    run->last_position = position;
    return true;
}

bool qn_bpe_queue_push(qn_bpe_queue *q, uint32_t rank, uint32_t position)
{
    if (q->use_runs) {
        qn_bpe_run *run = &q->runs[rank];
        if (!run->first || run->last_position < position) return run_push(q, run, rank, position);
    }
    return heap_push(q, (uint64_t)rank << 32 | position);
}

static void run_pop(qn_bpe_queue *q, qn_bpe_run *run)
{
    uint32_t node = run->first;
    run->head++;
    if (node == run->last ? run->head < run->tail : run->head < QN_BPE_NODE_ENTRIES) return;
    run->first = q->nodes[node].next;
    run->head = 0;
    q->nodes[node].next = q->free_node;
    q->free_node = node;
    if (!run->first) deactivate(q);
}

bool qn_bpe_queue_pop(qn_bpe_queue *q, uint32_t *rank, uint32_t *position)
{
    uint64_t key = UINT64_MAX;
    if (q->n_active) {
        const qn_bpe_run *run = &q->runs[q->active[0]];
        key = (uint64_t)q->active[0] << 32 | q->nodes[run->first].position[run->head];
    }
    if (q->n_heap && q->heap[0] < key)
        key = heap_pop(q);
    else if (q->n_active)
        run_pop(q, &q->runs[q->active[0]]);
    else
        return false;
    *rank = (uint32_t)(key >> 32);
    *position = (uint32_t)key;
    return true;
}

void qn_bpe_queue_free(qn_bpe_queue *q)
{
    free(q->heap);
    free(q->runs);
    free(q->active);
    free(q->nodes);
    *q = (qn_bpe_queue){0};
}
