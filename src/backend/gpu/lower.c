// A plan as tasks; see task.h. The operations without a file of their own are lowered here.
#include "backend/gpu/lower.h"

#include <string.h>

#include "backend/ops/copy_blocks.h"
#include "backend/ops/embed.h"
#include "backend/ops/gather.h"
#include "backend/ops/kv_append.h"
#include "backend/ops/rms_norm.h"
#include "backend/ops/rope.h"
#include "backend/ops/step_begin.h"
#include "backend/ops/swiglu.h"

// ---- the list ----

static int grow(qn_gpu_list *l)
{
    int capacity = l->capacity ? 2 * l->capacity : 64;
    qn_gpu_task *tasks = qn_arena_take_array(&l->arena, (size_t)capacity, sizeof *tasks);
    if (!tasks) return QUERN_E_MEMORY;
    if (l->n_tasks) memcpy(tasks, l->tasks, (size_t)l->n_tasks * sizeof *tasks);
    l->tasks = tasks;
    l->capacity = capacity;
    return 0;
}

qn_gpu_task *qn_gpu_task_add(qn_gpu_list *l, qn_gpu_kernel kernel, const uint32_t n_groups[3],
                             const void *args, size_t args_bytes)
{
    if (l->n_tasks == l->capacity && grow(l) != 0) l->failed = 1;
    qn_gpu_task *t = l->failed ? &l->spare : &l->tasks[l->n_tasks++];
    *t = (qn_gpu_task){.kernel = kernel, .args_bytes = (uint32_t)args_bytes};
    memcpy(t->n_groups, n_groups, sizeof t->n_groups);
    memcpy(t->args, args, args_bytes);
    return t;
}

void qn_gpu_list_free(qn_gpu_list *l)
{
    if (!l) return;
    qn_arena_free(&l->arena);
    *l = (qn_gpu_list){0};
}

// ---- buffers ----

void qn_gpu_task_bytes(qn_gpu_task *t, const qn_plan *p, const void *address, size_t n_bytes,
                       int write)
{
    if (!address || !n_bytes) {
        qn_gpu_task_counts(t, p);
        return;
    }
    t->buffers[t->n_buffers++] = (qn_access){address, n_bytes, write};
}

void qn_gpu_task_tensor(qn_gpu_task *t, const qn_plan *p, const qn_tensor *tensor, int write)
{
    qn_gpu_task_bytes(t, p, tensor->data, tensor->data ? qn_tensor_bytes(tensor) : 0, write);
}

void qn_gpu_task_counts(qn_gpu_task *t, const qn_plan *p)
{
    t->buffers[t->n_buffers++] = (qn_access){p->batch.step.counts, sizeof *p->batch.step.counts, 0};
}

void qn_gpu_task_rows(qn_gpu_task *t, const qn_plan *p)
{
    size_t n = (size_t)p->batch.limits.max_rows;
    qn_gpu_task_bytes(t, p, p->batch.step.rows, n * sizeof(qn_row), 0);
}

void qn_gpu_task_outputs(qn_gpu_task *t, const qn_plan *p)
{
    size_t n = (size_t)p->batch.limits.max_outputs;
    qn_gpu_task_bytes(t, p, p->batch.step.outputs, n * sizeof(qn_output), 0);
}

void qn_gpu_task_tokens(qn_gpu_task *t, const qn_plan *p, int write)
{
    const qn_slot_table *s = &p->batch.slots;
    size_t n = (size_t)s->max_slots * (size_t)s->max_context;
    qn_gpu_task_bytes(t, p, s->tokens, n * sizeof *s->tokens, write);
}

void qn_gpu_task_table(qn_gpu_task *t, const qn_plan *p, int write)
{
    const qn_slot_table *s = &p->batch.slots;
    size_t n = (size_t)s->max_slots * (size_t)s->max_blocks;
    qn_gpu_task_bytes(t, p, s->table, n * sizeof *s->table, write);
}

