// See resident.h.
#include "backend/cuda/resident.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cuda/accesses.h"
#include "backend/cuda/shares.h"
#include "backend/gpu/args.h"
#include "backend/ops/matmul.h"

enum {
    UNIT_STEPS = QN_CUDA_PART / QN_CUDA_STEP,
    SUMS = 12,        // buffer of the task of a product, or of an attention that joins
    LEAST_GROUPS = 8, // each of a tile's rows has one that tells its norm (resident_product.cuh)
    FUSED_ROWS = 8,   // of plans on other cards than Hopper, whose products take so many at once
    BLOCK_ROWS = 2,   // of plans with weights in blocks
};

static int is_product(const qn_gpu_task *t)
{
    return (int)t->kernel == QN_GPU_N_KERNELS + QN_CUDA_product;
}

static qn_cuda_product_args product_args(const qn_gpu_task *t)
{
    qn_cuda_product_args a;
    memcpy(&a, t->args, sizeof a);
    return a;
}

static int n_strips(const qn_cuda_product_args *a)
{
    int n = 0;
    for (int i = 0; i < a->n_matrices; i++)
        n += (a->n_n[i] + QN_CUDA_STEP - 1) / QN_CUDA_STEP;
    return n;
}

static int n_parts(const qn_cuda_product_args *a)
{
    return (a->padded_k + QN_CUDA_PART - 1) / QN_CUDA_PART;
}

// ---- fits ----

// Parts of K that the warps of one group may need, at most.
static int64_t parts_of_group(const qn_device *d, const qn_cuda_product_args *a)
{
    int64_t strips = n_strips(a), steps = strips * (a->padded_k / QN_CUDA_STEP);
    int64_t parts = (steps / d->n_processors + UNIT_STEPS) / (strips * UNIT_STEPS) + 2;
    return parts < n_parts(a) ? parts : n_parts(a);
}

// Bytes of a group's room (resident_product.cuh): the rows as fragments, and weights of a norm.
static int64_t room_of(const qn_device *d, int n_rows, const qn_cuda_product_args *a)
{
    enum { BESIDE = 64 };
    int64_t parts = parts_of_group(d, a);
    int64_t norms = a->source == QN_CUDA_NORM ? parts * QN_CUDA_PART * 4 : 0;
    return BESIDE + parts * QN_CUDA_PART * 2 * n_rows + norms;
}

// Rows whose norms every group computes: then it has them whole. The same for all groups: of more rows each waits for others.
static int rows_by_each(const qn_device *d, const qn_cuda_product_args *a)
{
    enum { MOST = 2 }; // of more, reading them costs more than waiting
    for (int n = MOST; n > 0; n--)
        if (room_of(d, n, a) + (int64_t)n * a->n_k * 4 <= QN_CUDA_RESIDENT_WORK && a->n_k % 4 == 0)
            return n;
    return 0;
}

// What run_body of resident.cu has: all of the dialect's kernels, and of CUDA's own these.
static int has_body(int kernel)
{
    switch (kernel - QN_GPU_N_KERNELS) {
    case QN_CUDA_product:
    case QN_CUDA_embed_packed:
#define CASE(name) case QN_CUDA_##name:
        QN_CUDA_FLASH(CASE, rows)
        QN_CUDA_FLASH(CASE, attend)
#undef CASE
        return 1;
    default:
        return kernel < QN_GPU_N_KERNELS;
    }
}

int qn_cuda_few_rows(const qn_device *d, const qn_plan *plan)
{
    if (d->capability != QN_CUDA_HOPPER) return FUSED_ROWS;
    for (int i = 0; i < plan->n_records; i++) {
        const qn_matmul_args *a = plan->records[i].args;
        if (plan->records[i].op != QN_OP_MATMUL) continue;
        if (a->w.dtype != QN_DTYPE_F32) return 0;
    }
    return FUSED_ROWS;
}

