// rms_norm: a simdgroup a group of `width` numbers. Order of the sum of squares, also where the norm is part of a product: lane l
// takes the fours 4(l + 32 j), j ascending, by fused multiply-add; then simd_sum.
#ifndef QN_BACKEND_GPU_KERNELS_NORM_H
#define QN_BACKEND_GPU_KERNELS_NORM_H

FN float qn_square4(GLOBAL const float *x, int i, int width, float sum)
{
    for (int j = 0; j < 4; j++)
        if (i + j < width) sum = FMA(x[i + j], x[i + j], sum);
    return sum;
}
// This lane's part of Σ x².
FN float qn_squares(GLOBAL const float *x, int width, int lane)
{
    float sum = 0.0f;
#pragma unroll 4
    for (int i = 4 * lane; i < width; i += 128)
        sum = qn_square4(x, i, width, sum);
    return sum;
}
FN float qn_inverse(float sum, int width, float eps)
{
    return 1.0f / SQRT(sum / (float)width + eps);
}

KERNEL(rms_norm, BUF(0, float, y), BUF(1, const float, x), BUF(2, const void, weight),
       BUF(3, const qn_step_counts, counts), ARGS(4, qn_gpu_rms_norm_args, a))
{
    int n_rows = a.over_outputs ? counts->n_outputs : counts->n_rows;
    int g = TG_X * QN_GPU_SIMDS + SG;
    if (g >= n_rows * a.n_groups) return; // whole simdgroups
    ulong at = (ulong)g * (ulong)a.width;
    float sum = SG_SUM(qn_squares(x + at, a.width, LANE));
    float inverse = qn_inverse(sum, a.width, a.eps);
    // A lane writes the fours that it has read, 16 numbers at a time: y may be x.
    for (int k = 4 * LANE; k < a.width; k += 512) {
        float v[16], w[16];
        for (int j = 0; j < 16; j++) {
            int i = k + 128 * (j / 4) + j % 4, there = i < a.width;
            v[j] = there ? x[at + (ulong)i] : 0.0f;
            w[j] = there ? qn_load(weight, a.type, (ulong)i) : 0.0f;
        }
        for (int j = 0; j < 16; j++) {
            int i = k + 128 * (j / 4) + j % 4;
            if (i < a.width) y[at + (ulong)i] = w[j] * (v[j] * inverse);
        }
    }
}

#endif
