// See ledger.h.
#include "engine/ledger.h"

#include <inttypes.h>
#include <string.h>

void qn_ledger_init(qn_ledger *l, uint64_t total_bytes)
{
    *l = (qn_ledger){.total_bytes = total_bytes};
    pthread_mutex_init(&l->mutex, NULL);
}

void qn_ledger_destroy(qn_ledger *l)
{
    pthread_mutex_destroy(&l->mutex);
}

static uint64_t left(const qn_ledger *l)
{
    uint64_t used = 0;
    for (int i = 0; i < QN_LEDGER_KINDS; i++)
        used += l->used_bytes[i];
    return used < l->total_bytes ? l->total_bytes - used : 0;
}

int qn_ledger_take(qn_ledger *l, qn_ledger_kind kind, uint64_t n_bytes, const char *what,
                   quern_error *e)
{
    pthread_mutex_lock(&l->mutex);
    uint64_t free_bytes = left(l);
    bool fits = n_bytes <= free_bytes;
    if (fits) l->used_bytes[kind] += n_bytes;
    pthread_mutex_unlock(&l->mutex);
    if (fits) return QUERN_OK;
    return qn_error_set(e, QUERN_E_MEMORY,
                        "memory: %s needs %" PRIu64 " bytes, %" PRIu64
                        " are left of the budget of %" PRIu64,
                        what, n_bytes, free_bytes, l->total_bytes);
}

void qn_ledger_give(qn_ledger *l, qn_ledger_kind kind, uint64_t n_bytes)
{
    pthread_mutex_lock(&l->mutex);
    l->used_bytes[kind] -= n_bytes;
    pthread_mutex_unlock(&l->mutex);
}

uint64_t qn_ledger_left(qn_ledger *l)
{
    pthread_mutex_lock(&l->mutex);
    uint64_t bytes = left(l);
    pthread_mutex_unlock(&l->mutex);
    return bytes;
}

void qn_ledger_read(qn_ledger *l, uint64_t used_bytes[QN_LEDGER_KINDS])
{
    pthread_mutex_lock(&l->mutex);
    memcpy(used_bytes, l->used_bytes, sizeof l->used_bytes);
    pthread_mutex_unlock(&l->mutex);
}
