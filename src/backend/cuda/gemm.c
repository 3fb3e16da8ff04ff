// See gemm.h.
#include "backend/cuda/gemm.h"

#include <string.h>

#include "backend/cuda/accesses.h"
#include "backend/cuda/flash.h"
#include "backend/gpu/args.h"
#include "backend/gpu/lower.h"

enum {
    MOST_PACKED_ROWS = 128, // past these, weights in blocks become F16 once, not once a tile of x
    THREADS = 384,
    ALIGNMENT = 1024,
    PIECE = 1024,
    FOLD_COLUMNS = 1024,
    FOLD_ROWS = 64, // at once
    PARTIAL_COLUMNS = 64,
    PROCESSORS = 132,
    SIMDS = 8
};

// ---- kernels ----

// The forms: rows of x of a tile, groups a cluster. Those below FIRST_LARGE there are for weights in blocks too; the kernels of the last
// there are for sums of several parts and, behind these, of one.
static const struct {
    int rows, cluster;
} forms[] = {{16, 1}, {32, 1}, {64, 1}, {128, 2}, {256, 2}};
enum { FIRST_LARGE = 3, LARGEST = sizeof forms / sizeof *forms - 1 };

// Groups of it a multiprocessor.
static int groups_each(int packed, int form)
{
    return packed ? QN_CUDA_GEMM_PACKED_GROUPS(forms[form].rows) : 1;
}

static qn_gpu_kernel own(int kernel)
{
    return (qn_gpu_kernel)(QN_GPU_N_KERNELS + kernel);
}

static int multiplies(int kernel)
{
    return kernel >= QN_GPU_N_KERNELS + QN_CUDA_gemm_f16_16 &&
           kernel <= QN_GPU_N_KERNELS + QN_CUDA_gemm_packed_64;
}

int qn_cuda_gemm_threads(int kernel)
{
    if (kernel == (int)own(QN_CUDA_gemm_norm) || kernel == (int)own(QN_CUDA_gemm_norm_parts))
        return QN_CUDA_NORM_THREADS;
    return multiplies(kernel) ? THREADS : QN_GPU_N_THREADS;
}

int qn_cuda_gemm_shared(int kernel)
{
    int packed = kernel - (int)own(QN_CUDA_gemm_packed_16);
    if (multiplies(kernel) && packed >= 0 && groups_each(1, packed) == 2)
        return QN_CUDA_GEMM_HALF_SHARED;
    return multiplies(kernel) ? QN_CUDA_GEMM_SHARED : 0;
}

int qn_cuda_gemm_early(int kernel)
{
    return kernel >= (int)own(QN_CUDA_gemm_f16_16) && kernel <= (int)own(QN_CUDA_gemm_fold);
}

static int form_of(int n_rows, int largest)
{
    int i = 0;
    while (i < largest && n_rows > forms[i].rows)
        i++;
    return i;
}

// ---- what is rewritten together ----

// Products that share x: tasks first … end, then how they are one.
typedef struct {
    int first, end; // of the products
    int gather;     // the task that takes the outputs' rows before the norm, done with it, or −1
    int norm;       // the task of x's norm that is done on the way, or −1
    int by_groups;  // it is done by gemm_norm
    int swiglu;     // the task that joins gate and up, or −1
    int tiled;      // 1: the product before leaves x as tiles
    int n_rows, form;
    int packed; // 1: its blocks are multiplied as they lie
    qn_cuda_gemm_args a;
} bundle;

typedef struct {
    const qn_device *d;
    const qn_plan *plan;
    const qn_gpu_list *in;
    qn_cuda_gemm_room *room; // sizes grow
    qn_gpu_list *out;
    const void *tiled; // whose rows lie as tiles in the room for gate · up
    int tiled_form;    // of that product
    const bundle
        *unfolded; // the bundle before, where the task of the next one's norm adds up its parts
} rewriting;

