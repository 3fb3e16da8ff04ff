// Fuzz target: config.json and generation_config.json from memory, up to the family's meaning, RoPE's frequencies and a module's bits.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size ? size : 1); // exact, so that ASan sees a byte too many
    qn_description *d = calloc(1, sizeof *d);
    qn_hf_generation generation;
    qn_hf_quantization q;
    qn_model_facts facts;
    quern_error e;
    if (!copy || !d) goto out;
    if (size) memcpy(copy, data, size);
    if (!qn_hf_config_parse(copy, size, "fuzz", &d->hf, &e) && !qn_config_resolve(d, "fuzz", &e)) {
        qn_config_facts(d, &facts);
        if (!facts.n_parameters) abort();
    }
    qn_hf_generation_parse(copy, size, "fuzz", 1000, &generation, &e);
    if (!qn_hf_quantization_parse(copy, size, "fuzz", &q, &e)) {
        qn_hf_grouping g = qn_hf_quantization_of(&q, "model.layers.0.self_attn.q_proj");
        if (g.bits && (g.bits < 3 || g.bits > 8 || g.group < 0 || g.group % 32)) abort();
        qn_hf_quantization_close(&q);
    }
out:
    free(copy);
    free(d);
    return 0;
}
