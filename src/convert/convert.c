// See convert.h: opens the model where it lies, decides each tensor's type, writes the header and lets job.c write the rest.
#include "convert/convert.h"

#include <stdlib.h>
#include <string.h>

#include "convert/imatrix.h"
#include "convert/job.h"
#include "convert/metadata.h"

typedef struct {
    const qn_convert_options *o;
    qn_convert_result *out;
    qn_device *device;
    qn_model *model;
    const qn_model_facts *facts;
    qn_imatrix imatrix;
    qn_convert_item *items;
    int n_items, n_weights;
    qn_gguf_writer w;
    quern_error *e;
} conversion;

static int open_model(conversion *c)
{
    const qn_backend *cpu = qn_backend_by_name("cpu"); // it reads weights where they lie
    int rc = cpu->open(&(qn_device_options){.n_threads = 1}, &c->device, c->e);
    if (!rc)
        rc = qn_model_open(c->o->from, &(qn_model_options){.backend = cpu, .device = c->device},
                           &c->model, c->e);
    if (!rc) c->facts = qn_model_get_facts(c->model);
    if (!rc && c->o->imatrix) rc = qn_imatrix_read(c->o->imatrix, &c->imatrix, c->e);
    return rc;
}

/* ---- the header ---- */

static int find_columns(conversion *c, const qn_weight_fact *fact, qn_convert_item *item)
{
    if (!c->o->imatrix || !qn_format_weighs(item->dtype)) return 0;
    const qn_imatrix_entry *entry = qn_imatrix_find(&c->imatrix, fact->gguf_name);
    if (entry && entry->n_columns != item->n_columns)
        return qn_error_set(c->e, QUERN_E_FORMAT, "%s: %s: expected %lld columns, found %lld",
                            c->o->imatrix, fact->gguf_name, (long long)item->n_columns,
                            (long long)entry->n_columns);
    if (entry) item->columns = entry->costs;
    c->out->n_unweighted += !item->columns;
    return 0;
}

static int add_item(void *context, const qn_weight_fact *fact, const qn_tensor *view)
{
    conversion *c = context;
    if (!c->items) return c->n_weights++, 0;
    bool vector = fact->rank == 1, fell_back;
    qn_convert_item *item = &c->items[c->n_items++];
    memcpy(item->name, fact->gguf_name, sizeof item->name);
    item->from = *view;
    item->n_rows = vector ? 1 : fact->dim[0];
    item->n_columns = vector ? fact->dim[0] : fact->dim[1];
    item->dtype = qn_recipe_type(c->o->recipe, c->facts, c->o->imatrix != NULL, fact, &fell_back);
    item->offset = qn_gguf_put_tensor(&c->w, item->name, item->dtype, fact->dim, fact->rank);
    c->out->n_fallback += fell_back;
    c->out->requantised |= !qn_dtype_is_plain(view->dtype) && view->dtype != item->dtype;
    c->out->type_bytes[item->dtype] +=
        qn_format_bytes(qn_format_of(item->dtype), (uint64_t)(item->n_rows * item->n_columns));
    return find_columns(c, fact, item);
}

static int list_items(conversion *c)
{
    qn_model_each_weight(c->model, add_item, c);
    c->items = calloc((size_t)c->n_weights + 1, sizeof *c->items);
    if (!c->items) return qn_error_set(c->e, QUERN_E_MEMORY, "%s: no memory", c->o->from);
    return qn_model_each_weight(c->model, add_item, c);
}

static int carry_metadata(conversion *c, const char *file)
{
    qn_gguf g;
    int rc = qn_gguf_open(file, &g, c->e);
    if (rc) return rc;
    qn_metadata_carry(&g, &c->w);
    qn_gguf_close(&g);
    return 0;
}

// As llama.cpp's llama-quantize leaves it.
static void tell_imatrix(conversion *c)
{
    const qn_imatrix *m = &c->imatrix;
    qn_gguf_put_text(&c->w, "quantize.imatrix.file",
                     (qn_text_span){c->o->imatrix, strlen(c->o->imatrix)});
    if (m->dataset)
        qn_gguf_put_text(&c->w, "quantize.imatrix.dataset",
                         (qn_text_span){m->dataset, strlen(m->dataset)});
    qn_gguf_put_u32(&c->w, "quantize.imatrix.entries_count", (uint32_t)m->n_entries);
    qn_gguf_put_u32(&c->w, "quantize.imatrix.chunks_count", m->n_chunks);
}

static int make_metadata(conversion *c)
{
    char *file;
    int rc = qn_gguf_locate(c->o->from, &file, c->e);
    if (!rc)
        rc = file ? carry_metadata(c, file)
                  : qn_metadata_make(c->o->from, c->o->name, c->facts, &c->w, c->e);
    free(file);
    if (rc) return rc;
    qn_gguf_put_u32(&c->w, "general.file_type", c->o->recipe->file_type);
    if (!qn_dtype_is_plain(c->o->recipe->dtype))
        qn_gguf_put_u32(&c->w, "general.quantization_version", 2);
    if (c->o->imatrix) tell_imatrix(c);
    return 0;
}

/* ---- the file ---- */

static int write_file(conversion *c, const qn_new_file *file)
{
    qn_buffer header = QN_BUFFER_INIT;
    int rc = qn_gguf_header(&c->w, c->o->to, &header, c->e);
    if (!rc) rc = qn_new_file_write(file, header.data, header.length, 0, c->e);
    for (int i = 0; i < c->n_items; i++)
        c->items[i].offset += header.length;
    uint64_t alignment = c->w.alignment;
    c->out->file_bytes = header.length + (c->w.data_bytes + alignment - 1) / alignment * alignment;
    qn_buffer_free(&header);
    if (!rc) rc = qn_new_file_write(file, "", 1, c->out->file_bytes - 1, c->e); // the end's padding
    qn_convert_job job = {c->items, c->n_items, file, c->o};
    return rc ? rc : qn_convert_run(&job, c->e);
}

static int convert(conversion *c)
{
    qn_new_file file;
    int rc = qn_new_file_open(c->o->to, c->o->replace, &file, c->e);
    if (rc) return rc;
    rc = open_model(c);
    if (!rc) rc = make_metadata(c);
    if (!rc) rc = list_items(c);
    if (!rc) rc = write_file(c, &file);
    if (!rc) rc = qn_new_file_commit(&file, c->e);
    if (rc) qn_new_file_abandon(&file);
    return rc;
}

int qn_convert(const qn_convert_options *o, qn_convert_result *out, quern_error *e)
{
    conversion c = {.o = o, .out = out, .w = {.alignment = 32}, .e = e};
    *out = (qn_convert_result){0};
    int rc = convert(&c);
    if (!rc) out->n_parameters = c.facts->n_parameters;
    free(c.items);
    qn_gguf_writer_free(&c.w);
    qn_imatrix_free(&c.imatrix);
    qn_model_free(c.model);
    if (c.device) qn_backend_by_name("cpu")->close(c.device);
    return rc;
}