int qn_cuda_resident_fits(const qn_device *d, const qn_plan *plan, const qn_gpu_list *list)
{
    if (!d->resident || plan->max_rows > qn_cuda_few_rows(d, plan)) return 0;
    if (plan->max_rows > QN_CUDA_RESIDENT_ROWS) return 0;
    if (d->shared_bytes < QN_CUDA_RESIDENT_SHARED) return 0;
    if (d->n_processors < LEAST_GROUPS) return 0;
    for (int i = 0; i < list->n_tasks; i++) {
        const qn_gpu_task *t = &list->tasks[i];
        if (!has_body((int)t->kernel)) return 0;
        qn_cuda_product_args a = product_args(t);
        if (is_product(t) && room_of(d, plan->max_rows, &a) > QN_CUDA_RESIDENT_WORK) return 0;
    }
    return 1;
}

// ---- the list ----

// One has to wait for the other.
static int meet(const qn_access *a, const qn_access *b)
{
    return (a->write || b->write) && qn_cuda_overlap(a, b);
}

// 1 where task i touches what one since `first` wrote, or writes what one touched.
static int depends(const qn_gpu_list *l, int first, int i)
{
    for (int j = first; j < i; j++)
        for (int a = 0; a < l->tasks[j].n_buffers; a++)
            for (int b = 0; b < l->tasks[i].n_buffers; b++)
                if (meet(&l->tasks[j].buffers[a], &l->tasks[i].buffers[b])) return 1;
    return 0;
}

static int is_attend(const qn_gpu_task *t)
{
    int kernel = (int)t->kernel - QN_GPU_N_KERNELS;
    return kernel >= QN_CUDA_flash_attend_f16_64 && kernel <= QN_CUDA_flash_attend_q8_0_128;
}

// All attentions that begin early share rows, table and angles, made for the first of them.
static int is_as_first(const qn_gpu_list *l, const qn_gpu_task *t)
{
    const qn_gpu_task *first = l->tasks;
    qn_gpu_attention_args a, b;
    while (!is_attend(first))
        first++;
    memcpy(&a, first->args, sizeof a);
    memcpy(&b, t->args, sizeof b);
    return t->n_groups[0] == first->n_groups[0] && t->n_groups[1] == first->n_groups[1] &&
           a.head_dim == b.head_dim && a.rope_scale == b.rope_scale && a.max_blocks == b.max_blocks;
}

// What attention_early.cuh reads (buffers of flash_attend: out, q, k, v, then these) has been written, if at all, by tasks whose
// end a group has seen when it begins with task i: all those before `since`.
static int begins_early(const qn_gpu_list *l, int since, int i)
{
    enum { FIRST = 4 };
    const qn_gpu_task *t = &l->tasks[i];
    if (!is_attend(t) || !is_as_first(l, t)) return 0;
    for (int j = since; j < i; j++)
        for (int a = 0; a < l->tasks[j].n_buffers; a++)
            for (int b = FIRST; b < t->n_buffers; b++)
                if (l->tasks[j].buffers[a].write && meet(&l->tasks[j].buffers[a], &t->buffers[b]))
                    return 0;
    return 1;
}

static qn_cuda_stream make_stream(const qn_gpu_task *t)
{
    enum { FIRST_WEIGHTS = 5 };
    qn_cuda_product_args a = product_args(t);
    qn_cuda_stream s = {.n_strips = n_strips(&a),
                        .n_full = a.padded_k / QN_CUDA_PART,
                        .rest_steps = a.padded_k % QN_CUDA_PART / QN_CUDA_STEP,
                        .over_outputs = a.over_outputs};
    for (int i = 0; i < a.n_matrices; i++) {
        s.w[i] = (unsigned long long)(uintptr_t)t->buffers[FIRST_WEIGHTS + i].from;
        s.strips[i] = (a.n_n[i] + QN_CUDA_STEP - 1) / QN_CUDA_STEP;
        s.step_bytes[i] = QN_CUDA_STEP_BYTES(a.w_type[i]);
    }
    qn_cuda_cut_units(&s);
    return s;
}

// What the list needs, and where a list in the making is.
typedef struct {
    qn_cuda_resident_task *tasks; // NULL: only counted
    qn_cuda_stream *streams;
    qn_cuda_share *shares; // of all groups of the grid, a product after the other
    int n_streams, epoch;
    int slot_bytes;         // of the ring: the most that a slot of a product has
    size_t sums, most_sums; // in units: of this epoch so far, and the most of one
    int arrivals, before;   // of this epoch, and of the one before
} maker;

