"""quern quantize: what it writes, by somebody else's reader and by our own; quern eval on the result; what both refuse."""

import json
import os
import shutil
import sys

import conftest
import gguf
import gguf_files
import numpy
import packed_files
import pytest

sys.path.insert(0, str(conftest.REPO / "tools"))
import formats_table  # noqa: E402

EMBEDDED = [conftest.REPO / "models" / name for name in ("tiny-qwen2", "tiny-qwen3")]
GREEDY = ["-n", 24, "--strategy", "greedy", "--json"]
# Mean KL divergence from full precision on the tiny models: twice what docs/formats.md measures, or more.
BOUNDS = {"bf16": 0, "q8_0": 5e-5, "q6_k": 5e-4, "q4_k_m": 6e-3, "q4_0": 2e-2}


def read(path):
    return gguf.GGUFReader(path)


def metadata(path):
    return {name: field.contents() for name, field in read(path).fields.items() if not name.startswith("GGUF.")}


def numbers(tensor):
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("<f4")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(formats_table.text(31, 24), encoding="utf-8")
    return path


def evaluate(quern, model, reference, text, *options):
    return quern.json("eval", model, text, "--context", 128, "--reference", reference, "--json", *options, timeout=300)


@pytest.mark.parametrize("folder", EMBEDDED, ids=lambda folder: folder.name)
def test_metadata_is_the_converters(quern, folder, tmp_path):
    """Every key that gguf-py writes from the same directory, with the same value and type of array."""
    quern.ok("quantize", folder, tmp_path / "ours.gguf", "--to", "bf16")
    gguf_files.write(folder, tmp_path / "theirs.gguf", "BF16")
    ours, theirs = metadata(tmp_path / "ours.gguf"), metadata(tmp_path / "theirs.gguf")
    assert {key: ours.get(key) for key in theirs} == theirs
    assert set(ours) - set(theirs) == {"general.file_type", "general.name", "general.size_label", "general.type"}
    special = gguf.SpecialVocab(folder, load_merges=True)
    assert {kind: ours[f"tokenizer.ggml.{'padding' if kind == 'pad' else kind}_token_id"] for kind in special.special_token_ids} == \
        special.special_token_ids
    assert ours["tokenizer.ggml.merges"] == special.merges and ours["tokenizer.chat_template"] == special.chat_template
    for a, b in zip(sorted(read(tmp_path / "ours.gguf").tensors, key=lambda t: t.name),
                    sorted(read(tmp_path / "theirs.gguf").tensors, key=lambda t: t.name), strict=True):
        assert (a.name, a.tensor_type, a.shape.tolist()) == (b.name, b.tensor_type, b.shape.tolist())
        assert a.data.tobytes() == b.data.tobytes(), a.name


def rule_of_q4_k_m(name, width, n_layers):
    """docs/formats.md, in numbers: llama.cpp's types."""
    if name == "token_embd.weight":  # the head is tied to it
        kind = "Q6_K"
    else:
        layer, kind = int(name.split(".")[1]), "Q4_K"
        if name.split(".")[2] in ("attn_v", "ffn_down") and (
                layer < n_layers // 8 or layer >= 7 * n_layers // 8 or (layer - n_layers // 8) % 3 == 2):
            kind = "Q6_K"
    return kind if width % 256 == 0 else {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}[kind]


@pytest.mark.parametrize("folder", EMBEDDED, ids=lambda folder: folder.name)
def test_the_mixture(quern, folder, tmp_path):
    quern.ok("quantize", folder, tmp_path / "m.gguf", "--to", "Q4_K_M")
    n_layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    for tensor in read(tmp_path / "m.gguf").tensors:
        wanted = "F32" if len(tensor.shape) == 1 else rule_of_q4_k_m(tensor.name, tensor.shape[0], n_layers)
        assert tensor.tensor_type.name == wanted, tensor.name
    assert metadata(tmp_path / "m.gguf")["general.file_type"] == 15


@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "q4_k_m", "q6_k"])
@pytest.mark.parametrize("source", ["directory", "gguf"])
def test_values_and_answers(quern, source, kind, text, tmp_path):
    """gguf-py's numbers are those that Quern computes with: a directory of them gives the same logits. Near the original they stay."""
    folder = EMBEDDED[1]
    model = folder if source == "directory" else gguf_files.write(folder, tmp_path / "source.gguf", "BF16")[0]
    said = conftest.text_of(quern.ok("quantize", model, tmp_path / "m.gguf", "--to", kind))
    assert "% of FP16" in said and "% of FP32" in said
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 8)
    stood_for = {tensor.name: numbers(tensor) for tensor in read(tmp_path / "m.gguf").tensors}
    if kind in ("q8_0", "q4_0"):  # gguf-py has these two quantisers
        of = gguf_files.TYPES[kind.upper()]
        original = gguf_files.read_tensors(folder)["model.layers.0.self_attn.q_proj.weight"]
        assert (stood_for["blk.0.attn_q.weight"] == gguf.quants.dequantize(gguf.quants.quantize(original, of), of)).all()
    shutil.copytree(folder, tmp_path / "hf")
    gguf_files.write_tensors(tmp_path / "hf", {name: stood_for[names.get_name(name, (".weight", ".bias"))]
                                               for name in gguf_files.read_tensors(folder)})
    found = evaluate(quern, tmp_path / "m.gguf", tmp_path / "hf", text)
    assert found["kl_mean"] < 1e-6 and found["top1_agreement"] > 0.995
    assert evaluate(quern, tmp_path / "m.gguf", folder, text)["kl_mean"] < BOUNDS[kind]
    words = [quern.json("run", path, "Once upon a time", *GREEDY)["tokens"] for path in (tmp_path / "m.gguf", tmp_path / "hf")]
    assert words[0] == words[1]
    if source == "gguf":
        carried, before = metadata(tmp_path / "m.gguf"), metadata(model)
        assert {key: carried[key] for key in before} == before


