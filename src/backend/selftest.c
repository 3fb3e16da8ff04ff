// See selftest.h. A case is laid out twice at the same offsets, in memory of the CPU and in memory of the device; both start from
// the same bytes, both run the same plan, and what the operation writes is compared.
#include "backend/selftest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/ops/attention.h"
#include "backend/ops/copy_blocks.h"
#include "backend/ops/embed.h"
#include "backend/ops/gather.h"
#include "backend/ops/kv_append.h"
#include "backend/ops/matmul.h"
#include "backend/ops/qk_norm_rope.h"
#include "backend/ops/sample.h"
#include "backend/ops/step_begin.h"
#include "backend/ops/swiglu.h"

enum {
    MEMORY_BYTES = 12 << 20,
    MAX_ROWS = 136,   // of a plan
    MANY_ROWS = 72,   // of a step, at most
    SOME_ROWS = 12,   // of all kinds but one
    FEW_ROWS = 4,     // backends run plans of few rows in other ways,
    SEVERAL_ROWS = 8, // and of several
    MAX_SLOTS = 4,
    MAX_CONTEXT = 300, // GPUs split attention over more than 256 positions
    MAX_EDITS = 16,
    MAX_OUTPUTS = MAX_SLOTS,
    N_VOCAB = 300,
    WAIT_MS = 20000
};

// A case as it is laid out in one memory.
typedef struct {
    char *base; // of the memory that plans see
    size_t used;
    int too_large; // for the memory: a fault of the self-test
    uint64_t random;
    int writes; // 1: base is the host's, numbers are written there
    qn_plan *plan;
    qn_step_view block; // what is launched: the host's
    qn_dtype dtype;
    int n_rows;
    qn_tensor out; // what the operation writes
    int rounds;    // qn_backend.rounds_activations of the device
    double tolerance;
} layout;

enum { PLAIN = QN_DTYPE_BF16 + 1, TO_Q6_K = QN_DTYPE_Q6_K + 1 };

typedef struct {
    const char *name;
    int n_types; // a case of each: PLAIN, types whose numbers stand alone; more, of block formats too; 1: it has no type
    void (*make)(layout *l);
    enum {
        SOME,
        ONE,
        MANY
    } rows; // of the plan's class: GPUs have kernels of their own for one, and for many
    int is_product;
    int alone; // 1: not against the CPU, but rows among many against the same alone, bit by bit
} kind;

// ---- numbers ----

static uint32_t draw(layout *l)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return (uint32_t)(l->random >> 16);
}

static int pick(layout *l, int from, int to)
{
    return from + (int)(draw(l) % (uint32_t)(to - from + 1));
}

static void *take(layout *l, size_t n_bytes)
{
    size_t at = l->used, end = (at + n_bytes + 63) & ~(size_t)63;
    if (end > MEMORY_BYTES) {
        l->too_large = 1;
        return l->base;
    }
    l->used = end;
    return l->base + at;
}

// Draws as many numbers wherever it lies, so that both layouts go the same way.
static qn_tensor numbers(layout *l, qn_tensor t, float scale)
{
    const qn_format *format = qn_format_of(t.dtype);
    int64_t n = qn_tensor_n_elements(&t);
    float block[256];
    char *to = t.data = take(l, qn_tensor_bytes(&t));
    for (int64_t i = 0; i < n; i += format->block_elements, to += format->block_bytes) {
        for (int j = 0; j < format->block_elements; j++)
            block[j] = ((float)(draw(l) >> 8) * 0x1p-23f - 1) * scale;
        if (l->writes) format->from_f32(block, to, (size_t)format->block_elements);
    }
    return t;
}

static qn_tensor matrix(layout *l, qn_dtype dtype, int rows, int columns, float scale)
{
    return numbers(l, qn_tensor_2d(NULL, dtype, rows, columns), scale);
}

static void round_to(const layout *l, const qn_tensor *x, qn_dtype dtype)
{
    const qn_format *format = qn_format_of(dtype);
    float *f = x->data;
    char rounded[16];
    for (int64_t i = 0; l->writes && qn_dtype_is_plain(dtype) && i < qn_tensor_n_elements(x); i++) {
        format->from_f32(&f[i], rounded, 1);
        format->to_f32(rounded, &f[i], 1);
    }
}

// Of vectors, which come in no blocks.
static qn_dtype plain_type(const layout *l)
{
    return qn_dtype_is_plain(l->dtype) ? l->dtype : QN_DTYPE_F16;
}

static qn_tensor vector(layout *l, qn_dtype dtype, int n)
{
    return numbers(l, qn_tensor_1d(NULL, dtype, n), 1);
}

static qn_tensor cache(layout *l, qn_dtype dtype, int n_blocks, int n_heads, int head_dim)
{
    qn_tensor t = {NULL, dtype, 4, {n_blocks, n_heads, QN_BLOCK_TOKENS, head_dim}};
    return numbers(l, t, 1);
}

