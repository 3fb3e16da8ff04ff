// See search.h.
#include "tensor/quant/search.h"

#include <math.h>

#include "tensor/quant/formats.h"

static const float nothing = 1e-15f; // numbers below are all zero

int qn_search_nearest(float f, int low, int high)
{
    if (!(f > (float)low)) return low;
    return f >= (float)high ? high : (int)lrintf(f);
}

// ---- scale and minimum ----

static float error_of(const qn_search_range *s, const float *x, const float *w, const uint8_t *q,
                      float scale, float minimum)
{
    float sum = 0;
    for (int i = 0; i < s->n; i++) {
        float off = scale * (float)q[i] + minimum - x[i];
        sum += w[i] * (s->absolute ? fabsf(off) : off * off);
    }
    return sum;
}

// The least squares for given q; 0 where there are none.
static int fit(const qn_search_range *s, const float *x, const float *w, const uint8_t *q,
               float *scale, float *minimum)
{
    float sum_w = 0, sum_x = 0, sum_q = 0, sum_q2 = 0, sum_xq = 0;
    for (int i = 0; i < s->n; i++) {
        float number = (float)q[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
        sum_q += w[i] * number;
        sum_q2 += w[i] * number * number;
        sum_xq += w[i] * number * x[i];
    }
    float determinant = sum_w * sum_q2 - sum_q * sum_q;
    if (!(determinant > 0)) return 0;
    *scale = (sum_w * sum_xq - sum_x * sum_q) / determinant;
    *minimum = (sum_q2 * sum_x - sum_q * sum_xq) / determinant;
    if (*minimum > 0) {
        *minimum = 0;
        *scale = sum_xq / sum_q2;
    }
    return 1;
}

static void round_range(const qn_search_range *s, const float *x, float inverse, float minimum,
                        uint8_t *q)
{
    for (int i = 0; i < s->n; i++)
        q[i] = (uint8_t)qn_search_nearest(inverse * (x[i] - minimum), 0, s->most);
}

float qn_search_affine(const qn_search_range *s, const float *x, const float *w, float *minimum)
{
    uint8_t q[QN_SEARCH_MAX];
    float low = x[0], high = x[0];
    for (int i = 1; i < s->n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    if (low > 0) low = 0;
    *minimum = -low;
    if (high == low) return 0;
    float best_low = low, scale = 1 / ((float)s->most / (high - low));
    round_range(s, x, (float)s->most / (high - low), low, q);
    float best = error_of(s, x, w, q, scale, low);
    for (int i = 0; i <= s->n_steps; i++) {
        float trial, trial_low;
        round_range(s, x, (s->first_step + 0.1f * (float)i + (float)s->most) / (high - best_low),
                    best_low, q);
        if (!fit(s, x, w, q, &trial, &trial_low)) continue;
        float error = error_of(s, x, w, q, trial, trial_low);
        if (error < best) {
            best = error;
            scale = trial;
            best_low = trial_low;
        }
    }
    *minimum = -best_low;
    return scale;
}

// ---- a scale alone ----

float qn_search_symmetric(const float *x, const float *w, int n, int most)
{
    float extreme = qn_block_extreme(x, n), scale = 0, best = -1;
    if (fabsf(extreme) < nothing) return 0;
    for (int trial = 0; trial <= 18;
         trial++) { // the plain scale first, then 0.9 steps fewer … more
        float steps = trial == 0 ? 0 : 0.1f * (float)(trial <= 9 ? trial - 10 : trial - 9);
        float inverse = -((float)most + steps) / extreme, sum_xq = 0, sum_q2 = 0;
        for (int i = 0; i < n; i++) {
            float q = (float)qn_search_nearest(inverse * x[i], -most, most - 1);
            float weight = w ? w[i] : x[i] * x[i];
            sum_xq += weight * x[i] * q;
            sum_q2 += weight * q * q;
        }
        if (!(sum_q2 > 0) || (best >= 0 && !(sum_xq * sum_xq > best * sum_q2))) continue;
        scale = sum_xq / sum_q2;
        best = scale * sum_xq;
    }
    return scale;
}

void qn_search_weigh(const float *x, const float *columns, int n, float factor, float *out)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < n; i++)
        out[i] = columns[i] * sqrtf(factor * sum / (float)n + x[i] * x[i]);
}

