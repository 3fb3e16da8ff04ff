// The header of one safetensors file: u64 length, JSON {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {…}}, data.
// The outer object is walked here and only one entry at a time goes to jansson, so that a hostile header of 100 MB costs
// memory in proportion to its tensors, not to its brackets. Sets of files: safetensors_set.c.
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "formats/json.h"

enum { ENTRY_BYTES = 4096, ENTRY_DEPTH = 4, KEY_BYTES = 6 * QN_SAFETENSORS_MAX_NAME };

typedef struct {
    const char *name;
    int bits;
    qn_dtype dtype;
} element_type;

static const element_type element_types[] = {
    {"F32", 32, QN_DTYPE_F32},      {"F16", 16, QN_DTYPE_F16},      {"BF16", 16, QN_DTYPE_BF16},
    {"F64", 64, QN_DTYPE_COUNT},    {"I64", 64, QN_DTYPE_COUNT},    {"U64", 64, QN_DTYPE_COUNT},
    {"I32", 32, QN_DTYPE_COUNT},    {"U32", 32, QN_DTYPE_COUNT},    {"I16", 16, QN_DTYPE_COUNT},
    {"U16", 16, QN_DTYPE_COUNT},    {"I8", 8, QN_DTYPE_COUNT},      {"U8", 8, QN_DTYPE_COUNT},
    {"BOOL", 8, QN_DTYPE_COUNT},    {"F8_E4M3", 8, QN_DTYPE_COUNT}, {"F8_E5M2", 8, QN_DTYPE_COUNT},
    {"F8_E8M0", 8, QN_DTYPE_COUNT}, {"F4", 4, QN_DTYPE_COUNT},      {"F6_E2M3", 6, QN_DTYPE_COUNT},
    {"F6_E3M2", 6, QN_DTYPE_COUNT}, {"C64", 64, QN_DTYPE_COUNT},
};

typedef struct {
    qn_tensor_set *set;
    const char *path;
    int file;
    const char *text; // the header's JSON
    size_t n, at;
    uint64_t data_bytes;
    bool metadata; // has been seen
    quern_error *e;
} reader;

const char *qn_safetensors_type_at(int i)
{
    for (size_t k = 0; k < sizeof element_types / sizeof *element_types; k++)
        if (element_types[k].dtype != QN_DTYPE_COUNT && i-- == 0) return element_types[k].name;
    return NULL;
}

static void skip_space(reader *r)
{
    while (r->at < r->n && strchr(" \t\r\n", r->text[r->at]) && r->text[r->at])
        r->at++;
}

static int expect(reader *r, char c)
{
    skip_space(r);
    if (r->at < r->n && r->text[r->at] == c) {
        r->at++;
        return 0;
    }
    return qn_error_set(r->e, QUERN_E_FORMAT, "%s: header byte %zu: expected '%c', found %s",
                        r->path, r->at, c, r->at < r->n ? "another character" : "its end");
}

// The end of the string that starts at `at`, or n where it has none.
static size_t string_end(const reader *r, size_t at)
{
    for (at++; at < r->n; at++) {
        if (r->text[at] == '\\')
            at++;
        else if (r->text[at] == '"')
            return at + 1;
    }
    return r->n;
}

// The end of the object that starts at `at`; 0 where it is nested too deeply, cut off or longer than max_bytes.
static size_t object_end(const reader *r, size_t at, size_t max_bytes)
{
    int depth = 0;
    for (size_t start = at; at < r->n && at - start < max_bytes; at++) {
        char c = r->text[at];
        if (c == '"')
            at = string_end(r, at) - 1;
        else if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
        if (depth > ENTRY_DEPTH) return 0;
        if (depth == 0) return at + 1 - start <= max_bytes ? at + 1 : 0;
    }
    return 0;
}

static int read_key(reader *r, json_t **key)
{
    skip_space(r);
    size_t start = r->at, end = start;
    if (start < r->n && r->text[start] == '"') end = string_end(r, start);
    json_error_t error;
    *key = end > start && end - start <= KEY_BYTES
               ? json_loadb(r->text + start, end - start, JSON_DECODE_ANY, &error)
               : NULL;
    if (!*key || json_string_length(*key) > QN_SAFETENSORS_MAX_NAME)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: header byte %zu: expected a name of at most %d bytes", r->path,
                            start, QN_SAFETENSORS_MAX_NAME);
    r->at = end;
    return 0;
}

