// What the sampling kernels say about numbers: keys that order like values, weights in fixed point, penalties, bins, draws.
// Everything that threads add up together is an integer, so that their order is no matter.
#ifndef QN_BACKEND_GPU_KERNELS_SAMPLE_VALUES_H
#define QN_BACKEND_GPU_KERNELS_SAMPLE_VALUES_H

#define QN_SAMPLE_EACH 16 // tokens a thread has of a segment: first + TID + 256 j
#define QN_SAMPLE_BINS 512
#define QN_SAMPLE_NONE 0x7fffffff // no token

// ---- keys: larger for larger values; zeros are alike. −inf < finite < +inf; NaNs lie beyond both infinities ----

#define QN_SAMPLE_LOWEST 0x007fffffu  // −inf
#define QN_SAMPLE_HIGHEST 0xff800000u // +inf

FN uint qn_sample_key(float v)
{
    uint u = AS_UINT(v);
    if (u == 0x80000000u) u = 0;
    return u >> 31 ? ~u : u | 0x80000000u;
}
FN float qn_sample_number(uint key)
{
    return AS_FLOAT(key >> 31 ? key & 0x7fffffffu : ~key);
}
FN int qn_sample_is_finite(uint key)
{
    return key > QN_SAMPLE_LOWEST && key < QN_SAMPLE_HIGHEST;
}
// NaN or +inf: the row has no distribution.
FN int qn_sample_is_bad(uint key)
{
    return key < QN_SAMPLE_LOWEST || key >= QN_SAMPLE_HIGHEST;
}

// ---- weights: exp((v − max) / temperature) in units of 2^−38, that of the largest is 2^38 ----

#define QN_SAMPLE_LIMB 19 // bits; a segment's sum of limbs fits 32 bits
#define QN_SAMPLE_LIMB_MASK 0x7ffffu

FN float qn_sample_share(float v, float max, float temperature)
{
    if (v == max) return 1.0f;
    float x = (v - max) / temperature;
    return x > -27.0f ? EXP(x) : 0.0f; // e^-27 < 2^-38
}
FN ulong qn_sample_fixed(float share)
{
    float scaled = share * 524288.0f;
    uint high = (uint)scaled;
    uint low = (uint)((scaled - (float)high) * 524288.0f);
    return ((ulong)high << QN_SAMPLE_LIMB) + (ulong)low;
}

// ⌊total · part⌋, part in units of 2^−24 and below 1; total < 2^56.
FN ulong qn_sample_part_of(ulong total, uint part)
{
    return (total >> 24) * (ulong)part + (((total & 0xffffff) * (ulong)part) >> 24);
}

