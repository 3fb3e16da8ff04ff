// See hf_config.h. Both forms of configuration that exist: rope_theta/rope_scaling/torch_dtype (until 2025) and
// rope_parameters/dtype. Which key wins, and what null means, follows transformers 5 (configuration_utils.py,
// modeling_rope_utils.py, models/qwen2/configuration_qwen2.py).
#include "formats/hf_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "formats/json.h"

enum { CONFIG_BYTES = 4 << 20 };

static const int64_t layer_range[2] = {1, QN_HF_MAX_LAYERS}, head_range[2] = {1, QN_HF_MAX_HEADS};
static const int64_t head_dim_range[2] = {2, QN_HF_MAX_HEAD_DIM};
static const int64_t width_range[2] = {1, QN_HF_MAX_WIDTH}, inner_range[2] = {1, QN_HF_MAX_INNER};
static const int64_t vocab_range[2] = {1, QN_HF_MAX_VOCAB};
static const int64_t context_range[2] = {1, QN_HF_MAX_CONTEXT};
static const int64_t any_size_range[2] = {0, INT32_MAX};

static int need_int(const qn_formats_field *f, const json_t *o, const char *key,
                    const int64_t range[2], int64_t *out)
{
    if (!json_object_get(o, key))
        return qn_formats_json_refuse(f, QUERN_E_FORMAT, key, "an integer", NULL);
    return qn_formats_json_int(f, o, key, range, out);
}

// As qn_formats_json_int, but null counts as absent.
static int maybe_int(const qn_formats_field *f, const json_t *o, const char *key,
                     const int64_t range[2], int64_t *out)
{
    return json_is_null(json_object_get(o, key)) ? 0 : qn_formats_json_int(f, o, key, range, out);
}

// A number above 0 that float32 holds; *has (may be NULL) tells whether it is there. null counts as absent.
static int maybe_positive(const qn_formats_field *f, const json_t *o, const char *key, double *out,
                          bool *has)
{
    const json_t *value = json_object_get(o, key);
    if (!value || json_is_null(value)) return 0;
    int rc = qn_formats_json_real(f, o, key, out);
    if (!rc && !(*out > 0 && isfinite((float)*out)))
        rc = qn_formats_json_refuse(f, QUERN_E_FORMAT, key, "a number above 0", value);
    if (!rc && has) *has = true;
    return rc;
}

// beta_fast, mscale …: 0 and null mean absent, as in Python's `or`.
static int maybe_nonzero(const qn_formats_field *f, const json_t *o, const char *key, double *out)
{
    const json_t *value = json_object_get(o, key);
    bool absent = json_is_null(value) || (json_is_number(value) && json_number_value(value) == 0);
    return absent ? 0 : maybe_positive(f, o, key, out, NULL);
}

static int read_sizes(const qn_formats_field *f, const json_t *o, qn_hf_config *c)
{
    int rc = need_int(f, o, "hidden_size", width_range, &c->hidden_size);
    if (!rc) rc = need_int(f, o, "num_hidden_layers", layer_range, &c->n_layers);
    if (!rc) rc = need_int(f, o, "num_attention_heads", head_range, &c->n_heads);
    if (!rc) rc = need_int(f, o, "intermediate_size", inner_range, &c->intermediate_size);
    if (!rc) rc = need_int(f, o, "vocab_size", vocab_range, &c->n_vocab);
    if (!rc) rc = maybe_int(f, o, "num_key_value_heads", head_range, &c->n_kv_heads);
    if (!rc) rc = maybe_int(f, o, "head_dim", head_dim_range, &c->head_dim);
    if (!rc)
        rc = qn_formats_json_int(f, o, "max_position_embeddings", context_range, &c->max_position);
    if (!rc && json_is_null(json_object_get(o, "rms_norm_eps")))
        rc = qn_formats_json_refuse(f, QUERN_E_FORMAT, "rms_norm_eps", "a number above 0",
                                    json_object_get(o, "rms_norm_eps"));
    if (!rc) rc = maybe_positive(f, o, "rms_norm_eps", &c->rms_norm_eps, NULL);
    if (!rc && json_is_null(json_object_get(o, "num_key_value_heads"))) c->n_kv_heads = c->n_heads;
    if (!rc && c->head_dim % 2)
        rc = qn_formats_json_refuse(f, QUERN_E_FORMAT, "head_dim", "an even number",
                                    json_object_get(o, "head_dim"));
    return rc;
}

