// See bpe.h. Tables are open addressing with linear probing, at most 3/4 full.
#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum {
    SHORT_BYTES = 40,     // up to here the lowest rank is found by looking at all
    CACHE_SLOTS = 1 << 14 // 1 MiB
};
static const uint32_t NO_RANK = UINT32_MAX;

// ---- hashes ----

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide p = (wide)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static const uint64_t ODD1 = 0xa0761d6478bd642full, ODD2 = 0xe7037ed1a0b428dbull;

static uint64_t hash_bytes(const char *s, size_t n, uint64_t seed)
{
    uint64_t h = seed ^ mix(n ^ ODD1, ODD2), word;
    for (; n > 8; s += 8, n -= 8) {
        memcpy(&word, s, 8);
        h = mix(h ^ word, ODD1);
    }
    uint32_t low = 0, high = 0;
    if (n >= 4) { // two loads that may overlap
        memcpy(&low, s, 4);
        memcpy(&high, s + n - 4, 4);
    } else if (n) {
        low = (uint32_t)(unsigned char)s[0] << 16 | (uint32_t)(unsigned char)s[n / 2] << 8 |
              (unsigned char)s[n - 1];
    }
    return mix(h ^ ((uint64_t)high << 32 | low), ODD2);
}

static inline uint64_t hash_pair(int32_t left, int32_t right, uint64_t seed)
{
    return mix(((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ seed, ODD1);
}

// ---- building ----

// The mask of a table for n entries.
static uint32_t mask_for(size_t n)
{
    size_t slots = 16;
    while (slots / 4 * 3 < n)
        slots *= 2;
    return (uint32_t)(slots - 1);
}

bool qn_bpe_reserve(qn_bpe *b, size_t n_ids, size_t n_bytes, size_t n_vocabulary, size_t n_merges)
{
    b->seed = mix(qn_clock_ns() ^ ODD2, (uint64_t)(uintptr_t)b ^ ODD1);
    b->piece_mask = mask_for(n_vocabulary);
    b->pair_mask = mask_for(n_merges);
    size_t n_slots = (size_t)b->piece_mask + 1, n_pairs = (size_t)b->pair_mask + 1;
    b->piece_slots = malloc(n_slots * sizeof *b->piece_slots);
    b->pair_slots = malloc(n_pairs * sizeof *b->pair_slots);
    b->merges = malloc((n_merges + 1) * sizeof *b->merges);
    b->bytes = malloc(n_bytes + 1);
    if (!b->piece_slots || !b->pair_slots || !b->merges || !b->bytes) return false;
    memset(b->piece_slots, 0xff, n_slots * sizeof *b->piece_slots);
    memset(b->pair_slots, 0xff, n_pairs * sizeof *b->pair_slots);
    b->merges_capacity = (uint32_t)n_merges;
    b->bytes_capacity = n_bytes;
    return qn_bpe_grow(b, n_ids);
}

bool qn_bpe_grow(qn_bpe *b, size_t n_ids)
{
    if (n_ids <= (size_t)b->n_ids) return true;
    if (n_ids > b->ids_capacity) { // by half: added tokens come one by one
        size_t capacity = b->ids_capacity + b->ids_capacity / 2;
        if (capacity < n_ids) capacity = n_ids;
        qn_bpe_piece *p = realloc(b->pieces, capacity * sizeof *p);
        if (!p) return false;
        b->pieces = p;
        b->ids_capacity = capacity;
    }
    memset(b->pieces + b->n_ids, 0, (n_ids - (size_t)b->n_ids) * sizeof *b->pieces);
    b->n_ids = (int32_t)n_ids;
    return true;
}

static inline bool has_bytes(const qn_bpe *b, int32_t id, const char *bytes, size_t n)
{
    const qn_bpe_piece *p = &b->pieces[id];
    return p->n_bytes == n && memcmp(b->bytes + p->start, bytes, n) == 0;
}

bool qn_bpe_put(qn_bpe *b, int32_t id, const char *bytes, size_t n, bool found)
{
    if (n > b->bytes_capacity - b->n_bytes) {
        size_t capacity = b->bytes_capacity + b->bytes_capacity / 2 + n + 1024;
        char *p = capacity < UINT32_MAX ? realloc(b->bytes, capacity + 1) : NULL;
        if (!p) return false;
        b->bytes = p;
        b->bytes_capacity = capacity;
    }
    qn_bpe_piece *piece = &b->pieces[id];
    piece->start = (uint32_t)b->n_bytes;
    piece->n_bytes = (uint16_t)n;
    piece->flags |= QN_BPE_PRESENT;
    memcpy(b->bytes + b->n_bytes, bytes, n);
    b->n_bytes += n;
    if (!found) return true;
    uint32_t i = (uint32_t)hash_bytes(bytes, n, b->seed) & b->piece_mask;
    while (b->piece_slots[i] != QN_BPE_NONE)
        i = (i + 1) & b->piece_mask;
    b->piece_slots[i] = id;
    return true;
}

int32_t qn_bpe_find(const qn_bpe *b, const char *bytes, size_t n)
{
    uint32_t i = (uint32_t)hash_bytes(bytes, n, b->seed) & b->piece_mask;
    for (int32_t id; (id = b->piece_slots[i]) != QN_BPE_NONE; i = (i + 1) & b->piece_mask)
        if (has_bytes(b, id, bytes, n)) return id;
    return QN_BPE_NONE;
}

// The slot of a pair: its own, or the free one where it belongs.
static inline qn_bpe_pair *pair_slot(const qn_bpe *b, int32_t left, int32_t right)
{
    uint32_t i = (uint32_t)hash_pair(left, right, b->seed) & b->pair_mask;
    while (b->pair_slots[i].left >= 0 &&
           (b->pair_slots[i].left != left || b->pair_slots[i].right != right))
        i = (i + 1) & b->pair_mask;
    return &b->pair_slots[i];
}

static inline uint32_t pair_rank(const qn_bpe *b, int32_t left, int32_t right)
{
    return pair_slot(b, left, right)->rank; // of a free slot: all ones, NO_RANK
}

bool qn_bpe_put_merge(qn_bpe *b, int32_t left, int32_t right, const char *both, size_t n)
{
    qn_bpe_merge m = {left, right, qn_bpe_find(b, both, n)};
    if (m.made < 0 || b->n_merges == b->merges_capacity) return false;
    // A pair named twice has the rank of the later line, as in Hugging Face's map.
    *pair_slot(b, left, right) = (qn_bpe_pair){left, right, b->n_merges};
    b->merges[b->n_merges++] = m;
    return true;
}

int qn_bpe_finish(qn_bpe *b)
{
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        if ((b->byte_id[i] = qn_bpe_find(b, &byte, 1)) < 0) return i;
    }
    b->byte_rank = malloc(65536 * sizeof *b->byte_rank);
    if (!b->byte_rank) return -2;
    for (int i = 0; i < 65536; i++)
        b->byte_rank[i] = pair_rank(b, b->byte_id[i >> 8], b->byte_id[i & 255]);
    return -1;
}

void qn_bpe_free(qn_bpe *b)
{
    free(b->pieces);
    free(b->bytes);
    free(b->piece_slots);
    free(b->merges);
    free(b->pair_slots);
    free(b->byte_rank);
    *b = (qn_bpe){0};
}

// ---- merging ----

void qn_bpe_work_init(qn_bpe_work *w, size_t n)
{
    *w = (qn_bpe_work){0};
    if (n < 1024) return;
    size_t slots = 64;
    while (slots < CACHE_SLOTS && slots < n / 32)
        slots *= 2;
    w->cache = calloc(slots, sizeof *w->cache);
    w->cache_mask = (uint32_t)(slots - 1);
}

void qn_bpe_work_free(qn_bpe_work *w)
{
    free(w->cache);
    free(w->id);
    free(w->span);
    qn_bpe_queue_free(&w->queue);
    *w = (qn_bpe_work){0};
}

static inline uint32_t byte_rank(const qn_bpe *b, const char *s)
{
    return b->byte_rank[(unsigned char)s[0] << 8 | (unsigned char)s[1]];
}

// Merges n ≤ SHORT_BYTES bytes into id[]; returns how many ids are left.
static size_t merge_short(const qn_bpe *b, const char *piece, size_t n, int32_t *id)
{
    uint32_t rank[SHORT_BYTES]; // of symbols i and i + 1
    for (size_t i = 0; i < n; i++)
        id[i] = b->byte_id[(unsigned char)piece[i]];
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = byte_rank(b, piece + i);
    while (n > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[at]) at = i;
        if (rank[at] == NO_RANK) break;
        id[at] = b->merges[rank[at]].made;
        n--;
        memmove(id + at + 1, id + at + 2, (n - at - 1) * sizeof *id);
        if (at + 1 < n) {
            memmove(rank + at, rank + at + 1, (n - at - 1) * sizeof *rank);
            rank[at] = pair_rank(b, id[at], id[at + 1]);
        }
        if (at) rank[at - 1] = pair_rank(b, id[at - 1], id[at]);
    }
    return n;
}

