// What a token costs on Metal, counted: one decode row of a published shape, recorded by the model's own code with two layers,
// lowered as the backend does it, one run on the counting emulator. Prints a line a task, and the whole model's sums; all layers
// cost the same, so a whole model is the rest once and a layer n_layers times. And a layer of a prompt's rows.
// Weights are unfilled zero pages: where kernels read does not hang on values.
// The emulator tells distinct bytes of a dispatch; that matrices are not read twice within one is seen from the loads themselves.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "backend/metal/products.h"
#include "emulator.h"
#include "model/family.h"

enum {
    N_LAYERS = 2,    // recorded
    POSITION = 1023, // of the last row: 1,024 are visible
    PROMPT_ROWS = 8, // of a class of many
    MANY_ROWS = 64,
    N_CONTEXT = 4096,
    N_BLOCKS = N_CONTEXT / QN_BLOCK_TOKENS,
    MAX_LAYER_TASKS = 5,
    ALIGN = 4096
};
static const double most_over_minimum = 1.05;
static const qn_step_limits limits = {
    .max_rows = 64, .max_outputs = 16, .max_slots = 16, .max_edits = 64, .max_context = N_CONTEXT};

typedef struct {
    uint64_t read, written;
    int n_tasks;
} cost;

typedef struct {
    int n_rows;           // of the step
    qn_description whole; // all layers
    qn_model model;       // N_LAYERS of them
    char *memory;
    size_t n_bytes, n_taken;
    char *matrices;                   // a memory of their own
    size_t matrix_bytes, n_read_once; // of all; of what a row reads
    size_t ends_once;                 // of that, outside of layers
    void *staged_step, *staged_results;
    qn_plan plan, composed;
    qn_gpu_list list;
} world;

// ---- loads of matrices ----

static struct {
    const char *from;
    size_t n_bytes;
    uint64_t loaded;
} matrices;

#define LOAD(n)                                                                                    \
    void __real___sanitizer_cov_load##n(const void *p);                                            \
    void __wrap___sanitizer_cov_load##n(const void *p);                                            \
    void __wrap___sanitizer_cov_load##n(const void *p)                                             \
    {                                                                                              \
        if ((size_t)((const char *)p - matrices.from) < matrices.n_bytes) matrices.loaded += n;    \
        __real___sanitizer_cov_load##n(p);                                                         \
    }

LOAD(1)
LOAD(2)
LOAD(4)
LOAD(8)
LOAD(16)

// ---- memory ----

