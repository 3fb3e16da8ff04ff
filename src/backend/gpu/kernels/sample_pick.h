// Picking one element of an ordered list without sorting it. The list: tokens by value, largest first and ties by lower id, cut
// into bins that hold their ids in no order. A pick finds the first element with which the running count, or the running sum
// of weights, reaches a target: first its bin, then ever narrower ranges of it, and the last few by comparing each with all.
#ifndef QN_BACKEND_GPU_KERNELS_SAMPLE_PICK_H
#define QN_BACKEND_GPU_KERNELS_SAMPLE_PICK_H
#include "backend/gpu/kernels/sample_values.h"

#define QN_SAMPLE_FEW 128    // elements compared with each other
#define QN_SAMPLE_DIGITS 256 // parts of a range
#define QN_SAMPLE_ROOM 272   // elements in threadgroup memory; QN_TOP_MAX
#define QN_SAMPLE_NEAR 1024  // tokens of a bin kept in threadgroup memory
#define QN_SAMPLE_FOUND 8    // numbers that one thread tells all

// An element as a number that is the lower the better. With `ties` those of equal value are one element.
FN ulong qn_sample_element(float v, int id, int ties)
{
    return ((ulong)(~qn_sample_key(v)) << 32) | (ulong)(uint)(ties ? 0 : id);
}

FN ulong qn_sample_get(ulong x, int lane)
{
    uint low = SG_GET((uint)x, lane), high = SG_GET((uint)(x >> 32), lane);
    return ((ulong)high << 32) | (ulong)low;
}
// Sum of x over the threads up to and including this one.
FN ulong qn_sample_scan(ulong x, LOCAL ulong *sums, int lane, int sg)
{
    for (int d = 1; d < 32; d *= 2) {
        ulong y = qn_sample_get(x, lane >= d ? lane - d : lane);
        if (lane >= d) x += y;
    }
    BARRIER();
    if (lane == 31) sums[sg] = x;
    BARRIER();
    for (int i = 0; i < sg; i++)
        x += sums[i];
    return x;
}

typedef struct {
    GLOBAL const float *v;              // values by id
    GLOBAL const int *ids;              // the bins' tokens, a bin behind the other
    LOCAL const ulong *counts, *masses; // [bins + 1]: what lies before each bin
    LOCAL ATOMIC_UINT *digits;          // [4 · 256]
    LOCAL ulong *elements, *weights;    // [room], [few]
    LOCAL ulong *found, *sums;          // [found], [simdgroups]
    LOCAL float *near_values;           // [near]: the bin that is being narrowed
    LOCAL int *near_ids;
    float max, temperature;
    int weigh; // 0: all weights are 0
    int tid, lane, sg;
} qn_sample_picker;

typedef struct {
    ulong low, high;    // elements from low to high
    ulong count, mass;  // of the list before low
    ulong n;            // how many they are
    int from, n_in_bin; // where their bin's ids lie
    int is_near;        // the bin is in threadgroup memory
} qn_sample_range;

// What was picked (where ties are one, all of that value), and the list up to and including it.
typedef struct {
    ulong element;
    ulong count, mass;
} qn_sample_picked;

