// The metadata of a GGUF file: carried over from another, or made from a Hugging Face directory with the keys of llama.cpp's
// converter (convert_hf_to_gguf.py, gguf-py's constants.py). One thread at a time.
#ifndef QN_CONVERT_METADATA_H
#define QN_CONVERT_METADATA_H
#include "formats/gguf_write.h"
#include "model/model.h"

// All values of a file but those that tell how it was quantised or split; also takes over its alignment.
void qn_metadata_carry(const qn_gguf *from, qn_gguf_writer *w);
// From config.json, generation_config.json and the tokenizer's files. `name`: general.name. QUERN_E_UNSUPPORTED names what the
// format has no key for.
int qn_metadata_make(const char *directory, const char *name, const qn_model_facts *facts,
                     qn_gguf_writer *w, quern_error *e);

#endif
