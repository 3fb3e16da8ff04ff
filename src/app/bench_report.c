// The report of quern bench: Markdown for people, JSON for programs. The same figures in both; a rate that was not measured is
// "–" or null.
#include <string.h>

#include "app/bench.h"
#include "app/report.h"

static const char *const STRATEGY_NAMES[] = {"greedy", "sampling", "top_k", "top_p", "beam"};

void qn_bench_count_text(double n, char *text, size_t n_bytes)
{
    if (n >= 1e9)
        snprintf(text, n_bytes, "%.2f billion", n * 1e-9);
    else if (n >= 1e6)
        snprintf(text, n_bytes, "%.2f million", n * 1e-6);
    else
        snprintf(text, n_bytes, "%.0f", n);
}

/* ---- Markdown ---- */

static void cell(const char *format, double value)
{
    printf(" | ");
    if (value > 0)
        printf(format, value);
    else
        printf("–");
}

static void print_row(const qn_bench *b, const qn_bench_model *m, const qn_bench_row *r)
{
    printf("| %s%s%s", r->name, r->prompts_included ? " (prompts of others included)" : "",
           r->cut ? " (cut by time)" : "");
    cell("%.2f", r->tokens_per_second);
    cell("%.2f", qn_bench_row_ms(r));
    cell("%.2f", r->group == QN_BENCH_PREFILL ? 0 : r->whole_tokens_per_second);
    cell("%.1f", r->prefill_tokens_per_second);
    cell("%.1f", r->bytes_per_second * 1e-9);
    cell("%.0f %%", 100 * qn_bench_row_share(b, r));
    cell("%.2f", qn_bench_row_ratio(m, r));
    printf(" |\n");
}

static void print_model(const qn_bench *b, const qn_bench_model *m)
{
    char parameters[40], bytes[40];
    qn_bench_count_text((double)m->info.n_parameters, parameters, sizeof parameters);
    qn_bench_count_text((double)m->info.active_bytes, bytes, sizeof bytes);
    printf("\n## %s: %s parameters, %s\n\n", m->name, parameters, m->dtype);
    printf("A step of one sequence reads %s bytes of weights: at most %.1f tokens/s at that "
           "ceiling.\n",
           bytes, qn_bench_ceiling_tokens(b, m));
    if (!m->n_done) return;
    printf("\n| scenario | tok/s | ms/token | whole tok/s | prefill tok/s | read GB/s | "
           "share of ceiling | ratio |\n|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < m->n_done; i++)
        print_row(b, m, &m->rows[i]);
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static void print_pair(const qn_bench *b)
{
    printf("\n## Each alone, and beside the other, loaded and idle (greedy, %d tokens)\n\n",
           b->models[0].alone.n_output);
    printf("| model | alone tok/s | beside tok/s | ratio |\n|---|---|---|---|\n");
    for (int i = 0; i < b->n_models; i++) {
        const qn_bench_model *m = &b->models[i];
        printf("| %s%s", m->name, m->alone.cut || m->beside.cut ? " (cut by time)" : "");
        cell("%.2f", m->alone.tokens_per_second);
        cell("%.2f", m->beside.tokens_per_second);
        cell("%.2f", ratio(m->beside.tokens_per_second, m->alone.tokens_per_second));
        printf(" |\n");
    }
}

void qn_bench_print_markdown(const qn_bench *b)
{
    printf("%s (%s); reads at most %.1f GB/s, measured in this run\n", b->device.device,
           b->device.backend, b->ceiling * 1e-9);
    for (int i = 0; i < b->n_models; i++)
        print_model(b, &b->models[i]);
    if (b->has_pair) print_pair(b);
}

/* ---- JSON ---- */

static json_t *figure(double value)
{
    return value > 0 ? json_real(value) : json_null();
}

static void set_figure(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, figure(value));
}

static json_t *json_of_row(const qn_bench *b, const qn_bench_model *m, const qn_bench_row *r)
{
    json_t *j = json_pack("{s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:b,s:b}", "scenario", r->name, "group",
                          qn_bench_group_names[r->group], "strategy", STRATEGY_NAMES[r->strategy],
                          "n_at_once", r->n_at_once, "prompt_tokens", r->n_prompt, "max_tokens",
                          r->n_output, "tokens", r->n_tokens, "cut", r->cut, "prompts_included",
                          r->prompts_included);
    bool batch = r->group == QN_BENCH_BATCH;
    double to_base = qn_bench_row_ratio(m, r);
    set_figure(j, "tokens_per_second", r->tokens_per_second);
    set_figure(j, "ms_per_token", qn_bench_row_ms(r));
    set_figure(j, "whole_tokens_per_second", r->whole_tokens_per_second);
    set_figure(j, "prefill_tokens_per_second", r->prefill_tokens_per_second);
    set_figure(j, "bytes_per_second", r->bytes_per_second);
    set_figure(j, "share_of_ceiling", qn_bench_row_share(b, r));
    set_figure(j, "ratio_to_greedy", batch ? 0 : to_base);
    set_figure(j, "ratio_to_one", batch ? to_base : 0);
    return j;
}

static json_t *json_of_model(const qn_bench *b, const qn_bench_model *m)
{
    json_t *rows = json_array();
    for (int i = 0; i < m->n_done; i++)
        json_array_append_new(rows, json_of_row(b, m, &m->rows[i]));
    return json_pack(
        "{s:o,s:s,s:I,s:I,s:I,s:i,s:i,s:o,s:o}", "model", qn_report_text(m->name, strlen(m->name)),
        "dtype", m->dtype, "parameters", (json_int_t)m->info.n_parameters, "weight_bytes",
        (json_int_t)m->info.weight_bytes, "active_bytes", (json_int_t)m->info.active_bytes,
        "context", m->info.n_context, "max_batch", m->info.max_batch, "ceiling_tokens_per_second",
        figure(qn_bench_ceiling_tokens(b, m)), "rows", rows);
}

static json_t *json_of_pair(const qn_bench *b)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_models && b->has_pair; i++) {
        const qn_bench_model *m = &b->models[i];
        double alone = m->alone.tokens_per_second, beside = m->beside.tokens_per_second;
        json_array_append_new(
            list, json_pack("{s:o,s:o,s:o,s:o,s:b}", "model",
                            qn_report_text(m->name, strlen(m->name)), "alone_tokens_per_second",
                            figure(alone), "beside_tokens_per_second", figure(beside), "ratio",
                            figure(ratio(beside, alone)), "cut", m->alone.cut || m->beside.cut));
    }
    return list;
}

void qn_bench_print_json(const qn_bench *b)
{
    json_t *models = json_array();
    for (int i = 0; i < b->n_models; i++)
        json_array_append_new(models, json_of_model(b, &b->models[i]));
    const quern_runtime_info *r = &b->device;
    json_t *j = json_pack("{s:s,s:o,s:i,s:o,s:o,s:o}", "backend", r->backend, "device",
                          qn_report_text(r->device, strlen(r->device)), "threads", r->n_threads,
                          "ceiling_bytes_per_second", figure(b->ceiling), "models", models, "pair",
                          json_of_pair(b));
    json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(j);
}
