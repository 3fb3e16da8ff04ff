// rms_norm in plain C; see ops/rms_norm.h.
#include "backend/ops/rms_norm.h"

#include <math.h>

#include "backend/cpu/ref/norm.h"
#include "backend/cpu/ref/ref.h"
#include "backend/cpu/scalar.h"

int qn_ref_rms_norm_supports(const void *args)
{
    const qn_rms_norm_args *a = args;
    return qn_cpu_is_f32(&a->x) && qn_cpu_is_f32(&a->y) && a->x.dim[1] == a->y.dim[1] &&
           a->n_groups > 0 && a->x.dim[1] % a->n_groups == 0 &&
           qn_cpu_is_vector(&a->weight, a->x.dim[1] / a->n_groups);
}

// One group: y = weight · (x / rms(x)).
void qn_ref_norm_group(float *y, const float *x, const qn_tensor *weight, float eps)
{
    const qn_format *format = qn_format_of(weight->dtype);
    int width = (int)weight->dim[0];
    float lanes[QN_CPU_LANES] = {0};
    for (int i = 0; i < width; i++) {
        float *lane = &lanes[i % QN_CPU_LANES];
        *lane = fmaf(x[i], x[i], *lane);
    }
    float inverse = 1.0f / sqrtf(qn_scalar_tree(lanes) / (float)width + eps);
    for (int i = 0; i < width; i++) {
        float w;
        format->to_f32((const char *)weight->data + i * format->block_bytes, &w, 1);
        y[i] = w * (x[i] * inverse);
    }
}

void qn_ref_rms_norm(const void *args, const qn_cpu_task *task)
{
    const qn_rms_norm_args *a = args;
    int64_t width = a->weight.dim[0];
    for (int row, end; qn_cpu_take_rows(task, *a->n_rows, &row, &end);)
        for (; row < end; row++)
            for (int g = 0; g < a->n_groups; g++)
                qn_ref_norm_group(qn_cpu_row(&a->y, row) + g * width,
                                  qn_cpu_row(&a->x, row) + g * width, &a->weight, a->eps);
}
