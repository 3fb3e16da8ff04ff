// The Metal backend's host code where a Mac does not do as asked: every refusal is a clean error, a lost command buffer takes along
// just the launch behind it, and nothing is left alive.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/metal/calls.h"
#include "backend/metal/metal.h"
#include "backend/metal/wired.h"
#include "backend/ops/embed.h"
#include "backend/ops/rms_norm.h"
#include "backend/ops/step_begin.h"
#include "emulator/emulator.h"
#include "fake/fake.h"

static const qn_backend *const metal = &qn_metal_backend;
static fake_metal_options usual;

static int keep_usual(void **state)
{
    (void)state;
    usual = *fake_metal();
    return 0;
}

static int reset(void **state)
{
    (void)state;
    *fake_metal() = usual;
    *fake_metal_count() = (fake_metal_stats){0};
    return 0;
}

static int nothing_is_left(void **state)
{
    (void)state;
    assert_int_equal(fake_metal_count()->n_live, 0);
    return 0;
}

static qn_device *open_with(const qn_device_options *options)
{
    qn_device *d = NULL;
    quern_error e = {0};
    if (metal->open(options, &d, &e)) fail_msg("%s", e.message);
    return d;
}

static qn_device *open_device(void)
{
    return open_with(&(qn_device_options){0});
}

// Where nothing is computed: the emulator takes its time for a self-test.
static qn_device *open_unchecked(void)
{
    return open_with(&(qn_device_options){.unchecked = 1});
}

static void refused(int code, const char *says)
{
    qn_device *d = NULL;
    quern_error e = {0};
    assert_int_equal(metal->open(&(qn_device_options){0}, &d, &e), code);
    assert_null(d);
    if (!strstr(e.message, says)) fail_msg("expected \"%s\", found \"%s\"", says, e.message);
    assert_int_equal(fake_metal_count()->n_live, 0);
    *fake_metal() = usual;
}

static void test_refusals(void **state)
{
    (void)state;
    fake_metal_options *o = fake_metal();
    o->no_device = 1;
    assert_false(metal->available());
    refused(QUERN_E_UNSUPPORTED, "no GPU");
    assert_true(metal->available());
    assert_string_equal(getenv("AGX_RELAX_CDM_CTXSTORE_TIMEOUT"), "1");
    o->family = 1006;
    refused(QUERN_E_UNSUPPORTED, "older than the M1");
    o->no_unified = 1;
    refused(QUERN_E_UNSUPPORTED, "older than the M1");
    o->no_queue = 1;
    refused(QUERN_E_DEVICE, "no command queue");
    o->no_library = 1;
    refused(QUERN_E_UNSUPPORTED, "do not compile: program_source:1:1: error: as told");
    o->no_pipeline = "rms_norm";
    refused(QUERN_E_UNSUPPORTED, "kernel rms_norm: compute function exceeds");
    o->max_threads = 224;
    refused(QUERN_E_UNSUPPORTED, "runs 224 threads a group, expected 256");
    o->simd_width = 16;
    refused(QUERN_E_UNSUPPORTED, "simdgroups have 16 lanes, expected 32");
    o->shared_bytes = 33 << 10;
    refused(QUERN_E_UNSUPPORTED, "33792 bytes of threadgroup memory");
    o->wrong = "swiglu";
    refused(QUERN_E_DEVICE, "self-test: swiglu differs");
    o->no_command = 1;
    refused(QUERN_E_DEVICE, "launch failed");
}

// Whichever allocation fails, open fails cleanly or, past the last one, succeeds.
static void test_no_memory(void **state)
{
    (void)state;
    int n = 1, opened = 0;
    for (; !opened; n++) {
        qn_device *d = NULL;
        quern_error e = {0};
        *fake_metal_count() = (fake_metal_stats){0};
        fake_metal()->no_buffer_from = n;
        int rc = metal->open(&(qn_device_options){0}, &d, &e);
        opened = rc == 0;
        if (opened) metal->close(d);
        if (!opened) assert_int_equal(rc, QUERN_E_MEMORY);
        assert_int_equal(fake_metal_count()->n_live, 0);
        if (n == 4) n = 20; // the self-test's many programs: some of them
        if (n > 20) n += 15;
    }
    assert_true(n > 4);
}

