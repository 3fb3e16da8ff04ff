// See containers.h.
#include "formats/containers.h"

#include <stddef.h>

#include "formats/gguf.h"
#include "formats/safetensors.h"

// clang-format off
static const qn_container containers[] = {
    {"Hugging Face", "a directory with `config.json` and safetensors, sharded or not", NULL, qn_safetensors_type_at,
     "its `tokenizer.json`, `chat_template.jinja` or `tokenizer_config.json`"},
    {"GGUF", "a file (version 2 or 3); of a split the first; or a directory that holds one and no `config.json`", NULL, qn_gguf_type_at,
     "the file's own (`tokenizer.ggml.pre` = `qwen2`), with the ids and texts of the `tokenizer.json` it was made from"},
};
// clang-format on

const qn_container *qn_container_at(int i)
{
    return i >= 0 && i < (int)(sizeof containers / sizeof *containers) ? &containers[i] : NULL;
}
