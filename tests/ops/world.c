// The fixture of the operation tests; see world.h.
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/dispatch.h"

static const int thread_counts[] = {1, 2, 5};
enum { MAX_DEVICES = 12 };

static struct {
    const qn_backend *backend;
    qn_device *device;
    char name[32];
    int n_threads;
} devices
    [MAX_DEVICES]; // portable with one thread is the first, the best with the most threads the last
static int n_devices;
static const qn_backend *cpu, *gpu; // gpu: the one under test, or NULL

int world_is_gpu(void)
{
    return gpu != NULL;
}

double world_slack(void)
{
    return gpu ? 8 : 1;
}

static void add_device(const char *isa, int n_threads)
{
    qn_device_options options = {.n_threads = n_threads, .isa = isa};
    quern_error e;
    assert_true(n_devices < MAX_DEVICES);
    assert_int_equal(cpu->open(&options, &devices[n_devices].device, &e), 0);
    devices[n_devices].backend = cpu;
    devices[n_devices].n_threads = n_threads;
    snprintf(devices[n_devices].name, sizeof devices[n_devices].name, "%s, %d threads", isa,
             n_threads);
    n_devices++;
}

// Plain C and the GPU; the name is "metal" or "cuda".
static int open_gpu(const char *name)
{
    quern_error e = {0};
    gpu = qn_backend_by_name(name);
    if (!gpu) {
        fprintf(stderr, "backend %s cannot run here\n", name);
        return 1;
    }
    add_device("portable", 1);
    qn_device_options options = {.unified = 1};
#ifdef QN_TEST_FAST // kernels with fast maths, which do not keep the bits that the self-test at open asks for
    options.unchecked = 1;
#endif
    if (gpu->open(&options, &devices[n_devices].device, &e)) {
        fprintf(stderr, "%s\n", e.message);
        return 1;
    }
    devices[n_devices].backend = gpu;
    snprintf(devices[n_devices++].name, sizeof devices->name, "%s", name);
    return 0;
}

static void open_cpus(void)
{
    int n_isas = 0;
    while (qn_dispatch_isa(n_isas))
        n_isas++;
    for (int i = n_isas - 1; i >= 0; i--)
        for (size_t t = 0; t < sizeof thread_counts / sizeof *thread_counts; t++)
            add_device(qn_dispatch_isa(i)->name, thread_counts[t]);
}

int world_open(void **state)
{
    const char *name = getenv("QUERN_TEST_BACKEND");
    cpu = qn_backend_by_name("cpu");
    n_devices = 0;
    if (!name || strcmp(name, "cpu") == 0)
        open_cpus();
    else if (open_gpu(name))
        return 1;
    world *w = calloc(1, sizeof *w);
    *state = w;
    return w == NULL;
}

static void free_buffers(world *w)
{
    while (w->n_buffers)
        if (gpu)
            gpu->free(devices[1].device, w->buffers[--w->n_buffers]);
        else
            free(w->buffers[--w->n_buffers]);
}

int world_close(void **state)
{
    world *w = *state;
    free_buffers(w);
    free(w);
    for (; n_devices; n_devices--)
        devices[n_devices - 1].backend->close(devices[n_devices - 1].device);
    return 0;
}

void *world_memory(world *w, size_t n_bytes)
{
    assert_true(w->n_buffers < MAX_BUFFERS);
    void *p = NULL;
    if (gpu)
        gpu->alloc(devices[1].device, n_bytes, &p, NULL);
    else
        p = calloc(1, n_bytes);
    assert_non_null(p);
    return w->buffers[w->n_buffers++] = p;
}

void *world_shifted(world *w, const void *from, size_t n_bytes)
{
    if (gpu) return (void *)(uintptr_t)from;
    char *to = (char *)world_memory(w, n_bytes + 1) + 1;
    return memcpy(to, from, n_bytes);
}

void world_begin(world *w, uint64_t seed)
{
    free_buffers(w);
    *w = (world){.random = seed * 0x9E3779B97F4A7C15u + 1};
    qn_step_limits l = {MAX_ROWS, MAX_OUTPUTS, MAX_SLOTS, 2 * MAX_ROWS, MAX_CONTEXT};
    w->batch.limits = l;
    w->batch.step = qn_step_at(&l, world_memory(w, qn_step_bytes(&l)));
    w->batch.slots = qn_slot_table_at(&l, world_memory(w, qn_slot_table_bytes(&l)));
    w->batch.results = world_memory(w, MAX_OUTPUTS * sizeof(qn_step_result));
}

uint32_t world_random(world *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (uint32_t)(w->random >> 16);
}

