"""GGUF files: the same tokens, prompts, texts and logits as the Hugging Face directory that they were made from."""

import json
import shutil

import conftest
import gguf_files
import golden_roots
import numpy
import pytest

EMBEDDED = [conftest.REPO / "models" / name for name in ("tiny-qwen2", "tiny-qwen3")]
IDS = [5, 17, 301, 44, 7, 0, 250, 99, 3, 64, 128, 31, 200, 12, 12, 77]
CHAT = {"messages": [{"role": "system", "content": "Be <|im_start|> brief."}, {"role": "user", "content": "What is 3 + 4?"}],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}], "add_generation_prompt": True}
GREEDY = ["-n", 24, "--strategy", "greedy", "--json"]
# Weights in blocks keep their keys and values as halves, which the float32 directory does not.
MAX_ERROR = {"F32": 1e-5, "BF16": 1e-2}
MAX_ERROR_OF_HALVES = 2e-3


def logits(quern, path, out):
    quern.ok("logits", path, "--tokens", golden_roots.words(IDS), "--out", out)
    return numpy.load(out, allow_pickle=False)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("folder", EMBEDDED, ids=lambda folder: folder.name)
def test_an_embedded_model(quern, folder, version, tmp_path):
    """In its own type: not a bit differs, whatever is asked of it."""
    path, _ = gguf_files.write(folder, tmp_path / "model.gguf", "BF16", version)
    (tmp_path / "chat.json").write_text(json.dumps(CHAT))
    for command in (["template", tmp_path / "chat.json"], ["run", "Once upon a time", *GREEDY], ["run", "Count to five.", "--chat", *GREEDY]):
        name, *rest = command
        ours, theirs = quern.ok(name, path, *rest), quern.ok(name, folder, *rest)
        if name == "run":
            ours, theirs = (json.loads(out) for out in (ours, theirs))
            assert ours["finish_reason"] == theirs["finish_reason"]
            ours, theirs = ours["tokens"], theirs["tokens"]
        assert ours == theirs
    ours, theirs = (quern.json("inspect", model, "--json") for model in (path, folder))
    for field in set(ours) - {"name", "weight_bytes", "dtypes"}:  # vectors are float32 in a GGUF file
        assert ours[field] == theirs[field], field
    assert logits(quern, path, tmp_path / "a.npy").tobytes() == logits(quern, folder, tmp_path / "b.npy").tobytes()


@pytest.mark.parametrize("folder", EMBEDDED, ids=lambda folder: folder.name)
def test_advice_on_sampling(quern, folder, tmp_path):
    """A request that names no strategy draws as generation_config.json advises, from the same numbers."""
    path, _ = gguf_files.write(folder, tmp_path / "model.gguf", "BF16")
    options = ["Tell me a story.", "--chat", "--seed", 7, "-n", 24, "--json"]
    assert quern.json("run", path, *options)["tokens"] == quern.json("run", folder, *options)["tokens"]


def tokenizers(root):
    for path in sorted((root.golden / "tokenizer").glob("*.jsonl")):
        folder = root.tokenizers / path.stem
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        if r"|\p{N}| ?[^\s\p{L}\p{N}]+" in str(tokenizer["pre_tokenizer"].get("pretokenizers", [{}])[0]).replace(r"\\", "\\"):  # qwen2's
            yield path.stem, (folder, golden_roots.json_lines(path))


@pytest.mark.parametrize("tokenizer", golden_roots.over_roots(tokenizers))
def test_ids(quern, tokenizer, tmp_path):
    """The ids that Hugging Face gives, of text and of templates, from a vocabulary padded as models pad theirs."""
    folder, cases = tokenizer
    n_vocab = max(token["id"] for token in json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]) + 100
    writer = gguf_files.gguf.GGUFWriter(tmp_path / "t.gguf", "qwen2")
    gguf_files.add_vocabulary(writer, folder, n_vocab)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for special in (False, True):
        of_kind = [case for case in cases if case.get("special", False) == special]
        lines = "".join(json.dumps(case["text"]) + "\n" for case in of_kind)
        out = quern.ok("tokenize", tmp_path / "t.gguf", "--jsonl", *(["--special"] if special else []), input=lines.encode(), timeout=120)
        wrong = [(case["text"][:80], case["ids"][:20], line[:80]) for case, line in zip(of_kind, out.decode().splitlines(), strict=True)
                 if json.loads(line) != case["ids"]]
        assert not wrong, f"{len(wrong)} of {len(of_kind)} differ: {wrong[:5]}"
    ids = tmp_path / "ids"
    ids.write_text(json.dumps([token for case in cases for token in case["ids"]] + [n_vocab - 1]))
    assert quern.ok("detokenize", tmp_path / "t.gguf", ids, timeout=120) == quern.ok("detokenize", folder, ids, timeout=120)


@pytest.mark.parametrize("kind", gguf_files.WRITABLE + gguf_files.BLOCKS_ONLY)
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_logits(quern, family, kind, tmp_path):
    """Those of a directory that holds the numbers which the file's blocks stand for."""
    gguf_files.make_directory(tmp_path / "hf", family)
    path, numbers = gguf_files.write(tmp_path / "hf", tmp_path / "model.gguf", kind)
    gguf_files.write_tensors(tmp_path / "hf", numbers)
    assert quern.json("inspect", path, "--json")["dtype"] == kind.lower()
    out, ref = logits(quern, path, tmp_path / "out.npy"), logits(quern, tmp_path / "hf", tmp_path / "ref.npy")
    error = numpy.linalg.norm(out - ref) / numpy.linalg.norm(ref)
    assert error <= MAX_ERROR.get(kind, MAX_ERROR_OF_HALVES)


