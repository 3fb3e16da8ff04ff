// Measuring the CPU; see limits.h. Memory is shared by the pool's workers in equal parts; each figure is the best pass, since
// whatever else runs on the machine can only slow one down.
#include "backend/cpu/limits.h"

#include <stdatomic.h>
#include <string.h>

#include "backend/cpu/machine.h"
#include "backend/ops/matmul.h"
#include "base/clock.h"

// What a worker reads is several times what it can have of any cache; all together take no more than most machines can spare.
enum {
    WORKER_BYTES = 64 << 20,
    MIN_BYTES = 256 << 20,
    MAX_BYTES = 1 << 30,
    PASSES = 6,
    LINE_BYTES = 64,
    SHARES = 8, // of a worker: who comes late takes fewer
};

// ---- memory ----

typedef struct {
    char *data;
    size_t total_bytes, n_bytes; // n_bytes: of each share
    int n_shares;                // SHARES for each worker
    atomic_int n_taken;
    void (*work)(void *context, int share);
    _Atomic uint64_t sum; // keeps the reads from being left out
} memory;

static void work_on_shares(void *context, int phase, int worker)
{
    (void)phase;
    (void)worker;
    memory *m = context;
    for (int i; (i = atomic_fetch_add(&m->n_taken, 1)) < m->n_shares;)
        m->work(m, i);
}

static void pass(qn_pool *pool, memory *m, void (*work)(void *context, int share))
{
    m->work = work;
    atomic_store(&m->n_taken, 0);
    qn_pool_run(pool, 1, work_on_shares, m);
}

static void write_share(void *context, int share)
{
    memory *m = context;
    memset(m->data + (size_t)share * m->n_bytes, 1, m->n_bytes);
}

// A word of every line: memory delivers lines.
static void read_share(void *context, int share)
{
    memory *m = context;
    const char *p = m->data + (size_t)share * m->n_bytes;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i + 8 * LINE_BYTES <= m->n_bytes; i += 8 * LINE_BYTES)
        for (size_t j = 0; j < 8; j++)
            sums[j] += *(const uint64_t *)(const void *)(p + i + j * LINE_BYTES);
    for (size_t j = 1; j < 8; j++)
        sums[0] += sums[j];
    atomic_fetch_add(&m->sum, sums[0]);
}

// The first half of the share to the second.
static void copy_share(void *context, int share)
{
    memory *m = context;
    char *p = m->data + (size_t)share * m->n_bytes;
    memcpy(p + m->n_bytes / 2, p, m->n_bytes / 2);
}

// How often a second `work` goes over all shares, times their bytes: each is touched once a pass.
static double measure_memory(qn_pool *pool, void (*work)(void *context, int share))
{
    memory m = {.n_shares = SHARES * qn_pool_n_threads(pool)};
    m.total_bytes = (size_t)qn_pool_n_threads(pool) * WORKER_BYTES;
    if (m.total_bytes < MIN_BYTES) m.total_bytes = MIN_BYTES;
    if (m.total_bytes > MAX_BYTES) m.total_bytes = MAX_BYTES;
    if (m.total_bytes > qn_machine_memory_bytes() / 4)
        m.total_bytes = qn_machine_memory_bytes() / 4;
    m.data = qn_machine_map(m.total_bytes);
    if (!m.data) return 0;
    m.n_bytes = m.total_bytes / (size_t)m.n_shares & ~(size_t)(8 * LINE_BYTES - 1);
    pass(pool, &m, write_share);
    double best = 0, n_bytes = (double)m.n_bytes * m.n_shares;
    for (int i = 0; i < PASSES; i++) {
        uint64_t start = qn_clock_ns();
        pass(pool, &m, work);
        double rate = n_bytes * 1e9 / (double)(qn_clock_ns() - start + 1);
        if (rate > best) best = rate;
    }
    qn_machine_unmap(m.data, m.total_bytes);
    return best;
}

double qn_limits_read(qn_pool *pool)
{
    return measure_memory(pool, read_share);
}