// ---- the kinds ----

// A number of q8_0 may be rounded to the neighbour of the CPU's: part of the largest of its block.
static const double q8_0_step = 1.01 / 127;

// What is allowed where a backend rounds the rows that meet 16-bit numbers to their type, and multiplies blocks as F16.
static double rounded_tolerance(qn_dtype dtype, double exact)
{
    if (!qn_dtype_is_plain(dtype)) return 4e-3;
    return dtype == QN_DTYPE_F16 ? 1e-3 : dtype == QN_DTYPE_BF16 ? 8e-3 : exact;
}

// At least n numbers a row of weights.
static int whole_blocks(const layout *l, int n)
{
    int block = qn_format_of(l->dtype)->block_elements;
    return (n + block - 1) / block * block;
}

static void rms_norm(layout *l)
{
    int width = 4 * pick(l, 1, 60), groups = pick(l, 1, 3);
    qn_tensor x = matrix(l, QN_DTYPE_F32, SOME_ROWS, groups * width, 3);
    l->out = matrix(l, QN_DTYPE_F32, SOME_ROWS, groups * width, 1);
    qn_rms_norm(l->plan, l->out, x, vector(l, l->dtype, width),
                (qn_rms_norm_args){.n_groups = groups, .eps = 1e-6f});
}

static void product_of(layout *l, int n, int k)
{
    int n_rows = l->plan->max_rows > SOME_ROWS ? MAX_ROWS : SOME_ROWS;
    k = whole_blocks(l, k);
    qn_tensor x = matrix(l, QN_DTYPE_F32, n_rows, k, 1), bias = {0};
    if (l->rounds) l->tolerance = rounded_tolerance(l->dtype, l->tolerance);
    qn_tensor w = matrix(l, l->dtype, n, k, 0.1f);
    round_to(l, &x, l->rounds ? plain_type(l) : l->dtype); // some backends do
    if (pick(l, 0, 1)) bias = vector(l, plain_type(l), n);
    l->out = matrix(l, QN_DTYPE_F32, n_rows, n, 1);
    (pick(l, 0, 1) ? qn_matmul : qn_matmul_residual)(l->plan, l->out, x, w, bias);
}

static void product(layout *l)
{
    int n = pick(l, 1, 70), many = l->plan->max_rows > SOME_ROWS;
    product_of(l, n, many || pick(l, 0, 3) ? 8 * pick(l, 1, 80) : pick(l, 1, 300));
}

// Rows so long that a backend may add up their parts in some way of its own.
static void long_product(layout *l)
{
    int n = pick(l, 1, 20);
    product_of(l, n, 128 * pick(l, 33, 48));
}

static qn_rope_args rotation(layout *l, int n_heads, int head_dim)
{
    qn_rope_args a = {.n_heads = n_heads, .head_dim = head_dim, .scale = 1};
    l->out = a.x = matrix(l, QN_DTYPE_F32, SOME_ROWS, n_heads * head_dim, 2);
    a.inv_freq = vector(l, QN_DTYPE_F32, head_dim / 2);
    for (int i = 0; i < head_dim / 2 && l->writes; i++)
        ((float *)a.inv_freq.data)[i] = powf(10000, -2.0f * (float)i / (float)head_dim);
    return a;
}

static void rope(layout *l)
{
    qn_rope_args a = rotation(l, pick(l, 1, 5), 8 * pick(l, 1, 16));
    qn_rope(l->plan, a.x, a.inv_freq, a.n_heads, a.head_dim, a.scale);
}

static void qk_norm_rope(layout *l)
{
    qn_rope_args a = rotation(l, pick(l, 1, 5), 8 * pick(l, 1, 16));
    qn_qk_norm_rope(l->plan, a, vector(l, l->dtype, a.head_dim), 1e-6f);
}

static int n_blocks_of(const layout *l)
{
    return MAX_SLOTS * l->plan->batch.slots.max_blocks;
}

static void kv_append(layout *l)
{
    int heads = pick(l, 1, 3), dim = whole_blocks(l, 8 * pick(l, 1, 12));
    qn_tensor k = matrix(l, QN_DTYPE_F32, SOME_ROWS, heads * dim, 1);
    qn_tensor v = matrix(l, QN_DTYPE_F32, SOME_ROWS, heads * dim, 1);
    // One behind the other, so that both are compared.
    l->out = cache(l, l->dtype, 2 * n_blocks_of(l), heads, dim);
    qn_tensor k_cache = l->out, v_cache;
    k_cache.dim[0] /= 2;
    v_cache = k_cache;
    v_cache.data = (char *)k_cache.data + qn_tensor_bytes(&k_cache);
    if (l->dtype == QN_DTYPE_Q8_0) l->tolerance = q8_0_step;
    qn_kv_append(l->plan, k, v, k_cache, v_cache);
}

