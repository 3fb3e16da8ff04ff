// A model's tokenizer and chat template, wherever they stand: in the text files of a Hugging Face directory or in the metadata
// of a GGUF file. Any thread.
#ifndef QN_ENGINE_TEXT_LOAD_H
#define QN_ENGINE_TEXT_LOAD_H
#include "text/chat_template.h"
#include "text/tokenizer.h"

// `path` as in model.h. QUERN_E_NOT_FOUND where the model has none.
int qn_engine_load_tokenizer(const char *path, qn_tokenizer **out, quern_error *e);
int qn_engine_load_template(const char *path, qn_chat_template **out, quern_error *e);
// QUERN_E_FORMAT where it has ids that the model, of n_vocab rows of embeddings, has not.
int qn_engine_check_tokenizer(const qn_tokenizer *t, const char *path, int n_vocab, quern_error *e);

#endif