double qn_limits_copy(qn_pool *pool)
{
    return measure_memory(pool, copy_share);
}

// ---- plans ----

// One product of `rows` rows with a [n, k] BF16 matrix, as a program.
typedef struct {
    const qn_backend *backend;
    qn_device *device;
    int rows, n, k;
    void *memory; // x, y, w, the step block
    qn_step_counts *counts;
    qn_program *program;
} product;

static void fill(float *x, size_t n_x, uint16_t *w, size_t n_w)
{
    for (size_t i = 0; i < n_x; i++)
        x[i] = (float)(i % 17) - 8;
    for (size_t i = 0; i < n_w; i++)
        w[i] = qn_f32_to_bf16((float)(i % 13) - 6);
}

static int product_open(product *p)
{
    qn_step_limits limits = {p->rows, 1, 1, 1, QN_BLOCK_TOKENS};
    size_t n_x = (size_t)p->rows * (size_t)p->k, n_y = (size_t)p->rows * (size_t)p->n;
    size_t n_w = (size_t)p->n * (size_t)p->k;
    size_t floats = (n_x + n_y) * sizeof(float), weights = n_w * sizeof(uint16_t);
    int rc =
        p->backend->alloc(p->device, floats + weights + qn_step_bytes(&limits), &p->memory, NULL);
    if (rc) return rc;
    float *x = p->memory, *y = x + n_x;
    uint16_t *w = (void *)(y + n_y);
    fill(x, n_x, w, n_w);
    qn_batch batch = {.limits = limits, .step = qn_step_at(&limits, w + n_w)};
    p->counts = batch.step.counts;
    p->counts->n_rows = p->rows;
    qn_plan plan;
    qn_plan_init(&plan, p->rows, &batch);
    qn_matmul(&plan, qn_tensor_2d(y, QN_DTYPE_F32, p->rows, p->n),
              qn_tensor_2d(x, QN_DTYPE_F32, p->rows, p->k),
              qn_tensor_2d(w, QN_DTYPE_BF16, p->n, p->k), (qn_tensor){0});
    rc = p->backend->compile(p->device, &plan, &p->program, NULL);
    qn_plan_free(&plan);
    return rc;
}

static void product_close(product *p)
{
    if (p->program) p->backend->free_program(p->device, p->program);
    p->backend->free(p->device, p->memory);
}

// The shortest launch among those of about max_ms, at least two and at most n.
static int best_launch(const product *p, int n, double max_ms, double *seconds)
{
    double from_ms = qn_clock_ms(), best = 1e9;
    for (int i = 0; i < n && (i < 2 || qn_clock_ms() < from_ms + max_ms); i++) {
        qn_ticket ticket;
        uint64_t start = qn_clock_ns();
        int rc = p->backend->launch(p->device, p->program, &(qn_launch){p->counts, NULL}, &ticket);
        if (rc) return rc;
        while ((rc = p->backend->wait(p->device, ticket, 1000)) == QN_TICKET_RUNNING)
            continue;
        if (rc != QN_TICKET_DONE) return QUERN_E_DEVICE;
        double took = (double)(qn_clock_ns() - start + 1) * 1e-9;
        if (took < best) best = took;
    }
    *seconds = best;
    return 0;
}

static int time_product(product *p, int n, double max_ms, double *seconds)
{
    int rc = product_open(p);
    if (!rc) rc = best_launch(p, n, max_ms, seconds);
    product_close(p);
    return rc;
}

int qn_limits_run_plans(const qn_backend *b, qn_device *d, qn_device_limits *out)
{
    product large = {.backend = b, .device = d, .rows = 128, .n = 4096, .k = 2048};
    product small = {.backend = b, .device = d, .rows = 1, .n = 16, .k = 16};
    double seconds = 0;
    int rc = time_product(&large, 64, 500, &seconds);
    if (rc) return rc;
    out->matmul_flops_per_second = 2.0 * large.rows * large.n * large.k / seconds;
    return time_product(&small, 1000, 100, &out->launch_seconds);
}
