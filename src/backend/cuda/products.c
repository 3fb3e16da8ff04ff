// See products.h.
#include "backend/cuda/products.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cuda/device.h"
#include "backend/gpu/args.h"
#include "backend/ops/matmul.h"

enum { ROWS_A_TILE = 8, FUSED_ROWS = ROWS_A_TILE, GROUPS_A_PROCESSOR = 2 };

static int64_t padded_k(int64_t k)
{
    return (k + QN_CUDA_K_PAD - 1) / QN_CUDA_K_PAD * QN_CUDA_K_PAD;
}

static int64_t padded(int64_t n)
{
    return (n + QN_CUDA_STEP - 1) / QN_CUDA_STEP * QN_CUDA_STEP;
}

static int in_blocks(qn_dtype t)
{
    return t >= QN_DTYPE_Q8_0;
}

static int is_packed(qn_dtype t)
{
    return t == QN_DTYPE_F16 || t == QN_DTYPE_BF16 || in_blocks(t);
}

size_t qn_cuda_products_bytes(qn_dtype dtype, int64_t n, int64_t k)
{
    _Static_assert(QN_DTYPE_Q8_0 == 3 && QN_DTYPE_Q5_1 == 7 && QN_DTYPE_Q6_K == 12, "args.h");
    _Static_assert(QN_DTYPE_IQ4_NL == 13 && QN_DTYPE_AFFINE3_32 == 15, "args.h");
    _Static_assert(QN_DTYPE_AFFINE8_32 == 27 && QN_DTYPE_FP8_128 == 30, "args.h");
    _Static_assert(QN_DTYPE_COUNT == 31, "all that are in blocks are packed");
    size_t n_steps = (size_t)(padded(n) / QN_CUDA_STEP) * (size_t)(padded_k(k) / QN_CUDA_STEP);
    return n_steps * QN_CUDA_STEP_BYTES(dtype);
}

static const qn_cuda_weight *find(const qn_cuda_weights *w, const void *user, const void *from)
{
    for (int i = 0; i < w->n; i++)
        if (w->all[i].from == from && (!w->all[i].user || w->all[i].user == user))
            return &w->all[i];
    return NULL;
}

// ---- packing ----

static int remember(qn_cuda_weights *w, const qn_cuda_weight *weight)
{
    if (w->n == w->capacity) {
        int capacity = w->capacity ? 2 * w->capacity : 256;
        qn_cuda_weight *all = realloc(w->all, (size_t)capacity * sizeof *all);
        if (!all) return QUERN_E_MEMORY;
        w->all = all;
        w->capacity = capacity;
    }
    w->all[w->n++] = *weight;
    return 0;
}

// Rooms of packing.
typedef struct {
    void *place; // of a matrix that is packed in place, grown as needed
    size_t place_bytes;
    void *found; // pack_blocks: a number that F16 does not hold; a factor that it holds whole
} rooms;

static int64_t n_steps_of(const qn_cuda_weight *w)
{
    return padded(w->n) / QN_CUDA_STEP * (padded_k(w->k) / QN_CUDA_STEP);
}

static int start_pack(qn_device *d, qn_cuda_kernel kernel, int64_t n_warps, void **parameters,
                      quern_error *e)
{
    unsigned n_groups = (unsigned)((n_warps + QN_GPU_N_SIMDS - 1) / QN_GPU_N_SIMDS);
    return qn_cuda_driver_check(d->cu->cuLaunchKernel(d->own[kernel], n_groups, 1, 1,
                                                      QN_GPU_N_THREADS, 1, 1, 0, d->stream,
                                                      parameters, NULL),
                                "packing of weights", e);
}

static int pack_blocks(qn_device *d, const qn_cuda_weight *w, const void *to, const rooms *r,
                       int *overflows, quern_error *e)
{
    qn_cuda_blocks_args a = {(int)w->n, (int)w->k, (int)padded_k(w->k), (int)w->dtype, 0};
    CUdeviceptr from_at = qn_cuda_address(w->from), to_at = qn_cuda_address(to),
                found_at = qn_cuda_address(r->found);
    void *parameters[] = {&from_at, &to_at, &found_at, &a};
    uint32_t found[2] = {0};
    CUresult cleared = d->cu->cuMemsetD8Async(found_at, 0, sizeof found, d->stream);
    int rc = qn_cuda_driver_check(cleared, "packing of weights", e);
    if (!rc) rc = start_pack(d, QN_CUDA_pack_blocks, n_steps_of(w), parameters, e);
    if (!rc) rc = qn_cuda_driver_check(d->cu->cuStreamSynchronize(d->stream), "packing", e);
    if (!rc)
        rc = qn_cuda_driver_check(d->cu->cuMemcpyDtoH_v2(found, found_at, sizeof found),
                                  "packing of weights", e);
    *overflows = found[0] || !found[1];
    return rc;
}

