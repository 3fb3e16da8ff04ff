// The weight table that a configuration implies: names, shapes, counts and places of its tensors. Knows no file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"

static bool per_layer(const qn_weight_spec *spec)
{
    return strstr(spec->name, "%d") != NULL;
}

bool qn_weights_wanted(const qn_model_config *c, const qn_weight_spec *spec)
{
    switch (spec->when) {
    case QN_WHEN_UNTIED:
        return !c->tied;
    case QN_WHEN_BIAS:
        return c->attention_bias;
    default:
        return true;
    }
}

static int64_t size_of(const qn_model_config *c, qn_dim dim)
{
    switch (dim) {
    case QN_DIM_HIDDEN:
        return c->hidden_size;
    case QN_DIM_VOCAB:
        return c->n_vocab;
    case QN_DIM_QUERY:
        return (int64_t)c->n_heads * c->head_dim;
    case QN_DIM_KEY:
        return (int64_t)c->n_kv_heads * c->head_dim;
    case QN_DIM_HEAD:
        return c->head_dim;
    case QN_DIM_INNER:
        return c->intermediate_size;
    default:
        return 1;
    }
}

int qn_weights_shape(const qn_model_config *c, const qn_weight_spec *spec, int64_t dim[2])
{
    dim[0] = size_of(c, spec->dim[0]);
    dim[1] = size_of(c, spec->dim[1]);
    return spec->dim[1] == QN_DIM_NONE ? 1 : 2;
}

void qn_weights_name(const qn_weight_spec *spec, int layer, char out[96])
{
    const char *place = strstr(spec->name, "%d");
    if (!place)
        snprintf(out, 96, "%s", spec->name);
    else
        snprintf(out, 96, "%.*s%d%s", (int)(place - spec->name), spec->name, layer, place + 2);
}

int qn_weights_each(const qn_model_config *c, const qn_family *f, qn_weights_visit visit,
                    void *context)
{
    int rc = 0;
    for (int i = 0; i < f->n_weights && !rc; i++)
        if (!per_layer(&f->weights[i]) && qn_weights_wanted(c, &f->weights[i]))
            rc = visit(context, &f->weights[i], 0);
    for (int layer = 0; layer < c->n_layers && !rc; layer++)
        for (int i = 0; i < f->n_weights && !rc; i++)
            if (per_layer(&f->weights[i]) && qn_weights_wanted(c, &f->weights[i]))
                rc = visit(context, &f->weights[i], layer);
    return rc;
}

qn_dtype qn_weights_dtype(qn_dtype dtype, int rank)
{
    return rank == 1 && !qn_dtype_is_plain(dtype) ? QN_DTYPE_F32 : dtype;
}

typedef struct {
    const qn_model_config *config;
    qn_dtype dtype;
    const qn_model *model; // of describe_one only
    uint64_t n_all, n_bytes;
    const char *source;
    quern_error *e;
} count_context;

static int count_one(void *context, const qn_weight_spec *spec, int layer)
{
    count_context *x = context;
    int64_t dim[2];
    (void)layer;
    int rank = qn_weights_shape(x->config, spec, dim);
    uint64_t n = (uint64_t)dim[0] * (uint64_t)dim[1];
    x->n_all += n;
    x->n_bytes += qn_format_bytes(qn_format_of(qn_weights_dtype(x->dtype, rank)), n);
    return 0;
}

// Of an untied embedding table a row is read; a tied one is the head too, and read whole.
void qn_weights_count(const qn_model_config *c, const qn_family *f, uint64_t *n_parameters,
                      uint64_t *n_active)
{
    count_context x = {.config = c};
    qn_weights_each(c, f, count_one, &x);
    uint64_t unread = c->tied ? 0 : (uint64_t)(c->n_vocab - 1) * (uint64_t)c->hidden_size;
    *n_parameters = x.n_all;
    *n_active = x.n_all - unread;
}

void qn_weights_bytes(const qn_model_config *c, const qn_family *f, qn_dtype dtype, uint64_t *all,
                      uint64_t *active)
{
    count_context x = {.config = c, .dtype = dtype};
    qn_weights_each(c, f, count_one, &x);
    uint64_t row = qn_format_bytes(qn_format_of(dtype), (uint64_t)c->hidden_size);
    *all = x.n_bytes;
    *active = x.n_bytes - (c->tied ? 0 : (uint64_t)(c->n_vocab - 1) * row);
}

static int check_one(void *context, const qn_weight_spec *spec, int layer)
{
    const count_context *x = context;
    const qn_format *f = qn_format_of(x->dtype);
    int64_t dim[2];
    char name[96];
    if (qn_weights_shape(x->config, spec, dim) == 1 || dim[1] % f->block_elements == 0) return 0;
    qn_weights_name(spec, layer, name);
    return qn_error_set(x->e, QUERN_E_UNSUPPORTED,
                        "%s: %s: expected rows of whole blocks of %d numbers (%s), found %lld",
                        x->source, name, f->block_elements, f->name, (long long)dim[1]);
}

