// See recipe.h. The rules are those of llama.cpp's src/llama-quant.cpp (llama_tensor_get_type, as of 2025) for the architectures
// and recipes here; the comments below say each in its terms.
#include "convert/recipe.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

// clang-format off
static const qn_recipe recipes[] = {
    {"q8_0", QN_DTYPE_Q8_0, 7, false},      {"q6_k", QN_DTYPE_Q6_K, 18, false},
    {"q5_k_m", QN_DTYPE_Q5_K, 17, true},    {"q5_1", QN_DTYPE_Q5_1, 9, false},
    {"q5_0", QN_DTYPE_Q5_0, 8, false},      {"q4_k_m", QN_DTYPE_Q4_K, 15, true},
    {"q4_1", QN_DTYPE_Q4_1, 3, false},      {"q4_0", QN_DTYPE_Q4_0, 2, false},
    {"iq4_nl", QN_DTYPE_IQ4_NL, 25, false}, {"iq4_xs", QN_DTYPE_IQ4_XS, 30, false},
    {"q3_k_m", QN_DTYPE_Q3_K, 12, false},   {"q2_k", QN_DTYPE_Q2_K, 10, false},
    {"bf16", QN_DTYPE_BF16, 32, false},     {"f16", QN_DTYPE_F16, 1, false},
    {"f32", QN_DTYPE_F32, 0, false},
};
// clang-format on
enum { N_RECIPES = sizeof recipes / sizeof *recipes, LAYERS_OF_70B = 80 };

const qn_recipe *qn_recipe_at(int i)
{
    return i >= 0 && i < N_RECIPES ? &recipes[i] : NULL;
}

const qn_recipe *qn_recipe_by_name(const char *name)
{
    for (int i = 0; i < N_RECIPES; i++)
        if (!strcasecmp(name, recipes[i].name)) return &recipes[i];
    return NULL;
}

// use_more_bits: the first and the last eighth of the layers, and every third between.
static bool gets_more_bits(int layer, int n_layers)
{
    return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

// "blk.3.attn_v.weight" is attn_v of layer 3.
static bool is_layers(const qn_weight_fact *w, const char *kind, int *layer)
{
    char found[96] = "";
    return sscanf(w->gguf_name, "blk.%d.%95[^.].weight", layer, found) == 2 && !strcmp(found, kind);
}

static bool is_output(const qn_weight_fact *w, const qn_model_facts *facts)
{
    return !strcmp(w->gguf_name, facts->tied ? "token_embd.weight" : "output.weight");
}

static qn_dtype output_type(qn_dtype dtype, int64_t width)
{
    bool whole = width % qn_format_of(dtype)->block_elements == 0;
    return !whole || dtype == QN_DTYPE_Q8_0 ? QN_DTYPE_Q8_0 : QN_DTYPE_Q6_K;
}

static bool is_iq4(qn_dtype dtype)
{
    return dtype == QN_DTYPE_IQ4_NL || dtype == QN_DTYPE_IQ4_XS;
}

static qn_dtype value_type(const qn_recipe *r, const qn_model_facts *facts, int layer)
{
    bool grouped = facts->n_heads / facts->n_kv_heads >= 4;
    qn_dtype dtype = r->dtype;
    if (dtype == QN_DTYPE_Q2_K)
        dtype = grouped ? QN_DTYPE_Q4_K : QN_DTYPE_Q3_K;
    else if (dtype == QN_DTYPE_Q3_K)
        dtype = layer < 2 ? QN_DTYPE_Q5_K : QN_DTYPE_Q4_K;
    else if (is_iq4(dtype) && grouped)
        dtype = QN_DTYPE_Q5_K;
    else if (r->more_bits && gets_more_bits(layer, facts->n_layers))
        dtype = QN_DTYPE_Q6_K;
    // LLM_TYPE_70B: eight heads share these, so that more bits cost little.
    bool is_70b = facts->n_layers == LAYERS_OF_70B && !strcmp(facts->architecture, "qwen2");
    bool small = dtype == QN_DTYPE_Q3_K || dtype == QN_DTYPE_Q4_K;
    return is_70b && small ? QN_DTYPE_Q5_K : dtype;
}

static qn_dtype down_type(const qn_recipe *r, int n_layers, bool has_imatrix, int layer)
{
    bool early = layer < n_layers / 8;
    if (r->dtype == QN_DTYPE_Q2_K) return QN_DTYPE_Q3_K;
    if (r->dtype == QN_DTYPE_Q3_K) return layer < n_layers / 16 ? QN_DTYPE_Q5_K : QN_DTYPE_Q4_K;
    if (is_iq4(r->dtype) && early && !has_imatrix) return QN_DTYPE_Q5_K;
    if (r->more_bits && gets_more_bits(layer, n_layers)) return QN_DTYPE_Q6_K;
    // With an importance matrix the first of these go wrong without a minimum.
    if (r->dtype == QN_DTYPE_Q4_0 && early && has_imatrix) return QN_DTYPE_Q4_1;
    if (r->dtype == QN_DTYPE_Q5_0 && early && has_imatrix) return QN_DTYPE_Q5_1;
    return r->dtype;
}

// What the rules say, before the row's width is looked at.
static qn_dtype ruled_type(const qn_recipe *r, const qn_model_facts *facts, bool has_imatrix,
                           const qn_weight_fact *w)
{
    int layer;
    if (is_output(w, facts)) return output_type(r->dtype, w->dim[1]);
    if (is_layers(w, "attn_v", &layer)) return value_type(r, facts, layer);
    if (is_layers(w, "ffn_down", &layer)) return down_type(r, facts->n_layers, has_imatrix, layer);
    bool is_output_of_attention = is_layers(w, "attn_output", &layer);
    if (is_output_of_attention && r->dtype == QN_DTYPE_Q2_K) return QN_DTYPE_Q3_K;
    if (is_output_of_attention && r->dtype == QN_DTYPE_Q3_K) return QN_DTYPE_Q4_K;
    return r->dtype;
}

static qn_dtype fallback(qn_dtype dtype, int64_t width)
{
    switch (dtype) {
    case QN_DTYPE_Q2_K:
    case QN_DTYPE_Q3_K:
    case QN_DTYPE_IQ4_XS:
        dtype = QN_DTYPE_IQ4_NL;
        break;
    case QN_DTYPE_Q4_K:
        dtype = QN_DTYPE_Q5_0;
        break;
    case QN_DTYPE_Q5_K:
        dtype = QN_DTYPE_Q5_1;
        break;
    case QN_DTYPE_Q6_K:
        dtype = QN_DTYPE_Q8_0;
        break;
    default:
        break;
    }
    return width % qn_format_of(dtype)->block_elements ? QN_DTYPE_F16 : dtype;
}

qn_dtype qn_recipe_type(const qn_recipe *r, const qn_model_facts *facts, bool has_imatrix,
                        const qn_weight_fact *w, bool *fell_back)
{
    *fell_back = false;
    if (w->rank == 1) return QN_DTYPE_F32;
    if (qn_dtype_is_plain(r->dtype)) return r->dtype;
    qn_dtype dtype = ruled_type(r, facts, has_imatrix, w);
    *fell_back = w->dim[1] % qn_format_of(dtype)->block_elements != 0;
    return *fell_back ? fallback(dtype, w->dim[1]) : dtype;
}
