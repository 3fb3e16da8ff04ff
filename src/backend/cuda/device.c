// The CUDA device's host functions but programs and launches: open, memory, uploads. See backend.h.
#include "backend/cuda/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/flash.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/modules.h"
#include "backend/selftest.h"
#include "base/parallel.h"

enum { LEAST_CAPABILITY = 80, PREFILL_ROWS = 2048, STAGING_STEP_BYTES = 1 << 20 };

static int available(void)
{
    int n = 0;
    const qn_cuda_driver *cu = qn_cuda_driver_get();
    return cu && cu->cuDeviceGetCount(&n) == CUDA_SUCCESS && n > 0;
}

// ---- memory ----

static int enter(qn_device *d, void *address, size_t n_bytes)
{
    qn_cuda_allocation *a = malloc(sizeof *a);
    if (!a) return QUERN_E_MEMORY;
    *a = (qn_cuda_allocation){d->allocations, address, n_bytes, 0, 0};
    d->allocations = a;
    return 0;
}

static void release(qn_device *d, void *address)
{
    if (d->unified)
        d->cu->cuMemFreeHost(address);
    else
        d->cu->cuMemFree_v2(qn_cuda_address(address));
}

int qn_cuda_device_alloc(qn_device *d, size_t n_bytes, void **address, quern_error *e)
{
    CUdeviceptr p = 0;
    int rc;
    *address = NULL;
    qn_cuda_use(d);
    if (!n_bytes) n_bytes = 1;
    if (d->unified) {
        rc = qn_cuda_driver_check(d->cu->cuMemHostAlloc(address, n_bytes, CU_MEMHOSTALLOC_PORTABLE),
                                  "pinned memory", e);
        if (!rc) memset(*address, 0, n_bytes);
    } else {
        rc = qn_cuda_driver_check(d->cu->cuMemAlloc_v2(&p, n_bytes), "device memory", e);
        if (!rc)
            rc =
                qn_cuda_driver_check(d->cu->cuMemsetD8Async(p, 0, n_bytes, d->stream), "memset", e);
        *address = (void *)(uintptr_t)p;
    }
    if (!rc && enter(d, *address, n_bytes))
        rc = qn_error_set(e, QUERN_E_MEMORY, "cuda: no memory for a list of buffers");
    if (rc && *address) release(d, *address);
    if (rc) *address = NULL;
    if (rc == QUERN_E_MEMORY) qn_error_prefix(e, "%zu bytes", n_bytes);
    return rc;
}

void qn_cuda_device_free(qn_device *d, void *address)
{
    if (!address) return;
    qn_cuda_use(d);
    qn_cuda_products_forget(d, address, NULL);
    for (qn_cuda_allocation **at = &d->allocations; *at; at = &(*at)->next) {
        qn_cuda_allocation *a = *at;
        if (a->address != address) continue;
        *at = a->next;
        release(d, address);
        free(a);
        return;
    }
}

qn_cuda_allocation *qn_cuda_device_find(qn_device *d, const void *address)
{
    qn_cuda_allocation *a = d->allocations;
    while (a && a->address != address)
        a = a->next;
    return a;
}

static int alloc(qn_device *d, size_t n_bytes, void **address, quern_error *e)
{
    int rc = qn_cuda_device_alloc(d, n_bytes, address, e);
    if (!rc) d->allocations->given = 1;
    return rc;
}

static uint64_t room_bytes(qn_device *d)
{
    uint64_t n_bytes = 0;
    for (const qn_cuda_allocation *a = d->allocations; a; a = a->next)
        if (!a->given) n_bytes += a->n_bytes;
    return n_bytes;
}

// ---- uploads ----

typedef struct {
    char *to;
    const char *from;
} staging_job;

static void stage(void *context, int64_t begin, int64_t end)
{
    const staging_job *j = context;
    memcpy(j->to + begin, j->from + begin, (size_t)(end - begin));
}

// Through two pinned buffers in turn, so that copying into one overlaps the transfer of the other. The bus takes ten times what one thread
// copies: so all processors' do.
static int upload(qn_device *d, void *to, const void *from, size_t n_bytes)
{
    const qn_cuda_driver *cu = d->cu;
    CUresult rc = CUDA_SUCCESS;
    qn_cuda_use(d);
    for (size_t at = 0, i = 0; at < n_bytes && rc == CUDA_SUCCESS;
         at += QN_CUDA_STAGING_BYTES, i ^= 1) {
        size_t n = n_bytes - at < QN_CUDA_STAGING_BYTES ? n_bytes - at : QN_CUDA_STAGING_BYTES;
        rc = cu->cuEventSynchronize(d->staged[i]);
        if (rc != CUDA_SUCCESS) break;
        staging_job job = {d->staging[i], (const char *)from + at};
        qn_parallel_for((int64_t)n, STAGING_STEP_BYTES, stage, &job);
        rc =
            cu->cuMemcpyHtoDAsync_v2(qn_cuda_address((char *)to + at), d->staging[i], n, d->stream);
        if (rc == CUDA_SUCCESS) rc = cu->cuEventRecord(d->staged[i], d->stream);
    }
    return rc == CUDA_SUCCESS ? 0 : QUERN_E_DEVICE;
}