int world_pick(world *w, int from, int to)
{
    return from + (int)(world_random(w) % (uint32_t)(to - from + 1));
}

float world_normal(world *w)
{
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += (float)(world_random(w) >> 8) * 0x1p-24f;
    return (sum - 3) * 1.4f;
}

static void fill(world *w, qn_tensor *t, float scale)
{
    const qn_format *format = qn_format_of(t->dtype);
    int64_t n = qn_tensor_n_elements(t);
    t->data = world_memory(w, qn_tensor_bytes(t));
    float block[256];
    for (int64_t i = 0; i < n; i += format->block_elements) {
        for (int j = 0; j < format->block_elements; j++)
            block[j] = world_normal(w) * scale;
        format->from_f32(block, (char *)t->data + i / format->block_elements * format->block_bytes,
                         (size_t)format->block_elements);
    }
}

qn_tensor world_tensor(world *w, qn_dtype dtype, int rows, int columns, float scale)
{
    qn_tensor t =
        rows ? qn_tensor_2d(NULL, dtype, rows, columns) : qn_tensor_1d(NULL, dtype, columns);
    fill(w, &t, scale);
    return t;
}

qn_tensor world_cache(world *w, qn_dtype dtype, int n_blocks, int n_heads, int head_dim)
{
    qn_tensor t = {NULL, dtype, 4, {n_blocks, n_heads, QN_BLOCK_TOKENS, head_dim}};
    fill(w, &t, 1);
    return t;
}

double world_at(const qn_tensor *t, int64_t i)
{
    const qn_format *format = qn_format_of(t->dtype);
    int n = format->block_elements;
    float block[256];
    format->to_f32((const char *)t->data + i / n * format->block_bytes, block, (size_t)n);
    return block[i % n];
}

qn_tensor world_as_f32(world *w, const qn_tensor *t)
{
    qn_tensor out = *t;
    out.dtype = QN_DTYPE_F32;
    out.data = world_memory(w, qn_tensor_bytes(&out));
    qn_format_of(t->dtype)->to_f32(t->data, out.data, (size_t)qn_tensor_n_elements(t));
    return out;
}

void world_rows(world *w, int n_rows, int n_blocks, int n_vocab)
{
    qn_slot_table *s = &w->batch.slots;
    int free_block = 0, places[MAX_SLOTS * MAX_CONTEXT], n_places = MAX_SLOTS * MAX_CONTEXT;
    for (int i = 0; i < n_places; i++)
        s->tokens[i] = world_pick(w, 0, n_vocab - 1), places[i] = i;
    for (int i = 0; i < MAX_SLOTS * s->max_blocks; i++)
        s->table[i] = free_block++ % n_blocks;
    for (int i = 0; i < n_rows; i++) {
        int j = world_pick(w, i, n_places - 1), place = places[j];
        places[j] = places[i];
        w->batch.step.rows[i] = (qn_row){place / MAX_CONTEXT, place % MAX_CONTEXT, -1};
    }
    w->batch.step.counts->n_rows = n_rows;
}

void world_round(const qn_tensor *x, qn_dtype dtype)
{
    const qn_format *format = qn_format_of(dtype);
    float *numbers = x->data;
    char rounded[16];
    if (!gpu || !gpu->rounds_activations || !qn_dtype_is_plain(dtype)) return;
    for (int64_t i = 0; i < qn_tensor_n_elements(x); i++) {
        format->from_f32(&numbers[i], rounded, 1);
        format->to_f32(rounded, &numbers[i], 1);
    }
}

// ---- running ----

static int supports(void *context, const qn_record *r)
{
    int device = *(int *)context;
    return devices[device].backend->supports(devices[device].device, r);
}

static void run_on(int device, world *w, qn_op op, const void *args)
{
    const qn_backend *b = devices[device].backend;
    qn_device *d = devices[device].device;
    qn_plan plan, composed;
    qn_program *program;
    qn_ticket ticket;
    quern_error e = {0};
    const qn_step_counts *counts = w->batch.step.counts;
    // On a GPU the plan of a row alone has kernels of its own, which give the same bits.
    qn_plan_init(&plan, gpu && counts->n_rows == 1 && counts->n_outputs <= 1 ? 1 : MAX_ROWS,
                 &w->batch);
    qn_plan_add(&plan, op, args);
    if (qn_plan_compose(&plan, supports, &device, &composed, &e) != 0) fail_msg("%s", e.message);
    if (b->compile(d, &composed, &program, &e) != 0) fail_msg("%s", e.message);
    qn_plan_free(&composed);
    qn_plan_free(&plan);
    qn_launch step = {w->batch.step.counts, NULL};
    assert_int_equal(b->launch(d, program, &step, &ticket), 0);
    assert_int_equal(b->wait(d, ticket, 60000), QN_TICKET_DONE);
    b->free_program(d, program);
}

