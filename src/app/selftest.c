// quern selftest: every operation of a backend against plain C, as a page to paste into a report.
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "app/app.h"
#include "app/report.h"
#include "backend/selftest.h"
#include "base/error.h"

static const char ABOUT[] = "Runs every operation of a backend on random small shapes, in all "
                            "types, and compares with plain C on the CPU. Ends "
                            "with 1\nwhere anything differs by more than allowed. The page is "
                            "meant to be pasted whole into a report.";

typedef struct {
    const qn_backend *backend;
    qn_device_info info;
    char system[200];
    int seed, rounds;
    qn_selftest_report report;
} session;

// ---- the page ----

static void print_row(const qn_selftest_row *r)
{
    printf("| %-20s | %5d | %6d | %16.2e | %7.0e | %s%s%s |\n", r->name, r->n_cases, r->n_failed,
           r->worst, r->tolerance, r->n_failed ? "FAIL" : "pass", *r->why ? ": " : "", r->why);
}

static void print_page(const session *s)
{
    printf("quern %s, self-test of backend %s\n\n", quern_version(), s->backend->name);
    printf("device: %s\nsystem: %s\nseed %d, rounds %d\n\n", s->info.text, s->system, s->seed,
           s->rounds);
    printf("| operation            | cases | failed | worst difference | allowed | result |\n");
    printf("|---|---|---|---|---|---|\n");
    for (int i = 0; i < s->report.n_rows; i++)
        print_row(&s->report.rows[i]);
    printf("\n%s: %d of %d cases failed. Differences are parts of the largest expected number of a "
           "case.\n",
           s->report.n_failed ? "FAIL" : "PASS", s->report.n_failed, s->report.n_cases);
}

static json_t *json_row(const qn_selftest_row *r)
{
    json_t *worst = isfinite(r->worst) ? json_real(r->worst) : json_null();
    return json_pack("{s:s,s:i,s:i,s:o,s:f,s:o}", "operation", r->name, "cases", r->n_cases,
                     "failed", r->n_failed, "worst", worst, "allowed", r->tolerance, "why",
                     qn_report_text(r->why, strlen(r->why)));
}

static void print_json(const session *s)
{
    json_t *rows = json_array();
    for (int i = 0; i < s->report.n_rows; i++)
        json_array_append_new(rows, json_row(&s->report.rows[i]));
    json_t *j = json_pack("{s:s,s:s,s:o,s:o,s:i,s:i,s:b,s:i,s:i,s:o}", "version", quern_version(),
                          "backend", s->backend->name, "device",
                          qn_report_text(s->info.text, strlen(s->info.text)), "system",
                          qn_report_text(s->system, strlen(s->system)), "seed", s->seed, "rounds",
                          s->rounds, "passed", !s->report.n_failed, "cases", s->report.n_cases,
                          "failed", s->report.n_failed, "operations", rows);
    json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(j);
}

// ---- the run ----

static int test(session *s, quern_error *e)
{
    qn_device *device;
    struct utsname u;
    int rc = s->backend->open(&(qn_device_options){.unchecked = 1}, &device, e);
    if (rc) return rc;
    s->backend->info(device, &s->info);
    if (uname(&u) == 0)
        snprintf(s->system, sizeof s->system, "%.40s %.60s %.40s", u.sysname, u.release, u.machine);
    rc = qn_selftest_run(s->backend, device, (uint64_t)s->seed, s->rounds, &s->report, e);
    s->backend->close(device);
    return rc;
}

int qn_app_selftest(int argc, char **argv)
{
    session s = {.seed = 1, .rounds = 8};
    const char *name = "auto";
    bool json = false;
    qn_text_list words = {0};
    quern_error e = {0};
    const qn_option rows[] = {
        {"--backend", QN_OPTION_TEXT, &name, "B", "the one to test (default: auto)", 0, 0},
        {"--seed", QN_OPTION_INT, &s.seed, "N", "of shapes and numbers (default: 1)", 0, 1 << 30},
        {"--rounds", QN_OPTION_INT, &s.rounds, "N", "cases an operation and type (default: 8)", 1,
         1000},
        {"--json", QN_OPTION_FLAG, &json, NULL, "as JSON instead of a page", 0, 0}};
    const qn_command_line line = {"quern selftest [options]", ABOUT, rows, 4, NULL, &words, 0, 0};
    int rc = qn_options_parse(&line, argc, argv);
    if (rc != QN_OPTIONS_GO) return rc;
    s.backend = qn_backend_by_name(name);
    if (!s.backend) {
        qn_error_set(&e, QUERN_E_UNSUPPORTED, "backend: \"%s\" is unknown or cannot run here",
                     name);
        return qn_app_fail(&e);
    }
    if (test(&s, &e)) return qn_app_fail(&e);
    (json ? print_json : print_page)(&s);
    return s.report.n_failed ? QN_EXIT_FAILED : QN_EXIT_DONE;
}
