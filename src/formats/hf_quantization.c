// See hf_quantization.h. Fields and defaults: mlx-lm (utils.py, load_model), AutoGPTQ and GPTQModel (QuantizeConfig), AutoAWQ (AwqConfig),
// transformers (utils/quantization_config.py, FineGrainedFP8Config).
#include "formats/hf_quantization.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "formats/json.h"

enum { CONFIG_BYTES = 4 << 20, MAX_GROUP = 1 << 22, MAX_MODULES = 8192, FP8_BLOCK = 128 };

const char *qn_hf_scheme_name(qn_hf_scheme scheme)
{
    static const char *const names[QN_HF_SCHEMES] = {NULL, "mlx", "gptq", "awq", "fp8"};
    return (unsigned)scheme < QN_HF_SCHEMES ? names[scheme] : NULL;
}

// The field's value; NULL where it is absent or null.
static const json_t *value_of(const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);
    return json_is_null(value) ? NULL : value;
}

static int refuse(const qn_formats_field *f, const json_t *o, const char *key, const char *expected)
{
    return qn_formats_json_refuse(f, QUERN_E_UNSUPPORTED, key, expected, json_object_get(o, key));
}

// A string that, where it is there, is one of two (b may be NULL), in any case; *second tells which.
static int maybe_one_of(const qn_formats_field *f, const json_t *o, const char *key,
                        const char *const words[2], bool *second)
{
    const json_t *value = value_of(o, key);
    const char *text = json_string_value(value);
    char expected[64];
    if (!value || (text && !strcasecmp(text, words[0]))) return 0;
    if (text && words[1] && !strcasecmp(text, words[1])) {
        *second = true;
        return 0;
    }
    snprintf(expected, sizeof expected, "\"%s\"%s%s%s", words[0], words[1] ? " or \"" : "",
             words[1] ? words[1] : "", words[1] ? "\"" : "");
    return refuse(f, o, key, expected);
}

static int maybe_word(const qn_formats_field *f, const json_t *o, const char *key, const char *word)
{
    bool second;
    return maybe_one_of(f, o, key, (const char *const[2]){word, NULL}, &second);
}

static int maybe_bool(const qn_formats_field *f, const json_t *o, const char *key, bool *out)
{
    return value_of(o, key) ? qn_formats_json_bool(f, o, key, out) : 0;
}

// An integer that must be there and among `n` ones.
static int need_among(const qn_formats_field *f, const json_t *o, const char *key,
                      const int64_t *among, int n, int64_t *out)
{
    const json_t *value = json_object_get(o, key);
    char expected[64] = "";
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        if (json_is_integer(value) && json_integer_value(value) == among[i]) {
            *out = among[i];
            return 0;
        }
        at += (size_t)snprintf(expected + at, sizeof expected - at, "%s%lld",
                               i == 0       ? ""
                               : i == n - 1 ? " or "
                                            : ", ",
                               (long long)among[i]);
    }
    return refuse(f, o, key, expected);
}

// GPTQ's and AWQ's: -1, or a multiple of 32, which blocks are made of.
static int read_group(const qn_formats_field *f, const json_t *o, int64_t *out)
{
    const json_t *value = json_object_get(o, "group_size");
    int64_t group = json_is_integer(value) ? json_integer_value(value) : 0;
    if (group != -1 && (group <= 0 || group % 32 || group > MAX_GROUP))
        return refuse(f, o, "group_size", "a multiple of 32, or -1");
    *out = group == -1 ? 0 : group;
    return 0;
}

/* ---- MLX ---- */

static const int64_t mlx_bits[] = {3, 4, 5, 6, 8}, mlx_groups[] = {32, 64, 128};

static int read_mlx_numbers(const qn_formats_field *f, const json_t *o, int64_t *bits,
                            int64_t *group)
{
    int rc = maybe_word(f, o, "mode", "affine");
    if (!rc) rc = need_among(f, o, "bits", mlx_bits, 5, bits);
    return rc ? rc : need_among(f, o, "group_size", mlx_groups, 3, group);
}

// Objects and booleans among the fields stand for modules.
static int read_mlx(const qn_formats_field *f, json_t *o, qn_hf_quantization *q)
{
    int rc = read_mlx_numbers(f, o, &q->bits, &q->group);
    const char *key;
    json_t *value;
    json_object_foreach(o, key, value)
    {
        char prefix[256];
        int64_t bits, group;
        if (rc) return rc;
        if (!json_is_object(value)) continue;
        snprintf(prefix, sizeof prefix, "%s%.200s.", f->prefix, key);
        rc = read_mlx_numbers(&(qn_formats_field){f->file, prefix, f->e}, value, &bits, &group);
    }
    q->modules = o;
    return rc;
}

