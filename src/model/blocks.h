// Blocks that dense families share: attention over the paged cache, the SwiGLU MLP, the head. Each records its operations into a
// pass. Sizes come from the views of the weights, which may be cut for tensor parallelism, never from the configuration.
#ifndef QN_MODEL_BLOCKS_H
#define QN_MODEL_BLOCKS_H
#include "model/family.h"

typedef struct {
    qn_tensor q, k, v, o;                     // [query | key | key, hidden], [hidden, query]
    qn_tensor q_bias, k_bias, v_bias, o_bias; // absent: data NULL
    qn_tensor q_norm, k_norm;                 // [head_dim], Qwen3
} qn_attention_weights;

typedef struct {
    qn_tensor gate, up, down; // [inner, hidden] twice, [hidden, inner]
} qn_mlp_weights;

// The layer of a dense family.
typedef struct {
    qn_tensor attention_norm, mlp_norm; // [hidden]
    qn_attention_weights attention;
    qn_mlp_weights mlp;
} qn_dense_layer;

const qn_dense_layer *qn_blocks_layer(const qn_model *m, int layer);
// Keys and values of all layers, of type `cache`.
int qn_blocks_state_parts(const qn_model *m, qn_dtype cache, qn_state_part *out);
size_t qn_blocks_carve(const qn_model *m, const qn_step_limits *limits, char *base,
                       qn_activations *out);

// h = RMSNorm(x)
void qn_blocks_norm(const qn_model *m, const qn_pass *pass, qn_tensor weight);
// q, k, v = projections of h
void qn_blocks_project(const qn_pass *pass, const qn_attention_weights *w);
// RoPE of q and k.
void qn_blocks_rope(const qn_model *m, const qn_pass *pass, const qn_attention_weights *w);
// RMSNorm of each head of q and k, then RoPE.
void qn_blocks_norm_rope(const qn_model *m, const qn_pass *pass, const qn_attention_weights *w);
// Appends k and v to the cache, attends, x += projection of what that gives.
void qn_blocks_attend(const qn_model *m, const qn_pass *pass, const qn_attention_weights *w,
                      int layer);
// x += down(silu(gate(h)) · up(h))
void qn_blocks_mlp(const qn_model *m, const qn_pass *pass, const qn_mlp_weights *w);
// The rows that are wanted, normed, times the head: logits.
void qn_blocks_head(const qn_model *m, const qn_pass *pass);

#endif
