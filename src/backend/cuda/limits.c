// What the device can do, measured: reads, copies and launches. See backend.h.
#include "backend/cuda/device.h"
#include "base/clock.h"

enum {
    PASSES = 8,
    LAUNCHES = 200,
    READERS = 3,
    READER_BYTES = 512 * 16 * 16
}; // READERS a processor
static const size_t read_bytes = (size_t)4 << 30;
#define LEAST_BYTES ((size_t)64 << 20)

// Seconds of `passes` runs of what `start` enqueues, by the host's clock over a synchronised stream.
static double seconds_of(qn_device *d, CUresult (*start)(qn_device *d, void *context),
                         void *context, int passes)
{
    if (start(d, context) != CUDA_SUCCESS || d->cu->cuStreamSynchronize(d->stream) != CUDA_SUCCESS)
        return 0;
    uint64_t from = qn_clock_ns();
    for (int i = 0; i < passes; i++)
        if (start(d, context) != CUDA_SUCCESS) return 0;
    if (d->cu->cuStreamSynchronize(d->stream) != CUDA_SUCCESS) return 0;
    return (double)(qn_clock_ns() - from) * 1e-9;
}

typedef struct {
    CUdeviceptr from, to;
    size_t n_bytes;
    unsigned n_groups;
} range;

static CUresult start_read(qn_device *d, void *context)
{
    range *r = context;
    uint64_t n = r->n_bytes / 16;
    void *parameters[] = {&r->from, &r->to, &n};
    return d->cu->cuLaunchKernel(d->own[QN_CUDA_read_all], r->n_groups, 1, 1, 512, 1, 1, 0,
                                 d->stream, parameters, NULL);
}

static CUresult start_copy(qn_device *d, void *context)
{
    range *r = context;
    return d->cu->cuMemcpyDtoDAsync_v2(r->to, r->from, r->n_bytes, d->stream);
}

double qn_cuda_measure_read(qn_device *d)
{
    void *memory;
    quern_error e = {0};
    size_t n_bytes = read_bytes;
    while (qn_cuda_device_alloc(d, n_bytes + 64, &memory, &e)) // the card may be nearly full
        if ((n_bytes /= 2) < LEAST_BYTES) return 0;
    size_t round =
        (size_t)d->n_processors * READERS * READER_BYTES; // what the kernel reads at once
    range r = {qn_cuda_address(memory), qn_cuda_address((char *)memory + n_bytes),
               n_bytes / round * round, (unsigned)d->n_processors * READERS};
    double seconds = seconds_of(d, start_read, &r, PASSES);
    qn_cuda_device_free(d, memory);
    return seconds > 0 ? (double)r.n_bytes * PASSES / seconds : 0;
}

int qn_cuda_measure_limits(qn_device *d, qn_device_limits *out)
{
    void *memory;
    quern_error e = {0};
    *out = (qn_device_limits){.read_bytes_per_second = qn_cuda_measure_read(d)};
    size_t n_bytes = read_bytes;
    while (qn_cuda_device_alloc(d, n_bytes, &memory, &e))
        if ((n_bytes /= 2) < LEAST_BYTES) return QUERN_E_MEMORY;
    range r = {qn_cuda_address(memory), qn_cuda_address((char *)memory + n_bytes / 2), n_bytes / 2,
               1};
    double copy = seconds_of(d, start_copy, &r, PASSES), launches = 0;
    r.n_bytes = 0;
    for (int i = 0; i < LAUNCHES; i++)
        launches += seconds_of(d, start_read, &r, 1);
    qn_cuda_device_free(d, memory);
    if (copy > 0) out->copy_bytes_per_second = (double)n_bytes * PASSES / copy;
    out->launch_seconds = launches / LAUNCHES;
    return copy > 0 && launches > 0 ? 0 : QUERN_E_DEVICE;
}
