// The read bandwidth, by a product of one row, which reads a matrix once: larger matrices until one takes long enough to tell.
#include "backend/metal/device.h"
#include "backend/ops/matmul.h"
#include "base/clock.h"

enum { N_K = 4096, FIRST_ROWS = 512, PASSES = 6, WAIT_MS = 10000 };
static const double LONG_ENOUGH_MS = 4;
static const size_t MOST_BYTES = (size_t)2 << 30;

typedef struct {
    qn_device *device;
    int n;
    void *memory; // the step block, x, y and w
    qn_program *program;
} product;

static void product_close(product *p)
{
    qn_metal_program_free(p->device, p->program);
    qn_metal_launch_drain(p->device);
    qn_metal_buffers_free(&p->device->buffers, p->memory);
}

static int product_open(product *p)
{
    qn_step_limits limits = {1, 1, 1, 1, QN_BLOCK_TOKENS};
    size_t n_step = qn_step_bytes(&limits), n_x = N_K * sizeof(float);
    size_t n_y = (size_t)p->n * sizeof(float), n_w = (size_t)p->n * N_K * sizeof(uint16_t);
    int rc =
        qn_metal_buffers_alloc(&p->device->buffers, n_step + n_x + n_y + n_w, &p->memory, NULL);
    if (rc) return rc;
    char *x = (char *)p->memory + n_step;
    qn_batch batch = {.limits = limits, .step = qn_step_at(&limits, p->memory)};
    qn_plan plan;
    qn_plan_init(&plan, 1, &batch);
    qn_matmul(&plan, qn_tensor_2d(x + n_x, QN_DTYPE_F32, 1, p->n),
              qn_tensor_2d(x, QN_DTYPE_F32, 1, N_K),
              qn_tensor_2d(x + n_x + n_y, QN_DTYPE_BF16, p->n, N_K), (qn_tensor){0});
    rc = qn_metal_program_make(p->device, &plan, &p->program, NULL);
    qn_plan_free(&plan);
    return rc;
}

// The shortest of a few passes; 0: it failed.
static double best_ms(product *p)
{
    _Alignas(64) char block[1024] = {0}; // a step block of one row
    double best = 0;
    ((qn_step_counts *)(void *)block)->n_rows = 1;
    for (int i = 0; i < PASSES; i++) {
        qn_ticket t;
        double from_ms = qn_clock_ms();
        if (qn_metal_launch(p->device, p->program, &(qn_launch){block, NULL}, &t)) return 0;
        if (qn_metal_launch_wait(p->device, t, WAIT_MS) != QN_TICKET_DONE) return 0;
        double took = qn_clock_ms() - from_ms;
        if (!i || took < best) best = took;
        if (took > 1000) break;
    }
    return best;
}

static double rate(qn_device *d)
{
    double found = 0;
    for (int n = FIRST_ROWS;; n *= 2) {
        size_t n_bytes = (size_t)n * N_K * sizeof(uint16_t);
        product p = {.device = d, .n = n};
        double ms = product_open(&p) ? 0 : best_ms(&p);
        product_close(&p);
        if (ms > 0) found = (double)n_bytes * 1e3 / ms;
        if (!(ms > 0) || ms > LONG_ENOUGH_MS || 2 * n_bytes > MOST_BYTES) return found;
    }
}

double qn_metal_measure_read(qn_device *d)
{
    void *pool = objc_autoreleasePoolPush();
    double found = rate(d);
    objc_autoreleasePoolPop(pool);
    return found;
}