static void begin_epoch(maker *m)
{
    m->before = m->arrivals;
    m->arrivals = 0;
    m->sums = 0;
    m->epoch++;
}

static void write_task(const qn_program *p, int flight, const qn_gpu_task *t,
                       qn_cuda_resident_task *out)
{
    for (int i = 0; i < 3; i++)
        out->n_groups[i] = (int)t->n_groups[i];
    for (int i = 0; i < t->n_buffers; i++)
        out->buffers[i] =
            (unsigned long long)(uintptr_t)qn_cuda_program_place(p, flight, t->buffers[i].from);
    memcpy(out->args, t->args, t->args_bytes);
}

static int slot_bytes(const qn_gpu_task *t)
{
    qn_cuda_product_args a = product_args(t);
    int most = 0;
    for (int i = 0; i < a.n_matrices; i++) {
        int n = QN_CUDA_SLOT_BYTES(QN_CUDA_STEP_BYTES(a.w_type[i]));
        if (n > most) most = n;
    }
    return most;
}

// Room for a product's sums, none of which another of the epoch has.
static void make_product(maker *m, const qn_device *d, const qn_program *p, const qn_gpu_task *t,
                         qn_cuda_resident_task *out)
{
    qn_cuda_product_args a = product_args(t);
    if (out) {
        char *sums = (char *)p->sums + m->sums * QN_CUDA_UNIT_FLOATS * sizeof(uint64_t);
        out->buffers[SUMS] = (unsigned long long)(uintptr_t)sums;
        out->stream = m->streams[m->n_streams] = make_stream(t);
        qn_cuda_make_shares(&out->stream, d->n_processors,
                            m->shares + (size_t)m->n_streams * (size_t)d->n_processors);
    }
    m->n_streams++;
    if (slot_bytes(t) > m->slot_bytes) m->slot_bytes = slot_bytes(t);
    m->sums += (size_t)n_strips(&a) * (size_t)n_parts(&a) + 1; // one more: norms' inverses
    if (m->sums > m->most_sums) m->most_sums = m->sums;
}

// 1 where task i's results are the next one's x and nothing else, so that they can be made its fragments once, not by every group.
static int packs(const qn_gpu_list *l, int i)
{
    enum { X = QN_CUDA_MAX_PARTS };
    if (i < 0 || i + 1 >= l->n_tasks || !is_product(&l->tasks[i]) || !is_product(&l->tasks[i + 1]))
        return 0;
    const qn_gpu_task *t = &l->tasks[i], *next = t + 1;
    qn_cuda_product_args a = product_args(t), b = product_args(next);
    return a.gated && !a.accumulate && b.source == QN_CUDA_PLAIN &&
           next->buffers[X].from == t->buffers[0].from && b.n_k == a.n_n[0] &&
           b.padded_k == b.n_k && b.over_outputs == a.over_outputs && b.type == a.type &&
           !qn_cuda_read_later(l, i + 2, &t->buffers[0]);
}

// The type of fragments as which an attention's splits, which nothing else reads, are the next product's x; 0: they are not.
static int joins(const qn_gpu_list *l, int i)
{
    enum { X = QN_CUDA_MAX_PARTS };
    if (i < 0 || i + 1 >= l->n_tasks || !is_attend(&l->tasks[i]) || !is_product(&l->tasks[i + 1]))
        return 0;
    const qn_gpu_task *t = &l->tasks[i], *next = t + 1;
    qn_gpu_attention_args a;
    memcpy(&a, t->args, sizeof a);
    qn_cuda_product_args b = product_args(next);
    int takes = !a.whole && b.source == QN_CUDA_MERGE &&
                next->buffers[X].from == t->buffers[0].from && b.padded_k == b.n_k &&
                b.n_k == a.n_heads * a.head_dim && !b.over_outputs &&
                !qn_cuda_read_later(l, i + 2, &t->buffers[0]);
    return takes ? b.type : 0;
}

