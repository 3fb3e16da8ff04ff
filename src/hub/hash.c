// See hash.h.
#include "hub/hash.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct qn_hub_hash {
    EVP_MD_CTX *context;
    bool git;
    uint64_t size;
};

qn_hub_hash *qn_hub_hash_new(size_t n_hex, uint64_t size)
{
    qn_hub_hash *h = calloc(1, sizeof *h);
    if (!h) return NULL;
    *h = (qn_hub_hash){EVP_MD_CTX_new(), n_hex == 40, size};
    if (h->context && qn_hub_hash_restart(h)) return h;
    qn_hub_hash_free(h);
    return NULL;
}

bool qn_hub_hash_restart(qn_hub_hash *h)
{
    const EVP_MD *kind = h->git ? EVP_sha1() : EVP_sha256();
    if (!EVP_DigestInit_ex(h->context, kind, NULL)) return false;
    char head[40];
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)h->size);
    return !h->git || qn_hub_hash_add(h, head, (size_t)n + 1); // the NUL belongs to it
}

bool qn_hub_hash_add(qn_hub_hash *h, const void *bytes, size_t n)
{
    return EVP_DigestUpdate(h->context, bytes, n) == 1;
}

bool qn_hub_hash_finish(qn_hub_hash *h, char hex[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(h->context, digest, &n) != 1 || n > 32) return false;
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
    return true;
}

void qn_hub_hash_free(qn_hub_hash *h)
{
    if (!h) return;
    EVP_MD_CTX_free(h->context);
    free(h);
}
