// From the named tensors of a directory or a GGUF file to the views of a model: every tensor of the weight table must be there, in its shape and
// in a type that Quern computes with; what contradicts the configuration is refused, what is beside it is ignored.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "formats/safetensors.h"
#include "model/packed.h"

static const char layer_prefix[] = "model.layers.";

typedef struct {
    qn_model *model;
    const char *path; // of the model
    bool lasting;     // the files stay mapped as long as the model lives
    quern_error *e;
} loader;

// The tensor's name in the model's files.
static void name_of(const qn_model *m, const qn_weight_spec *spec, int layer, char out[96])
{
    if (m->files == &m->gguf.set)
        qn_gguf_name(spec, layer, out);
    else
        qn_weights_name(spec, layer, out);
}

const char *qn_loader_print_shape(const int64_t *dim, int rank, char *text, size_t n)
{
    size_t at = (size_t)snprintf(text, n, "[");
    for (int i = 0; i < rank && at < n; i++)
        at += (size_t)snprintf(text + at, n - at, "%s%lld", i ? ", " : "", (long long)dim[i]);
    if (at < n) snprintf(text + at, n - at, "]");
    return text;
}

static int check(const loader *l, const char *name, const qn_stored_tensor *t, const int64_t *dim,
                 int rank)
{
    char expected[64], found[192];
    qn_loader_print_shape(dim, rank, expected, sizeof expected);
    const qn_tensor_set *s = l->model->files;
    if (!t)
        return qn_error_set(l->e, QUERN_E_FORMAT, "%s: %s: expected a tensor %s, found none",
                            s->n_files == 1 ? s->files[0].path : l->path, name, expected);
    const char *path = s->files[t->file].path;
    if (t->rank != rank || memcmp(t->dim, dim, (size_t)rank * sizeof *dim))
        return qn_error_set(l->e, QUERN_E_FORMAT, "%s: %s: expected shape %s, found %s", path, name,
                            expected, qn_loader_print_shape(t->dim, t->rank, found, sizeof found));
    if (t->dtype == QN_DTYPE_COUNT)
        return qn_error_set(l->e, QUERN_E_UNSUPPORTED, "%s: %s: expected type %s, found %s", path,
                            name,
                            s == &l->model->gguf.set
                                ? "F32, F16, BF16, Q4_0 to Q8_0, Q2_K to Q6_K, IQ4_NL or IQ4_XS"
                                : "F32, F16 or BF16",
                            t->type);
    if (rank == 1 && !qn_dtype_is_plain(t->dtype))
        return qn_error_set(l->e, QUERN_E_UNSUPPORTED,
                            "%s: %s: expected a vector of F32, F16 or BF16, found %s", path, name,
                            t->type);
    return 0;
}

// Copies the rank's columns side by side into new memory of the device.
static int copy_columns(qn_model *m, const qn_tensor *whole, qn_tensor *part, quern_error *e)
{
    size_t row = qn_tensor_row_bytes(whole), piece = row / (size_t)m->n_ranks;
    if (part->dim[1] % qn_format_of(whole->dtype)->block_elements)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "columns of %s: expected whole blocks for each of %d ranks, found %lld",
                            qn_format_of(whole->dtype)->name, m->n_ranks, (long long)part->dim[1]);
    size_t n_rows = (size_t)whole->dim[0];
    char *host = malloc(n_rows * piece);
    if (!host)
        return qn_error_set(e, QUERN_E_MEMORY, "no memory for %zu bytes of weights",
                            n_rows * piece);
    for (size_t i = 0; i < n_rows; i++)
        memcpy(host + i * piece, (const char *)whole->data + i * row + (size_t)m->rank * piece,
               piece);
    int rc = qn_memory_upload(m, host, n_rows * piece, &part->data, e);
    free(host);
    return rc;
}

