"""Damaged and unsupported directories are refused: exit 1, one line, soon, in 2 GiB, by no signal; sound ones are not."""

import collections
import contextlib
import json
import math
import re
import resource
import shutil

import conftest
import damage
import damage_classes
import golden_roots
import numpy
import pytest

MEMORY = 2 << 30
SECONDS = 1
MODELS = golden_roots.OWN.golden / "models"


def copy_of(base, tmp_path):
    return shutil.copytree(MODELS / base, tmp_path / "model")


def check_line(line, spoiled, folder):
    rest = line.replace(str(folder), "")  # whose own name holds the test's
    for wanted in spoiled.names:
        assert any(word in rest for word in wanted.split("|")), f"{wanted!r} is not named in: {line}"
    assert len(line) < 1000 and line.isprintable(), line


@contextlib.contextmanager
def within(seconds):
    """What was run inside took at most so much of the processor's time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert took < seconds * conftest.TIMEOUT_SCALE, f"took {took:.2f} s"


def commands(spoiled, folder):
    """The command lines that must refuse it, or must not."""
    text = "a" * 4000 + "-"  # for patterns that would take forever
    lines = {"run": (["run", folder, "--tokens", "1 2 3", "-n", 1], b""), "inspect": (["inspect", folder], b""), "tokenize": (["tokenize", folder], b"x"),
             "tokenize-as": (["tokenize", folder], text.encode()), "template": (["template", folder, folder / "chat.json"], b"")}
    (folder / "chat.json").write_text(json.dumps({"messages": [{"role": "user", "content": "x"}]}))
    names = spoiled.only
    if not names:
        names = ["run"] + ["inspect"] * spoiled.inspect + ["tokenize"] * (spoiled.inspect and spoiled.name.startswith("tokenizer-"))
    return [lines[name] for name in names]


def test_every_class_has_its_variants():
    """None of the table is dropped, and none is added without the table."""
    names = [d.name for d in damage.ALL]
    counts = collections.Counter(c for name in names for c in damage_classes.class_of(name))
    assert len(set(names)) == len(names)
    assert all(len(damage_classes.class_of(name)) <= 1 for name in names)
    assert dict(sorted(counts.items())) == {c: row[1] for c, row in damage_classes.CLASSES.items()}
    in_c = len(re.findall(r'^ *\{"S28 ', (conftest.REPO / damage_classes.IN_C).read_text(), re.M))
    assert min(*counts.values(), in_c) >= 10
    assert set(counts) == {f"S{i:02}" for i in range(1, 28)} | {f"{c}{i:02}" for c in "TC" for i in range(1, 19)}


# The largest files, the longest headers and the most values of them all.
LARGEST = ("S23-50-MB", "S23-million-keys", "S07-2^32-there", "safetensors-100000-tensors-on-one-span", "index-S26-million-shards", "S25-mebibyte", "T01-gibibyte", "T01-2-million-values", "T08-strings",
           "T08-pairs", "T18-10-MB", "C01-5-MB", "C16-eos-300000", "tokenizer-T12-100000-beyond-the-model")


@pytest.mark.parametrize("name", LARGEST)
def test_memory(quern, name, tmp_path):
    """What they cost stays bounded: 64 MiB, and 16 bytes for each of a JSON file, which becomes a tree."""
    if conftest.SANITIZED or len(quern.command) > 1:
        pytest.skip("a sanitizer's or an emulator's memory is not ours")
    spoiled = next(d for d in damage.ALL if d.name == name)
    folder = copy_of(spoiled.base, tmp_path)
    spoiled.apply(folder)
    largest = max(path.stat().st_size for path in folder.iterdir() if path.suffix == ".json")
    assert quern.peak_kib("inspect", folder) < (64 << 10) + (16 * largest >> 10) * (largest < 64 << 20)


@pytest.mark.parametrize("spoiled", [pytest.param(d, id=d.name) for d in damage.ALL if not d.sound])
def test_refused(quern, spoiled, tmp_path):
    folder = copy_of(spoiled.base, tmp_path)
    spoiled.apply(folder)
    for command, text in commands(spoiled, folder):
        with within(SECONDS):
            line = quern.refused(*command, input=text, timeout=10, memory=MEMORY)
        check_line(line, spoiled, folder)


@pytest.mark.parametrize("odd", [pytest.param(d, id=d.name) for d in damage.ALL if d.sound])
def test_odd_is_not_refused(quern, odd, tmp_path):
    folder = copy_of(odd.base, tmp_path)
    odd.apply(folder)
    for command, text in commands(odd, folder):
        with within(SECONDS):
            quern.ok(*command, input=text, timeout=10, memory=MEMORY)


@pytest.mark.parametrize("command", ["run", "inspect", "tokenize", "detokenize", "template", "logits"])
@pytest.mark.parametrize("path", ["nowhere", "empty", "a-file"])
def test_no_model_there(quern, tmp_path, command, path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("x")
    (tmp_path / "in.json").write_text("{}")
    more = {"run": ["--tokens", "1"], "logits": ["--tokens", "1", "--out", tmp_path / "o.npy"], "template": [tmp_path / "in.json"]}
    line = quern.refused(command, tmp_path / path, *more.get(command, []), input=b"1", timeout=10, memory=MEMORY)
    assert path in line


def real_size(quern, folder, spoil=lambda header: None):
    """A directory of the Qwen2.5-3B shape, 6 GB of which are a hole in the file."""
    facts = quern.json("inspect", "--shape", "qwen2.5-3b", "--json")
    config = {"model_type": "qwen2", "hidden_size": facts["hidden_size"], "num_hidden_layers": facts["layers"],
              "num_attention_heads": facts["heads"], "num_key_value_heads": facts["kv_heads"],
              "intermediate_size": facts["intermediate_size"], "vocab_size": facts["vocabulary"],
              "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    header, at = {}, 0
    for tensor in facts["tensors"]:
        end = at + 2 * math.prod(tensor["shape"])
        header[tensor["name"]] = {"dtype": "BF16", "shape": tensor["shape"], "data_offsets": [at, end]}
        at = end
    spoil(header)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    damage.join(folder / damage.WEIGHTS, json.dumps(header).encode(), b"")
    with open(folder / damage.WEIGHTS, "r+b") as f:
        f.truncate(f.seek(0, 2) + at)
    return folder


def test_real_size_in_2_gib(quern, tmp_path):
    """What does not fit the address space is still looked at, and refused for its damage rather than its size."""
    facts = quern.json("inspect", real_size(quern, tmp_path / "sound"), "--json", timeout=10, memory=MEMORY)
    assert (facts["parameters"], facts["weight_bytes"]) == (3085938688, 2 * 3085938688)
    last = "model.layers.35.mlp.down_proj.weight"
    folder = real_size(quern, tmp_path / "spoiled", lambda header: header[last]["shape"].reverse())
    for command in (["inspect", folder], ["run", folder, "--tokens", "1", "-n", 1]):
        assert last in quern.refused(*command, timeout=10, memory=MEMORY)


# ---- what must not be refused ----

def same_weights_reversed(folder):
    tensors = damage.tensors_of(*damage.split(folder / damage.WEIGHTS))
    damage.rebuild(folder / damage.WEIGHTS, dict(reversed(tensors.items())))


def header_padded(folder):
    header, data = damage.split(folder / damage.WEIGHTS)
    damage.join(folder / damage.WEIGHTS, json.dumps(header).encode() + b" " * 4001, data)


def head_stored_though_tied(folder):
    """As Qwen3-0.6B comes: tie_word_embeddings true, and lm_head.weight in the file besides."""
    tensors = damage.tensors_of(*damage.split(folder / damage.WEIGHTS))
    tensors["lm_head.weight"] = tensors[damage.EMBED]
    damage.rebuild(folder / damage.WEIGHTS, tensors)


def more_fields(folder):
    damage.edit_json(folder / "config.json", lambda data: data.update(auto_map={"AutoModel": "x.Y"}, unheard_of=[1, {}]))


def fewer_fields(folder):
    for field in ("hidden_act", "attention_dropout", "use_sliding_window", "sliding_window", "max_window_layers", "torch_dtype",
                  "initializer_range", "architectures", "use_cache", "bos_token_id", "eos_token_id"):
        damage.edit_json(folder / "config.json", lambda data: data.pop(field))


SOUND = [same_weights_reversed, header_padded, head_stored_though_tied, more_fields, fewer_fields]


@pytest.mark.parametrize("change", [pytest.param(change, id=change.__name__) for change in SOUND])
def test_not_refused(quern, change, tmp_path):
    folder = copy_of(damage.QWEN2, tmp_path)
    golden = json.loads((folder / "golden.json").read_text())
    change(folder)
    assert quern.json("inspect", folder, "--json", memory=MEMORY)["parameters"] == golden["parameters"]
    case = golden["cases"][1]
    quern.ok("logits", folder, "--tokens", golden_roots.words(case["ids"]), "--out", tmp_path / "out.npy", memory=MEMORY)
    ref = numpy.load(folder / case["logits"])
    out = numpy.load(tmp_path / "out.npy")
    assert numpy.linalg.norm(out - ref) <= 1e-4 * numpy.linalg.norm(ref)