void world_run_portable(world *w, qn_op op, const void *args)
{
    run_on(0, w, op, args);
}

void world_run_best(world *w, qn_op op, const void *args)
{
    run_on(n_devices - 1, w, op, args);
}

// ---- comparing ----

// NULL, or a line on where the device's output is not what was expected.
typedef const char *(*comparison)(const void *context, const void *expected, const void *found);

static void check(world *w, qn_op op, const void *args, void *out, size_t out_bytes,
                  comparison compare, const void *context)
{
    char *before = malloc(out_bytes), *expected = malloc(out_bytes);
    assert_true(before && expected);
    memcpy(before, out, out_bytes);
    world_run_portable(w, op, args);
    memcpy(expected, out, out_bytes);
    for (int i = 1; i < n_devices; i++) {
        if (w->max_threads && devices[i].n_threads > w->max_threads) continue;
        memcpy(out, before, out_bytes);
        run_on(i, w, op, args);
        if (memcmp(out, expected, out_bytes) == 0) continue;
        if (!gpu || !compare)
            fail_msg("%s on %s: not the bits of plain C", qn_op_get(op)->name, devices[i].name);
        const char *what = compare(context, expected, out);
        if (what) fail_msg("%s on %s: %s", qn_op_get(op)->name, devices[i].name, what);
    }
    free(before);
    free(expected);
}

void world_check(world *w, qn_op op, const void *args, void *out, size_t out_bytes)
{
    check(w, op, args, out, out_bytes, NULL, NULL);
}

typedef struct {
    qn_tensor tensor;
    double tolerance;
} near_context;

static const char *compare_near(const void *context, const void *expected, const void *found)
{
    static char line[160];
    const near_context *c = context;
    qn_tensor a = c->tensor, b = c->tensor;
    a.data = (void *)(uintptr_t)expected;
    b.data = (void *)(uintptr_t)found;
    int64_t width = a.dim[a.rank - 1], n = qn_tensor_n_elements(&a);
    for (int64_t row = 0; row < n; row += width) {
        double largest = 1e-30;
        for (int64_t i = row; i < row + width; i++)
            largest = fmax(largest, fabs(world_at(&a, i)));
        for (int64_t i = row; i < row + width; i++) {
            double x = world_at(&a, i), y = world_at(&b, i);
            if (fabs(x - y) <= c->tolerance * largest || (isnan(x) && isnan(y))) continue;
            snprintf(line, sizeof line, "[%lld, %lld]: expected %.9g, found %.9g, row up to %.3g",
                     (long long)(row / width), (long long)(i - row), x, y, largest);
            return line;
        }
    }
    return NULL;
}

void world_check_near(world *w, qn_op op, const void *args, const qn_tensor *out, double tolerance)
{
    near_context c = {*out, tolerance};
    check(w, op, args, out->data, qn_tensor_bytes(out), compare_near, &c);
}

static const char *compare_result(const qn_step_result *a, const qn_step_result *b)
{
    static char line[160];
    if (a->token != b->token || a->n_top != b->n_top)
        snprintf(line, sizeof line, "expected token %d and %d best, found %d and %d", a->token,
                 a->n_top, b->token, b->n_top);
    else if (!(fabsf(a->logprob - b->logprob) <= 1e-4f) && a->logprob != b->logprob)
        snprintf(line, sizeof line, "expected log-probability %.7g, found %.7g", a->logprob,
                 b->logprob);
    else
        *line = 0;
    for (int i = 0; i < a->n_top && !*line; i++)
        if (a->top_id[i] != b->top_id[i] ||
            !(fabsf(a->top_logprob[i] - b->top_logprob[i]) <= 1e-4f))
            snprintf(line, sizeof line, "best %d: expected %d (%.7g), found %d (%.7g)", i,
                     a->top_id[i], a->top_logprob[i], b->top_id[i], b->top_logprob[i]);
    return *line ? line : NULL;
}

static const char *compare_results(const void *context, const void *expected, const void *found)
{
    const qn_step_result *a = expected, *b = found;
    for (int i = 0; i < *(const int *)context; i++) {
        const char *what = compare_result(&a[i], &b[i]);
        if (what) return what;
    }
    return NULL;
}

void world_check_results(world *w, qn_op op, const void *args, qn_step_result *out, int n)
{
    check(w, op, args, out, (size_t)n * sizeof *out, compare_results, &n);
}
