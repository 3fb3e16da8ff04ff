// The head of a sorted vocabulary without sorting the rest: a histogram of how far each value lies below the largest tells
// which buckets can hold what is needed; their tokens alone are gathered, in order of id, and radix-sorted (stable).
#include <math.h>
#include <string.h>

#include "backend/cpu/sampling.h"

enum { N_BUCKETS = 2048, BUCKETS_A_UNIT = 64 }; // a unit: a factor e of the weight

// Rounding may put sums a little off what the exact list gives: reach for a little more.
static const float MASS_MARGIN = 1.0005f;

// Monotone: a smaller value never gets a lower bucket.
static int bucket_of(float below, float scale)
{
    float b = below * scale;
    return b < N_BUCKETS - 1 ? (int)b : N_BUCKETS - 1;
}

// The last bucket that is needed.
static int choose_last(const qn_sampling_need *need, float scale, const int32_t *count,
                       const float *mass)
{
    int last = N_BUCKETS - 1;
    int64_t n = 0;
    float sum = 0;
    if (need->min_weight > 0) {
        float below = fmaxf(-logf(need->min_weight), 0) * need->temperature;
        int b = bucket_of(below, scale) + 1;
        if (b < last) last = b;
    }
    for (int b = 0; b < last; b++) {
        n += count[b];
        sum += mass[b];
        if (need->count && n >= need->count) return b;
        if (need->mass > 0 && sum >= need->mass * need->total * MASS_MARGIN) return b;
    }
    return last;
}

// Bits that order like the number itself, largest first.
static uint32_t key_of(float v)
{
    uint32_t u;
    v += 0.0f; // −0 orders as 0
    memcpy(&u, &v, sizeof u);
    return u >> 31 ? u : ~u & 0x7fffffff;
}

// Least significant digit first; four stable passes end in `ids`.
static void sort(const float *v, int32_t *ids, int32_t *buffer, int n)
{
    for (int shift = 0; shift < 32; shift += 8) {
        int32_t start[257] = {0}, *from = shift % 16 ? buffer : ids,
                *to = shift % 16 ? ids : buffer;
        for (int i = 0; i < n; i++)
            start[(key_of(v[from[i]]) >> shift & 255) + 1]++;
        for (int d = 0; d < 256; d++)
            start[d + 1] += start[d];
        for (int i = 0; i < n; i++)
            to[start[key_of(v[from[i]]) >> shift & 255]++] = from[i];
    }
}

int qn_sampling_select(const qn_sampling_need *need, int32_t *ids, int32_t *buffer)
{
    int32_t count[N_BUCKETS] = {0};
    float mass[N_BUCKETS] = {0}, scale = BUCKETS_A_UNIT / need->temperature;
    for (int i = 0; i < need->n_vocab; i++) {
        int b = bucket_of(need->max - need->v[i], scale);
        count[b]++;
        if (need->weights) mass[b] += need->weights[i];
    }
    int last = choose_last(need, scale, count, mass), n = 0;
    for (int i = 0; i < need->n_vocab; i++)
        if (bucket_of(need->max - need->v[i], scale) <= last) ids[n++] = i;
    sort(need->v, ids, buffer, n);
    return n;
}
