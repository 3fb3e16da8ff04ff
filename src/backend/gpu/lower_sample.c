// Sampling over the dialect's kernels; see kernels/sample.h. Their words between tasks lie in the options' scratch.
#include "backend/gpu/lower.h"
#include "backend/ops/sample.h"

// As kernels/sample_row.h has them: tokens a segment, words of an output before its segments', words a segment.
enum { SEGMENT = 16 * QN_GPU_N_THREADS, ROW_WORDS = 5136, SEGMENT_WORDS = 16, MAX_VOCAB = 1 << 25 };

static int is_matrix(const qn_tensor *t)
{
    return t->dtype == QN_DTYPE_F32 && t->rank == 2 && (uintptr_t)t->data % sizeof(float) == 0;
}

static int supports(const void *args)
{
    const qn_sample_args *o = args;
    int64_t n_vocab = is_matrix(&o->logits) ? o->logits.dim[1] : 0;
    return n_vocab > 0 && n_vocab <= MAX_VOCAB && is_matrix(&o->scratch) && o->results &&
           o->scratch.dim[0] >= o->logits.dim[0] && o->scratch.dim[1] >= 4 * n_vocab;
}

static uint32_t n_outputs(const qn_plan *p)
{
    int n = p->batch.limits.max_outputs;
    return (uint32_t)(n < p->max_rows ? n : p->max_rows);
}

static uint32_t n_segments(const qn_sample_args *o)
{
    return qn_gpu_groups(o->logits.dim[1], SEGMENT);
}

static size_t row_words(const qn_sample_args *o)
{
    return ROW_WORDS + SEGMENT_WORDS * (size_t)n_segments(o);
}

static size_t scratch(const qn_plan *p, const void *args)
{
    return n_outputs(p) * row_words(args) * sizeof(uint32_t);
}

// Outputs that a group looks at: most have nothing to do, but if all have, there shall be groups enough; of small vocabularies looking is
// most of it.
static uint32_t each(const qn_plan *p, const qn_sample_args *o)
{
    enum { MOST = 8, ENOUGH = 512, MANY = 16, SMALL = 2 };
    uint32_t n = n_outputs(p) * n_segments(o) / ENOUGH;
    if (n_segments(o) <= SMALL && n_outputs(p) >= MANY) return MOST;
    return n < 1 ? 1 : n < MOST ? n : MOST;
}

// All four have the same parameters; what a task writes is told apart.
static void add(qn_gpu_lowering *l, const qn_sample_args *o, qn_gpu_kernel kernel,
                const uint32_t n_groups[3], int writes_scratch)
{
    const qn_plan *p = l->plan;
    int finishes = kernel == QN_GPU_sample_finish;
    qn_gpu_sample_args a = {(int)o->logits.dim[1], (int)n_segments(o),   (int)o->scratch.dim[1],
                            (int)row_words(o),     o->slots.max_context, (int)each(p, o)};
    qn_gpu_task *t = qn_gpu_task_add(l->list, kernel, n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &o->logits, 0);
    qn_gpu_task_tensor(t, p, &o->scratch, writes_scratch ? 2 : 0);
    qn_gpu_task_bytes(t, p, l->options->scratch, scratch(p, o), writes_scratch ? 2 : 0);
    size_t n_results = (size_t)p->batch.limits.max_outputs;
    qn_gpu_task_bytes(t, p, o->results, n_results * sizeof *o->results, finishes ? 2 : 0);
    qn_gpu_task_tokens(t, p, finishes ? 2 : 0);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_rows(t, p);
    qn_gpu_task_outputs(t, p);
    qn_gpu_task_params(t, p, 0);
}

static void lower(qn_gpu_lowering *l, const void *args)
{
    const qn_sample_args *o = args;
    uint32_t n = n_outputs(l->plan), segments = n_segments(o);
    add(l, o, QN_GPU_sample_scan, (uint32_t[]){segments, n, 1}, 1);
    uint32_t shared = qn_gpu_groups(n, each(l->plan, o));
    add(l, o, QN_GPU_sample_count, (uint32_t[]){segments, shared, 2}, 1);
    add(l, o, QN_GPU_sample_place, (uint32_t[]){segments, shared, 2}, 1);
    add(l, o, QN_GPU_sample_finish, (uint32_t[]){1, n, 2}, 0);
}

const qn_gpu_rule qn_gpu_sample_rule = {supports, scratch, lower};