// Room for its partials: marked numbers, which nobody else of the epoch has.
static void make_joined(maker *m, const qn_program *p, const qn_gpu_task *t,
                        qn_cuda_resident_task *out)
{
    qn_gpu_attention_args a;
    memcpy(&a, t->args, sizeof a);
    size_t n =
        (size_t)t->n_groups[1] * (size_t)a.n_heads * (size_t)a.n_splits * (size_t)(a.head_dim + 2);
    if (out)
        out->buffers[SUMS] = (unsigned long long)(uintptr_t)p->sums +
                             m->sums * QN_CUDA_UNIT_FLOATS * sizeof(uint64_t);
    m->sums += (n + QN_CUDA_UNIT_FLOATS - 1) / QN_CUDA_UNIT_FLOATS;
    if (m->sums > m->most_sums) m->most_sums = m->sums;
}

static void set_forms(const qn_device *d, const qn_gpu_list *l, int i, qn_cuda_resident_task *out)
{
    qn_cuda_product_args *a = (qn_cuda_product_args *)(void *)out->args;
    a->by_each = rows_by_each(d, a);
    a->packs = packs(l, i);
    a->packed = packs(l, i - 1) || joins(l, i - 1);
    if (joins(l, i - 1)) a->source = QN_CUDA_PLAIN;
}

// What product t reads beside weights and rows: a norm's weights (buffer 4), biases (from buffer 8 on). Written down with the product
// before it, `out`, which asks for it; nobody does for the first.
static void set_ahead(const qn_gpu_task *t, qn_cuda_resident_task *out)
{
    enum { NORM = 4, BIAS = 8 };
    qn_cuda_product_args a = product_args(t);
    int n = 0;
    if (a.source == QN_CUDA_NORM) {
        out->ahead[n] = (unsigned long long)(uintptr_t)t->buffers[NORM].from;
        out->ahead_bytes[n++] = a.n_k * (a.norm_type == 0 ? 4 : 2);
    }
    for (int i = 0; i < a.n_matrices; i++)
        if (a.bias[i] >= 0) {
            out->ahead[n] = (unsigned long long)(uintptr_t)t->buffers[BIAS + i].from;
            out->ahead_bytes[n++] = a.n_n[i] * (a.bias[i] == 0 ? 4 : 2);
        }
}

static void make_list(maker *m, const qn_device *d, const qn_program *p, int flight,
                      const qn_gpu_list *l)
{
    int first = 0, first_before = 0;       // tasks that begin this epoch and the one before
    qn_cuda_resident_task *product = NULL; // the last
    for (int i = 0; i < l->n_tasks; i++) {
        const qn_gpu_task *t = &l->tasks[i];
        qn_cuda_resident_task *out = m->tasks ? &m->tasks[i] : NULL;
        int waits = depends(l, first, i);
        if (waits) {
            begin_epoch(m);
            first_before = first;
            first = i;
        }
        if (out) {
            *out = (qn_cuda_resident_task){
                .kernel = (int)t->kernel, .epoch = m->epoch, .waits = waits, .expected = m->before};
            out->early = begins_early(l, waits ? first_before : first, i);
            out->joins = joins(l, i);
            write_task(p, flight, t, out);
        }
        if (is_product(t)) make_product(m, d, p, t, out);
        if (joins(l, i)) make_joined(m, p, t, out);
        if (is_product(t) && out) {
            set_forms(d, l, i, out);
            if (product) set_ahead(t, product);
            product = out;
        }
        m->arrivals += is_product(t) || joins(l, i)
                           ? d->n_processors
                           : (int)(t->n_groups[0] * t->n_groups[1] * t->n_groups[2]);
    }
    if (m->streams) m->streams[m->n_streams] = (qn_cuda_stream){.end = 1};
}

// In the stream, behind the zeroing of the memory.
static int copy_over(qn_device *d, void *to, const void *from, size_t n_bytes, quern_error *e)
{
    CUresult rc = d->cu->cuMemcpyHtoDAsync_v2(qn_cuda_address(to), from, n_bytes, d->stream);
    if (rc == CUDA_SUCCESS) rc = d->cu->cuStreamSynchronize(d->stream);
    return qn_cuda_driver_check(rc, "a task list", e);
}

