// See products.h. A task keeps its buffers and arguments; its kernel and its grid change.
#include "backend/metal/products.h"

#include "backend/gpu/args.h"

enum { FEW = 8, WIDE = 16, TILE = 64 }; // as in kernels/matrix.h

#define NAME(name) #name,
static const char *const names[] = {QN_METAL_KERNELS(NAME) QN_METAL_MATRIX_KERNELS(NAME)};
#undef NAME

const char *qn_metal_kernel_name(int kernel)
{
    if (kernel < QN_GPU_N_KERNELS) return qn_gpu_kernel_name((qn_gpu_kernel)kernel);
    return names[kernel - QN_GPU_N_KERNELS];
}

// Rows of x that a group of the dialect's kernel takes; 0: a form of one row, whose grid stays.
typedef struct {
    qn_gpu_kernel from;
    int n_rows, few, many;
} row;

#define PRODUCTS(t)                                                                                \
    {QN_GPU_matmul_##t##_1x1, 1, QN_METAL_matrix_few_##t, QN_METAL_matrix_tiles_##t},              \
        {QN_GPU_matmul_##t##_1x4, 1, QN_METAL_matrix_few_##t, QN_METAL_matrix_tiles_##t},          \
    {                                                                                              \
        QN_GPU_matmul_##t##_4x2, 4, QN_METAL_matrix_few_##t, QN_METAL_matrix_tiles_##t             \
    }
#define FUSED(name)                                                                                \
    {                                                                                              \
        QN_GPU_##name, 0, QN_METAL_matrix_##name, 0                                                \
    }
static const row rows[] = {PRODUCTS(f16),
                           PRODUCTS(bf16),
                           FUSED(norm_project_f16),
                           FUSED(norm_project_bf16),
                           FUSED(norm_gate_up_f16),
                           FUSED(norm_gate_up_bf16),
                           FUSED(merge_project_f16_2048),
                           FUSED(merge_project_f16_4096),
                           FUSED(merge_project_f16_6144),
                           FUSED(merge_project_bf16_2048),
                           FUSED(merge_project_bf16_4096),
                           FUSED(merge_project_bf16_6144)};

static uint32_t groups(uint32_t n, uint32_t each)
{
    return (n + each - 1) / each;
}

static void rewrite(qn_gpu_task *t, const row *r)
{
    const qn_gpu_matmul_args *a = (const void *)t->args;
    uint32_t n_rows = t->n_groups[1] * (uint32_t)r->n_rows;
    int many = n_rows > FEW;
    t->kernel = (qn_gpu_kernel)(many ? r->many : r->few);
    if (!r->n_rows) return;
    t->n_groups[0] = groups((uint32_t)a->n_n, many ? TILE : WIDE);
    t->n_groups[1] = groups(n_rows, many ? TILE : FEW);
}

void qn_metal_products_rewrite(qn_gpu_list *list)
{
    for (int i = 0; i < list->n_tasks; i++)
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++)
            if (list->tasks[i].kernel == rows[j].from) {
                rewrite(&list->tasks[i], &rows[j]);
                break;
            }
}
