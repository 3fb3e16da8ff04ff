// Runtime: the root from which all hangs: device and owner thread, memory ledger, text workers, log. No globals.
#ifndef QN_ENGINE_RUNTIME_H
#define QN_ENGINE_RUNTIME_H
#include "base/log.h"
#include "engine/executor.h"
#include "engine/ledger.h"
#include "engine/text_worker.h"

struct quern_runtime {
    qn_log log;
    qn_device_info info;
    qn_ledger ledger;
    qn_executor executor;
    qn_text_pool text;
    _Atomic double read_bytes_per_second;
    pthread_mutex_t gone_mutex; // guards n_active of every model
    pthread_cond_t gone;
};

// As quern_runtime_open, with a backend that need not be in the registry (tests).
int qn_runtime_open_with(const qn_backend *backend, const quern_runtime_options *options,
                         quern_runtime **out, quern_error *e);

#endif
