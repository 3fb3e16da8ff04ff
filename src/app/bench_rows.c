// What quern bench measures of a model: the list of rows, and running them one after the other.
#include <stdlib.h>
#include <string.h>

#include "app/bench.h"
#include "base/clock.h"

enum {
    BATCH_OUTPUT = 128,
    PAIR_OUTPUT = 150,
    WARM_OUTPUT = 8,
    PASSES = 3, // of prefill and pairs, which are short or are compared: the fastest counts
    BLOCK_TOKENS = 16,
};

const char *const qn_bench_group_names[QN_BENCH_GROUPS] = {"short", "medium",  "long", "strategies",
                                                           "batch", "prefill", "pair"};

static const struct {
    const char *name;
    int strategy;
} STRATEGIES[] = {{"greedy", QUERN_GREEDY},
                  {"sampling", QUERN_SAMPLING},
                  {"top_k", QUERN_TOP_K},
                  {"top_p", QUERN_TOP_P},
                  {"beam 4", QUERN_BEAM}};
enum { N_STRATEGIES = sizeof STRATEGIES / sizeof *STRATEGIES };

static const int LENGTHS[] = {50, 150, 300}; // of the groups short, medium and long
static const int BATCHES[] = {1, 4, 8, 16, 32, 64, 128, 256};
static const int PREFILLS[] = {128, 512, 2048, 4096};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- groups ---- */

static int find_group(const char *name, size_t n)
{
    for (int i = 0; i < QN_BENCH_GROUPS; i++)
        if (strlen(qn_bench_group_names[i]) == n && !memcmp(qn_bench_group_names[i], name, n))
            return i;
    return -1;
}

unsigned qn_bench_groups_parse(const char *text, const char **wrong, int *n_wrong)
{
    const unsigned lengths = 1u << QN_BENCH_SHORT | 1u << QN_BENCH_MEDIUM | 1u << QN_BENCH_LONG;
    unsigned groups = 0;
    for (const char *at = text;; at++) {
        size_t n = strcspn(at, ",");
        int group = find_group(at, n);
        if (group < 0) {
            *wrong = at;
            *n_wrong = (int)n;
            return 0;
        }
        groups |= 1u << group;
        at += n;
        if (!*at) break;
    }
    if (groups >> QN_BENCH_STRATEGIES & 1 && !(groups & lengths)) groups |= lengths;
    return groups;
}

/* ---- the list ---- */

static qn_bench_row *add(qn_bench_model *m, qn_bench_group group, int n_output)
{
    qn_bench_row *r = &m->rows[m->n_rows++];
    int half = m->info.n_context / 2; // what a short context leaves room for
    *r = (qn_bench_row){.group = group,
                        .n_prompt = half < QN_BENCH_PROMPT ? half : QN_BENCH_PROMPT,
                        .n_output = n_output,
                        .n_at_once = 1};
    if (r->n_prompt < 1) r->n_prompt = 1;
    return r;
}

static void plan_length(const qn_bench *b, qn_bench_model *m, qn_bench_group group)
{
    for (size_t i = 0; i < N_STRATEGIES; i++) {
        int strategy = STRATEGIES[i].strategy;
        if (strategy != QUERN_GREEDY && !qn_bench_has(b, QN_BENCH_STRATEGIES)) break;
        if (strategy == QUERN_BEAM && m->info.max_batch < QN_BENCH_BEAMS) continue;
        qn_bench_row *r = add(m, group, LENGTHS[group]);
        r->strategy = strategy;
        snprintf(r->name, sizeof r->name, "%s, %s", qn_bench_group_names[group],
                 STRATEGIES[i].name);
    }
}

// As many at once as the batch, the queue and the cache allow.
static void plan_batches(qn_bench_model *m)
{
    for (size_t i = 0; i < COUNT(BATCHES); i++) {
        int n = BATCHES[i], n_tokens = QN_BENCH_PROMPT + BATCH_OUTPUT + BLOCK_TOKENS;
        uint64_t n_blocks = (uint64_t)n * (uint64_t)(n_tokens / BLOCK_TOKENS);
        if (n > m->info.max_batch || n > m->info.max_queue) return;
        if (n > 1 && n_blocks > m->n_blocks) {
            fprintf(stderr, "%s: %d at once is left out: the cache holds %llu tokens\n", m->name, n,
                    (unsigned long long)(m->n_blocks * BLOCK_TOKENS));
            return;
        }
        qn_bench_row *r = add(m, QN_BENCH_BATCH, BATCH_OUTPUT);
        r->n_at_once = n;
        snprintf(r->name, sizeof r->name, "batch, %d at once", n);
    }
}

