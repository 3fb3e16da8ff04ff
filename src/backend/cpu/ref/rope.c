// rope in plain C; see ops/rope.h.
#include "backend/ops/rope.h"

#include "backend/cpu/ref/norm.h"
#include "backend/cpu/ref/ref.h"
#include "backend/cpu/scalar.h"

int qn_ref_rope_supports(const void *args)
{
    const qn_rope_args *a = args;
    return qn_cpu_is_f32(&a->x) && a->n_heads > 0 && a->head_dim > 0 &&
           a->head_dim <= QN_CPU_MAX_HEAD_DIM && a->head_dim % 2 == 0 &&
           a->x.dim[1] == (int64_t)a->n_heads * a->head_dim &&
           qn_cpu_is_vector(&a->inv_freq, a->head_dim / 2) && a->inv_freq.dtype == QN_DTYPE_F32;
}

void qn_ref_rope_row(const qn_rope_args *a, int row)
{
    const float *inv_freq = a->inv_freq.data;
    float position = (float)a->rows[row].position;
    int half = a->head_dim / 2;
    for (int i = 0; i < half; i++) {
        float c, s;
        qn_scalar_rotation(position * inv_freq[i], a->scale, &c, &s);
        for (int h = 0; h < a->n_heads; h++) {
            float *x = qn_cpu_row(&a->x, row) + h * a->head_dim + i;
            float low = x[0], high = x[half];
            x[0] = low * c - high * s;
            x[half] = high * c + low * s;
        }
    }
}

void qn_ref_rope(const void *args, const qn_cpu_task *task)
{
    const qn_rope_args *a = args;
    for (int row, end; qn_cpu_take_rows(task, a->counts->n_rows, &row, &end);)
        for (; row < end; row++)
            qn_ref_rope_row(a, row);
}