static void attention(layout *l)
{
    static const int dims[] = {16, 64, 80, 128, 256};
    int dim = whole_blocks(l, dims[pick(l, 0, 4)]), n_kv = pick(l, 1, 2), group = pick(l, 1, 7);
    qn_tensor q = matrix(l, QN_DTYPE_F32, SOME_ROWS, n_kv * group * dim, 2);
    qn_tensor k = cache(l, l->dtype, n_blocks_of(l), n_kv, dim);
    qn_tensor v = cache(l, l->dtype, n_blocks_of(l), n_kv, dim);
    qn_attention_args shape = {.n_heads = n_kv * group,
                               .n_kv_heads = n_kv,
                               .head_dim = dim,
                               .window = pick(l, 0, 1) ? pick(l, 1, 60) : 0,
                               .scale = 1.0f / sqrtf((float)dim)};
    l->out = matrix(l, QN_DTYPE_F32, SOME_ROWS, n_kv * group * dim, 1);
    if (l->rounds) l->tolerance = rounded_tolerance(l->dtype, l->tolerance);
    qn_attention(l->plan, l->out, q, k, v, shape);
}

static void swiglu(layout *l)
{
    int width = pick(l, 1, 600);
    qn_tensor gate = matrix(l, QN_DTYPE_F32, SOME_ROWS, width, 8);
    qn_tensor up = matrix(l, QN_DTYPE_F32, SOME_ROWS, width, 1);
    l->out = matrix(l, QN_DTYPE_F32, SOME_ROWS, width, 1);
    qn_swiglu(l->plan, l->out, gate, up);
}

static void embed(layout *l)
{
    int width = whole_blocks(l, 4 * pick(l, 1, 80));
    qn_tensor table = matrix(l, l->dtype, N_VOCAB, width, 1);
    l->out = matrix(l, QN_DTYPE_F32, SOME_ROWS, width, 1);
    l->tolerance = 0;
    qn_embed(l->plan, l->out, table);
}

static void gather(layout *l)
{
    int width = 4 * pick(l, 1, 80);
    qn_tensor x = matrix(l, QN_DTYPE_F32, SOME_ROWS, width, 1);
    l->out = matrix(l, QN_DTYPE_F32, MAX_OUTPUTS, width, 1);
    l->tolerance = 0;
    qn_gather(l->plan, l->out, x);
}

// What a model's layer records. Of one row, a GPU makes few kernels of it, which no single operation would need.
static void layer_of(layout *l, int dim, int n_kv, int group, int eights)
{
    int n_heads = n_kv * group;
    while (n_heads * dim != whole_blocks(l, n_heads * dim))
        n_heads += n_kv;
    int width = whole_blocks(l, 8 * eights), n_q = n_heads * dim, n_k = n_kv * dim;
    int inner = whole_blocks(l, 8 * pick(l, 8, 60));
    qn_dtype plain = plain_type(l);
    int with_bias = pick(l, 0, 1);
    qn_tensor none = {0}, x = matrix(l, QN_DTYPE_F32, SOME_ROWS, width, 1);
    qn_tensor h = matrix(l, QN_DTYPE_F32, SOME_ROWS, width, 1),
              q = matrix(l, QN_DTYPE_F32, SOME_ROWS, n_q, 1);
    qn_tensor k = matrix(l, QN_DTYPE_F32, SOME_ROWS, n_k, 1),
              v = matrix(l, QN_DTYPE_F32, SOME_ROWS, n_k, 1);
    qn_tensor a = matrix(l, QN_DTYPE_F32, SOME_ROWS, n_q, 1);
    qn_tensor gate = matrix(l, QN_DTYPE_F32, SOME_ROWS, inner, 1),
              up = matrix(l, QN_DTYPE_F32, SOME_ROWS, inner, 1);
    qn_dtype type = plain == l->dtype || pick(l, 0, 1) ? plain : QN_DTYPE_Q8_0;
    qn_tensor k_cache = cache(l, type, n_blocks_of(l), n_kv, dim),
              v_cache = cache(l, type, n_blocks_of(l), n_kv, dim);
    qn_tensor frequencies = vector(l, QN_DTYPE_F32, dim / 2);
    qn_rope_args turn = {
        .x = q, .inv_freq = frequencies, .n_heads = n_heads, .head_dim = dim, .scale = 1};
    qn_rms_norm_args norm = {.eps = 1e-6f};
    qn_rms_norm(l->plan, h, x, vector(l, plain, width), norm);
    qn_matmul(l->plan, q, h, matrix(l, l->dtype, n_q, width, 0.1f),
              with_bias ? vector(l, plain, n_q) : none);
    qn_matmul(l->plan, k, h, matrix(l, l->dtype, n_k, width, 0.1f),
              with_bias ? vector(l, plain, n_k) : none);
    qn_matmul(l->plan, v, h, matrix(l, l->dtype, n_k, width, 0.1f),
              with_bias ? vector(l, plain, n_k) : none);
    if (with_bias) {
        qn_rope(l->plan, q, frequencies, n_heads, dim, 1);
        qn_rope(l->plan, k, frequencies, n_kv, dim, 1);
    } else {
        qn_qk_norm_rope(l->plan, turn, vector(l, plain, dim), 1e-6f);
        turn.x = k;
        turn.n_heads = n_kv;
        qn_qk_norm_rope(l->plan, turn, vector(l, plain, dim), 1e-6f);
    }
    qn_kv_append(l->plan, k, v, k_cache, v_cache);
    qn_attention_args shape = {
        .n_heads = n_heads, .n_kv_heads = n_kv, .head_dim = dim, .scale = 0.1f};
    qn_attention(l->plan, a, q, k_cache, v_cache, shape);
    qn_matmul_residual(l->plan, x, a, matrix(l, l->dtype, width, n_q, 0.1f), none);
    qn_rms_norm(l->plan, h, x, vector(l, plain, width), norm);
    qn_matmul(l->plan, gate, h, matrix(l, l->dtype, inner, width, 0.1f), none);
    qn_matmul(l->plan, up, h, matrix(l, l->dtype, inner, width, 0.1f), none);
    qn_swiglu(l->plan, gate, gate, up);
    qn_matmul_residual(l->plan, x, gate, matrix(l, l->dtype, width, inner, 0.1f), none);
    l->out = x;
    // The cache's numbers are rounded, now and then to the neighbour of the CPU's.
    l->tolerance = plain == QN_DTYPE_F32 ? 2e-5 : plain == QN_DTYPE_F16 ? 1e-4 : 1e-3;
    if (l->rounds) l->tolerance = 3 * rounded_tolerance(l->dtype, l->tolerance);
    if (type == QN_DTYPE_Q8_0 && l->tolerance < q8_0_step) l->tolerance = q8_0_step;
}

