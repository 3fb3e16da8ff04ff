// quern bench: what its files share. bench.c is the command and the order of things, bench_rows.c the list of what is measured,
// bench_measure.c one measurement, bench_report.c and bench_svg.c the output, bench_limits.c `quern bench limits`.
// One thread, but for event callbacks in bench_measure.c.
#ifndef QN_APP_BENCH_H
#define QN_APP_BENCH_H
#include <stdio.h>

#include "base/buffer.h"
#include "quern.h"

enum { QN_BENCH_MODELS = 2, QN_BENCH_ROWS = 32, QN_BENCH_PROMPT = 128, QN_BENCH_BEAMS = 4 };

typedef enum {
    QN_BENCH_SHORT,
    QN_BENCH_MEDIUM,
    QN_BENCH_LONG,
    QN_BENCH_STRATEGIES, // the four others beside greedy, of each length
    QN_BENCH_BATCH,
    QN_BENCH_PREFILL,
    QN_BENCH_PAIR, // each of two models while the other is loaded and idle, and alone
    QN_BENCH_GROUPS
} qn_bench_group;
extern const char *const qn_bench_group_names[QN_BENCH_GROUPS];

// Requests that run together, all alike but for their prompts, and what was measured of them. A rate of 0: not measured.
typedef struct {
    char name[48]; // "short, top_k"
    qn_bench_group group;
    int n_prompt, n_output, strategy, n_at_once;
    // measured:
    int n_tokens; // made by all; of a beam search: of its best beam
    double
        tokens_per_second; // decode, of all together, after the first tokens; in a prefill row: of the prompt
    double
        whole_tokens_per_second; // all new tokens over the time from submission to the last one's end
    double prefill_tokens_per_second;
    double bytes_per_second;
    bool cut; // its time ran out
    bool
        prompts_included; // no time was left in which all decoded: tokens_per_second has others' prompts in it
} qn_bench_row;

typedef struct {
    const char *name;
    quern_model *model;    // NULL once closed
    quern_model_info info; // its figures alone: the texts go with the model
    char dtype[16];
    uint64_t n_blocks; // of the cache
    qn_bench_row rows[QN_BENCH_ROWS];
    int n_rows, n_done;
    qn_bench_row alone, beside; // the pair
} qn_bench_model;

typedef struct {
    unsigned groups; // bit i: group i
    double row_ms;
    int n_measured; // rows so far: salt of their prompts
    quern_runtime_info device;
    double ceiling; // bytes a second that the device can read
    qn_bench_model models[QN_BENCH_MODELS];
    int n_models;
    bool has_pair;
} qn_bench;

static inline bool qn_bench_has(const qn_bench *b, qn_bench_group group)
{
    return b->groups >> group & 1;
}

// "short,batch" → bits. 0 where a name is unknown; it is then at *wrong, *n_wrong bytes long.
unsigned qn_bench_groups_parse(const char *text, const char **wrong, int *n_wrong);
// Fills in rows of a loaded model.
void qn_bench_rows_plan(const qn_bench *b, qn_bench_model *m);
// Measures them, a line on stderr each; n_done tells how far it came.
int qn_bench_rows_run(qn_bench *b, qn_bench_model *m, quern_error *e);
// Measures the row of the pair under a name for the progress line.
int qn_bench_rows_run_pair(qn_bench *b, qn_bench_model *m, const char *name, qn_bench_row *out,
                           quern_error *e);
int qn_bench_rows_warm_up(qn_bench *b, qn_bench_model *m, quern_error *e);

// Runs a row's requests; row_ms after all have a first token, or four times that after the start, they are cancelled and what
// they made counts.
int qn_bench_measure(const qn_bench_model *m, double row_ms, int salt, qn_bench_row *row,
                     quern_error *e);

// Figures that follow from others; 0 where there are none.
double qn_bench_row_ms(const qn_bench_row *r); // from one token of a sequence to its next
double qn_bench_row_share(const qn_bench *b, const qn_bench_row *r);
// To the greedy row of the same length; of batches: to one at once.
double qn_bench_row_ratio(const qn_bench_model *m, const qn_bench_row *r);
double qn_bench_ceiling_tokens(const qn_bench *b, const qn_bench_model *m);
// "7.62 billion", "2.10 million"
void qn_bench_count_text(double n, char *text, size_t n_bytes);

void qn_bench_print_markdown(const qn_bench *b);
void qn_bench_print_json(const qn_bench *b);
// A whole SVG document.
void qn_bench_svg(const qn_bench *b, qn_buffer *out);

// argv[0] is "limits".
int qn_bench_limits(int argc, char **argv);

#endif
