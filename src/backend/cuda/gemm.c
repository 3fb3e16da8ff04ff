// See gemm.h.
#include "backend/cuda/gemm.h"

#include <string.h>

#include "backend/cuda/accesses.h"
#include "backend/gpu/args.h"
#include "backend/gpu/lower.h"

enum {
    FEW_ROWS = 8,
    THREADS = 384,
    ALIGNMENT = 1024,
    PIECE = 1024,
    FEW_PIECES = 512,
    FOLD_COLUMNS = 1024,
    FOLD_ROWS = 64, // at once
    SIMDS = 8
};

// ---- kernels ----

// The forms: rows of x of a tile, groups a cluster.
static const struct {
    int rows, cluster;
} forms[] = {{16, 1}, {32, 1}, {64, 1}, {128, 2}, {256, 2}};
enum { LARGEST = sizeof forms / sizeof *forms - 1 };

static qn_gpu_kernel own(int kernel)
{
    return (qn_gpu_kernel)(QN_GPU_N_KERNELS + kernel);
}

static int multiplies(int kernel)
{
    return kernel >= QN_GPU_N_KERNELS + QN_CUDA_gemm_f16_16 &&
           kernel <= QN_GPU_N_KERNELS + QN_CUDA_gemm_bf16_256;
}

int qn_cuda_gemm_threads(int kernel)
{
    return multiplies(kernel) ? THREADS : QN_GPU_N_THREADS;
}

int qn_cuda_gemm_shared(int kernel)
{
    return multiplies(kernel) ? QN_CUDA_GEMM_SHARED : 0;
}

int qn_cuda_gemm_early(int kernel)
{
    return multiplies(kernel) || kernel == (int)own(QN_CUDA_gemm_rows) ||
           kernel == (int)own(QN_CUDA_gemm_fold);
}

static int form_of(int n_rows)
{
    int i = 0;
    while (i < LARGEST && n_rows > forms[i].rows)
        i++;
    return i;
}

// ---- what is rewritten together ----

typedef struct {
    const qn_device *d;
    const qn_plan *plan;
    const qn_gpu_list *in;
    qn_cuda_gemm_room *room; // sizes grow
    qn_gpu_list *out;
    const void *tiled; // whose rows lie as tiles in the room for gate · up
} rewriting;

// Products that share x: tasks first … end, then how they are one.
typedef struct {
    int first, end; // of the products
    int norm;       // the task of x's norm that is done on the way, or −1
    int swiglu;     // the task that joins gate and up, or −1
    int n_rows, form;
    int w_type[QN_CUDA_MAX_PARTS]; // of its matrices
    qn_cuda_gemm_args a;
} bundle;

// Matrix i lies in blocks, and becomes F16 in the room before each product.
static int in_blocks(const bundle *b, int i)
{
    return QN_CUDA_IN_BLOCKS(b->w_type[i]);
}

static const qn_cuda_product_args *product_at(const qn_gpu_list *l, int i)
{
    if (i >= l->n_tasks || (int)l->tasks[i].kernel != QN_GPU_N_KERNELS + QN_CUDA_product)
        return NULL;
    const qn_cuda_product_args *a = (const qn_cuda_product_args *)(const void *)l->tasks[i].args;
    return a->source == QN_CUDA_PLAIN && !a->gated ? a : NULL;
}

static const qn_access *x_of(const qn_gpu_task *product)
{
    return &product->buffers[QN_CUDA_MAX_PARTS];
}

static int rows_of(const qn_plan *p, int over_outputs)
{
    int outputs = p->batch.limits.max_outputs;
    return over_outputs && outputs < p->max_rows ? outputs : p->max_rows;
}

static int padded(int k)
{
    return (k + QN_CUDA_K_PAD - 1) / QN_CUDA_K_PAD * QN_CUDA_K_PAD;
}

