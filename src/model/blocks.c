// See blocks.h.
#include "model/blocks.h"

#include <math.h>

#include "backend/ops/all_gather.h"
#include "backend/ops/all_reduce.h"
#include "backend/ops/attention.h"
#include "backend/ops/gather.h"
#include "backend/ops/kv_append.h"
#include "backend/ops/matmul.h"
#include "backend/ops/qk_norm_rope.h"
#include "backend/ops/rms_norm.h"
#include "backend/ops/rope.h"
#include "backend/ops/swiglu.h"

enum { ALIGN = 64 };

const qn_dense_layer *qn_blocks_layer(const qn_model *m, int layer)
{
    return (const qn_dense_layer *)(const void *)m->layers + layer;
}

// Heads of this rank.
static int heads_in(const qn_model *m, const qn_tensor *projection)
{
    return (int)(projection->dim[0] / m->config.head_dim);
}

int qn_blocks_state_parts(const qn_model *m, qn_dtype cache, qn_state_part *out)
{
    const qn_attention_weights *w = &qn_blocks_layer(m, 0)->attention;
    const qn_format *f = qn_format_of(cache);
    int n = m->config.n_layers;
    out[0] = (qn_state_part){"k", n, qn_format_bytes(f, (uint64_t)w->k.dim[0]), 0};
    out[1] = (qn_state_part){"v", n, qn_format_bytes(f, (uint64_t)w->v.dim[0]), 0};
    return 2;
}

static qn_tensor take(char *base, size_t *at, int rows, int64_t width)
{
    qn_tensor t = qn_tensor_2d(base ? base + *at : NULL, QN_DTYPE_F32, rows, width);
    size_t bytes = (size_t)rows * (size_t)width * sizeof(float);
    *at += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return t;
}

size_t qn_blocks_carve(const qn_model *m, const qn_step_limits *limits, char *base,
                       qn_activations *out)
{
    const qn_dense_layer *w = qn_blocks_layer(m, 0);
    int rows = limits->max_rows, outputs = limits->max_outputs;
    int64_t hidden = m->ends.embed.dim[1], n_vocab = m->ends.embed.dim[0];
    size_t at = 0;
    out->x = take(base, &at, rows, hidden);
    out->h = take(base, &at, rows, hidden);
    out->q = take(base, &at, rows, w->attention.q.dim[0]);
    out->a = take(base, &at, rows, w->attention.q.dim[0]);
    out->k = take(base, &at, rows, w->attention.k.dim[0]);
    out->v = take(base, &at, rows, w->attention.v.dim[0]);
    out->gate = take(base, &at, rows, w->mlp.gate.dim[0]);
    out->up = take(base, &at, rows, w->mlp.up.dim[0]);
    out->out = take(base, &at, outputs, hidden);
    out->logits = take(base, &at, outputs, n_vocab);
    out->part = m->n_ranks > 1 ? take(base, &at, outputs, m->ends.head.dim[0]) : out->logits;
    out->sampling = take(base, &at, outputs, 4 * n_vocab);
    return at;
}

void qn_blocks_norm(const qn_model *m, const qn_pass *pass, qn_tensor weight)
{
    qn_rms_norm(pass->plan, pass->at.h, pass->at.x, weight,
                (qn_rms_norm_args){.eps = m->config.norm_eps});
}

void qn_blocks_project(const qn_pass *pass, const qn_attention_weights *w)
{
    const qn_activations *at = &pass->at;
    qn_matmul(pass->plan, at->q, at->h, w->q, w->q_bias);
    qn_matmul(pass->plan, at->k, at->h, w->k, w->k_bias);
    qn_matmul(pass->plan, at->v, at->h, w->v, w->v_bias);
}

void qn_blocks_rope(const qn_model *m, const qn_pass *pass, const qn_attention_weights *w)
{
    int head_dim = m->config.head_dim;
    qn_rope(pass->plan, pass->at.q, m->inv_freq, heads_in(m, &w->q), head_dim, m->rope_scale);
    qn_rope(pass->plan, pass->at.k, m->inv_freq, heads_in(m, &w->k), head_dim, m->rope_scale);
}

