// quern quantize: a model as one GGUF file in another type.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/progress.h"
#include "base/error.h"
#include "base/units.h"
#include "convert/convert.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static void show(void *progress, uint64_t done, uint64_t total)
{
    qn_progress_count(progress, done / 1000000, total / 1000000 + 1, "million weights");
}

// What a directory is called: the last part of the name that it was given by.
static const char *last_part(char *name)
{
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/'; n--)
        name[n - 1] = 0;
    const char *slash = strrchr(name, '/');
    return slash && slash[1] ? slash + 1 : name;
}

static void print_result(const qn_convert_options *o, const qn_convert_result *r)
{
    char size[16], f16[16];
    double bytes = (double)r->file_bytes, numbers = (double)r->n_parameters;
    printf("%s: %s of %s, %.1f %% of FP16 (%s), %.1f %% of FP32\n", o->to,
           qn_units_bytes(r->file_bytes, size), o->recipe->name, 100 * bytes / (2 * numbers),
           qn_units_bytes(2 * r->n_parameters, f16), 100 * bytes / (4 * numbers));
    for (int i = 0; i < QN_DTYPE_COUNT; i++)
        if (r->type_bytes[i])
            printf("  %-7s %s\n", qn_format_of((qn_dtype)i)->name,
                   qn_units_bytes(r->type_bytes[i], size));
}

static void print_notes(const qn_convert_result *r)
{
    if (r->n_fallback)
        fprintf(stderr,
                "quern: note: %d tensors have rows that are no multiple of their type's block and "
                "took a wider type\n",
                r->n_fallback);
    if (r->n_unweighted)
        fprintf(stderr, "quern: note: the importance matrix says nothing of %d tensors\n",
                r->n_unweighted);
    if (r->requantised)
        fprintf(stderr,
                "quern: note: the model was quantised already: what that lost stays lost\n");
}

static int quantise(qn_convert_options *o, const char *model, bool quiet, quern_error *e)
{
    qn_progress progress;
    qn_convert_result result;
    char *path = NULL, *name = strdup(model);
    int rc =
        name ? qn_app_find_model(model, &path, e) : qn_error_set(e, QUERN_E_MEMORY, "no memory");
    o->from = path;
    o->name = name ? last_part(name) : NULL;
    o->cancel = &interrupted;
    o->progress = show;
    o->user = &progress;
    signal(SIGINT, on_interrupt);
    signal(SIGXFSZ, SIG_IGN); // a file that must not grow further is an error of the write
    qn_progress_begin(&progress, quiet);
    if (!rc) rc = qn_convert(o, &result, e);
    qn_progress_end(&progress);
    if (!rc) print_result(o, &result);
    if (!rc) print_notes(&result);
    free(path);
    free(name);
    return rc;
}

// "q8_0, q6_k …"
static void list_recipes(char *text, size_t n)
{
    const qn_recipe *r;
    size_t at = 0;
    for (int i = 0; (r = qn_recipe_at(i)) && at < n; i++)
        at += (size_t)snprintf(text + at, n - at, "%s%s", i ? ", " : "", r->name);
}

int qn_app_quantize(int argc, char **argv)
{
    qn_convert_options o = {0};
    const char *to = NULL;
    char recipes[160];
    bool quiet = false;
    qn_text_list words = {0};
    list_recipes(recipes, sizeof recipes);
    qn_option rows[] = {
        {"--to", QN_OPTION_TEXT, &to, "TYPE", recipes, 0, 0},
        {"--imatrix", QN_OPTION_TEXT, &o.imatrix, "FILE",
         "weigh errors by an importance matrix (quern eval --imatrix, or llama.cpp's, as GGUF)", 0,
         0},
        {"--force", QN_OPTION_FLAG, &o.replace, NULL, "replace OUT.gguf if it is there", 0, 0},
        {"--threads", QN_OPTION_INT, &o.n_threads, "N", "threads (default: one a core)", 1, 256},
        {"--quiet", QN_OPTION_FLAG, &quiet, NULL, "no progress on stderr", 0, 0},
    };
    qn_command_line line = {
        "quern quantize MODEL OUT.gguf --to TYPE [--imatrix FILE] [--force]",
        "Writes a model (a Hugging Face directory or a GGUF file) as one GGUF file that Quern and "
        "llama.cpp read,\nwith its tokenizer and chat template. q8_0 is all but lossless; q4_k_m "
        "is llama.cpp's mixture of q4_k\nand q6_k, under a third of FP16.\n\n"
        "  quern quantize Qwen/Qwen3-0.6B qwen3-0.6b-q8_0.gguf --to q8_0\n"
        "  quern eval Qwen/Qwen3-0.6B text.txt --imatrix text.imatrix.gguf\n"
        "  quern quantize Qwen/Qwen3-0.6B small.gguf --to q4_k_m --imatrix text.imatrix.gguf\n"
        "  quern eval small.gguf text.txt --reference Qwen/Qwen3-0.6B\n\n"
        "Needs some MiB of memory a thread; packed weights (MLX, GPTQ, AWQ, FP8) are repacked in "
        "memory first, "
        "all of them. The file appears under its name when it is complete.",
        rows,
        sizeof rows / sizeof *rows,
        NULL,
        &words,
        2,
        2};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    o.recipe = to ? qn_recipe_by_name(to) : NULL;
    o.to = words.text[1];
    if (!o.recipe) {
        fprintf(stderr, "quern: --to: expected one of %s, found %s%s%s\nusage: %s\n", recipes,
                to ? "\"" : "", to ? to : "none", to ? "\"" : "", line.usage);
        return QN_EXIT_USAGE;
    }
    quern_error e = {0};
    return quantise(&o, words.text[0], quiet, &e) ? qn_app_fail(&e) : QN_EXIT_DONE;
}
