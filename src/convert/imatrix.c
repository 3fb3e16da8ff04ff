// See imatrix.h.
#include "convert/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_write.h"

static const char sums_end[] = ".in_sum2", counts_end[] = ".counts";
static const double least_cost = 1e-6; // of the mean

static int no_memory(const char *path, quern_error *e)
{
    return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for an importance matrix", path);
}

void qn_imatrix_free(qn_imatrix *m)
{
    for (int i = 0; i < m->n_entries; i++) {
        free(m->entries[i].sums);
        free(m->entries[i].costs);
    }
    free(m->entries);
    free(m->dataset);
    *m = (qn_imatrix){0};
}

/* ---- reading ---- */

static int check_type(const qn_gguf *g, quern_error *e)
{
    qn_text_span type = {NULL, 0};
    int rc = qn_gguf_text(&g->metadata, "general.type", &type, e);
    if (rc || qn_vocabulary_is(type, "imatrix")) return rc;
    return qn_gguf_refuse(&g->metadata, QUERN_E_FORMAT, "general.type", "\"imatrix\"",
                          qn_gguf_find(&g->metadata, "general.type"), e);
}

static const qn_stored_tensor *counts_of(const qn_gguf *g, const qn_stored_tensor *sums)
{
    char name[160];
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(sums->name) - (sizeof sums_end - 1)),
             sums->name, counts_end);
    return qn_tensor_set_find(&g->set, name);
}

static bool is_sums(const qn_stored_tensor *t)
{
    size_t n = strlen(t->name), k = sizeof sums_end - 1;
    return n > k && n - k < sizeof((qn_imatrix_entry *)NULL)->name &&
           !strcmp(t->name + n - k, sums_end);
}

static int64_t n_elements(const qn_stored_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

static int make_costs(qn_imatrix_entry *entry, const char *path, quern_error *e)
{
    double mean = 0;
    for (int64_t i = 0; i < entry->n_columns; i++) {
        if (!(entry->sums[i] >= 0 && isfinite(entry->sums[i])))
            return qn_error_set(e, QUERN_E_FORMAT,
                                "%s: %s: column %lld: expected a sum of squares, found %g", path,
                                entry->name, (long long)i, entry->sums[i]);
        mean += entry->sums[i] / entry->count / (double)entry->n_columns;
    }
    if (!((float)(mean * least_cost) > 0)) return 0;
    entry->costs = calloc((size_t)entry->n_columns, sizeof *entry->costs);
    if (!entry->costs) return no_memory(path, e);
    for (int64_t i = 0; i < entry->n_columns; i++)
        entry->costs[i] = (float)fmax(entry->sums[i] / entry->count, mean * least_cost);
    return 0;
}

static int read_entry(const qn_gguf *g, const qn_stored_tensor *t, qn_imatrix *out, quern_error *e)
{
    const qn_stored_tensor *counts = counts_of(g, t);
    const char *path = g->metadata.path;
    int64_t n = n_elements(t);
    float count = 0;
    if (t->dtype != QN_DTYPE_F32 || !counts || counts->dtype != QN_DTYPE_F32 ||
        n_elements(counts) != 1)
        return qn_error_set(e, QUERN_E_FORMAT,
                            "%s: %s: expected F32 sums and one F32 count beside them, found %s",
                            path, t->name, counts ? "another type or shape" : "no count");
    qn_imatrix_entry *entry = &out->entries[out->n_entries++];
    memcpy(entry->name, t->name, strlen(t->name) - (sizeof sums_end - 1));
    memcpy(&count, counts->data, sizeof count);
    entry->n_columns = n;
    entry->count = (double)count;
    if (!(count > 0 && isfinite(count)))
        return qn_error_set(e, QUERN_E_FORMAT, "%s: %s: expected a number above 0, found %g", path,
                            counts->name, (double)count);
    entry->sums = calloc((size_t)n, sizeof *entry->sums);
    if (!entry->sums) return no_memory(path, e);
    for (int64_t i = 0; i < n; i++) {
        float sum;
        memcpy(&sum, t->data + 4 * i, sizeof sum);
        entry->sums[i] = (double)sum;
    }
    return make_costs(entry, path, e);
}

static int read_facts(const qn_gguf *g, qn_imatrix *out, quern_error *e)
{
    static const int64_t range[2] = {0, UINT32_MAX};
    int64_t n_chunks = 0, chunk_size = 0;
    const qn_gguf_value *names = qn_gguf_find(&g->metadata, "imatrix.datasets");
    int rc = qn_gguf_int(&g->metadata, "imatrix.chunk_count", range, &n_chunks, e);
    if (!rc) rc = qn_gguf_int(&g->metadata, "imatrix.chunk_size", range, &chunk_size, e);
    out->n_chunks = (uint32_t)n_chunks;
    out->chunk_size = (uint32_t)chunk_size;
    if (rc || !names || !names->is_array || names->type != QN_GGUF_STRING || !names->n) return rc;
    const unsigned char *at = names->at;
    qn_text_span first = qn_gguf_next_text(&at);
    out->dataset = strndup(first.data, first.n);
    return out->dataset ? 0 : no_memory(g->metadata.path, e);
}

int qn_imatrix_read(const char *path, qn_imatrix *out, quern_error *e)
{
    qn_gguf g;
    *out = (qn_imatrix){0};
    int rc = qn_gguf_open(path, &g, e);
    if (rc) return rc;
    rc = check_type(&g, e);
    if (!rc) rc = read_facts(&g, out, e);
    if (!rc) rc = qn_tensor_set_map(&g.set, false, e);
    if (!rc && !(out->entries = calloc((size_t)g.set.n_tensors + 1, sizeof *out->entries)))
        rc = no_memory(path, e);
    for (int i = 0; i < g.set.n_tensors && !rc; i++)
        if (is_sums(&g.set.tensors[i])) rc = read_entry(&g, &g.set.tensors[i], out, e);
    qn_gguf_close(&g);
    if (!rc && !out->n_entries)
        rc = qn_error_set(e, QUERN_E_FORMAT, "%s: expected tensors named …%s, found none", path,
                          sums_end);
    if (rc) qn_imatrix_free(out);
    return rc;
}

const qn_imatrix_entry *qn_imatrix_find(const qn_imatrix *m, const char *gguf_name)
{
    for (int i = 0; i < m->n_entries; i++)
        if (!strcmp(m->entries[i].name, gguf_name)) return &m->entries[i];
    return NULL;
}

/* ---- collecting ---- */

typedef struct {
    qn_imatrix *out;
    int capacity; // 0: only counted
} preparation;

static int prepare_one(void *context, const qn_weight_fact *fact, const qn_tensor *view)
{
    preparation *p = context;
    if (fact->rank != 2) return 0;
    int i = p->out->n_entries++;
    if (!p->capacity) return 0;
    qn_imatrix_entry *entry = &p->out->entries[i];
    snprintf(entry->name, sizeof entry->name, "%s", fact->gguf_name);
    entry->data = view->data;
    entry->n_columns = fact->dim[1];
    entry->sums = calloc((size_t)fact->dim[1], sizeof *entry->sums);
    return entry->sums ? 0 : QUERN_E_MEMORY;
}

static int by_data(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const qn_imatrix_entry *)a)->data;
    uintptr_t y = (uintptr_t)((const qn_imatrix_entry *)b)->data;
    return (x > y) - (x < y);
}