// Task i + 1 … as far as they multiply the same x in the same way.
static void gather(const rewriting *r, bundle *b)
{
    const qn_gpu_list *l = r->in;
    const qn_cuda_product_args *first = product_at(l, b->first), *a = first;
    for (b->end = b->first; a; a = product_at(l, b->end)) {
        int n = b->a.n_matrices;
        if (a->n_k != first->n_k || a->type != first->type || a->n_matrices != 1 ||
            a->accumulate != first->accumulate || a->over_outputs != first->over_outputs ||
            x_of(&l->tasks[b->end])->from != x_of(&l->tasks[b->first])->from ||
            n == QN_CUDA_MAX_PARTS)
            break;
        b->a.n_n[n] = a->n_n[0];
        b->a.bias[n] = a->bias[0];
        b->w_type[n] = a->w_type[0];
        b->a.n_matrices++;
        b->end++;
    }
}

// Gate and up with what joins them (in place or not), where nothing wants them but the next product, as its x.
static void find_swiglu(const rewriting *r, bundle *b)
{
    const qn_gpu_list *l = r->in;
    const qn_cuda_gemm_args *a = &b->a;
    if (b->end >= l->n_tasks || (int)l->tasks[b->end].kernel != QN_GPU_swiglu) return;
    const qn_gpu_task *t = &l->tasks[b->end], *gate = &l->tasks[b->first],
                      *up = &l->tasks[b->first + 1];
    const qn_cuda_product_args *next = product_at(l, b->end + 1);
    if (a->n_matrices != 2 || a->n_n[0] != a->n_n[1] || a->bias[0] >= 0 || a->bias[1] >= 0 ||
        a->accumulate || a->over_outputs || t->buffers[1].from != gate->buffers[0].from ||
        t->buffers[2].from != up->buffers[0].from ||
        (t->buffers[0].from != gate->buffers[0].from &&
         qn_cuda_read_later(l, b->end + 1, &gate->buffers[0])) ||
        (t->buffers[0].from != up->buffers[0].from &&
         qn_cuda_read_later(l, b->end + 1, &up->buffers[0])))
        return;
    if (!next || x_of(&l->tasks[b->end + 1])->from != t->buffers[0].from ||
        next->n_k != a->n_n[0] || next->n_k % QN_CUDA_K_PAD || next->type != a->type ||
        next->over_outputs || qn_cuda_read_later(l, b->end + 2, &t->buffers[0]))
        return;
    b->swiglu = b->end;
}

// The bundle that begins at task i; 0: none does.
static int find(const rewriting *r, int i, bundle *b)
{
    const qn_gpu_list *l = r->in;
    const qn_gpu_task *t = &l->tasks[i];
    int is_norm = (int)t->kernel == QN_GPU_rms_norm;
    *b = (bundle){.first = is_norm ? i + 1 : i, .norm = is_norm ? i : -1, .swiglu = -1};
    const qn_cuda_product_args *a = product_at(l, b->first);
    if (!a) return 0;
    b->n_rows = rows_of(r->plan, a->over_outputs);
    if (b->n_rows <= FEW_ROWS) return 0;
    b->a.padded_k = a->padded_k;
    b->a.type = a->type;
    b->a.accumulate = a->accumulate;
    b->a.over_outputs = a->over_outputs;
    gather(r, b);
    if (is_norm) {
        qn_gpu_rms_norm_args n;
        memcpy(&n, t->args, sizeof n);
        if (n.n_groups != 1 || n.width != a->n_k || n.over_outputs != a->over_outputs ||
            t->buffers[0].from != x_of(&l->tasks[b->first])->from ||
            t->buffers[0].from == t->buffers[1].from ||
            qn_cuda_read_later(l, b->end, &t->buffers[0]))
            return 0;
    }
    find_swiglu(r, b);
    b->form = form_of(b->n_rows);
    b->a.gated = b->swiglu >= 0;
    b->a.tile_rows = forms[b->form].rows;
    b->a.cluster = forms[b->form].cluster;
    b->a.n_clusters = r->d->n_processors / b->a.cluster;
    b->a.early = 1;
    for (int j = 0; j < b->a.n_matrices; j++)
        if (in_blocks(b, j)) b->a.early = 0;
    return 1;
}

// ---- the room ----

static size_t up_to(size_t n, size_t each)
{
    return (n + each - 1) / each * each;
}

