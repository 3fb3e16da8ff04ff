// The frequencies of rotary position embedding, as transformers' modeling_rope_utils.py (5.23) computes them: exponents,
// powers and quotients in float32, the corrections of YaRN (Peng et al. 2023) in double. Where torch's own float32 power
// differs from the correctly rounded one by an ulp, so do we from it.
#include <math.h>

#include "model/family.h"

static const double two_pi = 6.283185307179586476925286766559;

// theta^(2i/d), rounded to float32.
static float wavelength(double theta, int i, int head_dim)
{
    float exponent = (float)(2 * i) / (float)head_dim;
    return (float)pow((double)(float)theta, (double)exponent);
}

// The dimension whose wave turns n_rotations times within the original context.
static double correction_dim(const qn_model_config *c, double n_rotations)
{
    return c->head_dim * log((double)c->rope.original_max_position / (n_rotations * two_pi)) /
           (2 * log(c->rope.theta));
}

static double attention_scale(double factor, double mscale)
{
    return factor <= 1 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static double yarn_scale(const qn_hf_rope *r)
{
    if (r->has_attention_factor) return r->attention_factor;
    if (r->mscale > 0 && r->mscale_all_dim > 0)
        return attention_scale(r->factor, r->mscale) /
               attention_scale(r->factor, r->mscale_all_dim);
    return attention_scale(r->factor, 1);
}

// Between dimensions low and high the frequencies pass from the original ones to those divided by the factor.
static int yarn(const qn_model_config *c, float *inv_freq, float *scale)
{
    const qn_hf_rope *r = &c->rope;
    double low = correction_dim(c, r->beta_fast > 0 ? r->beta_fast : 32);
    double high = correction_dim(c, r->beta_slow > 0 ? r->beta_slow : 1);
    if (!isfinite(low) || !isfinite(high)) return QUERN_E_FORMAT;
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, c->head_dim - 1);
    if (low == high) high += 0.001;
    for (int i = 0; i < c->head_dim / 2; i++) {
        float wave = wavelength(r->theta, i, c->head_dim);
        float original = 1.0f / wave, stretched = 1.0f / ((float)r->factor * wave);
        float ramp = ((float)i - (float)low) / (float)(high - low);
        float keep = 1.0f - fminf(fmaxf(ramp, 0.0f), 1.0f);
        inv_freq[i] = stretched * (1.0f - keep) + original * keep;
    }
    *scale = (float)yarn_scale(r);
    return 0;
}

int qn_rope_frequencies(const qn_model_config *c, const char *file, float *inv_freq, float *scale,
                        quern_error *e)
{
    int rc = 0;
    *scale = 1.0f;
    if (c->rope.type == QN_ROPE_YARN)
        rc = yarn(c, inv_freq, scale);
    else
        for (int i = 0; i < c->head_dim / 2; i++) {
            inv_freq[i] = 1.0f / wavelength(c->rope.theta, i, c->head_dim);
            if (c->rope.type == QN_ROPE_LINEAR) inv_freq[i] /= (float)c->rope.factor;
        }
    for (int i = 0; i < c->head_dim / 2 && !rc; i++)
        if (!isfinite(inv_freq[i]) || !isfinite(*scale)) rc = QUERN_E_FORMAT;
    if (!rc) return 0;
    return qn_error_set(e, rc,
                        "%s: rope_theta, rope parameters: expected finite frequencies, found "
                        "none with theta %g, factor %g",
                        file, c->rope.theta, c->rope.factor);
}
