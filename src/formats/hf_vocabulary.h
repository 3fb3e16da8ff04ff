// The tokenizer of a Hugging Face directory as the tables that a GGUF file carries: tokens, kinds, merges and special ids, named
// as llama.cpp's converter names them (gguf-py's vocab.py, convert_hf_to_gguf.py). Reads what text/ has accepted. Any thread.
#ifndef QN_FORMATS_HF_VOCABULARY_H
#define QN_FORMATS_HF_VOCABULARY_H
#include "base/arena.h"
#include "base/error.h"
#include "base/vocabulary.h"

// The tokens that configurations name; the converter knows them all.
typedef enum {
    QN_SPECIAL_BOS,
    QN_SPECIAL_EOS,
    QN_SPECIAL_UNKNOWN,
    QN_SPECIAL_SEPARATOR,
    QN_SPECIAL_PADDING,
    QN_SPECIAL_CLASS,
    QN_SPECIAL_MASK,
    QN_SPECIAL_COUNT
} qn_special;

typedef struct {
    qn_text_span *tokens; // [n_tokens], gaps filled with "[PAD<id>]"
    uint8_t *kinds;       // [n_tokens] of qn_token_kind
    qn_text_span *merges; // [n_merges] "left right"
    size_t n_tokens, n_merges;
    int32_t ids[QN_SPECIAL_COUNT]; // -1: none
    bool tells_bos; // tokenizer_config.json has add_bos_token: nothing is added, whatever it says
    qn_text_span chat_template; // data NULL: none
    qn_arena arena;             // of all of it
} qn_hf_vocabulary;

// n_tokens: rows of the embedding. QUERN_E_NOT_FOUND where there is no tokenizer.json; the caller frees *out in any case.
int qn_hf_vocabulary_read(const char *directory, size_t n_tokens, qn_hf_vocabulary *out,
                          quern_error *e);
void qn_hf_vocabulary_free(qn_hf_vocabulary *v);

#endif
