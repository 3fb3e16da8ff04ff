// quern eval: perplexity of a model on a text, its distance from a reference, and what its products see of the text.
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/eval_score.h"
#include "app/progress.h"
#include "app/report.h"
#include "base/checked.h"
#include "base/error.h"
#include "convert/imatrix.h"
#include "engine/engine.h"

enum { DEFAULT_WINDOW = 512, LEAST_WINDOW = 4, DEFAULT_BATCH = 64, BLOCK = 16 };

typedef struct {
    qn_engine_options engine;
    const char *reference, *imatrix;
    bool json, force, quiet;
} options;

typedef struct {
    const options *o;
    const char *text_path;
    qn_observer observer;
    qn_imatrix imatrix;
    qn_app_session session;
    quern_model *reference; // NULL: none
    size_t n_vocab;
    int32_t *ids;
    size_t n_ids, window, n_windows;
    float *logits, *reference_logits; // [window, n_vocab]
    qn_eval_score score;
    qn_eval_figures figures;
    quern_error *e;
} evaluation;

static int check_interrupted(const evaluation *v)
{
    return qn_app_interrupted ? qn_error_set(v->e, QUERN_E_CANCELLED, "cancelled") : 0;
}

/* ---- the models and the text ---- */

// Room for one window, unless other sizes were asked for; more rows a step than a server would take.
static qn_engine_options sized(const options *o)
{
    qn_engine_options sizes = o->engine;
    int window = sizes.model.n_context ? sizes.model.n_context : DEFAULT_WINDOW;
    if (!sizes.model.n_kv_blocks) sizes.model.n_kv_blocks = window / BLOCK + 2;
    if (!sizes.model.max_batch) sizes.model.max_batch = DEFAULT_BATCH;
    if (o->quiet) sizes.model.on_memory = NULL;
    return sizes;
}

static int check_backend(const options *o, quern_error *e)
{
    const char *backend = o->engine.runtime.backend;
    if (!o->imatrix || !backend || !strcmp(backend, "auto") || !strcmp(backend, "cpu")) return 0;
    return qn_error_set(e, QUERN_E_UNSUPPORTED,
                        "--imatrix: expected --backend cpu, which alone shows its inputs, found %s",
                        backend);
}

static int open_reference(evaluation *v, const qn_engine_options *sizes)
{
    char *path = NULL;
    int rc = qn_app_find_model(v->o->reference, &path, v->e);
    if (!rc)
        rc = quern_model_load(v->session.runtime, v->o->reference, path, &sizes->model,
                              &v->reference, v->e);
    free(path);
    return rc;
}

static int open_models(evaluation *v, const char *model)
{
    const qn_engine_options sizes = sized(v->o);
    quern_model_info info;
    v->observer = (qn_observer){qn_imatrix_add, &v->imatrix};
    int rc = check_backend(v->o, v->e);
    if (!rc)
        rc = qn_app_open_observed(model, &sizes, v->o->imatrix ? &v->observer : NULL, &v->session,
                                  v->e);
    if (!rc && v->o->imatrix) rc = qn_imatrix_prepare(v->session.model->weights, &v->imatrix, v->e);
    if (!rc && v->o->reference) rc = open_reference(v, &sizes);
    if (rc) return rc;
    quern_model_get_info(v->session.model, &info);
    v->n_vocab = (size_t)info.n_vocab;
    v->window = (size_t)info.n_context;
    if (!v->o->engine.model.n_context && v->window > DEFAULT_WINDOW) v->window = DEFAULT_WINDOW;
    return 0;
}

// The same ids by both tokenizers, of vocabularies of one size.
static int check_reference(const evaluation *v, const char *text, size_t n)
{
    quern_model_info info;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    quern_model_get_info(v->reference, &info);
    if ((size_t)info.n_vocab != v->n_vocab)
        return qn_error_set(v->e, QUERN_E_ARGUMENT,
                            "--reference: expected a vocabulary of %zu as the model's, found %d",
                            v->n_vocab, info.n_vocab);
    int rc = quern_tokenize(v->reference, text, n, false, &ids, &n_ids, v->e);
    if (!rc && (n_ids != v->n_ids || memcmp(ids, v->ids, n_ids * sizeof *ids)))
        rc = qn_error_set(v->e, QUERN_E_ARGUMENT,
                          "--reference: expected the text to be the same tokens as the model's");
    free(ids);
    return rc;
}