// Matrix i becomes F16 in the room before each product.
static int is_unpacked(const bundle *b, int i)
{
    return !b->packed && QN_CUDA_IN_BLOCKS(b->a.w_type[i]);
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

static size_t up_to(size_t n, size_t each)
{
    return (n + each - 1) / each * each;
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
        b->a.w_type[n] = a->w_type[0];
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

// Steps whose kernels are short beside the time from one to the next: few of them, each with more to do. In larger ones simple kernels
// of many groups are faster (gemm_norm and gemm_enter: 2 % less at 2,048 rows).
static int is_small(const rewriting *r)
{
    return r->plan->max_rows <= QN_CUDA_EARLY_ROWS;
}

static int64_t strips(const bundle *b)
{
    int64_t n = 0;
    for (int i = 0; i < (b->a.gated ? 1 : b->a.n_matrices); i++)
        n += qn_gpu_groups(b->a.n_n[i], QN_CUDA_STEP);
    return n;
}

// Numbers of K that are summed in one chain: as few chains as leave each group of an H100 or H200 something to do where x is one tile, the
// same for every number of rows, and on every card. Of blocks, which are decoded 256 numbers of K at a time, twice as many groups are at it.
static int part_of(const bundle *b)
{
    int in_blocks = 0;
    for (int i = 0; i < b->a.n_matrices; i++)
        in_blocks |= QN_CUDA_IN_BLOCKS(b->a.w_type[i]);
    int64_t n_tiles = qn_gpu_groups(strips(b), b->a.gated ? 4 : 8), k = b->a.padded_k;
    int64_t n = PROCESSORS * groups_each(in_blocks, 0) / n_tiles;
    int most = in_blocks ? QN_CUDA_MOST_PARTS : QN_CUDA_FEW_PARTS;
    if (n > most) n = most;
    if (n <= 1) return (int)k;
    return (int)up_to((size_t)((k + n - 1) / n), QN_CUDA_K_PAD * (in_blocks ? 2 : 1));
}

static void set_form(const rewriting *r, bundle *b, int form)
{
    b->form = form;
    b->a.tile_rows = forms[form].rows;
    b->a.cluster = forms[form].cluster;
    b->a.n_clusters = r->d->n_processors * groups_each(b->packed, form) / b->a.cluster;
}

// Whether parts that are work of their own make some cluster's share longer than one (gemm_schedule.cuh): those of a second round, the last ones
// and maybe short, go to clusters that had the last ones of the first.
static int goes_round(int64_t n_tiles, int64_t n_parts, int64_t n_clusters, int64_t padded_k,
                      int64_t part)
{
    int64_t second = n_tiles * n_parts - n_clusters, rest = padded_k - (n_parts - 1) * part;
    if (second <= 0) return 0;
    return 2 * second > n_tiles || 2 * rest > part;
}

// Whether a step of all rows leaves many clusters without a tile, or some with twice the others' work.
static int is_uneven(const bundle *b)
{
    int64_t each = 8 * (int64_t)b->a.cluster, n_clusters = b->a.n_clusters;
    int64_t n_parts = qn_gpu_groups(b->a.padded_k, b->a.part);
    int64_t n_tiles =
        (strips(b) + each - 1) / each * (int64_t)qn_gpu_groups(b->n_rows, b->a.tile_rows);
    if (n_parts > 1 && 2 * n_tiles <= n_clusters)
        return goes_round(n_tiles, n_parts, n_clusters, b->a.padded_k, b->a.part);
    return 3 * n_tiles < 2 * n_clusters;
}

// Whether gemm_packed_… takes the weights: blocks all, and of one format in each warpgroup's four strips.
static int can_be_packed(const bundle *b)
{
    const qn_cuda_gemm_args *a = &b->a;
    uint32_t n_strips = 0; // of the matrices before
    if (b->n_rows > MOST_PACKED_ROWS) return 0;
    for (int i = 0; i < a->n_matrices; i++) {
        int shares = i && !a->gated && n_strips % 4;
        if (!QN_CUDA_IN_BLOCKS(a->w_type[i]) || (shares && a->w_type[i] != a->w_type[i - 1]))
            return 0;
        n_strips += qn_gpu_groups(a->n_n[i], QN_CUDA_STEP);
    }
    return 1;
}

// Parts are work of their own in steps whose tiles are for half the clusters at most.
static void set_split(bundle *b)
{
    int64_t each = (b->a.gated ? 4 : 8) * (int64_t)b->a.cluster;
    int64_t n_down = (strips(b) + each - 1) / each, n_across = b->a.n_clusters / 2 / n_down;
    int64_t n = n_across * b->a.tile_rows, n_parts = qn_gpu_groups(b->a.padded_k, b->a.part);
    b->a.split_rows = n_parts == 1 ? -1 : n < b->n_rows ? (int)n : b->n_rows;
}

static void choose_form(const rewriting *r, bundle *b)
{
    b->tiled = b->norm < 0 && r->tiled && r->tiled == x_of(&r->in->tasks[b->first])->from;
    b->packed = can_be_packed(b) && (!b->tiled || r->tiled_form < FIRST_LARGE);
    int form = form_of(b->n_rows, b->packed ? FIRST_LARGE - 1 : LARGEST);
    set_form(r, b, b->tiled ? r->tiled_form : form);
    if (b->form >= FIRST_LARGE && !b->a.gated && !b->tiled && is_uneven(b))
        set_form(r, b, b->form - 1);
    set_split(b);
}

// Whether task i takes the outputs' rows, whose norms the next task makes, in place.
static int gathers_for_norm(const qn_gpu_list *l, int i)
{
    const qn_gpu_task *t = &l->tasks[i];
    if ((int)t->kernel != QN_GPU_gather || i + 1 >= l->n_tasks) return 0;
    return (int)t[1].kernel == QN_GPU_rms_norm && t[1].buffers[1].from == t->buffers[0].from &&
           t[1].buffers[0].from == t->buffers[0].from;
}

// The bundle that begins at task i; 0: none does.
static int find(const rewriting *r, int i, bundle *b)
{
    const qn_gpu_list *l = r->in;
    int gathers = gathers_for_norm(l, i), norm = i + gathers;
    const qn_gpu_task *t = &l->tasks[norm];
    int is_norm = (int)t->kernel == QN_GPU_rms_norm;
    *b = (bundle){.first = is_norm ? norm + 1 : i,
                  .norm = is_norm ? norm : -1,
                  .gather = gathers ? i : -1,
                  .swiglu = -1};
    const qn_cuda_product_args *a = product_at(l, b->first);
    if (!a) return 0;
    b->n_rows = rows_of(r->plan, a->over_outputs);
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
            qn_cuda_read_later(l, b->end, &t->buffers[0]))
            return 0;
        b->by_groups = is_small(r) && n.width % 8 == 0 && n.width <= QN_CUDA_NORM_WIDTH;
        if (gathers && (!b->by_groups || qn_cuda_read_later(l, norm, &l->tasks[i].buffers[1])))
            return 0;
    }
    find_swiglu(r, b);
    b->a.gated = b->swiglu >= 0;
    b->a.part = part_of(b);
    choose_form(r, b);
    b->a.early = 1;
    for (int j = 0; j < b->a.n_matrices; j++)
        if (is_unpacked(b, j)) b->a.early = 0;
    return 1;
}

