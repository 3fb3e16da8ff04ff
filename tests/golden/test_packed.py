"""MLX, GPTQ, AWQ and FP8 checkpoints: the logits and texts of the numbers that they stand for; variants and damage are refused."""

import itertools
import json

import conftest
import gguf_files
import golden_roots
import numpy
import packed_files
import pytest
from packed_files import awq, awq_config, fp8, fp8_config, gptq, gptq_config, linears, mlx_config

EMBEDDED = conftest.REPO / "models" / "tiny-qwen2"
IDS = [5, 17, 301, 44, 7, 0, 250, 99, 3, 64, 128, 31, 200, 12, 12, 77]
GREEDY = ["Once upon a time", "-n", 24, "--strategy", "greedy", "--json"]
# Weights in blocks keep their keys and values as halves, which the float32 directory does not.
# GPUs round x, and CUDA the factors of its packed forms (FP8's scale, say), to F16.
MAX_ERROR = 2e-3 if conftest.BACKEND == "cpu" else 5e-3
ATTENTION = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]


def error(quern, path, reference, tmp_path):
    """Relative, of the logits."""
    out, ref = tmp_path / "out.npy", tmp_path / "ref.npy"
    for model, file in ((path, out), (reference, ref)):
        quern.ok("logits", model, "--tokens", golden_roots.words(IDS), "--out", file)
    out, ref = numpy.load(out), numpy.load(ref)
    return numpy.linalg.norm(out - ref) / numpy.linalg.norm(ref)