static int read_text(evaluation *v)
{
    char *text = NULL;
    size_t n = 0;
    int rc = check_interrupted(v);
    if (rc) return rc;
    rc = qn_app_read_input(v->text_path, &text, &n, v->e);
    if (qn_app_interrupted) rc = check_interrupted(v);
    if (!rc) rc = quern_tokenize(v->session.model, text, n, false, &v->ids, &v->n_ids, v->e);
    if (!rc && v->reference) rc = check_reference(v, text, n);
    free(text);
    if (rc) return rc;
    if (v->window < LEAST_WINDOW)
        return qn_error_set(v->e, QUERN_E_ARGUMENT,
                            "--context: expected windows of at least %d tokens, found %zu",
                            LEAST_WINDOW, v->window);
    v->n_windows = v->n_ids / v->window;
    if (v->n_windows) return 0;
    return qn_error_set(v->e, QUERN_E_ARGUMENT,
                        "%s: expected at least %zu tokens, one window (--context), found %zu",
                        v->text_path, v->window, v->n_ids);
}

/* ---- the windows ---- */

static int alloc_rows(const evaluation *v, float **out)
{
    uint64_t bytes;
    if (qn_checked_mul(v->window * sizeof(float), v->n_vocab, &bytes) &&
        (*out = malloc((size_t)bytes)))
        return 0;
    return qn_error_set(v->e, QUERN_E_MEMORY, "no memory for %zu rows of %zu logits", v->window,
                        v->n_vocab);
}

static int alloc_all(evaluation *v)
{
    int rc = alloc_rows(v, &v->logits);
    if (rc || !v->reference) return rc;
    v->score.capacity = v->n_windows * v->window;
    v->score.divergences = calloc(v->score.capacity, sizeof *v->score.divergences);
    if (!v->score.divergences) return qn_error_set(v->e, QUERN_E_MEMORY, "no memory for scores");
    return alloc_rows(v, &v->reference_logits);
}

// Scores the tokens of the window's second half, which have at least half a window before them.
static int run_window(evaluation *v, const int32_t *ids)
{
    int rc = quern_logits(v->session.model, ids, v->window, v->logits, v->e);
    if (!rc && v->reference)
        rc = quern_logits(v->reference, ids, v->window, v->reference_logits, v->e);
    for (size_t i = v->window / 2; i + 1 < v->window && !rc; i++)
        qn_eval_add(&v->score, v->logits + i * v->n_vocab,
                    v->reference ? v->reference_logits + i * v->n_vocab : NULL, v->n_vocab,
                    ids[i + 1]);
    return rc;
}

// A scale that is no number makes all that follows none.
static int check_figures(const evaluation *v)
{
    const qn_eval_figures *f = &v->figures;
    bool is_first = !isfinite(f->perplexity);
    if (!is_first && (!v->reference || (isfinite(f->reference_perplexity) && isfinite(f->kl_mean))))
        return 0;
    return qn_error_set(v->e, QUERN_E_FORMAT, "%s: expected finite logits, found others",
                        is_first ? v->session.model->name : v->reference->name);
}

static int run_windows(evaluation *v)
{
    qn_progress progress;
    int rc = alloc_all(v);
    qn_progress_begin(&progress, v->o->quiet);
    for (size_t i = 0; i < v->n_windows && !rc; i++) {
        rc = run_window(v, v->ids + i * v->window);
        qn_progress_count(&progress, i + 1, v->n_windows, "windows");
        if (!rc) rc = check_interrupted(v);
    }
    qn_progress_end(&progress);
    if (!rc) qn_eval_finish(&v->score, &v->figures);
    return rc ? rc : check_figures(v);
}

static int write_imatrix(evaluation *v, const qn_new_file *file)
{
    v->imatrix.n_chunks = (uint32_t)v->n_windows;
    v->imatrix.chunk_size = (uint32_t)v->window;
    v->imatrix.dataset = strdup(v->text_path);
    return qn_imatrix_write(&v->imatrix, file, v->e);
}

/* ---- the report ---- */