/* ---- GPTQ, AWQ, FP8 ---- */

// A list of names, or of such lists.
static int check_names(const qn_formats_field *f, const char *key, const json_t *list, int depth)
{
    if (!json_is_array(list) || json_array_size(list) > MAX_MODULES)
        return qn_formats_json_refuse(f, QUERN_E_FORMAT, key, "a list of at most 8192 names", list);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        int rc = 0;
        if (json_is_array(entry) && !depth)
            rc = check_names(f, key, entry, 1);
        else if (!json_string_length(entry))
            rc = qn_formats_json_refuse(f, QUERN_E_FORMAT, key, "names of modules", entry);
        if (rc) return rc;
    }
    return 0;
}

static int read_names(const qn_formats_field *f, const json_t *o, const char *key,
                      qn_hf_quantization *q)
{
    json_t *list = json_object_get(o, key);
    if (!list || json_is_null(list)) return 0;
    q->modules = list;
    return check_names(f, key, list, 0);
}

static int read_gptq(const qn_formats_field *f, json_t *o, qn_hf_quantization *q)
{
    static const int64_t bits[] = {4, 8};
    static const char *const formats[] = {"gptq", "gptq_v2"};
    const json_t *dynamic = value_of(o, "dynamic");
    bool v2 = false, marlin = false, symmetric;
    int rc = need_among(f, o, "bits", bits, 2, &q->bits);
    if (!rc) rc = read_group(f, o, &q->group);
    if (!rc) rc = maybe_bool(f, o, "sym", &symmetric);
    if (!rc) rc = maybe_bool(f, o, "desc_act", &q->reordered);
    if (!rc) rc = maybe_one_of(f, o, "checkpoint_format", formats, &v2);
    if (!rc) rc = maybe_one_of(f, o, "format", formats, &v2);
    if (!rc) rc = maybe_word(f, o, "pack_dtype", "int32");
    if (!rc) rc = maybe_bool(f, o, "is_marlin_format", &marlin);
    if (!rc && marlin) rc = refuse(f, o, "is_marlin_format", "false");
    if (!rc && dynamic && (!json_is_object(dynamic) || json_object_size(dynamic)))
        rc = refuse(f, o, "dynamic", "no rules of single modules");
    q->zeros_minus_one = !v2;
    return rc ? rc : read_names(f, o, "modules_in_block_to_quantize", q);
}

static int read_awq(const qn_formats_field *f, json_t *o, qn_hf_quantization *q)
{
    static const int64_t bits[] = {4};
    const char *backend = json_string_value(value_of(o, "backend"));
    bool zero_point = true;
    int rc = need_among(f, o, "bits", bits, 1, &q->bits);
    if (!rc) rc = read_group(f, o, &q->group);
    if (!rc) rc = maybe_word(f, o, "version", "gemm");
    if (!rc) rc = maybe_word(f, o, "format", "gemm");
    // Others name kernels; the layout is what version and format say.
    if (!rc && backend && !strcmp(backend, "llm-awq"))
        rc = refuse(f, o, "backend", "another than \"llm-awq\"");
    if (!rc) rc = maybe_bool(f, o, "zero_point", &zero_point);
    if (!rc && !zero_point) rc = refuse(f, o, "zero_point", "true");
    return rc ? rc : read_names(f, o, "modules_to_not_convert", q);
}

static int read_fp8(const qn_formats_field *f, json_t *o, qn_hf_quantization *q)
{
    const json_t *size = json_object_get(o, "weight_block_size");
    int rc = maybe_word(f, o, "activation_scheme", "dynamic");
    if (!rc) rc = maybe_word(f, o, "fmt", "e4m3");
    for (size_t i = 0; i < 2 && !rc; i++)
        if (json_array_size(size) != 2 ||
            json_integer_value(json_array_get(size, i)) != FP8_BLOCK) {
            char found[64];
            rc = json_array_size(size) == 2
                     ? qn_error_set(
                           f->e, QUERN_E_UNSUPPORTED,
                           "%s: %sweight_block_size[%zu]: expected 128, found %s", f->file,
                           f->prefix, i,
                           qn_formats_json_found(json_array_get(size, i), found, sizeof found))
                     : refuse(f, o, "weight_block_size", "[128, 128]");
        }
    q->bits = 8;
    q->group = FP8_BLOCK;
    return rc ? rc : read_names(f, o, "modules_to_not_convert", q);
}