static int read_model_type(const qn_formats_field *f, const json_t *o, qn_hf_config *c)
{
    const json_t *value = json_object_get(o, "model_type");
    const char *name = json_string_value(value);
    if (!name) return qn_formats_json_refuse(f, QUERN_E_FORMAT, "model_type", "a string", value);
    if (strlen(name) >= sizeof c->model_type)
        return qn_formats_json_refuse(f, QUERN_E_UNSUPPORTED, "model_type", "a known type", value);
    memcpy(c->model_type, name, strlen(name) + 1);
    return 0;
}

static int read_activation(const qn_formats_field *f, const json_t *o)
{
    const json_t *value = json_object_get(o, "hidden_act");
    if (!value || (json_is_string(value) && !strcmp(json_string_value(value), "silu"))) return 0;
    return qn_formats_json_refuse(f, QUERN_E_UNSUPPORTED, "hidden_act", "\"silu\"", value);
}

static int read_dtype(const qn_formats_field *f, const json_t *o, qn_hf_config *c)
{
    static const struct {
        const char *name;
        qn_dtype dtype;
    } names[] = {{"float32", QN_DTYPE_F32}, {"float16", QN_DTYPE_F16}, {"bfloat16", QN_DTYPE_BF16}};
    const char *key = "dtype";
    c->dtype = QN_DTYPE_COUNT;
    const json_t *value = json_object_get(o, key);
    if (!value || json_is_null(value)) value = json_object_get(o, key = "torch_dtype");
    if (!value || json_is_null(value)) return 0;
    const char *name = json_string_value(value);
    if (name && !strncmp(name, "torch.", 6)) name += 6;
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name)) c->dtype = names[i].dtype;
    if (c->dtype != QN_DTYPE_COUNT) return 0;
    return qn_formats_json_refuse(f, name ? QUERN_E_UNSUPPORTED : QUERN_E_FORMAT, key,
                                  "\"float32\", \"float16\" or \"bfloat16\"", value);
}

static int read_rope_type(const qn_formats_field *f, const json_t *o, qn_hf_rope *rope)
{
    static const char *const names[] = {"default", "linear", "yarn"};
    const char *key = json_object_get(o, "rope_type") ? "rope_type" : "type";
    const json_t *value = json_object_get(o, key);
    if (!value) return 0;
    for (int i = 0; json_is_string(value) && i < 3; i++)
        if (!strcmp(json_string_value(value), names[i])) {
            rope->type = (qn_rope_type)i;
            return 0;
        }
    return qn_formats_json_refuse(f, QUERN_E_UNSUPPORTED, key, "default, linear or yarn", value);
}

static int check_rope(const qn_formats_field *f, const json_t *o, const qn_hf_rope *rope)
{
    const json_t *factor = json_object_get(o, "factor");
    if (rope->type == QN_ROPE_LINEAR && !rope->has_factor)
        return qn_formats_json_refuse(f, QUERN_E_FORMAT, "factor", "a number above 0", factor);
    if (rope->type == QN_ROPE_YARN && !factor)
        return qn_formats_json_refuse(f, QUERN_E_FORMAT, "factor", "a number above 0 or null",
                                      factor);
    const json_t *partial = json_object_get(o, "partial_rotary_factor");
    if (partial && !json_is_null(partial) &&
        !(json_is_number(partial) && json_number_value(partial) == 1))
        return qn_formats_json_refuse(f, QUERN_E_UNSUPPORTED, "partial_rotary_factor", "1",
                                      partial);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        if (json_is_object(value))
            return qn_formats_json_refuse(f, QUERN_E_UNSUPPORTED, key,
                                          "one set of parameters for all layers", value);
    }
    return 0;
}

static int read_rope(const qn_formats_field *f, const json_t *o, qn_hf_rope *rope)
{
    const json_t *truncate = json_object_get(o, "truncate");
    int rc = read_rope_type(f, o, rope);
    rope->truncate = true;
    if (!rc) rc = maybe_positive(f, o, "rope_theta", &rope->theta, NULL);
    if (!rc) rc = maybe_positive(f, o, "factor", &rope->factor, &rope->has_factor);
    if (!rc)
        rc = maybe_positive(f, o, "attention_factor", &rope->attention_factor,
                            &rope->has_attention_factor);
    if (!rc) rc = maybe_nonzero(f, o, "beta_fast", &rope->beta_fast);
    if (!rc) rc = maybe_nonzero(f, o, "beta_slow", &rope->beta_slow);
    if (!rc) rc = maybe_nonzero(f, o, "mscale", &rope->mscale);
    if (!rc) rc = maybe_nonzero(f, o, "mscale_all_dim", &rope->mscale_all_dim);
    if (!rc)
        rc = maybe_int(f, o, "original_max_position_embeddings", context_range,
                       &rope->original_max_position);
    if (!rc && json_is_null(truncate))
        rope->truncate = false;
    else if (!rc)
        rc = qn_formats_json_bool(f, o, "truncate", &rope->truncate);
    return rc ? rc : check_rope(f, o, rope);
}

