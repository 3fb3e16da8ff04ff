// A runtime whose products are watched, for calibration: beside the public API, since it hands out pointers into a step.
#ifndef QN_ENGINE_OBSERVED_H
#define QN_ENGINE_OBSERVED_H
#include "backend/backend.h"

// As quern_runtime_open, on the CPU, with an observer of products (backend.h) that outlives the runtime.
int qn_runtime_open_observed(const qn_observer *observer, const quern_runtime_options *options,
                             quern_runtime **out, quern_error *e);

#endif
