// One GGUF file: magic, version, counts; n_values × {key, type, value}; n_tensors × {name, dimensions, type, offset}; padding
// to the alignment; data. A string is u64 bytes and the bytes; all numbers little-endian. Sets of files: gguf_set.c.
#include "formats/gguf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"

typedef struct {
    const char *name;
    qn_dtype dtype; // QN_DTYPE_COUNT where Quern does not compute with it: then its block is
    int block_elements, block_bytes;
} tensor_type;

// By the file's number; where the name is NULL there is no such type (any more).
// clang-format off
static const tensor_type tensor_types[] = {
    [0] = {"F32", QN_DTYPE_F32, 0, 0},         [1] = {"F16", QN_DTYPE_F16, 0, 0},
    [2] = {"Q4_0", QN_DTYPE_Q4_0, 0, 0},       [3] = {"Q4_1", QN_DTYPE_Q4_1, 0, 0},
    [6] = {"Q5_0", QN_DTYPE_Q5_0, 0, 0},       [7] = {"Q5_1", QN_DTYPE_Q5_1, 0, 0},
    [8] = {"Q8_0", QN_DTYPE_Q8_0, 0, 0},       [9] = {"Q8_1", QN_DTYPE_COUNT, 32, 40},
    [10] = {"Q2_K", QN_DTYPE_Q2_K, 0, 0},      [11] = {"Q3_K", QN_DTYPE_Q3_K, 0, 0},
    [12] = {"Q4_K", QN_DTYPE_Q4_K, 0, 0},      [13] = {"Q5_K", QN_DTYPE_Q5_K, 0, 0},
    [14] = {"Q6_K", QN_DTYPE_Q6_K, 0, 0},      [15] = {"Q8_K", QN_DTYPE_COUNT, 256, 292},
    [16] = {"IQ2_XXS", QN_DTYPE_COUNT, 256, 66}, [17] = {"IQ2_XS", QN_DTYPE_COUNT, 256, 74},
    [18] = {"IQ3_XXS", QN_DTYPE_COUNT, 256, 98}, [19] = {"IQ1_S", QN_DTYPE_COUNT, 256, 50},
    [20] = {"IQ4_NL", QN_DTYPE_IQ4_NL, 0, 0},  [21] = {"IQ3_S", QN_DTYPE_COUNT, 256, 110},
    [22] = {"IQ2_S", QN_DTYPE_COUNT, 256, 82}, [23] = {"IQ4_XS", QN_DTYPE_IQ4_XS, 0, 0},
    [24] = {"I8", QN_DTYPE_COUNT, 1, 1},       [25] = {"I16", QN_DTYPE_COUNT, 1, 2},
    [26] = {"I32", QN_DTYPE_COUNT, 1, 4},      [27] = {"I64", QN_DTYPE_COUNT, 1, 8},
    [28] = {"F64", QN_DTYPE_COUNT, 1, 8},      [29] = {"IQ1_M", QN_DTYPE_COUNT, 256, 56},
    [30] = {"BF16", QN_DTYPE_BF16, 0, 0},      [34] = {"TQ1_0", QN_DTYPE_COUNT, 256, 54},
    [35] = {"TQ2_0", QN_DTYPE_COUNT, 256, 66}, [39] = {"MXFP4", QN_DTYPE_COUNT, 32, 17},
    [40] = {"NVFP4", QN_DTYPE_COUNT, 64, 36},  [41] = {"Q1_0", QN_DTYPE_COUNT, 128, 18},
};
static const int scalar_bytes[QN_GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
// clang-format on

int qn_gguf_number_of(qn_dtype dtype)
{
    for (size_t i = 0; i < sizeof tensor_types / sizeof *tensor_types; i++)
        if (tensor_types[i].name && tensor_types[i].dtype == dtype) return (int)i;
    return -1;
}

size_t qn_gguf_scalar_bytes(qn_gguf_type type)
{
    return (size_t)scalar_bytes[type];
}

enum { MAX_DIMS = 4, MIN_VALUE_BYTES = 8 + 1 + 4 + 1, MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 };

typedef struct {
    const unsigned char *bytes;
    size_t n, at;
    uint64_t file_bytes;
    const char *path;
    int file;
    qn_text_span about; // the key or tensor that is being read, once its name is known
    qn_gguf_metadata *metadata;
    qn_tensor_set *set;
    quern_error *e;
} reader;

const char *qn_gguf_type_at(int i)
{
    for (size_t k = 0; k < sizeof tensor_types / sizeof *tensor_types; k++)
        if (tensor_types[k].name && tensor_types[k].dtype != QN_DTYPE_COUNT && i-- == 0)
            return tensor_types[k].name;
    return NULL;
}

// "file: byte N: key or tensor: what the format says"; returns code.
__attribute__((format(printf, 4, 5))) static int fail(const reader *r, int code, size_t at,
                                                      const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    int n = r->about.n < 80 ? (int)r->about.n : 80;
    return qn_error_set(r->e, code, "%s: byte %zu: %.*s%s%s", r->path, at, n,
                        n ? r->about.data : "", n ? ": " : "", text);
}

static int refuse(const reader *r, size_t at, const char *what, const char *expected,
                  unsigned long long found)
{
    return fail(r, QUERN_E_FORMAT, at, "%s: expected %s, found %llu", what, expected, found);
}

/* ---- the parts of the header ---- */

static int take(reader *r, uint64_t n_bytes, const char *what, const unsigned char **out)
{
    if (qn_span_inside(r->at, n_bytes, r->n)) {
        *out = r->bytes + r->at;
        r->at += (size_t)n_bytes;
        return 0;
    }
    if (r->n < r->file_bytes && qn_span_inside(r->at, n_bytes, r->file_bytes))
        return fail(r, QUERN_E_LIMIT, r->at, "%s: expected the header within %zu bytes, found more",
                    what, r->n);
    return fail(r, QUERN_E_FORMAT, r->at, "%s: expected %llu bytes, found %zu", what,
                (unsigned long long)n_bytes, r->n - r->at);
}

static int read_number(reader *r, int n_bytes, const char *what, uint64_t *out)
{
    const unsigned char *p = NULL;
    int rc = take(r, (uint64_t)n_bytes, what, &p);
    if (!rc) *out = qn_gguf_number(p, n_bytes);
    return rc;
}

static int read_text(reader *r, const char *what, qn_text_span *out)
{
    uint64_t n = 0;
    const unsigned char *p = NULL;
    size_t start = r->at;
    int rc = read_number(r, 8, what, &n);
    if (!rc) rc = take(r, n, what, &p);
    if (rc) return rc;
    *out = (qn_text_span){(const char *)p, (size_t)n};
    size_t valid = qn_utf8_check(out->data, out->n);
    if (valid == out->n) return 0;
    return fail(r, QUERN_E_FORMAT, start + 8 + valid, "%s: expected UTF-8", what);
}

// A key or a tensor's name: of at most max_bytes, fit to be printed.
static int read_name(reader *r, const char *what, size_t max_bytes, qn_text_span *out)
{
    size_t start = r->at;
    int rc = read_text(r, what, out);
    if (rc) return rc;
    if (out->n >= 1 && out->n <= max_bytes && qn_tensor_set_sane_name(out->data, out->n)) return 0;
    return fail(r, QUERN_E_FORMAT, start,
                "%s: expected 1 to %zu bytes without control characters, found %zu", what,
                max_bytes, out->n);
}

static int check_bools(const reader *r, const qn_gguf_value *v)
{
    for (uint64_t i = 0; i < v->n; i++)
        if (v->at[i] > 1)
            return refuse(r, (size_t)(v->at - r->bytes + (ptrdiff_t)i), "a boolean", "0 or 1",
                          v->at[i]);
    return 0;
}

static int read_scalars(reader *r, qn_gguf_value *v)
{
    uint64_t n_bytes;
    if (!qn_checked_mul(v->n, (uint64_t)scalar_bytes[v->type], &n_bytes))
        return refuse(r, r->at, "an array", "a size below 2^64 bytes, from fewer elements", v->n);
    int rc = take(r, n_bytes, v->is_array ? "an array" : "a value", &v->at);
    return rc || v->type != QN_GGUF_BOOL ? rc : check_bools(r, v);
}

static int read_texts(reader *r, qn_gguf_value *v)
{
    qn_text_span text;
    int rc = 0;
    v->at = r->bytes + r->at;
    if (v->n > (r->file_bytes - r->at) / 8)
        return refuse(r, r->at, "an array of strings", "no more than the bytes that follow hold",
                      v->n);
    for (uint64_t i = 0; i < v->n && !rc; i++)
        rc = read_text(r, "a string of an array", &text);
    return rc;
}

static int read_type(reader *r, const char *what, qn_gguf_type *out)
{
    uint64_t type = 0;
    size_t start = r->at;
    int rc = read_number(r, 4, what, &type);
    if (rc) return rc;
    if (type >= QN_GGUF_N_TYPES) return refuse(r, start, what, "a type from 0 to 12", type);
    *out = (qn_gguf_type)type;
    return 0;
}

static int read_array(reader *r, qn_gguf_value *v)
{
    size_t start = r->at;
    int rc = read_type(r, "the type of an array's elements", &v->type);
    if (!rc) rc = read_number(r, 8, "the length of an array", &v->n);
    if (rc) return rc;
    v->is_array = true;
    if (v->type == QN_GGUF_ARRAY)
        return fail(r, QUERN_E_UNSUPPORTED, start,
                    "expected an array of numbers or strings, found one of arrays");
    return v->type == QN_GGUF_STRING ? read_texts(r, v) : read_scalars(r, v);
}

static int read_value(reader *r, qn_gguf_value *v)
{
    qn_text_span text;
    *v = (qn_gguf_value){.n = 1};
    r->about = (qn_text_span){NULL, 0};
    int rc = read_name(r, "a key", QN_GGUF_MAX_KEY, &v->key);
    if (rc) return rc;
    r->about = v->key;
    rc = read_type(r, "the type of a value", &v->type);
    if (rc) return rc;
    if (v->type == QN_GGUF_ARRAY)
        rc = read_array(r, v);
    else if (v->type != QN_GGUF_STRING)
        rc = read_scalars(r, v);
    else if (!(rc = read_text(r, "a string", &text))) {
        v->at = (const unsigned char *)text.data;
        v->n = text.n;
    }
    return rc;
}

static int by_key(const void *a, const void *b)
{
    const qn_text_span *x = &((const qn_gguf_value *)a)->key, *y = &((const qn_gguf_value *)b)->key;
    int order = memcmp(x->data, y->data, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static int read_values(reader *r, uint64_t n)
{
    qn_gguf_metadata *m = r->metadata;
    int rc = 0;
    m->values = calloc((size_t)n + 1, sizeof *m->values);
    if (!m->values)
        return qn_error_set(r->e, QUERN_E_MEMORY, "%s: no memory for its metadata", r->path);
    for (; m->n_values < n && !rc; m->n_values++)
        rc = read_value(r, &m->values[m->n_values]);
    if (rc) return rc;
    qsort(m->values, m->n_values, sizeof *m->values, by_key);
    for (size_t i = 1; i < m->n_values; i++)
        if (!by_key(&m->values[i - 1], &m->values[i])) {
            const qn_text_span *key = &m->values[i].key;
            return qn_error_set(r->e, QUERN_E_FORMAT,
                                "%s: %.*s: expected the key once, found it twice", r->path,
                                key->n < 80 ? (int)key->n : 80, key->data);
        }
    return 0;
}

static int read_alignment(const reader *r, uint64_t *out)
{
    static const int64_t range[2] = {8, QN_GGUF_MAX_ALIGNMENT};
    int64_t alignment = 32;
    int rc = qn_gguf_int(r->metadata, "general.alignment", range, &alignment, r->e);
    if (rc) return rc;
    *out = (uint64_t)alignment;
    if (!(alignment & (alignment - 1))) return 0;
    return qn_error_set(r->e, QUERN_E_FORMAT,
                        "%s: general.alignment: expected a power of two, found %lld", r->path,
                        (long long)alignment);
}

/* ---- tensors ---- */

static int read_dims(reader *r, qn_stored_tensor *t, uint64_t *n_elements)
{
    uint64_t n_dims = 0;
    size_t start = r->at;
    int rc = read_number(r, 4, "a number of dimensions", &n_dims);
    if (!rc && (n_dims < 1 || n_dims > MAX_DIMS))
        return refuse(r, start, "a number of dimensions", "1 to 4", n_dims);
    if (rc) return rc;
    t->rank = (int)n_dims;
    *n_elements = 1;
    for (int i = t->rank - 1; i >= 0; i--) { // the first runs fastest in the file, the last with us
        uint64_t dim = 0;
        start = r->at;
        rc = read_number(r, 8, "a dimension", &dim);
        if (rc) return rc;
        if (dim < 1 || dim > INT64_MAX || !qn_checked_mul(*n_elements, dim, n_elements))
            return refuse(r, start, "a dimension", "at least 1, and fewer than 2^64 elements", dim);
        t->dim[i] = (int64_t)dim;
    }
    return 0;
}

static int read_tensor_type(reader *r, qn_stored_tensor *t, uint64_t n_elements)
{
    uint64_t number = 0;
    size_t start = r->at;
    int rc = read_number(r, 4, "the type of a tensor", &number);
    if (rc) return rc;
    if (number >= sizeof tensor_types / sizeof *tensor_types || !tensor_types[number].name)
        return refuse(r, start, "the type of a tensor", "the number of a known type", number);
    const tensor_type *type = &tensor_types[number];
    const qn_format *format = qn_format_of(type->dtype);
    uint64_t elements = (uint64_t)(format ? format->block_elements : type->block_elements);
    uint64_t bytes = (uint64_t)(format ? format->block_bytes : type->block_bytes);
    t->type = type->name;
    t->dtype = type->dtype;
    if ((uint64_t)t->dim[t->rank - 1] % elements)
        return fail(r, QUERN_E_FORMAT, start,
                    "expected rows of a multiple of %llu elements for %s, found %lld",
                    (unsigned long long)elements, t->type, (long long)t->dim[t->rank - 1]);
    if (!qn_checked_mul(n_elements / elements, bytes, &t->n_bytes))
        return refuse(r, start, "the size of a tensor",
                      "fewer than 2^64 bytes, from fewer elements", n_elements);
    return 0;
}

// Where the tensor lies is left relative to the data.
static int read_tensor(reader *r, uint64_t alignment)
{
    qn_text_span name;
    qn_stored_tensor t = {.file = r->file};
    uint64_t n_elements = 0;
    r->about = (qn_text_span){NULL, 0};
    int rc = read_name(r, "a tensor's name", QN_GGUF_MAX_NAME, &name);
    if (rc) return rc;
    r->about = name;
    rc = read_dims(r, &t, &n_elements);
    if (!rc) rc = read_tensor_type(r, &t, n_elements);
    size_t start = r->at;
    if (!rc) rc = read_number(r, 8, "an offset", &t.begin);
    if (!rc && t.begin % alignment)
        rc = refuse(r, start, "an offset", "a multiple of the alignment", t.begin);
    return rc ? rc : qn_tensor_set_add(r->set, &t, name.data, name.n, r->path, r->e);
}

static int by_begin(const void *a, const void *b)
{
    const qn_stored_tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

// Moves n tensors to their places in the file: each within it, none on another.
static int place(const reader *r, qn_stored_tensor *t, int n, uint64_t alignment)
{
    uint64_t data = (r->at + alignment - 1) / alignment * alignment;
    uint64_t data_bytes = r->file_bytes > data ? r->file_bytes - data : 0, end = 0;
    if (n) qsort(t, (size_t)n, sizeof *t, by_begin);
    for (int i = 0; i < n; i++) {
        if (!qn_span_inside(t[i].begin, t[i].n_bytes, data_bytes))
            return qn_error_set(r->e, QUERN_E_FORMAT,
                                "%s: %s: expected %llu bytes at %llu of the data, which has %llu",
                                r->path, t[i].name, (unsigned long long)t[i].n_bytes,
                                (unsigned long long)t[i].begin, (unsigned long long)data_bytes);
        if (t[i].begin < end)
            return qn_error_set(r->e, QUERN_E_FORMAT,
                                "%s: %s: expected an offset from %llu on, where %s ends, found "
                                "%llu",
                                r->path, t[i].name, (unsigned long long)end, t[i - 1].name,
                                (unsigned long long)t[i].begin);
        end = t[i].begin + t[i].n_bytes;
        t[i].begin += data;
    }
    return 0;
}

/* ---- the whole ---- */

static int read_version(reader *r)
{
    const unsigned char *magic = NULL;
    uint64_t version = 0;
    int rc = take(r, 4, "the magic", &magic);
    if (rc) return rc;
    if (memcmp(magic, "GGUF", 4)) return fail(r, QUERN_E_FORMAT, 0, "the magic: expected GGUF");
    rc = read_number(r, 4, "the version", &version);
    if (rc || version == 2 || version == 3) return rc;
    return fail(r, QUERN_E_UNSUPPORTED, 4,
                "the version: expected 2 or 3, little-endian, found %llu",
                (unsigned long long)version);
}

static int read_count(reader *r, const char *what, uint64_t max, uint64_t min_bytes, uint64_t *out)
{
    size_t start = r->at;
    int rc = read_number(r, 8, what, out);
    if (rc) return rc;
    if (*out <= max && *out <= (r->file_bytes - r->at) / min_bytes) return 0;
    return fail(r, QUERN_E_FORMAT, start,
                "%s: expected at most %llu, and no more than the file holds, found %llu", what,
                (unsigned long long)max, (unsigned long long)*out);
}

int qn_gguf_parse(const unsigned char *bytes, size_t n, uint64_t file_bytes, int file,
                  qn_gguf_metadata *out, qn_tensor_set *s, quern_error *e)
{
    reader r = {.bytes = bytes,
                .n = n,
                .file_bytes = file_bytes,
                .path = out->path,
                .file = file,
                .metadata = out,
                .set = s,
                .e = e};
    uint64_t n_tensors = 0, n_values = 0, alignment = 0;
    int first = s->n_tensors, rc = read_version(&r);
    if (!rc)
        rc = read_count(&r, "the number of tensors", QN_GGUF_MAX_TENSORS, MIN_TENSOR_BYTES,
                        &n_tensors);
    if (!rc)
        rc = read_count(&r, "the number of values", QN_GGUF_MAX_VALUES, MIN_VALUE_BYTES, &n_values);
    if (!rc) rc = read_values(&r, n_values);
    if (!rc) rc = read_alignment(&r, &alignment);
    for (uint64_t i = 0; !rc && i < n_tensors; i++)
        rc = read_tensor(&r, alignment);
    int n_new = s->n_tensors - first;
    return rc ? rc : place(&r, n_new ? s->tensors + first : NULL, n_new, alignment);
}

void qn_gguf_free_metadata(qn_gguf_metadata *m)
{
    free(m->values);
    m->values = NULL;
    m->n_values = 0;
}
