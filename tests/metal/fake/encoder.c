// MTLComputeCommandEncoder: records dispatches with their arguments, and runs them: what no barrier separates is one set, whose
// threadgroups the emulator runs in any order.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake/internal.h"

typedef struct {
    unsigned long width, height, depth;
} size3; // MTLSize

enum { MAX_ARGS_BYTES = 4096 };

static fake_object *self(id o, const char *what)
{
    fake_object *e = fake_check(o, FAKE_ENCODER, what);
    if (e->ended) fake_fail("%s after endEncoding", what);
    return e;
}

static void check_index(unsigned long index)
{
    if (index >= FAKE_MAX_INDEX)
        fake_fail("buffer index %lu, at most %d", index, FAKE_MAX_INDEX - 1);
}

static void set_pipeline(id o, SEL s, id pipeline)
{
    (void)s;
    self(o, "setComputePipelineState:")->pipeline =
        fake_check(pipeline, FAKE_PIPELINE, "setComputePipelineState:");
}

static void set_buffer(id o, SEL s, id buffer, unsigned long offset, unsigned long index)
{
    (void)s;
    fake_object *e = self(o, "setBuffer:offset:atIndex:");
    fake_object *b = fake_check(buffer, FAKE_BUFFER, "setBuffer:offset:atIndex:");
    check_index(index);
    if (offset >= b->n_bytes) fake_fail("setBuffer: offset %lu of %zu bytes", offset, b->n_bytes);
    free(e->bound[index].bytes);
    e->bound[index] = (fake_argument){.buffer = b, .offset = offset};
    fake_metal_count()->n_set_buffer++;
}

static void set_offset(id o, SEL s, unsigned long offset, unsigned long index)
{
    (void)s;
    fake_object *e = self(o, "setBufferOffset:atIndex:");
    check_index(index);
    fake_argument *a = &e->bound[index];
    if (!a->buffer) fake_fail("setBufferOffset: no buffer at index %lu", index);
    if (offset >= a->buffer->n_bytes)
        fake_fail("setBufferOffset: %lu of %zu bytes", offset, a->buffer->n_bytes);
    a->offset = offset;
    fake_metal_count()->n_set_offset++;
}

static void set_bytes(id o, SEL s, const void *bytes, unsigned long n, unsigned long index)
{
    (void)s;
    fake_object *e = self(o, "setBytes:length:atIndex:");
    check_index(index);
    if (!n || n > MAX_ARGS_BYTES) fake_fail("setBytes: %lu bytes, at most %d", n, MAX_ARGS_BYTES);
    free(e->bound[index].bytes);
    e->bound[index] = (fake_argument){.bytes = malloc(n), .n_bytes = n};
    memcpy(e->bound[index].bytes, bytes, n);
    fake_metal_count()->n_set_bytes++;
}

static void barrier(id o, SEL s, unsigned long scope)
{
    (void)s;
    if (scope != 1) fake_fail("memoryBarrierWithScope: expected buffers, found %lu", scope);
    self(o, "memoryBarrierWithScope:")->barrier = true;
    fake_metal_count()->n_barriers++;
}

static void check_dispatch(const fake_object *e, size3 groups, size3 threads)
{
    unsigned long n_threads = threads.width * threads.height * threads.depth;
    if (!e->pipeline) fake_fail("dispatch without a pipeline");
    if (!groups.width || !groups.height || !groups.depth || !n_threads)
        fake_fail("kernel %s: an empty grid", e->pipeline->text);
    if (n_threads > (unsigned long)fake_metal()->max_threads)
        fake_fail("kernel %s: %lu threads exceed maxTotalThreadsPerThreadgroup", e->pipeline->text,
                  n_threads);
    if (threads.height != 1 || threads.depth != 1)
        fake_fail("kernel %s: threads not in one row", e->pipeline->text);
    for (int i = 0; i < FAKE_MAX_INDEX; i++) {
        bool bound = e->bound[i].buffer || e->bound[i].bytes;
        if (e->pipeline->code >> i & 1 && !bound)
            fake_fail("kernel %s: buffer %d is not bound", e->pipeline->text, i);
    }
}

static fake_dispatch *grow(fake_object *e)
{
    if (e->n_dispatches == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 64;
        e->dispatches = realloc(e->dispatches, (size_t)e->capacity * sizeof *e->dispatches);
        if (!e->dispatches) fake_fail("no memory for dispatches");
    }
    return memset(&e->dispatches[e->n_dispatches++], 0, sizeof *e->dispatches);
}

