"""GGUF files that must be refused: at least ten of each class G01 to G33 of the threats that DESIGN.md's tests go by.

Everything is made from one sound tiny qwen2 model, written byte by byte here so that any byte can lie. `names` is what the
one line on stderr must hold beside the file's name: each entry a string, or several joined by "|" of which one must stand
there; "byte" is a place in the header.
"""

import copy
import struct
from dataclasses import dataclass, field
from typing import Callable

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALARS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
SIZE = {kind: struct.calcsize(code) for kind, code in SCALARS.items()}
FILE = "model.gguf"


def u32(x):
    return struct.pack("<I", x & 0xffffffff)


def u64(x):
    return struct.pack("<Q", x & 0xffffffffffffffff)


def text(x):
    data = x.encode() if isinstance(x, str) else x
    return u64(len(data)) + data


def pack(kind, value):
    return text(value) if kind == STRING else struct.pack("<" + SCALARS[kind], value)


def array(kind, values):
    return u32(kind) + u64(len(values)) + b"".join(pack(kind, v) for v in values)


@dataclass
class Tensor:
    name: bytes
    dims: list  # in the file's order: the first runs fastest
    kind: int = 0
    data: bytes = b""
    offset: int = None
    n_dims: int = None


@dataclass
class Gguf:
    magic: bytes = b"GGUF"
    version: int = 3
    values: list = field(default_factory=list)  # [key, type, bytes]
    tensors: list = field(default_factory=list)
    n_tensors: int = None
    n_values: int = None

    def at(self, key):
        return next(i for i, row in enumerate(self.values) if row[0] == key)

    def put(self, key, kind, value):
        """Sets a value, or adds it."""
        data = value if kind == ARRAY else pack(kind, value)
        rows = [row for row in self.values if row[0] == key]
        if rows:
            rows[0][1:] = [kind, data]
        else:
            self.values.append([key, kind, data])

    def drop(self, key):
        del self.values[self.at(key)]

    def tensor(self, name):
        return next(t for t in self.tensors if t.name == name.encode())

    def head(self):
        """The header without the padding behind it."""
        out = self.magic + u32(self.version)
        out += u64(len(self.tensors) if self.n_tensors is None else self.n_tensors)
        out += u64(len(self.values) if self.n_values is None else self.n_values)
        for key, kind, data in self.values:
            out += (key if isinstance(key, bytes) else text(key)) + u32(kind) + data
        offset = 0
        for t in self.tensors:
            out += text(t.name) + u32(len(t.dims) if t.n_dims is None else t.n_dims)
            out += b"".join(u64(d) for d in t.dims) + u32(t.kind) + u64(offset if t.offset is None else t.offset)
            offset += -(-len(t.data) // 32) * 32
        return out

    def bytes(self):
        out = self.head()
        for t in self.tensors:
            out += b"\0" * (-len(out) % 32) + t.data
        return out


def byte_tokens():
    """The 256 pieces that bytes stand for, in the order of bytes."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = iter(range(0x100, 0x144))
    return [chr(b if b in printable else next(others)) for b in range(256)]


TOKENS = byte_tokens() + ["th", "the", "Ġthe", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "[PAD263]"]
KINDS = [1] * 259 + [3, 3, 3, 4, 5]
N_VOCAB, HIDDEN, INNER, HEADS, KV_HEADS, LAYERS = len(TOKENS), 32, 64, 2, 1, 2


def sound():
    g = Gguf()
    for key, kind, value in (
            ("general.architecture", STRING, "qwen2"), ("general.name", STRING, "tiny"), ("general.alignment", U32, 32),
            ("qwen2.block_count", U32, LAYERS), ("qwen2.context_length", U32, 64), ("qwen2.embedding_length", U32, HIDDEN),
            ("qwen2.feed_forward_length", U32, INNER), ("qwen2.attention.head_count", U32, HEADS),
            ("qwen2.attention.head_count_kv", U32, KV_HEADS), ("qwen2.rope.freq_base", F32, 10000.0),
            ("qwen2.attention.layer_norm_rms_epsilon", F32, 1e-6), ("tokenizer.ggml.model", STRING, "gpt2"),
            ("tokenizer.ggml.pre", STRING, "qwen2"), ("tokenizer.ggml.tokens", ARRAY, array(STRING, TOKENS)),
            ("tokenizer.ggml.token_type", ARRAY, array(I32, KINDS)),
            ("tokenizer.ggml.merges", ARRAY, array(STRING, ["t h", "th e", "Ġ the"])), ("tokenizer.ggml.eos_token_id", U32, 261),
            ("tokenizer.ggml.padding_token_id", U32, 259), ("tokenizer.ggml.add_bos_token", BOOL, 0),
            ("tokenizer.chat_template", STRING, "{% for m in messages %}{{ m.content }}{% endfor %}")):
        g.put(key, kind, value)
    shapes = [("token_embd.weight", [HIDDEN, N_VOCAB]), ("output_norm.weight", [HIDDEN])]
    head = HIDDEN // HEADS
    for i in range(LAYERS):
        shapes += [(f"blk.{i}.{name}", dims) for name, dims in (
            ("attn_norm.weight", [HIDDEN]), ("attn_q.weight", [HIDDEN, HIDDEN]), ("attn_q.bias", [HIDDEN]),
            ("attn_k.weight", [HIDDEN, head * KV_HEADS]), ("attn_k.bias", [head * KV_HEADS]),
            ("attn_v.weight", [HIDDEN, head * KV_HEADS]), ("attn_v.bias", [head * KV_HEADS]),
            ("attn_output.weight", [HIDDEN, HIDDEN]), ("ffn_norm.weight", [HIDDEN]), ("ffn_gate.weight", [HIDDEN, INNER]),
            ("ffn_up.weight", [HIDDEN, INNER]), ("ffn_down.weight", [INNER, HIDDEN]))]
    for at, (name, dims) in enumerate(shapes):
        n = 1
        for d in dims:
            n *= d
        g.tensors.append(Tensor(name.encode(), dims, 0, struct.pack(f"<{n}f", *(((i * 7 + at) % 13 - 6) * 0.02 for i in range(n)))))
    return g


SOUND = sound()


NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def name_of(hugging_face):
    """GGUF's name of a tensor."""
    stem, end = hugging_face.rsplit(".", 1)
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.{end}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.{end}"


@dataclass
class Damage:
    name: str
    make: Callable  # → the file's bytes, or {name: bytes} with the one to open first
    names: tuple


ALL = []


def add(name, make, *names):
    ALL.append(Damage(name, make, names))


def change(name, edit, *names):
    """The sound file after edit(file), which may return other bytes."""
    def make():
        g = copy.deepcopy(SOUND)
        out = edit(g)
        return g.bytes() if out is None else out
    add(name, make, *names)


def setter(key, kind, value):
    return lambda g: g.put(key, kind, value)


# ---- G01 to G06: the beginning ----

GOOD = SOUND.bytes()
for i, start in enumerate((b"G", b"GG", b"GGU", b"GGUf", b"gguf", b"FUGG", b"ggml", b"ggjt", b"GGML", b"PK\3\4", b"\x7fELF", b"\0" * 64,
                           b"\xef\xbb\xbfGGUF", b" GGUF", b"version https://git-lfs.github.com/spec/v1\n", u64(2) + b"{}")):
    add(f"G01-{i}", lambda start=start: start + (GOOD[len(start):] if len(start) == 4 else b""), "byte 0")
add("G01-empty", lambda: b"", "empty")
for version in (0, 1, 4, 5, 255, 0x10003, 1 << 31, 0xffffffff, 0x01000000, 0x02000000, 0x03000000):
    change(f"G02-{version:x}", lambda g, version=version: setattr(g, "version", version), "byte 4", "version")
N_TENSORS, N_VALUES = len(SOUND.tensors), len(SOUND.values)
for n in (1 << 63, -1, (1 << 63) - 1, 1 << 62, 1 << 32, 1 << 31, 1000000, 65537, N_TENSORS + 1, N_TENSORS + 1000):
    change(f"G03-{n}", lambda g, n=n: setattr(g, "n_tensors", n), "byte")
for n in (1 << 63, -1, (1 << 63) - 1, 1 << 62, 1 << 32, 1 << 31, 1000000, 65537, N_VALUES + 1, N_VALUES + 1000, N_VALUES - 1, 0):
    change(f"G04-{n}", lambda g, n=n: setattr(g, "n_values", n), "byte|general.architecture")
for n in (0, -1, 1 << 63, (1 << 63) - 1, 1 << 40, 1 << 32, 1 << 31, 65536, len(GOOD), len(GOOD) - 24, -8):
    change(f"G05-{n}", lambda g, n=n: g.values.insert(0, [u64(n) + b"general.x", U8, b"\0"]), "byte")
for i, key in enumerate((b"", b"\xff", b"a\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"a\xe2\x82", b"\x80abc", b"a\0b", b"\0", b"a\nb", b"\x1b[2J",
                         b"a\x7f")):
    change(f"G06-{i}", lambda g, key=key: g.values.insert(3, [text(key), U8, b"\0"]), "byte")

# ---- G07 to G14: values ----

for kind in (13, 14, 16, 31, 100, 255, 256, 65535, 1 << 24, 1 << 31, 0xffffffff):
    change(f"G07-{kind}", lambda g, kind=kind: g.values.insert(2, ["x.y", kind, b"\0" * 8]), "byte", "x.y")
    change(f"G07-array-{kind}", lambda g, kind=kind: g.values.insert(2, ["x.y", ARRAY, u32(kind) + u64(1) + b"\0" * 8]), "byte", "x.y")
for n in (-1, 1 << 63, (1 << 63) - 1, 1 << 40, 1 << 32, len(GOOD), len(GOOD) + 1, -8, -16, 1 << 31):
    change(f"G08-{n}", lambda g, n=n: g.values.append(["x.y", STRING, u64(n) + b"abc"]), "byte", "x.y")
    change(f"G08-array-{n}", lambda g, n=n: g.values.append(["x.y", ARRAY, u32(STRING) + u64(2) + text("a") + u64(n) + b"abc"]), "byte", "x.y")
for kind in SIZE:
    for n in (-1, (1 << 64) // SIZE[kind] + 1 if SIZE[kind] > 1 else 1 << 63):
        change(f"G09-{kind}-{n}", lambda g, kind=kind, n=n: g.values.insert(1, ["x.y", ARRAY, u32(kind) + u64(n) + b"\0" * 64]), "byte", "x.y")
for depth in (1, 2, 3, 4, 10, 100, 1000, 10000, 100000, 1000000):
    change(f"G10-{depth}", lambda g, depth=depth: g.values.insert(1, ["x.y", ARRAY, (u32(ARRAY) + u64(1)) * depth + u32(U8) + u64(1) + b"\0"]), "byte", "x.y")
for n in (1 << 32, 1 << 40, 1 << 63, -1, 1 << 31, 10 ** 9, 10 ** 7, 1 << 61, (1 << 61) + 1, len(GOOD)):
    change(f"G11-{n}", lambda g, n=n: g.values.insert(1, ["x.y", ARRAY, u32(STRING) + u64(n) + b"\0" * 4096]), "byte", "x.y")
for value in (2, 3, 4, 7, 16, 127, 128, 254, 255):
    change(f"G12-{value}", setter("x.y", BOOL, value), "byte", "x.y")
    change(f"G12-array-{value}", setter("x.y", ARRAY, array(BOOL, [0, 1, value])), "byte", "x.y")
for row in SOUND.values[:12]:
    change(f"G13-{row[0]}", lambda g, row=row: g.values.append(list(row)), row[0])
change("G13-other-type", lambda g: g.values.append(["general.name", U8, b"\1"]), "general.name")
for value in (0, 1, 2, 3, 4, 5, 7, 12, 24, 33, 48, 1 << 21, 1 << 31, 0xffffffff):
    change(f"G14-{value}", setter("general.alignment", U32, value), "general.alignment")
for kind, value in ((STRING, "32"), (F32, 32.0), (BOOL, 1), (I64, -32), (ARRAY, array(U32, [32])), (F64, 32.0), (U64, (1 << 64) - 32), (I8, -8)):
    change(f"G14-type-{kind}", setter("general.alignment", kind, value), "general.alignment")

# ---- G15 to G24: tensors ----


def tensor(name, edit, *names, at="blk.0.ffn_up.weight"):
    def make(g):
        edit(g.tensor(at))
    change(name, make, *names)


for i, name in enumerate((b"", b"x" * 65, b"x" * 128, b"x" * 65536, b"\xff", b"a\0b", b"a\nb", b"\xed\xa0\x80", b"../../x", b"a\x1b[0m")):
    tensor(f"G15-{i}", lambda t, name=name: setattr(t, "name", name), "byte")
for t in SOUND.tensors[:10]:
    change(f"G15-twice-{t.name.decode()}", lambda g, t=t: g.tensors.append(copy.deepcopy(t)), t.name.decode())
for n in (0, 5, 6, 8, 16, 255, 256, 65536, 1 << 31, 0xffffffff):
    tensor(f"G16-{n}", lambda t, n=n: setattr(t, "n_dims", n), "byte", "blk.0.ffn_up.weight")
for i, dims in enumerate(([0, 64], [32, 0], [0], [0, 0], [-1, 64], [32, -1], [1 << 63, 1], [32, 1 << 63], [1 << 32, 1 << 32], [1 << 62, 4],
                          [1 << 21, 1 << 21, 1 << 21, 1 << 21], [(1 << 63) - 1, 3])):
    tensor(f"G17-{i}", lambda t, dims=dims: setattr(t, "dims", dims), "byte", "blk.0.ffn_up.weight")
for i, (kind, dims) in enumerate(((0, [1 << 62]), (0, [1 << 31, 1 << 31]), (0, [1 << 62, 3]), (1, [1 << 63 - 1, 2]), (1, [1 << 31, 1 << 32]),
                                  (28, [1 << 61]), (28, [1 << 61, 7]), (27, [1 << 30, 1 << 31]), (30, [1 << 40, 1 << 23]), (26, [1 << 50, 1 << 12]))):
    tensor(f"G18-{i}", lambda t, kind=kind, dims=dims: (setattr(t, "dims", dims), setattr(t, "kind", kind)), "byte", "blk.0.ffn_up.weight")
for kind in (4, 5, 31, 32, 33, 36, 37, 38, 42, 43, 100, 255, 1 << 31, 0xffffffff):
    tensor(f"G19-{kind}", lambda t, kind=kind: setattr(t, "kind", kind), "byte", "blk.0.ffn_up.weight")
for kind in (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 29, 34, 35, 40, 41):  # blocks of 64, 128 and 256
    tensor(f"G20-{kind}", lambda t, kind=kind: setattr(t, "kind", kind), "byte", "blk.0.ffn_up.weight")
for kind in (2, 3, 6, 7, 8, 20, 39):  # of 32
    tensor(f"G20-31-{kind}", lambda t, kind=kind: (setattr(t, "kind", kind), setattr(t, "dims", [31, 64])), "byte", "blk.0.ffn_up.weight")
UP = sum(-(-len(t.data) // 32) * 32 for t in SOUND.tensors[:[t.name for t in SOUND.tensors].index(b"blk.0.ffn_up.weight")])
for step in (1, 2, 4, 8, 16, 31, 33, 40, -1, -8, -16):
    tensor(f"G21-{step}", lambda t, step=step: setattr(t, "offset", UP + step), "byte", "blk.0.ffn_up.weight")
for offset in (-32, 1 << 63, (1 << 63) - 32, 1 << 62, 1 << 40, 1 << 32, 1 << 31, 1 << 24, 32 * (len(GOOD) // 32), 32 * (len(GOOD) // 32) - 8192):
    tensor(f"G22-{offset}", lambda t, offset=offset: setattr(t, "offset", offset), "blk.0.ffn_up.weight")
for step in (-32, -64, -1024, -4096, 32, 64, 1024, 4096, -UP, 8192 - 32):
    tensor(f"G23-{step}", lambda t, step=step: setattr(t, "offset", UP + step), "blk.|token_embd|output_norm", "offset")
for gone in (1, 2, 31, 32, 33, 100, 1000, 4096, 8192, 50000):
    add(f"G24-{gone}", lambda gone=gone: GOOD[:-gone], "blk.1.|blk.0.")
add("G24-all", lambda: SOUND.head(), "token_embd.weight|output_norm.weight|blk.")

# ---- G25: cut within the header (every byte of it: tests/unit/test_gguf.c) ----

HEAD = len(SOUND.head())
for n in [*range(1, 33), *range(33, HEAD, HEAD // 40), HEAD - 1]:
    add(f"G25-{n}", lambda n=n: GOOD[:n], "byte")

# ---- G26 to G29: what the model is ----

for name in ("llama", "qwen", "qwen2moe", "qwen2vl", "qwen3moe", "qwen3next", "QWEN2", "", "qwen2 ", "qwen2\0", "bert", "q" * 300):
    change(f"G26-{name[:20]!r}", setter("general.architecture", STRING, name), "general.architecture")
change("G26-none", lambda g: g.drop("general.architecture"), "general.architecture")
for kind, value in ((U32, 2), (F32, 2.0), (BOOL, 1), (ARRAY, array(STRING, ["qwen2"])), (ARRAY, array(U8, b"qwen2"))):
    change(f"G26-type-{kind}-{len(ALL)}", setter("general.architecture", kind, value), "general.architecture")
INTS = ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv")
FLOATS = ("rope.freq_base", "attention.layer_norm_rms_epsilon")
for key in INTS:
    for kind, value in ((STRING, "2"), (F32, 2.0), (BOOL, 1), (ARRAY, array(U32, [2, 2]))):
        change(f"G26-{key}-{kind}", setter("qwen2." + key, kind, value), "qwen2." + key)
for key in FLOATS:
    for kind, value in ((STRING, "1"), (U32, 10000), (BOOL, 1), (ARRAY, array(F32, [1.0]))):
        change(f"G26-{key}-{kind}", setter("qwen2." + key, kind, value), "qwen2." + key)
for key in (*INTS[:5], FLOATS[1]):
    change(f"G26-{key}-none", lambda g, key=key: g.drop("qwen2." + key), "qwen2." + key)
for kind, value in ((U32, 0), (U32, 1), (U32, 3), (U32, 1025), (U32, 1000000), (U32, 1 << 31), (U32, 0xffffffff), (I32, -1), (I64, -(1 << 63)),
                    (U64, (1 << 64) - 1), (U64, 1 << 63), (U8, 0)):
    change(f"G27-{kind}-{value}", setter("qwen2.block_count", kind, value), "qwen2.block_count|blk.1.|blk.2.")
for key, values in (("attention.head_count", (0, 3, 5, 6, 7, 33, 1 << 31, 0xffffffff)), ("attention.head_count_kv", (0, 3, 4, 5, 1025, 1 << 31, 0xffffffff)),
                    ("embedding_length", (0, 1, 31, 33, 48, 1 << 31)), ("feed_forward_length", (0, 63, 65, 1 << 31)), ("context_length", (0, 1 << 31)),
                    ("attention.key_length", (0, 1, 3, 17, 32, 513)), ("attention.value_length", (0, 8, 32, 513))):
    for value in values:
        change(f"G28-{key}-{value}", setter("qwen2." + key, U32, value), "qwen2.|blk.0.|token_embd.weight|head_count")
for value in (0, 1, 3, 8, 15, 17, 32, 64, 1 << 31, 0xffffffff):
    change(f"G29-dims-{value}", setter("qwen2.rope.dimension_count", U32, value), "qwen2.rope.dimension_count")
NAN, INF = float("nan"), float("inf")
for key in FLOATS:
    for value in (NAN, -NAN, INF, -INF, 0.0, -0.0, -1.0, -1e30):
        change(f"G29-{key}-{value}-{len(ALL)}", setter("qwen2." + key, F32, value), "qwen2." + key)
    for value in (1e300, NAN, 1e-320):
        change(f"G29-{key}-f64-{value}", setter("qwen2." + key, F64, value), "qwen2." + key)
for name in ("longrope", "dynamic", "", "llama3", "YARN"):
    change(f"G29-scaling-{name}", setter("qwen2.rope.scaling.type", STRING, name), "qwen2.rope.scaling.type")
for kind in ("linear", "yarn"):
    for value in (None, 0.0, -4.0, NAN, INF):
        def scale(g, kind=kind, value=value):
            g.put("qwen2.rope.scaling.type", STRING, kind)
            if value is not None:
                g.put("qwen2.rope.scaling.factor", F32, value)
        change(f"G29-{kind}-{value}", scale, "qwen2.rope.scaling.factor")
for key, kind, value in (("attention.sliding_window", U32, 16), ("attention.causal", BOOL, 0)):
    change(f"G29-{key}", setter("qwen2." + key, kind, value), "qwen2." + key)

# ---- G30, G31 and the rest of the vocabulary ----

LIST = "tokenizer.ggml.tokens"
for n in (0, 1, 255, 256, 258, N_VOCAB - 1):
    change(f"G30-{n}", setter(LIST, ARRAY, array(STRING, TOKENS[:n])), LIST)
for more in (1, 2, 100, 5000):
    change(f"G30-more-{more}", setter(LIST, ARRAY, array(STRING, TOKENS + [f"x{i}" for i in range(more)])), LIST)
for n in (0, 1, N_VOCAB - 1, N_VOCAB + 1, 5000):
    change(f"G30-types-{n}", setter("tokenizer.ggml.token_type", ARRAY, array(I32, [1] * n)), "tokenizer.ggml.token_type")
    change(f"G30-scores-{n}", setter("tokenizer.ggml.scores", ARRAY, array(F32, [0.0] * n)), "tokenizer.ggml.scores")
for value in (1, N_VOCAB - 1, N_VOCAB + 1, 1 << 31):
    change(f"G30-vocab_size-{value}", setter("qwen2.vocab_size", U32, value), "qwen2.vocab_size")
for key in ("eos_token_id", "bos_token_id", "padding_token_id", "unknown_token_id", "eot_token_id"):
    for kind, value in ((U32, N_VOCAB), (U32, 0xffffffff), (U32, 1 << 31), (I32, -1), (U64, 1 << 63), (STRING, "1"), (F32, 1.0)):
        change(f"G31-{key}-{kind}-{value}", setter("tokenizer.ggml." + key, kind, value), "tokenizer.ggml." + key)


def token(at, value):
    return setter(LIST, ARRAY, array(STRING, [*TOKENS[:at], value, *TOKENS[at + 1:]]))


def kind_of(at, value):
    return setter("tokenizer.ggml.token_type", ARRAY, array(I32, [*KINDS[:at], value, *KINDS[at + 1:]]))


def merges(*values):
    return setter("tokenizer.ggml.merges", ARRAY, array(STRING, values))


for at, value in ((0, ""), (65, "B"), (258, "the"), (260, "<|im_end|>"), (262, ""), (262, "x" * 1025), (262, "a\0b"), (7, "x"), (200, "\u4e00"), (258, "a b")):
    change(f"vocabulary-token-{at}-{value[:9]!r}", token(at, value), LIST)
change("vocabulary-not-utf8", token(7, b"\xff\xfe"), "byte", LIST)
for at, value in ((0, 0), (1, 7), (2, -1), (3, 1 << 30), (65, 5), (66, 6), (67, 4), (68, 3), (256, 5), (257, 5)):
    change(f"vocabulary-kind-{at}-{value}", kind_of(at, value), "tokenizer.ggml.")
for i, values in enumerate(((" ",), ("",), ("t",), ("t h e",), ("t h", "q q"), ("xx h",), ("t  h",), ("t ", ), (" h",), ("t h", "th e", "th th"), ("\0 h",))):
    change(f"vocabulary-merges-{i}", merges(*values), "tokenizer.ggml.merges")
change("vocabulary-merges-none", lambda g: g.drop("tokenizer.ggml.merges"), "tokenizer.ggml.merges")
for key, value in (("model", "llama"), ("model", "bert"), ("model", ""), ("pre", "default"), ("pre", "llama-bpe"), ("pre", ""), ("pre", "qwen2\n")):
    change(f"vocabulary-{key}-{value!r}", setter("tokenizer.ggml." + key, STRING, value), "tokenizer.ggml." + key)
for key in ("add_bos_token", "add_eos_token", "add_space_prefix"):
    change(f"vocabulary-{key}", setter("tokenizer.ggml." + key, BOOL, 1), "tokenizer.ggml." + key)
for i, source in enumerate(("{% for %}", "{{", "{% if x %}", "{% endfor %}", "x" * (2 << 20), "{{ a.__class__(((( }}", "{% macro a() %}")):
    change(f"vocabulary-template-{i}", setter("tokenizer.chat_template", STRING, source), "tokenizer.chat_template")

# ---- G32: splits ----

for i, (number, count, total) in enumerate(((0, 2, None), (1, 2, None), (1, 1, None), (5, 9, None), (0, 1000, None), (0, 1, 3), (0, 1, N_TENSORS + 1),
                                            (None, 2, None), (0, 65535, None), (0, 0, None), (65535, 65535, None))):
    def split_keys(g, number=number, count=count, total=total):
        for key, kind, value in (("split.no", U16, number), ("split.count", U16, count), ("split.tensors.count", I32, total)):
            if value is not None:
                g.put(key, kind, value)
    change(f"G32-{i}", split_keys, "split.")
for key in ("split.no", "split.count", "split.tensors.count"):
    for kind, value in ((STRING, "0"), (F32, 0.0), (I32, -1)):
        change(f"G32-{key}-{kind}", setter(key, kind, value), key)


def parts(edit=lambda files: None):
    """The sound model in three files, {name: Gguf}."""
    files = {}
    for i in range(3):
        g = copy.deepcopy(SOUND) if i == 0 else Gguf()
        g.tensors = copy.deepcopy(SOUND.tensors[i::3])
        g.put("split.no", U16, i)
        g.put("split.count", U16, 3)
        g.put("split.tensors.count", I32, N_TENSORS)
        files[f"m-{i + 1:05}-of-00003.gguf"] = g
    edit(files)
    return {name: g if isinstance(g, bytes) else g.bytes() for name, g in files.items()}


SECOND, THIRD = "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"


def in_parts(name, edit, *names):
    add(f"G32-parts-{name}", lambda: parts(edit), *names)


in_parts("second-gone", lambda f: f.pop(SECOND), SECOND)
in_parts("third-gone", lambda f: f.pop(THIRD), THIRD)
in_parts("second-empty", lambda f: f.update({SECOND: b""}), SECOND)
in_parts("second-text", lambda f: f.update({SECOND: b"text"}), SECOND, "byte 0")
in_parts("second-numbered-0", lambda f: f[SECOND].put("split.no", U16, 0), SECOND, "split.no")
in_parts("second-numbered-2", lambda f: f[SECOND].put("split.no", U16, 2), SECOND, "split.no")
in_parts("second-unnumbered", lambda f: f[SECOND].drop("split.no"), SECOND, "split.no")
in_parts("third-counts-2", lambda f: f[THIRD].put("split.count", U16, 2), THIRD, "split.count")
in_parts("third-counts-nothing", lambda f: f[THIRD].drop("split.count"), THIRD, "split.count")
in_parts("tensor-gone", lambda f: f[SECOND].tensors.pop(), "split.tensors.count")
in_parts("tensor-twice", lambda f: f[SECOND].tensors.__setitem__(0, copy.deepcopy(SOUND.tensors[0])), "token_embd.weight")
in_parts("swapped", lambda f: f.update({SECOND: f[THIRD], THIRD: f[SECOND]}), SECOND, "split.no")
in_parts("total-0", lambda f: next(iter(f.values())).put("split.tensors.count", I32, 0), "split.tensors.count")
in_parts("second-cut", lambda f: f.update({SECOND: f[SECOND].bytes()[:-100]}), SECOND, "blk.")

# ---- G33: tensors that the model needs ----

for t in SOUND.tensors:
    change(f"G33-missing-{t.name.decode()}", lambda g, t=t: g.tensors.remove(g.tensor(t.name.decode())), t.name.decode())
for i, (name, dims) in enumerate((("token_embd.weight", [31, N_VOCAB]), ("token_embd.weight", [N_VOCAB, 32]), ("token_embd.weight", [32 * N_VOCAB]),
                                  ("output_norm.weight", [31]), ("output_norm.weight", [32, 1]), ("output_norm.weight", [1, 32]),
                                  ("blk.0.ffn_up.weight", [64, 32]), ("blk.0.ffn_up.weight", [32, 63]), ("blk.0.ffn_up.weight", [32, 32, 2]),
                                  ("blk.1.ffn_down.weight", [32, 64]), ("blk.1.attn_k.weight", [32, 15]), ("blk.1.attn_q.bias", [16, 2]))):
    tensor(f"G33-shape-{i}", lambda t, dims=dims: setattr(t, "dims", dims), name + "|tokenizer.ggml.tokens", at=name)
for kind, dims in ((9, None), (24, None), (25, None), (26, None), (28, [32, 32]), (39, None)):
    tensor(f"G33-type-{kind}", lambda t, kind=kind, dims=dims: setattr(t, "kind", kind), "blk.0.ffn_up.weight|blk.0.ffn_down.weight")
for kind in (2, 8, 20, 24):
    tensor(f"G33-norm-{kind}", lambda t, kind=kind: setattr(t, "kind", kind), "blk.0.attn_norm.weight", at="blk.0.attn_norm.weight")
for name in ("blk.0.x.weight", "blk.2.attn_q.weight", "blk.0.attn_q_norm.weight", "blk.0.attn_output.bias", "blk.-1.attn_q.weight", "blk.0.ffn_gate_inp.weight",
             "blk.99999999999.attn_q.weight", "blk..attn_q.weight", "rope_freqs.weight"):
    change(f"G33-surplus-{name}", lambda g, name=name: g.tensors.append(Tensor(name.encode(), [8], 0, b"\0" * 32)), name)