// ---- the room ----

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
        if (is_unpacked(b, j))
            before += qn_cuda_products_bytes(QN_DTYPE_F16, b->a.n_n[j], b->a.padded_k);
    const char *at = r->room->weights ? (const char *)r->room->weights + before : NULL;
    return (qn_access){at, qn_cuda_products_bytes(QN_DTYPE_F16, b->a.n_n[i], b->a.padded_k), write};
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

static void measure(const rewriting *r, const bundle *b)
{
    size_t n_blocks = (size_t)qn_gpu_groups(strips(b), 4) * (b->a.gated ? 2 : 1); // qn_gemm_blocks
    size_t n_parts = qn_gpu_groups(b->a.padded_k, b->a.part);
    size_t n_groups = (size_t)b->a.n_clusters * (size_t)b->a.cluster;
    grow(&r->room->handed_bytes,
         QN_CUDA_GEMM_FLAG_BYTES + QN_CUDA_GEMM_KINDS * n_groups * handed_bytes(b));
    if (b->a.split_rows > 0)
        grow(&r->room->partial_bytes,
             n_parts * (size_t)b->a.split_rows * n_blocks * PARTIAL_COLUMNS * sizeof(float));
    size_t unpacked = 0;
    for (int i = 0; i < b->a.n_matrices; i++)
        if (is_unpacked(b, i)) unpacked += unpacked_access(r, b, i, 0).n_bytes;
    grow(&r->room->weight_bytes, unpacked);
    if (!b->tiled) grow(&r->room->x_bytes, tile_bytes(b->n_rows, b->a.tile_rows, b->a.padded_k));
    if (b->a.gated)
        grow(&r->room->gated_bytes, tile_bytes(b->n_rows, b->a.tile_rows, padded(b->a.n_n[0])));
}

