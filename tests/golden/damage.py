"""Directories that must be refused: each kind that the issue and THREATS.md §3.3 name, made from a sound tiny checkpoint.

A Damage spoils a copy of `base` in place. `names` is what the one line on stderr must hold: each entry a string, or
several joined by "|" of which one must stand there. `inspect` is False where only running the model can tell; `only` are the
commands that must refuse it, where they are not those that fit; `sound` marks what is odd and must not be refused by them.
damage_classes.py has the rest of the variants, and the table that says which belong to which class.
"""

import json
import os
import struct
from dataclasses import dataclass
from typing import Callable

QWEN2, QWEN3, SHARDED = "qwen2-f32-tied", "qwen3-f32-linear", "qwen3-bf16-window-sharded"
NEW_FORM = "qwen2-f32-linear-headdim"
YARN, YARN_NEW = "qwen2-f32-yarn-mscale-old", "qwen2-f32-yarn-factor"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
EMBED, DOWN, NORM = "model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"


@dataclass
class Damage:
    name: str
    apply: Callable
    names: tuple
    base: str = QWEN2
    inspect: bool = True
    only: tuple = ()
    sound: bool = False


ALL = []


def add(name, apply, *names, **more):
    ALL.append(Damage(name, apply, names, **more))


def write(path, data):
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def edit_json(path, edit):
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    write(path, json.dumps(data, ensure_ascii=False))


# ---- config.json ----

def config(name, field, value, *names, **more):
    """A field of config.json set to a value (a path of keys with dots), or removed where the value is ...."""
    def edit(data):
        *path, last = field.split(".")
        for key in path:
            data = data[key]
        if value is ...:
            del data[last]
        else:
            data[last] = value
    names = names or (field.split(".")[-1],)
    # Where a tensor is as good a name as a field, its file is as good as config.json.
    file = "config.json|model.|lm_head" if any("|" in name for name in names) else "config.json"
    add(f"config-{name}", lambda folder: edit_json(folder / "config.json", edit), file, *names, **more)


for act in ("gelu", "relu", "gelu_pytorch_tanh", "", 5):
    config(f"hidden_act-{act}", "hidden_act", act)
for field in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "hidden_size",
              "intermediate_size", "vocab_size"):
    for value in (0, -1, 1.5, "2", 2 ** 62):
        # With an absurd size it is as true to name the tensor that has not that size.
        also = "" if value in (0, -1, 1.5, "2") else f"|{EMBED}|model.layers|_proj"
        config(f"{field}-{value}", field, value, field + also)
config("num_hidden_layers-missing", "num_hidden_layers", ...)
config("hidden_size-missing", "hidden_size", ...)
config("num_hidden_layers-more-than-stored", "num_hidden_layers", 3, "num_hidden_layers|model.layers.2.")
config("num_hidden_layers-million", "num_hidden_layers", 1000000, "num_hidden_layers|model.layers.2.")
config("hidden_size-2^31", "hidden_size", 2 ** 31, f"hidden_size|{EMBED}")
config("vocab_size-2^40", "vocab_size", 2 ** 40, f"vocab_size|{EMBED}")
config("vocab_size-other", "vocab_size", 321, f"vocab_size|{EMBED}")
config("heads-do-not-divide-hidden", "num_attention_heads", 5, "num_attention_heads|hidden_size")
config("kv-heads-do-not-divide-heads", "num_key_value_heads", 2, "num_key_value_heads|num_attention_heads")
config("kv-heads-more-than-heads", "num_key_value_heads", 6, "num_key_value_heads|num_attention_heads")
for value in (0, -16, 15, 4096, 2 ** 40):
    config(f"head_dim-{value}", "head_dim", value, "head_dim|_proj|_norm", base=QWEN3)
for value in (0, 0.0, -1e-6, "1e-6", -1e300):
    config(f"rms_norm_eps-{value!r}", "rms_norm_eps", value)
for value in (0, -10000.0, "10000"):
    config(f"rope_theta-{value!r}", "rope_theta", value)
    config(f"rope_theta-{value!r}-new-form", "rope_parameters.rope_theta", value, base=NEW_FORM)
for kind in ("dynamic", "llama3", "longrope", "su", "mrope", "nonsense", ""):
    config(f"rope-type-{kind}", "rope_scaling", {"type": kind, "factor": 2.0}, "rope", kind)
    config(f"rope-type-{kind}-key", "rope_scaling", {"rope_type": kind, "factor": 2.0}, "rope", kind)
    config(f"rope-type-{kind}-new-form", "rope_parameters", {"rope_type": kind, "factor": 2.0, "rope_theta": 1e4}, "rope", kind,
           base=NEW_FORM)
