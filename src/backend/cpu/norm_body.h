// rms_norm, rope and qk_norm_rope on 16 lanes; see their headers in ops/. Part of kernels_body.h.
#ifndef QN_BACKEND_CPU_NORM_BODY_H
#define QN_BACKEND_CPU_NORM_BODY_H
#include "backend/cpu/lanes.h"
#include "backend/ops/qk_norm_rope.h"
#ifdef SIMD_ISA

ALWAYS_INLINE void scale_group(float *y, const float *x, const char *weight, const qn_dtype dtype,
                               int width, float inverse)
{
    const int64_t element = element_bytes(dtype);
    lanes all = lanes_set(inverse);
    int i = 0;
    for (; i + QN_CPU_LANES <= width; i += QN_CPU_LANES) {
        lanes w = lanes_load_as(dtype, weight + i * element);
        lanes_store(y + i, lanes_mul(w, lanes_mul(lanes_load(x + i), all)));
    }
    for (; i < width; i++)
        y[i] = scalar_load_as(dtype, weight + i * element) * (x[i] * inverse);
}

static float sum_squares(const float *x, int width)
{
    lanes sum = lanes_set(0);
    float lane[QN_CPU_LANES];
    int i = 0;
    for (; i + QN_CPU_LANES <= width; i += QN_CPU_LANES) {
        lanes v = lanes_load(x + i);
        sum = lanes_fma(v, v, sum);
    }
    lanes_store(lane, sum);
    for (int l = 0; i < width; i++, l++)
        lane[l] = fmaf(x[i], x[i], lane[l]);
    return lanes_sum(lanes_load(lane));
}

static void norm_group(float *y, const float *x, const qn_tensor *weight, float eps)
{
    int width = (int)weight->dim[0];
    float inverse = 1.0f / sqrtf(sum_squares(x, width) / (float)width + eps);
    if (weight->dtype == QN_DTYPE_BF16)
        scale_group(y, x, weight->data, QN_DTYPE_BF16, width, inverse);
    else if (weight->dtype == QN_DTYPE_F16)
        scale_group(y, x, weight->data, QN_DTYPE_F16, width, inverse);
    else
        scale_group(y, x, weight->data, QN_DTYPE_F32, width, inverse);
}

static void rms_norm(const void *args, const qn_cpu_task *task)
{
    const qn_rms_norm_args *a = args;
    int64_t width = a->weight.dim[0];
    for (int row, end; qn_cpu_take_rows(task, *a->n_rows, &row, &end);)
        for (; row < end; row++)
            for (int g = 0; g < a->n_groups; g++)
                norm_group(qn_cpu_row(&a->y, row) + g * width, qn_cpu_row(&a->x, row) + g * width,
                           &a->weight, a->eps);
}

// The loops below are plain C that compilers vectorise.
static void rotate_head(float *restrict low, float *restrict high, const float *restrict c,
                        const float *restrict s, int half)
{
    for (int i = 0; i < half; i++) {
        float l = low[i], h = high[i];
        low[i] = l * c[i] - h * s[i];
        high[i] = h * c[i] + l * s[i];
    }
}

static void rotate_row(const qn_rope_args *a, int row)
{
    const float *inv_freq = a->inv_freq.data;
    float c[QN_CPU_MAX_HEAD_DIM / 2], s[QN_CPU_MAX_HEAD_DIM / 2];
    float position = (float)a->rows[row].position;
    int half = a->head_dim / 2;
    for (int i = 0; i < half; i++)
        qn_scalar_rotation(position * inv_freq[i], a->scale, &c[i], &s[i]);
    float *x = qn_cpu_row(&a->x, row);
    for (int h = 0; h < a->n_heads; h++, x += a->head_dim)
        rotate_head(x, x + half, c, s, half);
}

static void rope(const void *args, const qn_cpu_task *task)
{
    const qn_rope_args *a = args;
    for (int row, end; qn_cpu_take_rows(task, a->counts->n_rows, &row, &end);)
        for (; row < end; row++)
            rotate_row(a, row);
}

static void qk_norm_rope(const void *args, const qn_cpu_task *task)
{
    const qn_qk_norm_rope_args *a = args;
    for (int row, end; qn_cpu_take_rows(task, a->rope.counts->n_rows, &row, &end);)
        for (; row < end; row++) {
            float *x = qn_cpu_row(&a->rope.x, row);
            for (int h = 0; h < a->rope.n_heads; h++, x += a->rope.head_dim)
                norm_group(x, x, &a->weight, a->eps);
            rotate_row(&a->rope, row);
        }
}

#endif
#endif