static void layer(layout *l)
{
    int dim = pick(l, 0, 1) ? 64 : 128, n_kv = pick(l, 1, 2), group = pick(l, 1, 3);
    layer_of(l, dim, n_kv, group, pick(l, 8, 40));
}

// With rows of more than one of the parts in which GPUs sum products (backend/cuda/products.h).
static void long_layer(layout *l)
{
    int wide = pick(l, 0, 1);
    if (l->dtype == QN_DTYPE_F32)
        layer(l); // such weights are summed in one
    else
        layer_of(l, wide ? 128 : 64, wide ? 2 : 3, wide ? 5 : 6, pick(l, 130, 132));
}

// Edits of every kind, over tokens, table and parameters: compared as numbers.
static void step_begin(layout *l)
{
    const qn_slot_table *s = &l->plan->batch.slots;
    qn_step_counts *n = l->block.counts;
    l->block.slot_copies[0] = (qn_slot_copy){1, 2, pick(l, 1, MAX_CONTEXT)};
    l->block.params_edits[0] = (qn_params_edit){2, {.top_k = 7, .temperature = 0.5f}};
    l->block.token_edits[0] = (qn_edit){2, pick(l, 0, MAX_CONTEXT - 1), 42};
    l->block.block_edits[0] = (qn_edit){3, 0, 5};
    n->n_slot_copies = n->n_params_edits = n->n_token_edits = n->n_block_edits = 1;
    l->out = qn_tensor_2d(s->tokens, QN_DTYPE_F32, MAX_SLOTS, MAX_CONTEXT);
    l->tolerance = 0;
    qn_step_begin(l->plan);
}

static void copy_blocks(layout *l)
{
    qn_tensor t = cache(l, l->dtype, 2 * 12, 1, 8 * pick(l, 1, 8));
    size_t block_bytes = qn_tensor_bytes(&t) / 24;
    l->block.block_copies[0] = (qn_block_copy){3, 9};
    l->block.block_copies[1] = (qn_block_copy){9, 1};
    l->block.counts->n_block_copies = 2;
    l->out = t;
    l->tolerance = 0;
    qn_copy_blocks(l->plan, &(qn_state_span){t.data, 2, 12, block_bytes}, 1);
}

// The results' first numbers: token and log-probability. Tokens are small numbers, so they are compared exactly.
static void sample(layout *l)
{
    qn_tensor logits = matrix(l, QN_DTYPE_F32, MAX_OUTPUTS, N_VOCAB, 6);
    qn_tensor scratch = qn_tensor_2d(NULL, QN_DTYPE_F32, MAX_OUTPUTS, 4 * N_VOCAB);
    scratch.data = take(l, qn_tensor_bytes(&scratch));
    qn_slot_params *params = l->plan->batch.slots.params;
    for (int i = 0; i < MAX_OUTPUTS; i++) {
        qn_slot_params p = {.seed_low = draw(l),
                            .greedy = pick(l, 0, 1),
                            .top_k = pick(l, 0, 20),
                            .temperature = 0.8f,
                            .top_p = pick(l, 0, 1) ? 1 : 0.9f,
                            .repetition_penalty = 1.2f,
                            .n_prompt = 3};
        if (l->writes) params[i] = p;
        l->block.rows[i].slot = i;
        l->block.outputs[i].n_top = pick(l, 0, 5);
    }
    l->out = (qn_tensor){.data = l->plan->batch.results, .dtype = QN_DTYPE_COUNT};
    qn_sample(l->plan, logits, scratch);
}

