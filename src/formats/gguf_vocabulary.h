// The tokenizer and chat template of a GGUF file's metadata (tokenizer.*), for text/ to build from. Any thread.
#ifndef QN_FORMATS_GGUF_VOCABULARY_H
#define QN_FORMATS_GGUF_VOCABULARY_H
#include "formats/gguf.h"

// Fills *out with spans borrowed from g and arrays that qn_gguf_free_vocabulary frees (in any case). QUERN_E_NOT_FOUND where the
// file has no tokenizer, QUERN_E_UNSUPPORTED where it is no byte-level BPE or would add to a text what the text has not.
int qn_gguf_vocabulary(const qn_gguf *g, qn_vocabulary *out, quern_error *e);
void qn_gguf_free_vocabulary(qn_vocabulary *v);

#endif
