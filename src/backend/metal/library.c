// See library.h.
#include "backend/metal/library.h"

#include <stdio.h>

#include "backend/gpu/task.h"
#include "backend/metal/calls.h"
#include "backend/metal/text.h"

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

// A library of a text, or NULL and the reason.
static qn_metal_id compile(qn_metal_id device, const char *source, qn_metal_id *error)
{
    qn_metal_id o = options(), text = string(source), library = NULL;
    if (o && text) library = qn_metal_device_library(device, text, o, error);
    if (o) qn_metal_release(o);
    return library;
}

static void words_of(qn_metal_id error, char *to, size_t n_bytes)
{
    qn_metal_id words = error ? qn_metal_error_description(error) : NULL;
    const char *text = words ? qn_metal_string_text(words) : NULL;
    snprintf(to, n_bytes, "%s", text ? text : "no reason given");
    for (char *c = to; *c; c++) // one line
        if (*c == '\n' || *c == '\r') *c = ' ';
}

int qn_metal_library_open(qn_metal_library *l, qn_metal_id device, quern_error *e)
{
    qn_metal_id error = NULL;
    *l = (qn_metal_library){.device = device,
                            .max_shared_bytes = qn_metal_device_max_threadgroup(device)};
    l->library = compile(device, qn_metal_kernels_text, &error);
    if (!l->library)
        return qn_metal_library_fail(error, QUERN_E_UNSUPPORTED, e, "the kernels do not compile");
    l->matrix = compile(device, qn_metal_matrix_text, &error);
    if (!l->matrix) words_of(error, l->why, sizeof l->why);
    return 0;
}

int qn_metal_library_has_tensor_ops(const qn_metal_library *l, char *why, size_t n_bytes)
{
    static const char text[] =
        "#include <metal_stdlib>\n"
        "#include <metal_tensor>\n"
        "#include <MetalPerformancePrimitives/MetalPerformancePrimitives.h>\n"
        "using namespace metal;\n"
        "using namespace mpp::tensor_ops;\n"
        "kernel void probe(device half *x [[buffer(0)]], device half *w [[buffer(1)]],\n"
        "                  device float *y [[buffer(2)]])\n"
        "{\n"
        "    tensor<device half, dextents<int32_t, 2>, tensor_inline> left(x, dextents<int32_t, "
        "2>(64, 16));\n"
        "    tensor<device half, dextents<int32_t, 2>, tensor_inline> right(w, dextents<int32_t, "
        "2>(64, 32));\n"
        "    tensor<device float, dextents<int32_t, 2>, tensor_inline> to(y, dextents<int32_t, "
        "2>(32, 16));\n"
        "    constexpr auto form = matmul2d_descriptor(16, 32, 64, false, true);\n"
        "    matmul2d<form, execution_simdgroups<4>> product;\n"
        "    product.run(left, right, to);\n"
        "}\n";
    qn_metal_id error = NULL, library = compile(l->device, text, &error);
    if (library) qn_metal_release(library);
    if (!library) words_of(error, why, n_bytes);
    return library != NULL;
}

void qn_metal_library_close(qn_metal_library *l)
{
    for (int i = 0; i < QN_METAL_N_KERNELS; i++)
        if (l->pipelines[i]) qn_metal_release(l->pipelines[i]);
    if (l->matrix) qn_metal_release(l->matrix);
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
    const char *name = qn_metal_kernel_name(kernel);
    char what[96];
    *out = l->pipelines[kernel];
    if (*out) return 0;
    snprintf(what, sizeof what, "kernel %s", name);
    qn_metal_id error = NULL, pipeline = NULL;
    qn_metal_id from = kernel < QN_METAL_FIRST_MATRIX ? l->library : l->matrix;
    qn_metal_id function = from ? qn_metal_library_function(from, string(name)) : NULL;
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