// rope_scaling wins over rope_parameters where it is not empty; the theta inside wins over the one beside it.
static int find_rope(const qn_formats_field *f, const json_t *o, qn_hf_config *c)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    static const char *const prefixes[] = {"rope_scaling.", "rope_parameters."};
    double theta = 0;
    int64_t original = 0;
    c->rope.truncate = true;
    int rc = maybe_positive(f, o, "rope_theta", &theta, NULL);
    if (!rc) rc = maybe_int(f, o, "original_max_position_embeddings", context_range, &original);
    for (int i = 0; i < 2 && !rc; i++) {
        const json_t *inner = json_object_get(o, keys[i]);
        if (!inner || json_is_null(inner)) continue;
        if (!json_is_object(inner))
            return qn_formats_json_refuse(f, QUERN_E_FORMAT, keys[i], "an object", inner);
        if (!json_object_size(inner)) continue;
        const qn_formats_field inside = {f->file, prefixes[i], f->e};
        rc = read_rope(&inside, inner, &c->rope);
        break;
    }
    if (!c->rope.theta) c->rope.theta = theta;
    if (original) c->rope.original_max_position = original;
    return rc;
}

static int read_layer_types(const qn_formats_field *f, const json_t *types, qn_hf_config *c)
{
    if (!json_is_array(types) || json_array_size(types) != (size_t)c->n_layers)
        return qn_formats_json_refuse(f, QUERN_E_FORMAT, "layer_types", "an entry for each layer",
                                      types);
    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *value = json_array_get(types, i);
        const char *name = json_string_value(value);
        c->windowed[i] = name && !strcmp(name, "sliding_attention");
        if (!name || (!c->windowed[i] && strcmp(name, "full_attention")))
            return qn_formats_json_refuse(f, QUERN_E_UNSUPPORTED, "layer_types",
                                          "full_attention or sliding_attention", value);
        if (c->windowed[i] && !c->sliding_window)
            return qn_error_set(f->e, QUERN_E_FORMAT,
                                "%s: layer_types: expected use_sliding_window and sliding_window "
                                "beside sliding_attention, found none",
                                f->file);
    }
    return 0;
}

// Qwen2Config's rule: with use_sliding_window, layers from max_window_layers on; layer_types, where given, overrules.
static int read_windows(const qn_formats_field *f, const json_t *o, qn_hf_config *c)
{
    bool use = false;
    int64_t first = 28, window = 4096;
    int rc = qn_formats_json_bool(f, o, "use_sliding_window", &use);
    if (!rc) rc = maybe_int(f, o, "max_window_layers", any_size_range, &first);
    if (!rc) rc = maybe_int(f, o, "sliding_window", use ? context_range : any_size_range, &window);
    if (rc) return rc;
    if (use && !json_is_null(json_object_get(o, "sliding_window"))) c->sliding_window = window;
    const json_t *types = json_object_get(o, "layer_types");
    if (types && !json_is_null(types)) return read_layer_types(f, types, c);
    for (int64_t i = first; c->sliding_window && i < c->n_layers; i++)
        c->windowed[i] = true;
    return 0;
}

// An id, a list of ids, or null.
static int read_eos(const qn_formats_field *f, const json_t *o, int64_t n_vocab, int32_t *ids,
                    int *n)
{
    const json_t *value = json_object_get(o, "eos_token_id");
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    *n = 0;
    if (!value || json_is_null(value)) return 0;
    if (count > QN_HF_MAX_EOS)
        return qn_error_set(f->e, QUERN_E_LIMIT,
                            "%s: eos_token_id: expected at most %d ids, found %zu", f->file,
                            QN_HF_MAX_EOS, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= n_vocab)
            return qn_formats_json_refuse(f, QUERN_E_FORMAT, "eos_token_id", "ids below vocab_size",
                                          id);
        ids[(*n)++] = (int32_t)json_integer_value(id);
    }
    return 0;
}