void qn_gpu_task_params(qn_gpu_task *t, const qn_plan *p, int write)
{
    const qn_slot_table *s = &p->batch.slots;
    qn_gpu_task_bytes(t, p, s->params, (size_t)s->max_slots * sizeof *s->params, write);
}

// ---- shapes ----

int qn_gpu_is_f32(const qn_tensor *t)
{
    return t->dtype == QN_DTYPE_F32 && t->rank == 2 && (uintptr_t)t->data % 16 == 0;
}

int qn_gpu_is_vector(const qn_tensor *t, int64_t n)
{
    return t->dtype <= QN_DTYPE_BF16 && t->rank == 1 && t->dim[0] == n;
}

_Static_assert(QN_DTYPE_Q8_0 == 3 && QN_DTYPE_IQ4_XS == 14 && QN_DTYPE_AFFINE3_32 == 15 &&
                   QN_DTYPE_AFFINE8_128 == 29 && QN_DTYPE_FP8_128 == 30,
               "QN_GPU_BLOCK_FORMATS and QN_GPU_AFFINE_FORMATS have the values");

int qn_gpu_is_weights(const qn_tensor *t, int64_t n)
{
#define ROW(value, name) [value] = 1,
#define AFFINE(value, bits) [value] = 1, [value + 1] = 1, [value + 2] = 1,
    static const char in_blocks[QN_DTYPE_COUNT] = {QN_GPU_BLOCK_FORMATS(ROW)
                                                       QN_GPU_AFFINE_FORMATS(AFFINE)};
#undef AFFINE
#undef ROW
    if ((unsigned)t->dtype >= QN_DTYPE_COUNT || t->rank != 2 || t->dim[1] != n) return 0;
    const qn_format *f = qn_format_of(t->dtype);
    return qn_dtype_is_plain(t->dtype) || (in_blocks[t->dtype] && n % f->block_elements == 0 &&
                                           (uintptr_t)t->data % qn_format_alignment(f) == 0);
}

uint32_t qn_gpu_groups(int64_t n, int64_t each)
{
    return (uint32_t)((n + each - 1) / each);
}

// Rows that a plan may have: those of its class.
static uint32_t rows_of(const qn_plan *p)
{
    return (uint32_t)p->max_rows;
}

static uint32_t outputs_of(const qn_plan *p)
{
    int n = p->batch.limits.max_outputs;
    return (uint32_t)(n < p->max_rows ? n : p->max_rows);
}

// ---- the step ----

static int words_between(const void *base, const void *at)
{
    return (int)(((const char *)at - (const char *)base) / 4);
}

static void begin(qn_gpu_lowering *l, int apply)
{
    const qn_plan *p = l->plan;
    const qn_step_view *s = &p->batch.step;
    const void *base = s->counts;
    qn_gpu_step_begin_args a = {.rows_at = words_between(base, s->rows),
                                .outputs_at = words_between(base, s->outputs),
                                .slot_copies_at = words_between(base, s->slot_copies),
                                .params_edits_at = words_between(base, s->params_edits),
                                .token_edits_at = words_between(base, s->token_edits),
                                .block_edits_at = words_between(base, s->block_edits),
                                .block_copies_at = words_between(base, s->block_copies),
                                .apply = apply,
                                .max_context = p->batch.slots.max_context,
                                .max_blocks = p->batch.slots.max_blocks};
    size_t n_bytes = qn_step_bytes(&p->batch.limits);
    a.n_words = (int)(n_bytes / sizeof(int32_t));
    qn_gpu_task *t =
        qn_gpu_task_add(l->list, QN_GPU_step_begin, (uint32_t[]){1, 1, 1}, &a, sizeof a);
    qn_gpu_task_bytes(t, p, QN_GPU_STAGED_STEP, n_bytes, 0);
    qn_gpu_task_bytes(t, p, base, n_bytes, 1);
    qn_gpu_task_tokens(t, p, 2);
    qn_gpu_task_table(t, p, 2);
    qn_gpu_task_params(t, p, 2);
}

