// Whether a model fits what is left of the memory budget; and if not, what would. Arithmetic over a described model, before a
// weight is read. Any thread.
#ifndef QN_ENGINE_FIT_H
#define QN_ENGINE_FIT_H
#include "engine/sizes.h"

typedef struct {
    const char *name; // of the model, for messages
    const qn_model *weights;
    const quern_model_options *options;
    uint64_t left_bytes, total_bytes; // of the budget
} qn_fit;

// Chooses the sizes. QUERN_E_MEMORY with the numbers and the nearest things that would fit: a smaller context, a quantised cache,
// another format of the weights. QUERN_E_ARGUMENT as qn_sizes_choose.
int qn_fit_choose(const qn_fit *f, qn_sizes *out, quern_error *e);
quern_memory_need qn_fit_need(const qn_fit *f, const qn_sizes *s);

#endif
