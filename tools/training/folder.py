"""A model folder as Hugging Face keeps it: config, generation config, tokenizer, BF16 weights."""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from . import tokenizer as tok

CONTEXT = 2048
MAX_WEIGHT_BYTES = 16 * 1024 * 1024

_COMMON = {
    "attention_dropout": 0.0, "bos_token_id": tok.token_id("<|endoftext|>"), "eos_token_id": tok.token_id("<|im_end|>"),
    "pad_token_id": tok.token_id("<|endoftext|>"), "hidden_act": "silu", "initializer_range": 0.02,
    "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "sliding_window": None, "tie_word_embeddings": True,
    "use_cache": True, "use_sliding_window": False, "vocab_size": tok.N_VOCAB,
}

# Each in one of the two forms of configuration that exist: the older one and that of transformers 5.
CONFIGS = {
    "tiny-qwen2": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 128, "intermediate_size": 512,
        "num_hidden_layers": 6, "max_window_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rope_theta": 10000.0, "torch_dtype": "bfloat16", **_COMMON},
    "tiny-qwen3": {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False, "hidden_size": 256,
        "intermediate_size": 768, "num_hidden_layers": 8, "max_window_layers": 8, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 64, "layer_types": ["full_attention"] * 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "dtype": "bfloat16", **_COMMON},
}

GENERATION = {
    "bos_token_id": tok.token_id("<|endoftext|>"),
    "eos_token_id": [tok.token_id("<|im_end|>"), tok.token_id("<|endoftext|>")],
    "pad_token_id": tok.token_id("<|endoftext|>"), "do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9,
}


def new_model(name):
    """A fresh float32 model of one of the CONFIGS."""
    fields = dict(CONFIGS[name])
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    config._attn_implementation = "sdpa"
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write(folder, name, model, tokenizer_dict):
    """Writes the whole folder; the weights are rounded to BF16, a tied head is left out."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", CONFIGS[name])
    _write_json(folder / "generation_config.json", GENERATION)
    _write_json(folder / "tokenizer.json", tokenizer_dict)
    _write_json(folder / "tokenizer_config.json", tok.config(CONTEXT))
    tensors = {key: value.detach().to("cpu", torch.bfloat16).contiguous()
               for key, value in model.state_dict().items() if key != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    n_bytes = (folder / "model.safetensors").stat().st_size
    if n_bytes > MAX_WEIGHT_BYTES:
        raise SystemExit(f"{folder}: weights of {n_bytes} bytes, at most {MAX_WEIGHT_BYTES}")


def read(folder, device):
    """The model and tokenizer of a folder, as transformers reads them; BF16 weights, computed in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return model.to(device).eval(), tok.load(json.loads((pathlib.Path(folder) / "tokenizer.json").read_text("utf-8")))
