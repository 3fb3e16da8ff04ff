"""Checkpoints in the layouts of other people's quantisers, made with numpy from a Hugging Face directory of plain weights.

Each layout is written as its maker's tools write it: MLX (mlx.core.quantize and mlx-lm), GPTQ (AutoGPTQ's and GPTQModel's pack), AWQ
(AutoAWQ's WQLinear_GEMM), FP8 (transformers' FineGrainedFP8Config). Beside the tensors comes the float32 matrix that they stand for.
"""

import json
import shutil
import struct

import gguf_files
import numpy

TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "U32": "<u4", "I32": "<i4", "F8_E4M3": "u1", "U8": "u1"}


def rounded(values, kind):
    """(as stored, as float32) of numbers rounded to a type."""
    values = values.astype("<f4")
    if kind == "BF16":
        bits = values.view("<u4")
        stored = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")
        return stored, (stored.astype("<u4") << 16).view("<f4")
    stored = values.astype(TYPES[kind])
    return stored, stored.astype("<f4")


def write_file(path, tensors):
    """A safetensors file of {name: (type, array)}."""
    header, blob = {}, b""
    for name, (kind, values) in tensors.items():
        data = numpy.ascontiguousarray(values, TYPES[kind]).tobytes()
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)


def pack_words(q, bits):
    """The last axis in words of 32 bits, the first number in the lowest."""
    q = q.astype("<u4").reshape(*q.shape[:-1], -1, 32 // bits)
    return (q << (numpy.arange(32 // bits, dtype="<u4") * bits)).sum(-1, dtype="<u4")


# ---- MLX ----

def pack_mlx(q, bits):
    """Words of 32 bits where bits divides them; else 8 numbers of 3 or 5 bits, or 4 of 6, in as few bytes as hold them."""
    if 32 % bits == 0:
        return pack_words(q, bits)
    n, n_bytes = {3: (8, 3), 5: (8, 5), 6: (4, 3)}[bits]
    packs = (q.astype("<u8").reshape(*q.shape[:-1], -1, n) << (numpy.arange(n, dtype="<u8") * numpy.uint64(bits))).sum(-1, dtype="<u8")
    data = packs[..., None].view("u1")[..., :n_bytes]
    return numpy.ascontiguousarray(data).reshape(*q.shape[:-1], -1).view("<u4")


def mlx(values, bits, group, kind="F16"):
    most, x = (1 << bits) - 1, values.reshape(values.shape[0], -1, group)
    low, high = x.min(-1), x.max(-1)
    from_low = abs(low) > abs(high)
    scale = numpy.where(from_low, 1, -1) * numpy.maximum((high - low) / most, 1e-7)
    edge = numpy.where(from_low, low, high)
    steps = numpy.rint(edge / scale)
    scale = numpy.where(steps != 0, edge / numpy.where(steps != 0, steps, 1), scale)
    (scale, s), (bias, b) = rounded(scale, kind), rounded(numpy.where(steps != 0, edge, 0), kind)
    q = numpy.clip(numpy.rint((x - b[..., None]) / s[..., None]), 0, most)
    numbers = (s[..., None] * q + b[..., None]).astype("<f4").reshape(values.shape)
    return {"weight": ("U32", pack_mlx(q.reshape(values.shape), bits)), "scales": (kind, scale), "biases": (kind, bias)}, numbers


# ---- GPTQ and AWQ ----

def round_to_nearest(values, bits, g_idx, symmetric):
    """(q [rows, columns], scales as stored and as float32, zeros [groups, rows]), columns in groups by g_idx."""
    most, n_groups = (1 << bits) - 1, g_idx.max() + 1
    scales, zeros = numpy.empty((n_groups, len(values)), "<f4"), numpy.empty((n_groups, len(values)), "<i8")
    for g in range(n_groups):
        x = values[:, g_idx == g]
        low, high = numpy.minimum(x.min(1), 0), numpy.maximum(x.max(1), 0)
        if symmetric:
            high = numpy.maximum(-low, high)
            low = -high
        scales[g] = numpy.maximum((high - low) / most, 1e-6)
        zeros[g] = (most + 1) // 2 if symmetric else numpy.clip(numpy.rint(-low / scales[g]), 0, most)
    if not symmetric:  # the ends of the range, wherever they come from
        zeros[:, ::5], zeros[:, 1::5] = 0, most
    stored, scales = rounded(scales, "F16")
    q = numpy.clip(numpy.rint(values / scales[g_idx].T) + zeros[g_idx].T, 0, most).astype("<u4")
    return q, stored, scales, zeros


def gptq(values, bits, group, symmetric=True, reorder=False, v2=False, seed=0):
    columns = values.shape[1]
    g_idx = numpy.arange(columns) // (columns if group == -1 else group)
    if reorder:
        g_idx = g_idx[numpy.random.default_rng(seed).permutation(columns)]
    q, stored, scales, zeros = round_to_nearest(values, bits, g_idx, symmetric)
    qzeros = pack_words(zeros, bits)
    if not v2:
        qzeros = qzeros - numpy.array(0x11111111 if bits == 4 else 0x01010101, "<u4")
    numbers = (scales[g_idx].T * (q.astype("<f4") - zeros[g_idx].T)).astype("<f4")
    return {"qweight": ("I32", pack_words(q, bits).T.view("<i4")), "qzeros": ("I32", qzeros.view("<i4")), "scales": ("F16", stored),
            "g_idx": ("I32", g_idx)}, numbers


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def pack_awq(q):
    return pack_words(q.reshape(len(q), -1, 8)[:, :, AWQ_ORDER].reshape(q.shape), 4).view("<i4")


def awq(values, group):
    columns = values.shape[1]
    g_idx = numpy.arange(columns) // (columns if group == -1 else group)
    q, stored, scales, zeros = round_to_nearest(values, 4, g_idx, False)
    numbers = (scales[g_idx].T * (q.astype("<f4") - zeros[g_idx].T)).astype("<f4")
    return {"qweight": ("I32", pack_awq(q.T)), "qzeros": ("I32", pack_awq(zeros)), "scales": ("F16", stored)}, numbers


# ---- FP8 ----

def e4m3(byte):
    """The number of a byte of 1 sign, 4 exponent (bias 7) and 3 fraction bits."""
    exponent, fraction = byte >> 3 & 15, byte & 7
    size = fraction / 8 * 2.0 ** -6 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7)
    return -size if byte & 0x80 else size


E4M3 = numpy.array([e4m3(b) for b in range(0x7f)])  # without the sign, up to 448; 0x7f is NaN


def fp8(values, kind="BF16"):
    rows, columns = values.shape
    n = -(-rows // 128), -(-columns // 128)
    padded = numpy.zeros((n[0] * 128, n[1] * 128))
    padded[:rows, :columns] = abs(values)
    stored, scale = rounded(padded.reshape(n[0], 128, n[1], 128).max((1, 3)) / 448, kind)
    spread = scale.repeat(128, 0).repeat(128, 1)[:rows, :columns]
    size = numpy.minimum(abs(values) / spread, 448)
    bytes_ = numpy.searchsorted((E4M3[1:] + E4M3[:-1]) / 2, size).astype("u1") | numpy.where(values < 0, 0x80, 0).astype("u1")
    numbers = (numpy.where(values < 0, -1, 1) * E4M3[bytes_ & 0x7f] * spread).astype("<f4")
    return {"weight": ("F8_E4M3", bytes_), "weight_scale_inv": (kind, stored)}, numbers


# ---- directories ----

def is_linear(name):
    return name.endswith("_proj.weight")


def is_matrix(name):
    return is_linear(name) or name in ("model.embed_tokens.weight", "lm_head.weight")


def convert(tensors, pack, plain):
    """Packs the matrices for which pack(name, values) gives parts, others are of type `plain`: ({name: (type, array)}, {name: float32})."""
    stored, stands_for = {}, {}
    for name, values in tensors.items():
        packed = pack(name, values) if values.ndim == 2 else None
        if packed is None:
            as_stored, numbers = rounded(values, plain)
            stored[name], stands_for[name] = (plain, as_stored), numbers
        else:
            stored |= {name.removesuffix("weight") + part: tensor for part, tensor in packed[0].items()}
            stands_for[name] = packed[1]
    return stored, stands_for


def copy_directory(folder, to, tensors, quantization):
    """A directory with another one's texts, these tensors and these fields in its config."""
    to.mkdir(parents=True)
    for file in folder.iterdir():
        if file.suffix == ".json" and file.name != "config.json":
            shutil.copy(file, to)
    config = json.loads((folder / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **quantization}))
    write_file(to / "model.safetensors", tensors)


def write(folder, to, pack, quantization, plain="F16"):
    """Two directories below `to`, packed and plain, of the same numbers; returns their paths and the tensors of the first."""
    stored, numbers = convert(gguf_files.read_tensors(folder), pack, plain)
    copy_directory(folder, to / "packed", stored, quantization)
    copy_directory(folder, to / "plain", {name: ("F32", values) for name, values in numbers.items()}, {"torch_dtype": "float32", "dtype": "float32"})
    return to / "packed", to / "plain", stored


def linears(quantise, *args, **options):
    return lambda name, values: quantise(values, *args, **options) if is_linear(name) else None


def gptq_config(bits=4, group=128, **more):
    return {"quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": True, "desc_act": False, **more}}


def awq_config(group=128, **more):
    return {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True,
                                    "modules_to_not_convert": None, **more}}


def fp8_config(**more):
    return {"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
                                    **more}}


def mlx_config(bits, group, **overrides):
    numbers = {"group_size": group, "bits": bits, **overrides}
    return {"quantization": numbers, "quantization_config": numbers}


def write_mlx(folder, to, bits, group, kind="F16", overrides=None):
    """overrides: {module: (bits, group) or False}; all other matrices are quantised, embedding and head too."""
    overrides = overrides or {}

    def pack(name, values):
        of = overrides.get(name.removesuffix(".weight"), (bits, group))
        return mlx(values, *of, kind) if of and is_matrix(name) else None
    fields = {module: of and {"bits": of[0], "group_size": of[1]} for module, of in overrides.items()}
    return write(folder, to, pack, mlx_config(bits, group, **fields), kind)
