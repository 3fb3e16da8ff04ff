// See json.h.
#include "formats/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

// Deepest nesting of brackets outside strings; what is no JSON is left to the parser.
static int deepest(const char *s, size_t n)
{
    int depth = 0, most = 0;
    bool in_string = false;
    for (size_t i = 0; i < n && most <= QN_FORMATS_JSON_DEPTH; i++) {
        if (in_string) {
            if (s[i] == '\\')
                i++;
            else if (s[i] == '"')
                in_string = false;
        } else if (s[i] == '"')
            in_string = true;
        else if (s[i] == '[' || s[i] == '{')
            most = ++depth > most ? depth : most;
        else if (s[i] == ']' || s[i] == '}')
            depth--;
    }
    return most;
}

int qn_formats_json_parse(const char *text, size_t n, const char *file, json_t **out,
                          quern_error *e)
{
    size_t valid = qn_utf8_check(text, n);
    if (valid < n)
        return qn_error_set(e, QUERN_E_FORMAT, "%s: byte %zu: expected UTF-8, found 0x%02x", file,
                            valid, (unsigned char)text[valid]);
    if (deepest(text, n) > QN_FORMATS_JSON_DEPTH)
        return qn_error_set(e, QUERN_E_LIMIT,
                            "%s: expected JSON nested at most %d deep, found more", file,
                            QN_FORMATS_JSON_DEPTH);
    json_error_t error;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return qn_error_set(e,
                            json_error_code(&error) == json_error_out_of_memory ? QUERN_E_MEMORY
                                                                                : QUERN_E_FORMAT,
                            "%s: line %d, column %d: expected JSON: %s", file, error.line,
                            error.column, error.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return qn_error_set(e, QUERN_E_FORMAT, "%s: expected a JSON object, found an array", file);
    }
    *out = root;
    return 0;
}

int qn_formats_json_load(const char *path, size_t max_bytes, json_t **out, quern_error *e)
{
    char *text = NULL;
    size_t n;
    int rc = qn_file_read(path, max_bytes, &text, &n, e);
    if (!rc) rc = qn_formats_json_parse(text, n, path, out, e);
    free(text);
    return rc;
}

const char *qn_formats_json_found(const json_t *value, char *text, size_t n)
{
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        snprintf(text, n, "the string \"%.40s\"", json_string_value(value));
        return text;
    case JSON_INTEGER:
        snprintf(text, n, "%lld", (long long)json_integer_value(value));
        return text;
    case JSON_REAL:
        snprintf(text, n, "%g", json_real_value(value));
        return text;
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    default:
        return "null";
    }
}

int qn_formats_json_refuse(const qn_formats_field *f, int code, const char *key,
                           const char *expected, const json_t *value)
{
    char text[64];
    return qn_error_set(f->e, code, "%s: %s%s: expected %s, found %s", f->file, f->prefix, key,
                        expected, qn_formats_json_found(value, text, sizeof text));
}

int qn_formats_json_int(const qn_formats_field *f, const json_t *object, const char *key,
                        const int64_t range[2], int64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!value) return 0;
    if (json_is_integer(value) && json_integer_value(value) >= range[0] &&
        json_integer_value(value) <= range[1]) {
        *out = json_integer_value(value);
        return 0;
    }
    char expected[80];
    snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)range[0],
             (long long)range[1]);
    return qn_formats_json_refuse(f, QUERN_E_FORMAT, key, expected, value);
}

int qn_formats_json_real(const qn_formats_field *f, const json_t *object, const char *key,
                         double *out)
{
    const json_t *value = json_object_get(object, key);
    if (!value) return 0;
    if (!json_is_number(value))
        return qn_formats_json_refuse(f, QUERN_E_FORMAT, key, "a number", value);
    *out = json_number_value(value);
    return 0;
}

int qn_formats_json_bool(const qn_formats_field *f, const json_t *object, const char *key,
                         bool *out)
{
    const json_t *value = json_object_get(object, key);
    if (!value) return 0;
    if (!json_is_boolean(value))
        return qn_formats_json_refuse(f, QUERN_E_FORMAT, key, "true or false", value);
    *out = json_is_true(value);
    return 0;
}