int qn_weights_check_blocks(const qn_model_config *c, const qn_family *f, qn_dtype dtype,
                            const char *source, quern_error *e)
{
    return qn_weights_each(c, f, check_one,
                           &(count_context){.config = c, .dtype = dtype, .source = source, .e = e});
}

qn_tensor *qn_weights_slot(const qn_model *m, const qn_weight_spec *spec, int layer)
{
    char *base = per_layer(spec) ? m->layers + (size_t)layer * m->family->layer_bytes
                                 : (char *)(uintptr_t)&m->ends;
    return (qn_tensor *)(void *)(base + spec->offset);
}

static int describe_one(void *context, const qn_weight_spec *spec, int layer)
{
    const count_context *x = context;
    qn_tensor *t = qn_weights_slot(x->model, spec, layer);
    t->rank = qn_weights_shape(x->config, spec, t->dim);
    t->dtype = qn_weights_dtype(x->dtype, t->rank);
    return 0;
}

void qn_weights_describe(qn_model *m, qn_dtype dtype)
{
    qn_weights_each(&m->config, m->family, describe_one,
                    &(count_context){.config = &m->config, .dtype = dtype, .model = m});
}

typedef struct {
    const qn_model *model;
    uint64_t bytes[QN_DTYPE_COUNT];
} measure_context;

static int measure_one(void *context, const qn_weight_spec *spec, int layer)
{
    measure_context *x = context;
    const qn_tensor *t = qn_weights_slot(x->model, spec, layer);
    x->bytes[t->dtype] += qn_tensor_bytes(t);
    return 0;
}

void qn_weights_measure(qn_model *m)
{
    measure_context x = {m, {0}};
    qn_weights_each(&m->config, m->family, measure_one, &x);
    m->facts.weight_bytes = 0;
    for (int i = 0; i < QN_DTYPE_COUNT; i++) {
        m->facts.weight_bytes += x.bytes[i];
        m->facts.type_bytes[i] = x.bytes[i];
        if (x.bytes[i] > x.bytes[m->facts.dtype]) m->facts.dtype = (qn_dtype)i;
    }
    uint64_t table = qn_tensor_bytes(&m->ends.embed);
    uint64_t unread = m->config.tied ? 0 : table - table / (uint64_t)m->ends.embed.dim[0];
    m->facts.active_bytes = m->facts.weight_bytes - unread;
}

typedef struct {
    const qn_model_config *config;
    qn_weight_fact *facts; // NULL: only counted
    int n;
} list_context;

static void fill_fact(const qn_model_config *c, const qn_weight_spec *spec, int layer,
                      qn_weight_fact *out)
{
    *out = (qn_weight_fact){0};
    qn_weights_name(spec, layer, out->name);
    qn_gguf_name(spec, layer, out->gguf_name);
    out->rank = qn_weights_shape(c, spec, out->dim);
}

static int list_one(void *context, const qn_weight_spec *spec, int layer)
{
    list_context *x = context;
    if (x->facts) fill_fact(x->config, spec, layer, &x->facts[x->n]);
    x->n++;
    return 0;
}

typedef struct {
    const qn_model *model;
    qn_model_visit visit;
    void *context;
} each_context;

static int visit_one(void *context, const qn_weight_spec *spec, int layer)
{
    const each_context *x = context;
    qn_weight_fact fact;
    fill_fact(&x->model->config, spec, layer, &fact);
    return x->visit(x->context, &fact, qn_weights_slot(x->model, spec, layer));
}

int qn_model_each_weight(const qn_model *m, qn_model_visit visit, void *context)
{
    return qn_weights_each(&m->config, m->family, visit_one, &(each_context){m, visit, context});
}

int qn_model_list_weights(const char *path, const char *shape, qn_weight_fact **out, int *n,
                          quern_error *e)
{
    qn_description d;
    int rc = path ? qn_config_read(path, &d, e) : qn_shapes_find(shape, QN_DTYPE_BF16, &d, e);
    if (rc) return rc;
    list_context x = {&d.config, NULL, 0};
    qn_weights_each(&d.config, d.family, list_one, &x);
    x.facts = calloc((size_t)x.n, sizeof *x.facts);
    if (!x.facts) return qn_error_set(e, QUERN_E_MEMORY, "no memory for %d weights", x.n);
    x.n = 0;
    qn_weights_each(&d.config, d.family, list_one, &x);
    *out = x.facts;
    *n = x.n;
    return 0;
}