static int download(qn_device *d, void *to, const void *from, size_t n_bytes)
{
    qn_cuda_use(d);
    CUresult rc = d->cu->cuStreamSynchronize(d->stream);
    if (rc == CUDA_SUCCESS && n_bytes)
        rc = d->cu->cuMemcpyDtoH_v2(to, qn_cuda_address(from), n_bytes);
    return rc == CUDA_SUCCESS ? 0 : QUERN_E_DEVICE;
}

static int adopt(qn_device *d, const void *from, size_t n_bytes, void **address, quern_error *e)
{
    int rc = alloc(d, n_bytes, address, e);
    if (!rc && upload(d, *address, from, n_bytes)) {
        qn_cuda_device_free(d, *address);
        *address = NULL;
        return qn_error_set(e, QUERN_E_DEVICE, "cuda: the upload of %zu bytes failed", n_bytes);
    }
    if (!rc) d->allocations->adopted = 1;
    return rc;
}

// ---- open and close ----

static int get_function(const qn_device *d, const char *name, CUfunction *out, quern_error *e)
{
    return qn_cuda_driver_check(d->cu->cuModuleGetFunction(out, d->module, name), name, e);
}

static int load_kernels(qn_device *d, quern_error *e)
{
    static const char *const own[QN_CUDA_N_KERNELS] = {
#define NAME(name) #name,
        QN_CUDA_KERNELS(NAME)
#undef NAME
    };
    int rc = qn_cuda_driver_check(d->cu->cuModuleLoadData(&d->module, qn_cuda_module_kernels),
                                  "kernels", e);
    for (int i = 0; i < QN_GPU_N_KERNELS && !rc; i++)
        rc = get_function(d, qn_gpu_kernel_name((qn_gpu_kernel)i), &d->kernels[i], e);
    for (int i = 0; i < QN_CUDA_N_KERNELS && !rc; i++)
        rc = get_function(d, own[i], &d->own[i], e);
    for (int i = 0; i < QN_CUDA_N_KERNELS && !rc; i++) {
        int shared = qn_cuda_device_shared(QN_GPU_N_KERNELS + i);
        if (shared && shared <= d->shared_bytes) // else nothing launches it
            rc = qn_cuda_driver_check(
                d->cu->cuFuncSetAttribute(d->own[i],
                                          CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared),
                own[i], e);
    }
    return rc;
}

int qn_cuda_device_shared(int kernel)
{
    if (kernel == QN_GPU_N_KERNELS + QN_CUDA_product) return QN_CUDA_PRODUCT_SHARED;
    if (kernel == QN_GPU_N_KERNELS + QN_CUDA_product_tiles) return QN_CUDA_TILES_SHARED;
    int gemm = qn_cuda_gemm_shared(kernel);
    return gemm ? gemm : qn_cuda_flash_shared(kernel);
}

int qn_cuda_device_threads(int kernel)
{
    int flash = qn_cuda_flash_threads(kernel);
    return flash ? flash : qn_cuda_gemm_threads(kernel);
}

CUfunction qn_cuda_device_kernel(const qn_device *d, int kernel)
{
    return kernel < QN_GPU_N_KERNELS ? d->kernels[kernel] : d->own[kernel - QN_GPU_N_KERNELS];
}

static int attribute(const qn_device *d, CUdevice_attribute what)
{
    int value = 0;
    return d->cu->cuDeviceGetAttribute(&value, what, d->device) == CUDA_SUCCESS ? value : 0;
}

static int make_events(qn_device *d, quern_error *e)
{
    int rc = qn_cuda_driver_check(d->cu->cuStreamCreate(&d->stream, CU_STREAM_NON_BLOCKING),
                                  "stream", e);
    for (int i = 0; i < QN_CUDA_IN_FLIGHT && !rc; i++)
        rc = qn_cuda_driver_check(
            d->cu->cuEventCreate(&d->flights[i].over, CU_EVENT_DISABLE_TIMING), "event", e);
    for (int i = 0; i < 2 && !rc; i++) {
        void *p = NULL;
        rc = qn_cuda_driver_check(d->cu->cuEventCreate(&d->staged[i], CU_EVENT_DISABLE_TIMING),
                                  "event", e);
        if (!rc)
            rc = qn_cuda_driver_check(d->cu->cuMemHostAlloc(&p, QN_CUDA_STAGING_BYTES, 0),
                                      "staging", e);
        d->staging[i] = p;
    }
    return rc;
}

