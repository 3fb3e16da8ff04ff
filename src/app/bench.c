// quern bench: what one or two models, or shapes with random weights, do on this machine. The command: its options, and the order
// of loading, measuring and closing.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/bench.h"
#include "base/error.h"
#include "base/log.h"
#include "model/model.h"

// Of a shape, whose own context may be far longer than what is measured: the longest prompt, and some room.
enum { SHAPE_CONTEXT = 4096 + 64 };

static const char ABOUT[] =
    "Measures models on this machine, each beside the read bandwidth measured in the same run.\n"
    "`quern bench limits` measures the device alone.\n"
    "\n"
    "Groups of rows (--only; default: all):\n"
    "  short, medium, long   50, 150 and 300 new tokens after a prompt of 128, greedy\n"
    "  strategies            beside greedy also sampling, top_k, top_p and beam 4, of each length\n"
    "  batch                 1, 4, 8 … 256 at once as far as --max-batch, --max-queue and the "
    "cache\n"
    "                        allow; prompts of 128 tokens, 128 new\n"
    "  prefill               prompts of 128, 512, 2048 and 4096 tokens, as far as the context "
    "allows\n"
    "  pair                  of two models: each alone, and beside the other, loaded and idle\n"
    "\n"
    "Columns:\n"
    "  tok/s                 decode after the first token, all sequences together (beam: tokens "
    "of\n"
    "                        the best one); of prefill rows: prompt tokens\n"
    "                        (prefill and pair: the fastest of up to three passes)\n"
    "  ms/token              from one token of a sequence to its next\n"
    "  whole tok/s           all new tokens, over the time from submission to the last one's end\n"
    "  prefill tok/s         prompt tokens, until the first new one\n"
    "  read GB/s             weights and cache that the steps read, of the last few steps\n"
    "  share of ceiling      that, of the bandwidth at which the device was measured to read\n"
    "  ratio                 tok/s to that of greedy at the same length; of batches: to one at "
    "once\n"
    "\n"
    "A row is cut N seconds (--seconds) after all its sequences have a first token, and after "
    "four\n"
    "times that in any case; what is done by then counts.";

typedef struct {
    qn_engine_options engine;
    const char *shapes, *dtype, *only, *svg;
    int seconds;
    bool json;
    qn_text_list names; // of models, or of shapes
    char *shape_names;  // what names points into
} command;

/* ---- the command line ---- */

static int wrong(const qn_command_line *line, const char *expected, const char *found, int n_found)
{
    fprintf(stderr, "quern: expected %s, found \"%.*s\"\nusage: %s\n", expected, n_found, found,
            line->usage);
    return QN_EXIT_USAGE;
}

static int read_groups(const qn_command_line *line, const command *c, qn_bench *b)
{
    const char *bad = "";
    int n_bad = 0;
    b->groups = (1u << QN_BENCH_GROUPS) - 1;
    if (c->only) b->groups = qn_bench_groups_parse(c->only, &bad, &n_bad);
    if (b->groups == 1u << QN_BENCH_PAIR && c->names.n < 2)
        return wrong(line, "two models for --only pair", c->names.text[0],
                     (int)strlen(c->names.text[0]));
    if (b->groups) return QN_OPTIONS_GO;
    return wrong(line, "--only: groups of short, medium, long, strategies, batch, prefill and pair",
                 bad, n_bad);
}

// "a,b" → names.
static int read_shapes(const qn_command_line *line, command *c)
{
    c->shape_names = strdup(c->shapes);
    if (!c->shape_names) return QN_EXIT_FAILED;
    for (char *rest = c->shape_names, *name; (name = strsep(&rest, ","));) {
        if (!*name || c->names.n == QN_BENCH_MODELS)
            return wrong(line, "--shape: one name or two", c->shapes, (int)strlen(c->shapes));
        c->names.text[c->names.n++] = name;
    }
    return QN_OPTIONS_GO;
}