static bool reserve_long(qn_bpe_work *w, size_t n)
{
    if (n <= w->capacity) return true;
    size_t capacity = n + n / 4;
    free(w->id);
    free(w->span);
    w->capacity = 0;
    w->id = malloc(capacity * sizeof *w->id);
    w->span = malloc(capacity * sizeof *w->span);
    if (!w->id || !w->span) return false;
    w->capacity = capacity;
    return true;
}

// One entry of the queue: merges the symbol at i with the one behind it, unless one of them has changed since.
static bool merge_at(const qn_bpe *b, qn_bpe_work *w, size_t n, uint32_t rank, size_t i)
{
    int32_t *id = w->id;
    uint16_t *span = w->span; // a symbol's length, at its first and at its last byte
    qn_bpe_merge m = b->merges[rank];
    if (id[i] != m.left) return true;
    size_t j = i + span[i];
    if (j >= n || id[j] != m.right) return true;
    size_t end = j + span[j];
    id[i] = m.made;
    id[j] = -1;
    span[i] = span[end - 1] = (uint16_t)(end - i);
    if (i) {
        size_t before = i - span[i - 1];
        uint32_t r = pair_rank(b, id[before], m.made);
        if (r != NO_RANK && !qn_bpe_queue_push(&w->queue, r, (uint32_t)before)) return false;
    }
    if (end < n) {
        uint32_t r = pair_rank(b, m.made, id[end]);
        if (r != NO_RANK && !qn_bpe_queue_push(&w->queue, r, (uint32_t)i)) return false;
    }
    return true;
}

