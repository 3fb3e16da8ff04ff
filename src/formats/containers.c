// See containers.h.
#include "formats/containers.h"

#include <stddef.h>

#include "formats/gguf.h"
#include "formats/safetensors.h"

// clang-format off
static const qn_container containers[] = {
    {"Hugging Face", "a directory with `config.json` and safetensors, sharded or not", NULL, qn_safetensors_type_at,
     "its `tokenizer.json`, `chat_template.jinja` or `tokenizer_config.json`"},
    {"MLX", "such a directory by mlx-lm, with `quantization` in its `config.json`", "U32 of 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128, with scales and biases; beside them F32, F16, BF16", NULL,
     "as of Hugging Face"},
    {"GPTQ", "such a directory with `quant_method` `gptq` (or `checkpoint_format` `gptq_v2`)", "I32 of 4 or 8 bits, symmetric or not, in groups of any multiple of 32 or whole rows; with `desc_act` they become F16", NULL,
     "as of Hugging Face"},
    {"AWQ", "such a directory with `quant_method` `awq`, `version` `gemm`", "I32 of 4 bits in groups of any multiple of 32 or whole rows", NULL,
     "as of Hugging Face"},
    {"FP8", "such a directory with `quant_method` `fp8`, `weight_block_size` `[128, 128]`", "F8_E4M3", NULL,
     "as of Hugging Face"},
    {"GGUF", "a file (version 2 or 3); of a split the first; or a directory that holds one and no `config.json`", NULL, qn_gguf_type_at,
     "the file's own (`tokenizer.ggml.pre` = `qwen2`), with the ids and texts of the `tokenizer.json` it was made from"},
};
// clang-format on

const qn_container *qn_container_at(int i)
{
    return i >= 0 && i < (int)(sizeof containers / sizeof *containers) ? &containers[i] : NULL;
}
