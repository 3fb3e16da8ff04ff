// Qwen2, Qwen2.5 and QwQ (Yang et al. 2024; HF modeling_qwen2.py): pre-norm decoder, grouped-query attention with biases on
// queries, keys and values, RoPE, SwiGLU.
#include <stddef.h>

#include "backend/ops/embed.h"
#include "model/blocks.h"

#define END(member) offsetof(qn_ends, member)
#define LAYER(member) offsetof(qn_dense_layer, member)

// clang-format off
static const qn_weight_spec weights[] = {
    {"model.embed_tokens.weight",                END(embed),              {QN_DIM_VOCAB, QN_DIM_HIDDEN}, QN_CUT_WHOLE,   QN_WHEN_ALWAYS},
    {"model.norm.weight",                        END(final_norm),         {QN_DIM_HIDDEN},               QN_CUT_WHOLE,   QN_WHEN_ALWAYS},
    {"lm_head.weight",                           END(head),               {QN_DIM_VOCAB, QN_DIM_HIDDEN}, QN_CUT_ROWS,    QN_WHEN_UNTIED},
    {"model.layers.%d.input_layernorm.weight",   LAYER(attention_norm),   {QN_DIM_HIDDEN},               QN_CUT_WHOLE,   QN_WHEN_ALWAYS},
    {"model.layers.%d.self_attn.q_proj.weight",  LAYER(attention.q),      {QN_DIM_QUERY, QN_DIM_HIDDEN}, QN_CUT_ROWS,    QN_WHEN_ALWAYS},
    {"model.layers.%d.self_attn.q_proj.bias",    LAYER(attention.q_bias), {QN_DIM_QUERY},                QN_CUT_ROWS,    QN_WHEN_ALWAYS},
    {"model.layers.%d.self_attn.k_proj.weight",  LAYER(attention.k),      {QN_DIM_KEY, QN_DIM_HIDDEN},   QN_CUT_ROWS,    QN_WHEN_ALWAYS},
    {"model.layers.%d.self_attn.k_proj.bias",    LAYER(attention.k_bias), {QN_DIM_KEY},                  QN_CUT_ROWS,    QN_WHEN_ALWAYS},
    {"model.layers.%d.self_attn.v_proj.weight",  LAYER(attention.v),      {QN_DIM_KEY, QN_DIM_HIDDEN},   QN_CUT_ROWS,    QN_WHEN_ALWAYS},
    {"model.layers.%d.self_attn.v_proj.bias",    LAYER(attention.v_bias), {QN_DIM_KEY},                  QN_CUT_ROWS,    QN_WHEN_ALWAYS},
    {"model.layers.%d.self_attn.o_proj.weight",  LAYER(attention.o),      {QN_DIM_HIDDEN, QN_DIM_QUERY}, QN_CUT_COLUMNS, QN_WHEN_ALWAYS},
    {"model.layers.%d.post_attention_layernorm.weight", LAYER(mlp_norm),  {QN_DIM_HIDDEN},               QN_CUT_WHOLE,   QN_WHEN_ALWAYS},
    {"model.layers.%d.mlp.gate_proj.weight",     LAYER(mlp.gate),         {QN_DIM_INNER, QN_DIM_HIDDEN}, QN_CUT_ROWS,    QN_WHEN_ALWAYS},
    {"model.layers.%d.mlp.up_proj.weight",       LAYER(mlp.up),           {QN_DIM_INNER, QN_DIM_HIDDEN}, QN_CUT_ROWS,    QN_WHEN_ALWAYS},
    {"model.layers.%d.mlp.down_proj.weight",     LAYER(mlp.down),         {QN_DIM_HIDDEN, QN_DIM_INNER}, QN_CUT_COLUMNS, QN_WHEN_ALWAYS},
};
// clang-format on

static int configure(const qn_hf_config *hf, const char *file, qn_model_config *out, quern_error *e)
{
    return qn_config_dense(hf, 0, file, out, e);
}

static void record(const qn_model *m, const qn_pass *pass)
{
    qn_embed(pass->plan, pass->at.x, m->ends.embed);
    for (int i = 0; i < m->config.n_layers; i++) {
        const qn_dense_layer *w = qn_blocks_layer(m, i);
        qn_blocks_norm(m, pass, w->attention_norm);
        qn_blocks_project(pass, &w->attention);
        qn_blocks_rope(m, pass, &w->attention);
        qn_blocks_attend(m, pass, &w->attention, i);
        qn_blocks_norm(m, pass, w->mlp_norm);
        qn_blocks_mlp(m, pass, &w->mlp);
    }
    qn_blocks_head(m, pass);
}

const qn_family qn_qwen2_family = {
    .name = "qwen2",
    .about = "Qwen2, Qwen2.5 and QwQ",
    .configure = configure,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .layer_bytes = sizeof(qn_dense_layer),
    .state_parts = qn_blocks_state_parts,
    .carve = qn_blocks_carve,
    .record = record,
};