// ---- tasks ----

enum { W_AT = QN_CUDA_MAX_PARTS + 2, BIAS_AT = W_AT + QN_CUDA_MAX_PARTS }; // in a product's buffers

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
    uint32_t n_pieces = norm && !is_small(r) ? 1 : qn_gpu_groups(a.padded_k, PIECE);
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

static int has_many_parts(const qn_cuda_gemm_args *a)
{
    return a->split_rows > 0 && a->padded_k > QN_CUDA_FEW_PARTS * a->part;
}

// The norm of x, and before it what r->unfolded has left.
static void write_norm(rewriting *r, const bundle *b)
{
    const qn_gpu_task *norm = &r->in->tasks[b->norm];
    const bundle *before = r->unfolded;
    int gathers = b->gather >= 0;
    qn_gpu_rms_norm_args n;
    memcpy(&n, norm->args, sizeof n);
    qn_cuda_gemm_norm_args a = {
        .product = {.n_n = {n.width}, .bias = {-1}, .over_outputs = n.over_outputs && !gathers},
        .gathers = gathers,
        .padded_k = b->a.padded_k,
        .type = b->a.type,
        .tile_rows = b->a.tile_rows,
        .norm_type = n.type,
        .eps = n.eps};
    if (before) {
        a.product = before->a;
        a.folds = 1;
    }
    uint32_t n_groups[3] = {(uint32_t)b->n_rows, 1, 1};
    int kernel = before && has_many_parts(&before->a) ? QN_CUDA_gemm_norm_parts : QN_CUDA_gemm_norm;
    qn_gpu_task *t = qn_gpu_task_add(r->out, own(kernel), n_groups, &a, sizeof a);
    x_access(r, t, 1);
    t->buffers[t->n_buffers++] = gathers ? r->in->tasks[b->gather].buffers[1] : norm->buffers[1];
    t->buffers[1].write = before && !gathers ? 2 : 0;
    t->buffers[t->n_buffers++] = norm->buffers[2];
    if (before)
        t->buffers[t->n_buffers++] = r->in->tasks[before->first].buffers[BIAS_AT];
    else
        qn_gpu_task_counts(t, r->plan);
    qn_gpu_task_counts(t, r->plan);
    partial_access(r, t, 0);
    qn_gpu_task_outputs(t, r->plan);
}

