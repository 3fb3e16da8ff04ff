// Opening a model, from a directory or a shape, and what an engine asks of it. See model.h.
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#include "backend/ops/sample.h"
#include "backend/ops/step_begin.h"
#include "model/family.h"

static qn_model *model_new(const qn_description *d, const qn_model_options *options)
{
    qn_model *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->family = d->family;
    m->config = d->config;
    m->n_ranks = 1;
    if (options) m->options = *options;
    qn_config_facts(d, &m->facts);
    m->layers = calloc((size_t)d->config.n_layers, d->family->layer_bytes);
    if (m->layers) return m;
    free(m);
    return NULL;
}

static int set_up_rope(qn_model *m, quern_error *e)
{
    float inv_freq[QN_HF_MAX_HEAD_DIM / 2];
    int n = m->config.head_dim / 2, rc;
    m->inv_freq = qn_tensor_1d(NULL, QN_DTYPE_F32, n);
    rc = qn_rope_frequencies(&m->config, "rope", inv_freq, &m->rope_scale, e);
    if (rc) return rc;
    return qn_memory_upload(m, inv_freq, (size_t)n * sizeof *inv_freq, &m->inv_freq.data, e);
}

// A tied head reads the embedding table: this rank's rows of it.
static void tie_head(qn_model *m)
{
    qn_tensor *head = &m->ends.head;
    *head = m->ends.embed;
    head->dim[0] /= m->n_ranks;
    head->data = (char *)head->data + (size_t)m->rank * qn_tensor_bytes(head);
}

// The views have their types and shapes.
static int finish_description(qn_model *m, const char *source, qn_model **out, quern_error *e)
{
    qn_dtype cache = m->options.cache_dtype;
    qn_weights_measure(m);
    if (m->options.has_cache_dtype && !qn_kv_cache_supports(cache, m->config.head_dim)) {
        int head_dim = m->config.head_dim;
        qn_model_free(m);
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "%s: kv_cache: %s: expected f32, f16 or bf16, or q8_0 and heads of a "
                            "multiple of 32 numbers, found heads of %d",
                            source, qn_format_of(cache)->name, head_dim);
    }
    *out = m;
    return 0;
}

int qn_model_describe(const char *path, const qn_model_options *options, qn_model **out,
                      quern_error *e)
{
    qn_description d;
    int rc = qn_config_read(path, &d, e);
    if (rc) return rc;
    qn_model *m = model_new(&d, options);
    if (!m) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for a model", path);
    rc = qn_loader_check(m, path, e);
    if (!rc) return finish_description(m, path, out, e);
    qn_model_free(m);
    return rc;
}

int qn_model_describe_shape(const char *shape, qn_dtype dtype, const qn_model_options *options,
                            qn_model **out, quern_error *e)
{
    qn_description d;
    int rc = qn_shapes_find(shape, dtype, &d, e);
    if (rc) return rc;
    qn_model *m = model_new(&d, options);
    if (!m) return qn_error_set(e, QUERN_E_MEMORY, "%s: no memory for a model", shape);
    qn_weights_describe(m, dtype);
    return finish_description(m, shape, out, e);
}

int qn_model_place(qn_model *m, quern_error *e)
{
    int rc = m->files ? qn_loader_place_all(m, e) : qn_random_fill(m, e);
    if (rc) return rc;
    if (m->config.tied) tie_head(m);
    return set_up_rope(m, e);
}

static int place_or_free(int rc, qn_model **out, quern_error *e)
{
    if (!rc && (rc = qn_model_place(*out, e))) {
        qn_model_free(*out);
        *out = NULL;
    }
    return rc;
}

int qn_model_open(const char *path, const qn_model_options *options, qn_model **out, quern_error *e)
{
    return place_or_free(qn_model_describe(path, options, out, e), out, e);
}

int qn_model_open_shape(const char *shape, qn_dtype dtype, const qn_model_options *options,
                        qn_model **out, quern_error *e)
{
    return place_or_free(qn_model_describe_shape(shape, dtype, options, out, e), out, e);
}