static void end(qn_gpu_lowering *l)
{
    const qn_plan *p = l->plan;
    qn_gpu_step_end_args a = {p->batch.limits.max_outputs};
    size_t n_bytes = (size_t)a.max_outputs * sizeof(qn_step_result);
    uint32_t n_groups[3] = {outputs_of(p), 1, 1};
    qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_step_end, n_groups, &a, sizeof a);
    qn_gpu_task_bytes(t, p, QN_GPU_STAGED_RESULTS, n_bytes, 1);
    qn_gpu_task_bytes(t, p, p->batch.results, n_bytes, 0);
    qn_gpu_task_counts(t, p);
}

static int any(const void *args)
{
    (void)args;
    return 1;
}

// Lowered with the fetch of the step block, in front of everything.
static void lower_nothing(qn_gpu_lowering *l, const void *args)
{
    (void)l;
    (void)args;
}

static void lower_copy_blocks(qn_gpu_lowering *l, const void *args)
{
    const qn_copy_blocks_args *o = args;
    const qn_plan *p = l->plan;
    for (int i = 0; i < o->n_parts; i++) {
        const qn_state_span *s = &o->parts[i];
        qn_gpu_copy_blocks_args a = {s->n_layers, s->n_blocks, (int)(s->block_bytes / 4),
                                     (int)(s->block_bytes % 4)};
        size_t n_bytes = (size_t)s->n_layers * (size_t)s->n_blocks * s->block_bytes;
        uint32_t n_groups[3] = {(uint32_t)s->n_layers, 1, 1};
        qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_copy_blocks, n_groups, &a, sizeof a);
        qn_gpu_task_bytes(t, p, s->base, n_bytes, 2);
        qn_gpu_task_counts(t, p);
        size_t n_copies = (size_t)p->batch.limits.max_slots;
        qn_gpu_task_bytes(t, p, o->copies, n_copies * sizeof *o->copies, 0);
    }
}

// ---- element by element ----

// A group takes 256 elements of one row.
static void elements_grid(uint32_t n_groups[3], int64_t width, uint32_t n_rows)
{
    n_groups[0] = qn_gpu_groups(width, QN_GPU_N_THREADS);
    n_groups[1] = n_rows;
    n_groups[2] = 1;
}

static int supports_embed(const void *args)
{
    const qn_embed_args *o = args;
    return qn_gpu_is_f32(&o->y) && qn_gpu_is_weights(&o->table, o->y.dim[1]);
}

static void lower_embed(qn_gpu_lowering *l, const void *args)
{
    const qn_embed_args *o = args;
    const qn_plan *p = l->plan;
    qn_gpu_embed_args a = {(int)o->y.dim[1], (int)o->table.dim[0], (int)o->table.dtype,
                           o->slots.max_context};
    uint32_t n_groups[3];
    elements_grid(n_groups, a.width, rows_of(p));
    qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_embed, n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &o->y, 1);
    qn_gpu_task_tensor(t, p, &o->table, 0);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_rows(t, p);
    qn_gpu_task_tokens(t, p, 0);
}

static int supports_gather(const void *args)
{
    const qn_gather_args *o = args;
    return qn_gpu_is_f32(&o->y) && qn_gpu_is_f32(&o->x) && o->x.dim[1] == o->y.dim[1];
}

static void lower_gather(qn_gpu_lowering *l, const void *args)
{
    const qn_gather_args *o = args;
    const qn_plan *p = l->plan;
    qn_gpu_gather_args a = {(int)o->y.dim[1]};
    uint32_t n_groups[3];
    elements_grid(n_groups, a.width, outputs_of(p));
    qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_gather, n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &o->y, 1);
    qn_gpu_task_tensor(t, p, &o->x, 0);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_outputs(t, p);
}

static int supports_swiglu(const void *args)
{
    const qn_swiglu_args *o = args;
    return qn_gpu_is_f32(&o->y) && qn_gpu_is_f32(&o->gate) && qn_gpu_is_f32(&o->up);
}