int qn_search_value(float f)
{
    int q = 0;
    while (q < 15 && f + f >= (float)(qn_iq4_values[q] + qn_iq4_values[q + 1]))
        q++;
    return q;
}

float qn_search_values(const float *x, int n)
{
    float extreme = qn_block_extreme(x, n), scale = 0, best = -1;
    if (fabsf(extreme) < nothing) return 0;
    for (int trial = 0; trial <= 15;
         trial++) { // the extreme at the upper end, then about the lower
        float lowest = (float)qn_iq4_values[0], inverse = 1 / (-extreme / lowest);
        if (trial > 0) inverse = ((float)(trial - 8) + lowest) / extreme;
        float sum_xq = 0, sum_q2 = 0;
        for (int i = 0; i < n; i++) {
            float q = (float)qn_iq4_values[qn_search_value(inverse * x[i])], w = x[i] * x[i];
            sum_xq += w * q * x[i];
            sum_q2 += w * q * q;
        }
        if (!(sum_q2 > 0) || (best >= 0 && !(sum_xq * sum_xq > best * sum_q2))) continue;
        scale = sum_xq / sum_q2;
        best = scale * sum_xq;
    }
    return scale;
}

// ---- q4_k and q5_k ----

static float largest(const float *x, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

// Without weights of columns: those of each 32 numbers by their size.
static void weigh_by_size(const float *x, float *w)
{
    for (int j = 0; j < QN_K_BLOCK; j += 32) {
        float sum = 0;
        for (int i = j; i < j + 32; i++)
            sum += x[i] * x[i];
        float mean = sqrtf(sum / 32);
        for (int i = j; i < j + 32; i++)
            w[i] = mean + fabsf(x[i]);
    }
}

void qn_search_k_scales(const float *x, const float *columns, const qn_search_range *s,
                        uint8_t *block)
{
    float scales[8], minima[8], w[QN_K_BLOCK];
    if (columns)
        qn_search_weigh(x, columns, QN_K_BLOCK, 2, w);
    else
        weigh_by_size(x, w);
    for (int j = 0; j < 8; j++)
        scales[j] = qn_search_affine(s, x + 32 * j, w + 32 * j, &minima[j]);
    float most = largest(scales, 8), most_minimum = largest(minima, 8);
    float inverse = most > 0 ? 63 / most : 0;
    float inverse_minimum = most_minimum > 0 ? 63 / most_minimum : 0;
    uint8_t *packed = block + 4;
    for (int j = 0; j < 4; j++) {
        int scale[2], minimum[2];
        for (int half = 0; half < 2; half++) {
            scale[half] = qn_search_nearest(inverse * scales[j + 4 * half], 0, 63);
            minimum[half] = qn_search_nearest(inverse_minimum * minima[j + 4 * half], 0, 63);
        }
        packed[j] = (uint8_t)(scale[0] | scale[1] >> 4 << 6);
        packed[j + 4] = (uint8_t)(minimum[0] | minimum[1] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scale[1] & 15) | (minimum[1] & 15) << 4);
    }
    qn_block_put_f16(block, most / 63);
    qn_block_put_f16(block + 2, most_minimum / 63);
}

void qn_search_k_numbers(const float *x, int most, const uint8_t *block, uint8_t *q)
{
    uint8_t scale[8], minimum[8];
    float d = qn_block_f16(block), dmin = qn_block_f16(block + 2);
    qn_block_k_scales(block + 4, scale, minimum);
    for (int i = 0; i < QN_K_BLOCK; i++) {
        float of = d * (float)scale[i / 32], low = dmin * (float)minimum[i / 32];
        q[i] = of != 0 ? (uint8_t)qn_search_nearest((x[i] + low) / of, 0, most) : 0;
    }
}