static int read_object(reader *r, const char *name, size_t max_bytes, json_t **object)
{
    skip_space(r);
    size_t end = r->at < r->n && r->text[r->at] == '{' ? object_end(r, r->at, max_bytes) : 0;
    json_error_t error = {.text = "no whole object"};
    *object = end ? json_loadb(r->text + r->at, end - r->at, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (!*object)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: %s: expected a JSON object of at most %zu bytes: %s", r->path,
                            name, max_bytes, error.text);
    r->at = end;
    return 0;
}

static int check_metadata(reader *r, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char text[64];
        if (!json_is_string(value))
            return qn_error_set(r->e, QUERN_E_FORMAT,
                                "%s: __metadata__.%s: expected a string, found %s", r->path, key,
                                qn_formats_json_found(value, text, sizeof text));
    }
    return 0;
}

// An array of at most `max` numbers ≥ 0; returns how many, or -1.
static int read_numbers(const json_t *array, int64_t *out, size_t max)
{
    if (!json_is_array(array) || json_array_size(array) > max) return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0) return -1;
        out[i] = json_integer_value(value);
    }
    return (int)json_array_size(array);
}

static const element_type *element_type_of(const json_t *value)
{
    const char *name = json_string_value(value);
    for (size_t i = 0; name && i < sizeof element_types / sizeof *element_types; i++)
        if (!strcmp(element_types[i].name, name)) return &element_types[i];
    return NULL;
}

// Bytes of rank dimensions of a type; false where they overflow or are no whole number.
static bool shape_bytes(const qn_stored_tensor *t, int bits, uint64_t *out)
{
    uint64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        if (!qn_checked_mul(n, (uint64_t)t->dim[i], &n)) return false;
    if (!qn_checked_mul(n, (uint64_t)bits, &n) || n % 8) return false;
    *out = n / 8;
    return true;
}

static int read_tensor(reader *r, const char *name, const json_t *entry, qn_stored_tensor *t)
{
    char text[64];
    const json_t *dtype = json_object_get(entry, "dtype");
    const element_type *type = element_type_of(dtype);
    if (!type)
        return qn_error_set(r->e, QUERN_E_FORMAT, "%s: %s: dtype: expected a known type, found %s",
                            r->path, name, qn_formats_json_found(dtype, text, sizeof text));
    *t = (qn_stored_tensor){.type = type->name, .dtype = type->dtype, .file = r->file};
    t->rank = read_numbers(json_object_get(entry, "shape"), t->dim, QN_TENSOR_SET_MAX_RANK);
    if (t->rank < 0)
        return qn_error_set(r->e, QUERN_E_FORMAT, "%s: %s: shape: expected at most %d integers ≥ 0",
                            r->path, name, QN_TENSOR_SET_MAX_RANK);
    int64_t offsets[2];
    if (read_numbers(json_object_get(entry, "data_offsets"), offsets, 2) != 2 ||
        offsets[1] < offsets[0] || (uint64_t)offsets[1] > r->data_bytes)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: %s: data_offsets: expected [begin, end] within the %llu bytes of "
                            "data",
                            r->path, name, (unsigned long long)r->data_bytes);
    t->begin = 8 + r->n + (uint64_t)offsets[0];
    t->n_bytes = (uint64_t)(offsets[1] - offsets[0]);
    uint64_t expected;
    if (!shape_bytes(t, type->bits, &expected))
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: %s: shape: expected a size of whole bytes below 2^64, found more",
                            r->path, name);
    if (expected != t->n_bytes)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: %s: data_offsets: expected %llu bytes for its shape, found %llu",
                            r->path, name, (unsigned long long)expected,
                            (unsigned long long)t->n_bytes);
    if (json_object_size(entry) != 3)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: %s: expected dtype, shape and data_offsets, found more fields",
                            r->path, name);
    return 0;
}