static void test_old_system(void **state)
{
    (void)state;
    fake_metal()->old = 1;
    metal->close(open_device());
    assert_int_equal(fake_metal_count()->n_residency_commits, 0);
    assert_int_equal(fake_metal_count()->math_safe, 1); // by setFastMathEnabled:
    fake_metal()->old = 0;
    metal->close(open_device());
    assert_true(fake_metal_count()->n_residency_commits > 0);
    assert_int_equal(fake_metal_count()->math_safe, 1);
}

// ---- memory ----

static void test_memory(void **state)
{
    (void)state;
    qn_device *d = open_device();
    void *a, *b, *none;
    quern_error e = {0};
    assert_int_equal(metal->alloc(d, 1, &a, &e), 0);
    assert_int_equal(metal->alloc(d, 100000, &b, &e), 0);
    assert_int_equal((uintptr_t)a % 64 + (uintptr_t)b % 64, 0);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(((char *)b)[i], 0);
    fake_metal()->max_buffer = 16 << 20; // read at open
    metal->free(d, a);
    metal->free(d, NULL);
    metal->close(d); // and b
    d = open_device();
    assert_int_equal(metal->alloc(d, (16 << 20) + 1, &none, &e), QUERN_E_MEMORY);
    assert_null(none);
    assert_non_null(strstr(e.message, "16777217 bytes"));
    metal->close(d);
}

enum { MAPPED = 80 << 20, PIECE = 400000 };