// x, which nothing else reads, may be written as tiles by the attention in front.
static int take_attention(rewriting *r, const bundle *b)
{
    const qn_access *x = x_of(&r->in->tasks[b->first]);
    int first = r->out->n_tasks, n = 0, merges = 0;
    for (; first > 0; first--, n++) {
        const qn_gpu_task *t = &r->out->tasks[first - 1];
        if (t->buffers[0].from != x->from || merges) break;
        merges = t->kernel == QN_GPU_attention_merge;
        if (!merges && !qn_cuda_flash_tiled((int)t->kernel, b->a.type)) break;
    }
    if (!n || b->norm >= 0 || b->a.over_outputs || b->a.padded_k % QN_CUDA_K_PAD ||
        product_at(r->in, b->first)->n_k != b->a.padded_k || qn_cuda_read_later(r->in, b->end, x))
        return 0;
    for (int i = first; i < first + n; i++) {
        qn_gpu_task *t = &r->out->tasks[i], to = {0};
        qn_gpu_attention_args a;
        memcpy(&a, t->args, sizeof a);
        a.tile_rows = b->a.tile_rows;
        a.tile_type = b->a.type;
        memcpy(t->args, &a, sizeof a);
        x_access(r, &to, 1);
        t->buffers[0] = to.buffers[0];
        if (!merges) continue;
        t->kernel = own(QN_CUDA_gemm_merge);
        t->n_groups[0] = qn_gpu_groups(b->a.padded_k / 2, QN_GPU_N_THREADS);
    }
    return 1;
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
        if (!is_unpacked(b, i)) continue;
        qn_gpu_task *t =
            qn_gpu_task_add(r->out, own(QN_CUDA_unpack_blocks), n_groups, &a, sizeof a);
        t->buffers[t->n_buffers++] = unpacked_access(r, b, i, 1);
        t->buffers[t->n_buffers++] = from->buffers[W_AT];
        qn_gpu_task_counts(t, r->plan);
    }
}

static void write_product(const rewriting *r, const bundle *b)
{
    int form = b->form + (b->form == LARGEST && b->a.padded_k <= b->a.part); // with one part
    int kernel = b->packed ? QN_CUDA_gemm_packed_16 + b->form
                           : QN_CUDA_gemm_f16_16 + 2 * form + (b->a.type == QN_DTYPE_BF16);
    uint32_t n_groups[3] = {(uint32_t)(b->a.n_clusters * b->a.cluster), 1, 1};
    qn_gpu_task *t = qn_gpu_task_add(r->out, own(kernel), n_groups, &b->a, sizeof b->a);
    results_access(r, b, t);
    if (b->tiled)
        gated_access(r, t, 0);
    else
        x_access(r, t, 0);
    copy_buffers(r, b, t, W_AT);
    for (int i = 0; i < b->a.n_matrices; i++)
        if (is_unpacked(b, i))
            t->buffers[t->n_buffers - QN_CUDA_MAX_PARTS + i] = unpacked_access(r, b, i, 0);
    copy_buffers(r, b, t, BIAS_AT);
    qn_gpu_task_counts(t, r->plan);
    partial_access(r, t, 1);
    handed_access(r, t);
}

static void write_fold(const rewriting *r, const bundle *b)
{
    uint32_t n_columns = (uint32_t)strips(b) * QN_CUDA_STEP;
    int n = b->a.split_rows;
    uint32_t n_groups[3] = {qn_gpu_groups(n_columns, FOLD_COLUMNS),
                            (uint32_t)(n < FOLD_ROWS ? n : FOLD_ROWS), 1};
    if (n <= 0) return;
    qn_gpu_task *t = qn_gpu_task_add(r->out, own(QN_CUDA_gemm_fold), n_groups, &b->a, sizeof b->a);
    results_access(r, b, t);
    copy_buffers(r, b, t, BIAS_AT);
    qn_gpu_task_counts(t, r->plan);
    partial_access(r, t, 0);
}

// ---- queries, keys and values ----

// What stands behind their product until attention: tasks … end.
typedef struct {
    const qn_gpu_task *norm[2], *rope[2], *append; // of queries and keys; norms may be absent
    int end;
} entering;

