// Hash: the hashes by which the hub names files: SHA-256, or git's SHA-1 of a blob. OpenSSL's. One thread at a time.
#ifndef QN_HUB_HASH_H
#define QN_HUB_HASH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qn_hub_hash qn_hub_hash;

// For a file of `size` bytes whose name has n_hex digits: 64, or 40 for git's. NULL without memory (or such a hash).
qn_hub_hash *qn_hub_hash_new(size_t n_hex, uint64_t size);
// Back to the beginning.
bool qn_hub_hash_restart(qn_hub_hash *h);
bool qn_hub_hash_add(qn_hub_hash *h, const void *bytes, size_t n);
// The digits; the hash is at its end then.
bool qn_hub_hash_finish(qn_hub_hash *h, char hex[65]);
void qn_hub_hash_free(qn_hub_hash *h);

#endif