static void grow(size_t *have, size_t n)
{
    n = up_to(n, ALIGNMENT);
    if (n > *have) *have = n;
}

size_t qn_cuda_gemm_room_bytes(const qn_cuda_gemm_room *room)
{
    return room->handed_bytes + room->partial_bytes + room->x_bytes + room->gated_bytes;
}

static const void *part(const rewriting *r, size_t before)
{
    return r->room->at ? (const char *)r->room->at + before : NULL;
}

static void handed_access(const rewriting *r, qn_gpu_task *t)
{
    qn_gpu_task_bytes(t, r->plan, part(r, 0), r->room->handed_bytes, 2);
}
static void partial_access(const rewriting *r, qn_gpu_task *t, int write)
{
    qn_gpu_task_bytes(t, r->plan, part(r, r->room->handed_bytes), r->room->partial_bytes, write);
}
static void x_access(const rewriting *r, qn_gpu_task *t, int write)
{
    qn_gpu_task_bytes(t, r->plan, part(r, r->room->handed_bytes + r->room->partial_bytes),
                      r->room->x_bytes, write);
}
static void gated_access(const rewriting *r, qn_gpu_task *t, int write)
{
    size_t before = r->room->handed_bytes + r->room->partial_bytes + r->room->x_bytes;
    qn_gpu_task_bytes(t, r->plan, part(r, before), r->room->gated_bytes, write);
}

// Matrix i as F16, behind those before it.
static qn_access unpacked_access(const rewriting *r, const bundle *b, int i, int write)
{
    size_t before = 0;
    for (int j = 0; j < i; j++)
        if (in_blocks(b, j))
            before += qn_cuda_products_bytes(QN_DTYPE_F16, b->a.n_n[j], b->a.padded_k);
    const char *at = r->room->weights ? (const char *)r->room->weights + before : NULL;
    return (qn_access){at, qn_cuda_products_bytes(QN_DTYPE_F16, b->a.n_n[i], b->a.padded_k), write};
}

static int64_t strips(const bundle *b)
{
    int64_t n = 0;
    for (int i = 0; i < (b->a.gated ? 1 : b->a.n_matrices); i++)
        n += qn_gpu_groups(b->a.n_n[i], QN_CUDA_STEP);
    return n;
}

// Rows of x of the largest step whose parts are on their own (qn_gemm_make_plan); 0: of none.
static int split_rows(const bundle *b)
{
    int64_t each = (b->a.gated ? 4 : 8) * (int64_t)b->a.cluster;
    int64_t n_down = (strips(b) + each - 1) / each, n_across = b->a.n_clusters / 2 / n_down;
    int64_t n = n_across * b->a.tile_rows;
    if (b->a.padded_k <= QN_CUDA_PART) return 0;
    return n < b->n_rows ? (int)n : b->n_rows;
}

static size_t tile_bytes(int n_rows, int tile_rows, int padded_k)
{
    return up_to((size_t)n_rows, (size_t)tile_rows) * (size_t)padded_k * 2;
}

// Of the sums of one kind of a group: 128 rows of w.
static size_t handed_bytes(const bundle *b)
{
    return (size_t)b->a.tile_rows * 128 * sizeof(float);
}

static void measure(const rewriting *r, const bundle *b, int tiled)
{
    size_t n_columns = (size_t)strips(b) * QN_CUDA_STEP * (b->a.gated ? 2 : 1);
    size_t n_parts = qn_gpu_groups(b->a.padded_k, QN_CUDA_PART);
    size_t n_units = qn_gpu_groups((int64_t)n_parts, QN_CUDA_SECTION((int)n_parts));
    size_t n_groups = (size_t)b->a.n_clusters * (size_t)b->a.cluster;
    size_t n_kinds = QN_CUDA_SECTION((int)n_parts) > 1 ? QN_CUDA_GEMM_KINDS : 1;
    grow(&r->room->handed_bytes, QN_CUDA_GEMM_FLAG_BYTES + n_kinds * n_groups * handed_bytes(b));
    grow(&r->room->partial_bytes, n_units * (size_t)split_rows(b) * n_columns * sizeof(float));
    size_t unpacked = 0;
    for (int i = 0; i < b->a.n_matrices; i++)
        if (in_blocks(b, i)) unpacked += unpacked_access(r, b, i, 0).n_bytes;
    grow(&r->room->weight_bytes, unpacked);
    if (!tiled) grow(&r->room->x_bytes, tile_bytes(b->n_rows, b->a.tile_rows, b->a.padded_k));
    if (b->a.gated)
        grow(&r->room->gated_bytes, tile_bytes(b->n_rows, b->a.tile_rows, padded(b->a.n_n[0])));
}

