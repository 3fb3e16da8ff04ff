// Converting a model to one GGUF file: Hugging Face directory or GGUF in, the types of a recipe out. Memory beyond the mapping of
// the weights: the header and some MiB a thread, since rows are read, quantised and written slice by slice. (Packed weights, those of
// MLX, GPTQ, AWQ and FP8, are repacked first, all of them.)
#ifndef QN_CONVERT_CONVERT_H
#define QN_CONVERT_CONVERT_H
#include "convert/recipe.h"

typedef struct {
    const char *from;    // a model's path, as in model.h
    const char *to;      // the file; written under another name and renamed at the end
    const char *name;    // general.name, for a directory
    const char *imatrix; // an importance matrix, or NULL
    const qn_recipe *recipe;
    bool replace;         // what stands at `to`
    int n_threads;        // 0: one a core
    volatile int *cancel; // may be NULL; nonzero: QUERN_E_CANCELLED
    // May be NULL; called on the caller's thread some times a second with the numbers done and all there are.
    void (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} qn_convert_options;

typedef struct {
    uint64_t n_parameters, file_bytes;
    uint64_t type_bytes[QN_DTYPE_COUNT];
    int n_fallback;   // tensors whose rows are not of whole blocks of their type
    int n_unweighted; // tensors that an importance matrix should weigh and says nothing of
    bool requantised; // the model was in blocks already
} qn_convert_result;

// Blocks. On failure nothing is left behind.
int qn_convert(const qn_convert_options *o, qn_convert_result *out, quern_error *e);

#endif