static int run_pack(qn_device *d, const qn_cuda_weight *w, const void *to, const rooms *r,
                    int *overflows, quern_error *e)
{
    *overflows = 0;
    if (in_blocks(w->dtype)) return pack_blocks(d, w, to, r, overflows, e);
    qn_cuda_pack_args a = {(int)w->n, (int)w->k, (int)padded_k(w->k)};
    CUdeviceptr from_at = qn_cuda_address(w->from), to_at = qn_cuda_address(to);
    void *parameters[] = {&from_at, &to_at, &a};
    return start_pack(d, QN_CUDA_pack_weights, n_steps_of(w), parameters, e);
}

// Through a room of its size, and back.
static int pack_in_place(qn_device *d, const qn_cuda_weight *w, size_t n_bytes, rooms *r,
                         int *overflows, quern_error *e)
{
    int rc = 0;
    if (r->place_bytes < n_bytes) {
        qn_cuda_device_free(d, r->place);
        r->place_bytes = n_bytes;
        rc = qn_cuda_device_alloc(d, n_bytes, &r->place, e);
    }
    if (!rc) rc = run_pack(d, w, r->place, r, overflows, e);
    return rc || *overflows
               ? rc
               : qn_cuda_driver_check(d->cu->cuMemcpyDtoDAsync_v2(qn_cuda_address(w->packed),
                                                                  qn_cuda_address(r->place),
                                                                  n_bytes, d->stream),
                                      "packing of weights", e);
}

// The device's own copy is reordered in place where it fits; else there is a second one, of this program.
static int pack(qn_device *d, const qn_program *user, const qn_tensor *t, rooms *r, quern_error *e)
{
    qn_cuda_weight w = {t->data, t->data, NULL, t->dim[0], t->dim[1], t->dtype};
    size_t n_bytes = qn_cuda_products_bytes(w.dtype, w.n, w.k);
    const qn_cuda_allocation *own = qn_cuda_device_find(d, t->data);
    int adopted = own && own->adopted && own->n_bytes == qn_tensor_bytes(t);
    int in_place = adopted && own->n_bytes >= n_bytes, overflows = 0, rc = 0;
    if (!in_place) {
        w.user = adopted ? NULL : user;
        rc = qn_cuda_device_alloc(d, n_bytes, &w.packed, e);
        if (!rc) rc = run_pack(d, &w, w.packed, r, &overflows, e);
    } else
        rc = pack_in_place(d, &w, n_bytes, r, &overflows, e);
    if (!rc && !overflows && remember(&d->weights, &w))
        rc = qn_error_set(e, QUERN_E_MEMORY, "cuda: no memory for a list of weights");
    if ((rc || overflows) && !in_place) qn_cuda_device_free(d, w.packed);
    return rc;
}

int qn_cuda_products_pack(qn_device *d, const qn_program *user, const qn_plan *plan, quern_error *e)
{
    rooms r = {0};
    int rc = qn_cuda_device_alloc(d, 2 * sizeof(uint32_t), &r.found, e);
    for (int i = 0; i < plan->n_records && !rc; i++) {
        const qn_matmul_args *a = plan->records[i].args;
        if (plan->records[i].op == QN_OP_MATMUL && is_packed(a->w.dtype) &&
            !find(&d->weights, user, a->w.data))
            rc = pack(d, user, &a->w, &r, e);
    }
    CUresult over = d->cu->cuStreamSynchronize(d->stream);
    if (!rc) rc = qn_cuda_driver_check(over, "packing of weights", e);
    qn_cuda_device_free(d, r.place);
    qn_cuda_device_free(d, r.found);
    return rc;
}

void qn_cuda_products_forget(qn_device *d, const void *from, const qn_program *user)
{
    for (int i = d->weights.n - 1; i >= 0; i--) {
        qn_cuda_weight w = d->weights.all[i];
        if (!(from && w.from == from) && !(user && w.user == user)) continue;
        d->weights.all[i] = d->weights.all[--d->weights.n];
        if (w.packed != w.from) qn_cuda_device_free(d, w.packed);
    }
}

void qn_cuda_products_free(qn_device *d)
{
    free(d->weights.all);
    d->weights = (qn_cuda_weights){0};
}

int qn_cuda_few_rows(const qn_device *d, const qn_plan *plan)
{
    if (d->capability != QN_CUDA_HOPPER) return FUSED_ROWS;
    for (int i = 0; i < plan->n_records; i++) {
        const qn_matmul_args *a = plan->records[i].args;
        if (plan->records[i].op == QN_OP_MATMUL && a->w.dtype != QN_DTYPE_F32) return 0;
    }
    return FUSED_ROWS;
}