// The first bin with which `before` reaches the target; the same in all threads.
FN int qn_sample_bin_of(LOCAL const ulong *before, ulong target)
{
    int low = 0, high = QN_SAMPLE_BINS - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (before[middle + 1] >= target)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

FN ulong qn_sample_weight(PRIV const qn_sample_picker *p, float v)
{
    if (!p->weigh) return 0;
    return qn_sample_fixed(qn_sample_share(v, p->max, p->temperature));
}

// Token i of the range's bin.
FN int qn_sample_token(PRIV const qn_sample_picker *p, PRIV const qn_sample_range *r, int i,
                       PRIV float *v)
{
    if (r->is_near) {
        *v = p->near_values[i];
        return p->near_ids[i];
    }
    int id = p->ids[r->from + i];
    *v = p->v[id];
    return id;
}

// The least and the largest element of the range's bin; a small bin comes into threadgroup memory.
FN void qn_sample_bounds(PRIV const qn_sample_picker *p, PRIV qn_sample_range *r, int ties)
{
    uint least = 0xffffffffu, largest = 0, ids = 0;
    for (int i = p->tid; i < r->n_in_bin; i += QN_GPU_THREADS) {
        float v;
        int id = qn_sample_token(p, r, i, &v), is_near = r->n_in_bin <= QN_SAMPLE_NEAR;
        uint key = ~qn_sample_key(v);
        if (is_near) p->near_values[i] = v, p->near_ids[i] = id;
        least = key < least ? key : least;
        largest = key > largest ? key : largest;
        ids = (uint)id > ids ? (uint)id : ids;
    }
    least = SG_MIN(least);
    largest = SG_MAX(largest);
    ids = SG_MAX(ids);
    BARRIER();
    if (p->lane == 0) {
        p->elements[3 * p->sg] = (ulong)least;
        p->elements[3 * p->sg + 1] = (ulong)largest;
        p->elements[3 * p->sg + 2] = (ulong)ids;
    }
    BARRIER();
    ulong low = p->elements[0], high = p->elements[1], last = p->elements[2];
    for (int i = 1; i < QN_GPU_SIMDS; i++) {
        low = p->elements[3 * i] < low ? p->elements[3 * i] : low;
        high = p->elements[3 * i + 1] > high ? p->elements[3 * i + 1] : high;
        last = p->elements[3 * i + 2] > last ? p->elements[3 * i + 2] : last;
    }
    BARRIER();
    r->low = low << 32;
    r->is_near = r->n_in_bin <= QN_SAMPLE_NEAR;
    r->high = (high << 32) | (ties ? 0 : last);
}

// Counts and weighs the range's elements in 256 parts of equal width.
FN void qn_sample_spread(PRIV const qn_sample_picker *p, PRIV const qn_sample_range *r, int shift,
                         int ties)
{
    for (int i = p->tid; i < 4 * QN_SAMPLE_DIGITS; i += QN_GPU_THREADS)
        ATOMIC_SET(&p->digits[i], 0u);
    BARRIER();
    for (int i = p->tid; i < r->n_in_bin; i += QN_GPU_THREADS) {
        float v;
        int id = qn_sample_token(p, r, i, &v);
        ulong e = qn_sample_element(v, id, ties), w = qn_sample_weight(p, v);
        if (e < r->low || e > r->high) continue;
        int d = (int)((e - r->low) >> shift);
        ATOMIC_ADD(&p->digits[d], 1u);
        for (int j = 0; j < 3; j++) // limbs of 13 bits: 2^19 of them fit 32 bits
            ATOMIC_ADD(&p->digits[(j + 1) * QN_SAMPLE_DIGITS + d],
                       (uint)(w >> (13 * j)) & (j < 2 ? 0x1fffu : 0xffffffffu));
    }
    BARRIER();
}

// Goes on with the part of the range in which the target is reached. The last part counts as reached: weights that another
// kernel summed may differ in their last bit.
FN void qn_sample_narrow(PRIV const qn_sample_picker *p, PRIV qn_sample_range *r, int by_mass,
                         ulong target, int ties)
{
    int shift = 0;
    while (((r->high - r->low) >> shift) >= QN_SAMPLE_DIGITS)
        shift++;
    qn_sample_spread(p, r, shift, ties);
    ulong n = (ulong)ATOMIC_GET(&p->digits[p->tid]), mass = 0;
    for (int j = 0; j < 3; j++)
        mass += (ulong)ATOMIC_GET(&p->digits[(j + 1) * QN_SAMPLE_DIGITS + p->tid]) << (13 * j);
    ulong n_upto = qn_sample_scan(n, p->sums, p->lane, p->sg);
    ulong mass_upto = qn_sample_scan(mass, p->sums, p->lane, p->sg);
    ulong upto = by_mass ? r->mass + mass_upto : r->count + n_upto;
    ulong before = upto - (by_mass ? mass : n);
    if (n > 0 && before < target && (upto >= target || n_upto == r->n)) {
        p->found[0] = (ulong)p->tid;
        p->found[1] = r->count + n_upto - n;
        p->found[2] = r->mass + mass_upto - mass;
        p->found[3] = n;
    }
    BARRIER();
    ulong end = r->low + ((p->found[0] + 1) << shift) - 1;
    r->low += p->found[0] << shift;
    r->high = end < r->high ? end : r->high;
    r->count = p->found[1];
    r->mass = p->found[2];
    r->n = p->found[3];
}

// The range's elements, in any order, into `elements` (and the weights of those that have room). How many.
FN int qn_sample_collect(PRIV const qn_sample_picker *p, PRIV const qn_sample_range *r, int ties,
                         int room)
{
    if (p->tid == 0) ATOMIC_SET(&p->digits[0], 0u);
    BARRIER();
    for (int i = p->tid; i < r->n_in_bin; i += QN_GPU_THREADS) {
        float v;
        int id = qn_sample_token(p, r, i, &v);
        ulong e = qn_sample_element(v, id, ties);
        if (e < r->low || e > r->high) continue;
        int at = (int)ATOMIC_ADD(&p->digits[0], 1u);
        if (at >= room) continue;
        p->elements[at] = e;
        if (at < QN_SAMPLE_FEW) p->weights[at] = qn_sample_weight(p, v);
    }
    BARRIER();
    int count = (int)ATOMIC_GET(&p->digits[0]);
    return count < room ? count : room;
}

// Each of a few elements against all.
FN void qn_sample_compare(PRIV qn_sample_picked *out, PRIV const qn_sample_picker *p,
                          PRIV const qn_sample_range *r, int by_mass, ulong target, int ties)
{
    int n = qn_sample_collect(p, r, ties, QN_SAMPLE_FEW);
    if (p->tid < n) {
        ulong e = p->elements[p->tid], mass = r->mass, w = p->weights[p->tid];
        int before = 0, equal = 0, is_first = 1;
        for (int i = 0; i < n; i++) {
            ulong other = p->elements[i];
            if (other < e) before++, mass += p->weights[i];
            if (other == e) equal++, is_first = is_first && i >= p->tid;
        }
        ulong count = r->count + (ulong)before, upto_mass = mass + w * (ulong)equal;
        ulong upto = by_mass ? upto_mass : count + (ulong)equal;
        if (is_first && (by_mass ? mass : count) < target &&
            (upto >= target || before + equal == n)) {
            p->found[0] = e;
            p->found[1] = count + (ulong)equal;
            p->found[2] = upto_mass;
        }
    }
    BARRIER();
    out->element = p->found[0];
    out->count = p->found[1];
    out->mass = p->found[2];
}

// All threads come here, with a target of 1 up to what the list has.
FN void qn_sample_pick(PRIV qn_sample_picked *out, PRIV const qn_sample_picker *p, int by_mass,
                       ulong target, int ties)
{
    int bin = qn_sample_bin_of(by_mass ? p->masses : p->counts, target);
    qn_sample_range r;
    r.low = 0;
    r.high = ~(ulong)0;
    r.count = p->counts[bin];
    r.mass = p->masses[bin];
    r.from = (int)p->counts[bin];
    r.n = p->counts[bin + 1] - r.count;
    r.n_in_bin = (int)r.n;
    r.is_near = 0;
    if (r.n > QN_SAMPLE_FEW) qn_sample_bounds(p, &r, ties);
    while (r.n > QN_SAMPLE_FEW && r.low < r.high)
        qn_sample_narrow(p, &r, by_mass, target, ties);
    if (r.n <= QN_SAMPLE_FEW) {
        qn_sample_compare(out, p, &r, by_mass, target, ties);
        return;
    }
    // Many of one value, which stay together.
    out->element = r.low;
    out->count = r.count + r.n;
    float v = qn_sample_number(~(uint)(r.low >> 32));
    out->mass = r.mass + r.n * qn_sample_weight(p, v);
}

#endif
