// quern inspect: what a model is, from its configuration alone, or a built-in shape. Where weight files are present they are
// opened too, so that a damaged directory is refused here as it would be by serve.
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/report.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/text_load.h"
#include "model/model.h"

typedef struct {
    qn_model_facts facts;
    qn_weight_fact *weights;
    int n_weights;
    bool has_files, has_tokenizer, has_template;
    int n_ids;
} inspection;

static bool has_weight_files(const char *directory)
{
    bool found = false;
    DIR *d = opendir(directory);
    for (struct dirent *entry; d && !found && (entry = readdir(d));) {
        size_t n = strlen(entry->d_name);
        found = (n > 12 && entry->d_name[0] != '.' &&
                 !strcmp(entry->d_name + n - 12, ".safetensors")) ||
                !strcmp(entry->d_name, "model.safetensors.index.json");
    }
    if (d) closedir(d);
    return found;
}

static int check_text(const char *path, inspection *out, quern_error *e)
{
    qn_tokenizer *t = NULL;
    qn_chat_template *c = NULL;
    quern_error why = {0};
    int rc = qn_engine_load_tokenizer(path, &t, &why);
    out->has_tokenizer = !rc;
    if (!rc) out->n_ids = qn_tokenizer_n_ids(t);
    if (!rc) rc = qn_engine_check_tokenizer(t, path, out->facts.n_vocab, &why);
    qn_tokenizer_free(t);
    if (!rc || rc == QUERN_E_NOT_FOUND) rc = qn_engine_load_template(path, &c, &why);
    out->has_template = !rc;
    qn_chat_template_free(c);
    if (rc && rc != QUERN_E_NOT_FOUND) {
        *e = why;
        return rc;
    }
    return 0;
}

static int look(const char *name, const char *shape, const char *dtype, inspection *out,
                quern_error *e)
{
    char *path = NULL;
    int rc = 0;
    if (shape) {
        qn_dtype type = qn_dtype_by_name(dtype);
        if (type == QN_DTYPE_COUNT)
            return qn_error_set(
                e, QUERN_E_ARGUMENT,
                "--dtype: expected a type like bf16, f16, q8_0 or q4_k, found \"%s\"", dtype);
        rc = qn_model_shape_facts(shape, type, &out->facts, e);
    } else {
        rc = qn_app_find_model(name, &path, e);
        if (!rc) rc = qn_model_read_facts(path, &out->facts, e);
        if (!rc) rc = check_text(path, out, e);
        out->has_files = !rc && (out->facts.weight_bytes || has_weight_files(path));
        if (out->has_files && !out->facts.weight_bytes) rc = qn_model_check(path, &out->facts, e);
    }
    if (!rc) rc = qn_model_list_weights(path, shape, &out->weights, &out->n_weights, e);
    free(path);
    return rc;
}

static void shape_text(const qn_weight_fact *w, char *text, size_t n)
{
    size_t at = 0;
    for (int i = 0; i < w->rank && at < n; i++)
        at += (size_t)snprintf(text + at, n - at, "%s%lld", i ? " × " : "", (long long)w->dim[i]);
}

// The types of the weights, where there is more than one: "f32 0.1, q4_k 2.3".
static void types_text(const qn_model_facts *f, char *text, size_t n)
{
    size_t at = 0;
    *text = 0;
    for (int i = 0; i < QN_DTYPE_COUNT && at < n; i++)
        if (f->type_bytes[i] && f->type_bytes[i] < f->weight_bytes)
            at += (size_t)snprintf(text + at, n - at, "%s%s %.1f", at ? ", " : ": ",
                                   qn_format_of((qn_dtype)i)->name,
                                   (double)f->type_bytes[i] / (1 << 20));
}

