// What GGUF calls things: architectures and weights (llama.cpp's src/llama-arch.cpp). Another architecture that a family runs
// is a row. Rows of q and k lie as in Hugging Face's files: only llama's are permuted.
#include <stdio.h>
#include <string.h>

#include "model/family.h"

typedef struct {
    const char *theirs, *ours;
} pair;

static const pair architectures[] = {
    {"qwen2", "qwen2"},
    {"qwen3", "qwen3"},
};

// Names up to the last dot, without "blk.%d." and "model.layers.%d.".
static const pair weights[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

const char *qn_gguf_family(const char *architecture, size_t n)
{
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (n == strlen(architectures[i].theirs) &&
            !memcmp(architecture, architectures[i].theirs, n))
            return architectures[i].ours;
    return NULL;
}

const char *qn_gguf_architecture(const char *family, int i)
{
    for (size_t k = 0; k < sizeof architectures / sizeof *architectures; k++)
        if (!strcmp(architectures[k].ours, family) && i-- == 0) return architectures[k].theirs;
    return NULL;
}

void qn_gguf_name(const qn_weight_spec *spec, int layer, char out[96])
{
    static const char prefix[] = "model.layers.%d.";
    bool inside = !strncmp(spec->name, prefix, sizeof prefix - 1);
    const char *name = spec->name + (inside ? sizeof prefix - 1 : 0), *end = strrchr(name, '.');
    size_t n = (size_t)(end - name);
    char block[24] = "";
    if (inside) snprintf(block, sizeof block, "blk.%d.", layer);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (n == strlen(weights[i].ours) && !memcmp(name, weights[i].ours, n)) {
            snprintf(out, 96, "%s%s%s", block, weights[i].theirs, end);
            return;
        }
    snprintf(out, 96, "%s%s", block, name);
}
