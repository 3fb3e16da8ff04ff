// A Mac's GPU as a device: host functions of backend.h. Memory is shared, so uploads are copies and weights are used in the file's
// mapping. Before a device is given out, its kernels are compared with the CPU's on small cases.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/task.h"
#include "backend/metal/calls.h"
#include "backend/metal/device.h"
#include "backend/metal/metal.h"
#include "backend/selftest.h"
#include "base/clock.h"

// The first GPU. Where a display is on, the system ends command buffers that hold it up; it looks at the variable when the process's first
// device is made (llama.cpp and MLX set it too). A process that does not use CoreGraphics has no default device: the linker leaves a library
// out that nothing refers to.
static qn_metal_id first_device(void)
{
    static unsigned (*const volatile display)(void) = CGMainDisplayID;
    setenv("AGX_RELAX_CDM_CTXSTORE_TIMEOUT", "1", 0);
    return display ? MTLCreateSystemDefaultDevice() : NULL;
}

static int available(void)
{
    void *pool = objc_autoreleasePoolPush();
    qn_metal_id device = first_device();
    if (device) qn_metal_release(device);
    objc_autoreleasePoolPop(pool);
    return device != NULL;
}

// ---- memory ----

static int device_alloc(qn_device *d, size_t n_bytes, void **address, quern_error *e)
{
    void *pool = objc_autoreleasePoolPush();
    int rc = qn_metal_buffers_alloc(&d->buffers, n_bytes, address, e);
    objc_autoreleasePoolPop(pool);
    return rc;
}

static void device_free(qn_device *d, void *address)
{
    if (!address) return;
    void *pool = objc_autoreleasePoolPush();
    qn_metal_launch_drain(d);
    qn_metal_buffers_free(&d->buffers, address);
    objc_autoreleasePoolPop(pool);
}

static int adopt(qn_device *d, const void *from, size_t n_bytes, void **address, quern_error *e)
{
    void *pool = objc_autoreleasePoolPush();
    int rc = 0;
    if (qn_metal_buffers_wrap(&d->buffers, from, n_bytes)) {
        *address = (void *)(uintptr_t)from; // read-only from here on, as the contract says
    } else {
        rc = qn_metal_buffers_alloc(&d->buffers, n_bytes, address, e);
        if (!rc) memcpy(*address, from, n_bytes);
    }
    objc_autoreleasePoolPop(pool);
    return rc;
}

static void lend(qn_device *d, const void *begin, size_t n_bytes)
{
    qn_metal_buffers_lend(&d->buffers, begin, n_bytes);
}

static void take_back(qn_device *d, const void *begin)
{
    void *pool = objc_autoreleasePoolPush();
    qn_metal_launch_drain(d);
    qn_metal_buffers_take_back(&d->buffers, begin);
    objc_autoreleasePoolPop(pool);
}

static int transfer(qn_device *d, void *to, const void *from, size_t n_bytes)
{
    (void)d;
    if (n_bytes) memmove(to, from, n_bytes);
    return 0;
}

int qn_metal_device_stage(qn_device *d, size_t step_bytes, size_t results_bytes, quern_error *e)
{
    if (step_bytes <= d->step_bytes && results_bytes <= d->results_bytes) return 0;
    qn_metal_launch_drain(d);
    if (step_bytes < d->step_bytes) step_bytes = d->step_bytes;
    if (results_bytes < d->results_bytes) results_bytes = d->results_bytes;
    void *memory[2 * QN_METAL_N_FLIGHTS] = {0};
    int rc = 0;
    for (int i = 0; i < 2 * QN_METAL_N_FLIGHTS && !rc; i++)
        rc = qn_metal_buffers_alloc(&d->buffers, i % 2 ? results_bytes : step_bytes, &memory[i], e);
    for (int i = 0; i < QN_METAL_N_FLIGHTS; i++) {
        qn_metal_flight *f = &d->flights[i];
        qn_metal_buffers_free(&d->buffers, rc ? memory[2 * i] : f->step);
        qn_metal_buffers_free(&d->buffers, rc ? memory[2 * i + 1] : f->results);
        if (rc) continue;
        f->step = memory[2 * i];
        f->results = memory[2 * i + 1];
    }
    if (rc) return rc;
    d->step_bytes = step_bytes;
    d->results_bytes = results_bytes;
    return 0;
}

// ---- open and close ----

static void device_close(qn_device *d)
{
    if (!d) return;
    void *pool = objc_autoreleasePoolPush();
    qn_metal_launch_drain(d);
    qn_metal_buffers_free_all(&d->buffers);
    qn_metal_wired_close(&d->buffers.wired, d->queue);
    qn_metal_library_close(&d->library);
    if (d->queue) qn_metal_release(d->queue);
    if (d->device) qn_metal_release(d->device);
    free(d);
    objc_autoreleasePoolPop(pool);
}