config("rope-type-number", "rope_scaling", {"type": 5, "factor": 2.0}, "rope|type")
config("rope-scaling-string", "rope_scaling", "linear", "rope_scaling")
for value in (0, -4.0, "4", ...):
    config(f"linear-factor-{value!r}", "rope_scaling.factor", value, base=QWEN3)
    config(f"yarn-factor-{value!r}", "rope_scaling.factor", value, base=YARN)
for value in (0, -64, "64"):
    config(f"yarn-original-{value!r}", "rope_parameters.original_max_position_embeddings", value, base=YARN_NEW)
for field, value in (("beta_fast", "fast"), ("beta_slow", -1), ("attention_factor", "one"), ("attention_factor", -1.0)):
    config(f"yarn-{field}-{value}", f"rope_parameters.{field}", value, base=YARN_NEW)
for value in ("llama", "qwen2_moe", "qwen3_next", "", 5, ["qwen2"], ...):
    config(f"model_type-{value}", "model_type", value)
config("tied-not-so", "tie_word_embeddings", False, "lm_head.weight|tie_word_embeddings")
config("tied-string", "tie_word_embeddings", "yes")
config("layer_types-unknown", "layer_types", ["full_attention", "chunked_attention"], "layer_types", base=QWEN3)
config("layer_types-short", "layer_types", ["full_attention"], "layer_types", base=QWEN3)
config("layer_types-string", "layer_types", "full_attention", "layer_types", base=QWEN3)
for value in (0, -16, "16"):
    config(f"sliding_window-{value!r}", "sliding_window", value, base=SHARDED)


def broken_json(file, **more):
    """What no JSON file may be."""
    short = file.removesuffix(".json")

    def cut(folder):
        data = (folder / file).read_bytes()
        write(folder / file, data[:len(data) // 2])
    add(f"{short}-cut", cut, file, **more)
    for name, text in (("empty", ""), ("array", "[]"), ("number", "5"), ("garbage", b"\x00\xff\xfe garbage"), ("deep", "[" * 100000),
                       ("deep-object", '{"a":' * 100000), ("latin1", b'{"model_type": "\xe9"}')):
        add(f"{short}-{name}", lambda folder, text=text: write(folder / file, text), file, **more)

    def trailing(folder):
        write(folder / file, (folder / file).read_bytes() + b"}")
    add(f"{short}-trailing", trailing, file, **more)

    def directory(folder):
        (folder / file).unlink()
        (folder / file).mkdir()
    add(f"{short}-is-a-folder", directory, file, **more)


broken_json("config.json")
add("config-missing", lambda folder: (folder / "config.json").unlink(), "config.json")
add("config-nan", lambda folder: write(folder / "config.json", (folder / "config.json").read_text().replace("1e-06", "NaN")), "config.json")
add("generation_config-cut", lambda folder: write(folder / "generation_config.json", '{"eos_token_id": ['), "generation_config.json",
    inspect=False)


# ---- safetensors ----

def split(path):
    """A file's header, as JSON, and its data."""
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + n]), data[8 + n:]