static int parse(int argc, char **argv, command *c, qn_bench *b)
{
    qn_option rows[QN_ENGINE_OPTIONS + 6] = {
        {"--shape", QN_OPTION_TEXT, &c->shapes, "NAME[,NAME]",
         "built-in shapes with random weights (quern inspect --shapes)", 0, 0},
        {"--dtype", QN_OPTION_TEXT, &c->dtype, "T",
         "bf16, f16, f32, q8_0, q4_k … (any weight format), of shapes (default: bf16)", 0, 0},
        {"--only", QN_OPTION_TEXT, &c->only, "GROUPS", "some groups of rows, e.g. short,batch", 0,
         0},
        {"--seconds", QN_OPTION_INT, &c->seconds, "N", "most seconds a row (default: 30)", 1, 3600},
        {"--json", QN_OPTION_FLAG, &c->json, NULL, "as JSON instead of Markdown tables", 0, 0},
        {"--svg", QN_OPTION_TEXT, &c->svg, "FILE", "charts, as an SVG document beside that", 0, 0},
    };
    qn_engine_options_rows(&c->engine, rows + 6);
    qn_command_line line = {
        "quern bench (MODEL [MODEL] | --shape NAME[,NAME] [--dtype bf16] | limits) [options]",
        ABOUT,
        rows,
        QN_ENGINE_OPTIONS + 6,
        NULL,
        &c->names,
        0,
        QN_BENCH_MODELS};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    if ((c->names.n > 0) == (c->shapes != NULL)) {
        fprintf(stderr, "quern: expected either MODEL or --shape NAME\nusage: %s\n", line.usage);
        return QN_EXIT_USAGE;
    }
    if (c->shapes) rc = read_shapes(&line, c);
    return rc == QN_OPTIONS_GO ? read_groups(&line, c, b) : rc;
}

/* ---- before anything is loaded ---- */

// Whatever can be wrong with the names, before minutes are spent on the first.
static int check_names(const command *c, char *paths[QN_BENCH_MODELS], quern_error *e)
{
    int rc = 0;
    qn_dtype dtype = qn_dtype_by_name(c->dtype);
    if (c->shapes && dtype == QN_DTYPE_COUNT)
        return qn_error_set(e, QUERN_E_ARGUMENT,
                            "dtype: expected a type like bf16, f16, q8_0 or q4_k, found \"%s\"",
                            c->dtype);
    for (int i = 0; i < c->names.n && !rc; i++) {
        qn_model_facts facts;
        rc = c->shapes ? qn_model_shape_facts(c->names.text[i], dtype, &facts, e)
                       : qn_app_find_model(c->names.text[i], &paths[i], e);
    }
    return rc;
}

// That the file can be written; what it holds stays until there is something better.
static int check_svg(const char *path, quern_error *e)
{
    FILE *f = path ? fopen(path, "a") : NULL;
    if (f) fclose(f);
    return f || !path ? 0
                      : qn_error_set(e, QUERN_E_IO, "%s: cannot write: %s", path, strerror(errno));
}

static int open_runtime(command *c, quern_runtime **out, quern_error *e)
{
    quern_runtime_options *o = &c->engine.runtime;
    if (c->engine.log_level) o->log_level = (quern_log_level)qn_log_level_of(c->engine.log_level);
    if (c->shapes && !c->engine.model.n_context) c->engine.model.n_context = SHAPE_CONTEXT;
    return quern_runtime_open(o, out, e);
}

/* ---- measuring ---- */

static int load(const command *c, const char *path, quern_runtime *rt, qn_bench *b, quern_error *e)
{
    qn_bench_model *m = &b->models[b->n_models];
    const quern_model_options *o = &c->engine.model;
    m->name = c->names.text[b->n_models];
    fprintf(stderr, "%s: loading and warming up\n", m->name);
    int rc = c->shapes ? quern_model_load_shape(rt, m->name, c->dtype, o, &m->model, e)
                       : quern_model_load(rt, m->name, path, o, &m->model, e);
    if (rc) return rc;
    quern_model_stats stats;
    quern_model_get_stats(m->model, &stats);
    quern_model_get_info(m->model, &m->info);
    snprintf(m->dtype, sizeof m->dtype, "%s", m->info.dtype);
    m->n_blocks = (uint64_t)stats.blocks_total;
    b->n_models++;
    return qn_bench_rows_warm_up(b, m, e);
}