static void print_json(const char *name, const inspection *in)
{
    const qn_model_facts *f = &in->facts;
    json_t *j =
        json_pack("{s:o,s:s,s:I,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:b,s:b,s:b}", "name",
                  qn_report_text(name, strlen(name)), "architecture", f->architecture, "parameters",
                  (json_int_t)f->n_parameters, "dtype", qn_format_of(f->dtype)->name, "layers",
                  f->n_layers, "hidden_size", f->hidden_size, "heads", f->n_heads, "kv_heads",
                  f->n_kv_heads, "head_dim", f->head_dim, "intermediate_size", f->intermediate_size,
                  "vocabulary", f->n_vocab, "context", f->n_context, "tied_embeddings", f->tied,
                  "tokenizer", in->has_tokenizer, "chat_template", in->has_template);
    if (in->has_files)
        json_object_set_new(j, "weight_bytes", json_integer((json_int_t)f->weight_bytes));
    json_t *types = json_object();
    for (int i = 0; i < QN_DTYPE_COUNT; i++)
        if (f->type_bytes[i])
            json_object_set_new(types, qn_format_of((qn_dtype)i)->name,
                                json_integer((json_int_t)f->type_bytes[i]));
    if (in->has_files) json_object_set(j, "dtypes", types);
    json_decref(types);
    if (f->repack.scheme) json_object_set_new(j, "packing", json_string(f->repack.scheme));
    if (in->has_tokenizer) json_object_set_new(j, "tokenizer_ids", json_integer(in->n_ids));
    json_t *eos = json_array(), *tensors = json_array();
    for (int i = 0; i < f->generation.n_eos; i++)
        json_array_append_new(eos, json_integer(f->generation.eos_ids[i]));
    for (int i = 0; i < in->n_weights; i++) {
        json_t *dims = json_array();
        for (int d = 0; d < in->weights[i].rank; d++)
            json_array_append_new(dims, json_integer(in->weights[i].dim[d]));
        json_array_append_new(tensors,
                              json_pack("{s:s,s:o}", "name", in->weights[i].name, "shape", dims));
    }
    json_object_set_new(j, "eos", eos);
    json_object_set_new(j, "tensors", tensors);
    json_dumpf(j, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(j);
}

static void print_text(const char *name, const inspection *in, bool all)
{
    const qn_model_facts *f = &in->facts;
    printf("%-18s %s\n%-18s %s\n", "name", name, "architecture", f->architecture);
    printf("%-18s %llu\n", "parameters", (unsigned long long)f->n_parameters);
    printf("%-18s %s", "dtype", qn_format_of(f->dtype)->name);
    char types[160];
    types_text(f, types, sizeof types);
    if (in->has_files)
        printf(", %.1f MiB of weights%s", (double)f->weight_bytes / (1 << 20), types);
    if (f->repack.n_matrices)
        printf("\n%-18s %d %s matrices, to be repacked at load", "packing", f->repack.n_matrices,
               f->repack.scheme);
    printf("\n%-18s %d, hidden %d, intermediate %d\n", "layers", f->n_layers, f->hidden_size,
           f->intermediate_size);
    printf("%-18s %d query, %d key-value, of %d\n", "heads", f->n_heads, f->n_kv_heads,
           f->head_dim);
    printf("%-18s %d%s\n%-18s %d tokens\n", "vocabulary", f->n_vocab,
           f->tied ? ", embeddings tied" : "", "context", f->n_context);
    if (in->has_tokenizer)
        printf("%-18s %d ids%s\n", "tokenizer", in->n_ids,
               in->has_template ? ", chat template" : "");
    printf("%-18s %d\n", "tensors", in->n_weights);
    for (int i = 0; i < in->n_weights && all; i++) {
        char dims[80];
        shape_text(&in->weights[i], dims, sizeof dims);
        printf("  %-50s %s\n", in->weights[i].name, dims);
    }
}

static void print_shapes(void)
{
    for (int i = 0; qn_model_shape_name(i); i++)
        printf("%s\n", qn_model_shape_name(i));
}

int qn_app_inspect(int argc, char **argv)
{
    bool json = false, tensors = false, shapes = false;
    const char *shape = NULL, *dtype = "bf16";
    qn_text_list words = {0};
    qn_option rows[] = {
        {"--shape", QN_OPTION_TEXT, &shape, "NAME",
         "a built-in shape such as qwen2.5-7b, without weights", 0, 0},
        {"--shapes", QN_OPTION_FLAG, &shapes, NULL, "list the built-in shapes", 0, 0},
        {"--dtype", QN_OPTION_TEXT, &dtype, "T",
         "bf16, f16, f32, q8_0, q4_k … (any weight format), of a shape (default: bf16)", 0, 0},
        {"--tensors", QN_OPTION_FLAG, &tensors, NULL, "list every tensor", 0, 0},
        {"--json", QN_OPTION_FLAG, &json, NULL, "as JSON, with all tensors", 0, 0},
    };
    qn_command_line line = {
        "quern inspect (MODEL | --shape NAME | --shapes) [--json] [--tensors]",
        "Prints architecture, exact parameter count, tensors and tokenizer. Needs no weight "
        "file; checks\nthose that are there.",
        rows,
        5,
        NULL,
        &words,
        0,
        1};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    if (shapes && !shape && !words.n) return print_shapes(), QN_EXIT_DONE;
    if ((words.n == 1) == (shape != NULL)) {
        fprintf(stderr, "quern: expected either MODEL or --shape NAME\nusage: %s\n", line.usage);
        return QN_EXIT_USAGE;
    }
    quern_error e = {0};
    inspection in = {0};
    const char *name = shape ? shape : words.text[0];
    rc = look(name, shape, dtype, &in, &e);
    if (!rc && json)
        print_json(name, &in);
    else if (!rc)
        print_text(name, &in, tensors);
    free(in.weights);
    return rc ? qn_app_fail(&e) : QN_EXIT_DONE;
}
