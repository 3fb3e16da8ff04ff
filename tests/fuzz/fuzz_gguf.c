// Fuzz target: one GGUF file from memory, up to its configuration and its tokenizer. Every view that it accepts must lie within
// the input.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_config.h"
#include "formats/gguf_vocabulary.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const qn_gguf *g, const unsigned char *copy)
{
    static qn_hf_config config;
    qn_hf_generation generation;
    qn_vocabulary v;
    qn_tokenizer *tokenizer = NULL;
    qn_chat_template *template = NULL;
    qn_ids ids = {0};
    quern_error e;
    volatile unsigned char last;
    for (int i = 0; i < g->set.n_tensors; i++) {
        const qn_stored_tensor *t = qn_tensor_set_find(&g->set, g->set.tensors[i].name);
        if (!t) abort();
        last = copy[t->begin + t->n_bytes - 1];
    }
    (void)last;
    qn_gguf_config(g, "qwen2", &config, &generation, &e);
    if (!qn_gguf_vocabulary(g, &v, &e)) {
        if (!qn_tokenizer_from_vocabulary(&v, &tokenizer, &e))
            qn_tokenizer_encode(tokenizer, "Zürich <|im_end|>", 18, NULL, &ids, &e);
        qn_chat_template_from_vocabulary(&v, &template, &e);
    }
    qn_ids_free(&ids);
    qn_tokenizer_free(tokenizer);
    qn_chat_template_free(template);
    qn_gguf_free_vocabulary(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *copy = malloc(size ? size : 1); // exact, so that ASan sees a byte too many
    qn_gguf g = {.metadata.path = "fuzz"};
    quern_error e;
    if (!copy) return 0;
    if (size) memcpy(copy, data, size);
    int rc = qn_gguf_parse(copy, size, size, 0, &g.metadata, &g.set, &e);
    if (!rc) rc = qn_tensor_set_sort(&g.set, &e);
    if (!rc) use(&g, copy);
    qn_gguf_close(&g);
    free(copy);
    return 0;
}
