// From files to a family's meaning: finds the family of a configuration, fills in what transformers' configuration classes
// default to, and checks what no single field shows.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "formats/gguf_config.h"
#include "model/family.h"

// Defaults of Qwen2Config and Qwen3Config (models/qwen*/configuration_qwen*.py in transformers 5).
enum { DEFAULT_KV_HEADS = 32, DEFAULT_CONTEXT = 32768, MAX_CONTEXT = 1 << 24 };
static const double default_theta = 10000, default_eps = 1e-6;

static int check_heads(const qn_hf_config *hf, int64_t n_kv, const char *file, quern_error *e)
{
    if (n_kv <= hf->n_heads && hf->n_heads % n_kv == 0) return 0;
    return qn_error_set(e, QUERN_E_FORMAT,
                        "%s: num_key_value_heads: expected a divisor of num_attention_heads "
                        "(%lld), found %lld%s",
                        file, (long long)hf->n_heads, (long long)n_kv,
                        hf->n_kv_heads ? "" : " (the default)");
}

static int find_head_dim(const qn_hf_config *hf, int fallback, const char *file, int64_t *out,
                         quern_error *e)
{
    *out = hf->head_dim ? hf->head_dim : fallback;
    if (*out) return 0;
    *out = hf->hidden_size / hf->n_heads;
    if (hf->hidden_size % hf->n_heads == 0 && *out % 2 == 0 && *out <= QN_HF_MAX_HEAD_DIM) return 0;
    return qn_error_set(e, QUERN_E_FORMAT,
                        "%s: num_attention_heads: expected to cut hidden_size (%lld) into heads of "
                        "an even size up to %d, found %lld heads",
                        file, (long long)hf->hidden_size, QN_HF_MAX_HEAD_DIM,
                        (long long)hf->n_heads);
}

// YaRN stretches the context by its factor even where max_position_embeddings still says the original length.
static int context_of(const qn_hf_rope *rope, int64_t max_position)
{
    double stretched = rope->type == QN_ROPE_YARN && rope->has_factor
                           ? floor((double)rope->original_max_position * rope->factor)
                           : 0;
    if (stretched > MAX_CONTEXT) stretched = MAX_CONTEXT;
    return stretched > (double)max_position ? (int)stretched : (int)max_position;
}

int qn_config_dense(const qn_hf_config *hf, int default_head_dim, const char *file,
                    qn_model_config *out, quern_error *e)
{
    int64_t n_kv = hf->n_kv_heads ? hf->n_kv_heads : DEFAULT_KV_HEADS, head_dim;
    int64_t max_position = hf->max_position ? hf->max_position : DEFAULT_CONTEXT;
    int rc = check_heads(hf, n_kv, file, e);
    if (!rc) rc = find_head_dim(hf, default_head_dim, file, &head_dim, e);
    if (rc) return rc;
    *out = (qn_model_config){
        .n_layers = (int)hf->n_layers,
        .n_vocab = (int)hf->n_vocab,
        .hidden_size = (int)hf->hidden_size,
        .n_heads = (int)hf->n_heads,
        .n_kv_heads = (int)n_kv,
        .head_dim = (int)head_dim,
        .intermediate_size = (int)hf->intermediate_size,
        .tied = hf->tied,
        .norm_eps = (float)(hf->rms_norm_eps > 0 ? hf->rms_norm_eps : default_eps),
        .rope = hf->rope,
    };
    if (!out->rope.theta) out->rope.theta = default_theta;
    if (!out->rope.original_max_position) out->rope.original_max_position = max_position;
    if (out->rope.type == QN_ROPE_YARN && !out->rope.has_factor) {
        out->rope.factor = (double)max_position / (double)out->rope.original_max_position;
        out->rope.has_factor = true;
    }
    out->n_context = context_of(&out->rope, max_position);
    for (int i = 0; i < out->n_layers; i++)
        if (hf->windowed[i]) out->window[i] = (int)hf->sliding_window;
    return 0;
}

int qn_config_resolve(qn_description *d, const char *file, quern_error *e)
{
    d->family = qn_model_family(d->hf.model_type);
    if (!d->family)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "%s: model_type: expected qwen2 or qwen3, found \"%s\"", file,
                            d->hf.model_type);
    float inv_freq[QN_HF_MAX_HEAD_DIM / 2], scale;
    int rc = d->family->configure(&d->hf, file, &d->config, e);
    return rc ? rc : qn_rope_frequencies(&d->config, file, inv_freq, &scale, e);
}

