// Loading a tokenizer: files to JSON, JSON to the parts, in the order in which they depend on one another. Everything that
// comes from a file is bounded before it is built: bytes, depth, number of values.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/tokenizer_internal.h"

enum {
    MAX_FILE_BYTES = 64 << 20,
    MAX_CONFIG_BYTES = 16 << 20,
    MAX_DEPTH = 64,
    MAX_VALUES = 1 << 21 // the largest in use (262,144 entries, 515,000 merges) has 1.8 million
};

// ---- JSON ----

// Behind the string that begins at s[i], or n.
static size_t skip_string(const char *s, size_t i, size_t n)
{
    for (i++; i < n; i++) {
        if (s[i] == '\\')
            i++;
        else if (s[i] == '"')
            return i + 1;
    }
    return n;
}

static int check_limits(const char *path, const char *s, size_t n, quern_error *e)
{
    size_t depth = 0, n_values = 0;
    for (size_t i = 0; i < n;) {
        char c = s[i];
        if (c == '"') {
            i = skip_string(s, i, n);
            continue;
        }
        if (c == '[' || c == '{') depth++;
        if ((c == ']' || c == '}') && depth) depth--;
        n_values += c == ',' || c == '[' || c == '{';
        if (depth > MAX_DEPTH || n_values > MAX_VALUES)
            return qn_error_set(e, QUERN_E_LIMIT, "%s: byte %zu: expected at most %d %s", path, i,
                                depth > MAX_DEPTH ? MAX_DEPTH : MAX_VALUES,
                                depth > MAX_DEPTH ? "levels of nesting" : "values");
        i++;
    }
    return 0;
}

int qn_tokenizer_json(const char *path, const char *json, size_t n, json_t **out, quern_error *e)
{
    int rc = check_limits(path, json, n, e);
    if (rc) return rc;
    json_error_t why;
    *out = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
    if (!*out) {
        char text[48];
        if (why.line < 0) // jansson knows of no fault in the text
            return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", path);
        return qn_error_set(e, QUERN_E_FORMAT, "%s: not JSON: line %d, column %d: %s", path,
                            why.line, why.column,
                            qn_tokenizer_show(why.text, strlen(why.text), text));
    }
    if (json_is_object(*out)) return 0;
    json_decref(*out);
    *out = NULL;
    return qn_error_set(e, QUERN_E_FORMAT, "%s: expected a JSON object", path);
}

int qn_tokenizer_bool(const qn_tokenizer_loader *l, const json_t *object, const char *key,
                      bool otherwise, bool *out)
{
    const json_t *v = json_object_get(object, key);
    *out = v && json_is_boolean(v) ? json_is_true(v) : otherwise;
    if (!v || json_is_null(v) || json_is_boolean(v)) return 0;
    return qn_error_set(l->e, QUERN_E_FORMAT, "%s: %s: expected true or false", l->path, key);
}

// ---- the whole ----

// A tokenizer from tokenizer.json's root and, where there is one, tokenizer_config.json's.
static int build(qn_tokenizer_loader *l, const json_t *root, const char *config_path,
                 const json_t *config)
{
    const json_t *model = json_object_get(root, "model");
    if (!json_is_object(model))
        return qn_error_set(l->e, QUERN_E_FORMAT, "%s: model: expected an object", l->path);
    l->vocab = json_object_get(model, "vocab");
    l->added = json_object();
    if (!l->added) return qn_error_set(l->e, QUERN_E_MEMORY, "%s: no memory", l->path);
    int rc = qn_tokenizer_load_pipeline(l, root);
    if (!rc) rc = qn_tokenizer_load_model(l, model);
    if (!rc) rc = qn_tokenizer_load_added(l, json_object_get(root, "added_tokens"));
    if (!rc && config) {
        const char *path = l->path;
        l->path = config_path;
        rc = qn_tokenizer_load_decoder(l, json_object_get(config, "added_tokens_decoder"));
        l->path = path;
    }
    return rc ? rc : qn_tokenizer_load_sets(l);
}

static int parse(const char *path, const char *json, size_t n, const char *config_path,
                 const json_t *config, qn_tokenizer **out, quern_error *e)
{
    json_t *root;
    int rc = qn_tokenizer_json(path, json, n, &root, e);
    if (rc) return rc;
    qn_tokenizer_loader l = {.t = calloc(1, sizeof *l.t), .path = path, .e = e};
    if (l.t) {
        l.t->max_added = -1;
        rc = build(&l, root, config_path, config);
    } else {
        rc = qn_error_set(e, QUERN_E_MEMORY, "%s: no memory", path);
    }
    json_decref(l.added);
    json_decref(root);
    if (rc)
        qn_tokenizer_free(l.t);
    else
        *out = l.t;
    return rc;
}

int qn_tokenizer_parse(const char *name, const char *json, size_t n, qn_tokenizer **out,
                       quern_error *e)
{
    return parse(name, json, n, NULL, NULL, out, e);
}

// tokenizer_config.json, where there is one.
static int read_config(const char *path, json_t **out, quern_error *e)
{
    *out = NULL;
    if (!qn_file_exists(path)) return 0;
    char *text = NULL;
    size_t n;
    int rc = qn_file_read(path, MAX_CONFIG_BYTES, &text, &n, e);
    if (!rc) rc = qn_tokenizer_json(path, text, n, out, e);
    free(text);
    return rc;
}

int qn_tokenizer_load(const char *directory, qn_tokenizer **out, quern_error *e)
{
    char path[4096], config_path[4096], *text = NULL;
    json_t *config = NULL;
    size_t n;
    int length = snprintf(path, sizeof path, "%s/tokenizer.json", directory);
    int more = snprintf(config_path, sizeof config_path, "%s/tokenizer_config.json", directory);
    if (length < 0 || more < 0 || (size_t)more >= sizeof config_path)
        return qn_error_set(e, QUERN_E_LIMIT, "%.100s…: the path is too long", directory);
    int rc = qn_file_read(path, MAX_FILE_BYTES, &text, &n, e);
    if (!rc) rc = read_config(config_path, &config, e);
    if (!rc) rc = parse(path, text, n, config_path, config, out, e);
    free(text);
    json_decref(config);
    return rc;
}
