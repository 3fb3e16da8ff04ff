// Products with 16-bit weights and with weights in blocks (every format), CUDA's own form of matmul (ops/matmul.h) and of what is fused with it.
// Weights are kept in the order of the matrix units' fragments (product.cuh), made once from the file's order when the first plan
// that multiplies with them is compiled. Blocks keep their size (affine ones and FP8 shrink) and become F16 where they are multiplied (blocks_packed.cuh), for one row
// as for thousands; a matrix with a number that F16 does not hold, or with no factor that it holds whole, stays as it is, with the dialect's kernels.
// Order of a sum, for one row as for thousands: x is rounded to the weights' type (that of blocks: F16; F16: kept within its range); K is cut into
// parts of 1,024, on sm_90 as gemm.c says (part_of); a part is a chain of m16n8k16 products with float32
// accumulators, k ascending, from 0; parts are added ascending in float32; then + bias, then + y.
#ifndef QN_BACKEND_CUDA_PRODUCTS_H
#define QN_BACKEND_CUDA_PRODUCTS_H
#include "backend/backend.h"
#include "backend/cuda/args.h"
#include "backend/gpu/task.h"

// A weight in its own form.
typedef struct {
    const void *from; // the tensor's address
    void *packed;     // may be the same
    const void *
        user; // the program that it belongs to, or NULL: to all, as long as the tensor's memory is the device's
    int64_t n, k;
    qn_dtype dtype;
} qn_cuda_weight;

typedef struct {
    qn_cuda_weight *all;
    int n, capacity;
} qn_cuda_weights;

// Packs every weight of these types that the program's plan multiplies with and that is not packed yet. QUERN_E_MEMORY, QUERN_E_DEVICE.
int qn_cuda_products_pack(qn_device *d, const qn_program *user, const qn_plan *plan,
                          quern_error *e);
// Bytes of a packed matrix of this type; with QN_DTYPE_F16 those of the copy that products of many rows multiply.
size_t qn_cuda_products_bytes(qn_dtype dtype, int64_t n, int64_t k);
// Plans of up to so many rows have operations fused where they can be, with products by product.cuh's kernels; 0: not even of one row, as on Hopper
// where any of the plan's weights are not F32: there they are gemm.h's.
int qn_cuda_few_rows(const qn_device *d, const qn_plan *plan);
// 1 where all weights that the plan multiplies with are packed.
int qn_cuda_products_all(const qn_device *d, const qn_program *user, const qn_plan *plan);
// Rewrites the list's products with packed weights, and reads of packed tables, as tasks of CUDA's own kernels.
void qn_cuda_products_rewrite(qn_device *d, const qn_program *user, const qn_plan *plan,
                              qn_gpu_list *list);
// Forgets the weights at an address whose memory is given back, and those of a program that ends; either may be NULL.
void qn_cuda_products_forget(qn_device *d, const void *from, const qn_program *user);
void qn_cuda_products_free(qn_device *d);

#endif
