// Streaming detokeniser: ids in, text out, never half a UTF-8 character. Special tokens give no text.
// Bytes that can never become a character are given as U+FFFD, as Hugging Face decodes them. One a sequence, one thread at a time.
#ifndef QN_TEXT_DETOKENIZER_H
#define QN_TEXT_DETOKENIZER_H
#include "text/tokenizer.h"

typedef struct {
    const qn_tokenizer *tokenizer;
    char held[4]; // the bytes of a character not yet complete
    int n_held;
    bool keep_special; // special tokens give their content too
} qn_detokenizer;

void qn_detokenizer_init(qn_detokenizer *d, const qn_tokenizer *t, bool keep_special);
// Appends the text that is certain after id. false: no memory.
bool qn_detokenizer_push(qn_detokenizer *d, int32_t id, qn_buffer *out);
// The end: appends what is still held (as U+FFFD).
bool qn_detokenizer_finish(qn_detokenizer *d, qn_buffer *out);

#endif
