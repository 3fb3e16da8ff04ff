// See job.h. Threads take slices of rows, in order, until none are left or one has failed; the caller's thread only watches.
#include "convert/job.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum { SLICE_NUMBERS = 1 << 19, MAX_THREADS = 256, LOOK_MS = 100 };

typedef struct {
    const qn_convert_item *item;
    int64_t first, n_rows;
} slice;

typedef struct {
    const qn_convert_job *job;
    slice *slices;
    size_t n_slices;
    int64_t most_numbers; // of a slice
    atomic_size_t next;
    atomic_ullong done; // numbers
    atomic_bool stop;
    pthread_mutex_t lock; // of what follows
    pthread_cond_t ended;
    int n_running, rc;
    quern_error error;
} crew;

static int64_t rows_of_slice(const qn_convert_item *item)
{
    int64_t n = SLICE_NUMBERS / item->n_columns;
    return n < 1 ? 1 : n < item->n_rows ? n : item->n_rows;
}

static size_t cut(const qn_convert_job *job, slice *out, int64_t *most)
{
    size_t n = 0;
    *most = 0;
    for (int i = 0; i < job->n_items; i++) {
        const qn_convert_item *item = &job->items[i];
        int64_t step = rows_of_slice(item);
        if (step * item->n_columns > *most) *most = step * item->n_columns;
        for (int64_t row = 0; row < item->n_rows; row += step, n++)
            if (out)
                out[n] = (slice){item, row, row + step < item->n_rows ? step : item->n_rows - row};
    }
    return n;
}

/* ---- on a worker ---- */

static int check_finite(const slice *s, const float *x, quern_error *e)
{
    for (int64_t i = 0; i < s->n_rows * s->item->n_columns; i++)
        if (!isfinite(x[i]))
            return qn_error_set(e, QUERN_E_FORMAT,
                                "%s: row %lld, column %lld: expected a finite number, found %g",
                                s->item->name, (long long)(s->first + i / s->item->n_columns),
                                (long long)(i % s->item->n_columns), (double)x[i]);
    return 0;
}

static int convert_slice(const crew *c, const slice *s, float *numbers, char *blocks,
                         quern_error *e)
{
    const qn_convert_item *item = s->item;
    const qn_format *from = qn_format_of(item->from.dtype), *to = qn_format_of(item->dtype);
    size_t n = (size_t)item->n_columns, n_rows = (size_t)s->n_rows;
    size_t from_row = qn_format_bytes(from, n), to_row = qn_format_bytes(to, n);
    const char *data = (const char *)item->from.data + (size_t)s->first * from_row;
    uint64_t offset = item->offset + (uint64_t)s->first * to_row;
    if (from == to) return qn_new_file_write(c->job->file, data, n_rows * to_row, offset, e);
    for (size_t row = 0; row < n_rows; row++)
        from->to_f32(data + row * from_row, numbers + row * n, n);
    int rc = check_finite(s, numbers, e);
    for (size_t row = 0; row < n_rows && !rc; row++)
        qn_format_quantise(item->dtype, numbers + row * n, item->columns, blocks + row * to_row, n);
    return rc ? rc : qn_new_file_write(c->job->file, blocks, n_rows * to_row, offset, e);
}

// The first failure stops all.
static void stop_with(crew *c, int rc, const quern_error *error)
{
    atomic_store(&c->stop, true);
    pthread_mutex_lock(&c->lock);
    if (!c->rc) {
        c->rc = rc;
        c->error = *error;
    }
    pthread_mutex_unlock(&c->lock);
}

static void *work(void *context)
{
    crew *c = context;
    quern_error e = {0};
    int rc = 0;
    // No format takes more bytes than float32.
    float *numbers = malloc((size_t)c->most_numbers * sizeof *numbers);
    char *blocks = malloc((size_t)c->most_numbers * sizeof *numbers);
    if (!numbers || !blocks) rc = qn_error_set(&e, QUERN_E_MEMORY, "no memory to quantise in");
    while (!rc && !atomic_load(&c->stop)) {
        size_t i = atomic_fetch_add(&c->next, 1);
        if (i >= c->n_slices) break;
        const slice *s = &c->slices[i];
        rc = convert_slice(c, s, numbers, blocks, &e);
        atomic_fetch_add(&c->done, (unsigned long long)(s->n_rows * s->item->n_columns));
    }
    if (rc) stop_with(c, rc, &e);
    free(numbers);
    free(blocks);
    pthread_mutex_lock(&c->lock);
    c->n_running--;
    pthread_cond_signal(&c->ended);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- on the caller's thread ---- */

static int count_threads(const qn_convert_options *o)
{
    long n = o->n_threads ? o->n_threads : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

static void watch(crew *c, uint64_t total)
{
    const qn_convert_options *o = c->job->options;
    const quern_error cancelled = {QUERN_E_CANCELLED, "", "cancelled: nothing was written"};
    pthread_mutex_lock(&c->lock);
    while (c->n_running) {
        qn_clock_await(&c->ended, &c->lock, LOOK_MS);
        pthread_mutex_unlock(&c->lock);
        if (o->progress) o->progress(o->user, atomic_load(&c->done), total);
        if (o->cancel && *o->cancel) stop_with(c, QUERN_E_CANCELLED, &cancelled);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

static void run(crew *c, uint64_t total, quern_error *e)
{
    pthread_t threads[MAX_THREADS];
    int n = count_threads(c->job->options), n_started = 0;
    c->n_running = n;
    while (n_started < n && !pthread_create(&threads[n_started], NULL, work, c))
        n_started++;
    pthread_mutex_lock(&c->lock);
    c->n_running -= n - n_started; // with fewer threads it takes longer
    if (!n_started) c->rc = qn_error_set(&c->error, QUERN_E_MEMORY, "no thread could be started");
    pthread_mutex_unlock(&c->lock);
    watch(c, total);
    for (int i = 0; i < n_started; i++)
        pthread_join(threads[i], NULL);
    if (c->rc && e) *e = c->error;
}

int qn_convert_run(const qn_convert_job *job, quern_error *e)
{
    crew c = {.job = job};
    uint64_t total = 0;
    for (int i = 0; i < job->n_items; i++)
        total += (uint64_t)(job->items[i].n_rows * job->items[i].n_columns);
    c.n_slices = cut(job, NULL, &c.most_numbers);
    c.slices = calloc(c.n_slices + 1, sizeof *c.slices);
    if (!c.slices) return qn_error_set(e, QUERN_E_MEMORY, "no memory for a list of slices");
    cut(job, c.slices, &c.most_numbers);
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.ended, NULL);
    run(&c, total, e);
    pthread_mutex_destroy(&c.lock);
    pthread_cond_destroy(&c.ended);
    free(c.slices);
    return c.rc;
}
