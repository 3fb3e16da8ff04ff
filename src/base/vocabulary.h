// Vocabulary: what a model file that carries its own tokenizer says of text, on its way from the file's reader to text/, which
// do not know each other. Plain data; spans are borrowed from the file and not NUL-terminated. Any thread.
#ifndef QN_BASE_VOCABULARY_H
#define QN_BASE_VOCABULARY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const char *data; // NULL: absent
    size_t n;
} qn_text_span;

// False where the span is absent.
static inline bool qn_vocabulary_is(qn_text_span text, const char *word)
{
    return text.data && text.n == strlen(word) && !memcmp(text.data, word, text.n);
}

// What an entry of a vocabulary is; numbered as GGUF does.
typedef enum {
    QN_TOKEN_NORMAL = 1,
    QN_TOKEN_UNKNOWN,
    QN_TOKEN_CONTROL,      // special: of templates, left out of text
    QN_TOKEN_USER_DEFINED, // added, but text like any other
    QN_TOKEN_UNUSED,       // fills the vocabulary up to the embedding's rows
    QN_TOKEN_BYTE,
} qn_token_kind;

typedef struct {
    const char *path;           // of the file, in messages
    qn_text_span pre;           // which pre-tokenizer: "qwen2"
    const qn_text_span *tokens; // [n_tokens] as byte-level strings
    const uint8_t *kinds;       // [n_tokens] of qn_token_kind
    const qn_text_span *merges; // [n_merges] "left right"
    size_t n_tokens, n_merges;
    int32_t bos, eos, pad, unknown; // ids below n_tokens; -1: absent
    qn_text_span chat_template;
} qn_vocabulary;

#endif
