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
    qn_device *device;
    char name[32];
    int n_threads;
} devices
    [MAX_DEVICES]; // portable with one thread is the first, the best with the most threads the last
static int n_devices;
static const qn_backend *cpu;

static void add_device(const char *isa, int n_threads)
{
    qn_device_options options = {.n_threads = n_threads, .isa = isa};
    quern_error e;
    assert_true(n_devices < MAX_DEVICES);
    assert_int_equal(cpu->open(&options, &devices[n_devices].device, &e), 0);
    devices[n_devices].n_threads = n_threads;
    snprintf(devices[n_devices].name, sizeof devices[n_devices].name, "%s, %d threads", isa,
             n_threads);
    n_devices++;
}

int world_open(void **state)
{
    int n_isas = 0;
    cpu = qn_backend_by_name("cpu");
    n_devices = 0;
    while (qn_dispatch_isa(n_isas))
        n_isas++;
    for (int i = n_isas - 1; i >= 0; i--)
        for (size_t t = 0; t < sizeof thread_counts / sizeof *thread_counts; t++)
            add_device(qn_dispatch_isa(i)->name, thread_counts[t]);
    world *w = calloc(1, sizeof *w);
    *state = w;
    return w == NULL;
}

static void free_buffers(world *w)
{
    while (w->n_buffers)
        free(w->buffers[--w->n_buffers]);
}

int world_close(void **state)
{
    world *w = *state;
    free_buffers(w);
    free(w);
    while (n_devices)
        cpu->close(devices[--n_devices].device);
    return 0;
}

void *world_memory(world *w, size_t n_bytes)
{
    assert_true(w->n_buffers < MAX_BUFFERS);
    void *p = calloc(1, n_bytes);
    assert_non_null(p);
    return w->buffers[w->n_buffers++] = p;
}

void *world_shifted(world *w, const void *from, size_t n_bytes)
{
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
    for (int64_t i = 0; i < n; i++) {
        float f = world_normal(w) * scale;
        format->from_f32(&f, (char *)t->data + i * format->block_bytes, 1);
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
    float f;
    format->to_f32((const char *)t->data + i * format->block_bytes, &f, 1);
    return f;
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

static void run_on(int device, world *w, qn_op op, const void *args)
{
    qn_device *d = devices[device].device;
    qn_plan plan;
    qn_program *program;
    qn_ticket ticket;
    quern_error e = {0};
    qn_plan_init(&plan, MAX_ROWS, &w->batch);
    qn_plan_add(&plan, op, args);
    if (cpu->compile(d, &plan, &program, &e) != 0) fail_msg("%s", e.message);
    qn_plan_free(&plan);
    qn_launch step = {w->batch.step.counts, NULL};
    assert_int_equal(cpu->launch(d, program, &step, &ticket), 0);
    assert_int_equal(cpu->wait(d, ticket, 1000), QN_TICKET_DONE);
    cpu->free_program(d, program);
}

void world_run_portable(world *w, qn_op op, const void *args)
{
    run_on(0, w, op, args);
}

void world_run_best(world *w, qn_op op, const void *args)
{
    run_on(n_devices - 1, w, op, args);
}

void world_check(world *w, qn_op op, const void *args, void *out, size_t out_bytes)
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
        if (memcmp(out, expected, out_bytes) != 0)
            fail_msg("%s on %s: not the bits of plain C", qn_op_get(op)->name, devices[i].name);
    }
    free(before);
    free(expected);
}