static void *take(world *w, size_t n_bytes)
{
    void *p = w->memory + w->n_taken;
    w->n_taken += (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
    assert_true(w->n_taken <= w->n_bytes);
    return p;
}

// Pages that nobody writes to take no memory.
static char *reserve(size_t n_bytes)
{
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

static void open_memory(world *w)
{
    w->n_bytes = (size_t)2 << 30;
    w->memory = reserve(w->n_bytes);
    matrices.n_bytes = (size_t)16 << 30;
    matrices.from = w->matrices = reserve(matrices.n_bytes);
    matrices.loaded = 0;
}

// ---- the model ----

static int place_weight(void *context, const qn_weight_spec *spec, int layer)
{
    world *w = context;
    qn_tensor *t = qn_weights_slot(&w->model, spec, layer);
    t->dtype = w->model.facts.dtype;
    t->rank = qn_weights_shape(&w->model.config, spec, t->dim);
    if (t->rank == 1) {
        t->data = take(w, qn_tensor_bytes(t));
        return 0;
    }
    size_t n_bytes = qn_tensor_bytes(t);
    t->data = w->matrices + w->matrix_bytes;
    w->matrix_bytes += (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
    assert_true(w->matrix_bytes <= matrices.n_bytes);
    size_t once = n_bytes;
    if (t == &w->model.ends.embed) // a row, and all of it as the head
        once = n_bytes / (size_t)t->dim[0] + (w->model.config.tied ? n_bytes : 0);
    w->n_read_once += once;
    const char *ends = (const char *)&w->model.ends;
    if ((size_t)((const char *)t - ends) < sizeof w->model.ends) w->ends_once += once;
    return 0;
}

static void open_model(world *w, const char *shape)
{
    qn_model *m = &w->model;
    quern_error e;
    assert_int_equal(qn_shapes_find(shape, QN_DTYPE_BF16, &w->whole, &e), 0);
    m->family = w->whole.family;
    m->config = w->whole.config;
    m->config.n_layers = N_LAYERS;
    m->n_ranks = 1;
    qn_config_facts(&w->whole, &m->facts);
    m->layers = take(w, N_LAYERS * m->family->layer_bytes);
    qn_weights_each(&m->config, m->family, place_weight, w);
    if (m->config.tied) m->ends.head = m->ends.embed;
    float *inv_freq = take(w, (size_t)m->config.head_dim / 2 * sizeof *inv_freq);
    m->inv_freq = qn_tensor_1d(inv_freq, QN_DTYPE_F32, m->config.head_dim / 2);
    assert_int_equal(qn_rope_frequencies(&m->config, shape, inv_freq, &m->rope_scale, &e), 0);
}

// ---- the step ----

// The step block, at its place on the device and staged, and a slot that has come as far as the row.
static qn_batch make_batch(world *w)
{
    qn_batch b = {.limits = limits, .results = take(w, sizeof(qn_step_result) * 16)};
    b.step = qn_step_at(&limits, take(w, qn_step_bytes(&limits)));
    b.slots = qn_slot_table_at(&limits, take(w, qn_slot_table_bytes(&limits)));
    w->staged_step = take(w, qn_step_bytes(&limits));
    w->staged_results = take(w, sizeof(qn_step_result) * 16);
    qn_step_view staged = qn_step_at(&limits, w->staged_step);
    staged.counts->n_rows = w->n_rows;
    staged.counts->n_outputs = 1;
    for (int i = 0; i < w->n_rows; i++)
        staged.rows[i] = (qn_row){.position = POSITION + 1 - w->n_rows + i};
    staged.outputs[0] = (qn_output){.kind = QN_OUTPUT_SAMPLE};
    b.slots.params[0] = (qn_slot_params){
        .greedy = 1, .temperature = 1, .top_p = 1, .repetition_penalty = 1, .n_prompt = POSITION};
    for (int i = 0; i < N_CONTEXT; i++)
        b.slots.tokens[i] = 7919 * i % 100000;
    for (int i = 0; i < N_BLOCKS; i++)
        b.slots.table[i] = 37 * i % N_BLOCKS; // a permutation
    return b;
}

static int supports(void *context, const qn_record *r)
{
    (void)context;
    return qn_gpu_supports(r);
}

// As qn_engine's compile and the Metal backend's program.c do.
static void make_tasks(world *w)
{
    qn_batch batch = make_batch(w);
    qn_state_part parts[QN_MAX_PARTS];
    qn_state_span spans[QN_MAX_PARTS];
    quern_error e;
    int n = qn_model_state_parts(&w->model, parts);
    for (int i = 0; i < n; i++) {
        size_t block_bytes = parts[i].record_bytes * QN_BLOCK_TOKENS;
        spans[i] = (qn_state_span){take(w, block_bytes * (size_t)parts[i].n_layers * N_BLOCKS),
                                   parts[i].n_layers, N_BLOCKS, block_bytes};
    }
    qn_plan_init(&w->plan, w->n_rows > 1 ? MANY_ROWS : 1, &batch);
    qn_model_record(&w->model, &w->plan, spans,
                    take(w, qn_model_scratch_bytes(&w->model, &limits)));
    assert_int_equal(qn_plan_compose(&w->plan, supports, NULL, &w->composed, &e), 0);
    qn_gpu_options o = {.fuse_rows = 1, .scratch_bytes = qn_gpu_scratch_bytes(&w->composed)};
    o.scratch = take(w, o.scratch_bytes);
    assert_int_equal(qn_gpu_lower(&w->composed, &o, &w->list, &e), 0);
    qn_metal_products_rewrite(&w->list);
}

// ---- counting ----

static void *address_of(const world *w, const void *from)
{
    if (from == QN_GPU_STAGED_STEP) return w->staged_step;
    return from == QN_GPU_STAGED_RESULTS ? w->staged_results : (void *)(uintptr_t)from;
}

static cost run_task(const world *w, const qn_gpu_task *t)
{
    qn_emulator_dispatch d = {.kernel = qn_metal_kernel_name((int)t->kernel),
                              .n_threads = QN_GPU_N_THREADS,
                              .n_buffers = t->n_buffers,
                              .args = t->args,
                              .args_bytes = t->args_bytes};
    qn_emulator_counts counts;
    char error[512] = "";
    cost c = {.n_tasks = 1};
    memcpy(d.n_groups, t->n_groups, sizeof d.n_groups);
    for (int i = 0; i < t->n_buffers; i++) {
        d.buffers[i].address = address_of(w, t->buffers[i].from);
        d.buffers[i].n_bytes = t->buffers[i].n_bytes;
    }
    if (qn_emulator_run(&d, error, sizeof error)) fail_msg("%s", error);
    if (!qn_emulator_counters(0, &counts)) return c; // it touched nothing
    for (int i = 0; i < t->n_buffers; i++) {
        c.read += counts.read_bytes[i];
        c.written += counts.written_bytes[i];
    }
    return c;
}

static void add(cost *to, const cost *c)
{
    to->read += c->read;
    to->written += c->written;
    to->n_tasks += c->n_tasks;
}

// Layers lie between embed and gather: the first task, and how many a layer has.
static int first_of_layers(const world *w, int *n_a_layer)
{
    int first = 0, last = 0;
    for (int i = 0; i < w->list.n_tasks; i++) {
        if (w->list.tasks[i].kernel == QN_GPU_embed) first = i + 1;
        if (w->list.tasks[i].kernel == QN_GPU_gather) last = i;
    }
    assert_int_equal((last - first) % N_LAYERS, 0);
    *n_a_layer = (last - first) / N_LAYERS;
    return first;
}

static void print_task(const char *where, const qn_gpu_task *t, const cost *c)
{
    printf("# | %s | %s | %u x %u x %u | %llu | %llu |\n", where,
           qn_metal_kernel_name((int)t->kernel), t->n_groups[0], t->n_groups[1], t->n_groups[2],
           (unsigned long long)c->read, (unsigned long long)c->written);
}

// The same work on other memory.
static void check_like(const qn_gpu_task *a, const qn_gpu_task *b)
{
    assert_int_equal(a->kernel, b->kernel);
    assert_memory_equal(a->n_groups, b->n_groups, sizeof a->n_groups);
    assert_memory_equal(a->args, b->args, a->args_bytes);
    for (int i = 0; i < a->n_buffers; i++)
        assert_int_equal(a->buffers[i].n_bytes, b->buffers[i].n_bytes);
}

// Runs the list, of the layers the first, which the others are like; costs[0] is that layer's, costs[1] that of the rest.
static void run_all(const world *w, cost costs[2])
{
    int a_layer, first = first_of_layers(w, &a_layer), last = first + N_LAYERS * a_layer;
    for (int i = 0; i < w->list.n_tasks; i++) {
        const qn_gpu_task *t = &w->list.tasks[i];
        int layer = i >= first && i < last ? (i - first) / a_layer : N_LAYERS;
        if (layer > 0 && layer < N_LAYERS) {
            check_like(t, &w->list.tasks[i - a_layer]);
            continue;
        }
        cost c = run_task(w, t);
        add(&costs[layer > 0], &c);
        print_task(layer ? "" : "layer", t, &c);
    }
}

// ---- what must be read ----

// Weights once (of the embedding one row, all of it where the head is that table), keys and values of what is visible.
static uint64_t minimum_of(const qn_model_config *c, const qn_family *f)
{
    uint64_t n_all, n_active,
        n_state = 2ull * (POSITION + 1) * (uint64_t)c->n_layers * (uint64_t)c->n_kv_heads *
                  (uint64_t)c->head_dim;
    qn_weights_count(c, f, &n_all, &n_active);
    return 2 * (n_active + n_state);
}

static uint64_t minimum_of_layer(const world *w)
{
    qn_model_config more = w->model.config;
    more.n_layers++;
    return minimum_of(&more, w->model.family) - minimum_of(&w->model.config, w->model.family);
}

static double over(const char *what, const cost *c, uint64_t minimum)
{
    double ratio = (double)c->read / (double)minimum;
    printf("# %s: %d dispatches, %llu bytes read, %llu written, minimum %llu, read/minimum %.5f\n",
           what, c->n_tasks, (unsigned long long)c->read, (unsigned long long)c->written,
           (unsigned long long)minimum, ratio);
    return ratio;
}

static void close(world *w)
{
    qn_gpu_list_free(&w->list);
    qn_plan_free(&w->composed);
    qn_plan_free(&w->plan);
    munmap(w->memory, w->n_bytes);
    munmap(w->matrices, matrices.n_bytes);
}

static void count_shape(const char *shape)
{
    cost costs[2] = {{0}};
    world w = {.n_rows = 1};
    open_memory(&w);
    open_model(&w, shape);
    make_tasks(&w);
    printf("# %s, bf16, one row, %d positions visible\n# | | kernel | groups | bytes read | bytes "
           "written |\n",
           shape, POSITION + 1);
    run_all(&w, costs);

    cost whole = costs[1];
    for (int i = 0; i < w.whole.config.n_layers; i++)
        add(&whole, &costs[0]);
    double layer_over = over("a layer", &costs[0], minimum_of_layer(&w));
    double whole_over =
        over("the whole model", &whole, minimum_of(&w.whole.config, w.whole.family));
    uint64_t once = w.ends_once + (w.n_read_once - w.ends_once) / N_LAYERS;
    printf("# matrices: %llu bytes loaded of %llu, each once\n",
           (unsigned long long)matrices.loaded, (unsigned long long)once);
    assert_int_equal(matrices.loaded, once);
    assert_true(costs[0].n_tasks <= MAX_LAYER_TASKS);
    assert_true(layer_over >= 1 && layer_over <= most_over_minimum);
    assert_true(whole_over >= 1 && whole_over <= most_over_minimum);
    close(&w);
}

// A layer of a prompt's rows: its matrices are loaded once for up to 64 rows.
static void test_prompt(void **state)
{
    (void)state;
    cost layer = {0};
    int n;
    world w = {.n_rows = PROMPT_ROWS};
    open_memory(&w);
    open_model(&w, "qwen2.5-7b");
    make_tasks(&w);
    printf("# qwen2.5-7b, bf16, %d rows, up to %d positions visible\n# | | kernel | groups | bytes "
           "read | bytes written |\n",
           PROMPT_ROWS, POSITION + 1);
    int first = first_of_layers(&w, &n);
    for (int i = 0; i < first; i++)
        run_task(&w, &w.list.tasks[i]);
    matrices.loaded = 0;
    for (int i = first; i < first + n; i++) {
        cost c = run_task(&w, &w.list.tasks[i]);
        print_task("layer", &w.list.tasks[i], &c);
        add(&layer, &c);
    }
    over("a layer", &layer, minimum_of_layer(&w));
    printf("# matrices of a layer: %llu bytes loaded\n", (unsigned long long)matrices.loaded);
    assert_int_equal(N_LAYERS * matrices.loaded + w.ends_once, w.n_read_once);
    close(&w);
}

static void test_qwen25_3b(void **state)
{
    (void)state;
    count_shape("qwen2.5-3b");
}

static void test_qwen25_7b(void **state)
{
    (void)state;
    count_shape("qwen2.5-7b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_qwen25_3b),
                                       cmocka_unit_test(test_qwen25_7b),
                                       cmocka_unit_test(test_prompt)};
    return cmocka_run_group_tests_name("metal_count", tests, NULL, NULL);
}