// ---- tasks ----

// to, x, norm, counts.
static void write_rows(const rewriting *r, const bundle *b)
{
    const qn_gpu_task *first = &r->in->tasks[b->first], *norm = NULL;
    qn_cuda_gemm_rows_args a = {.n_k = product_at(r->in, b->first)->n_k,
                                .padded_k = b->a.padded_k,
                                .type = b->a.type,
                                .tile_rows = b->a.tile_rows,
                                .over_outputs = b->a.over_outputs};
    if (b->norm >= 0) {
        qn_gpu_rms_norm_args n;
        norm = &r->in->tasks[b->norm];
        memcpy(&n, norm->args, sizeof n);
        a.norm = 1;
        a.norm_type = n.type;
        a.eps = n.eps;
    }
    // Of many rows a warp has a whole one: their norms are computed once.
    uint32_t n_pieces = norm && b->n_rows > FEW_PIECES ? 1 : qn_gpu_groups(a.padded_k, PIECE);
    uint32_t n_groups[3] = {n_pieces, qn_gpu_groups(b->n_rows, SIMDS), 1};
    qn_gpu_task *t = qn_gpu_task_add(r->out, own(QN_CUDA_gemm_rows), n_groups, &a, sizeof a);
    x_access(r, t, 1);
    t->buffers[t->n_buffers++] = norm ? norm->buffers[1] : *x_of(first);
    if (norm)
        t->buffers[t->n_buffers++] = norm->buffers[2];
    else
        qn_gpu_task_counts(t, r->plan);
    qn_gpu_task_counts(t, r->plan);
}

static void results_access(const rewriting *r, const bundle *b, qn_gpu_task *t)
{
    const qn_gpu_task *tasks = r->in->tasks;
    int n = b->a.gated ? 1 : b->a.n_matrices;
    for (int i = 0; i < QN_CUDA_MAX_PARTS; i++)
        if (i >= n)
            qn_gpu_task_counts(t, r->plan);
        else if (b->a.gated)
            gated_access(r, t, 1);
        else
            t->buffers[t->n_buffers++] = tasks[b->first + i].buffers[0];
}

// Buffer `at` of each product, the absent ones the counts.
static void copy_buffers(const rewriting *r, const bundle *b, qn_gpu_task *t, int at)
{
    for (int i = 0; i < QN_CUDA_MAX_PARTS; i++)
        if (i < b->a.n_matrices)
            t->buffers[t->n_buffers++] = r->in->tasks[b->first + i].buffers[at];
        else
            qn_gpu_task_counts(t, r->plan);
}

enum { W_AT = QN_CUDA_MAX_PARTS + 2, BIAS_AT = W_AT + QN_CUDA_MAX_PARTS }; // in a product's buffers

// Weights in blocks become F16: to, from, counts.
static void write_unpacked(const rewriting *r, const bundle *b)
{
    for (int i = 0; i < b->a.n_matrices; i++) {
        const qn_gpu_task *from = &r->in->tasks[b->first + i];
        const qn_cuda_product_args *p = product_at(r->in, b->first + i);
        qn_cuda_blocks_args a = {p->n_n[0], p->n_k, p->padded_k, p->w_type[0], p->over_outputs};
        int64_t n_warps = (int64_t)qn_gpu_groups(a.n_n, QN_CUDA_STEP) *
                          (a.padded_k / QN_CUDA_STEP / QN_CUDA_GROUP_STEPS(a.type));
        uint32_t n_groups[3] = {qn_gpu_groups(n_warps, SIMDS), 1, 1};
        if (!in_blocks(b, i)) continue;
        qn_gpu_task *t =
            qn_gpu_task_add(r->out, own(QN_CUDA_unpack_blocks), n_groups, &a, sizeof a);
        t->buffers[t->n_buffers++] = unpacked_access(r, b, i, 1);
        t->buffers[t->n_buffers++] = from->buffers[W_AT];
        qn_gpu_task_counts(t, r->plan);
    }
}

