// What a GGUF file says of its model, in the terms of a Hugging Face configuration, so that a family has one meaning to give.
// Any thread; nothing is borrowed from the file.
#ifndef QN_FORMATS_GGUF_CONFIG_H
#define QN_FORMATS_GGUF_CONFIG_H
#include "formats/gguf.h"
#include "formats/hf_config.h"

// Reads the keys "architecture.…" and those of sampling. model_type is left for the caller; nothing else is absent. The
// vocabulary is what token_embd.weight has rows; the head is tied where output.weight is absent.
int qn_gguf_config(const qn_gguf *g, const char *architecture, qn_hf_config *out,
                   qn_hf_generation *generation, quern_error *e);

#endif