static void close_model(qn_bench_model *m)
{
    quern_model_close(m->model);
    m->model = NULL;
}

// The best of what it was before and after: a neighbour's load only lowers it.
static void measure_ceiling(quern_runtime *rt, qn_bench *b)
{
    quern_runtime_measure(rt);
    quern_runtime_get_info(rt, &b->device);
    if (b->device.read_bytes_per_second > b->ceiling) b->ceiling = b->device.read_bytes_per_second;
}

// What is compared is measured one right after the other.
static int run_all(const command *c, char *paths[QN_BENCH_MODELS], quern_runtime *rt, qn_bench *b,
                   quern_error *e)
{
    qn_bench_model *first = &b->models[0], *second = &b->models[1];
    bool pair = c->names.n == 2 && qn_bench_has(b, QN_BENCH_PAIR);
    int rc = load(c, paths[0], rt, b, e);
    if (!rc && pair) rc = qn_bench_rows_run_pair(b, first, "alone", &first->alone, e);
    if (!rc && c->names.n == 2) rc = load(c, paths[1], rt, b, e);
    if (!rc && pair) rc = qn_bench_rows_run_pair(b, first, "beside", &first->beside, e);
    for (int i = 0; i < b->n_models && !rc; i++) {
        qn_bench_rows_plan(b, &b->models[i]);
        rc = qn_bench_rows_run(b, &b->models[i], e);
    }
    if (!rc && pair) rc = qn_bench_rows_run_pair(b, second, "beside", &second->beside, e);
    close_model(first);
    if (!rc && pair) rc = qn_bench_rows_run_pair(b, second, "alone", &second->alone, e);
    b->has_pair = pair && !rc;
    close_model(second);
    return rc;
}

/* ---- output ---- */

static int write_svg(const qn_bench *b, const char *path, quern_error *e)
{
    qn_buffer text = QN_BUFFER_INIT;
    qn_bench_svg(b, &text);
    int rc = text.failed ? qn_error_set(e, QUERN_E_MEMORY, "no memory for %s", path) : 0;
    FILE *f = rc ? NULL : fopen(path, "w");
    bool written = f && fwrite(text.data, 1, text.length, f) == text.length;
    if (f && fclose(f)) written = false;
    if (!rc && !written)
        rc = qn_error_set(e, QUERN_E_IO, "%s: cannot write: %s", path, strerror(errno));
    qn_buffer_free(&text);
    return rc;
}

static int report(const command *c, const qn_bench *b, quern_error *e)
{
    if (c->json)
        qn_bench_print_json(b);
    else
        qn_bench_print_markdown(b);
    return c->svg ? write_svg(b, c->svg, e) : 0;
}

static int run(command *c, qn_bench *b, quern_error *e)
{
    quern_runtime *rt = NULL;
    quern_error ignored;
    char *paths[QN_BENCH_MODELS] = {NULL};
    int rc = check_names(c, paths, e);
    if (!rc) rc = check_svg(c->svg, e);
    if (!rc) rc = open_runtime(c, &rt, e);
    if (!rc) {
        measure_ceiling(rt, b);
        rc = run_all(c, paths, rt, b, e);
        measure_ceiling(rt, b);
        if (!rc)
            rc = report(c, b, e);
        else if (b->models[0].n_done)
            report(c, b, &ignored); // what was measured before
    }
    quern_runtime_close(rt);
    for (int i = 0; i < QN_BENCH_MODELS; i++)
        free(paths[i]);
    return rc;
}

int qn_app_bench(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "limits")) return qn_bench_limits(argc - 1, argv + 1);
    command c = {.dtype = "bf16", .seconds = 30};
    qn_bench b = {0};
    quern_error e = {0};
    int rc = parse(argc, argv, &c, &b);
    b.row_ms = c.seconds * 1e3;
    if (rc == QN_OPTIONS_GO) rc = run(&c, &b, &e) ? qn_app_fail(&e) : QN_EXIT_DONE;
    free(c.shape_names);
    return rc;
}
