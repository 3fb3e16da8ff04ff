// See support.h. CUDA and Metal have one rule: that of the tasks that they share.
#include "backend/support.h"

#include "backend/cpu/dispatch.h"
#include "backend/gpu/task.h"
#include "backend/ops/matmul.h"

enum { WIDTH = 4096 }; // whole blocks of every format

static const struct {
    const char *name;
    int (*supports)(const qn_record *r);
} backends[] = {
    {"cpu", qn_dispatch_supports},
    {"cuda", qn_gpu_supports},
    {"metal", qn_gpu_supports},
};
enum { N_BACKENDS = sizeof backends / sizeof *backends };

const char *qn_support_name(int i)
{
    return i >= 0 && i < N_BACKENDS ? backends[i].name : NULL;
}

bool qn_support_weights(int i, qn_dtype dtype)
{
    static const _Alignas(64) char anywhere[64]; // an address; nothing is read
    void *at = (void *)(uintptr_t)anywhere;
    const qn_matmul_args product = {
        .y = qn_tensor_2d(at, QN_DTYPE_F32, 1, WIDTH),
        .x = qn_tensor_2d(at, QN_DTYPE_F32, 1, WIDTH),
        .w = qn_tensor_2d(at, dtype, WIDTH, WIDTH),
        .n_rows = at,
    };
    return backends[i].supports(&(qn_record){QN_OP_MATMUL, &product});
}