static void print_json(const evaluation *v)
{
    const qn_eval_figures *f = &v->figures;
    json_t *j = json_pack("{s:I,s:I,s:I,s:I,s:f,s:f}", "tokens", (json_int_t)v->n_ids, "context",
                          (json_int_t)v->window, "windows", (json_int_t)v->n_windows, "scored",
                          (json_int_t)v->score.n, "perplexity", f->perplexity, "perplexity_error",
                          f->perplexity_error);
    if (v->reference) {
        json_t *more =
            json_pack("{s:f,s:f,s:f,s:f,s:f}", "reference_perplexity", f->reference_perplexity,
                      "kl_mean", f->kl_mean, "kl_p99", f->kl_p99, "kl_max", f->kl_max,
                      "top1_agreement", f->top1_agreement);
        json_object_update(j, more);
        json_decref(more);
    }
    json_dumpf(j, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(j);
}

static void print_text(const evaluation *v)
{
    const qn_eval_figures *f = &v->figures;
    printf("%-16s %.4f ± %.4f over %zu tokens: the second halves of %zu windows of %zu\n",
           "perplexity", f->perplexity, f->perplexity_error, v->score.n, v->n_windows, v->window);
    if (v->reference)
        printf("%-16s %.4f\n%-16s mean %.6f, 99 %% below %.6f, at most %.6f\n%-16s %.2f %%\n",
               "reference", f->reference_perplexity, "KL divergence", f->kl_mean, f->kl_p99,
               f->kl_max, "same top token", 100 * f->top1_agreement);
    if (v->o->imatrix) printf("%-16s %s\n", "imatrix", v->o->imatrix);
}

static void clean_up(evaluation *v)
{
    quern_model_close(v->reference);
    qn_app_close(&v->session);
    qn_imatrix_free(&v->imatrix);
    free(v->score.divergences);
    free(v->reference_logits);
    free(v->logits);
    free(v->ids);
}

static int evaluate(const options *o, const char *model, const char *text, quern_error *e)
{
    evaluation v = {.o = o, .text_path = text, .e = e};
    qn_new_file file = {.fd = -1};
    // First, since it may be refused.
    int rc = o->imatrix ? qn_new_file_open(o->imatrix, o->force, &file, e) : 0;
    if (!rc) rc = open_models(&v, model);
    if (!rc) rc = read_text(&v);
    if (!rc) rc = run_windows(&v);
    if (!rc && o->imatrix) rc = write_imatrix(&v, &file);
    if (!rc && o->imatrix) rc = qn_new_file_commit(&file, e);
    if (rc) qn_new_file_abandon(&file);
    if (!rc) (o->json ? print_json : print_text)(&v);
    clean_up(&v);
    return rc;
}

static void explain_context(qn_option *rows, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(rows[i].name, "--context"))
            rows[i].help = "tokens of a window (default: 512, or the model's context)";
}

int qn_app_eval(int argc, char **argv)
{
    enum { OWN = 5 };
    options o = {0};
    qn_text_list words = {0};
    qn_option rows[QN_ENGINE_OPTIONS + OWN] = {
        {"--reference", QN_OPTION_TEXT, &o.reference, "MODEL2",
         "compare with this model, say the full-precision one: KL divergence, same top token", 0,
         0},
        {"--imatrix", QN_OPTION_TEXT, &o.imatrix, "OUT",
         "write mean squares of every product's inputs, for quern quantize --imatrix (CPU)", 0, 0},
        {"--json", QN_OPTION_FLAG, &o.json, NULL, "print the figures as JSON", 0, 0},
        {"--force", QN_OPTION_FLAG, &o.force, NULL, "replace OUT if it is there", 0, 0},
        {"--quiet", QN_OPTION_FLAG, &o.quiet, NULL, "no progress on stderr", 0, 0},
    };
    qn_engine_options_rows(&o.engine, rows + OWN);
    explain_context(rows, QN_ENGINE_OPTIONS + OWN);
    qn_command_line line = {
        "quern eval MODEL TEXT [--context N] [--reference MODEL2] [--imatrix OUT] [--json]",
        "Perplexity of a text (a file, or - for standard input): how surprised the model is by "
        "each token, 1 at best.\nThe text is cut into windows of N tokens that do not overlap, "
        "each read on its own; the tokens of a window's\nsecond half count, so that each has at "
        "least N/2 before it (as llama.cpp's llama-perplexity does it). What is\nleft at the end "
        "does not count. With --reference also, over the same tokens, KL(reference || model) in "
        "nats:\nits mean, 99th percentile and maximum, and how often both think the same token "
        "likeliest.\n\n"
        "  quern eval small.gguf wiki.txt --reference Qwen/Qwen3-0.6B\n"
        "  quern eval Qwen/Qwen3-0.6B wiki.txt --imatrix wiki.imatrix.gguf",
        rows,
        QN_ENGINE_OPTIONS + OWN,
        NULL,
        &words,
        2,
        2};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    quern_error e = {0};
    qn_app_catch_interrupt();
    signal(SIGXFSZ, SIG_IGN);
    return evaluate(&o, words.text[0], words.text[1], &e) ? qn_app_fail(&e) : QN_EXIT_DONE;
}