// The draw of a position as 24 bits: qn_philox_uniform of philox.h.
FN uint qn_sample_uniform(uint k0, uint k1, uint position)
{
    uint c0 = position, c1 = 0, c2 = 0, c3 = 0;
    for (int round = 0; round < 10; round++) {
        uint high0 = MULHI(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        uint high1 = MULHI(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c0 >> 8;
}

// ---- bins: values by how far they lie below `top`, the best first ----

typedef struct {
    float half_top, half_range, scale; // halves: no difference of finite numbers overflows
} qn_sample_binning;

// Bins over [bottom, top], but not over more than 64 units of exp's argument.
FN void qn_sample_bins_over(PRIV qn_sample_binning *b, float top, float bottom, float temperature)
{
    float t = temperature > 1.0f ? temperature : 1.0f;
    b->half_top = 0.5f * top;
    b->half_range = b->half_top - 0.5f * bottom;
    if (t < 1e6f && b->half_range > 32.0f * t) b->half_range = 32.0f * t;
    b->scale = b->half_range > 1e-30f ? (float)QN_SAMPLE_BINS / b->half_range : 0.0f;
}
// Of a finite value. Never decreases as v does.
FN int qn_sample_bin(PRIV const qn_sample_binning *b, float v)
{
    float below = b->half_top - 0.5f * v;
    if (below >= b->half_range) return QN_SAMPLE_BINS - 1;
    if (!(below > 0.0f)) return 0;
    int bin = (int)(below * b->scale);
    return bin < QN_SAMPLE_BINS - 1 ? bin : QN_SAMPLE_BINS - 1;
}

// ---- penalties, over the tokens of one segment ----

#define QN_SAMPLE_BANNED 0x40000000u // EOS too early
#define QN_SAMPLE_SEEN 0x20000000u   // in the prompt alone; else how often in the output

FN int qn_sample_bans(GLOBAL const qn_slot_params *p, int position)
{
    return p->n_eos > 0 && position + 1 - p->n_prompt < p->min_tokens;
}
FN int qn_sample_penalises(GLOBAL const qn_slot_params *p, int position)
{
    return p->repetition_penalty != 1.0f || p->frequency_penalty != 0.0f ||
           p->presence_penalty != 0.0f || qn_sample_bans(p, position);
}

// Marks in `seen` the tokens[from … to) that are first … first + n_seen: counts them, or notes those with no count.
FN void qn_sample_mark(LOCAL ATOMIC_UINT *seen, GLOBAL const int *tokens, int from, int to,
                       int first, int count, int tid)
{
    for (int i = from + tid; i < to; i += 16 * QN_GPU_THREADS) {
        int token[16];
        for (int j = 0; j < 16; j++)
            token[j] = i + j * QN_GPU_THREADS < to ? tokens[i + j * QN_GPU_THREADS] : -1;
        for (int j = 0; j < 16; j++) {
            int at = token[j] - first;
            if (token[j] < 0 || at < 0 || at >= QN_SAMPLE_EACH * QN_GPU_THREADS) continue;
            if (count)
                ATOMIC_ADD(&seen[at], 1u);
            else if (ATOMIC_GET(&seen[at]) == 0)
                ATOMIC_SET(&seen[at], QN_SAMPLE_SEEN);
        }
    }
}

// Fills seen[0 … 4096) for the segment that starts at token `first`. All threads come here.
FN void qn_sample_read_history(LOCAL ATOMIC_UINT *seen, GLOBAL const int *tokens,
                               GLOBAL const qn_slot_params *p, int position, int first, int tid)
{
    int repetition = p->repetition_penalty != 1.0f, end = position + 1, n_prompt = p->n_prompt;
    int output = p->frequency_penalty != 0.0f || p->presence_penalty != 0.0f;
    n_prompt = n_prompt < 0 ? 0 : n_prompt > end ? end : n_prompt;
    for (int j = 0; j < QN_SAMPLE_EACH; j++)
        ATOMIC_SET(&seen[tid + j * QN_GPU_THREADS], 0u);
    BARRIER();
    if (repetition || output) qn_sample_mark(seen, tokens, n_prompt, end, first, 1, tid);
    BARRIER();
    if (repetition) qn_sample_mark(seen, tokens, 0, n_prompt, first, 0, tid);
    BARRIER();
    if (qn_sample_bans(p, position) && tid < p->n_eos && tid < QN_MAX_EOS) {
        int at = p->eos[tid] - first;
        if (p->eos[tid] >= 0 && at >= 0 && at < QN_SAMPLE_EACH * QN_GPU_THREADS)
            ATOMIC_SET(&seen[at], QN_SAMPLE_BANNED);
    }
    BARRIER();
}

FN float qn_sample_penalised(float v, uint seen, GLOBAL const qn_slot_params *p)
{
    if (seen == QN_SAMPLE_BANNED) return AS_FLOAT(0xff800000u);
    if (seen == 0 || !qn_sample_is_finite(qn_sample_key(v))) return v;
    float r = p->repetition_penalty;
    v = v < 0.0f ? v * r : v / r;
    if (seen == QN_SAMPLE_SEEN) return v;
    return v - (float)seen * p->frequency_penalty - p->presence_penalty;
}

#endif
