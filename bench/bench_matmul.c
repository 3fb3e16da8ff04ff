// How fast the CPU's matmul is on the shapes of Qwen2.5-3B, beside what the memory can deliver:
//   bench_matmul [threads] [isa] [dtype]
// A few layers stand for all 36: their weights are far larger than any cache.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/ops/matmul.h"
#include "base/clock.h"

enum { LAYERS = 4, MAX_ROWS = 512, N_SHAPES = 7, HIDDEN = 2048, MLP = 11008, KV = 256 };
static const int shapes[N_SHAPES][2] = {{HIDDEN, HIDDEN}, {KV, HIDDEN},  {KV, HIDDEN},
                                        {HIDDEN, HIDDEN}, {MLP, HIDDEN}, {MLP, HIDDEN},
                                        {HIDDEN, MLP}};

static const qn_backend *cpu;
static qn_device *device;

static void *memory(size_t n_bytes)
{
    void *p;
    quern_error e;
    if (cpu->alloc(device, n_bytes, &p, &e) == 0) return p;
    fprintf(stderr, "%s\n", e.message);
    exit(1);
}

// Numbers up to 1/2 in magnitude; a piece of them over and over.
static void fill(void *to, qn_dtype dtype, size_t n)
{
    enum { PIECE = 1 << 16 };
    static float numbers[PIECE];
    const qn_format *f = qn_format_of(dtype);
    uint32_t x = 1;
    for (size_t i = 0; i < PIECE; i++)
        numbers[i] = (float)((x = x * 1664525u + 1013904223u) >> 8) * 0x1p-24f - 0.5f;
    size_t piece_bytes = qn_format_bytes(f, PIECE), n_bytes = qn_format_bytes(f, n);
    f->from_f32(numbers, to, n < PIECE ? n : PIECE);
    for (size_t at = piece_bytes; at < n_bytes; at += piece_bytes)
        memcpy((char *)to + at, to, n_bytes - at < piece_bytes ? n_bytes - at : piece_bytes);
}

static size_t record(qn_plan *plan, qn_dtype dtype)
{
    size_t n_weights = 0;
    float *x = memory((size_t)MAX_ROWS * MLP * sizeof *x);
    float *y = memory((size_t)MAX_ROWS * MLP * sizeof *y);
    fill(x, QN_DTYPE_F32, (size_t)MAX_ROWS * MLP);
    for (int i = 0; i < LAYERS * N_SHAPES; i++) {
        int n = shapes[i % N_SHAPES][0], k = shapes[i % N_SHAPES][1];
        void *w = memory(qn_format_bytes(qn_format_of(dtype), (uint64_t)n * (uint64_t)k));
        fill(w, dtype, (size_t)n * (size_t)k);
        n_weights += (size_t)n * (size_t)k;
        qn_matmul(plan, qn_tensor_2d(y, QN_DTYPE_F32, MAX_ROWS, n),
                  qn_tensor_2d(x, QN_DTYPE_F32, MAX_ROWS, k), qn_tensor_2d(w, dtype, n, k),
                  (qn_tensor){0});
    }
    return n_weights;
}

static double best_seconds(qn_program *p, const void *step, int passes)
{
    double best = 1e9;
    for (int i = 0; i < passes; i++) {
        qn_ticket t;
        qn_launch launch = {step, NULL};
        uint64_t start = qn_clock_ns();
        if (cpu->launch(device, p, &launch, &t) != 0 ||
            cpu->wait(device, t, 60000) != QN_TICKET_DONE)
            exit(1);
        double seconds = (double)(qn_clock_ns() - start) * 1e-9;
        if (seconds < best) best = seconds;
    }
    return best;
}

int main(int argc, char **argv)
{
    static const int rows[] = {1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256, 512};
    quern_error e;
    qn_device_info info;
    qn_device_options options = {.n_threads = argc > 1 ? atoi(argv[1]) : 0,
                                 .isa = argc > 2 && *argv[2] ? argv[2] : NULL};
    qn_dtype dtype = qn_dtype_by_name(argc > 3 ? argv[3] : "bf16");
    cpu = qn_backend_by_name("cpu");
    if (dtype == QN_DTYPE_COUNT || cpu->open(&options, &device, &e) != 0) return 1;
    cpu->info(device, &info);

    qn_step_limits l = {MAX_ROWS, 1, 1, 1, 16};
    qn_batch batch = {.limits = l, .step = qn_step_at(&l, memory(qn_step_bytes(&l)))};
    qn_plan plan;
    qn_program *program;
    qn_plan_init(&plan, MAX_ROWS, &batch);
    size_t n_weights = record(&plan, dtype);
    if (cpu->compile(device, &plan, &program, &e) != 0) return 1;

    double read = cpu->measure_read(device),
           bytes = (double)qn_format_bytes(qn_format_of(dtype), n_weights);
    printf("%s, %s weights; memory reads %.1f GB/s\n", info.text, qn_format_of(dtype)->name,
           read * 1e-9);
    double one = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        batch.step.counts->n_rows = rows[i];
        double s = best_seconds(program, batch.step.counts, rows[i] > 32 ? 3 : 8);
        if (i == 0) one = s;
        printf("%4d rows: %8.2f ms  %6.1f GB/s (%3.0f %%)  %7.1f GFLOP/s  %5.2f x the tokens/s of "
               "one row\n",
               rows[i], s * 1e3, bytes / s * 1e-9, 100 * bytes / s / read,
               2.0 * (double)n_weights * rows[i] / s * 1e-9, one / s * rows[i]);
    }
    cpu->free_program(device, program);
    qn_plan_free(&plan);
    cpu->close(device);
    return 0;
}
