// See recipe.h. The rules are those of llama.cpp's src/llama-quant.cpp (llama_tensor_get_type, as of 2025) for the architectures
// and recipes here; the comments below say each in its terms.
#include "convert/recipe.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const qn_recipe recipes[] = {
    {"q8_0", QN_DTYPE_Q8_0, 7, false},   {"q6_k", QN_DTYPE_Q6_K, 18, false},
    {"q5_k_m", QN_DTYPE_Q5_K, 17, true}, {"q5_1", QN_DTYPE_Q5_1, 9, false},
    {"q5_0", QN_DTYPE_Q5_0, 8, false},   {"q4_k_m", QN_DTYPE_Q4_K, 15, true},
    {"q4_1", QN_DTYPE_Q4_1, 3, false},   {"q4_0", QN_DTYPE_Q4_0, 2, false},
    {"bf16", QN_DTYPE_BF16, 32, false},  {"f16", QN_DTYPE_F16, 1, false},
    {"f32", QN_DTYPE_F32, 0, false},
};
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

// What the rules say, before the row's width is looked at.
static qn_dtype ruled_type(const qn_recipe *r, const qn_model_facts *facts, bool has_imatrix,
                           const qn_weight_fact *w)
{
    int layer, n = facts->n_layers;
    if (is_output(w, facts)) return output_type(r->dtype, w->dim[1]);
    if (is_layers(w, "attn_v", &layer)) {
        if (r->more_bits && gets_more_bits(layer, n)) return QN_DTYPE_Q6_K;
        // LLM_TYPE_70B: eight heads share these, so that more bits cost little.
        bool is_70b = n == LAYERS_OF_70B && !strcmp(facts->architecture, "qwen2");
        return is_70b && r->dtype == QN_DTYPE_Q4_K ? QN_DTYPE_Q5_K : r->dtype;
    }
    if (is_layers(w, "ffn_down", &layer)) {
        if (r->more_bits && gets_more_bits(layer, n)) return QN_DTYPE_Q6_K;
        // With an importance matrix the first of these go wrong without a minimum.
        if (has_imatrix && layer < n / 8 && r->dtype == QN_DTYPE_Q4_0) return QN_DTYPE_Q4_1;
        if (has_imatrix && layer < n / 8 && r->dtype == QN_DTYPE_Q5_0) return QN_DTYPE_Q5_1;
    }
    return r->dtype;
}

static qn_dtype fallback(qn_dtype dtype, int64_t width)
{
    if (dtype == QN_DTYPE_Q4_K) dtype = QN_DTYPE_Q5_0;
    if (dtype == QN_DTYPE_Q5_K) dtype = QN_DTYPE_Q5_1;
    if (dtype == QN_DTYPE_Q6_K) dtype = QN_DTYPE_Q8_0;
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