static const kind kinds[] = {
    {"embed", QN_DTYPE_COUNT, embed, SOME, 0, 0},
    {"rms_norm", PLAIN, rms_norm, SOME, 0, 0},
    {"matmul", QN_DTYPE_COUNT, product, SOME, 1, 0},
    {"matmul, one row", QN_DTYPE_COUNT, product, ONE, 1, 0},
    {"matmul, many rows", QN_DTYPE_COUNT, product, MANY, 1, 0},
    {"rope", 1, rope, SOME, 0, 0},
    {"qk_norm_rope", PLAIN, qk_norm_rope, SOME, 0, 0},
    {"kv_append", PLAIN + 1, kv_append, SOME, 0, 0},
    {"attention", PLAIN + 1, attention, SOME, 0, 0},
    {"attention, one row", PLAIN + 1, attention, ONE, 0, 0},
    {"swiglu", 1, swiglu, SOME, 0, 0},
    {"gather", 1, gather, SOME, 0, 0},
    {"layer", TO_Q6_K, layer, SOME, 1, 0},
    {"layer, one row", TO_Q6_K, layer, ONE, 1, 0},
    {"layer, long rows", PLAIN, long_layer, SOME, 1, 0},
    {"step_begin", 1, step_begin, SOME, 0, 0},
    {"copy_blocks", PLAIN, copy_blocks, SOME, 0, 0},
    {"sample", 1, sample, SOME, 0, 0},
    {"row alone, matmul", QN_DTYPE_COUNT, product, MANY, 1, 1},
    {"row alone, long matmul", QN_DTYPE_COUNT, long_product, MANY, 1, 1},
    {"row alone, layer", TO_Q6_K, layer, SOME, 1, 1},
    {"row alone, long layer", PLAIN, long_layer, SOME, 1, 1},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds, OF_ALL_TYPES = 6, TO_BLOCKS = 3 };
_Static_assert(OF_ALL_TYPES *QN_DTYPE_COUNT + TO_BLOCKS * TO_Q6_K +
                       (N_KINDS - OF_ALL_TYPES - TO_BLOCKS) * (PLAIN + 1) <=
                   QN_SELFTEST_MAX_ROWS,
               "a row a kind and type");

// ---- a case ----

// Rows at places of their own, tokens and blocks at random.
static void fill_step(layout *l)
{
    const qn_slot_table *s = &l->plan->batch.slots;
    for (int i = 0; i < MAX_SLOTS * MAX_CONTEXT; i++) {
        int token = pick(l, 0, N_VOCAB - 1);
        if (l->writes) s->tokens[i] = token;
    }
    for (int i = 0; i < MAX_SLOTS * s->max_blocks && l->writes; i++)
        s->table[i] = (i * 7) % (MAX_SLOTS * s->max_blocks);
    l->n_rows = pick(l, 0, 1) ? SOME_ROWS : pick(l, MAX_SLOTS, SOME_ROWS);
    if (l->n_rows <= SEVERAL_ROWS && l->n_rows % 2)
        l->n_rows = FEW_ROWS; // so that these are as frequent
    if (l->plan->max_rows == 1) l->n_rows = 1;
    if (l->plan->max_rows == MAX_ROWS) l->n_rows = pick(l, SOME_ROWS + 1, MANY_ROWS);
    int first = pick(l, 0, MAX_CONTEXT - 1);
    for (int i = 0; i < l->n_rows; i++)
        l->block.rows[i] = (qn_row){i % MAX_SLOTS, (first + i * 23) % MAX_CONTEXT, -1};
    for (int i = 0; i < MAX_OUTPUTS; i++)
        l->block.outputs[i] = (qn_output){i, QN_OUTPUT_SAMPLE, 0};
    *l->block.counts =
        (qn_step_counts){.n_rows = l->n_rows, .n_outputs = l->n_rows > 1 ? MAX_OUTPUTS : 0};
}

static const qn_step_limits limits = {MAX_ROWS, MAX_OUTPUTS, MAX_SLOTS, MAX_EDITS, MAX_CONTEXT};

