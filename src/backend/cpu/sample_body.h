// sample's loops over a vocabulary on 16 lanes; see sampling.h. Part of kernels_body.h.
#ifndef QN_BACKEND_CPU_SAMPLE_BODY_H
#define QN_BACKEND_CPU_SAMPLE_BODY_H
#include "backend/cpu/lanes.h"
#include "backend/cpu/sampling.h"
#ifdef SIMD_ISA

static float vocabulary_max(const float *v, int n)
{
    lanes max = lanes_set(-INFINITY);
    float lane[QN_CPU_LANES], result = -INFINITY;
    int i = 0;
    for (; i + QN_CPU_LANES <= n; i += QN_CPU_LANES) {
        lanes a = lanes_load(v + i);
        if (lanes_any_nan(a)) return NAN;
        max = lanes_max(a, max);
    }
    lanes_store(lane, max);
    for (int l = 0; l < QN_CPU_LANES; l++)
        result = qn_scalar_max(lane[l], result);
    for (; i < n; i++) {
        if (v[i] != v[i]) return NAN;
        result = qn_scalar_max(v[i], result);
    }
    return result;
}

static float vocabulary_sum_exp(const float *v, int n, float max)
{
    lanes sum = lanes_set(0), all = lanes_set(max);
    float lane[QN_CPU_LANES];
    int i = 0;
    for (; i + QN_CPU_LANES <= n; i += QN_CPU_LANES)
        sum = lanes_add(sum, lanes_exp(lanes_sub(lanes_load(v + i), all)));
    lanes_store(lane, sum);
    for (int l = 0; i < n; i++, l++)
        lane[l] += qn_scalar_exp(v[i] - max);
    return lanes_sum(lanes_load(lane));
}

static void vocabulary_weights(float *e, const float *v, int n, float max, float temperature)
{
    lanes all = lanes_set(max), divisor = lanes_set(temperature);
    int i = 0;
    for (; i + QN_CPU_LANES <= n; i += QN_CPU_LANES)
        lanes_store(e + i, lanes_exp(lanes_div(lanes_sub(lanes_load(v + i), all), divisor)));
    for (; i < n; i++)
        e[i] = qn_scalar_exp((v[i] - max) / temperature);
}

static float vocabulary_sum(const float *e, int n)
{
    lanes sum = lanes_set(0);
    float lane[QN_CPU_LANES];
    int i = 0;
    for (; i + QN_CPU_LANES <= n; i += QN_CPU_LANES)
        sum = lanes_add(sum, lanes_load(e + i));
    lanes_store(lane, sum);
    for (int l = 0; i < n; i++, l++)
        lane[l] += e[i];
    return lanes_sum(lanes_load(lane));
}

static const qn_sampling_math vocabulary_math = {vocabulary_max, vocabulary_sum_exp,
                                                 vocabulary_weights, vocabulary_sum};

static void sample(const void *args, const qn_cpu_task *task)
{
    const qn_sampling_kit kit = {&vocabulary_math, qn_sampling_select};
    qn_sampling_run(args, task, &kit);
}

#endif
#endif
