// A Hugging Face directory's config.json and generation_config.json as plain numbers. Checks types and ranges; what an absent
// field means is for the family to say (model/config.c), so absent numbers are 0 here. Any thread.
#ifndef QN_FORMATS_HF_CONFIG_H
#define QN_FORMATS_HF_CONFIG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/tensor.h"

// Sane limits: a hundred times what exists, and small enough that no product of them overflows 64 bits.
enum {
    QN_HF_MAX_LAYERS = 1024,
    QN_HF_MAX_HEADS = 1024,
    QN_HF_MAX_HEAD_DIM = 512,
    QN_HF_MAX_WIDTH = 1 << 20,
    QN_HF_MAX_INNER = 1 << 22,
    QN_HF_MAX_VOCAB = 1 << 23,
    QN_HF_MAX_CONTEXT = 1 << 24,
    QN_HF_MAX_EOS = 16
};

typedef enum { QN_ROPE_DEFAULT, QN_ROPE_LINEAR, QN_ROPE_YARN } qn_rope_type;

// The parameters of transformers' modeling_rope_utils.py. A has_ flag is false where the file leaves a value to be inferred.
typedef struct {
    qn_rope_type type;
    double theta; // 0: absent
    double factor, attention_factor, beta_fast, beta_slow, mscale, mscale_all_dim;
    bool has_factor, has_attention_factor; // beta_*, mscale*: 0 is absent there too
    int64_t original_max_position;         // 0: absent
    bool truncate;
} qn_hf_rope;

typedef struct {
    char model_type[32];
    int64_t hidden_size, n_layers, n_heads, intermediate_size, n_vocab; // always there, ≥ 1
    int64_t n_kv_heads;   // 0: absent; n_heads where null
    int64_t head_dim;     // 0: absent or null
    int64_t max_position; // 0: absent
    double rms_norm_eps;  // 0: absent
    bool tied, attention_bias;
    qn_dtype dtype; // QN_DTYPE_COUNT: absent
    qn_hf_rope rope;
    int64_t sliding_window;          // 0: none
    bool windowed[QN_HF_MAX_LAYERS]; // layer i attends within sliding_window only
    int32_t eos_ids[QN_HF_MAX_EOS];
    int n_eos;
} qn_hf_config;

// generation_config.json; a number is meaningful where its has_ flag is set.
typedef struct {
    bool has_eos; // the file says something of eos_token_id, if only null
    int32_t eos_ids[QN_HF_MAX_EOS];
    int n_eos;
    bool do_sample;
    bool has_temperature, has_top_k, has_top_p, has_min_p, has_repetition_penalty;
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k;
} qn_hf_generation;

int qn_hf_config_read(const char *path, qn_hf_config *out, quern_error *e);
int qn_hf_config_parse(const char *text, size_t n, const char *file, qn_hf_config *out,
                       quern_error *e);
// n_vocab bounds the EOS ids. An absent file leaves *out zeroed and is no error.
int qn_hf_generation_read(const char *path, int64_t n_vocab, qn_hf_generation *out, quern_error *e);
int qn_hf_generation_parse(const char *text, size_t n, const char *file, int64_t n_vocab,
                           qn_hf_generation *out, quern_error *e);

#endif
