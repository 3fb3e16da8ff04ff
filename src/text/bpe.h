// Byte-level BPE over one piece of text: the tables (pieces as raw bytes, merges by rank) and the merging itself.
// qn_bpe is built once and then read-only: any thread. qn_bpe_work is the scratch of one encode call. Knows no JSON, no pattern.
#ifndef QN_TEXT_BPE_H
#define QN_TEXT_BPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/bpe_queue.h"
#include "text/tokenizer.h"

enum {
    QN_BPE_MAX_IDS = 1 << 22,       // an id in a file is below this
    QN_BPE_MAX_PIECE_BYTES = 65535, // lengths of symbols are held in 16 bits
    QN_BPE_NONE = -1
};

// FOREIGN: not written in the byte alphabet, so only an added token may be so.
enum { QN_BPE_PRESENT = 1, QN_BPE_ADDED = 2, QN_BPE_SPECIAL = 4, QN_BPE_FOREIGN = 8 };

typedef struct {
    uint32_t start; // in qn_bpe.bytes
    uint16_t n_bytes;
    uint8_t flags;
} qn_bpe_piece;

typedef struct {
    int32_t left, right, made;
} qn_bpe_merge;

typedef struct {
    int32_t left, right; // left -1: free
    uint32_t rank;
} qn_bpe_pair;

typedef struct {
    qn_bpe_piece *pieces; // by id
    int32_t n_ids;
    size_t ids_capacity;
    char *bytes; // of all pieces
    size_t n_bytes, bytes_capacity;

    int32_t *piece_slots; // open addressing: raw bytes → id, QN_BPE_NONE where free
    uint32_t piece_mask;
    qn_bpe_merge *merges; // by rank
    uint32_t n_merges, merges_capacity;
    qn_bpe_pair *pair_slots; // open addressing: (left, right) → rank
    uint32_t pair_mask;

    int32_t byte_id[256];
    uint32_t *byte_rank; // [65536]: the rank of two bytes side by side
    uint64_t seed;       // of the hashes, so that no file can foresee them
    bool ignore_merges;  // a piece that is a vocabulary entry is taken whole
} qn_bpe;

// ---- building, in this order; false or a QUERN_E code only for lack of memory unless said ----

// Room for ids below n_ids, n_bytes bytes of pieces, n_vocabulary entries that are found by their bytes, n_merges merges.
bool qn_bpe_reserve(qn_bpe *b, size_t n_ids, size_t n_bytes, size_t n_vocabulary, size_t n_merges);
// Grows the ids to n_ids.
bool qn_bpe_grow(qn_bpe *b, size_t n_ids);
// Gives id its bytes. `found`: the entry is found by its bytes (part of the model's vocabulary).
bool qn_bpe_put(qn_bpe *b, int32_t id, const char *bytes, size_t n, bool found);
// The next rank: left and right become the entry with the n bytes at `both`. False where there is none.
bool qn_bpe_put_merge(qn_bpe *b, int32_t left, int32_t right, const char *both, size_t n);
// After the last: the tables of single bytes. Returns the first byte that has no entry, -1 where all have, -2: no memory.
int qn_bpe_finish(qn_bpe *b);
void qn_bpe_free(qn_bpe *b);

// ---- use ----

// The id of the vocabulary entry with these raw bytes, or QN_BPE_NONE.
int32_t qn_bpe_find(const qn_bpe *b, const char *bytes, size_t n);

typedef struct {
    uint8_t n_bytes, n_ids; // n_bytes 0: free
    char bytes[30];
    int32_t ids[8];
} qn_bpe_cached;

// The scratch of one encode call: words seen before, and room for long pieces.
typedef struct {
    qn_bpe_cached *cache; // NULL: no cache
    uint32_t cache_mask;
    int32_t *id; // of the symbol that begins at a byte, -1 inside symbols
    uint16_t *span;
    size_t capacity;
    qn_bpe_queue queue;
} qn_bpe_work;

// For a text of n bytes. Never fails: without memory there is no cache.
void qn_bpe_work_init(qn_bpe_work *w, size_t n);
void qn_bpe_work_free(qn_bpe_work *w);
// Appends the ids of one piece (n ≥ 1 bytes, any bytes). False: no memory.
bool qn_bpe_encode(const qn_bpe *b, qn_bpe_work *w, const char *piece, size_t n, qn_ids *out);

#endif
