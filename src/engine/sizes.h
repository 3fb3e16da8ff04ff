// Sizing a model: options and facts to context, pool of blocks, step limits and bytes. Arithmetic only, all of it checked;
// nothing is allocated here. Any thread.
#ifndef QN_ENGINE_SIZES_H
#define QN_ENGINE_SIZES_H
#include "engine/engine.h"

typedef struct {
    qn_step_limits limits;
    int n_context, n_blocks;
    uint64_t block_bytes; // of one block over all parts and layers
    bool pool_is_default; // the number of blocks is our choice: fewer will do too,
    int least_blocks;     // … but no fewer than these
} qn_sizes;

// options: zeros mean defaults. `left_bytes`: of the memory budget once the weights are in. QUERN_E_ARGUMENT with the option's name.
int qn_sizes_choose(const qn_model *weights, const quern_model_options *options,
                    uint64_t left_bytes, qn_sizes *out, quern_error *e);
// Context and limits for another number of blocks.
void qn_sizes_set_blocks(const qn_model *weights, qn_sizes *s, int n_context_asked, int n_blocks);
uint64_t qn_sizes_state_bytes(const qn_sizes *s);
// Step block, slot table, results and the pass's scratch.
uint64_t qn_sizes_scratch_bytes(const qn_model *weights, const qn_sizes *s);
// The type of keys and values that options name; QN_DTYPE_COUNT: none.
qn_dtype qn_sizes_cache_dtype(const quern_model_options *options);
// Bytes of a block over all parts and layers, with keys and values of a type.
uint64_t qn_sizes_block_bytes(const qn_model *weights, qn_dtype cache);
// Checks options alone, before anything is opened.
int qn_sizes_check(const quern_model_options *options, quern_error *e);

#endif
