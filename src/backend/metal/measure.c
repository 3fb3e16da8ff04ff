// What the device can do at most, measured with the backend's own programs: larger ones until one takes long enough to tell. The
// best of a few passes counts, since whatever else runs can only slow one down.
#include "backend/backend.h"
#include "backend/metal/program.h"
#include "backend/ops/matmul.h"
#include "base/clock.h"

enum {
    N_K = 4096,
    FIRST = 512,
    PASSES = 6,
    LAUNCHES = 50,
    WAIT_MS = 10000,
    MANY_ROWS = 512,
    BLOCK_BYTES = 16384
};
static const double LONG_ENOUGH_MS = 4, LONG_MS = 1000;
static const size_t MOST_BYTES = (size_t)2 << 30;

// A program, with all of its memory: a step block first.
typedef struct {
    qn_device *device;
    int n_rows;
    void *memory;
    qn_program *program;
} trial;

static void trial_close(trial *t)
{
    qn_metal_program_free(t->device, t->program);
    qn_metal_launch_drain(t->device);
    qn_metal_buffers_free(&t->device->buffers, t->memory);
}

// Milliseconds of a launch that is waited for; 0: it failed.
static double best_ms(trial *t, int n_passes)
{
    _Alignas(64) char block[BLOCK_BYTES] = {0}; // a step block whose rows are all zero
    double best = 0;
    ((qn_step_counts *)(void *)block)->n_rows = t->n_rows;
    for (int i = 0; i < n_passes; i++) {
        qn_ticket ticket;
        double from_ms = qn_clock_ms();
        if (qn_metal_launch(t->device, t->program, &(qn_launch){block, NULL}, &ticket)) return 0;
        if (qn_metal_launch_wait(t->device, ticket, WAIT_MS) != QN_TICKET_DONE) return 0;
        double took = qn_clock_ms() - from_ms;
        if (!i || took < best) best = took;
        if (took > LONG_MS) break;
    }
    return best;
}

// Numbers about 1: a product of zeros takes less power.
static void fill(float *x, size_t n_x, uint16_t *w, size_t n_w)
{
    for (size_t i = 0; i < n_x; i++)
        x[i] = 1 + (float)(i % 29) / 32;
    for (size_t i = 0; i < n_w; i++)
        w[i] = (uint16_t)(0x3f00 + i % 131);
}

// y[n_rows, n] = x[n_rows, k] · w[n, k]ᵀ, w BF16. Many rows: of numbers, else of zeros.
static int product_open(trial *t, int n, int k)
{
    qn_step_limits limits = {t->n_rows, 1, 1, 1, QN_BLOCK_TOKENS};
    size_t n_step = (qn_step_bytes(&limits) + 63) & ~(size_t)63;
    size_t n_x = (size_t)t->n_rows * (size_t)k * sizeof(float);
    size_t n_y = (size_t)t->n_rows * (size_t)n * sizeof(float);
    size_t n_w = (size_t)n * (size_t)k * sizeof(uint16_t);
    int rc =
        qn_metal_buffers_alloc(&t->device->buffers, n_step + n_x + n_y + n_w, &t->memory, NULL);
    if (rc) return rc;
    if (n_step > BLOCK_BYTES) return QUERN_E_INTERNAL;
    char *x = (char *)t->memory + n_step;
    if (t->n_rows > 1)
        fill((float *)(void *)x, n_x / sizeof(float), (uint16_t *)(void *)(x + n_x + n_y),
             n_w / sizeof(uint16_t));
    qn_batch batch = {.limits = limits, .step = qn_step_at(&limits, t->memory)};
    qn_plan plan;
    qn_plan_init(&plan, t->n_rows, &batch);
    qn_matmul(&plan, qn_tensor_2d(x + n_x, QN_DTYPE_F32, t->n_rows, n),
              qn_tensor_2d(x, QN_DTYPE_F32, t->n_rows, k),
              qn_tensor_2d(x + n_x + n_y, QN_DTYPE_BF16, n, k), (qn_tensor){0});
    rc = qn_metal_program_make(t->device, &plan, &t->program, NULL);
    qn_plan_free(&plan);
    return rc;
}

// n KiB to as many behind them.
static int copy_open(trial *t, int n, int k)
{
    (void)k;
    size_t n_bytes = (size_t)n << 10;
    int rc = qn_metal_buffers_alloc(&t->device->buffers, 2 * n_bytes, &t->memory, NULL);
    return rc ? rc : qn_metal_program_make_copy(t->device, t->memory, n_bytes, &t->program);
}

typedef struct {
    int (*open)(trial *t, int n, int k);
    int n_rows, k;
    double each;   // what a pass does for each n
    size_t n_each; // bytes for each n
} measurement;

// How much of it a second.
static double rate(qn_device *d, const measurement *m)
{
    double found = 0;
    for (int n = FIRST;; n *= 2) {
        trial t = {.device = d, .n_rows = m->n_rows};
        double ms = m->open(&t, n, m->k) ? 0 : best_ms(&t, PASSES);
        trial_close(&t);
        if (ms > 0) found = (double)n * m->each * 1e3 / ms;
        if (!(ms > 0) || ms > LONG_ENOUGH_MS || 2 * (size_t)n * m->n_each > MOST_BYTES)
            return found;
    }
}

// A product of one row reads a matrix once.
static const measurement reading = {product_open, 1, N_K, N_K * 2.0, (size_t)N_K * 2};
static const measurement copying = {copy_open, 0, 0, 2048, 2048};

static double measure(qn_device *d, const measurement *m)
{
    void *pool = objc_autoreleasePoolPush();
    double found = rate(d, m);
    objc_autoreleasePoolPop(pool);
    return found;
}

double qn_metal_measure_read(qn_device *d)
{
    return measure(d, &reading);
}

// A launch that computes next to nothing.
static double launch_seconds(qn_device *d)
{
    void *pool = objc_autoreleasePoolPush();
    trial t = {.device = d, .n_rows = 1};
    double ms = product_open(&t, 16, 16) ? 0 : best_ms(&t, LAUNCHES);
    trial_close(&t);
    objc_autoreleasePoolPop(pool);
    return ms * 1e-3;
}

int qn_metal_measure_limits(qn_device *d, qn_device_limits *out)
{
    // As many columns as rows at first, then more: an emulated device is slow, a Mac needs large ones.
    static const int n_ks[] = {64, 512, N_K}, n_rows[] = {16, 128, MANY_ROWS};
    *out = (qn_device_limits){.read_bytes_per_second = qn_metal_measure_read(d),
                              .copy_bytes_per_second = measure(d, &copying),
                              .launch_seconds = launch_seconds(d)};
    for (int i = 0; i < 3; i++) {
        measurement m = {product_open, n_rows[i], n_ks[i], 2.0 * n_rows[i] * n_ks[i],
                         (size_t)n_ks[i] * 2 + (size_t)n_rows[i] * sizeof(float)};
        trial t = {.device = d, .n_rows = m.n_rows};
        double ms = product_open(&t, FIRST, m.k) ? 0 : best_ms(&t, 2);
        trial_close(&t);
        if (ms > LONG_ENOUGH_MS || i == 2) {
            out->matmul_flops_per_second = measure(d, &m);
            break;
        }
    }
    return out->read_bytes_per_second > 0 && out->copy_bytes_per_second > 0 &&
                   out->matmul_flops_per_second > 0 && out->launch_seconds > 0
               ? 0
               : QUERN_E_DEVICE;
}
