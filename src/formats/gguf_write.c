// See gguf_write.h; the layout is told in gguf.c.
#include "formats/gguf_write.h"

#include <string.h>

enum { VERSION = 3 };

static void put_number(qn_buffer *b, uint64_t value, int n_bytes)
{
    unsigned char bytes[8];
    for (int i = 0; i < n_bytes; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    qn_buffer_append(b, bytes, (size_t)n_bytes);
}

static void put_span(qn_buffer *b, qn_text_span text)
{
    put_number(b, text.n, 8);
    qn_buffer_append(b, text.data, text.n);
}

static qn_buffer *begin_value(qn_gguf_writer *w, qn_text_span key, qn_gguf_type type)
{
    put_span(&w->values, key);
    put_number(&w->values, type, 4);
    w->n_values++;
    return &w->values;
}

static qn_text_span span_of(const char *text)
{
    return (qn_text_span){text, strlen(text)};
}

void qn_gguf_put_text(qn_gguf_writer *w, const char *key, qn_text_span value)
{
    put_span(begin_value(w, span_of(key), QN_GGUF_STRING), value);
}

void qn_gguf_put_u32(qn_gguf_writer *w, const char *key, uint32_t value)
{
    put_number(begin_value(w, span_of(key), QN_GGUF_U32), value, 4);
}

void qn_gguf_put_f32(qn_gguf_writer *w, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_number(begin_value(w, span_of(key), QN_GGUF_F32), bits, 4);
}

void qn_gguf_put_bool(qn_gguf_writer *w, const char *key, bool value)
{
    put_number(begin_value(w, span_of(key), QN_GGUF_BOOL), value, 1);
}

static qn_buffer *begin_array(qn_gguf_writer *w, qn_text_span key, qn_gguf_type type, uint64_t n)
{
    qn_buffer *b = begin_value(w, key, QN_GGUF_ARRAY);
    put_number(b, type, 4);
    put_number(b, n, 8);
    return b;
}

void qn_gguf_put_texts(qn_gguf_writer *w, const char *key, const qn_text_span *texts, size_t n)
{
    qn_buffer *b = begin_array(w, span_of(key), QN_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_span(b, texts[i]);
}

void qn_gguf_put_kinds(qn_gguf_writer *w, const char *key, const uint8_t *kinds, size_t n)
{
    qn_buffer *b = begin_array(w, span_of(key), QN_GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        put_number(b, kinds[i], 4);
}

void qn_gguf_put_value(qn_gguf_writer *w, const qn_gguf_value *v)
{
    qn_buffer *b =
        v->is_array ? begin_array(w, v->key, v->type, v->n) : begin_value(w, v->key, v->type);
    const unsigned char *end = v->at;
    if (v->type == QN_GGUF_STRING && !v->is_array) {
        put_span(b, (qn_text_span){(const char *)v->at, (size_t)v->n});
        return;
    }
    for (uint64_t i = 0; i < v->n && v->type == QN_GGUF_STRING; i++)
        qn_gguf_next_text(&end);
    if (v->type != QN_GGUF_STRING) end += v->n * qn_gguf_scalar_bytes(v->type);
    qn_buffer_append(b, v->at, (size_t)(end - v->at));
}

static uint64_t aligned(uint64_t n, uint64_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

uint64_t qn_gguf_put_tensor(qn_gguf_writer *w, const char *name, qn_dtype dtype, const int64_t *dim,
                            int rank)
{
    qn_buffer *b = &w->tensors;
    uint64_t n = 1, offset = aligned(w->data_bytes, w->alignment);
    put_span(b, span_of(name));
    put_number(b, (uint64_t)rank, 4);
    for (int i = rank - 1; i >= 0; i--) {
        put_number(b, (uint64_t)dim[i], 8);
        n *= (uint64_t)dim[i];
    }
    put_number(b, (uint64_t)qn_gguf_number_of(dtype), 4);
    put_number(b, offset, 8);
    w->n_tensors++;
    w->data_bytes = offset + qn_format_bytes(qn_format_of(dtype), n);
    return offset;
}

int qn_gguf_header(const qn_gguf_writer *w, const char *path, qn_buffer *out, quern_error *e)
{
    static const char zeros[64];
    qn_buffer_append(out, "GGUF", 4);
    put_number(out, VERSION, 4);
    put_number(out, w->n_tensors, 8);
    put_number(out, w->n_values, 8);
    qn_buffer_append(out, w->values.data, w->values.length);
    qn_buffer_append(out, w->tensors.data, w->tensors.length);
    for (uint64_t gap = aligned(out->length, w->alignment) - out->length;
         gap > 0 && !out->failed;) {
        size_t n = gap < sizeof zeros ? (size_t)gap : sizeof zeros;
        qn_buffer_append(out, zeros, n);
        gap -= n;
    }
    if (out->failed || w->values.failed || w->tensors.failed)
        return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its header", path);
    if (out->length <= QN_GGUF_MAX_HEADER) return 0;
    return qn_error_set(e, QUERN_E_LIMIT, "%s: expected a header of at most %d bytes, found %zu",
                        path, QN_GGUF_MAX_HEADER, out->length);
}

void qn_gguf_writer_free(qn_gguf_writer *w)
{
    qn_buffer_free(&w->values);
    qn_buffer_free(&w->tensors);
}
