// quern bench: what a model, or a shape with random weights, does on this machine: prefill, decode by length, by strategy and
// by batch, each beside the share of the read bandwidth measured in the same run.
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/report.h"
#include "base/clock.h"
#include "base/error.h"

enum { PROMPT_TOKENS = 128, MAX_ROWS = 24, SHORT = 50, MEDIUM = 150, LONG = 300, MAX_AT_ONCE = 32 };

typedef struct {
    char name[40];
    int n_output, strategy, n_at_once;
    // measured:
    int n_tokens;
    double prefill_tokens_per_second, tokens_per_second, bytes_per_second;
    bool cut; // the time of a row ran out before n_output
} row;

typedef struct {
    quern_model *model;
    double row_ms;
    double ceiling;
    row rows[MAX_ROWS];
    int n_rows;
} bench;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int n_running, n_tokens;
    double prefill, decode_ms, first_ms; // first_ms: when the first token of any came; 0 before
    quern_error error;
} meter;

static void on_event(void *user, const quern_event *event)
{
    meter *m = user;
    pthread_mutex_lock(&m->lock);
    if (event->type == QUERN_EVENT_TOKEN && m->first_ms <= 0) m->first_ms = qn_clock_ms();
    if (event->type == QUERN_EVENT_DONE) {
        const quern_result *r = event->result;
        m->n_tokens += r->completion_tokens;
        m->prefill = r->prefill_tokens_per_second;
        if (r->decode_ms > m->decode_ms) m->decode_ms = r->decode_ms;
        m->n_running--;
    } else if (event->type == QUERN_EVENT_ERROR) {
        m->error = *event->error;
        m->n_running--;
    }
    pthread_cond_signal(&m->ended);
    pthread_mutex_unlock(&m->lock);
}

static void set(quern_params *p, size_t offset, double value)
{
    size_t n;
    const quern_field *fields = quern_fields(&n);
    for (size_t i = 0; i < n; i++)
        if (fields[i].offset == offset) quern_params_set(p, &fields[i], value, NULL);
}

static void fill(const row *r, const quern_model_info *info, int salt, int32_t *ids,
                 quern_params *p)
{
    for (int i = 0; i < PROMPT_TOKENS; i++)
        ids[i] = (int32_t)(((int64_t)i * 7919 + salt * 104729 + 11) % info->n_vocab);
    quern_params_init(p);
    p->ids = ids;
    p->n_ids = PROMPT_TOKENS;
    set(p, offsetof(quern_params, strategy), r->strategy);
    set(p, offsetof(quern_params, max_tokens), r->n_output);
    set(p, offsetof(quern_params, ignore_eos), 1);
    if (r->strategy == QUERN_BEAM) set(p, offsetof(quern_params, num_beams), 4);
    quern_params_set_seed(p, 1);
}

// Until all have ended; row_ms after the first token (or four times that after the start, for beams tell theirs at the end)
// they are cancelled, and what they made counts. True where that was so.
static bool await_all(meter *m, quern_request **requests, int n, double row_ms)
{
    double from_ms = qn_clock_ms();
    bool cut = false;
    pthread_mutex_lock(&m->lock);
    while (m->n_running > 0) {
        qn_clock_await(&m->ended, &m->lock, 20);
        double now_ms = qn_clock_ms();
        bool over =
            now_ms > from_ms + 4 * row_ms || (m->first_ms > 0 && now_ms > m->first_ms + row_ms);
        if (cut || !over) continue;
        cut = true;
        for (int i = 0; i < n; i++)
            quern_request_cancel(requests[i]);
    }
    pthread_mutex_unlock(&m->lock);
    return cut;
}

static int measure(bench *b, row *r, quern_error *e)
{
    quern_model_info info;
    quern_model_get_info(b->model, &info);
    meter m = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    quern_request *requests[MAX_AT_ONCE];
    int rc = 0, n_sent = 0;
    m.n_running = r->n_at_once;
    for (; n_sent < r->n_at_once && !rc; n_sent += !rc) {
        int32_t ids[PROMPT_TOKENS];
        quern_params p;
        fill(r, &info, n_sent, ids, &p);
        rc = quern_submit(b->model, &p, on_event, &m, &requests[n_sent], e);
    }
    pthread_mutex_lock(&m.lock);
    m.n_running -= r->n_at_once - n_sent;
    pthread_mutex_unlock(&m.lock);
    r->cut = await_all(&m, requests, n_sent, b->row_ms);
    for (int i = 0; i < n_sent; i++)
        quern_request_free(requests[i]);
    if (!rc && (rc = m.error.code)) *e = m.error;
    quern_model_stats stats;
    quern_model_get_stats(b->model, &stats);
    r->n_tokens = m.n_tokens;
    r->prefill_tokens_per_second = m.prefill;
    int n_counted = m.n_tokens - r->n_at_once; // the first of each belongs to the prompt's pass
    r->tokens_per_second = m.decode_ms > 0 && n_counted > 0 ? n_counted / m.decode_ms * 1e3 : 0;
    r->bytes_per_second = stats.bytes_per_second;
    pthread_cond_destroy(&m.ended);
    pthread_mutex_destroy(&m.lock);
    return rc;
}

static void add(bench *b, const char *name, int n_output, int strategy, int n_at_once)
{
    row *r = &b->rows[b->n_rows++];
    *r = (row){.n_output = n_output, .strategy = strategy, .n_at_once = n_at_once};
    snprintf(r->name, sizeof r->name, "%s", name);
}