static int open_parts(qn_device *d, quern_error *e)
{
    void *done;
    d->device = first_device();
    if (!d->device) return qn_error_set(e, QUERN_E_UNSUPPORTED, "metal: no GPU here");
    if (!qn_metal_device_supports_family(d->device, QN_METAL_FAMILY_APPLE7) ||
        !qn_metal_device_unified(d->device))
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "metal: this GPU is older than the M1's, which is the least");
    d->queue = qn_metal_device_queue(d->device);
    if (!d->queue) return qn_error_set(e, QUERN_E_DEVICE, "metal: no command queue");
    d->buffers.device = d->device;
    d->buffers.max_bytes = qn_metal_device_max_buffer(d->device);
    qn_metal_wired_open(&d->buffers.wired, d->device, d->queue, qn_clock_ms, QN_METAL_BEAT_MS);
    int rc = qn_metal_buffers_alloc(&d->buffers, sizeof *d->done, &done, e);
    d->done = done;
    return rc ? rc : qn_metal_library_open(&d->library, d->device, e);
}

// ---- forms of the products ----

static const char *use_form(qn_device *d, int i)
{
    int has_matrices = d->library.matrix != NULL;
    if (i < 0 || i > has_matrices) return NULL;
    d->matrices = has_matrices && i == 0;
    return d->matrices ? "products in simdgroup matrices" : "the dialect's products";
}

static void notes(qn_device *d, char *text, size_t n_bytes)
{
    char why[200] = "";
    void *pool = objc_autoreleasePoolPush();
    int has = qn_metal_library_has_tensor_ops(&d->library, why, sizeof why);
    snprintf(text, n_bytes,
             "simdgroup matrices: %s%s\nMetal 4 tensor operations (not used): %s%s\n",
             d->library.matrix ? "they compile" : "they do not compile: ", d->library.why,
             has ? "they compile" : "they do not compile: ", why);
    objc_autoreleasePoolPop(pool);
}

// A device whose products have form `i`, or an error. *n_forms: how many there are.
static int open_form(const qn_device_options *options, int i, qn_device **out, int *n_forms,
                     quern_error *e)
{
    qn_device *d = calloc(1, sizeof *d);
    *out = NULL;
    *n_forms = 1;
    if (!d) return qn_error_set(e, QUERN_E_MEMORY, "metal: no memory for the device");
    void *pool = objc_autoreleasePoolPush();
    int rc = open_parts(d, e);
    if (!rc) {
        *n_forms = 1 + (d->library.matrix != NULL);
        use_form(d, i);
    }
    if (!rc && !options->unchecked) rc = qn_selftest_quick(&qn_metal_backend, d, e);
    if (rc)
        device_close(d);
    else
        *out = d;
    objc_autoreleasePoolPop(pool);
    return rc;
}

// The first form that has the CPU's results. A device that a kernel has killed is opened anew.
static int device_open(const qn_device_options *options, qn_device **out, quern_error *e)
{
    int n_forms, rc = open_form(options, 0, out, &n_forms, e);
    if (rc && rc != QUERN_E_MEMORY && n_forms > 1) rc = open_form(options, 1, out, &n_forms, e);
    return rc;
}

static void info(qn_device *d, qn_device_info *out)
{
    void *pool = objc_autoreleasePoolPush();
    qn_metal_id name = qn_metal_device_name(d->device);
    const char *text = name ? qn_metal_string_text(name) : NULL;
    *out = (qn_device_info){.n_threads = 1,
                            .memory_bytes = qn_metal_device_max_working_set(d->device)};
    snprintf(out->text, sizeof out->text, "%.30s, %.0f GB%s", text ? text : "a GPU",
             (double)out->memory_bytes * 1e-9, d->matrices ? "" : ", without matrices");
    objc_autoreleasePoolPop(pool);
}

// ---- programs ----

static int supports(qn_device *d, const qn_record *r)
{
    (void)d;
    return qn_gpu_supports(r);
}

static int compile(qn_device *d, const qn_plan *plan, qn_program **out, quern_error *e)
{
    void *pool = objc_autoreleasePoolPush();
    int rc = qn_metal_program_make(d, plan, out, e);
    objc_autoreleasePoolPop(pool);
    return rc;
}

static uint64_t room_bytes(qn_device *d)
{
    return d->scratch_bytes;
}

static void free_program(qn_device *d, qn_program *p)
{
    void *pool = objc_autoreleasePoolPush();
    qn_metal_program_free(d, p);
    objc_autoreleasePoolPop(pool);
}

static const char *failure(qn_device *d)
{
    return *d->why ? d->why : NULL;
}

const qn_backend qn_metal_backend = {
    .name = "metal",
    .available = available,
    .open = device_open,
    .close = device_close,
    .info = info,
    .alloc = device_alloc,
    .free = device_free,
    .lend = lend,
    .take_back = take_back,
    .adopt = adopt,
    .upload = transfer,
    .download = transfer,
    .supports = supports,
    .compile = compile,
    .free_program = free_program,
    .room_bytes = room_bytes,
    .launch = qn_metal_launch,
    .poll = qn_metal_launch_poll,
    .wait = qn_metal_launch_wait,
    .measure_read = qn_metal_measure_read,
    .measure_limits = qn_metal_measure_limits,
    .failure = failure,
    .use_form = use_form,
    .notes = notes,
};