void qn_blocks_norm_rope(const qn_model *m, const qn_pass *pass, const qn_attention_weights *w)
{
    qn_rope_args rope = {
        .inv_freq = m->inv_freq, .head_dim = m->config.head_dim, .scale = m->rope_scale};
    rope.x = pass->at.q;
    rope.n_heads = heads_in(m, &w->q);
    qn_qk_norm_rope(pass->plan, rope, w->q_norm, m->config.norm_eps);
    rope.x = pass->at.k;
    rope.n_heads = heads_in(m, &w->k);
    qn_qk_norm_rope(pass->plan, rope, w->k_norm, m->config.norm_eps);
}

// x += in · wᵀ over all ranks: the first adds the residual stream and the bias, all_reduce adds the ranks' parts.
static void add_to_stream(const qn_model *m, const qn_pass *pass, qn_tensor in, qn_tensor w,
                          qn_tensor bias)
{
    if (m->rank == 0)
        qn_matmul_residual(pass->plan, pass->at.x, in, w, bias);
    else
        qn_matmul(pass->plan, pass->at.x, in, w, (qn_tensor){0});
    if (m->n_ranks > 1) qn_all_reduce(pass->plan, pass->at.x, m->n_ranks);
}

// A layer's part of the state: [n_blocks, n_kv_heads, 16, head_dim].
static qn_tensor cache_of(const qn_model *m, const qn_state_span *span, int layer, int n_kv_heads)
{
    return (qn_tensor){span->base + (size_t)layer * (size_t)span->n_blocks * span->block_bytes,
                       qn_model_cache_dtype(m),
                       4,
                       {span->n_blocks, n_kv_heads, QN_BLOCK_TOKENS, m->config.head_dim}};
}

void qn_blocks_attend(const qn_model *m, const qn_pass *pass, const qn_attention_weights *w,
                      int layer)
{
    const qn_activations *at = &pass->at;
    int n_kv_heads = heads_in(m, &w->k);
    qn_tensor k_cache = cache_of(m, &pass->spans[0], layer, n_kv_heads);
    qn_tensor v_cache = cache_of(m, &pass->spans[1], layer, n_kv_heads);
    qn_attention_args shape = {.n_heads = heads_in(m, &w->q),
                               .n_kv_heads = n_kv_heads,
                               .head_dim = m->config.head_dim,
                               .window = m->config.window[layer],
                               .scale = (float)(1.0 / sqrt(m->config.head_dim))};
    qn_kv_append(pass->plan, at->k, at->v, k_cache, v_cache);
    qn_attention(pass->plan, at->a, at->q, k_cache, v_cache, shape);
    add_to_stream(m, pass, at->a, w->o, w->o_bias);
}

void qn_blocks_mlp(const qn_model *m, const qn_pass *pass, const qn_mlp_weights *w)
{
    const qn_activations *at = &pass->at;
    qn_matmul(pass->plan, at->gate, at->h, w->gate, (qn_tensor){0});
    qn_matmul(pass->plan, at->up, at->h, w->up, (qn_tensor){0});
    qn_swiglu(pass->plan, at->gate, at->gate, at->up);
    add_to_stream(m, pass, at->gate, w->down, (qn_tensor){0});
}

void qn_blocks_head(const qn_model *m, const qn_pass *pass)
{
    const qn_activations *at = &pass->at;
    qn_rms_norm_args over_outputs = {.eps = m->config.norm_eps,
                                     .n_rows = &pass->plan->batch.step.counts->n_outputs};
    qn_gather(pass->plan, at->out, at->x);
    qn_rms_norm(pass->plan, at->out, at->out, m->ends.final_norm, over_outputs);
    qn_matmul_outputs(pass->plan, at->part, at->out, m->ends.head);
    if (m->n_ranks > 1) qn_all_gather(pass->plan, at->logits, at->part, m->n_ranks);
}