int qn_loader_place(qn_model *m, const qn_weight_spec *spec, const qn_tensor *whole, bool lasting,
                    qn_tensor *out, quern_error *e)
{
    bool cut = m->n_ranks > 1 && spec->cut != QN_CUT_WHOLE;
    int axis = spec->cut == QN_CUT_COLUMNS ? 1 : 0;
    *out = *whole;
    if (cut) out->dim[axis] /= m->n_ranks;
    if (cut && axis == 1) return copy_columns(m, whole, out, e);
    size_t n_bytes = qn_tensor_bytes(out);
    const char *from = (const char *)whole->data + (cut ? (size_t)m->rank * n_bytes : 0);
    size_t align = qn_format_alignment(qn_format_of(whole->dtype));
    bool copies = m->options.backend && m->options.backend->adopt_copies;
    return copies || (lasting && (uintptr_t)from % align == 0)
               ? qn_memory_adopt(m, from, n_bytes, &out->data, e)
               : qn_memory_upload(m, from, n_bytes, &out->data, e);
}

// A packed matrix's view, and what the repacking will cost.
static int check_packed(const loader *l, qn_packed *p, qn_tensor *view)
{
    qn_model_repack *r = &l->model->facts.repack;
    int rc = qn_packed_check(p, l->e);
    if (rc) return rc;
    view->dtype = p->dtype;
    r->n_matrices++;
    r->n_bytes += qn_tensor_bytes(view);
    if (qn_dtype_is_plain(p->dtype)) r->expanded_bytes += qn_tensor_bytes(view);
    return 0;
}

// The checked tensor's view: all but its data.
static int check_one(void *context, const qn_weight_spec *spec, int layer)
{
    const loader *l = context;
    qn_model *m = l->model;
    char name[96];
    qn_tensor view = {0};
    view.rank = qn_weights_shape(&m->config, spec, view.dim);
    name_of(m, spec, layer, name);
    const qn_stored_tensor *t = qn_tensor_set_find(m->files, name);
    qn_packed p;
    qn_packed_find(m, name, view.dim, &p);
    int rc = p.packing ? check_packed(l, &p, &view) : check(l, name, t, view.dim, view.rank);
    if (rc) return rc;
    if (!p.packing) view.dtype = t->dtype;
    *qn_weights_slot(m, spec, layer) = view;
    return 0;
}

// One tensor's result at a time is beside what the device holds.
static int place_packed(const loader *l, const qn_weight_spec *spec, const qn_packed *p,
                        qn_tensor *view)
{
    qn_tensor whole = *view;
    double begin = qn_clock_ms();
    int rc = qn_packed_repack(p, &whole.data, l->e);
    if (rc) return rc;
    rc = qn_loader_place(l->model, spec, &whole, false, view, l->e);
    if (rc) qn_error_prefix(l->e, "%s: %s", qn_packed_path(p), p->module);
    free(whole.data);
    l->model->facts.repack.seconds += (qn_clock_ms() - begin) / 1000;
    return rc;
}