// generation_config.json decides which ids end a text; config.json's own count where it says nothing.
static void convert_generation(const qn_hf_generation *g, const qn_hf_config *hf,
                               qn_generation_config *out)
{
    _Static_assert((int)QN_MAX_EOS == (int)QN_HF_MAX_EOS, "the lists of EOS ids have one length");
    *out = (qn_generation_config){
        .n_eos = g->has_eos ? g->n_eos : hf->n_eos,
        .do_sample = g->do_sample,
        .has_temperature = g->has_temperature,
        .has_top_k = g->has_top_k,
        .has_top_p = g->has_top_p,
        .has_min_p = g->has_min_p,
        .has_repetition_penalty = g->has_repetition_penalty,
        .temperature = (float)g->temperature,
        .top_p = (float)g->top_p,
        .min_p = (float)g->min_p,
        .repetition_penalty = (float)g->repetition_penalty,
        .top_k = g->has_top_k ? (int)g->top_k : 0,
    };
    memcpy(out->eos_ids, g->has_eos ? g->eos_ids : hf->eos_ids, sizeof out->eos_ids);
}

static int read_packing(const char *path, qn_description *out, quern_error *e)
{
    qn_hf_quantization q;
    int rc = qn_hf_quantization_read(path, &q, e);
    if (rc) return rc;
    out->packed = q.scheme != QN_HF_PLAIN;
    if (out->packed) out->hf.dtype = qn_hf_quantization_dtype(&q);
    qn_hf_quantization_close(&q);
    return 0;
}

static int read_directory(const char *directory, qn_description *out, quern_error *e)
{
    qn_buffer path = QN_BUFFER_INIT;
    qn_hf_generation generation;
    int rc = 0;
    if (!qn_buffer_printf(&path, "%s/config.json", directory))
        rc = qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its path", directory);
    if (!rc) rc = qn_hf_config_read(path.data, &out->hf, e);
    if (!rc) rc = read_packing(path.data, out, e);
    if (!rc) rc = qn_config_resolve(out, path.data, e);
    qn_buffer_clear(&path);
    if (!rc && !qn_buffer_printf(&path, "%s/generation_config.json", directory))
        rc = qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its path", directory);
    if (!rc) rc = qn_hf_generation_read(path.data, out->hf.n_vocab, &generation, e);
    if (!rc) convert_generation(&generation, &out->hf, &out->generation);
    qn_buffer_free(&path);
    return rc;
}

static int read_gguf(const char *file, qn_description *out, quern_error *e)
{
    static const char key[] = "general.architecture";
    qn_gguf g;
    qn_text_span architecture = {NULL, 0};
    qn_hf_generation generation;
    int rc = qn_gguf_open(file, &g, e);
    if (rc) return rc;
    rc = qn_gguf_text(&g.metadata, key, &architecture, e);
    const char *family =
        rc || !architecture.data ? NULL : qn_gguf_family(architecture.data, architecture.n);
    if (!rc && !family)
        rc = qn_gguf_refuse(&g.metadata, QUERN_E_UNSUPPORTED, key, "qwen2 or qwen3",
                            qn_gguf_find(&g.metadata, key), e);
    char name[32] = "";
    if (!rc) snprintf(name, sizeof name, "%.*s", (int)architecture.n, architecture.data);
    if (!rc) rc = qn_gguf_config(&g, name, &out->hf, &generation, e);
    if (!rc) snprintf(out->hf.model_type, sizeof out->hf.model_type, "%s", family);
    if (!rc) rc = qn_config_resolve(out, file, e);
    if (!rc) convert_generation(&generation, &out->hf, &out->generation);
    qn_gguf_close(&g);
    return rc;
}

int qn_config_read(const char *path, qn_description *out, quern_error *e)
{
    char *file;
    int rc = qn_gguf_locate(path, &file, e);
    if (rc) return rc;
    out->packed = false;
    rc = file ? read_gguf(file, out, e) : read_directory(path, out, e);
    free(file);
    return rc;
}

void qn_config_facts(const qn_description *d, qn_model_facts *out)
{
    const qn_model_config *c = &d->config;
    uint64_t n_active, n_bytes;
    *out = (qn_model_facts){
        .dtype = d->hf.dtype == QN_DTYPE_COUNT ? QN_DTYPE_F32 : d->hf.dtype,
        .n_layers = c->n_layers,
        .n_vocab = c->n_vocab,
        .n_context = c->n_context,
        .hidden_size = c->hidden_size,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .intermediate_size = c->intermediate_size,
        .tied = c->tied,
        .generation = d->generation,
    };
    strncpy(out->architecture, d->family->name, sizeof out->architecture - 1);
    qn_weights_count(c, d->family, &out->n_parameters, &n_active);
    qn_weights_bytes(c, d->family, out->dtype, &n_bytes, &out->active_bytes);
}