void qn_model_free(qn_model *m)
{
    if (!m) return;
    qn_memory_free(m);
    for (int i = 0; m->files && i < m->files->n_files; i++)
        qn_memory_take_back(m, &m->files->files[i].mapping);
    qn_memory_take_back(m, &m->random);
    qn_gguf_close(&m->gguf);
    qn_tensor_set_close(&m->folder);
    qn_hf_quantization_close(&m->quantization);
    qn_file_unmap(&m->random);
    free(m->layers);
    free(m);
}

const qn_model_facts *qn_model_get_facts(const qn_model *m)
{
    return &m->facts;
}

int qn_model_check(const char *path, qn_model_facts *out, quern_error *e)
{
    qn_model *m;
    int rc = qn_model_describe(path, NULL, &m, e);
    if (rc) return rc;
    *out = m->facts;
    qn_model_free(m);
    return 0;
}

int qn_model_read_facts(const char *path, qn_model_facts *out, quern_error *e)
{
    char *file;
    qn_description d;
    int rc = qn_gguf_locate(path, &file, e);
    if (rc) return rc;
    bool gguf = file != NULL;
    free(file);
    if (gguf) return qn_model_check(path, out, e); // the types of weights stand in their file only
    rc = qn_config_read(path, &d, e);
    if (rc) return rc;
    qn_config_facts(&d, out);
    // What is packed, and how large it will be, the files say; a configuration may be there without them.
    if (d.packed) rc = qn_model_check(path, out, e);
    return rc == QUERN_E_NOT_FOUND ? 0 : rc;
}

int qn_model_shape_facts(const char *shape, qn_dtype dtype, qn_model_facts *out, quern_error *e)
{
    qn_description d;
    int rc = qn_shapes_find(shape, dtype, &d, e);
    if (rc) return rc;
    uint64_t active;
    qn_config_facts(&d, out);
    qn_weights_bytes(&d.config, d.family, dtype, &out->weight_bytes, &active);
    return 0;
}

qn_dtype qn_model_cache_dtype(const qn_model *m)
{
    if (m->options.has_cache_dtype) return m->options.cache_dtype;
    return qn_dtype_is_plain(m->facts.dtype) ? m->facts.dtype : QN_DTYPE_F16;
}

int qn_model_state_parts_as(const qn_model *m, qn_dtype cache, qn_state_part *out)
{
    return m->family->state_parts(m, cache, out);
}

uint64_t qn_model_weight_bytes_as(const qn_model *m, qn_dtype dtype)
{
    uint64_t all, active;
    if (qn_weights_check_blocks(&m->config, m->family, dtype, "", NULL)) return 0;
    qn_weights_bytes(&m->config, m->family, dtype, &all, &active);
    return all;
}

int qn_model_state_parts(const qn_model *m, qn_state_part *out)
{
    return m->family->state_parts(m, qn_model_cache_dtype(m), out);
}

size_t qn_model_scratch_bytes(const qn_model *m, const qn_step_limits *limits)
{
    qn_activations at;
    return m->family->carve(m, limits, NULL, &at);
}

qn_tensor qn_model_logits(const qn_model *m, const qn_step_limits *limits, void *scratch)
{
    qn_activations at;
    m->family->carve(m, limits, scratch, &at);
    return at.logits;
}

void qn_model_record(const qn_model *m, qn_plan *plan, const qn_state_span *spans, void *scratch)
{
    qn_pass pass = {.plan = plan, .spans = spans};
    qn_state_part parts[QN_MAX_PARTS];
    int n_parts = qn_model_state_parts(m, parts);
    m->family->carve(m, &plan->batch.limits, scratch, &pass.at);
    qn_step_begin(plan);
    qn_copy_blocks(plan, spans, n_parts);
    m->family->record(m, &pass);
    qn_sample(plan, pass.at.logits, pass.at.sampling);
}