static int find_heads(const rewriting *r, const bundle *b, entering *e, int i)
{
    const qn_gpu_list *l = r->in;
    const void *x = l->tasks[b->first + i].buffers[0].from;
    qn_gpu_rms_norm_args n;
    if (e->end < l->n_tasks && (int)l->tasks[e->end].kernel == QN_GPU_rms_norm)
        e->norm[i] = &l->tasks[e->end++];
    if (e->end >= l->n_tasks || (int)l->tasks[e->end].kernel != QN_GPU_rope) return 0;
    e->rope[i] = &l->tasks[e->end++];
    qn_gpu_rope_args a;
    memcpy(&a, e->rope[i]->args, sizeof a);
    if (e->rope[i]->buffers[0].from != x || a.n_heads * a.head_dim != b->a.n_n[i]) return 0;
    if (!e->norm[i]) return 1;
    memcpy(&n, e->norm[i]->args, sizeof n);
    return e->norm[i]->buffers[0].from == x && e->norm[i]->buffers[1].from == x &&
           n.n_groups == a.n_heads && n.width == a.head_dim && !n.over_outputs;
}

// Of blocks a warp's numbers of a rotated head, 32 neighbours of each half, have to be one.
static int can_enter(const qn_gpu_kv_append_args *kv)
{
    return kv->type <= QN_DTYPE_BF16 || (kv->type == QN_DTYPE_Q8_0 && kv->head_dim % 64 == 0);
}

// 1 where one kernel can have all of it: the parts' sums, norms and rotations, and the append.
static int find_entering(const rewriting *r, const bundle *b, entering *e,
                         qn_cuda_gemm_enter_args *a)
{
    const qn_gpu_list *l = r->in;
    *e = (entering){.end = b->end};
    if (!is_small(r) || b->a.n_matrices != 3 || b->a.accumulate || b->a.over_outputs || b->a.gated)
        return 0;
    if (!find_heads(r, b, e, 0) || !find_heads(r, b, e, 1)) return 0;
    if (e->end >= l->n_tasks || (int)l->tasks[e->end].kernel != QN_GPU_kv_append) return 0;
    e->append = &l->tasks[e->end++];
    qn_gpu_rope_args q, k;
    qn_gpu_kv_append_args kv;
    memcpy(&q, e->rope[0]->args, sizeof q);
    memcpy(&k, e->rope[1]->args, sizeof k);
    memcpy(&kv, e->append->args, sizeof kv);
    const qn_access *k_at = &l->tasks[b->first + 1].buffers[0],
                    *v_at = &l->tasks[b->first + 2].buffers[0];
    if (e->append->buffers[0].from != k_at->from || e->append->buffers[1].from != v_at->from ||
        e->rope[0]->buffers[1].from != e->rope[1]->buffers[1].from || q.scale != k.scale ||
        q.head_dim != k.head_dim || q.head_dim != kv.head_dim || q.head_dim % 4 ||
        q.head_dim > QN_CUDA_ENTER_DIM || k.n_heads != kv.n_kv_heads ||
        b->a.n_n[2] != b->a.n_n[1] || !can_enter(&kv) || qn_cuda_read_later(l, e->end, k_at) ||
        qn_cuda_read_later(l, e->end, v_at))
        return 0;
    *a = (qn_cuda_gemm_enter_args){b->a,          q.n_heads, k.n_heads, q.head_dim, kv.type,
                                   kv.max_blocks, -1,        -1,        0.0f,       q.scale};
    qn_gpu_rms_norm_args n[2];
    for (int i = 0; i < 2; i++)
        if (e->norm[i]) memcpy(&n[i], e->norm[i]->args, sizeof n[i]);
    if (e->norm[0]) a->q_norm_type = n[0].type, a->eps = n[0].eps;
    if (e->norm[1]) a->k_norm_type = n[1].type, a->eps = n[1].eps;
    return !e->norm[0] || !e->norm[1] || n[0].eps == n[1].eps;
}