static int set_up(qn_device *d, quern_error *e)
{
    const qn_cuda_driver *cu = d->cu;
    int rc = qn_cuda_driver_check(cu->cuDeviceGet(&d->device, 0), "device 0", e);
    if (rc) return rc;
    d->capability = 10 * attribute(d, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) +
                    attribute(d, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    d->n_processors = attribute(d, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    d->shared_bytes = attribute(d, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    cu->cuDeviceGetName(d->name, sizeof d->name, d->device);
    if (d->capability < LEAST_CAPABILITY)
        return qn_error_set(e, QUERN_E_UNSUPPORTED, "cuda: %s is sm_%d, sm_%d is the least",
                            d->name, d->capability, LEAST_CAPABILITY);
    rc = qn_cuda_driver_check(cu->cuDevicePrimaryCtxRetain(&d->context, d->device), "context", e);
    if (!rc) rc = qn_cuda_driver_check(cu->cuCtxSetCurrent(d->context), "context", e);
    if (!rc) rc = make_events(d, e);
    return rc ? rc : load_kernels(d, e);
}

static void device_close(qn_device *d)
{
    if (!d) return;
    const qn_cuda_driver *cu = d->cu;
    if (d->context) cu->cuCtxSetCurrent(d->context);
    if (d->stream) cu->cuStreamSynchronize(d->stream);
    qn_cuda_products_free(d);
    while (d->allocations)
        qn_cuda_device_free(d, d->allocations->address);
    for (int i = 0; i < QN_CUDA_IN_FLIGHT; i++)
        if (d->flights[i].over) cu->cuEventDestroy_v2(d->flights[i].over);
    for (int i = 0; i < 2; i++) {
        if (d->staged[i]) cu->cuEventDestroy_v2(d->staged[i]);
        if (d->staging[i]) cu->cuMemFreeHost(d->staging[i]);
    }
    if (d->module) cu->cuModuleUnload(d->module);
    if (d->stream) cu->cuStreamDestroy_v2(d->stream);
    if (d->context) cu->cuDevicePrimaryCtxRelease_v2(d->device);
    free(d);
}

static int device_open(const qn_device_options *options, qn_device **out, quern_error *e)
{
    *out = NULL;
    qn_device *d = calloc(1, sizeof *d);
    if (!d) return qn_error_set(e, QUERN_E_MEMORY, "cuda: no memory for the device");
    d->cu = qn_cuda_driver_get();
    d->unified = options->unified;
    int rc = d->cu ? set_up(d, e)
                   : qn_error_set(e, QUERN_E_UNSUPPORTED, "cuda: no driver (libcuda.so.1)");
    if (!rc && !options->unchecked) rc = qn_selftest_quick(&qn_cuda_backend, d, e);
    if (rc)
        device_close(d);
    else
        *out = d;
    return rc;
}

static void info(qn_device *d, qn_device_info *out)
{
    size_t total = 0;
    *out = (qn_device_info){.n_threads = 1};
    if (d->capability == QN_CUDA_HOPPER) out->prefill_rows = PREFILL_ROWS;
    d->cu->cuDeviceTotalMem_v2(&total, d->device);
    out->memory_bytes = total;
    snprintf(out->text, sizeof out->text, "%.40s, sm_%d", d->name, d->capability);
}

static int supports(qn_device *d, const qn_record *r)
{
    (void)d;
    return qn_gpu_supports(r);
}

static const char *failure(qn_device *d)
{
    const char *name = NULL;
    return d->cu->cuGetErrorName((CUresult)d->dead, &name) == CUDA_SUCCESS ? name : NULL;
}

const qn_backend qn_cuda_backend = {
    .name = "cuda",
    .rounds_activations = 1,
    .available = available,
    .open = device_open,
    .close = device_close,
    .info = info,
    .alloc = alloc,
    .free = qn_cuda_device_free,
    .adopt_copies = 1,
    .adopt = adopt,
    .upload = upload,
    .download = download,
    .supports = supports,
    .compile = qn_cuda_compile,
    .free_program = qn_cuda_free_program,
    .room_bytes = room_bytes,
    .launch = qn_cuda_launch,
    .poll = qn_cuda_poll,
    .wait = qn_cuda_wait,
    .measure_read = qn_cuda_measure_read,
    .measure_limits = qn_cuda_measure_limits,
    .failure = failure,
};