static int make_room(qn_device *d, qn_program *p, const maker *m, quern_error *e)
{
    size_t sums = m->most_sums * QN_CUDA_UNIT_FLOATS * sizeof(uint64_t);
    size_t progress = ((size_t)m->epoch + 1) * QN_CUDA_PROGRESS_WORDS * 4;
    int rc = qn_cuda_device_alloc(d, progress, &p->progress, e);
    if (!rc && sums) rc = qn_cuda_device_alloc(d, sums, &p->sums, e);
    return rc;
}

static int write_lists(qn_device *d, qn_program *p, const qn_gpu_list *list, int n_streams,
                       maker *room, quern_error *e)
{
    size_t task_bytes = (size_t)list->n_tasks * sizeof *room->tasks;
    size_t stream_bytes = (size_t)n_streams * sizeof *room->streams;
    size_t share_bytes = (size_t)n_streams * (size_t)d->n_processors * sizeof *room->shares;
    int rc = qn_cuda_device_alloc(d, stream_bytes, &p->streams, e);
    if (!rc) rc = qn_cuda_device_alloc(d, share_bytes, &p->shares, e);
    for (int i = 0; i < QN_CUDA_IN_FLIGHT && !rc; i++) {
        maker m = {.tasks = room->tasks, .streams = room->streams, .shares = room->shares};
        make_list(&m, d, p, i, list);
        rc = qn_cuda_device_alloc(d, task_bytes, &p->tasks[i], e);
        if (!rc) rc = copy_over(d, p->tasks[i], m.tasks, task_bytes, e);
    }
    if (!rc) rc = copy_over(d, p->shares, room->shares, share_bytes, e);
    return rc ? rc : copy_over(d, p->streams, room->streams, stream_bytes, e);
}

int qn_cuda_resident_make(qn_device *d, qn_program *p, const qn_gpu_list *list, quern_error *e)
{
    maker m = {.slot_bytes = QN_CUDA_STEP_BYTES(1)}; // of a list without products: any
    make_list(&m, d, p, 0, list);
    int n_streams = m.n_streams + 1, rc = make_room(d, p, &m, e);
    m.tasks = malloc((size_t)list->n_tasks * sizeof *m.tasks);
    m.streams = malloc((size_t)n_streams * sizeof *m.streams);
    m.shares = calloc((size_t)n_streams * (size_t)d->n_processors,
                      sizeof *m.shares); // those behind the last product are loaded too
    if (!rc && (!m.tasks || !m.streams || !m.shares))
        rc = qn_error_set(e, QUERN_E_MEMORY, "cuda: no memory for a task list");
    if (!rc) rc = write_lists(d, p, list, n_streams, &m, e);
    free(m.tasks);
    free(m.streams);
    free(m.shares);
    p->n_tasks = list->n_tasks;
    p->slot_bytes = (uint32_t)m.slot_bytes;
    return rc ? rc
              : qn_cuda_driver_check(
                    d->cu->cuFuncSetAttribute(d->own[QN_CUDA_resident],
                                              CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                              QN_CUDA_RESIDENT_SHARED),
                    "the resident kernel's memory", e);
}

CUresult qn_cuda_resident_start(qn_device *d, qn_program *p, int flight)
{
    CUdeviceptr tasks = qn_cuda_address(p->tasks[flight]), streams = qn_cuda_address(p->streams);
    CUdeviceptr shares = qn_cuda_address(p->shares), progress = qn_cuda_address(p->progress);
    CUdeviceptr counts = qn_cuda_address(p->step[flight]); // the step block begins with them
    uint32_t launch = ++p->n_launches;
    int n_tasks = p->n_tasks;
    uint32_t slot_bytes = p->slot_bytes;
    void *parameters[] = {&tasks,    &n_tasks, &streams, &shares,
                          &progress, &launch,  &counts,  &slot_bytes};
    return d->cu->cuLaunchCooperativeKernel(d->own[QN_CUDA_resident], (unsigned)d->n_processors, 1,
                                            1, QN_CUDA_RESIDENT_THREADS, 1, 1,
                                            QN_CUDA_RESIDENT_SHARED, d->stream, parameters);
}