static char *map_some(void)
{
    char *p = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

static void adopt_in_place(qn_device *d, const char *from, size_t n_bytes)
{
    void *at;
    quern_error e = {0};
    assert_int_equal(metal->adopt(d, from, n_bytes, &at, &e), 0);
    assert_ptr_equal(at, from);
}

// Whatever the order of tensors, views of a mapping overlap by no more than the tensors across their ends.
static void test_adopt(void **state)
{
    (void)state;
    enum { N = 200, LARGEST = 1 << 20 };
    char *mapped = map_some();
    for (int i = 0; i < 6; i++) {
        size_t most = i < 3 ? (size_t)usual.max_buffer : 16 << 20;
        fake_metal()->max_buffer = (long)most; // read at open
        qn_device *d = open_unchecked();
        int before = fake_metal_count()->n_wraps;
        metal->lend(d, mapped, MAPPED - 100);
        for (size_t j = 0; j < N; j++) { // ascending, descending, the middle first
            size_t k = i % 3 == 0 ? j : i % 3 == 1 ? N - 1 - j : (j + N / 2) % N;
            adopt_in_place(d, mapped + 1000 + k * PIECE, PIECE);
        }
        int n_ends = (int)(MAPPED / most);
        assert_in_range(fake_metal_count()->n_wraps - before, i < 3 ? 1 : 5, 1 + 2 * n_ends);
        void *other;
        assert_int_equal(metal->alloc(d, 64, &other, NULL), 0);
        metal->free(d, other); // commits the set
        assert_in_range(fake_metal_count()->wrapped_bytes, MAPPED,
                        MAPPED + (size_t)n_ends * (PIECE + 2 * 16384));
        metal->close(d);
        *fake_metal() = usual;
    }
    munmap(mapped, MAPPED);
}

static void test_adopt_copies(void **state)
{
    (void)state;
    char *mapped = map_some();
    void *at;
    quern_error e = {0};
    fake_metal()->max_buffer = 16 << 20;
    qn_device *d = open_unchecked();
    metal->lend(d, mapped, MAPPED);
    assert_int_equal(metal->adopt(d, mapped, 17 << 20, &at, &e), QUERN_E_MEMORY); // one tensor
    metal->close(d);

    *fake_metal() = usual;
    fake_metal()->no_wrap = 1; // the system refuses
    mapped[70000] = 42;
    d = open_unchecked();
    metal->lend(d, mapped, MAPPED);
    assert_int_equal(metal->adopt(d, mapped + 70000, 100, &at, &e), 0);
    assert_ptr_not_equal(at, mapped + 70000);
    assert_int_equal(*(char *)at, 42);
    metal->close(d);

    *fake_metal() = usual;
    d = open_unchecked();
    metal->lend(d, mapped + 16384, 16384);
    metal->lend(d, mapped + 32768 + 64, 16384); // not at a page
    for (int i = 0; i < 3; i++) {               // around what is lent, and across its end
        const char *from = mapped + (size_t[]){16000, 32700, 70000}[i];
        assert_int_equal(metal->adopt(d, from, 500, &at, &e), 0);
        assert_ptr_not_equal(at, from);
        assert_memory_equal(at, from, 500);
    }
    metal->close(d);
    munmap(mapped, MAPPED);
}

// The fake ends the process where memory is unmapped that a buffer wraps.
static void test_take_back(void **state)
{
    (void)state;
    char *first = map_some(), *second = map_some();
    qn_device *d = open_unchecked();
    metal->lend(d, first, MAPPED);
    metal->lend(d, second, MAPPED);
    adopt_in_place(d, first, 100);
    adopt_in_place(d, second, 100);
    int before = fake_metal_count()->n_wraps;
    metal->take_back(d, first + 16384); // nothing was lent there
    metal->take_back(d, first);
    munmap(first, MAPPED);
    adopt_in_place(d, second + 1000, 100); // still there
    assert_int_equal(fake_metal_count()->n_wraps, before);
    assert_int_equal(fake_metal_count()->wrapped_bytes, MAPPED);
    // Another file at the same address is seen anew.
    char *again =
        mmap(first, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_ptr_equal(again, first);
    void *at;
    again[5] = 42;
    assert_int_equal(metal->adopt(d, again, 100, &at, NULL), 0); // not lent: copied
    assert_ptr_not_equal(at, again);
    assert_int_equal(((char *)at)[5], 42);
    metal->take_back(d, second);
    munmap(second, MAPPED);
    munmap(again, MAPPED);
    metal->close(d);
}

// ---- launches ----

enum { N_SLOTS = 2, CONTEXT = 32, WIDTH = 64, N_VOCAB = 50 };
static const qn_step_limits limits = {4, 4, N_SLOTS, 8, CONTEXT};

// A plan that applies edits and looks tokens up.
typedef struct {
    qn_device *device;
    qn_batch batch;
    qn_program *program;
    float *y;
    void *blocks[3]; // of the host
} fixture;

static void *device_memory(fixture *f, size_t n)
{
    void *p;
    assert_int_equal(metal->alloc(f->device, n, &p, NULL), 0);
    return p;
}

static fixture set_up(void)
{
    fixture f = {.device = open_device()};
    quern_error e = {0};
    f.batch.limits = limits;
    f.batch.step = qn_step_at(&limits, device_memory(&f, qn_step_bytes(&limits)));
    f.batch.slots = qn_slot_table_at(&limits, device_memory(&f, qn_slot_table_bytes(&limits)));
    float *table = device_memory(&f, N_VOCAB * WIDTH * sizeof *table);
    for (int i = 0; i < N_VOCAB * WIDTH; i++)
        table[i] = (float)i;
    f.y = device_memory(&f, 4 * WIDTH * sizeof *f.y);
    for (int i = 0; i < 3; i++)
        assert_non_null(f.blocks[i] = calloc(1, qn_step_bytes(&limits)));
    qn_plan plan;
    qn_plan_init(&plan, 4, &f.batch);
    qn_step_begin(&plan);
    qn_embed(&plan, qn_tensor_2d(f.y, QN_DTYPE_F32, 4, WIDTH),
             qn_tensor_2d(table, QN_DTYPE_F32, N_VOCAB, WIDTH));
    if (metal->compile(f.device, &plan, &f.program, &e)) fail_msg("%s", e.message);
    qn_plan_free(&plan);
    return f;
}

static void tear_down(fixture *f)
{
    metal->free_program(f->device, f->program);
    metal->close(f->device);
    for (int i = 0; i < 3; i++)
        free(f->blocks[i]);
}

// tokens[0][position] = token, and a row that reads it.
static qn_launch step(fixture *f, int i, int position, int token)
{
    qn_step_view v = qn_step_at(&limits, f->blocks[i]);
    *v.counts = (qn_step_counts){.n_rows = 1, .n_token_edits = 1};
    v.rows[0] = (qn_row){0, position, -1};
    v.token_edits[0] = (qn_edit){0, position, token};
    return (qn_launch){f->blocks[i], NULL};
}

static int wait_for(fixture *f, qn_ticket t)
{
    return metal->wait(f->device, t, 5000);
}

static void test_flights(void **state)
{
    (void)state;
    fixture f = set_up();
    fake_metal()->polls = 5;
    qn_ticket t[3];
    qn_launch s0 = step(&f, 0, 3, 7), s1 = step(&f, 1, 4, 8), s2 = step(&f, 2, 5, 9);
    assert_int_equal(metal->launch(f.device, f.program, &s0, &t[0]), 0);
    assert_int_equal(metal->launch(f.device, f.program, &s1, &t[1]), 0);
    assert_int_equal(metal->launch(f.device, f.program, &s2, &t[2]), QUERN_E_INTERNAL); // a third
    assert_int_equal(metal->poll(f.device, t[0]), QN_TICKET_RUNNING);
    assert_int_equal(metal->wait(f.device, t[1], 0), QN_TICKET_RUNNING);
    assert_int_equal(wait_for(&f, t[1]), QN_TICKET_DONE);
    assert_int_equal(metal->poll(f.device, t[0]), QN_TICKET_DONE);
    assert_true(f.y[5] == 8 * WIDTH + 5);
    assert_int_equal(f.batch.slots.tokens[3], 7);
    qn_step_at(&limits, f.blocks[2]).counts->n_rows = 5; // over the class
    assert_int_equal(metal->launch(f.device, f.program, &s2, &t[2]), QUERN_E_INTERNAL);
    s2 = step(&f, 2, 5, 9);
    assert_int_equal(metal->launch(f.device, f.program, &s2, &t[2]), 0);
    tear_down(&f); // waits for it
}

// A lost one, before, amid or behind its work; the next is lost without a trace, and the third is as good as ever.
static void test_lost(void **state)
{
    (void)state;
    for (int midway = 0; midway < 3; midway++) {
        fixture f = set_up();
        qn_ticket t[3];
        fake_metal()->lose_at = fake_metal_count()->n_command_buffers + 1;
        fake_metal()->lose_midway = midway;
        fake_metal()->lose_code = (const int[]){1, 2, 8}[midway]; // internal, timeout, memory
        qn_launch s0 = step(&f, 0, 3, 7), s1 = step(&f, 1, 4, 8), s2 = step(&f, 2, 5, 9);
        assert_int_equal(metal->launch(f.device, f.program, &s0, &t[0]), 0);
        assert_int_equal(metal->launch(f.device, f.program, &s1, &t[1]), 0);
        assert_int_equal(wait_for(&f, t[0]), QN_TICKET_LOST);
        assert_int_equal(metal->launch(f.device, f.program, &s2, &t[2]), 0);
        assert_int_equal(wait_for(&f, t[1]), QN_TICKET_LOST);
        assert_int_equal(wait_for(&f, t[2]), QN_TICKET_DONE);
        if (midway < 2) assert_int_equal(f.batch.slots.tokens[4], 0);
        assert_int_equal(f.batch.slots.tokens[5], 9);
        assert_true(f.y[1] == 9 * WIDTH + 1);
        s0 = step(&f, 0, 6, 10);
        assert_int_equal(metal->launch(f.device, f.program, &s0, &t[0]), 0);
        assert_int_equal(wait_for(&f, t[0]), QN_TICKET_DONE);
        assert_int_equal(f.batch.slots.tokens[6], 10);
        tear_down(&f);
        *fake_metal() = usual;
    }
}

static void test_dead(void **state)
{
    (void)state;
    fixture f = set_up();
    qn_ticket t;
    fake_metal()->lose_at = fake_metal_count()->n_command_buffers + 1;
    fake_metal()->lose_code = 3; // page fault
    qn_launch s = step(&f, 0, 3, 7);
    assert_int_equal(metal->launch(f.device, f.program, &s, &t), 0);
    assert_null(metal->failure(f.device));
    assert_int_equal(wait_for(&f, t), QUERN_E_DEVICE);
    assert_string_equal(metal->failure(f.device), "lost, as told");
    assert_int_equal(metal->launch(f.device, f.program, &s, &t), QUERN_E_DEVICE);
    tear_down(&f);
}

static void test_foreign_memory(void **state)
{
    (void)state;
    qn_device *d = open_device();
    static float x[4 * WIDTH];
    static char block[4096];
    qn_batch batch = {.limits = limits, .step = qn_step_at(&limits, block)};
    qn_tensor t = qn_tensor_2d(x, QN_DTYPE_F32, 4, WIDTH), w = qn_tensor_1d(x, QN_DTYPE_F32, WIDTH);
    qn_program *p;
    qn_plan plan;
    quern_error e = {0};
    qn_plan_init(&plan, 4, &batch);
    qn_rms_norm(&plan, t, t, w, (qn_rms_norm_args){.eps = 1});
    assert_int_equal(metal->compile(d, &plan, &p, &e), QUERN_E_UNSUPPORTED);
    assert_non_null(strstr(e.message, "not the device's memory"));
    qn_plan_free(&plan);
    metal->close(d);
}

static void test_info(void **state)
{
    (void)state;
    qn_device *d = open_device();
    qn_device_info info;
    metal->info(d, &info);
    assert_string_equal(info.text, "Apple M0 (fake), 4 GB");
    assert_true(info.memory_bytes == 4ull << 30);
    assert_true(metal->measure_read(d) > 0);
    metal->close(d);
}

static void test_limits(void **state)
{
    (void)state;
    qn_device *d = open_device();
    qn_device_limits l;
    assert_int_equal(metal->measure_limits(d, &l), 0);
    assert_true(l.read_bytes_per_second > 0 && l.copy_bytes_per_second > 0);
    assert_true(l.matmul_flops_per_second > 0);
    assert_true(l.launch_seconds > 0 && l.launch_seconds < 1);
    metal->close(d);
    *fake_metal_count() = (fake_metal_stats){0};
    d = open_device();
    fake_metal()->no_buffer_from = fake_metal_count()->n_buffers + 1;
    assert_int_equal(metal->measure_limits(d, &l), QUERN_E_DEVICE);
    metal->close(d);
}

// ---- forms of the products ----

static void name_of(qn_device *d, char text[64])
{
    qn_device_info info;
    metal->info(d, &info);
    memcpy(text, info.text, 64);
}

// Matrices that the compiler refuses, or that are off, leave the dialect's products; these off as well, no device.
static void test_forms(void **state)
{
    (void)state;
    static const char *const off[] = {"matrix_few_bf16", "matrix_tiles_f16",
                                      "matrix_norm_gate_up_bf16"};
    char text[64];
    for (int i = 0; i < 7; i++) {
        if (i == 1) fake_metal()->no_matrix = 1;
        if (i > 1 && i < 5) fake_metal()->wrong = off[i - 2];
        qn_emulator_uneven_matrices(i == 5); // a row's bits would hang on its place
        if (i == 6) fake_metal()->no_pipeline = "matrix_tiles_bf16"; // too many registers
        qn_device *d = open_device();
        name_of(d, text);
        assert_string_equal(text, i ? "Apple M0 (fake), 4 GB, without matrices"
                                    : "Apple M0 (fake), 4 GB");
        assert_int_equal(metal->use_form(d, 1) != NULL, i != 1);
        assert_null(metal->use_form(d, 2));
        metal->close(d);
        *fake_metal() = usual;
    }
    qn_emulator_uneven_matrices(false);
    fake_metal()->wrong = "matmul_bf16_1x1"; // not looked at where there are matrices
    metal->close(open_device());
    fake_metal()->no_matrix = 1;
    refused(QUERN_E_DEVICE, ", one row bf16 differs"); // whichever of the shapes takes it
}

static void test_notes(void **state)
{
    (void)state;
    char text[1024];
    qn_device *d = open_device();
    metal->notes(d, text, sizeof text);
    assert_string_equal(text, "simdgroup matrices: they compile\nMetal 4 tensor operations (not "
                              "used): they do not compile: program_source:1:1: error: as told\n");
    fake_metal()->tensor_ops = 1;
    metal->notes(d, text, sizeof text);
    assert_non_null(strstr(text, "(not used): they compile\n"));
    metal->close(d);
}

// ---- what is kept wired ----

static double fake_now_ms;

static double fake_clock(void)
{
    return fake_now_ms;
}

static int n_requests(void)
{
    return __atomic_load_n(&fake_metal_count()->n_residency_requests, __ATOMIC_RELAXED);
}

static void test_wired(void **state)
{
    (void)state;
    qn_metal_id device = MTLCreateSystemDefaultDevice(), queue = qn_metal_device_queue(device);
    qn_metal_id buffer = qn_metal_device_buffer(device, 64, QN_METAL_STORAGE_SHARED);
    qn_metal_wired w = {0};
    fake_now_ms = 1000;
    qn_metal_wired_open(&w, device, queue, fake_clock, 0);
    qn_metal_wired_add(&w, buffer);
    assert_false(
        qn_metal_wired_beat(&w)); // the fake ends the process at a request before the commit
    qn_metal_wired_use(&w);
    assert_int_equal(n_requests(), 1);
    qn_metal_wired_use(&w); // nothing new
    assert_int_equal(n_requests(), 1);
    fake_now_ms += QN_METAL_KEEP_MS;
    assert_true(qn_metal_wired_beat(&w));
    fake_now_ms += 1;
    assert_false(qn_metal_wired_beat(&w)); // idle for too long
    assert_int_equal(n_requests(), 2);
    qn_metal_wired_use(&w); // asks at once
    assert_int_equal(n_requests(), 3);
    assert_true(qn_metal_wired_beat(&w));
    fake_now_ms += QN_METAL_KEEP_MS + 1;
    qn_metal_wired_use(&w); // idle, though no beat has seen it
    assert_int_equal(n_requests(), 5);
    qn_metal_wired_remove(&w, buffer);
    assert_false(qn_metal_wired_beat(&w)); // not before the commit
    qn_metal_wired_commit(&w);
    qn_metal_release(buffer);
    assert_true(qn_metal_wired_beat(&w)); // for what is left
    qn_metal_wired_close(&w, queue);

    fake_metal()->old = 1; // no sets: nothing happens
    qn_metal_wired_open(&w, device, queue, fake_clock, 1);
    qn_metal_wired_use(&w);
    assert_false(qn_metal_wired_beat(&w));
    qn_metal_wired_close(&w, queue);
    qn_metal_release(queue);
    qn_metal_release(device);
}

static void wait_for_requests(int n)
{
    for (int i = 0; n_requests() < n && i < 10000; i++)
        usleep(1000);
    assert_true(n_requests() >= n);
}

// The thread beats by itself, sleeps where nothing is used, and wakes.
static void test_heartbeat(void **state)
{
    (void)state;
    qn_metal_id device = MTLCreateSystemDefaultDevice(), queue = qn_metal_device_queue(device);
    qn_metal_wired w = {0};
    fake_now_ms = 1000;
    qn_metal_wired_open(&w, device, queue, fake_clock, 1);
    wait_for_requests(5);
    pthread_mutex_lock(&w.lock);
    fake_now_ms += QN_METAL_KEEP_MS + 1;
    pthread_mutex_unlock(&w.lock);
    usleep(20000);
    int n = n_requests();
    usleep(20000);
    assert_int_equal(n_requests(), n);
    qn_metal_wired_use(&w);
    wait_for_requests(n + 5);
    qn_metal_wired_close(&w, queue);
    qn_metal_release(queue);
    qn_metal_release(device);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, nothing_is_left)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refusals),  TEST(test_no_memory), TEST(test_old_system),
        TEST(test_memory),    TEST(test_adopt),     TEST(test_adopt_copies),
        TEST(test_take_back), TEST(test_flights),   TEST(test_lost),
        TEST(test_dead),      TEST(test_info),      TEST(test_foreign_memory),
        TEST(test_limits),    TEST(test_forms),     TEST(test_notes),
        TEST(test_wired),     TEST(test_heartbeat),
    };
    return cmocka_run_group_tests(tests, keep_usual, NULL);
}