static int read_member(reader *r)
{
    json_t *key = NULL, *value = NULL;
    qn_stored_tensor t;
    int rc = read_key(r, &key);
    if (rc) goto out;
    const char *name = json_string_value(key);
    rc = expect(r, ':');
    if (rc) goto out;
    bool metadata = !strcmp(name, "__metadata__");
    if (metadata ? r->metadata : !qn_tensor_set_sane_name(name, strlen(name))) {
        rc = qn_error_set(r->e, QUERN_E_FORMAT,
                          "%s: header: expected another tensor's name, found \"%.80s\"", r->path,
                          name);
        goto out;
    }
    r->metadata |= metadata;
    rc = read_object(r, name, metadata ? QN_SAFETENSORS_MAX_METADATA : ENTRY_BYTES, &value);
    if (rc) goto out;
    rc = metadata ? check_metadata(r, value) : read_tensor(r, name, value, &t);
    if (!rc && !metadata)
        rc = qn_tensor_set_add(r->set, &t, name, json_string_length(key), r->path, r->e);
out:
    json_decref(key);
    json_decref(value);
    return rc;
}

static int read_members(reader *r)
{
    int rc = expect(r, '{');
    if (rc) return rc;
    skip_space(r);
    if (r->at < r->n && r->text[r->at] == '}')
        r->at++;
    else
        for (bool more = true; more;) {
            rc = read_member(r);
            if (rc) return rc;
            skip_space(r);
            more = r->at < r->n && r->text[r->at] == ',';
            if (more)
                r->at++;
            else if ((rc = expect(r, '}')))
                return rc;
        }
    while (r->at < r->n && r->text[r->at] == ' ')
        r->at++;
    if (r->at < r->n)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: header byte %zu: expected spaces up to the header's end", r->path,
                            r->at);
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const qn_stored_tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

// In order of place the spans must follow one another from the header's end to the file's.
static int check_cover(const reader *r, qn_stored_tensor *t, int n)
{
    uint64_t data = 8 + r->n, at = data;
    if (n) qsort(t, (size_t)n, sizeof *t, by_begin);
    for (int i = 0; i < n; i++) {
        if (t[i].begin != at)
            return qn_error_set(r->e, QUERN_E_FORMAT,
                                "%s: %s: data_offsets: expected to begin at %llu, where the tensor "
                                "before ends, found %llu",
                                r->path, t[i].name, (unsigned long long)(at - data),
                                (unsigned long long)(t[i].begin - data));
        at += t[i].n_bytes;
    }
    if (at - data != r->data_bytes)
        return qn_error_set(r->e, QUERN_E_FORMAT,
                            "%s: data: expected %llu bytes by the header, found %llu", r->path,
                            (unsigned long long)(at - data), (unsigned long long)r->data_bytes);
    return 0;
}

int qn_safetensors_parse(qn_tensor_set *s, const unsigned char *bytes, size_t n, const char *path,
                         int file, quern_error *e)
{
    if (n < 8)
        return qn_error_set(e, QUERN_E_FORMAT, "%s: expected 8 bytes of header length, found %zu",
                            path, n);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > QN_SAFETENSORS_MAX_HEADER || length < 2)
        return qn_error_set(e, QUERN_E_FORMAT,
                            "%s: header length: expected 2 to %d bytes, found %llu", path,
                            QN_SAFETENSORS_MAX_HEADER, (unsigned long long)length);
    if (!qn_span_inside(8, length, n))
        return qn_error_set(e, QUERN_E_FORMAT,
                            "%s: header length: expected at most the %zu bytes that follow, found "
                            "%llu",
                            path, n - 8, (unsigned long long)length);
    reader r = {.set = s,
                .path = path,
                .file = file,
                .text = (const char *)bytes + 8,
                .n = (size_t)length,
                .data_bytes = n - 8 - length,
                .e = e};
    if (r.text[0] != '{')
        return qn_error_set(e, QUERN_E_FORMAT, "%s: header byte 0: expected '{'", path);
    size_t valid = qn_utf8_check(r.text, r.n);
    if (valid < r.n)
        return qn_error_set(e, QUERN_E_FORMAT, "%s: header byte %zu: expected UTF-8", path, valid);
    int first = s->n_tensors, rc = read_members(&r);
    if (rc) return rc;
    int n_new = s->n_tensors - first;
    return check_cover(&r, n_new ? s->tensors + first : NULL, n_new);
}