def refused_while_loading(quern, path):
    """The line by which contents are refused, behind the one that tells the memory."""
    done = quern.run("logits", path, "--tokens", "1", "--out", "/dev/null")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1 and len(lines) == 2 and "KV cache" in lines[0], lines
    return lines[1]


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("bits", [3, 4, 5, 6, 8])
def test_mlx(quern, bits, group, tmp_path):
    """Embedding and head too; some modules of other bits and groups, one left as it was."""
    gguf_files.make_directory(tmp_path / "hf", "qwen3")
    overrides = {"model.layers.0.self_attn.q_proj": (8, 32), "model.layers.1.mlp.down_proj": (3, 128), "model.embed_tokens": (6, 64),
                 "model.layers.1.self_attn.v_proj": False}
    kind = ("F16", "BF16", "F32")[group // 64]
    path, plain, _ = packed_files.write_mlx(tmp_path / "hf", tmp_path, bits, group, kind, overrides)
    facts = quern.json("inspect", path, "--json")
    kinds = {f"affine{bits}_{group}", "affine8_32", "affine3_128", "affine6_64"}
    assert facts["dtype"] == f"affine{bits}_{group}" and facts["packing"] == "mlx" and set(facts["dtypes"]) == {kind.lower(), *kinds}
    assert sum(facts["dtypes"].values()) == facts["weight_bytes"]
    assert error(quern, path, plain, tmp_path) <= MAX_ERROR


def test_mlx_layout_is_its_makers():
    """mlx.core quantises to the same words and reads them as the same numbers; so it does bytes of FP8. (For GPTQ and AWQ there is
    no such package without torch.)"""
    mlx = pytest.importorskip("mlx.core", reason="mlx has no wheel here")
    mlx.set_default_device(mlx.cpu)
    values = numpy.random.default_rng(3).standard_normal((96, 512)).astype("<f4")
    for bits, group in itertools.product((3, 4, 5, 6, 8), (32, 64, 128)):
        parts, numbers = packed_files.mlx(values, bits, group, "F32")
        arrays = [mlx.array(parts[part][1]) for part in ("weight", "scales", "biases")]
        assert (numpy.array(mlx.dequantize(*arrays, group_size=group, bits=bits)) == numbers).all()
        assert (numpy.array(mlx.quantize(mlx.array(values), group_size=group, bits=bits)[0]) == parts["weight"][1]).all()
    assert (numpy.array(mlx.from_fp8(mlx.arange(0x7f).astype(mlx.uint8), mlx.float32)) == packed_files.E4M3).all()


GPTQ = {
    "4": ({}, {}), "8": ({"bits": 8}, {}), "4-32": ({"group": 32}, {}), "4-256": ({"group": 256}, {}), "8-whole": ({"bits": 8, "group": -1}, {}),
    "4-asymmetric": ({"symmetric": False}, {"sym": False}), "8-asymmetric": ({"bits": 8, "group": 64, "symmetric": False}, {"sym": False}),
    "4-v2": ({"symmetric": False, "v2": True}, {"sym": False, "checkpoint_format": "gptq_v2", "pack_dtype": "int32", "dynamic": {}}),
    "4-desc_act": ({"group": 32, "symmetric": False, "reorder": True}, {"desc_act": True}),
    "8-desc_act": ({"bits": 8, "reorder": True}, {"desc_act": True}),
    "4-desc_act-whole": ({"group": -1}, {"desc_act": True, "checkpoint_format": "gptq"}),
}


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize("case", GPTQ)
def test_gptq(quern, case, family, tmp_path):
    options, fields = GPTQ[case]
    options = {"bits": 4, "group": 128, **options}
    bits, group = options["bits"], options["group"]
    gguf_files.make_directory(tmp_path / "hf", family)
    path, plain, _ = packed_files.write(tmp_path / "hf", tmp_path, linears(gptq, **options), gptq_config(bits, group, **fields))
    facts = quern.json("inspect", path, "--json")
    expanded = options.get("reorder", False)
    assert facts["dtype"] == ("f16" if expanded else f"affine{bits}_{min(group, 128) if group > 0 else 128}") and facts["packing"] == "gptq"
    assert error(quern, path, plain, tmp_path) <= MAX_ERROR


def test_gptq_of_some_modules(quern, tmp_path):
    """Only the named ones are quantised; biases of zeros, which AutoGPTQ writes, are no others."""
    gguf_files.make_directory(tmp_path / "hf", "qwen2")
    path, plain, stored = packed_files.write(
        tmp_path / "hf", tmp_path, lambda name, values: gptq(values, 4, 64) if any(part in name for part in ATTENTION) else None,
        gptq_config(4, 64, modules_in_block_to_quantize=[[*ATTENTION[:3]], [ATTENTION[3]]]))
    stored["model.layers.1.self_attn.o_proj.bias"] = ("F16", numpy.zeros(256))
    packed_files.write_file(path / "model.safetensors", stored)
    assert error(quern, path, plain, tmp_path) <= MAX_ERROR
    stored["model.layers.1.self_attn.o_proj.bias"][1][7] = 0.5
    packed_files.write_file(path / "model.safetensors", stored)
    assert "o_proj.bias: expected zeros where the model has no bias, found 0.5 at 7" in refused_while_loading(quern, path)
    done = quern.run("quantize", path, tmp_path / "m.gguf", "--to", "q8_0")
    assert done.returncode == 1 and b"expected zeros" in done.stderr and not (tmp_path / "m.gguf").exists()


def test_bias_that_the_config_denies(quern, tmp_path):
    """Qwen3 may have biases; where its config says that it has none, only zeros of a quantiser pass."""
    gguf_files.make_directory(tmp_path / "hf", "qwen3")
    path, plain, stored = packed_files.write(tmp_path / "hf", tmp_path, linears(gptq, 4, 64), gptq_config(4, 64))
    name = "model.layers.0.self_attn.q_proj.bias"
    stored[name] = ("F16", numpy.zeros(stored["model.layers.0.self_attn.q_proj.qweight"][1].shape[1]))
    packed_files.write_file(path / "model.safetensors", stored)
    assert error(quern, path, plain, tmp_path) <= MAX_ERROR
    stored[name][1][3] = 0.5
    packed_files.write_file(path / "model.safetensors", stored)
    assert "q_proj.bias: expected zeros where the model has no bias, found 0.5 at 3" in refused_while_loading(quern, path)
    plainly = gguf_files.read_tensors(plain) | {name: stored[name][1]}
    packed_files.write_file(plain / "model.safetensors", {k: ("F32", v) for k, v in plainly.items()})
    assert f"{name}: expected no such tensor by config.json" in quern.refused("run", plain, *GREEDY)


@pytest.mark.parametrize("group", [32, 64, 128, -1])
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_awq(quern, family, group, tmp_path):
    gguf_files.make_directory(tmp_path / "hf", family)
    plainly = "model.layers.1.mlp.up_proj"
    path, plain, _ = packed_files.write(tmp_path / "hf", tmp_path,
                                        lambda name, values: awq(values, group) if packed_files.is_linear(name) and plainly not in name else None,
                                        awq_config(group, modules_to_not_convert=["layers.1.mlp.up_proj", "mlp.down"], backend="auto"))
    facts = quern.json("inspect", path, "--json")
    assert set(facts["dtypes"]) == {"f16", f"affine4_{group if group > 0 else 128}"} and facts["packing"] == "awq"
    assert error(quern, path, plain, tmp_path) <= MAX_ERROR


@pytest.mark.parametrize("kind", ["F32", "BF16"])
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_fp8(quern, family, kind, tmp_path):
    gguf_files.make_directory(tmp_path / "hf", family)
    path, plain, _ = packed_files.write(
        tmp_path / "hf", tmp_path, lambda name, values: fp8(values, kind) if packed_files.is_linear(name) and "o_proj" not in name else None,
        fp8_config(modules_to_not_convert=["lm_head", *(f"model.layers.{i}.self_attn.o_proj" for i in range(2))]), "BF16")
    facts = quern.json("inspect", path, "--json")
    assert facts["dtype"] == "fp8_128" and facts["packing"] == "fp8"
    assert error(quern, path, plain, tmp_path) <= MAX_ERROR


def embedded(to):
    """The embedded model in each layout: what a person would have."""
    yield "mlx", packed_files.write_mlx(EMBEDDED, to / "mlx", 8, 64)
    yield "gptq", packed_files.write(EMBEDDED, to / "gptq", linears(gptq, 8, 128), gptq_config(8))
    yield "awq", packed_files.write(EMBEDDED, to / "awq", linears(awq, 32), awq_config(32))
    yield "fp8", packed_files.write(EMBEDDED, to / "fp8", linears(fp8), fp8_config())


def test_texts(quern, tmp_path):
    """Greedy, equal to that of the same numbers; mapped or not; and what the repacking cost is said."""
    for scheme, (path, plain, _) in embedded(tmp_path):
        expected = quern.json("run", plain, *GREEDY)["tokens"]
        assert len(expected) > 4
        for options in ([], ["--no-mmap"]):
            done = quern.run("run", path, *GREEDY, "--log-level", "info", *options)
            assert done.returncode == 0 and json.loads(done.stdout)["tokens"] == expected, (scheme, options, done.stderr)
            assert f" {scheme} matrices into ".encode() in done.stderr, done.stderr


def test_cost_of_expanding(quern, tmp_path):
    path, _, _ = packed_files.write(EMBEDDED, tmp_path, linears(gptq, 4, 32, reorder=True), gptq_config(4, 32, desc_act=True), "BF16")
    n_bytes = quern.json("inspect", path, "--json")["dtypes"]["f16"]
    lines = [line for line in quern.run("run", path, *GREEDY).stderr.decode().splitlines() if "desc_act" in line]
    assert len(lines) == 1 and f"{n_bytes} bytes of its weights are f16" in lines[0], lines


def test_inspect_of_a_config_alone(quern, tmp_path):
    path, _, _ = packed_files.write(EMBEDDED, tmp_path, linears(gptq, 4, 128), gptq_config())
    (path / "model.safetensors").unlink()
    assert quern.json("inspect", path, "--json")["dtype"] == "affine4_128"


# ---- what is refused ----

Q = "model.layers.0.self_attn.q_proj"
MAKERS = {"mlx": (lambda name, values: packed_files.mlx(values, 4, 64) if packed_files.is_linear(name) else None, mlx_config(4, 64)),
          "gptq": (linears(gptq, 4, 32), gptq_config(4, 32)), "awq": (linears(awq, 64), awq_config(64)), "fp8": (linears(fp8), fp8_config())}
FIELDS = [
    ("mlx", {"mode": "mxfp4"}, "quantization.mode: expected \"affine\", found the string \"mxfp4\""),
    ("mlx", {"bits": 2}, "quantization.bits: expected 3, 4, 5, 6 or 8, found 2"),
    ("mlx", {"bits": None}, "quantization.bits: expected 3, 4, 5, 6 or 8, found null"),
    ("mlx", {"group_size": 16}, "quantization.group_size: expected 32, 64 or 128, found 16"),
    ("mlx", {Q: {"bits": 4, "group_size": 48}}, f"quantization.{Q}.group_size: expected 32, 64 or 128, found 48"),
    ("mlx", {Q: {"bits": 4, "group_size": 32, "mode": "nvfp4"}}, f"quantization.{Q}.mode: expected"),
    ("mlx", {Q: {"bits": 8, "group_size": 64}}, f"{Q}.weight: expected shape [128, 32] (8 bits, groups of 64), found [128, 16]"),
    ("mlx", {Q: {"bits": 4, "group_size": 32}}, f"{Q}.scales: expected shape [128, 4] (4 bits, groups of 32), found [128, 2]"),
    ("mlx", {Q: False}, f"{Q}.scales|{Q}.biases: expected no such tensor"),
    ("gptq", {"quant_method": "bitsandbytes"}, "quantization_config.quant_method: expected gptq, awq or fp8, found the string \"bitsandbytes\""),
    ("gptq", {"bits": 3}, "quantization_config.bits: expected 4 or 8, found 3"),
    ("gptq", {"bits": 8}, f"{Q}.qweight: expected shape [32, 128] (8 bits, groups of 32), found [16, 128]"),
    ("gptq", {"group_size": 48}, "quantization_config.group_size: expected a multiple of 32, or -1, found 48"),
    ("gptq", {"group_size": 0}, "group_size: expected a multiple of 32, or -1, found 0"),
    ("gptq", {"group_size": "32"}, "group_size: expected"),
    ("gptq", {"group_size": 64}, f"{Q}.qzeros: expected shape [2, 16] (4 bits, groups of 64), found [4, 16]"),
    ("gptq", {"desc_act": "yes"}, "desc_act: expected true or false"),
    ("gptq", {"checkpoint_format": "marlin"}, "checkpoint_format: expected \"gptq\" or \"gptq_v2\", found the string \"marlin\""),
    ("gptq", {"is_marlin_format": True}, "is_marlin_format: expected false, found true"),
    ("gptq", {"pack_dtype": "int8"}, "pack_dtype: expected \"int32\", found the string \"int8\""),
    ("gptq", {"dynamic": {"-:.*down": {}}}, "dynamic: expected no rules"),
    ("gptq", {"modules_in_block_to_quantize": "all"}, "modules_in_block_to_quantize: expected a list"),
    ("gptq", {"modules_in_block_to_quantize": [["self_attn.q_proj", 1]]}, "modules_in_block_to_quantize: expected names of modules, found 1"),
    ("gptq", {"modules_in_block_to_quantize": [["mlp.up_proj"]]}, "expected no such tensor"),
    ("awq", {"version": "gemv"}, "version: expected \"gemm\", found the string \"gemv\""),
    ("awq", {"backend": "llm-awq"}, "backend: expected another than \"llm-awq\", found the string \"llm-awq\""),
    ("awq", {"bits": 8}, "bits: expected 4, found 8"),
    ("awq", {"zero_point": False}, "zero_point: expected true, found false"),
    ("awq", {"group_size": 128}, f"{Q}.qzeros: expected shape [1, 16] (4 bits, groups of 128), found [2, 16]"),
    ("awq", {"modules_to_not_convert": ["self_attn"]}, "expected no such tensor"),
    ("fp8", {"weight_block_size": None}, "weight_block_size: expected [128, 128], found null"),
    ("fp8", {"weight_block_size": [128, 64]}, "weight_block_size[1]: expected 128, found 64"),
    ("fp8", {"activation_scheme": "static"}, "activation_scheme: expected \"dynamic\", found the string \"static\""),
    ("fp8", {"fmt": "e5m2"}, "fmt: expected \"e4m3\", found the string \"e5m2\""),
]
# A tensor taken away, or (type, shape) of one that takes its place.
TENSORS = [
    ("mlx", "scales", None, f"{Q}.scales: expected a tensor [128, 2], found none"),
    ("mlx", "biases", None, f"{Q}.biases: expected a tensor [128, 2], found none"),
    ("mlx", "weight", None, f"{Q}.weight: expected a tensor [128, 16], found none"),
    ("mlx", "weight", ("U32", (128, 15)), f"{Q}.weight: expected shape [128, 16]"),
    ("mlx", "weight", ("I32", (128, 16)), f"{Q}.weight: expected one of the types U32, found I32"),
    ("mlx", "weight", ("F16", (128, 128)), f"{Q}.weight: expected one of the types U32, found F16"),
    ("mlx", "scales", ("U32", (128, 2)), f"{Q}.scales: expected one of the types F16 BF16 F32, found U32"),
    ("mlx", "scales", ("F16", (128, 2, 1)), f"{Q}.scales: expected shape [128, 2] (4 bits, groups of 64), found [128, 2, 1]"),
    ("gptq", "qweight", None, f"{Q}.qweight: expected a tensor [16, 128], found none"),
    ("gptq", "qzeros", None, f"{Q}.qzeros: expected a tensor [4, 16], found none"),
    ("gptq", "scales", ("F16", (3, 128)), f"{Q}.scales: expected shape [4, 128] (4 bits, groups of 32), found [3, 128]"),
    ("gptq", "g_idx", ("I32", (64,)), f"{Q}.g_idx: expected shape [128]"),
    ("gptq", "g_idx", ("F32", (128,)), f"{Q}.g_idx: expected one of the types I32, found F32"),
    ("gptq", "weight", ("F16", (128, 128)), f"{Q}.weight: expected no such tensor"),
    ("awq", "qweight", ("I32", (16, 128)), f"{Q}.qweight: expected shape [128, 16]"),
    ("awq", "scales", None, f"{Q}.scales: expected a tensor [2, 128], found none"),
    ("awq", "g_idx", ("I32", (128,)), f"{Q}.g_idx: expected no such tensor"),
    ("fp8", "weight_scale_inv", None, f"{Q}.weight_scale_inv: expected a tensor [1, 1], found none"),
    ("fp8", "weight_scale_inv", ("F32", (1, 2)), f"{Q}.weight_scale_inv: expected shape [1, 1]"),
    ("fp8", "weight_scale_inv", ("F16", (1, 1)), f"{Q}.weight_scale_inv: expected one of the types F32 BF16, found F16"),
    ("fp8", "weight", ("BF16", (128, 128)), f"{Q}.weight: expected one of the types F8_E4M3, found BF16"),
    ("fp8", "input_scale", ("F32", (1,)), f"{Q}.input_scale: expected no such tensor"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Each layout of the embedded model: {scheme: (path, tensors)}."""
    made = {}
    for scheme, (pack, fields) in MAKERS.items():
        path, _, stored = packed_files.write(EMBEDDED, tmp_path_factory.mktemp(scheme), pack, fields)
        made[scheme] = path, stored
    return made


def refused(quern, path, names):
    line = quern.refused("inspect", path, timeout=5, memory=1 << 30)
    assert any(name in line for name in names.split("|")), line
    assert line == quern.refused("logits", path, "--tokens", "1", "--out", "/dev/null", timeout=5)


@pytest.mark.parametrize("scheme, fields, names", FIELDS)
def test_a_variant_is_refused_by_field(quern, sound, scheme, fields, names, tmp_path):
    path, stored = sound[scheme]
    config = json.loads((path / "config.json").read_text())
    key = "quantization" if scheme == "mlx" else "quantization_config"
    packed_files.copy_directory(path, tmp_path / "m", stored, {key: {**config[key], **fields}})
    refused(quern, tmp_path / "m", names)


@pytest.mark.parametrize("scheme, part, becomes, names", TENSORS)
def test_damage_is_refused_by_tensor(quern, sound, scheme, part, becomes, names, tmp_path):
    path, stored = sound[scheme]
    stored = {name: tensor for name, tensor in stored.items() if becomes or name != f"{Q}.{part}"}
    if becomes:
        stored[f"{Q}.{part}"] = (becomes[0], numpy.zeros(becomes[1]))
    packed_files.copy_directory(path, tmp_path / "m", stored, {})
    refused(quern, tmp_path / "m", names)


@pytest.mark.parametrize("fields, value, names", [({}, 1, "desc_act is false"), ({"desc_act": True}, 4, "expected a group below 4, found 4"),
                                                  ({"desc_act": True}, -1, "found -1")])
def test_damaged_groups(quern, sound, fields, value, names, tmp_path):
    path, stored = sound["gptq"]
    g_idx = stored[f"{Q}.g_idx"][1].copy()
    g_idx[3] = value
    packed_files.copy_directory(path, tmp_path / "m", {**stored, f"{Q}.g_idx": ("I32", g_idx)}, gptq_config(4, 32, **fields))
    line = refused_while_loading(quern, tmp_path / "m")
    assert f"{Q}.g_idx[3]: expected" in line and names in line


@pytest.mark.parametrize("scheme, part, names", [("mlx", ("weight", "U32"), "whole groups of 64, found rows of 496"),
                                                 ("gptq", ("qweight", "I32"), "found rows of 496 in groups of 32"),
                                                 ("awq", ("qweight", "I32"), "found rows of 496 in groups of 64"),
                                                 ("fp8", ("weight", "F8_E4M3"), "a multiple of 128 numbers, found 496")])
def test_rows_of_no_whole_blocks(quern, scheme, part, names, tmp_path):
    gguf_files.make_directory(tmp_path / "hf", "qwen2")
    narrow = {name: values[:, :496] if "down_proj" in name else values[:496] if "gate_proj" in name or "up_proj" in name else values
              for name, values in gguf_files.read_tensors(tmp_path / "hf").items()}
    stored, _ = packed_files.convert(narrow, lambda name, values: None, "F16")
    module = "model.layers.0.mlp.down_proj"
    del stored[f"{module}.weight"]
    stored[f"{module}.{part[0]}"] = (part[1], numpy.zeros((1, 1)))
    packed_files.copy_directory(tmp_path / "hf", tmp_path / "m", stored, {**MAKERS[scheme][1], "intermediate_size": 496})
    line = quern.refused("inspect", tmp_path / "m")
    assert f"{module}: expected" in line and names in line
