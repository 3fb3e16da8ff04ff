// See fit.h.
#include "engine/fit.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"

static uint64_t sum(const quern_memory_need *n)
{
    return n->weights_bytes + n->state_bytes + n->scratch_bytes;
}

quern_memory_need qn_fit_need(const qn_fit *f, const qn_sizes *s)
{
    return (quern_memory_need){.name = f->name,
                               .weights_bytes = qn_model_get_facts(f->weights)->weight_bytes,
                               .state_bytes = qn_sizes_state_bytes(s),
                               .scratch_bytes = qn_sizes_scratch_bytes(f->weights, s),
                               .left_bytes = f->left_bytes,
                               .total_bytes = f->total_bytes,
                               .n_context = s->n_context,
                               .kv_cache = qn_format_of(qn_model_cache_dtype(f->weights))->name};
}

// Another way to have the model: weights of weight_bytes, caches of a type.
typedef struct {
    uint64_t weight_bytes;
    qn_dtype cache;
} way;

static int fits(const qn_fit *f, way w, qn_sizes s, int n_blocks)
{
    s.block_bytes = qn_sizes_block_bytes(f->weights, w.cache);
    qn_sizes_set_blocks(f->weights, &s, f->options->n_context, n_blocks);
    return w.weight_bytes + qn_sizes_state_bytes(&s) + qn_sizes_scratch_bytes(f->weights, &s) <=
           f->left_bytes;
}

// The most blocks, up to the wanted ones, with which it fits; 0: it does not.
static int most_blocks(const qn_fit *f, way w, const qn_sizes *s, int wanted)
{
    int low = 0, high = wanted;
    while (low < high) {
        int middle = high - (high - low) / 2;
        if (fits(f, w, *s, middle))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// A list of what would fit, as long as there is room.
typedef struct {
    const qn_fit *fit;
    const qn_sizes *sizes;
    int wanted; // blocks
    char text[256];
} offers;

static void offer(offers *o, const char *what, int n_blocks)
{
    size_t n = strlen(o->text);
    const char *separator = n ? "; " : "", *space = *what && n_blocks < o->wanted ? " " : "";
    char context[48] = "";
    int is_pool = o->fit->options->n_kv_blocks != 0;
    if (n_blocks < o->wanted)
        snprintf(context, sizeof context, "%s%s %d", space, is_pool ? "--kv-blocks" : "--context",
                 is_pool ? n_blocks : n_blocks * QN_BLOCK_TOKENS);
    snprintf(o->text + n, sizeof o->text - n, "%s%s%s", separator, what, context);
}

// The largest of the formats that `quern quantize` writes with which all fits, else the smallest with a smaller context.
static void offer_format(offers *o)
{
    static const qn_dtype formats[] = {QN_DTYPE_Q8_0, QN_DTYPE_Q6_K, QN_DTYPE_Q4_K, QN_DTYPE_Q4_0};
    const qn_fit *f = o->fit;
    char best[64] = "", size[16];
    int n_best = 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats && n_best < o->wanted; i++) {
        qn_dtype named = qn_sizes_cache_dtype(f->options);
        way w = {qn_model_weight_bytes_as(f->weights, formats[i]),
                 named == QN_DTYPE_COUNT ? QN_DTYPE_F16 : named};
        if (!w.weight_bytes || w.weight_bytes >= qn_model_get_facts(f->weights)->weight_bytes)
            continue;
        int n = most_blocks(f, w, o->sizes, o->wanted);
        if (n <= n_best) continue;
        n_best = n;
        snprintf(best, sizeof best, "weights in %s (%s)", qn_format_of(formats[i])->name,
                 qn_units_bytes(w.weight_bytes, size));
    }
    if (n_best) offer(o, best, n_best);
}

static int refuse(const qn_fit *f, const qn_sizes *s, quern_error *e)
{
    quern_memory_need need = qn_fit_need(f, s);
    qn_dtype cache = qn_model_cache_dtype(f->weights);
    way as_it_is = {need.weights_bytes, cache}, quantised = {need.weights_bytes, QN_DTYPE_Q8_0};
    offers o = {f, s, s->n_blocks, ""};
    int n = most_blocks(f, as_it_is, s, s->n_blocks), n_quantised = 0;
    if (n) offer(&o, "", n);
    if (cache != QN_DTYPE_Q8_0 &&
        qn_kv_cache_supports(QN_DTYPE_Q8_0, qn_model_get_facts(f->weights)->head_dim))
        n_quantised = most_blocks(f, quantised, s, s->n_blocks);
    if (n_quantised > n) offer(&o, "--kv-cache q8_0", n_quantised);
    offer_format(&o);
    char total[16], weights[16], state[16], scratch[16], left[16], budget[16];
    return qn_error_set(
        e, QUERN_E_MEMORY,
        "%.80s: memory: needs %s (weights %s, KV cache %s for %d tokens in %s, scratch %s), found "
        "%s left "
        "of a budget of %s; %s%s",
        f->name, qn_units_bytes(sum(&need), total), qn_units_bytes(need.weights_bytes, weights),
        qn_units_bytes(need.state_bytes, state), s->n_blocks * QN_BLOCK_TOKENS, need.kv_cache,
        qn_units_bytes(need.scratch_bytes, scratch), qn_units_bytes(f->left_bytes, left),
        qn_units_bytes(f->total_bytes, budget),
        *o.text ? "would fit: " : "no smaller context, cache or format would fit", o.text);
}

int qn_fit_choose(const qn_fit *f, qn_sizes *out, quern_error *e)
{
    uint64_t weights = qn_model_get_facts(f->weights)->weight_bytes;
    uint64_t left = f->left_bytes > weights ? f->left_bytes - weights : 0;
    int rc = qn_sizes_choose(f->weights, f->options, left, out, e);
    if (rc) return rc;
    quern_memory_need need = qn_fit_need(f, out);
    return sum(&need) <= f->left_bytes ? QUERN_OK : refuse(f, out, e);
}