static int read_config(const qn_formats_field *f, const json_t *o, qn_hf_config *c)
{
    int rc = read_model_type(f, o, c);
    if (!rc) rc = read_sizes(f, o, c);
    if (!rc) rc = read_activation(f, o);
    if (!rc) rc = qn_formats_json_bool(f, o, "tie_word_embeddings", &c->tied);
    if (!rc) rc = qn_formats_json_bool(f, o, "attention_bias", &c->attention_bias);
    if (!rc) rc = read_dtype(f, o, c);
    if (!rc) rc = find_rope(f, o, c);
    if (!rc) rc = read_windows(f, o, c);
    if (!rc) rc = read_eos(f, o, c->n_vocab, c->eos_ids, &c->n_eos);
    return rc;
}

int qn_hf_config_parse(const char *text, size_t n, const char *file, qn_hf_config *out,
                       quern_error *e)
{
    json_t *root = NULL;
    const qn_formats_field f = {file, "", e};
    memset(out, 0, sizeof *out);
    int rc = qn_formats_json_parse(text, n, file, &root, e);
    if (!rc) rc = read_config(&f, root, out);
    json_decref(root);
    return rc;
}

int qn_hf_config_read(const char *path, qn_hf_config *out, quern_error *e)
{
    char *text = NULL;
    size_t n;
    int rc = qn_file_read(path, CONFIG_BYTES, &text, &n, e);
    if (!rc) rc = qn_hf_config_parse(text, n, path, out, e);
    free(text);
    return rc;
}

// A number of [low, high]; null counts as absent.
static int maybe_within(const qn_formats_field *f, const json_t *o, const char *key,
                        const double range[2], double *out, bool *has)
{
    const json_t *value = json_object_get(o, key);
    if (!value || json_is_null(value)) return 0;
    int rc = qn_formats_json_real(f, o, key, out);
    if (!rc && !(*out >= range[0] && *out <= range[1]))
        rc = qn_formats_json_refuse(f, QUERN_E_FORMAT, key, "a number in its range", value);
    *has = !rc;
    return rc;
}

static int read_generation(const qn_formats_field *f, const json_t *o, int64_t n_vocab,
                           qn_hf_generation *g)
{
    static const double unit[2] = {0, 1}, heat[2] = {0, 1e6};
    int rc = read_eos(f, o, n_vocab, g->eos_ids, &g->n_eos);
    g->has_eos = json_object_get(o, "eos_token_id") != NULL;
    if (!rc && !json_is_null(json_object_get(o, "do_sample")))
        rc = qn_formats_json_bool(f, o, "do_sample", &g->do_sample);
    if (!rc) rc = maybe_within(f, o, "temperature", heat, &g->temperature, &g->has_temperature);
    if (!rc) rc = maybe_within(f, o, "top_p", unit, &g->top_p, &g->has_top_p);
    if (!rc) rc = maybe_within(f, o, "min_p", unit, &g->min_p, &g->has_min_p);
    if (!rc)
        rc = maybe_positive(f, o, "repetition_penalty", &g->repetition_penalty,
                            &g->has_repetition_penalty);
    g->top_k = -1;
    if (!rc) rc = maybe_int(f, o, "top_k", any_size_range, &g->top_k);
    g->has_top_k = g->top_k >= 0;
    return rc;
}

int qn_hf_generation_parse(const char *text, size_t n, const char *file, int64_t n_vocab,
                           qn_hf_generation *out, quern_error *e)
{
    json_t *root = NULL;
    const qn_formats_field f = {file, "", e};
    memset(out, 0, sizeof *out);
    int rc = qn_formats_json_parse(text, n, file, &root, e);
    if (!rc) rc = read_generation(&f, root, n_vocab, out);
    json_decref(root);
    return rc;
}

int qn_hf_generation_read(const char *path, int64_t n_vocab, qn_hf_generation *out, quern_error *e)
{
    char *text = NULL;
    size_t n;
    memset(out, 0, sizeof *out);
    if (!qn_file_exists(path)) return 0;
    int rc = qn_file_read(path, CONFIG_BYTES, &text, &n, e);
    if (!rc) rc = qn_hf_generation_parse(text, n, path, n_vocab, out, e);
    free(text);
    return rc;
}
