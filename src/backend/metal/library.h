// Library: the kernels' text compiled by Metal at open, and a pipeline a kernel, made when a plan first needs it.
#ifndef QN_BACKEND_METAL_LIBRARY_H
#define QN_BACKEND_METAL_LIBRARY_H
#include "backend/gpu/kernels.h"
#include "backend/metal/objc.h"
#include "base/error.h"

// The kernels by number: the dialect's, then Metal's own.
enum {
    QN_METAL_GATE_OPEN = QN_GPU_N_KERNELS,
    QN_METAL_GATE_CLOSE,
    QN_METAL_N_KERNELS,
};

typedef struct {
    qn_metal_id device, library; // the library retained
    size_t max_shared_bytes;     // of a threadgroup
    qn_metal_id pipelines[QN_METAL_N_KERNELS];
} qn_metal_library;

// QUERN_E_UNSUPPORTED with the compiler's words.
int qn_metal_library_open(qn_metal_library *l, qn_metal_id device, quern_error *e);
void qn_metal_library_close(qn_metal_library *l);
// *out belongs to the library. QUERN_E_UNSUPPORTED where the kernel cannot run here as it must: in groups of 256 threads.
int qn_metal_library_pipeline(qn_metal_library *l, int kernel, qn_metal_id *out, quern_error *e);
// What an NSError says, into the message: "what: …".
int qn_metal_library_fail(qn_metal_id error, int code, quern_error *e, const char *what);

#endif
