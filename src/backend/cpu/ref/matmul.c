// matmul in plain C; see ops/matmul.h. A chunk is some rows of the weight; it is read a piece at a time, so that the formats'
// own conversion serves.
#include "backend/ops/matmul.h"

#include <math.h>

#include "backend/cpu/ref/ref.h"
#include "backend/cpu/scalar.h"

enum {
    ROWS_A_CHUNK = 8,
    PIECE = 256
}; // PIECE: a multiple of the lanes and of every format's block

int qn_ref_matmul_supports(const void *args)
{
    const qn_matmul_args *a = args;
    return qn_cpu_is_f32(&a->x) && qn_cpu_is_f32(&a->y) && qn_cpu_is_matrix(&a->w, a->x.dim[1]) &&
           a->w.dim[0] == a->y.dim[1] && a->n_rows &&
           (!a->bias.data || qn_cpu_is_vector(&a->bias, a->y.dim[1]));
}

static float dot(const float *x, const char *w, const qn_format *format, int64_t n_k)
{
    float lanes[QN_CPU_LANES] = {0}, piece[PIECE];
    for (int64_t k = 0; k < n_k; k += PIECE) {
        int64_t n = n_k - k < PIECE ? n_k - k : PIECE;
        format->to_f32(w + k / format->block_elements * format->block_bytes, piece, (size_t)n);
        for (int64_t i = 0; i < n; i++)
            lanes[i % QN_CPU_LANES] = fmaf(x[k + i], piece[i], lanes[i % QN_CPU_LANES]);
    }
    return qn_scalar_tree(lanes);
}

static void multiply(const qn_matmul_args *a, int64_t row, int64_t n)
{
    const qn_format *format = qn_format_of(a->w.dtype);
    int64_t n_k = a->x.dim[1], row_bytes = (int64_t)qn_tensor_row_bytes(&a->w);
    float *y = qn_cpu_row(&a->y, row) + n;
    float sum = dot(qn_cpu_row(&a->x, row), (const char *)a->w.data + n * row_bytes, format, n_k);
    if (a->bias.data) {
        float bias;
        const qn_format *of_bias = qn_format_of(a->bias.dtype);
        of_bias->to_f32((const char *)a->bias.data + n * of_bias->block_bytes, &bias, 1);
        sum += bias;
    }
    *y = a->accumulate ? sum + *y : sum;
}

void qn_ref_matmul(const void *args, const qn_cpu_task *task)
{
    const qn_matmul_args *a = args;
    int64_t n_weights = a->w.dim[0], n;
    while ((n = (int64_t)qn_cpu_take(task) * ROWS_A_CHUNK) < n_weights)
        for (int64_t end = n + ROWS_A_CHUNK; n < end && n < n_weights; n++)
            for (int64_t row = 0; row < *a->n_rows; row++)
                multiply(a, row, n);
}