static void plan_prefills(qn_bench_model *m)
{
    for (size_t i = 0; i < COUNT(PREFILLS) && PREFILLS[i] < m->info.n_context; i++) {
        qn_bench_row *r = add(m, QN_BENCH_PREFILL, 1);
        r->n_prompt = PREFILLS[i];
        snprintf(r->name, sizeof r->name, "prefill, %d tokens", PREFILLS[i]);
    }
}

void qn_bench_rows_plan(const qn_bench *b, qn_bench_model *m)
{
    for (qn_bench_group g = QN_BENCH_SHORT; g <= QN_BENCH_LONG; g++)
        if (qn_bench_has(b, g)) plan_length(b, m, g);
    if (qn_bench_has(b, QN_BENCH_BATCH)) plan_batches(m);
    if (qn_bench_has(b, QN_BENCH_PREFILL)) plan_prefills(m);
}

/* ---- running ---- */

static int run_row(qn_bench *b, const qn_bench_model *m, qn_bench_row *r, quern_error *e)
{
    int passes = r->group == QN_BENCH_PREFILL || r->group == QN_BENCH_PAIR ? PASSES : 1;
    double from_ms = qn_clock_ms();
    qn_bench_row one = *r;
    for (int i = 0; i < passes && !one.cut; i++) {
        if (i && qn_clock_ms() > from_ms + b->row_ms / 2) break;
        int rc = qn_bench_measure(m, b->row_ms, ++b->n_measured, &one, e);
        if (rc) return rc;
        if (!i || (!one.cut && one.tokens_per_second > r->tokens_per_second)) *r = one;
    }
    return 0;
}

static int run_shown(qn_bench *b, const qn_bench_model *m, qn_bench_row *r, quern_error *e)
{
    int rc = run_row(b, m, r, e);
    if (rc)
        fprintf(stderr, "failed\n");
    else
        fprintf(stderr, "%.2f tok/s%s\n", r->tokens_per_second, r->cut ? " (cut by time)" : "");
    return rc;
}

int qn_bench_rows_run(qn_bench *b, qn_bench_model *m, quern_error *e)
{
    for (m->n_done = 0; m->n_done < m->n_rows; m->n_done++) {
        qn_bench_row *r = &m->rows[m->n_done];
        fprintf(stderr, "%s: %d/%d %s: ", m->name, m->n_done + 1, m->n_rows, r->name);
        int rc = run_shown(b, m, r, e);
        if (rc) return rc;
    }
    return 0;
}

static qn_bench_row greedy(const qn_bench_model *m, qn_bench_group group, int n_output)
{
    qn_bench_model scratch = {.info = m->info};
    return *add(&scratch, group, n_output);
}

int qn_bench_rows_run_pair(qn_bench *b, qn_bench_model *m, const char *name, qn_bench_row *out,
                           quern_error *e)
{
    *out = greedy(m, QN_BENCH_PAIR, PAIR_OUTPUT);
    snprintf(out->name, sizeof out->name, "%s", name);
    fprintf(stderr, "%s: %s: ", m->name, name);
    return run_shown(b, m, out, e);
}

int qn_bench_rows_warm_up(qn_bench *b, qn_bench_model *m, quern_error *e)
{
    qn_bench_row warm = greedy(m, QN_BENCH_SHORT, WARM_OUTPUT);
    return run_row(b, m, &warm, e);
}

/* ---- what follows ---- */

double qn_bench_row_ms(const qn_bench_row *r)
{
    return r->tokens_per_second > 0 ? 1e3 * r->n_at_once / r->tokens_per_second : 0;
}

double qn_bench_row_share(const qn_bench *b, const qn_bench_row *r)
{
    return b->ceiling > 0 ? r->bytes_per_second / b->ceiling : 0;
}

double qn_bench_row_ratio(const qn_bench_model *m, const qn_bench_row *r)
{
    if (r->group == QN_BENCH_PREFILL) return 0;
    for (int i = 0; i < m->n_done; i++) {
        const qn_bench_row *base = &m->rows[i];
        if (base->group == r->group && base->strategy == QUERN_GREEDY && base->n_at_once == 1)
            return base->tokens_per_second > 0 ? r->tokens_per_second / base->tokens_per_second : 0;
    }
    return 0;
}

double qn_bench_ceiling_tokens(const qn_bench *b, const qn_bench_model *m)
{
    return m->info.active_bytes ? b->ceiling / (double)m->info.active_bytes : 0;
}
