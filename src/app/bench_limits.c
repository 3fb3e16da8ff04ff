// quern bench limits: what the device in use can do at most, whatever the model.
#include <string.h>

#include "app/app.h"
#include "app/bench.h"
#include "app/report.h"
#include "base/log.h"

static const char ABOUT[] = "Measures what the device can do at most, in a few seconds: the "
                            "bandwidth at which it reads and\n"
                            "copies its memory (bytes read plus bytes written), products with a "
                            "BF16 matrix (a multiply-add is\n"
                            "two operations), and a launch that computes next to nothing.";

static json_t *figure(double value)
{
    return value > 0 ? json_real(value) : json_null();
}

static void print_json(const quern_runtime_info *r, const quern_limits *l)
{
    json_t *j = json_pack("{s:s,s:o,s:i,s:o,s:o,s:o,s:o}", "backend", r->backend, "device",
                          qn_report_text(r->device, strlen(r->device)), "threads", r->n_threads,
                          "read_bytes_per_second", figure(l->read_bytes_per_second),
                          "copy_bytes_per_second", figure(l->copy_bytes_per_second),
                          "matmul_flops_per_second", figure(l->matmul_flops_per_second),
                          "launch_seconds", figure(l->launch_seconds));
    json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(j);
}

static void print_row(const char *name, double value, const char *unit)
{
    if (value > 0)
        printf("| %s | %.1f %s |\n", name, value, unit);
    else
        printf("| %s | not measured |\n", name);
}

static void print_markdown(const quern_runtime_info *r, const quern_limits *l)
{
    printf("%s (%s)\n\n| limit | measured |\n|---|---|\n", r->device, r->backend);
    print_row("read", l->read_bytes_per_second * 1e-9, "GB/s");
    print_row("copy (bytes read plus bytes written)", l->copy_bytes_per_second * 1e-9, "GB/s");
    print_row("matrix product, BF16 weights", l->matmul_flops_per_second * 1e-9, "GFLOP/s");
    print_row("launch", l->launch_seconds * 1e6, "µs");
}

static int measure(const qn_engine_options *o, bool json, quern_error *e)
{
    quern_runtime *rt = NULL;
    quern_runtime_info info;
    quern_limits limits;
    int rc = quern_runtime_open(&o->runtime, &rt, e);
    if (rc) return rc;
    rc = quern_runtime_measure_limits(rt, &limits);
    quern_runtime_get_info(rt, &info);
    if (rc) {
        e->code = rc;
        snprintf(e->message, sizeof e->message, "%s: the limits could not be measured: %s",
                 info.device, quern_code_name(rc));
    } else if (json) {
        print_json(&info, &limits);
    } else {
        print_markdown(&info, &limits);
    }
    quern_runtime_close(rt);
    return rc;
}

int qn_bench_limits(int argc, char **argv)
{
    qn_engine_options engine;
    qn_text_list words = {0};
    bool json = false;
    quern_error e = {0};
    qn_option rows[QN_ENGINE_OPTIONS + 1] = {
        {"--json", QN_OPTION_FLAG, &json, NULL, "as JSON instead of a Markdown table", 0, 0}};
    qn_engine_options_rows(&engine, rows + 1);
    qn_command_line line = {
        "quern bench limits [options]", ABOUT, rows, QN_ENGINE_OPTIONS + 1, NULL, &words, 0, 0};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    if (engine.log_level)
        engine.runtime.log_level = (quern_log_level)qn_log_level_of(engine.log_level);
    return measure(&engine, json, &e) ? qn_app_fail(&e) : QN_EXIT_DONE;
}
