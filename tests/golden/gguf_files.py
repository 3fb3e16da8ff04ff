"""GGUF files for the tests, written by the `gguf` package from a Hugging Face directory as llama.cpp's converter does it."""

import json
import struct

import gguf
import gguf_quantise
import numpy

TYPES = gguf.GGMLQuantizationType
# What the package can write from numbers; of the others it can only read blocks.
WRITABLE = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
BLOCKS_ONLY = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")
# Where the 16-bit floats of a block stand, and how they must relate for the numbers to have a mean near 0.
SCALES = {"Q2_K": {80: 1, 82: 1.5}, "Q3_K": {108: 1}, "Q4_K": {0: 1, 2: 7.5}, "Q5_K": {0: 1, 2: 15.5}, "Q6_K": {208: 1}, "IQ4_NL": {0: 1},
          "IQ4_XS": {0: 1}}


def read_tensors(folder):
    """All tensors of a directory's safetensors files, as float32."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        n = struct.unpack("<Q", data[:8])[0]
        for name, entry in json.loads(data[8:8 + n]).items():
            if name == "__metadata__":
                continue
            raw = data[8 + n:][slice(*entry["data_offsets"])]
            if entry["dtype"] == "BF16":
                values = (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
            else:
                values = numpy.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype("<f4")
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def write_tensors(folder, tensors, dtype="F32"):
    """model.safetensors with float32 or F16 tensors."""
    header, blob = {}, b""
    for name, values in tensors.items():
        data = values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + blob)


def make_directory(folder, family, seed=1, hidden=256, inner=512):
    """A tiny model whose rows are of whole blocks of every format, with seeded weights; no tokenizer."""
    rng = numpy.random.default_rng(seed)
    config = {"model_type": family, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 2,
              "num_attention_heads": hidden // 64, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 320,
              "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "tie_word_embeddings": False,
              "torch_dtype": "float32", "eos_token_id": 319}
    kv = 128
    shapes = {"model.embed_tokens.weight": (320, hidden), "model.norm.weight": (hidden,), "lm_head.weight": (320, hidden)}
    for i in range(2):
        at = f"model.layers.{i}."
        shapes |= {at + "input_layernorm.weight": (hidden,), at + "post_attention_layernorm.weight": (hidden,),
                   at + "self_attn.q_proj.weight": (hidden, hidden), at + "self_attn.k_proj.weight": (kv, hidden),
                   at + "self_attn.v_proj.weight": (kv, hidden), at + "self_attn.o_proj.weight": (hidden, hidden),
                   at + "mlp.gate_proj.weight": (inner, hidden), at + "mlp.up_proj.weight": (inner, hidden),
                   at + "mlp.down_proj.weight": (hidden, inner)}
        if family == "qwen2":
            shapes |= {at + f"self_attn.{x}_proj.bias": (n,) for x, n in (("q", hidden), ("k", kv), ("v", kv))}
        else:
            shapes |= {at + f"self_attn.{x}_norm.weight": (64,) for x in "qk"}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: (rng.standard_normal(shape) * 0.06 + (len(shape) == 1)).astype("<f4") for name, shape in shapes.items()}
    write_tensors(folder, tensors)
    return tensors


def quantise(values, kind, rng):
    """(the tensor's bytes, the numbers that they stand for). Vectors stay float32, as converters leave them. Where there is an
    rng, blocks that the package cannot write are random ones; else the nearest to the values."""
    if values.ndim == 1:
        kind = "F32"
    of = TYPES[kind]
    if kind in WRITABLE:
        data = gguf.quants.quantize(values, of)
    elif rng is None:
        data = gguf_quantise.quantise(values, kind)
    else:  # any blocks will do, with scales that leave numbers like a model's
        size, n_bytes = gguf.GGML_QUANT_SIZES[of]
        data = rng.integers(0, 256, (*values.shape[:-1], values.shape[-1] // size, n_bytes), dtype="u1")
        scale = rng.uniform(0.5, 1, data.shape[:-1])
        for factor in (1.0, None):  # first to see how wide the numbers are, then to make them 0.06
            for at, relation in SCALES[kind].items():
                data[..., at:at + 2] = (scale * relation * (factor or width)).astype("<f2")[..., None].view("u1")
            width = 0.06 / gguf.quants.dequantize(data.reshape(*values.shape[:-1], -1), of).std()
        data = data.reshape(*values.shape[:-1], -1)
    return data, of, gguf.quants.dequantize(data, of).astype("<f4").reshape(values.shape)


def add_config(writer, config, generation):
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config.get("rope_theta") or rope.get("rope_theta", 1e4))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        for key, add in (("beta_fast", writer.add_rope_scaling_yarn_beta_fast), ("beta_slow", writer.add_rope_scaling_yarn_beta_slow)):
            if key in rope:
                add(rope[key])
    for key, add in (("temperature", writer.add_sampling_temp), ("top_p", writer.add_sampling_top_p),
                     ("top_k", writer.add_sampling_top_k), ("repetition_penalty", writer.add_sampling_penalty_repeat)):
        if generation.get("do_sample") and key in generation:
            add(generation[key])
    eos = config.get("eos_token_id")
    if eos is not None:
        writer.add_eos_token_id(eos if isinstance(eos, int) else eos[0])


def looks_special(text):
    return text.startswith("<|") and text.endswith("|>")


def add_vocabulary(writer, folder, n_vocab):
    """tokenizer.json and tokenizer_config.json as set_vocab of the converter writes them."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    by_id = {i: (text, gguf.TokenType.NORMAL) for text, i in tokenizer["model"]["vocab"].items()}
    for token in tokenizer["added_tokens"]:
        control = token["special"] or looks_special(token["content"])
        by_id[token["id"]] = (token["content"], gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED)
    rows = [by_id.get(i, (f"[PAD{i}]", gguf.TokenType.UNUSED)) for i in range(n_vocab)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([text for text, _ in rows])
    writer.add_token_types([kind for _, kind in rows])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    ids = {text: i for i, (text, _) in by_id.items()}
    if config.get("pad_token") in ids:
        writer.add_pad_token_id(ids[config["pad_token"]])
        writer.add_bos_token_id(ids[config["pad_token"]])
    writer.add_add_bos_token(False)
    template = folder / "chat_template.jinja"
    source = template.read_text(encoding="utf-8") if template.exists() else config.get("chat_template")
    if source:
        writer.add_chat_template(source)


def write(folder, path, kind="F32", version=3, per_file=0, tokenizer=True, seed=1):
    """Converts a directory, to one kind of weights or to kind(name); returns the path to open and the float32 tensors that
    the file stands for. seed None: as near to the directory's as rounding goes, in every format."""
    config = json.loads((folder / "config.json").read_text())
    generation_path = folder / "generation_config.json"
    generation = json.loads(generation_path.read_text()) if generation_path.exists() else {}
    family, rng = config["model_type"], None if seed is None else numpy.random.default_rng(seed)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, family.upper()), config["num_hidden_layers"])
    writer = gguf.GGUFWriter(path, family, split_max_tensors=per_file)
    add_config(writer, config, generation)
    if tokenizer and (folder / "tokenizer.json").exists():
        add_vocabulary(writer, folder, config["vocab_size"])
    stood_for = {}
    for name, values in read_tensors(folder).items():
        data, of, numbers = quantise(values, kind if isinstance(kind, str) else kind(name), rng)
        stood_for[name] = numbers
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), data, raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    files = [path] if path.exists() else sorted(path.parent.glob(f"{path.stem}-*.gguf"))
    for file in files:
        with open(file, "r+b") as f:
            f.seek(4)
            f.write(struct.pack("<I", version))
    return files[0], stood_for