def test_mixed_formats(quern, tmp_path):
    """As files are in practice: formats differ within a layer and between layers, and the embedding has its own."""
    gguf_files.make_directory(tmp_path / "hf", "qwen3")
    kinds = {"v_proj": "Q6_K", "down_proj": "Q5_0", "embed_tokens": "Q6_K", "lm_head": "F16", "layers.1.mlp.up": "IQ4_XS", "q_proj": "BF16"}
    path, numbers = gguf_files.write(tmp_path / "hf", tmp_path / "model.gguf",
                                     lambda name: next((kind for part, kind in kinds.items() if part in name), "Q4_K"))
    gguf_files.write_tensors(tmp_path / "hf", numbers)
    facts = quern.json("inspect", path, "--json")
    assert facts["dtype"] == "q4_k" and set(facts["dtypes"]) == {"f32", "q4_k", *(kind.lower() for kind in kinds.values())}
    assert sum(facts["dtypes"].values()) == facts["weight_bytes"]
    out, ref = logits(quern, path, tmp_path / "out.npy"), logits(quern, tmp_path / "hf", tmp_path / "ref.npy")
    assert numpy.linalg.norm(out - ref) <= MAX_ERROR_OF_HALVES * numpy.linalg.norm(ref)


def goldens(root):
    for name, model in golden_roots.models(root):
        config = json.loads((model.path / "config.json").read_text())
        rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
        has_no_key = config.get("use_sliding_window") or {"attention_factor", "mscale"} & set(rope)
        if model.is_f32 and not has_no_key:
            yield name, model


@pytest.mark.parametrize("model", golden_roots.over_roots(goldens))
def test_goldens(quern, model, tmp_path):
    """Hugging Face's own logits: RoPE of all kinds, heads of their own size, tied and untied."""
    path, _ = gguf_files.write(model.path, tmp_path / "model.gguf", tokenizer=False)
    case = max(model.golden["cases"], key=lambda case: len(case["ids"]))
    quern.ok("logits", path, "--tokens", golden_roots.words(case["ids"]), "--out", tmp_path / "out.npy")
    out, ref = numpy.load(tmp_path / "out.npy"), numpy.load(model.path / case["logits"])
    assert numpy.linalg.norm(out - ref) <= 1e-4 * numpy.linalg.norm(ref)


@pytest.mark.parametrize("rope", [{"rope_type": "linear", "factor": 2.5},
                                  {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
                                  {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 4.0, "beta_slow": 0.5}],
                         ids=["linear", "yarn", "yarn-betas"])
def test_rope(quern, rope, tmp_path):
    gguf_files.make_directory(tmp_path / "hf", "qwen2")
    plain, _ = gguf_files.write(tmp_path / "hf", tmp_path / "plain.gguf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**config, "rope_scaling": rope}))
    path, _ = gguf_files.write(tmp_path / "hf", tmp_path / "model.gguf")
    out, ref = logits(quern, path, tmp_path / "out.npy"), logits(quern, tmp_path / "hf", tmp_path / "ref.npy")
    assert out.tobytes() == ref.tobytes()
    assert out.tobytes() != logits(quern, plain, tmp_path / "plain.npy").tobytes()
    assert quern.json("inspect", path, "--json")["context"] == quern.json("inspect", tmp_path / "hf", "--json")["context"]


def test_split(quern, tmp_path):
    """A file in three is the same model; so is a directory that holds only that, and a copy in memory."""
    whole, _ = gguf_files.write(EMBEDDED[0], tmp_path / "whole.gguf", "Q8_0")
    (tmp_path / "parts").mkdir()
    first, _ = gguf_files.write(EMBEDDED[0], tmp_path / "parts" / "m.gguf", "Q8_0", per_file=30)
    assert first.name == "m-00001-of-00003.gguf"
    expected = quern.json("run", whole, "Once upon a time", *GREEDY)["tokens"]
    for model, options in ((first, []), (first.parent, []), (whole, ["--no-mmap"]), (first, ["--no-mmap"])):
        assert quern.json("run", model, "Once upon a time", *GREEDY, *options)["tokens"] == expected
    assert "name the first" in quern.refused("inspect", tmp_path / "parts" / "m-00002-of-00003.gguf")
    shutil.copy(whole, tmp_path / "parts")
    assert "found 2: name one" in quern.refused("inspect", first.parent)


def test_names(quern, tmp_path):
    """A GGUF file is found by its name in ./models, with its suffix and without, and as the only one of a repository."""
    (tmp_path / "models").mkdir()
    gguf_files.write(EMBEDDED[0], tmp_path / "models" / "tiny.gguf", "BF16")
    for name in ("tiny", "tiny.gguf", "models/tiny.gguf"):
        assert quern.json("inspect", name, "--json", cwd=tmp_path)["architecture"] == "qwen2"
    repository = tmp_path / "hub" / "models--Qwen--Small-GGUF"
    for folder in (repository / "refs", repository / "snapshots" / "0123abc"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    (repository / "snapshots" / "0123abc" / "small-q8_0.gguf").symlink_to(tmp_path / "models" / "tiny.gguf")
    assert quern.json("inspect", "Qwen/Small-GGUF", "--json", env={"HF_HUB_CACHE": str(tmp_path / "hub")})["architecture"] == "qwen2"