static void lower_swiglu(qn_gpu_lowering *l, const void *args)
{
    const qn_swiglu_args *o = args;
    const qn_plan *p = l->plan;
    qn_gpu_swiglu_args a = {(int)o->y.dim[1]};
    uint32_t n_groups[3];
    elements_grid(n_groups, a.width, rows_of(p));
    qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_swiglu, n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &o->y, 1);
    qn_gpu_task_tensor(t, p, &o->gate, 0);
    qn_gpu_task_tensor(t, p, &o->up, 0);
    qn_gpu_task_counts(t, p);
}

static int supports_kv_append(const void *args)
{
    const qn_kv_append_args *o = args;
    return qn_gpu_is_f32(&o->k) && qn_gpu_is_f32(&o->v) && o->k_cache.rank == 4 &&
           o->k_cache.dtype == o->v_cache.dtype &&
           qn_kv_cache_supports(o->k_cache.dtype, o->k_cache.dim[3]);
}

static void lower_kv_append(qn_gpu_lowering *l, const void *args)
{
    const qn_kv_append_args *o = args;
    const qn_plan *p = l->plan;
    qn_gpu_kv_append_args a = {(int)o->k_cache.dim[1], (int)o->k_cache.dim[3],
                               (int)o->k_cache.dtype, o->slots.max_blocks};
    uint32_t n_groups[3];
    elements_grid(n_groups, o->k.dim[1], rows_of(p));
    qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_kv_append, n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &o->k, 0);
    qn_gpu_task_tensor(t, p, &o->v, 0);
    qn_gpu_task_tensor(t, p, &o->k_cache, 2);
    qn_gpu_task_tensor(t, p, &o->v_cache, 2);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_rows(t, p);
    qn_gpu_task_table(t, p, 0);
}

static int supports_rope(const void *args)
{
    const qn_rope_args *o = args;
    return qn_gpu_is_f32(&o->x) && o->head_dim % 2 == 0 && o->head_dim > 0 &&
           qn_gpu_is_vector(&o->inv_freq, o->head_dim / 2) && o->inv_freq.dtype == QN_DTYPE_F32;
}

static void lower_rope(qn_gpu_lowering *l, const void *args)
{
    const qn_rope_args *o = args;
    const qn_plan *p = l->plan;
    qn_gpu_rope_args a = {o->n_heads, o->head_dim, o->scale};
    uint32_t n_groups[3];
    elements_grid(n_groups, (int64_t)o->n_heads * (o->head_dim / 2), rows_of(p));
    qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_rope, n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &o->x, 2);
    qn_gpu_task_tensor(t, p, &o->inv_freq, 0);
    qn_gpu_task_counts(t, p);
    qn_gpu_task_rows(t, p);
}

static int over_outputs(const qn_plan *p, const int32_t *n_rows)
{
    return n_rows == &p->batch.step.counts->n_outputs;
}

static int supports_rms_norm(const void *args)
{
    const qn_rms_norm_args *o = args;
    return qn_gpu_is_f32(&o->y) && qn_gpu_is_f32(&o->x) && o->n_groups > 0 &&
           qn_gpu_is_vector(&o->weight, o->x.dim[1] / o->n_groups);
}

static void lower_rms_norm(qn_gpu_lowering *l, const void *args)
{
    const qn_rms_norm_args *o = args;
    const qn_plan *p = l->plan;
    qn_gpu_rms_norm_args a = {(int)o->weight.dim[0], o->n_groups, (int)o->weight.dtype, o->eps,
                              over_outputs(p, o->n_rows)};
    uint32_t n_rows = a.over_outputs ? outputs_of(p) : rows_of(p);
    uint32_t n_groups[3] = {qn_gpu_groups((int64_t)n_rows * a.n_groups, QN_GPU_N_SIMDS), 1, 1};
    qn_gpu_task *t = qn_gpu_task_add(l->list, QN_GPU_rms_norm, n_groups, &a, sizeof a);
    qn_gpu_task_tensor(t, p, &o->y, 1);
    qn_gpu_task_tensor(t, p, &o->x, 0);
    qn_gpu_task_tensor(t, p, &o->weight, 0);
    qn_gpu_task_counts(t, p);
}

