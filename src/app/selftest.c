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

enum { MAX_FORMS = 2 };

typedef struct {
    const qn_backend *backend;
    qn_device_info info;
    char system[200];
    int seed, rounds;
    const char *only; // NULL: all operations
    char notes[1024]; // the backend's
    int n_forms;
    struct {
        const char *name; // NULL: there is but one
        qn_selftest_report report;
    } forms[MAX_FORMS];
} session;

// ---- the page ----

static void print_row(const qn_selftest_row *r)
{
    printf("| %-28s | %5d | %6d | %16.2e | %7.0e | %s%s%s |\n", r->name, r->n_cases, r->n_failed,
           r->worst, r->tolerance, r->n_failed ? "FAIL" : "pass", *r->why ? ": " : "", r->why);
}

// Length of a row's operation, without its type: "row alone, matmul bf16".
static size_t operation_of(const qn_selftest_row *r)
{
    const char *type = strrchr(r->name, ' ');
    return type && qn_dtype_by_name(type + 1) != QN_DTYPE_COUNT ? (size_t)(type - r->name)
                                                                : strlen(r->name);
}

static bool may_join(const qn_selftest_row *a, const qn_selftest_row *b)
{
    size_t n = operation_of(a);
    return !a->n_failed && !b->n_failed && !*a->why && !*b->why && n == operation_of(b) &&
           !memcmp(a->name, b->name, n);
}

// The rows of an operation whose types all pass are one, with the figures of the type that came nearest to what is allowed.
static void print_rows(const qn_selftest_report *r)
{
    for (int i = 0, end; i < r->n_rows; i = end) {
        qn_selftest_row all = r->rows[i];
        for (end = i + 1; end < r->n_rows && may_join(&r->rows[i], &r->rows[end]); end++) {
            const qn_selftest_row *row = &r->rows[end];
            if (row->worst * all.tolerance > all.worst * row->tolerance) {
                all.worst = row->worst;
                all.tolerance = row->tolerance;
            }
            all.n_cases += row->n_cases;
        }
        if (end > i + 1)
            snprintf(all.name, sizeof all.name, "%.*s, %d types", (int)operation_of(&r->rows[i]),
                     r->rows[i].name, end - i);
        print_row(&all);
    }
}

static int n_failed(const session *s)
{
    int n = 0;
    for (int i = 0; i < s->n_forms; i++)
        n += s->forms[i].report.n_failed;
    return n;
}

static int n_cases(const session *s)
{
    int n = 0;
    for (int i = 0; i < s->n_forms; i++)
        n += s->forms[i].report.n_cases;
    return n;
}

static void print_page(const session *s)
{
    printf("quern %s, self-test of backend %s\n\n", quern_version(), s->backend->name);
    printf("device: %s\nsystem: %s\nseed %d, rounds %d%s%s\n%s", s->info.text, s->system, s->seed,
           s->rounds, s->only ? ", only " : "", s->only ? s->only : "", s->notes);
    for (int i = 0; i < s->n_forms; i++) {
        const qn_selftest_report *r = &s->forms[i].report;
        if (!r->n_rows) continue;
        if (s->forms[i].name)
            printf("\nWith %s%s:\n", s->forms[i].name, i ? ", in case the others fail" : "");
        printf("\n| operation                    | cases | failed | worst difference | allowed | "
               "result "
               "|\n");
        printf("|---|---|---|---|---|---|\n");
        print_rows(r);
    }
    printf("\n%s: %d of %d cases failed. Differences are parts of the largest expected number of a "
           "case.\n",
           n_failed(s) ? "FAIL" : "PASS", n_failed(s), n_cases(s));
}

static json_t *json_row(const qn_selftest_row *r, const char *form)
{
    json_t *worst = isfinite(r->worst) ? json_real(r->worst) : json_null();
    return json_pack("{s:s,s:s?,s:i,s:i,s:o,s:f,s:o}", "operation", r->name, "form", form, "cases",
                     r->n_cases, "failed", r->n_failed, "worst", worst, "allowed", r->tolerance,
                     "why", qn_report_text(r->why, strlen(r->why)));
}

static void print_json(const session *s)
{
    json_t *rows = json_array();
    for (int i = 0; i < s->n_forms; i++)
        for (int j = 0; j < s->forms[i].report.n_rows; j++)
            json_array_append_new(rows, json_row(&s->forms[i].report.rows[j], s->forms[i].name));
    json_t *j = json_pack("{s:s,s:s,s:o,s:o,s:o,s:i,s:i,s:s?,s:b,s:i,s:i,s:o}", "version",
                          quern_version(), "backend", s->backend->name, "device",
                          qn_report_text(s->info.text, strlen(s->info.text)), "system",
                          qn_report_text(s->system, strlen(s->system)), "notes",
                          qn_report_text(s->notes, strlen(s->notes)), "seed", s->seed, "rounds",
                          s->rounds, "only", s->only, "passed", !n_failed(s), "cases", n_cases(s),
                          "failed", n_failed(s), "operations", rows);
    json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(j);
}

// ---- the run ----

static int run_forms(session *s, qn_device *d, quern_error *e)
{
    const qn_backend *b = s->backend;
    const qn_selftest_options options = {(uint64_t)s->seed, s->rounds, s->only};
    int rc = 0;
    for (int i = 0; i < MAX_FORMS && !rc; i++) {
        const char *name = b->use_form ? b->use_form(d, i) : NULL;
        if (!name && i) break;
        s->forms[i].name = name;
        s->n_forms++;
        rc = (i ? qn_selftest_run_products : qn_selftest_run)(b, d, &options, &s->forms[i].report,
                                                              e);
    }
    if (!rc && !n_cases(s))
        rc = qn_error_set(e, QUERN_E_ARGUMENT,
                          "--only: no operation or type of %s has \"%.40s\" in its name", b->name,
                          s->only);
    return rc;
}

static int test(session *s, quern_error *e)
{
    qn_device *device;
    struct utsname u;
    int rc = s->backend->open(&(qn_device_options){.unchecked = 1}, &device, e);
    if (rc) return rc;
    s->backend->info(device, &s->info);
    if (uname(&u) == 0)
        snprintf(s->system, sizeof s->system, "%.40s %.60s %.40s", u.sysname, u.release, u.machine);
    if (s->backend->notes) s->backend->notes(device, s->notes, sizeof s->notes);
    rc = run_forms(s, device, e);
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
        {"--only", QN_OPTION_TEXT, &s.only, "TEXT",
         "operations and types with this in their names: attention, q4_k …", 0, 0},
        {"--json", QN_OPTION_FLAG, &json, NULL, "as JSON instead of a page", 0, 0}};
    const qn_command_line line = {"quern selftest [options]", ABOUT, rows, 5, NULL, &words, 0, 0};
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
    return n_failed(&s) ? QN_EXIT_FAILED : QN_EXIT_DONE;
}
