// Recipes: which type each tensor of a quantised file gets. Those of llama.cpp by the names of its llama-quantize, so that a file
// of ours has the types of one of theirs. Constant data; any thread.
#ifndef QN_CONVERT_RECIPE_H
#define QN_CONVERT_RECIPE_H
#include "model/model.h"

typedef struct {
    const char *name;   // "q4_k_m"
    qn_dtype dtype;     // of what no rule names
    uint32_t file_type; // general.file_type: llama_ftype of llama.cpp's llama.h
    bool more_bits;     // a mixture: half of attn_v and ffn_down get q6_k
} qn_recipe;

// The recipe of a name in any case; NULL where unknown.
const qn_recipe *qn_recipe_by_name(const char *name);
// Recipe i, from 0 on; NULL past the last.
const qn_recipe *qn_recipe_at(int i);

// The type of one weight. *fell_back: its rows are not of whole blocks of what the rule says, so it has got another.
qn_dtype qn_recipe_type(const qn_recipe *r, const qn_model_facts *facts, bool has_imatrix,
                        const qn_weight_fact *w, bool *fell_back);

#endif
