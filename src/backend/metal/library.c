// See library.h.
#include "backend/metal/library.h"

#include <stdio.h>

#include "backend/gpu/task.h"
#include "backend/metal/calls.h"
#include "backend/metal/text.h"

static const char *name_of(int kernel)
{
    if (kernel == QN_METAL_GATE_OPEN) return "gate_open";
    if (kernel == QN_METAL_GATE_CLOSE) return "gate_close";
    return qn_gpu_kernel_name((qn_gpu_kernel)kernel);
}

static qn_metal_id string(const char *text)
{
    return qn_metal_string(objc_getClass("NSString"), text);
}

int qn_metal_library_fail(qn_metal_id error, int code, quern_error *e, const char *what)
{
    qn_metal_id words = error ? qn_metal_error_description(error) : NULL;
    const char *text = words ? qn_metal_string_text(words) : NULL;
    return qn_error_set(e, code, "metal: %s: %.300s", what, text ? text : "no reason given");
}

// A new MTLCompileOptions. Maths by the letter: infinities and NaN count, nothing is reordered, sin and exp are the precise ones
// (which the mode alone does not say; fast maths off says both).
static qn_metal_id options(void)
{
    qn_metal_id o = qn_metal_new(objc_getClass("MTLCompileOptions"));
    if (!o) return NULL;
    if (qn_metal_responds(o, sel_registerName("setMathMode:"))) {
        qn_metal_options_math_mode(o, QN_METAL_MATH_SAFE);
        qn_metal_options_functions(o, QN_METAL_MATH_PRECISE);
    } else {
        qn_metal_options_fast_math(o, false);
    }
    return o;
}

int qn_metal_library_open(qn_metal_library *l, qn_metal_id device, quern_error *e)
{
    qn_metal_id error = NULL, o = options(), text = string(qn_metal_text);
    *l = (qn_metal_library){.device = device,
                            .max_shared_bytes = qn_metal_device_max_threadgroup(device)};
    if (o && text) l->library = qn_metal_device_library(device, text, o, &error);
    if (o) qn_metal_release(o);
    if (l->library) return 0;
    return qn_metal_library_fail(error, QUERN_E_UNSUPPORTED, e, "the kernels do not compile");
}

void qn_metal_library_close(qn_metal_library *l)
{
    for (int i = 0; i < QN_METAL_N_KERNELS; i++)
        if (l->pipelines[i]) qn_metal_release(l->pipelines[i]);
    if (l->library) qn_metal_release(l->library);
    *l = (qn_metal_library){0};
}

static int check(const qn_metal_library *l, qn_metal_id pipeline, const char *name, quern_error *e)
{
    unsigned long most = qn_metal_pipeline_max_threads(pipeline);
    unsigned long width = qn_metal_pipeline_simd_width(pipeline);
    unsigned long shared = qn_metal_pipeline_shared_bytes(pipeline);
    if (most < QN_GPU_N_THREADS)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "metal: kernel %s: this GPU runs %lu threads a group, expected %d",
                            name, most, QN_GPU_N_THREADS);
    if (width != QN_GPU_N_THREADS / QN_GPU_N_SIMDS)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "metal: kernel %s: this GPU's simdgroups have %lu lanes, expected %d",
                            name, width, QN_GPU_N_THREADS / QN_GPU_N_SIMDS);
    if (shared > l->max_shared_bytes)
        return qn_error_set(e, QUERN_E_UNSUPPORTED,
                            "metal: kernel %s needs %lu bytes of threadgroup memory, found %zu",
                            name, shared, l->max_shared_bytes);
    return 0;
}

int qn_metal_library_pipeline(qn_metal_library *l, int kernel, qn_metal_id *out, quern_error *e)
{
    const char *name = name_of(kernel);
    char what[96];
    *out = l->pipelines[kernel];
    if (*out) return 0;
    snprintf(what, sizeof what, "kernel %s", name);
    qn_metal_id error = NULL, pipeline = NULL;
    qn_metal_id function = qn_metal_library_function(l->library, string(name));
    if (!function)
        return qn_error_set(e, QUERN_E_UNSUPPORTED, "metal: %s is not in the library", what);
    pipeline = qn_metal_device_pipeline(l->device, function, &error);
    qn_metal_release(function);
    if (!pipeline) return qn_metal_library_fail(error, QUERN_E_UNSUPPORTED, e, what);
    int rc = check(l, pipeline, name, e);
    if (rc) {
        qn_metal_release(pipeline);
        return rc;
    }
    *out = l->pipelines[kernel] = pipeline;
    return 0;
}