static int place_one(void *context, const qn_weight_spec *spec, int layer)
{
    const loader *l = context;
    qn_model *m = l->model;
    char name[96];
    name_of(m, spec, layer, name);
    const qn_stored_tensor *t = qn_tensor_set_find(m->files, name);
    qn_tensor *view = qn_weights_slot(m, spec, layer), whole = *view;
    qn_packed p;
    qn_packed_find(m, name, whole.dim, &p);
    if (p.packing) {
        p.dtype = whole.dtype;
        return place_packed(l, spec, &p, view);
    }
    whole.data = (void *)(uintptr_t)t->data;
    int rc = qn_loader_place(m, spec, &whole, l->lasting, view, l->e);
    if (rc) qn_error_prefix(l->e, "%s: %s", m->files->files[t->file].path, name);
    return rc;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

// Whether a tensor of layer `number` is one of the weight table's, itself or (not exact) by a part or a bias of zeros.
static bool is_known(const qn_model *m, const char *name, const char *number, bool exact)
{
    char known[96];
    long layer = strtol(number, NULL, 10);
    if (layer < 0 || layer >= m->config.n_layers) return false;
    for (int i = 0; i < m->family->n_weights; i++) {
        if (!qn_weights_wanted(&m->config, &m->family->weights[i])) continue;
        name_of(m, &m->family->weights[i], (int)layer, known);
        if (exact ? !strcmp(known, name) : qn_packed_has(m, known, name)) return true;
    }
    return false;
}

// A tensor of the layers that the configuration knows nothing of (another layer, a bias, a scale of what is not quantised) shows
// that it lies about them. Old checkpoints keep the frequencies of RoPE; outside the layers, anything may be beside.
static int check_surplus(const loader *l)
{
    const qn_tensor_set *s = l->model->files;
    bool gguf = s == &l->model->gguf.set;
    const char *prefix = gguf ? "blk." : layer_prefix;
    for (int i = 0; i < s->n_tensors; i++) {
        const char *name = s->tensors[i].name;
        if (strncmp(name, prefix, strlen(prefix)) || ends_with(name, ".rotary_emb.inv_freq"))
            continue;
        if (!is_known(l->model, name, name + strlen(prefix), false))
            return qn_error_set(
                l->e, QUERN_E_FORMAT, "%s: %.200s: expected no such tensor by %s, found one",
                s->files[s->tensors[i].file].path, name, gguf ? "the metadata" : "config.json");
    }
    return 0;
}

static int read_quantization(qn_model *m, const char *directory, quern_error *e)
{
    qn_buffer path = QN_BUFFER_INIT;
    int rc = qn_buffer_printf(&path, "%s/config.json", directory)
                 ? qn_hf_quantization_read(path.data, &m->quantization, e)
                 : qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for its path", directory);
    qn_buffer_free(&path);
    m->facts.repack.scheme = qn_hf_scheme_name(m->quantization.scheme);
    return rc;
}

static int open_files(qn_model *m, const char *path, quern_error *e)
{
    char *file;
    int rc = qn_gguf_locate(path, &file, e);
    if (rc) return rc;
    rc = file ? qn_gguf_open(file, &m->gguf, e) : qn_safetensors_open(path, &m->folder, e);
    if (!rc) m->files = file ? &m->gguf.set : &m->folder;
    if (!rc && !file) rc = read_quantization(m, path, e);
    free(file);
    return rc;
}

int qn_loader_check(qn_model *m, const char *path, quern_error *e)
{
    loader l = {.model = m, .path = path, .e = e};
    int rc = open_files(m, path, e);
    if (!rc) rc = check_surplus(&l);
    return rc ? rc : qn_weights_each(&m->config, m->family, check_one, &l);
}

// What check_surplus let pass because it may be all zeros.
static int check_biases(const loader *l)
{
    const qn_tensor_set *s = l->model->files;
    const size_t n = sizeof layer_prefix - 1;
    int rc = 0;
    for (int i = 0; i < s->n_tensors && !rc && l->model->facts.repack.n_matrices; i++) {
        const char *name = s->tensors[i].name;
        if (!strncmp(name, layer_prefix, n) && ends_with(name, ".bias") &&
            !is_known(l->model, name, name + n, true))
            rc = qn_packed_check_bias(l->model, &s->tensors[i], l->e);
    }
    return rc;
}

int qn_loader_place_all(qn_model *m, quern_error *e)
{
    // A copy of packed files would only be copied from: they are mapped, and let go of.
    bool let_go = m->options.no_mmap && m->facts.repack.n_matrices;
    loader l = {.model = m, .lasting = !let_go, .e = e};
    int rc = qn_tensor_set_map(m->files, m->options.no_mmap && !let_go, e);
    for (int i = 0; !rc && l.lasting && i < m->files->n_files; i++)
        qn_memory_lend(m, &m->files->files[i].mapping);
    if (!rc) rc = check_biases(&l);
    if (!rc) rc = qn_weights_each(&m->config, m->family, place_one, &l);
    if (!rc && let_go) qn_tensor_set_close(m->files);
    return rc;
}
