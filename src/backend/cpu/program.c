// Compiling and running a plan on the CPU; see program.h.
// A record must wait for the earlier ones whose ranges it meets (one of the two writing). The records of a phase are free of such
// meetings, so the workers run through them without waiting for one another, each taking chunks where there are some left.
#include "backend/cpu/program.h"

#include <stdlib.h>
#include <string.h>

#include "backend/ops/matmul.h"

typedef struct {
    _Alignas(64) atomic_uint n_taken; // a cache line of its own: every worker writes it
    qn_cpu_kernel kernel;
    const void *args;
} record;

struct qn_program {
    qn_arena arena; // of the arguments
    record *records;
    int *phases; // [n_phases + 1]: the first record of each
    int n_records, n_phases, max_rows;
    qn_batch batch;
};

typedef struct {
    const qn_program *program;
    char *scratch;
    int n_workers;
} run;

// ---- dependencies ----

static int meets(const qn_access *a, const qn_access *b)
{
    const char *a_from = a->from, *b_from = b->from;
    return (a->write || b->write) && a_from < b_from + b->n_bytes && b_from < a_from + a->n_bytes;
}

static int depends(const qn_record *later, const qn_record *earlier)
{
    qn_access a[QN_MAX_ACCESSES], b[QN_MAX_ACCESSES];
    int n_a = qn_op_get(later->op)->accesses(later->args, a);
    int n_b = qn_op_get(earlier->op)->accesses(earlier->args, b);
    for (int i = 0; i < n_a; i++)
        for (int j = 0; j < n_b; j++)
            if (meets(&a[i], &b[j])) return 1;
    return 0;
}

// 1 where record i meets one of [first, i).
static int depends_on_any(const qn_plan *plan, int i, int first)
{
    for (int j = first; j < i; j++)
        if (depends(&plan->records[i], &plan->records[j])) return 1;
    return 0;
}

// ---- make ----

typedef struct {
    const qn_observer *observer;
    const qn_matmul_args *product;
} observation;

// One worker tells the observer, while others may be at the product already: both only read.
static void observe(const void *args, const qn_cpu_task *task)
{
    const observation *a = args;
    if (qn_cpu_take(task) > 0) return;
    const qn_matmul_args *m = a->product;
    a->observer->product(a->observer->user, m->w.data, m->x.data, *m->n_rows, m->x.dim[1]);
}

static void add_record(qn_program *p, qn_cpu_kernel kernel, const void *args)
{
    record *r = &p->records[p->n_records++];
    r->kernel = kernel;
    r->args = args;
}

static int copy_records(qn_program *p, const qn_cpu_isa *isa, const qn_observer *observer,
                        const qn_plan *plan)
{
    int first = 0; // record of the phase, in the plan
    for (int i = 0; i < plan->n_records; i++) {
        const qn_record *from = &plan->records[i];
        size_t bytes = qn_op_get(from->op)->args_bytes;
        void *args = qn_arena_take(&p->arena, bytes);
        if (!args) return QUERN_E_MEMORY;
        memcpy(args, from->args, bytes);
        if (i == 0 || depends_on_any(plan, i, first)) {
            first = i;
            p->phases[p->n_phases++] = p->n_records;
        }
        if (observer && from->op == QN_OP_MATMUL) {
            observation *seen = qn_arena_take(&p->arena, sizeof *seen);
            if (!seen) return QUERN_E_MEMORY;
            *seen = (observation){observer, args};
            add_record(p, observe, seen);
        }
        add_record(p, qn_dispatch_kernel(isa, from->op), args);
    }
    p->phases[p->n_phases] = p->n_records;
    return 0;
}

int qn_program_make(const qn_cpu_isa *isa, const qn_observer *observer, const qn_plan *plan,
                    qn_program **out, quern_error *e)
{
    *out = NULL;
    for (int i = 0; i < plan->n_records; i++)
        if (!qn_dispatch_supports(&plan->records[i]))
            return qn_error_set(e, QUERN_E_UNSUPPORTED,
                                "cpu: record %d: no entry for %s of this type and shape", i,
                                qn_op_get(plan->records[i].op)->name);
    qn_program *p = calloc(1, sizeof *p);
    void *records = NULL;
    int most = plan->n_records * (observer ? 2 : 1);
    size_t bytes = (size_t)(most ? most : 1) * sizeof(record);
    if (p && !plan->failed && posix_memalign(&records, 64, bytes) == 0) {
        memset(records, 0, bytes);
        *p = (qn_program){.records = records,
                          .phases = calloc((size_t)plan->n_records + 1, sizeof *p->phases),
                          .max_rows = plan->max_rows,
                          .batch = plan->batch};
        if (p->phases && copy_records(p, isa, observer, plan) == 0) {
            *out = p;
            return 0;
        }
    }
    qn_program_free(p);
    return qn_error_set(e, QUERN_E_MEMORY, "cpu: no memory for a program of %d records",
                        plan->n_records);
}

void qn_program_free(qn_program *p)
{
    if (!p) return;
    qn_arena_free(&p->arena);
    free(p->records);
    free(p->phases);
    free(p);
}

// ---- run ----

static void work(void *context, int phase, int worker)
{
    const run *r = context;
    qn_cpu_task task = {.worker = worker,
                        .n_workers = r->n_workers,
                        .scratch = r->scratch + (size_t)worker * QN_CPU_SCRATCH_BYTES};
    for (int i = r->program->phases[phase]; i < r->program->phases[phase + 1]; i++) {
        record *at = &r->program->records[i];
        task.n_taken = &at->n_taken;
        at->kernel(at->args, &task);
    }
}

int qn_program_run(qn_program *p, qn_pool *pool, char *scratch, const qn_launch *step)
{
    const qn_step_counts *counts = step->input;
    if (!qn_step_fits(&p->batch.limits, p->max_rows, counts)) return QUERN_E_INTERNAL;
    qn_step_copy(&p->batch.limits, p->batch.step.counts, step->input);
    for (int i = 0; i < p->n_records; i++)
        atomic_store_explicit(&p->records[i].n_taken, 0, memory_order_relaxed);
    run r = {p, scratch, qn_pool_n_threads(pool)};
    qn_pool_run(pool, p->n_phases, work, &r);
    if (step->output && counts->n_outputs)
        memcpy(step->output, p->batch.results, (size_t)counts->n_outputs * sizeof(qn_step_result));
    return 0;
}
