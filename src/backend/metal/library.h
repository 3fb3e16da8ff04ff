// Library: the kernels' texts compiled by Metal at open, and a pipeline a kernel, made when a plan first needs it.
#ifndef QN_BACKEND_METAL_LIBRARY_H
#define QN_BACKEND_METAL_LIBRARY_H
#include "backend/metal/objc.h"
#include "backend/metal/products.h"
#include "base/error.h"

typedef struct {
    qn_metal_id device, library; // the library retained
    qn_metal_id matrix;          // that of matrix.metal, retained; NULL: it does not compile here
    char why[200];               // the compiler's words then
    size_t max_shared_bytes;     // of a threadgroup
    qn_metal_id pipelines[QN_METAL_N_KERNELS];
} qn_metal_library;

// QUERN_E_UNSUPPORTED with the compiler's words where the dialect's text does not compile.
int qn_metal_library_open(qn_metal_library *l, qn_metal_id device, quern_error *e);
void qn_metal_library_close(qn_metal_library *l);
// *out belongs to the library. QUERN_E_UNSUPPORTED where the kernel cannot run here as it must: in groups of 256 threads.
int qn_metal_library_pipeline(qn_metal_library *l, int kernel, qn_metal_id *out, quern_error *e);
// What an NSError says, into the message: "what: …".
int qn_metal_library_fail(qn_metal_id error, int code, quern_error *e, const char *what);

// 1 where Metal 4's tensor operations (mpp::tensor_ops::matmul2d) compile here, else 0 and the compiler's words. Quern has no
// kernel that uses them: this is for reports.
int qn_metal_library_has_tensor_ops(const qn_metal_library *l, char *why, size_t n_bytes);

#endif