static void lay_out(layout *l, const kind *k, qn_plan *plan, char *base, void *block)
{
    l->base = base;
    l->plan = plan;
    l->block = qn_step_at(&limits, block);
    l->tolerance = 2e-5;
    qn_batch batch = {.limits = limits};
    batch.step = qn_step_at(&limits, take(l, qn_step_bytes(&limits)));
    batch.slots = qn_slot_table_at(&limits, take(l, qn_slot_table_bytes(&limits)));
    batch.results = take(l, MAX_OUTPUTS * sizeof(qn_step_result));
    qn_plan_init(plan, k->rows == ONE ? 1 : k->rows == MANY ? MAX_ROWS : SOME_ROWS, &batch);
    fill_step(l);
    if (l->n_rows > 1 && l->n_rows <= SEVERAL_ROWS)
        plan->max_rows = l->n_rows <= FEW_ROWS ? FEW_ROWS : SEVERAL_ROWS;
    k->make(l);
}

typedef struct {
    const qn_backend *backend;
    qn_device *device;
    void *memory;
} side;

static int supports(void *context, const qn_record *r)
{
    const side *s = context;
    return s->backend->supports(s->device, r);
}

static int run_plan(side *s, const qn_plan *plan, const qn_launch *launch, quern_error *e)
{
    qn_plan composed;
    qn_program *program = NULL;
    qn_ticket t;
    int rc = qn_plan_compose(plan, supports, s, &composed, e);
    if (!rc) rc = s->backend->compile(s->device, &composed, &program, e);
    qn_plan_free(&composed);
    if (rc) return rc;
    rc = s->backend->launch(s->device, program, launch, &t);
    if (!rc) {
        int state = s->backend->wait(s->device, t, WAIT_MS);
        if (state != QN_TICKET_DONE) rc = QUERN_E_DEVICE;
    }
    s->backend->free_program(s->device, program);
    return rc ? qn_error_set(e, rc, "the launch failed") : 0;
}

// Adds a difference; `size` is the largest expected number.
typedef struct {
    double difference, size;
} measure;

static void compare_one(measure *m, double expected, double found)
{
    double difference = fabs(expected - found);
    if (!(difference <= 1e300)) difference = expected == found ? 0 : INFINITY; // NaN counts
    if (difference > m->difference) m->difference = difference;
    if (fabs(expected) > m->size) m->size = fabs(expected);
}

static double compare_tensor(const qn_tensor *t, const char *expected, const char *found, int rows)
{
    const qn_format *format = qn_format_of(t->dtype);
    int64_t n = qn_tensor_n_elements(t);
    measure m = {0, 1e-30};
    if (t->rank == 2 && rows < t->dim[0]) n = rows * t->dim[1];
    int n_block = format->block_elements;
    for (int64_t i = 0; i < n; i += n_block) {
        float a[256], b[256];
        format->to_f32(expected + i / n_block * format->block_bytes, a, (size_t)n_block);
        format->to_f32(found + i / n_block * format->block_bytes, b, (size_t)n_block);
        for (int j = 0; j < n_block; j++)
            if (memcmp(&a[j], &b[j], sizeof *a))
                compare_one(&m, a[j], b[j]);
            else if (isfinite(a[j]))
                compare_one(&m, a[j], a[j]);
    }
    return m.difference / m.size;
}

// Tokens and ids must be equal, log-probabilities near.
static double compare_results(const qn_step_result *expected, const qn_step_result *found)
{
    measure m = {0, 1};
    for (int i = 0; i < MAX_OUTPUTS; i++) {
        const qn_step_result *a = &expected[i], *b = &found[i];
        if (a->token != b->token || a->n_top != b->n_top) return INFINITY;
        compare_one(&m, a->logprob, b->logprob);
        for (int j = 0; j < a->n_top; j++) {
            if (a->top_id[j] != b->top_id[j]) return INFINITY;
            compare_one(&m, a->top_logprob[j], b->top_logprob[j]);
        }
    }
    return m.difference / m.size;
}

// ---- a run ----

typedef struct {
    side cpu, device;
    void *block;             // launched
    void *found;             // what the device's memory holds afterwards
    void *kept;              // rows among many
    qn_step_result *results; // what its launch gave out
    qn_selftest_report *report;
} run;

static double compare(const run *r, const layout *l)
{
    const char *expected = r->cpu.memory, *found = r->found;
    size_t at = (size_t)((char *)l->out.data - l->base);
    if (l->out.dtype != QN_DTYPE_COUNT)
        return compare_tensor(&l->out, expected + at, found + at, l->n_rows);
    return compare_results((const void *)(expected + at), r->results);
}