int qn_imatrix_prepare(const qn_model *model, qn_imatrix *out, quern_error *e)
{
    preparation p = {out, 0};
    *out = (qn_imatrix){0};
    qn_model_each_weight(model, prepare_one, &p);
    p.capacity = out->n_entries;
    out->n_entries = 0;
    out->entries = calloc((size_t)p.capacity + 1, sizeof *out->entries);
    if (!out->entries || qn_model_each_weight(model, prepare_one, &p)) {
        qn_imatrix_free(out);
        return no_memory("the model", e);
    }
    qsort(out->entries, (size_t)out->n_entries, sizeof *out->entries, by_data);
    return 0;
}

void qn_imatrix_add(void *imatrix, const void *data, const float *x, int64_t n_rows,
                    int64_t n_columns)
{
    qn_imatrix *m = imatrix;
    const qn_imatrix_entry key = {.data = data};
    if (!m->n_entries) return; // not prepared yet
    qn_imatrix_entry *entry =
        bsearch(&key, m->entries, (size_t)m->n_entries, sizeof *m->entries, by_data);
    if (!entry || entry->n_columns != n_columns) return;
    for (int64_t row = 0; row < n_rows; row++, x += n_columns)
        for (int64_t i = 0; i < n_columns; i++)
            entry->sums[i] += (double)x[i] * (double)x[i];
    entry->count += (double)n_rows;
}

/* ---- writing ---- */

static void describe(const qn_imatrix *m, qn_gguf_writer *w)
{
    const qn_text_span type = {"imatrix", 7};
    const qn_text_span dataset = {m->dataset, m->dataset ? strlen(m->dataset) : 0};
    char name[160];
    const int64_t one = 1;
    qn_gguf_put_text(w, "general.type", type);
    qn_gguf_put_texts(w, "imatrix.datasets", &dataset, m->dataset ? 1 : 0);
    qn_gguf_put_u32(w, "imatrix.chunk_count", m->n_chunks);
    qn_gguf_put_u32(w, "imatrix.chunk_size", m->chunk_size);
    for (int i = 0; i < m->n_entries; i++) {
        const qn_imatrix_entry *entry = &m->entries[i];
        if (!(entry->count > 0)) continue;
        snprintf(name, sizeof name, "%s%s", entry->name, sums_end);
        qn_gguf_put_tensor(w, name, QN_DTYPE_F32, &entry->n_columns, 1);
        snprintf(name, sizeof name, "%s%s", entry->name, counts_end);
        qn_gguf_put_tensor(w, name, QN_DTYPE_F32, &one, 1);
    }
}

// Appends n float32 at the alignment that the writer has noted them at.
static void put_floats(qn_buffer *b, size_t data, const double *from, int64_t n, uint64_t alignment)
{
    static const char zeros[32];
    size_t over = (b->length - data) % alignment;
    if (over) qn_buffer_append(b, zeros, alignment - over);
    for (int64_t i = 0; i < n; i++) {
        float value = (float)from[i];
        qn_buffer_append(b, &value, sizeof value);
    }
}

int qn_imatrix_write(const qn_imatrix *m, const qn_new_file *file, quern_error *e)
{
    qn_gguf_writer w = {.alignment = 32};
    qn_buffer bytes = QN_BUFFER_INIT;
    describe(m, &w);
    int rc = qn_gguf_header(&w, file->path, &bytes, e);
    size_t data = bytes.length;
    for (int i = 0; i < m->n_entries && !rc; i++) {
        const qn_imatrix_entry *entry = &m->entries[i];
        if (!(entry->count > 0)) continue;
        put_floats(&bytes, data, entry->sums, entry->n_columns, w.alignment);
        put_floats(&bytes, data, &entry->count, 1, w.alignment);
    }
    if (!rc) put_floats(&bytes, data, NULL, 0, w.alignment);
    if (!rc && bytes.failed) rc = no_memory(file->path, e);
    if (!rc) rc = qn_new_file_write(file, bytes.data, bytes.length, 0, e);
    qn_buffer_free(&bytes);
    qn_gguf_writer_free(&w);
    return rc;
}