static int read_method(const qn_formats_field *f, json_t *o, qn_hf_quantization *q)
{
    static int (*const readers[QN_HF_SCHEMES])(const qn_formats_field *, json_t *,
                                               qn_hf_quantization *) = {
        [QN_HF_GPTQ] = read_gptq, [QN_HF_AWQ] = read_awq, [QN_HF_FP8] = read_fp8};
    const char *method = json_string_value(json_object_get(o, "quant_method"));
    for (int i = 0; method && i < QN_HF_SCHEMES; i++)
        if (readers[i] && !strcmp(method, qn_hf_scheme_name((qn_hf_scheme)i))) {
            q->scheme = (qn_hf_scheme)i;
            return readers[i](f, o, q);
        }
    return refuse(f, o, "quant_method", "gptq, awq or fp8");
}

// mlx-lm writes its object twice, and reads the first; the second has no quant_method then.
static int read_quantization(const char *file, qn_hf_quantization *q, quern_error *e)
{
    static const char *const keys[] = {"quantization", "quantization_config"};
    static const char *const prefixes[] = {"quantization.", "quantization_config."};
    for (int i = 0; i < 2; i++) {
        json_t *o = json_object_get(q->root, keys[i]);
        if (!o || json_is_null(o)) continue;
        const qn_formats_field whole = {file, "", e}, f = {file, prefixes[i], e};
        if (!json_is_object(o))
            return qn_formats_json_refuse(&whole, QUERN_E_FORMAT, keys[i], "an object", o);
        bool mlx = i == 0 || (!json_object_get(o, "quant_method") && json_object_get(o, "bits"));
        if (!mlx) return read_method(&f, o, q);
        q->scheme = QN_HF_MLX;
        return read_mlx(&f, o, q);
    }
    return 0;
}

static int take_root(json_t *root, const char *file, qn_hf_quantization *out, quern_error *e)
{
    out->root = root;
    int rc = read_quantization(file, out, e);
    if (rc) qn_hf_quantization_close(out);
    return rc;
}

int qn_hf_quantization_parse(const char *text, size_t n, const char *file, qn_hf_quantization *out,
                             quern_error *e)
{
    json_t *root = NULL;
    *out = (qn_hf_quantization){0};
    int rc = qn_formats_json_parse(text, n, file, &root, e);
    return rc ? rc : take_root(root, file, out, e);
}

int qn_hf_quantization_read(const char *path, qn_hf_quantization *out, quern_error *e)
{
    json_t *root = NULL;
    *out = (qn_hf_quantization){0};
    int rc = qn_formats_json_load(path, CONFIG_BYTES, &root, e);
    return rc ? rc : take_root(root, path, out, e);
}

void qn_hf_quantization_close(qn_hf_quantization *q)
{
    json_decref(q->root);
    *q = (qn_hf_quantization){0};
}

/* ---- questions ---- */

// Whether `part` is in a module's name as whole words between points: "mlp.gate" is not in "mlp.gate_proj".
static bool has_words(const char *module, const char *part)
{
    size_t n = strlen(part);
    for (const char *at = strstr(module, part); at; at = strstr(at + 1, part))
        if ((at == module || at[-1] == '.') && (!at[n] || at[n] == '.')) return true;
    return false;
}

static bool lists(const json_t *names, const char *module)
{
    bool found = false;
    for (size_t i = 0; i < json_array_size(names) && !found; i++) {
        const json_t *entry = json_array_get(names, i);
        found = json_is_array(entry) ? lists(entry, module)
                                     : has_words(module, json_string_value(entry));
    }
    return found;
}

qn_hf_grouping qn_hf_quantization_of(const qn_hf_quantization *q, const char *module)
{
    static const qn_hf_grouping none = {0, 0};
    qn_hf_grouping common = {(int)q->bits, q->group};
    if (q->scheme == QN_HF_PLAIN || !q->modules) return common;
    // GPTQ's list is of modules in the layers; whether the head is quantised, its tensors tell.
    bool listed = q->scheme != QN_HF_MLX && lists(q->modules, module);
    if (q->scheme == QN_HF_GPTQ) return listed || !strstr(module, ".layers.") ? common : none;
    if (q->scheme != QN_HF_MLX) return listed ? none : common;
    const json_t *own = json_object_get(q->modules, module);
    if (json_is_false(own)) return none;
    if (!json_is_object(own)) return common;
    return (qn_hf_grouping){(int)json_integer_value(json_object_get(own, "bits")),
                            json_integer_value(json_object_get(own, "group_size"))};
}

qn_dtype qn_hf_quantization_dtype(const qn_hf_quantization *q)
{
    int64_t group = q->group % 128 == 0 ? 128 : q->group % 64 == 0 ? 64 : 32;
    if (q->scheme == QN_HF_PLAIN) return QN_DTYPE_COUNT;
    if (q->scheme == QN_HF_FP8) return QN_DTYPE_FP8_128;
    return q->reordered && q->group ? QN_DTYPE_F16 : qn_dtype_affine(q->bits, group);
}