// ---- the table ----

static const qn_gpu_rule copy_blocks_rule = {any, NULL, lower_copy_blocks};
static const qn_gpu_rule embed_rule = {supports_embed, NULL, lower_embed};
static const qn_gpu_rule gather_rule = {supports_gather, NULL, lower_gather};
static const qn_gpu_rule kv_append_rule = {supports_kv_append, NULL, lower_kv_append};
static const qn_gpu_rule nothing_rule = {any, NULL, lower_nothing};
static const qn_gpu_rule rms_norm_rule = {supports_rms_norm, NULL, lower_rms_norm};
static const qn_gpu_rule rope_rule = {supports_rope, NULL, lower_rope};
static const qn_gpu_rule swiglu_rule = {supports_swiglu, NULL, lower_swiglu};

static const qn_gpu_rule *const rules[QN_OP_COUNT] = {
    [QN_OP_STEP_BEGIN] = &nothing_rule,   [QN_OP_COPY_BLOCKS] = &copy_blocks_rule,
    [QN_OP_EMBED] = &embed_rule,          [QN_OP_RMS_NORM] = &rms_norm_rule,
    [QN_OP_MATMUL] = &qn_gpu_matmul_rule, [QN_OP_ROPE] = &rope_rule,
    [QN_OP_KV_APPEND] = &kv_append_rule,  [QN_OP_ATTENTION] = &qn_gpu_attention_rule,
    [QN_OP_SWIGLU] = &swiglu_rule,        [QN_OP_GATHER] = &gather_rule,
    [QN_OP_SAMPLE] = &qn_gpu_sample_rule,
};

int qn_gpu_supports(const qn_record *r)
{
    const qn_gpu_rule *rule = rules[r->op];
    return rule && rule->supports(r->args);
}

size_t qn_gpu_scratch_bytes(const qn_plan *plan)
{
    size_t most = 0;
    for (int i = 0; i < plan->n_records; i++) {
        const qn_record *r = &plan->records[i];
        size_t n = rules[r->op] && rules[r->op]->scratch ? rules[r->op]->scratch(plan, r->args) : 0;
        if (n > most) most = n;
    }
    return most;
}

static int has(const qn_plan *plan, qn_op op)
{
    for (int i = 0; i < plan->n_records; i++)
        if (plan->records[i].op == op) return 1;
    return 0;
}

int qn_gpu_lower(const qn_plan *plan, const qn_gpu_options *o, qn_gpu_list *out, quern_error *e)
{
    qn_gpu_lowering l = {plan, o, out};
    const char *bad = NULL;
    *out = (qn_gpu_list){0};
    begin(&l, has(plan, QN_OP_STEP_BEGIN));
    for (int i = 0, n; i < plan->n_records && !bad; i += n) {
        const qn_record *r = &plan->records[i];
        n = qn_gpu_fuse(&l, i);
        if (n) continue;
        n = 1;
        if (o->claim && o->claim(o->context, r, plan, out)) continue;
        if (qn_gpu_supports(r))
            rules[r->op]->lower(&l, r->args);
        else
            bad = qn_op_get(r->op)->name;
    }
    if (has(plan, QN_OP_SAMPLE)) end(&l);
    if (!bad && !out->failed && !plan->failed) return 0;
    qn_gpu_list_free(out);
    if (!bad) return qn_error_set(e, QUERN_E_MEMORY, "plan: no memory for its tasks");
    return qn_error_set(e, QUERN_E_UNSUPPORTED, "plan: no kernel for %s of this type and shape",
                        bad);
}

#define QN_GPU_NAME(name) #name,
static const char *const names[QN_GPU_N_KERNELS] = {QN_GPU_KERNELS(QN_GPU_NAME)};
#undef QN_GPU_NAME

const char *qn_gpu_kernel_name(qn_gpu_kernel kernel)
{
    return (unsigned)kernel < QN_GPU_N_KERNELS ? names[kernel] : NULL;
}