// Returns the largest difference; INFINITY and an error where the case could not run.
static double run_case(run *r, const kind *k, layout *on_cpu, quern_error *e)
{
    layout on_device = *on_cpu;
    qn_plan cpu_plan, device_plan;
    qn_launch launch = {r->block, r->results};
    const qn_backend *b = r->device.backend;
    on_device.writes = 0;
    memset(r->cpu.memory, 0, MEMORY_BYTES);
    memset(r->block, 0, qn_step_bytes(&limits));
    lay_out(on_cpu, k, &cpu_plan, r->cpu.memory, r->block);
    lay_out(&on_device, k, &device_plan, r->device.memory, r->block);
    int rc = b->upload(r->device.device, r->device.memory, r->cpu.memory, on_cpu->used);
    if (rc) qn_error_set(e, rc, "the upload failed");
    if (on_cpu->too_large) rc = qn_error_set(e, QUERN_E_INTERNAL, "the case is too large");
    if (!rc) rc = run_plan(&r->cpu, &cpu_plan, &launch, e);
    if (!rc) rc = run_plan(&r->device, &device_plan, &launch, e);
    if (!rc) {
        rc = b->download(r->device.device, r->found, r->device.memory, on_cpu->used);
        if (rc) qn_error_set(e, rc, "the download failed");
    }
    qn_plan_free(&cpu_plan);
    qn_plan_free(&device_plan);
    return rc ? INFINITY : compare(r, on_cpu);
}

// Every row of a product is its first: rows differ by their place and their company alone.
static void repeat_first_row(const qn_plan *plan, const kind *k)
{
    if (k->make != product) return;
    const qn_matmul_args *a = plan->records[0].args;
    const qn_tensor *tensors[] = {&a->x, &a->y};
    for (int i = 0; i < 2; i++) {
        size_t n_bytes = (size_t)tensors[i]->dim[1] * sizeof(float);
        char *first = tensors[i]->data;
        for (int64_t r = 1; r < tensors[i]->dim[0]; r++)
            memcpy(first + (size_t)r * n_bytes, first, n_bytes);
    }
}

// A launch on the device of the case in a class of at most max_rows; its layout, and in r->found what memory holds then. The
// first row has a slot for itself, since rows of one slot see each other.
static int run_rows(run *r, const kind *k, const layout *from, int max_rows, layout *out,
                    quern_error *e)
{
    layout on_cpu = *from;
    qn_plan cpu_plan, plan;
    const qn_backend *b = r->device.backend;
    *out = *from;
    out->writes = 0;
    memset(r->cpu.memory, 0, MEMORY_BYTES);
    memset(r->block, 0, qn_step_bytes(&limits));
    lay_out(&on_cpu, k, &cpu_plan, r->cpu.memory, r->block);
    lay_out(out, k, &plan, r->device.memory, r->block);
    repeat_first_row(&cpu_plan, k);
    plan.max_rows = max_rows;
    if (out->n_rows > max_rows) out->n_rows = max_rows;
    *out->block.counts = (qn_step_counts){.n_rows = out->n_rows};
    for (int i = 1; i < out->n_rows; i++)
        out->block.rows[i].slot = 1 + i % (MAX_SLOTS - 1);
    int rc = b->upload(r->device.device, r->device.memory, r->cpu.memory, on_cpu.used);
    if (!rc) rc = run_plan(&r->device, &plan, &(qn_launch){r->block, r->results}, e);
    if (!rc) rc = b->download(r->device.device, r->found, r->device.memory, on_cpu.used);
    qn_plan_free(&cpu_plan);
    qn_plan_free(&plan);
    return rc;
}

// Products of many rows in kernels for several numbers of rows, of blocks in long rows too: those in the matrix units' form on a card
// that tells no other form.
static int has_sizes(const qn_backend *b)
{
    return b->rounds_activations && !b->use_form;
}

// 0 where the first row has the same bits in every class, and of a product at every place; INFINITY where not.
static double run_alone(run *r, const kind *k, layout *l, quern_error *e)
{
    static const int classes[] = {MANY_ROWS, SEVERAL_ROWS, FEW_ROWS, 1, MAX_ROWS, 32, 16};
    int n_classes = has_sizes(r->device.backend) ? 7 : 4;
    layout done;
    l->tolerance = 0;
    for (int i = 0; i < n_classes; i++) {
        if (run_rows(r, k, l, classes[i], &done, e)) return INFINITY;
        const char *found = (char *)r->found + ((char *)done.out.data - done.base);
        size_t n_bytes = (size_t)done.out.dim[1] * sizeof(float);
        if (!i) memcpy(r->kept, found, n_bytes);
        for (int row = 0; row < (k->make == product ? done.n_rows : 1); row++)
            if (memcmp(r->kept, found + (size_t)row * n_bytes, n_bytes)) return INFINITY;
    }
    return 0;
}

static void add_case(run *r, qn_selftest_row *row, const kind *k, qn_dtype dtype, uint64_t seed)
{
    quern_error e = {0};
    layout l = {.random = seed * 0x9E3779B97F4A7C15u + 1,
                .dtype = dtype,
                .writes = 1,
                .rounds = r->device.backend->rounds_activations};
    double difference = (k->alone ? run_alone : run_case)(r, k, &l, &e);
    int failed = !(difference <= l.tolerance);
    if (!(difference <= row->worst)) row->worst = difference;
    if (e.code && !row->code) {
        row->code = e.code;
        snprintf(row->why, sizeof row->why, "%.*s", (int)sizeof row->why - 1, e.message);
    }
    row->tolerance = l.tolerance;
    row->n_cases++;
    row->n_failed += failed;
    r->report->n_cases++;
    r->report->n_failed += failed;
}