static void plan_rows(bench *b)
{
    quern_model_info info;
    quern_model_get_info(b->model, &info);
    add(b, "short, 50 tokens, greedy", SHORT, QUERN_GREEDY, 1);
    add(b, "medium, 150 tokens, greedy", MEDIUM, QUERN_GREEDY, 1);
    add(b, "long, 300 tokens, greedy", LONG, QUERN_GREEDY, 1);
    add(b, "short, sampling", SHORT, QUERN_SAMPLING, 1);
    add(b, "short, top_k", SHORT, QUERN_TOP_K, 1);
    add(b, "short, top_p", SHORT, QUERN_TOP_P, 1);
    add(b, "short, beam 4", SHORT, QUERN_BEAM, 1);
    for (int n = 4; n <= MAX_AT_ONCE && n <= info.max_batch; n *= 2) {
        char name[40];
        snprintf(name, sizeof name, "short, greedy, %d at once", n);
        add(b, name, SHORT, QUERN_GREEDY, n);
    }
}

static void print_markdown(const bench *b, const char *name, const quern_runtime_info *r)
{
    printf("%s on %s (%s); read ceiling %.1f GB/s, measured in this run; prompts of %d tokens\n\n",
           name, r->device, r->backend, b->ceiling * 1e-9, PROMPT_TOKENS);
    printf("| scenario | prefill tok/s | decode tok/s | read GB/s | share of ceiling "
           "|\n|---|---|---|---|---|\n");
    for (int i = 0; i < b->n_rows; i++) {
        const row *w = &b->rows[i];
        printf("| %s%s | %.1f | %.2f | %.1f | %.0f %% |\n", w->name, w->cut ? " (cut by time)" : "",
               w->prefill_tokens_per_second, w->tokens_per_second, w->bytes_per_second * 1e-9,
               b->ceiling > 0 ? 100 * w->bytes_per_second / b->ceiling : 0);
    }
}

static void print_json(const bench *b, const char *name, const quern_runtime_info *r)
{
    json_t *rows = json_array();
    for (int i = 0; i < b->n_rows; i++) {
        const row *w = &b->rows[i];
        json_array_append_new(
            rows, json_pack("{s:s,s:i,s:i,s:i,s:f,s:f,s:f,s:b}", "scenario", w->name, "n_at_once",
                            w->n_at_once, "max_tokens", w->n_output, "tokens", w->n_tokens,
                            "prefill_tokens_per_second", w->prefill_tokens_per_second,
                            "tokens_per_second", w->tokens_per_second, "bytes_per_second",
                            w->bytes_per_second, "cut", w->cut));
    }
    json_t *j = json_pack("{s:o,s:s,s:s,s:i,s:f,s:i,s:o}", "model",
                          qn_report_text(name, strlen(name)), "backend", r->backend, "device",
                          r->device, "threads", r->n_threads, "ceiling_bytes_per_second",
                          b->ceiling, "prompt_tokens", PROMPT_TOKENS, "rows", rows);
    json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(j);
}

static int run_all(bench *b, quern_error *e)
{
    int rc = 0;
    row warm = {.n_output = 4, .strategy = QUERN_GREEDY, .n_at_once = 1};
    fprintf(stderr, "warming up\n");
    rc = measure(b, &warm, e);
    for (int i = 0; i < b->n_rows && !rc; i++) {
        fprintf(stderr, "%d/%d %s\n", i + 1, b->n_rows, b->rows[i].name);
        rc = measure(b, &b->rows[i], e);
    }
    return rc;
}

int qn_app_bench(int argc, char **argv)
{
    qn_engine_options engine;
    const char *shape = NULL, *dtype = "bf16";
    int seconds = 30;
    bool json = false;
    qn_text_list words = {0};
    qn_option rows[QN_ENGINE_OPTIONS + 4] = {
        {"--shape", QN_OPTION_TEXT, &shape, "NAME",
         "a built-in shape with random weights (quern inspect --shapes)", 0, 0},
        {"--dtype", QN_OPTION_TEXT, &dtype, "T", "bf16, f16 or f32, of a shape (default: bf16)", 0,
         0},
        {"--seconds", QN_OPTION_INT, &seconds, "N",
         "most seconds a row; what is done by then counts (default: 30)", 1, 3600},
        {"--json", QN_OPTION_FLAG, &json, NULL, "as JSON instead of a Markdown table", 0, 0},
    };
    qn_engine_options_rows(&engine, rows + 4);
    qn_command_line line = {
        "quern bench (MODEL | --shape NAME [--dtype bf16]) [options]",
        "Measures prefill, decode by length, the five strategies and batches on this machine.",
        rows,
        QN_ENGINE_OPTIONS + 4,
        NULL,
        &words,
        0,
        1};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    if ((words.n == 1) == (shape != NULL)) {
        fprintf(stderr, "quern: expected either MODEL or --shape NAME\nusage: %s\n", line.usage);
        return QN_EXIT_USAGE;
    }
    quern_error e = {0};
    qn_app_session s = {0};
    bench b = {.row_ms = seconds * 1e3};
    if (shape && !engine.model.n_context) engine.model.n_context = 1024; // no more is used here
    rc = shape ? qn_app_open_shape(shape, dtype, &engine, &s, &e)
               : qn_app_open(words.text[0], &engine, &s, &e);
    if (!rc) {
        quern_runtime_info info;
        quern_runtime_measure(s.runtime);
        quern_runtime_get_info(s.runtime, &info);
        b.model = s.model;
        b.ceiling = info.read_bytes_per_second;
        plan_rows(&b);
        rc = run_all(&b, &e);
        if (!rc && json)
            print_json(&b, shape ? shape : words.text[0], &info);
        else if (!rc)
            print_markdown(&b, shape ? shape : words.text[0], &info);
    }
    qn_app_close(&s);
    return rc ? qn_app_fail(&e) : QN_EXIT_DONE;
}
