// What config.json says of quantised weights: whose layout they have, that layout's numbers, and which modules are exempt. A variant
// that Quern does not read is refused here, by field and value. Any thread; read-only once read.
#ifndef QN_FORMATS_HF_QUANTIZATION_H
#define QN_FORMATS_HF_QUANTIZATION_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/tensor.h"

typedef enum {
    QN_HF_PLAIN, // weights as they are
    QN_HF_MLX,   // mlx-lm: `quantization`
    QN_HF_GPTQ,  // `quantization_config`, by its quant_method
    QN_HF_AWQ,
    QN_HF_FP8,
    QN_HF_SCHEMES
} qn_hf_scheme;

struct json_t;

typedef struct {
    qn_hf_scheme scheme;
    int64_t bits;           // of a number
    int64_t group;          // numbers of a row that share a scale; 0: the whole row
    bool zeros_minus_one;   // GPTQ's qzeros hold zeros less one
    bool reordered;         // GPTQ's desc_act: g_idx says each column's group
    struct json_t *root;    // owned
    struct json_t *modules; // what it says of single modules, within root; NULL: nothing
} qn_hf_quantization;

// What holds for one module.
typedef struct {
    int bits; // 0: its weight is not quantised
    int64_t group;
} qn_hf_grouping;

// `path` is config.json's. On success the caller closes *out.
int qn_hf_quantization_read(const char *path, qn_hf_quantization *out, quern_error *e);
int qn_hf_quantization_parse(const char *text, size_t n, const char *file, qn_hf_quantization *out,
                             quern_error *e);
void qn_hf_quantization_close(qn_hf_quantization *q);

// "mlx", "gptq" …; NULL of QN_HF_PLAIN.
const char *qn_hf_scheme_name(qn_hf_scheme scheme);
// A module's name is its weight's without ".weight".
qn_hf_grouping qn_hf_quantization_of(const qn_hf_quantization *q, const char *module);
// The type that most weights will have; QN_DTYPE_COUNT of QN_HF_PLAIN.
qn_dtype qn_hf_quantization_dtype(const qn_hf_quantization *q);

#endif