int qn_cuda_products_all(const qn_device *d, const qn_program *user, const qn_plan *plan)
{
    for (int i = 0; i < plan->n_records; i++) {
        const qn_matmul_args *a = plan->records[i].args;
        if (plan->records[i].op == QN_OP_MATMUL && !find(&d->weights, user, a->w.data)) return 0;
    }
    return 1;
}

// ---- rewriting ----

static qn_access nothing(const qn_plan *p)
{
    return (qn_access){p->batch.step.counts, sizeof *p->batch.step.counts, 0};
}

static qn_access packed_access(const qn_cuda_weight *w)
{
    return (qn_access){w->packed, qn_cuda_products_bytes(w->dtype, w->n, w->k), 0};
}

typedef struct {
    qn_access y[QN_CUDA_MAX_PARTS], x, norm, w[QN_CUDA_MAX_PARTS], bias[QN_CUDA_MAX_PARTS];
    qn_cuda_product_args a;
} product;

static product empty(const qn_plan *p)
{
    product q = {.a = {.bias = {-1, -1, -1}}};
    q.x = q.norm = nothing(p);
    for (int i = 0; i < QN_CUDA_MAX_PARTS; i++)
        q.y[i] = q.w[i] = q.bias[i] = nothing(p);
    return q;
}

static void set_weight(product *q, int i, const qn_cuda_weight *w)
{
    q->w[i] = packed_access(w);
    q->a.n_n[i] = (int)w->n;
    q->a.n_k = (int)w->k;
    q->a.padded_k = (int)padded_k(w->k);
    q->a.w_type[i] = (int)w->dtype;
    q->a.type = in_blocks(w->dtype) ? QN_DTYPE_F16 : (int)w->dtype;
    q->a.n_matrices = i + 1;
}

static void write_product(const qn_device *d, const qn_plan *p, const product *q, uint32_t n_rows,
                          qn_gpu_task *t)
{
    int64_t n_strips = 0;
    for (int i = 0; i < q->a.n_matrices && !(q->a.gated && i); i++)
        n_strips += padded(q->a.n_n[i]) / QN_CUDA_STEP;
    int64_t most = (int64_t)d->n_processors * GROUPS_A_PROCESSOR;
    *t = (qn_gpu_task){.kernel = (qn_gpu_kernel)(QN_GPU_N_KERNELS + QN_CUDA_product),
                       .n_groups = {(uint32_t)(n_strips < most ? n_strips : most),
                                    (n_rows + ROWS_A_TILE - 1) / ROWS_A_TILE, 1},
                       .args_bytes = sizeof q->a};
    memcpy(t->args, &q->a, sizeof q->a);
    for (int i = 0; i < QN_CUDA_MAX_PARTS; i++)
        t->buffers[t->n_buffers++] = q->y[i];
    t->buffers[t->n_buffers++] = q->x;
    t->buffers[t->n_buffers++] = q->norm;
    for (int i = 0; i < QN_CUDA_MAX_PARTS; i++)
        t->buffers[t->n_buffers++] = q->w[i];
    for (int i = 0; i < QN_CUDA_MAX_PARTS; i++)
        t->buffers[t->n_buffers++] = q->bias[i];
    t->buffers[t->n_buffers++] = nothing(p); // the counts
}

static uint32_t rows_of(const qn_plan *p, int over_outputs)
{
    int n = p->max_rows;
    if (over_outputs && p->batch.limits.max_outputs < n) n = p->batch.limits.max_outputs;
    return (uint32_t)n;
}

// matmul_…: y, x, w, bias, counts.
static void rewrite_matmul(const qn_device *d, const qn_program *user, const qn_plan *p,
                           qn_gpu_task *t)
{
    const qn_cuda_weight *w = find(&d->weights, user, t->buffers[2].from);
    qn_gpu_matmul_args a;
    memcpy(&a, t->args, sizeof a);
    if (!w) return;
    product q = empty(p);
    set_weight(&q, 0, w);
    q.y[0] = t->buffers[0];
    q.x = t->buffers[1];
    q.bias[0] = t->buffers[3];
    q.a.bias[0] = a.bias_type;
    q.a.accumulate = a.accumulate;
    q.a.over_outputs = a.over_outputs;
    write_product(d, p, &q, rows_of(p, a.over_outputs), t);
}