static void write_entering(const rewriting *r, const bundle *b, const entering *e,
                           const qn_cuda_gemm_enter_args *a)
{
    uint32_t n_groups[3] = {qn_gpu_groups(a->n_heads + 2 * a->n_kv_heads, SIMDS),
                            (uint32_t)b->n_rows, 1};
    int kernel = has_many_parts(&b->a) ? QN_CUDA_gemm_enter_parts : QN_CUDA_gemm_enter;
    qn_gpu_task *t = qn_gpu_task_add(r->out, own(kernel), n_groups, a, sizeof *a);
    copy_buffers(r, b, t, 0);
    t->buffers[0].write = 2;
    t->buffers[1].write = t->buffers[2].write = 0;
    copy_buffers(r, b, t, BIAS_AT);
    qn_gpu_task_counts(t, r->plan);
    partial_access(r, t, 0);
    t->buffers[t->n_buffers++] = e->append->buffers[5]; // rows
    t->buffers[t->n_buffers++] = e->rope[0]->buffers[1];
    for (int i = 0; i < 2; i++)
        if (e->norm[i])
            t->buffers[t->n_buffers++] = e->norm[i]->buffers[2];
        else
            qn_gpu_task_counts(t, r->plan);
    t->buffers[t->n_buffers++] = e->append->buffers[2]; // the caches
    t->buffers[t->n_buffers++] = e->append->buffers[3];
    t->buffers[t->n_buffers++] = e->append->buffers[6]; // the block table
}

// ---- bundles ----

// Whether what b leaves of x is added up by the norm that follows.
static int is_folded_later(const rewriting *r, const bundle *b)
{
    bundle next;
    if (b->a.n_matrices != 1 || b->a.gated || b->end >= r->in->n_tasks) return 0;
    if (!find(r, b->end, &next) || !next.by_groups) return 0;
    int gathers = next.gather >= 0;
    return r->in->tasks[b->end].buffers[1].from == r->in->tasks[b->first].buffers[0].from &&
           product_at(r->in, next.first)->n_k == b->a.n_n[0] &&
           (gathers ? 0 : next.a.over_outputs) == b->a.over_outputs;
}

// The last task of the list that b stands for.
static int write_bundle(rewriting *r, const bundle *b, bundle *unfolded)
{
    entering e;
    qn_cuda_gemm_enter_args entered;
    measure(r, b);
    if (b->by_groups)
        write_norm(r, b);
    else if (!b->tiled && !take_attention(r, b))
        write_rows(r, b);
    r->unfolded = NULL;
    write_unpacked(r, b);
    write_product(r, b);
    r->tiled = b->a.gated ? r->in->tasks[b->swiglu].buffers[0].from : NULL;
    r->tiled_form = b->form;
    if (find_entering(r, b, &e, &entered)) {
        write_entering(r, b, &e, &entered);
        return e.end - 1;
    }
    if (is_folded_later(r, b)) {
        *unfolded = *b;
        r->unfolded = unfolded;
    } else
        write_fold(r, b);
    return b->swiglu >= 0 ? b->swiglu : b->end - 1;
}

static void rewrite(rewriting *r)
{
    bundle unfolded;
    for (int i = 0; i < r->in->n_tasks; i++) {
        const qn_gpu_task *t = &r->in->tasks[i];
        bundle b;
        if (find(r, i, &b)) {
            i = write_bundle(r, &b, &unfolded);
            continue;
        }
        qn_gpu_task *to = qn_gpu_task_add(r->out, t->kernel, t->n_groups, t->args, t->args_bytes);
        to->n_buffers = t->n_buffers;
        memcpy(to->buffers, t->buffers, sizeof t->buffers);
    }
}

static rewriting begin(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                       qn_cuda_gemm_room *room, qn_gpu_list *out)
{
    return (rewriting){.d = d, .plan = plan, .in = in, .room = room, .out = out};
}

void qn_cuda_gemm_measure(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                          qn_cuda_gemm_room *room)
{
    qn_gpu_list out = {0};
    *room = (qn_cuda_gemm_room){0};
    rewriting r = begin(d, plan, in, room, &out);
    rewrite(&r);
    qn_gpu_list_free(&out);
}

void qn_cuda_gemm_rewrite(const qn_device *d, const qn_plan *plan, const qn_gpu_list *in,
                          const qn_cuda_gemm_room *room, qn_gpu_list *out)
{
    qn_cuda_gemm_room sizes = *room;
    *out = (qn_gpu_list){0};
    rewriting r = begin(d, plan, in, &sizes, out);
    rewrite(&r);
}