static bool encode_long(const qn_bpe *b, qn_bpe_work *w, const char *piece, size_t n, qn_ids *out)
{
    if (!reserve_long(w, n) || !qn_bpe_queue_begin(&w->queue, n, b->n_merges)) return false;
    for (size_t i = 0; i < n; i++) {
        w->id[i] = b->byte_id[(unsigned char)piece[i]];
        w->span[i] = 1;
        uint32_t r = i + 1 < n ? byte_rank(b, piece + i) : NO_RANK;
        if (r != NO_RANK && !qn_bpe_queue_push(&w->queue, r, (uint32_t)i)) return false;
    }
    uint32_t rank, position;
    while (qn_bpe_queue_pop(&w->queue, &rank, &position))
        if (!merge_at(b, w, n, rank, position)) return false;
    for (size_t i = 0; i < n; i += w->span[i])
        if (!qn_ids_push(out, w->id[i])) return false;
    return true;
}

bool qn_bpe_encode(const qn_bpe *b, qn_bpe_work *w, const char *piece, size_t n, qn_ids *out)
{
    if (n == 1) return qn_ids_push(out, b->byte_id[(unsigned char)piece[0]]);
    if (b->ignore_merges) {
        int32_t id = qn_bpe_find(b, piece, n);
        if (id >= 0) return qn_ids_push(out, id);
    }
    if (n > SHORT_BYTES) return encode_long(b, w, piece, n, out);
    qn_bpe_cached *c = NULL;
    if (w->cache && n <= sizeof c->bytes) {
        c = &w->cache[(uint32_t)hash_bytes(piece, n, b->seed) & w->cache_mask];
        if (c->n_bytes == n && memcmp(c->bytes, piece, n) == 0)
            return qn_ids_append(out, c->ids, c->n_ids);
    }
    int32_t ids[SHORT_BYTES];
    size_t n_ids = merge_short(b, piece, n, ids);
    if (c && n_ids <= sizeof c->ids / sizeof *c->ids) {
        c->n_bytes = (uint8_t)n;
        c->n_ids = (uint8_t)n_ids;
        memcpy(c->bytes, piece, n);
        memcpy(c->ids, ids, n_ids * sizeof *ids);
    }
    return qn_ids_append(out, ids, n_ids);
}