static void write_product(const rewriting *r, const bundle *b, int tiled)
{
    int kernel = QN_CUDA_gemm_f16_16 + 2 * b->form + (b->a.type == QN_DTYPE_BF16);
    uint32_t n_groups[3] = {(uint32_t)(b->a.n_clusters * b->a.cluster), 1, 1};
    qn_gpu_task *t = qn_gpu_task_add(r->out, own(kernel), n_groups, &b->a, sizeof b->a);
    results_access(r, b, t);
    if (tiled)
        gated_access(r, t, 0);
    else
        x_access(r, t, 0);
    copy_buffers(r, b, t, W_AT);
    for (int i = 0; i < b->a.n_matrices; i++)
        if (in_blocks(b, i))
            t->buffers[t->n_buffers - QN_CUDA_MAX_PARTS + i] = unpacked_access(r, b, i, 0);
    copy_buffers(r, b, t, BIAS_AT);
    qn_gpu_task_counts(t, r->plan);
    partial_access(r, t, 1);
    handed_access(r, t);
}

static void write_fold(const rewriting *r, const bundle *b)
{
    uint32_t n_columns = (uint32_t)strips(b) * QN_CUDA_STEP;
    int n = split_rows(b);
    uint32_t n_groups[3] = {qn_gpu_groups(n_columns, FOLD_COLUMNS),
                            (uint32_t)(n < FOLD_ROWS ? n : FOLD_ROWS), 1};
    if (!n) return;
    qn_gpu_task *t = qn_gpu_task_add(r->out, own(QN_CUDA_gemm_fold), n_groups, &b->a, sizeof b->a);
    results_access(r, b, t);
    copy_buffers(r, b, t, BIAS_AT);
    qn_gpu_task_counts(t, r->plan);
    partial_access(r, t, 0);
}

static void write_bundle(rewriting *r, const bundle *b)
{
    int tiled = r->tiled && r->tiled == x_of(&r->in->tasks[b->first])->from && b->norm < 0;
    measure(r, b, tiled);
    if (!tiled) write_rows(r, b);
    write_unpacked(r, b);
    write_product(r, b, tiled);
    write_fold(r, b);
    r->tiled = b->a.gated ? r->in->tasks[b->swiglu].buffers[0].from : NULL;
}

static void rewrite(rewriting *r)
{
    for (int i = 0; i < r->in->n_tasks; i++) {
        const qn_gpu_task *t = &r->in->tasks[i];
        bundle b;
        if (find(r, i, &b)) {
            write_bundle(r, &b);
            i = (b.swiglu >= 0 ? b.swiglu : b.end - 1);
            continue;
        }
        qn_gpu_task *to = qn_gpu_task_add(r->out, t->kernel, t->n_groups, t->args, t->args_bytes);
        to->n_buffers = t->n_buffers;
        memcpy(to->buffers, t->buffers, sizeof t->buffers);
    }
}

void qn_cuda_gemm_measure(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                          qn_cuda_gemm_room *room)
{
    qn_gpu_list out = {0};
    *room = (qn_cuda_gemm_room){0};
    rewriting r = {d, plan, in, room, &out, NULL};
    rewrite(&r);
    qn_gpu_list_free(&out);
}

void qn_cuda_gemm_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                          const qn_cuda_gemm_room *room, qn_gpu_list *out)
{
    qn_cuda_gemm_room sizes = *room;
    *out = (qn_gpu_list){0};
    rewriting r = {d, plan, in, &sizes, out, NULL};
    rewrite(&r);
}
