// The built-in shapes: what config.json says of the published checkpoints, so that a machine can be tried before a download.
// Contexts are those of the instruction-tuned models, without YaRN.
#include <string.h>
#include <strings.h>

#include "model/family.h"

typedef struct {
    const char *name, *family;
    int n_layers, hidden_size, n_heads, n_kv_heads, head_dim, intermediate_size, n_vocab, n_context;
    bool tied;
    double norm_eps;
} shape;

// clang-format off
static const shape shapes[] = {
    // name          family  layers hidden heads kv  head inner  vocab   context tied   eps
    {"qwen2-0.5b",   "qwen2", 24,   896,   14,  2,   64,  4864,  151936, 32768,  true,  1e-6},
    {"qwen2-1.5b",   "qwen2", 28,   1536,  12,  2,   128, 8960,  151936, 32768,  true,  1e-6},
    {"qwen2-7b",     "qwen2", 28,   3584,  28,  4,   128, 18944, 152064, 32768,  false, 1e-6},
    {"qwen2-72b",    "qwen2", 80,   8192,  64,  8,   128, 29568, 152064, 32768,  false, 1e-6},
    {"qwen2.5-0.5b", "qwen2", 24,   896,   14,  2,   64,  4864,  151936, 32768,  true,  1e-6},
    {"qwen2.5-1.5b", "qwen2", 28,   1536,  12,  2,   128, 8960,  151936, 32768,  true,  1e-6},
    {"qwen2.5-3b",   "qwen2", 36,   2048,  16,  2,   128, 11008, 151936, 32768,  true,  1e-6},
    {"qwen2.5-7b",   "qwen2", 28,   3584,  28,  4,   128, 18944, 152064, 32768,  false, 1e-6},
    {"qwen2.5-14b",  "qwen2", 48,   5120,  40,  8,   128, 13824, 152064, 32768,  false, 1e-6},
    {"qwen2.5-32b",  "qwen2", 64,   5120,  40,  8,   128, 27648, 152064, 32768,  false, 1e-6},
    {"qwen2.5-72b",  "qwen2", 80,   8192,  64,  8,   128, 29568, 152064, 32768,  false, 1e-6},
    {"qwq-32b",      "qwen2", 64,   5120,  40,  8,   128, 27648, 152064, 40960,  false, 1e-5},
    {"qwen3-0.6b",   "qwen3", 28,   1024,  16,  8,   128, 3072,  151936, 40960,  true,  1e-6},
    {"qwen3-1.7b",   "qwen3", 28,   2048,  16,  8,   128, 6144,  151936, 40960,  true,  1e-6},
    {"qwen3-4b",     "qwen3", 36,   2560,  32,  8,   128, 9728,  151936, 40960,  true,  1e-6},
    {"qwen3-8b",     "qwen3", 36,   4096,  32,  8,   128, 12288, 151936, 40960,  false, 1e-6},
    {"qwen3-14b",    "qwen3", 40,   5120,  40,  8,   128, 17408, 151936, 40960,  false, 1e-6},
    {"qwen3-32b",    "qwen3", 64,   5120,  64,  8,   128, 25600, 151936, 40960,  false, 1e-6},
};
// clang-format on

const char *qn_model_shape_name(int i)
{
    return i >= 0 && (size_t)i < sizeof shapes / sizeof *shapes ? shapes[i].name : NULL;
}

int qn_shapes_find(const char *name, qn_dtype dtype, qn_description *out, quern_error *e)
{
    const shape *s = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && !s; i++)
        if (!strcasecmp(shapes[i].name, name)) s = &shapes[i];
    if (!s)
        return qn_error_set(e, QUERN_E_NOT_FOUND,
                            "shape \"%.60s\": expected one like qwen2.5-7b or qwen3-8b, found none "
                            "of that name",
                            name);
    memset(out, 0, sizeof *out);
    out->hf = (qn_hf_config){
        .hidden_size = s->hidden_size,
        .n_layers = s->n_layers,
        .n_heads = s->n_heads,
        .intermediate_size = s->intermediate_size,
        .n_vocab = s->n_vocab,
        .n_kv_heads = s->n_kv_heads,
        .head_dim = s->head_dim,
        .max_position = s->n_context,
        .rms_norm_eps = s->norm_eps,
        .tied = s->tied,
        .dtype = dtype,
        .rope = {.theta = 1000000},
    };
    strncpy(out->hf.model_type, s->family, sizeof out->hf.model_type - 1);
    int rc = qn_config_resolve(out, s->name, e);
    return rc ? rc : qn_weights_check_blocks(&out->config, out->family, dtype, s->name, e);
}