static void dispatch(id o, SEL s, size3 groups, size3 threads)
{
    (void)s;
    fake_object *e = self(o, "dispatchThreadgroups:threadsPerThreadgroup:");
    check_dispatch(e, groups, threads);
    fake_dispatch *d = grow(e);
    d->pipeline = e->pipeline;
    d->n_groups[0] = (uint32_t)groups.width;
    d->n_groups[1] = (uint32_t)groups.height;
    d->n_groups[2] = (uint32_t)groups.depth;
    d->n_threads = (uint32_t)threads.width;
    d->barrier_before = e->barrier && !fake_metal()->no_barriers;
    e->barrier = false;
    for (int i = 0; i < FAKE_MAX_INDEX; i++) {
        if (!(e->pipeline->code >> i & 1)) continue;
        fake_argument *a = &d->arguments[i];
        *a = e->bound[i];
        if (!a->bytes) continue;
        a->bytes = malloc(a->n_bytes);
        memcpy(a->bytes, e->bound[i].bytes, a->n_bytes);
    }
    fake_metal_count()->n_dispatches++;
}

static void end_encoding(id o, SEL s)
{
    (void)s;
    self(o, "endEncoding")->ended = true;
}

void fake_destroy_encoder(fake_object *o)
{
    if (!o->ended) fake_fail("an encoder ended without endEncoding");
    for (int i = 0; i < FAKE_MAX_INDEX; i++)
        free(o->bound[i].bytes);
    for (int i = 0; i < o->n_dispatches; i++)
        for (int j = 0; j < FAKE_MAX_INDEX; j++)
            free(o->dispatches[i].arguments[j].bytes);
    free(o->dispatches);
}

// ---- running ----

static void emulate(const fake_dispatch *from, qn_emulator_dispatch *to)
{
    *to = (qn_emulator_dispatch){.kernel = from->pipeline->text, .n_threads = from->n_threads};
    memcpy(to->n_groups, from->n_groups, sizeof to->n_groups);
    for (int i = 0; i < FAKE_MAX_INDEX; i++) {
        const fake_argument *a = &from->arguments[i];
        if (a->buffer) {
            if (to->args || i != to->n_buffers)
                fake_fail("kernel %s: buffers come first", to->kernel);
            to->buffers[to->n_buffers].address = a->buffer->memory + a->offset;
            to->buffers[to->n_buffers++].n_bytes = a->buffer->n_bytes - a->offset;
        } else if (a->bytes) {
            to->args = a->bytes;
            to->args_bytes = a->n_bytes;
        }
    }
}

// A kernel that is off, as told: the first number of the first buffer that it writes.
static void spoil(const fake_dispatch *from, const qn_emulator_dispatch *d)
{
    const char *wrong = fake_metal()->wrong;
    if (!wrong || strcmp(wrong, d->kernel)) return;
    for (int i = 0; i < d->n_buffers; i++)
        if (from->pipeline->writes >> i & 1) {
            *(float *)d->buffers[i].address += 0.25f;
            return;
        }
}

// The n dispatches from `first` on.
static void run_set(const fake_dispatch *first, const qn_emulator_dispatch *set, int n)
{
    char error[512];
    fake_metal_stats *count = fake_metal_count();
    if (!n) return;
    count->n_sets++;
    if (n > count->most_at_once) count->most_at_once = n;
    if (qn_emulator_run_concurrent(set, n, error, sizeof error)) fake_fail("%s", error);
    for (int i = 0; i < n; i++)
        spoil(&first[i], &set[i]);
}

void fake_run(fake_object *command, int n_dispatches)
{
    static qn_emulator_dispatch set[QN_EMULATOR_MAX_CONCURRENT];
    const fake_object *e = command->encoder;
    int n = 0;
    for (int i = 0; i < n_dispatches; i++) {
        if (e->dispatches[i].barrier_before || n == QN_EMULATOR_MAX_CONCURRENT) {
            run_set(&e->dispatches[i - n], set, n);
            n = 0;
        }
        emulate(&e->dispatches[i], &set[n++]);
    }
    run_set(&e->dispatches[n_dispatches - n], set, n);
}

const fake_method fake_encoder_methods[] = {
    {FAKE_ENCODER, false, "setComputePipelineState:", "v@:@", (fake_function)set_pipeline},
    {FAKE_ENCODER, false, "setBuffer:offset:atIndex:", "v@:@QQ", (fake_function)set_buffer},
    {FAKE_ENCODER, false, "setBufferOffset:atIndex:", "v@:QQ", (fake_function)set_offset},
    {FAKE_ENCODER, false, "setBytes:length:atIndex:", "v@:r^vQQ", (fake_function)set_bytes},
    {FAKE_ENCODER, false, "dispatchThreadgroups:threadsPerThreadgroup:", "v@:{?=QQQ}{?=QQQ}",
     (fake_function)dispatch},
    {FAKE_ENCODER, false, "memoryBarrierWithScope:", "v@:Q", (fake_function)barrier},
    {FAKE_ENCODER, false, "endEncoding", "v@:", (fake_function)end_encoding},
    {0},
};