def join(path, header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    write(path, struct.pack("<Q", len(text) if length is None else length) + text + data)


def tensors_of(header, data):
    return {name: (entry, data[slice(*entry["data_offsets"])]) for name, entry in header.items() if name != "__metadata__"}


def rebuild(path, tensors):
    """Writes tensors one after another: only what was changed in them is wrong."""
    header, blob = {}, b""
    for name, (entry, data) in tensors.items():
        header[name] = {**entry, "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    join(path, header, blob)


def length_lies(name, length, grow=0):
    def apply(folder):
        header, data = split(folder / WEIGHTS)
        join(folder / WEIGHTS, header, data, length)
        if grow:
            os.truncate(folder / WEIGHTS, grow)
    add(f"safetensors-length-{name}", apply, WEIGHTS)


length_lies("0", 0)
length_lies("1", 1)
length_lies("beyond-the-file", 1 << 30)
length_lies("2^63", 1 << 63)
length_lies("2^64-1", (1 << 64) - 1)
length_lies("2^64-8", (1 << 64) - 8)
length_lies("200-MB", 200 << 20, grow=300 << 20)
length_lies("a-terabyte", 1 << 40, grow=2 << 40)


def header_is(name, make):
    def apply(folder):
        header, data = split(folder / WEIGHTS)
        join(folder / WEIGHTS, make(json.dumps(header).encode()), data)
    add(f"safetensors-header-{name}", apply, WEIGHTS)


header_is("empty-object", lambda text: b"{}")
header_is("not-utf8", lambda text: text.replace(b"model.norm", b"model\xff\xfenorm"))
header_is("leading-space", lambda text: b" " + text)
header_is("bom", lambda text: b"\xef\xbb\xbf" + text)
header_is("array", lambda text: b"[" + text + b"]")
header_is("cut", lambda text: text[:-20])
header_is("trailing-text", lambda text: text + b"x")
header_is("trailing-nul", lambda text: text + b"\0\0")
header_is("deep", lambda text: b'{"a":' * 100000)
header_is("deep-arrays", lambda text: b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}")
header_is("metadata-number", lambda text: text.replace(b'"format": "pt"', b'"format": 5'))
header_is("metadata-array", lambda text: text.replace(b'{"format": "pt"}', b'["pt"]'))
header_is("only-metadata", lambda text: b'{"__metadata__": {"format": "pt"}}')
header_is("tensor-twice", lambda text: text[:-1] + b', "model.norm.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}')


def file_is(name, data):
    add(f"safetensors-file-{name}", lambda folder: write(folder / WEIGHTS, data), WEIGHTS)


file_is("empty", b"")
file_is("7-bytes", b"\0" * 7)
file_is("8-bytes", b"\0" * 8)
file_is("text", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")


def tail(name, change):
    def apply(folder):
        size = (folder / WEIGHTS).stat().st_size
        with open(folder / WEIGHTS, "r+b") as file:
            file.truncate(change(size))
    add(f"safetensors-{name}", apply, WEIGHTS)


tail("last-byte-gone", lambda size: size - 1)
tail("half-gone", lambda size: size // 2)
tail("all-data-gone", lambda size: 8 + 2048)
tail("one-byte-more", lambda size: size + 1)
tail("a-page-more", lambda size: size + 4096)


def entry(name, tensor, change, *names, base=QWEN2):
    """One tensor's entry in the header changed in place, the data left alone."""
    def apply(folder):
        header, data = split(folder / WEIGHTS)
        change(header[tensor])
        join(folder / WEIGHTS, header, data)
    add(f"tensor-{name}", apply, WEIGHTS, *(names or (tensor,)), base=base)


def offsets(name, make):
    entry(f"span-{name}", DOWN, lambda e: e.update(data_offsets=make(*e["data_offsets"])))


offsets("backwards", lambda a, b: [b, a])
offsets("beyond-the-file", lambda a, b: [a + (1 << 40), b + (1 << 40)])
offsets("end-beyond", lambda a, b: [a, b + (1 << 30)])
offsets("2^63", lambda a, b: [a, 1 << 63])
offsets("2^64", lambda a, b: [(1 << 64) - 8, (1 << 64) - 8 + b - a])
offsets("negative", lambda a, b: [-8, b - a - 8])
offsets("fractions", lambda a, b: [a + 0.5, b + 0.5])
offsets("strings", lambda a, b: [str(a), str(b)])
offsets("one", lambda a, b: [a])
offsets("three", lambda a, b: [a, b, b])
offsets("empty", lambda a, b: [a, a])
offsets("short", lambda a, b: [a, b - 4])
offsets("surplus", lambda a, b: [a, b + 4])
entry("span-missing", DOWN, lambda e: e.pop("data_offsets"))
entry("span-object", DOWN, lambda e: e.update(data_offsets={"begin": 0}))
for dtype in ("F7", "", "f32", "I64", "F64", "BOOL", "F8_E4M3", 5, None):
    entry(f"dtype-{dtype}", DOWN, lambda e, dtype=dtype: e.update(dtype=dtype))
entry("dtype-halved", DOWN, lambda e: e.update(dtype="BF16"))
entry("dtype-missing", DOWN, lambda e: e.pop("dtype"))
entry("norm-dtype-I32", NORM, lambda e: e.update(dtype="I32"))
for name, shape in (("overflow", [1 << 32, 1 << 32]), ("overflow-to-fit", [1 << 62, 36 * 77, 4]), ("2^63", [1 << 63, 1]),
                    ("negative", [-36, -77]), ("fraction", [36.5, 77]), ("string", ["36", 77]), ("none", []), ("number", 2772),
                    ("zero", [0, 77]), ("flat", [36 * 77]), ("three", [1, 36, 77]), ("transposed", [77, 36]), ("many", [1] * 5000),
                    ("null", None), ("1e30", [1e30, 1])):
    entry(f"shape-{name}", DOWN, lambda e, shape=shape: e.update(shape=shape))
entry("shape-missing", DOWN, lambda e: e.pop("shape"))
entry("is-a-number", DOWN, lambda e: e.clear())


def overlap(folder):
    header, data = split(folder / WEIGHTS)
    a, b = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"
    header[a]["data_offsets"] = header[b]["data_offsets"]
    join(folder / WEIGHTS, header, data)


def overlap_a_little(folder):
    header, data = split(folder / WEIGHTS)
    header[DOWN]["data_offsets"] = [x - 4 for x in header[DOWN]["data_offsets"]]
    join(folder / WEIGHTS, header, data)


def hole(folder):
    header, data = split(folder / WEIGHTS)
    last = max(entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__")
    for name, e in header.items():
        if name != "__metadata__" and e["data_offsets"][0] == last:
            e["data_offsets"] = [x + 64 for x in e["data_offsets"]]
    join(folder / WEIGHTS, header, data + b"\0" * 64)


def many_on_one_span(folder):
    header, data = split(folder / WEIGHTS)
    for i in range(100000):
        header[f"x{i}"] = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    join(folder / WEIGHTS, header, data)


add("safetensors-overlap", overlap, WEIGHTS, "model.layers.0.mlp.")
add("safetensors-overlap-by-4", overlap_a_little, WEIGHTS, "model.layers.")
add("safetensors-hole", hole, WEIGHTS)
add("safetensors-100000-tensors-on-one-span", many_on_one_span, WEIGHTS)


def missing(tensor, base=QWEN2):
    def apply(folder):
        tensors = tensors_of(*split(folder / WEIGHTS))
        del tensors[tensor]
        rebuild(folder / WEIGHTS, tensors)
    add(f"missing-{base}-{tensor}", apply, tensor, base=base)


def resized(name, tensor, shape, base=QWEN2):
    """A tensor whole in itself, of another shape than the configuration asks for."""
    def apply(folder):
        tensors = tensors_of(*split(folder / WEIGHTS))
        old, data = tensors[tensor]
        n = 4
        for dim in shape:
            n *= dim
        tensors[tensor] = ({**old, "shape": shape}, (data * (n // max(1, len(data)) + 1))[:n])
        rebuild(folder / WEIGHTS, tensors)
    add(f"resized-{name}", apply, WEIGHTS, tensor, base=base)


for name in (EMBED, NORM, DOWN, "model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.v_proj.weight",
             "model.layers.0.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight"):
    missing(name)
for name in ("model.layers.0.self_attn.q_norm.weight", "model.layers.1.self_attn.k_norm.weight"):
    missing(name, QWEN3)
resized("embed-row-less", EMBED, [319, 36])
resized("embed-row-more", EMBED, [321, 36])
resized("down-larger", DOWN, [36, 78])
resized("bias-short", "model.layers.0.self_attn.k_proj.bias", [35])
resized("bias-2d", "model.layers.0.self_attn.k_proj.bias", [36, 1])
resized("norm-long", NORM, [37])
resized("q_norm-whole", "model.layers.0.self_attn.q_norm.weight", [64], QWEN3)
add("weights-missing", lambda folder: (folder / WEIGHTS).unlink(), "safetensors", inspect=False)


def replaced(name, make):
    def apply(folder):
        (folder / WEIGHTS).unlink()
        make(folder / WEIGHTS)
    add(f"weights-are-{name}", apply, WEIGHTS)


replaced("a-folder", lambda path: path.mkdir())
replaced("a-fifo", lambda path: os.mkfifo(path))
replaced("a-dangling-link", lambda path: path.symlink_to("nowhere"))
replaced("a-device", lambda path: path.symlink_to("/dev/zero"))


# ---- shards and their index ----

def index(name, edit, *names):
    add(f"index-{name}", lambda folder: edit_json(folder / INDEX, edit), *(names or (INDEX,)), base=SHARDED)


def in_map(value, tensor=NORM):
    return lambda data: data["weight_map"].update({tensor: value})


index("shard-missing", in_map("model-00009-of-00004.safetensors"), "model-00009-of-00004.safetensors")
index("shard-lacks-tensor", in_map("model-00001-of-00004.safetensors"), NORM)
index("outside", in_map("../model-00001-of-00004.safetensors"))
index("absolute", in_map("/etc/passwd"))
index("empty-name", in_map(""))
index("folder", in_map("."))
index("number", in_map(5))
index("null", in_map(None))
index("map-empty", lambda data: data["weight_map"].clear())
index("map-missing", lambda data: data.pop("weight_map"))
index("map-array", lambda data: data.update(weight_map=[]))
broken_json(INDEX, base=SHARDED)


def shard_gone(folder):
    (folder / "model-00003-of-00004.safetensors").unlink()


def shard_cut(folder):
    os.truncate(folder / "model-00003-of-00004.safetensors", 3000)


add("shard-gone", shard_gone, "model-00003-of-00004.safetensors", base=SHARDED, inspect=False)
add("shard-cut", shard_cut, "model-00003-of-00004.safetensors", base=SHARDED)


# ---- tokenizer.json ----

def tokenizer(name, edit, *names, **more):
    add(f"tokenizer-{name}", lambda folder: edit_json(folder / "tokenizer.json", edit), "tokenizer.json", *names, **more)


def model(**changes):
    return lambda data: data["model"].update(changes)


def in_vocab(piece, value):
    return lambda data: data["model"]["vocab"].update({piece: value})


def merge(value, at=3):
    return lambda data: data["model"]["merges"].__setitem__(at, value)


def split_pattern(value):
    return lambda data: data["pre_tokenizer"]["pretokenizers"][0].update(pattern=value)


broken_json("tokenizer.json")
for kind in ("WordPiece", "Unigram", "WordLevel", "", 5):
    tokenizer(f"type-{kind}", model(type=kind), "type")
tokenizer("type-missing", lambda data: data["model"].pop("type"), "type")
tokenizer("model-missing", lambda data: data.pop("model"), "model")
tokenizer("vocab-missing", lambda data: data["model"].pop("vocab"), "vocab")
tokenizer("vocab-empty", model(vocab={}), "vocab|merges")
tokenizer("vocab-array", model(vocab=["a"]), "vocab")
tokenizer("merges-missing", lambda data: data["model"].pop("merges"), "merges")
tokenizer("merges-object", model(merges={}), "merges")
for name, value in (("negative", -1), ("fraction", 1.5), ("string", "7"), ("2^31", 1 << 31), ("2^63", (1 << 63) - 1), ("null", None),
                    ("taken", 5)):
    tokenizer(f"id-{name}", in_vocab("zz", value), "vocab|zz")
tokenizer("id-beyond-the-model", in_vocab("zz", 5000), base=QWEN2, inspect=False)
for name, value in (("unknown-left", ["nope", "a"]), ("unknown-right", ["a", "nope"]), ("unknown-result", ["z", "q"]),
                    ("one-part", ["a"]), ("three-parts", ["a", "b", "c"]), ("number", 5), ("numbers", [1, 2]), ("empty-part", ["", "a"]),
                    ("string-unknown", "nope a"), ("string-one-part", "ab"), ("string-three-parts", "a b c"), ("null", None)):
    tokenizer(f"merge-{name}", merge(value), "merge")
for name, value in (("open", "("), ("class", "[a"), ("property", "\\p{Nope}"), ("quantifier", "*a"), ("escape", "a\\"),
                    ("lookbehind", "(?<=a*)b"), ("huge-repeat", "a{99999999}")):
    tokenizer(f"pattern-{name}", split_pattern({"Regex": value}), "pattern|pre_tokenizer|Regex")
tokenizer("pattern-number", split_pattern(5), "pattern|pre_tokenizer|Regex")
tokenizer("pattern-missing", split_pattern({}), "pattern|pre_tokenizer|Regex")
tokenizer("pre_tokenizer-unknown", lambda data: data.update(pre_tokenizer={"type": "Metaspace"}), "pre_tokenizer")
tokenizer("normalizer-unknown", lambda data: data.update(normalizer={"type": "Lowercase"}), "normalizer")


def added(**changes):
    return lambda data: data["added_tokens"][1].update(changes)


for name, value in (("negative", -1), ("string", "7"), ("2^31", 1 << 31), ("taken-by-a-piece", 5), ("taken-by-another", 296),
                    ("null", None)):
    tokenizer(f"added-id-{name}", added(id=value), "added")
tokenizer("added-id-beyond-the-model", added(id=5000), inspect=False)
tokenizer("added-content-empty", added(content=""), "added")
tokenizer("added-content-number", added(content=5), "added")
tokenizer("added-object", lambda data: data.update(added_tokens={}), "added")