def test_full_precision_answers_the_same(quern, text, tmp_path):
    """From a directory and from a GGUF file, to the type that it has: not a bit differs; a model is at distance 0 from itself."""
    folder = EMBEDDED[0]
    quern.ok("quantize", folder, tmp_path / "a.gguf", "--to", "bf16")
    quern.ok("quantize", tmp_path / "a.gguf", tmp_path / "b.gguf", "--to", "bf16")
    for model in (tmp_path / "a.gguf", tmp_path / "b.gguf"):
        found = evaluate(quern, model, folder, text)
        assert found["kl_mean"] == found["kl_max"] == 0 and found["top1_agreement"] == 1
        assert found["perplexity"] == found["reference_perplexity"]
        assert quern.json("run", model, "Count to five.", "--chat", *GREEDY)["tokens"] == \
            quern.json("run", folder, "Count to five.", "--chat", *GREEDY)["tokens"]
    assert metadata(tmp_path / "a.gguf") == metadata(tmp_path / "b.gguf")


def softmax(logits):
    e = numpy.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_the_figures_by_numpy(quern, text, tmp_path):
    """Perplexity, KL and agreement from the logits of every window, as their definitions say."""
    model, window = tmp_path / "m.gguf", 96
    quern.ok("quantize", EMBEDDED[0], model, "--to", "q4_0")
    ids = json.loads(quern.ok("tokenize", EMBEDDED[0], text))
    nll, kl, same = [], [], []
    for start in range(0, len(ids) - window + 1, window):
        part = ids[start:start + window]
        rows = {}
        for name, path in (("p", EMBEDDED[0]), ("q", model)):
            quern.ok("logits", path, "--tokens", " ".join(map(str, part)), "--out", tmp_path / "l.npy")
            rows[name] = numpy.load(tmp_path / "l.npy")[window // 2:-1]
        p, q = softmax(rows["p"]), softmax(rows["q"])
        nll += (-numpy.log(q[numpy.arange(len(q)), part[window // 2 + 1:]])).tolist()
        kl += (p * (numpy.log(p) - numpy.log(q))).sum(1).tolist()
        same += (p.argmax(1) == q.argmax(1)).tolist()
    found = quern.json("eval", model, text, "--context", window, "--reference", EMBEDDED[0], "--json", timeout=300)
    assert found["scored"] == len(nll) and found["tokens"] == len(ids)
    for key, value in (("perplexity", numpy.exp(numpy.mean(nll))), ("kl_mean", numpy.mean(kl)), ("kl_p99", numpy.percentile(kl, 99)),
                       ("kl_max", numpy.max(kl)), ("top1_agreement", numpy.mean(same))):
        assert found[key] == pytest.approx(value, rel=1e-6, abs=1e-9), key
    error = found["perplexity"] * numpy.std(nll) / numpy.sqrt(len(nll) - 1)
    assert found["perplexity_error"] == pytest.approx(error, rel=1e-6)


@pytest.fixture(scope="module")
def imatrix(quern, text, tmp_path_factory):
    path = tmp_path_factory.mktemp("imatrix") / "imatrix.gguf"
    quern.ok("eval", EMBEDDED[1], text, "--context", 128, "--imatrix", path, timeout=300)
    return path


def test_an_importance_matrix(quern, imatrix, text):
    """llama.cpp's file: a sum for each column of every matrix, and the number of rows. The inputs of q, k and v are one."""
    read_tensors = {tensor.name: tensor.data.ravel() for tensor in read(imatrix).tensors}
    facts = metadata(imatrix)
    n_rows = facts["imatrix.chunk_count"] * facts["imatrix.chunk_size"]
    assert facts["general.type"] == "imatrix" and facts["imatrix.datasets"] == [str(text)] and facts["imatrix.chunk_size"] == 128
    config = json.loads((EMBEDDED[1] / "config.json").read_text())
    widths = {"attn_q": 256, "attn_k": 256, "attn_v": 256, "attn_output": 384, "ffn_gate": 256, "ffn_up": 256, "ffn_down": 768}
    wanted = {f"blk.{i}.{kind}.weight": width for i in range(config["num_hidden_layers"]) for kind, width in widths.items()}
    wanted["token_embd.weight"] = 256  # as the head
    assert {name.rsplit(".", 1)[0] for name in read_tensors} == set(wanted)
    for name, width in wanted.items():
        sums, counts = read_tensors[name + ".in_sum2"], read_tensors[name + ".counts"]
        assert sums.shape == (width,) and (sums >= 0).all() and sums.sum() > 0 and counts.tolist() == [n_rows]
    for one, other in (("attn_q", "attn_k"), ("attn_q", "attn_v"), ("ffn_gate", "ffn_up")):
        assert (read_tensors[f"blk.3.{one}.weight.in_sum2"] == read_tensors[f"blk.3.{other}.weight.in_sum2"]).all()
    # Of a normed vector the mean square is that of the norm's weight, whatever the text: RMSNorm's output has a known size.
    head = read_tensors["token_embd.weight.in_sum2"] / n_rows
    norm = gguf_files.read_tensors(EMBEDDED[1])["model.norm.weight"]
    assert (head / norm**2).mean() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("kind", ["q4_0", "q4_k_m"])
def test_an_importance_matrix_helps(quern, imatrix, kind, tmp_path):
    """The error that it weighs gets less in every tensor that has scales to choose."""
    folder = EMBEDDED[1]
    quern.ok("quantize", folder, tmp_path / "exact.gguf", "--to", "f32")
    quern.ok("quantize", folder, tmp_path / "plain.gguf", "--to", kind)
    quern.ok("quantize", folder, tmp_path / "weighed.gguf", "--to", kind, "--imatrix", imatrix)
    exact, plain, weighed = ({t.name: t for t in read(tmp_path / f"{name}.gguf").tensors} for name in ("exact", "plain", "weighed"))
    sums = {tensor.name: tensor.data.ravel() for tensor in read(imatrix).tensors}
    n_better = 0
    for name, tensor in weighed.items():
        if tensor.tensor_type.name in ("F32", "Q8_0"):
            continue
        errors = [((numbers(t) - exact[name].data) ** 2 * sums[name + ".in_sum2"]).sum(dtype=float) for t in (tensor, plain[name])]
        assert errors[0] < errors[1], name
        n_better += 1
    assert n_better > 40
    facts = metadata(tmp_path / "weighed.gguf")
    assert facts["quantize.imatrix.file"] == str(imatrix) and facts["quantize.imatrix.entries_count"] == 57
    if kind == "q4_0":  # so does the distance from the original, on other text; of finer types it is within the noise of so small a model
        other = tmp_path / "other.txt"
        other.write_text(formats_table.text(30, 30), encoding="utf-8")
        found = [evaluate(quern, tmp_path / f"{name}.gguf", folder, other)["kl_mean"] for name in ("weighed", "plain")]
        assert found[0] <= found[1]


def test_rows_of_no_whole_blocks(quern, tmp_path):
    """Widths that 32 does not divide become F16."""
    folder = conftest.REPO / "tests" / "golden" / "data" / "models" / "qwen2-bf16-untied"
    done = quern.run("quantize", folder, tmp_path / "m.gguf", "--to", "q4_k_m")
    assert done.returncode == 0 and "no multiple of their type's block" in conftest.text_of(done.stderr)
    kinds = {tensor.tensor_type.name: tensor.shape[0] for tensor in read(tmp_path / "m.gguf").tensors if len(tensor.shape) == 2}
    assert kinds and all((kind == "F16") == bool(width % 32) for kind, width in kinds.items())
    quern.ok("logits", tmp_path / "m.gguf", "--tokens", "1 2 3", "--out", tmp_path / "l.npy")


@pytest.mark.parametrize("scheme", ["gptq", "mlx"])
def test_from_packed_weights(quern, scheme, tmp_path):
    """What others have quantised is requantised from the numbers that it stands for, and a note says so."""
    if scheme == "gptq":
        packed, plain, _ = packed_files.write(EMBEDDED[1], tmp_path, packed_files.linears(packed_files.gptq, 8, 128), packed_files.gptq_config(8))
    else:
        packed, plain, _ = packed_files.write_mlx(EMBEDDED[1], tmp_path, 6, 64)
    done = quern.run("quantize", packed, tmp_path / "a.gguf", "--to", "q8_0")
    assert done.returncode == 0 and "was quantised already" in conftest.text_of(done.stderr)
    quern.ok("quantize", plain, tmp_path / "b.gguf", "--to", "q8_0")
    for a, b in zip(read(tmp_path / "a.gguf").tensors, read(tmp_path / "b.gguf").tensors, strict=True):
        assert a.name == b.name and a.data.tobytes() == b.data.tobytes(), a.name


@pytest.mark.parametrize("kind, kinds", [("q3_k_m", {"Q3_K", "Q4_K", "Q5_K", "Q6_K"}), ("q2_k", {"Q2_K", "Q3_K", "Q6_K"}),
                                         ("iq4_nl", {"IQ4_NL", "Q6_K"}), ("iq4_xs", {"IQ4_XS", "Q6_K"})])
def test_other_recipes(quern, kind, kinds, tmp_path):
    """By llama.cpp's rules too; a model without a tokenizer stays without."""
    gguf_files.make_directory(tmp_path / "hf", "qwen2")  # untied, of two layers, two heads to a key
    quern.ok("quantize", tmp_path / "hf", tmp_path / "m.gguf", "--to", kind)
    assert {t.tensor_type.name for t in read(tmp_path / "m.gguf").tensors if len(t.shape) == 2} == kinds
    assert "tokenizer.ggml.tokens" not in metadata(tmp_path / "m.gguf")
    quern.ok("logits", tmp_path / "m.gguf", "--tokens", "1 2 3", "--out", tmp_path / "l.npy")


# ---- what is refused ----

def nothing_but(folder, *names):
    assert sorted(os.listdir(folder)) == sorted(names)


def test_out_is_not_replaced_unasked(quern, tmp_path):
    (tmp_path / "m.gguf").write_text("mine")
    assert "m.gguf: is there already: --force" in quern.refused("quantize", EMBEDDED[0], tmp_path / "m.gguf", "--to", "q8_0")
    assert (tmp_path / "m.gguf").read_text() == "mine"
    quern.ok("quantize", EMBEDDED[0], tmp_path / "m.gguf", "--to", "q8_0", "--force")
    assert metadata(tmp_path / "m.gguf")["general.file_type"] == 7
    nothing_but(tmp_path, "m.gguf")


def refusal(done):
    """The one line that says why; before it a model may have told what it takes of memory."""
    lines = conftest.text_of(done.stderr).splitlines()
    assert done.returncode == 1 and not done.stdout and all(" of " in line and ": weights " in line for line in lines[:-1])
    return lines[-1]


def limited(quern, limit, *args):
    """A run whose files may not grow past a limit, as on a full disk."""
    import resource
    import subprocess
    done = subprocess.run([*quern.command, *map(str, args)], capture_output=True, timeout=60 * conftest.TIMEOUT_SCALE,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    return refusal(done)


def test_a_full_disk(quern, text, tmp_path):
    assert "m.gguf: cannot write: File too large" in limited(quern, 1 << 20, "quantize", EMBEDDED[0], tmp_path / "m.gguf", "--to", "q8_0")
    nothing_but(tmp_path)
    assert "i.gguf: cannot write" in limited(quern, 1 << 10, "eval", EMBEDDED[0], text, "--context", 64, "--imatrix", tmp_path / "i.gguf")
    nothing_but(tmp_path)


def test_places_that_cannot_be_written(quern, tmp_path):
    (tmp_path / "folder.gguf").mkdir()
    for out, words in ((tmp_path / "none" / "m.gguf", "No such file"), (tmp_path / "folder.gguf", "found a folder"),
                       ("/dev/null", "found a device")):
        line = quern.refused("quantize", EMBEDDED[0], out, "--to", "q8_0", "--force")
        assert str(out) in line and words in line
    nothing_but(tmp_path, "folder.gguf")


def test_types_that_are_none(quern, tmp_path):
    for options in (["--to", "q9_9"], []):
        done = quern.run("quantize", EMBEDDED[0], tmp_path / "m.gguf", *options)
        assert done.returncode == 2 and "--to: expected one of q8_0," in conftest.text_of(done.stderr)
    nothing_but(tmp_path)


def test_a_weight_that_is_no_number(quern, text, tmp_path):
    shutil.copytree(EMBEDDED[0], tmp_path / "hf")
    tensors = gguf_files.read_tensors(EMBEDDED[0])
    tensors["model.layers.2.mlp.up_proj.weight"][7, 5] = numpy.nan
    gguf_files.write_tensors(tmp_path / "hf", tensors)
    line = quern.refused("quantize", tmp_path / "hf", tmp_path / "m.gguf", "--to", "q4_0")
    assert "blk.2.ffn_up.weight: row 7, column 5: expected a finite number" in line
    nothing_but(tmp_path, "hf")
    for options in ((), ("--reference", EMBEDDED[0])):
        assert "hf: expected finite logits" in refusal(quern.run("eval", tmp_path / "hf", text, "--context", 64, "--json", *options))


def write_imatrix(path, tensors, kind="imatrix"):
    writer = gguf.GGUFWriter(path, "none")
    writer.add_type(kind)
    for name, values in tensors.items():
        writer.add_tensor(name, numpy.array(values, "<f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("tensors, words", [
    ({}, "expected tensors named"),
    ({"blk.0.attn_q.weight.in_sum2": [1] * 128}, "no count"),
    ({"blk.0.attn_q.weight.in_sum2": [1] * 128, "blk.0.attn_q.weight.counts": [0]}, "blk.0.attn_q.weight.counts: expected a number above 0"),
    ({"blk.0.attn_q.weight.in_sum2": [-1] * 128, "blk.0.attn_q.weight.counts": [1]}, "expected a sum of squares, found -1"),
    ({"blk.0.attn_q.weight.in_sum2": [1] * 96, "blk.0.attn_q.weight.counts": [1]}, "expected 128 columns, found 96"),
], ids=["empty", "no-count", "zero", "negative", "width"])
def test_a_bad_importance_matrix(quern, tensors, words, tmp_path):
    write_imatrix(tmp_path / "i.gguf", tensors)
    line = quern.refused("quantize", EMBEDDED[0], tmp_path / "m.gguf", "--to", "q4_0", "--imatrix", tmp_path / "i.gguf")
    assert "i.gguf" in line and words in line
    nothing_but(tmp_path, "i.gguf")


def test_what_is_no_importance_matrix(quern, tmp_path):
    write_imatrix(tmp_path / "i.gguf", {}, "model")
    for path, words in ((tmp_path / "i.gguf", "general.type"), (tmp_path / "none", "none"), (EMBEDDED[0] / "config.json", "config.json")):
        assert words in quern.refused("quantize", EMBEDDED[0], tmp_path / "m.gguf", "--to", "q4_0", "--imatrix", path)


def test_texts_that_cannot_be_scored(quern, tmp_path):
    (tmp_path / "short.txt").write_text("Too short.")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe" * 4000)
    for name, words in (("short.txt", "expected at least 512 tokens, one window (--context)"), ("bytes.txt", "UTF-8"), ("none.txt", "none.txt")):
        assert words in refusal(quern.run("eval", EMBEDDED[0], tmp_path / name))
    assert "at least 4 tokens" in refusal(quern.run("eval", EMBEDDED[0], tmp_path / "short.txt", "--context", 2))


def test_a_reference_of_another_vocabulary(quern, text, tmp_path):
    other = conftest.REPO / "tests" / "golden" / "data" / "models" / "qwen2-f32-tied"
    assert "--reference: expected a vocabulary of 4096" in refusal(quern.run("eval", EMBEDDED[0], text, "--context", 64, "--reference", other))
    shutil.copytree(EMBEDDED[0], tmp_path / "hf")
    tokenizer = json.loads((tmp_path / "hf" / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:1000]
    (tmp_path / "hf" / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "the same tokens" in refusal(quern.run("eval", EMBEDDED[0], text, "--context", 64, "--reference", tmp_path / "hf"))


def test_an_importance_matrix_is_not_replaced_unasked(quern, text, tmp_path):
    (tmp_path / "i.gguf").write_text("mine")
    options = ["eval", EMBEDDED[0], text, "--context", 64, "--imatrix", tmp_path / "i.gguf"]
    assert "--force" in quern.refused(*options) and (tmp_path / "i.gguf").read_text() == "mine"
    quern.ok(*options, "--force", timeout=300)
    assert metadata(tmp_path / "i.gguf")["general.type"] == "imatrix"