// norm_project_…: q, k, v, x, norm, wq, wk, wv, bq, bk, bv.
static void rewrite_norm_project(const qn_device *d, const qn_program *user, const qn_plan *p,
                                 qn_gpu_task *t)
{
    qn_gpu_norm_project_args a;
    memcpy(&a, t->args, sizeof a);
    product q = empty(p);
    for (int i = 0; i < 3; i++) {
        const qn_cuda_weight *w = find(&d->weights, user, t->buffers[5 + i].from);
        if (!w) return;
        set_weight(&q, i, w);
        q.y[i] = t->buffers[i];
        q.bias[i] = t->buffers[8 + i];
    }
    q.a.bias[0] = a.bias_q, q.a.bias[1] = a.bias_k, q.a.bias[2] = a.bias_v;
    q.x = t->buffers[3];
    q.norm = t->buffers[4];
    q.a.source = QN_CUDA_NORM;
    q.a.norm_type = a.norm_type;
    q.a.eps = a.eps;
    write_product(d, p, &q, rows_of(p, 0), t);
}

// norm_gate_up_…: y, x, norm, gate, up.
static void rewrite_norm_gate_up(const qn_device *d, const qn_program *user, const qn_plan *p,
                                 qn_gpu_task *t)
{
    qn_gpu_norm_gate_up_args a;
    memcpy(&a, t->args, sizeof a);
    product q = empty(p);
    for (int i = 0; i < 2; i++) {
        const qn_cuda_weight *w = find(&d->weights, user, t->buffers[3 + i].from);
        if (!w) return;
        set_weight(&q, i, w);
    }
    q.y[0] = t->buffers[0];
    q.x = t->buffers[1];
    q.norm = t->buffers[2];
    q.a.gated = 1;
    q.a.source = QN_CUDA_NORM;
    q.a.norm_type = a.norm_type;
    q.a.eps = a.eps;
    write_product(d, p, &q, rows_of(p, 0), t);
}

// merge_project_…: y, partials, w, bias, counts, rows.
static void rewrite_merge_project(const qn_device *d, const qn_program *user, const qn_plan *p,
                                  qn_gpu_task *t)
{
    const qn_cuda_weight *w = find(&d->weights, user, t->buffers[2].from);
    qn_gpu_merge_project_args a;
    memcpy(&a, t->args, sizeof a);
    if (!w) return;
    product q = empty(p);
    set_weight(&q, 0, w);
    q.y[0] = t->buffers[0];
    q.x = t->buffers[1];
    q.norm = t->buffers[5];
    q.bias[0] = t->buffers[3];
    q.a.bias[0] = a.bias_type;
    q.a.accumulate = a.accumulate;
    q.a.source = QN_CUDA_MERGE;
    q.a.head_dim = a.head_dim;
    q.a.n_splits = a.n_splits;
    q.a.piece = a.piece;
    q.a.window = a.window;
    write_product(d, p, &q, rows_of(p, 0), t);
}

// embed: y, table, counts, rows, tokens.
static void rewrite_embed(const qn_device *d, const qn_program *user, qn_gpu_task *t)
{
    const qn_cuda_weight *w = find(&d->weights, user, t->buffers[1].from);
    qn_gpu_embed_args a;
    memcpy(&a, t->args, sizeof a);
    if (!w) return;
    qn_cuda_embed_args own = {a.width, (int)padded_k(w->k), a.n_vocab, a.type, a.max_context};
    t->kernel = (qn_gpu_kernel)(QN_GPU_N_KERNELS + QN_CUDA_embed_packed);
    t->buffers[1] = packed_access(w);
    memcpy(t->args, &own, sizeof own);
    t->args_bytes = sizeof own;
}

void qn_cuda_products_rewrite(qn_device *d, const qn_program *user, const qn_plan *plan,
                              qn_gpu_list *list)
{
    for (int i = 0; i < list->n_tasks; i++) {
        qn_gpu_task *t = &list->tasks[i];
        int k = (int)t->kernel;
        if ((k >= QN_GPU_matmul_f32_1x1 && k <= QN_GPU_matmul_any) ||
            (k >= QN_GPU_matmul_q8_0_1x2 && k <= QN_GPU_matmul_affine8_4x2))
            rewrite_matmul(d, user, plan, t);
        else if (k >= QN_GPU_norm_project_f32 && k <= QN_GPU_norm_project_bf16)
            rewrite_norm_project(d, user, plan, t);
        else if (k >= QN_GPU_norm_gate_up_f32 && k <= QN_GPU_norm_gate_up_bf16)
            rewrite_norm_gate_up(d, user, plan, t);
        else if (k >= QN_GPU_merge_project_f32_2048 && k <= QN_GPU_merge_project_bf16_6144)
            rewrite_merge_project(d, user, plan, t);
        else if (k == QN_GPU_embed)
            rewrite_embed(d, user, t);
    }
}
