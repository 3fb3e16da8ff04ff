// Readers of one value of a GGUF file's metadata; see gguf.h. The values were checked when the header was read.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"

static const char *const type_names[QN_GGUF_N_TYPES] = {
    "an integer", "an integer", "an integer", "an integer", "an integer", "an integer", "a float",
    "a boolean",  "a string",   "an array",   "an integer", "an integer", "a float"};

const qn_gguf_value *qn_gguf_find(const qn_gguf_metadata *m, const char *key)
{
    size_t n = strlen(key), low = 0, high = m->n_values;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const qn_text_span *found = &m->values[middle].key;
        int order = memcmp(key, found->data, n < found->n ? n : found->n);
        if (!order) order = (n > found->n) - (n < found->n);
        if (!order) return &m->values[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool qn_gguf_is_int(const qn_gguf_value *v)
{
    return v->type <= QN_GGUF_I32 || v->type == QN_GGUF_U64 || v->type == QN_GGUF_I64;
}

int64_t qn_gguf_int_at(const qn_gguf_value *v, uint64_t i)
{
    switch (v->type) {
    case QN_GGUF_U8:
        return v->at[i];
    case QN_GGUF_I8:
        return (int8_t)v->at[i];
    case QN_GGUF_U16:
        return (uint16_t)qn_gguf_number(v->at + 2 * i, 2);
    case QN_GGUF_I16:
        return (int16_t)qn_gguf_number(v->at + 2 * i, 2);
    case QN_GGUF_U32:
        return (uint32_t)qn_gguf_number(v->at + 4 * i, 4);
    case QN_GGUF_I32:
        return (int32_t)qn_gguf_number(v->at + 4 * i, 4);
    case QN_GGUF_I64:
        return (int64_t)qn_gguf_number(v->at + 8 * i, 8);
    case QN_GGUF_U64: {
        uint64_t value = qn_gguf_number(v->at + 8 * i, 8);
        return value > INT64_MAX ? INT64_MAX : (int64_t)value;
    }
    default:
        return 0;
    }
}

static double real_of(const qn_gguf_value *v)
{
    if (v->type == QN_GGUF_F32) {
        uint32_t bits = (uint32_t)qn_gguf_number(v->at, 4);
        float number;
        memcpy(&number, &bits, sizeof number);
        return (double)number;
    }
    uint64_t bits = qn_gguf_number(v->at, 8);
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

// Text that a message can hold: printable, and not too much of it.
static void show(const qn_gguf_value *v, char *out, size_t n)
{
    if (v->is_array)
        snprintf(out, n, "an array of %llu", (unsigned long long)v->n);
    else if (qn_gguf_is_int(v))
        snprintf(out, n, "%lld", (long long)qn_gguf_int_at(v, 0));
    else if (v->type == QN_GGUF_F32 || v->type == QN_GGUF_F64)
        snprintf(out, n, "%g", real_of(v));
    else if (v->type == QN_GGUF_STRING) {
        size_t at = (size_t)snprintf(out, n, "the string \"");
        for (size_t i = 0; i < v->n && i < 40; i++)
            out[at++] = v->at[i] >= 0x20 && v->at[i] < 0x7f ? (char)v->at[i] : '?';
        snprintf(out + at, n - at, "%s\"", v->n > 40 ? "…" : "");
    } else
        snprintf(out, n, "%s", type_names[v->type]);
}

int qn_gguf_refuse(const qn_gguf_metadata *m, int code, const char *key, const char *expected,
                   const qn_gguf_value *value, quern_error *e)
{
    char found[80] = "nothing";
    if (value) show(value, found, sizeof found);
    return qn_error_set(e, code, "%s: %s: expected %s, found %s", m->path, key, expected, found);
}

int qn_gguf_int(const qn_gguf_metadata *m, const char *key, const int64_t range[2], int64_t *out,
                quern_error *e)
{
    const qn_gguf_value *v = qn_gguf_find(m, key);
    if (!v) return 0;
    char expected[64];
    snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)range[0],
             (long long)range[1]);
    if (v->is_array || !qn_gguf_is_int(v))
        return qn_gguf_refuse(m, QUERN_E_FORMAT, key, expected, v, e);
    int64_t value = qn_gguf_int_at(v, 0);
    if (value < range[0] || value > range[1])
        return qn_gguf_refuse(m, QUERN_E_FORMAT, key, expected, v, e);
    *out = value;
    return 0;
}

int qn_gguf_real(const qn_gguf_metadata *m, const char *key, double *out, quern_error *e)
{
    const qn_gguf_value *v = qn_gguf_find(m, key);
    if (!v) return 0;
    if (v->is_array || (v->type != QN_GGUF_F32 && v->type != QN_GGUF_F64))
        return qn_gguf_refuse(m, QUERN_E_FORMAT, key, "a float", v, e);
    double value = real_of(v);
    if (!isfinite(value)) return qn_gguf_refuse(m, QUERN_E_FORMAT, key, "a finite number", v, e);
    *out = value;
    return 0;
}

int qn_gguf_bool(const qn_gguf_metadata *m, const char *key, bool *out, quern_error *e)
{
    const qn_gguf_value *v = qn_gguf_find(m, key);
    if (!v) return 0;
    if (v->is_array || v->type != QN_GGUF_BOOL)
        return qn_gguf_refuse(m, QUERN_E_FORMAT, key, "a boolean", v, e);
    *out = *v->at;
    return 0;
}

int qn_gguf_text(const qn_gguf_metadata *m, const char *key, qn_text_span *out, quern_error *e)
{
    const qn_gguf_value *v = qn_gguf_find(m, key);
    if (!v) return 0;
    if (v->is_array || v->type != QN_GGUF_STRING)
        return qn_gguf_refuse(m, QUERN_E_FORMAT, key, "a string", v, e);
    *out = (qn_text_span){(const char *)v->at, (size_t)v->n};
    return 0;
}

qn_text_span qn_gguf_next_text(const unsigned char **at)
{
    qn_text_span text = {(const char *)*at + 8, (size_t)qn_gguf_number(*at, 8)};
    *at += 8 + text.n;
    return text;
}

int qn_gguf_texts(const qn_gguf_metadata *m, const char *key, qn_text_span **out, size_t *n,
                  quern_error *e)
{
    const qn_gguf_value *v = qn_gguf_find(m, key);
    if (!v) return 0;
    if (!v->is_array || v->type != QN_GGUF_STRING)
        return qn_gguf_refuse(m, QUERN_E_FORMAT, key, "an array of strings", v, e);
    *out = calloc((size_t)v->n + 1, sizeof **out);
    if (!*out) return qn_error_set(e, QUERN_E_MEMORY, "%s: %s: no memory", m->path, key);
    const unsigned char *at = v->at;
    for (*n = 0; *n < v->n; ++*n)
        (*out)[*n] = qn_gguf_next_text(&at);
    return 0;
}
