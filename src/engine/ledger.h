// Memory ledger of a device: a budget, and what weights, state and scratch take of it. Nothing is allocated that was not
// entered here first. Any thread.
#ifndef QN_ENGINE_LEDGER_H
#define QN_ENGINE_LEDGER_H
#include <pthread.h>

#include "base/error.h"

typedef enum {
    QN_LEDGER_WEIGHTS,
    QN_LEDGER_STATE,
    QN_LEDGER_SCRATCH,
    QN_LEDGER_KINDS
} qn_ledger_kind;

typedef struct {
    pthread_mutex_t mutex;
    uint64_t total_bytes;
    uint64_t used_bytes[QN_LEDGER_KINDS];
} qn_ledger;

void qn_ledger_init(qn_ledger *l, uint64_t total_bytes);
void qn_ledger_destroy(qn_ledger *l);
// Enters bytes, or QUERN_E_MEMORY naming `what`, the need and what is left.
int qn_ledger_take(qn_ledger *l, qn_ledger_kind kind, uint64_t n_bytes, const char *what,
                   quern_error *e);
void qn_ledger_give(qn_ledger *l, qn_ledger_kind kind, uint64_t n_bytes);
uint64_t qn_ledger_left(qn_ledger *l);
void qn_ledger_read(qn_ledger *l, uint64_t used_bytes[QN_LEDGER_KINDS]);

#endif