typedef enum { ALL, EACH_KERNEL, PRODUCTS } scope;

static int is_wanted(const run *r, const kind *k, qn_dtype type, scope what)
{
    const qn_backend *b = r->device.backend;
    int quick = what == EACH_KERNEL;
    if (what == PRODUCTS && !k->is_product) return 0;
    if (quick && k->make == layer && type > QN_DTYPE_Q8_0) return 0;
    // Rows alone: where they may meet more than one kernel, which takes its time.
    if (k->alone && !b->use_form && (quick || !b->rounds_activations)) return 0;
    if (k->make == long_product && type > QN_DTYPE_BF16 && !has_sizes(b)) return 0;
    // Affine blocks with as many bits have kernels in common, or code that differs by a number, whatever their groups.
    int group = type >= QN_DTYPE_AFFINE3_32 && type <= QN_DTYPE_AFFINE8_128
                    ? qn_format_of(type)->block_elements
                    : 64;
    return !quick || group == 64;
}

static void run_all(run *r, const qn_selftest_options *o, scope what)
{
    for (int i = 0; i < N_KINDS; i++)
        for (int type = 0; type < kinds[i].n_types; type++) {
            if (!is_wanted(r, &kinds[i], (qn_dtype)type, what)) continue;
            const char *name = kinds[i].n_types == 1 ? "" : qn_format_of((qn_dtype)type)->name;
            qn_selftest_row *row = &r->report->rows[r->report->n_rows];
            snprintf(row->name, sizeof row->name, "%s%s%s", kinds[i].name, *name ? " " : "", name);
            if (o->only && !strstr(row->name, o->only)) continue;
            r->report->n_rows++;
            for (int n = 1; n <= o->n_rounds; n++)
                add_case(r, row, &kinds[i], (qn_dtype)type,
                         ((o->seed * 64 + (uint64_t)i) * 16 + (uint64_t)type) * 1024 + (uint64_t)n);
        }
}

static int run_on(const qn_backend *b, qn_device *d, const qn_selftest_options *o, scope what,
                  qn_selftest_report *out, quern_error *e)
{
    const qn_backend *cpu = qn_backend_by_name("cpu");
    run r = {.cpu.backend = cpu, .device = {b, d, NULL}, .report = out};
    void *results = NULL;
    *out = (qn_selftest_report){0};
    int rc = cpu->open(&(qn_device_options){.n_threads = 1, .isa = "portable"}, &r.cpu.device, e);
    if (rc) return rc;
    rc = cpu->alloc(r.cpu.device, MEMORY_BYTES, &r.cpu.memory, e);
    if (!rc) rc = cpu->alloc(r.cpu.device, MEMORY_BYTES, &r.found, e);
    if (!rc) rc = cpu->alloc(r.cpu.device, MEMORY_BYTES, &r.kept, e);
    if (!rc) rc = cpu->alloc(r.cpu.device, MAX_OUTPUTS * sizeof(qn_step_result), &results, e);
    r.results = results;
    if (!rc) rc = cpu->alloc(r.cpu.device, qn_step_bytes(&limits), &r.block, e);
    if (!rc) rc = b->alloc(d, MEMORY_BYTES, &r.device.memory, e);
    if (!rc) run_all(&r, o, what);
    b->free(d, r.device.memory);
    cpu->close(r.cpu.device); // and all its memory
    return rc;
}

int qn_selftest_run(const qn_backend *b, qn_device *d, const qn_selftest_options *o,
                    qn_selftest_report *out, quern_error *e)
{
    return run_on(b, d, o, ALL, out, e);
}

int qn_selftest_run_products(const qn_backend *b, qn_device *d, const qn_selftest_options *o,
                             qn_selftest_report *out, quern_error *e)
{
    return run_on(b, d, o, PRODUCTS, out, e);
}

int qn_selftest_quick(const qn_backend *b, qn_device *d, quern_error *e)
{
    qn_selftest_report report;
    int rc = run_on(b, d, &(qn_selftest_options){1, 1, NULL}, EACH_KERNEL, &report, e);
    for (int i = 0; i < report.n_rows && !rc; i++) {
        const qn_selftest_row *row = &report.rows[i];
        if (row->code)
            rc = qn_error_set(e, row->code, "%s: self-test: %s: %s", b->name, row->name, row->why);
        else if (row->n_failed)
            rc = qn_error_set(e, QUERN_E_DEVICE,
                              "%s: self-test: %s differs from the CPU's by %.2g, at most %.2g "
                              "(quern selftest --backend %s tells more)",
                              b->name, row->name, row->worst, row->tolerance, b->name);
    }
    return rc;
}
