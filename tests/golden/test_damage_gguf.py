"""Damaged GGUF files are refused: exit 1, one line that names file and place, soon, in little memory, by no signal."""

import collections
import math
import os
import resource
import struct

import conftest
import damage_gguf
import pytest

MEMORY = 2 << 30
SECONDS = 1
RSS_KIB = 64 << 10


def put(folder, made):
    """Writes a damage's files; returns the one to open."""
    files = made if isinstance(made, dict) else {damage_gguf.FILE: made}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / next(iter(files))


def test_the_classes_are_covered():
    counts = collections.Counter(d.name.split("-")[0] for d in damage_gguf.ALL)
    assert len({d.name for d in damage_gguf.ALL}) == len(damage_gguf.ALL)
    assert {f"G{i:02}" for i in range(1, 34)} <= set(counts)
    assert all(n >= 10 for n in counts.values()), counts


def test_the_sound_file_is_not_refused(quern, tmp_path):
    path = put(tmp_path, damage_gguf.GOOD)
    assert quern.json("inspect", path, "--json", memory=MEMORY)["tokenizer_ids"] == 263  # without the padding
    assert quern.json("tokenize", path, input=b" the") == [258]
    assert len(quern.json("run", path, "the", "-n", 3, "--ignore-eos", "--json")["tokens"]) == 3
    first = put(tmp_path, damage_gguf.parts())
    assert quern.json("run", first, "the", "-n", 3, "--ignore-eos", "--json")["tokens"]


@pytest.mark.parametrize("spoiled", [pytest.param(d, id=d.name) for d in damage_gguf.ALL])
def test_refused(quern, spoiled, tmp_path):
    path = put(tmp_path, spoiled.make())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = quern.refused("inspect", path, timeout=10, memory=MEMORY)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS * conftest.TIMEOUT_SCALE
    rest = line.replace(str(tmp_path), "")
    for wanted in (path.suffix, *spoiled.names):
        assert any(word in rest for word in wanted.split("|")), f"{wanted!r} is not named in: {line}"
    assert len(line) < 1000 and line.isprintable(), line


@pytest.mark.parametrize("name", ["G10-1000000", "G30-more-5000", "vocabulary-template-4", "tensors", "values", "strings"])
def test_memory(quern, name, tmp_path):
    """The largest of them, and files whose header is as large as it may be, stay below 64 MiB."""
    if conftest.SANITIZED or len(quern.command) > 1:
        pytest.skip("a sanitizer's or an emulator's memory is not ours")
    u32, u64, text = damage_gguf.u32, damage_gguf.u64, damage_gguf.text
    head = b"GGUF" + u32(3)
    made = {
        "tensors": lambda: head + u64(65536) + u64(0) + b"".join(text(f"t{i:063}") + u32(1) + u64(1) + u32(24) + u64(0) for i in range(65536)),
        "values": lambda: head + u64(0) + u64(65536) + b"".join(text(f"v{i}") + u32(0) + b"\0" for i in range(65536)),
        "strings": lambda: head + u64(0) + u64(1) + text("x") + u32(9) + u32(8) + u64(5 << 20) + b"\0" * (40 << 20),
    }
    path = put(tmp_path, made[name]() if name in made else next(d for d in damage_gguf.ALL if d.name == name).make())
    quern.refused("inspect", path, timeout=10, memory=MEMORY)
    assert quern.peak_kib("inspect", path) < RSS_KIB


def real_size(quern, path, spoil=lambda g: None):
    """A file of the Qwen2.5-3B shape in Q8_0, 3 GB of which are a hole."""
    facts = quern.json("inspect", "--shape", "qwen2.5-3b", "--json")
    g, at = damage_gguf.sound(), 0
    for key in [row[0] for row in g.values if row[0].startswith("tokenizer.")]:
        g.drop(key)
    for key, field in (("block_count", "layers"), ("context_length", "context"), ("embedding_length", "hidden_size"),
                       ("feed_forward_length", "intermediate_size"), ("attention.head_count", "heads"), ("attention.head_count_kv", "kv_heads")):
        g.put("qwen2." + key, damage_gguf.U32, facts[field])
    g.tensors = []
    for tensor in facts["tensors"]:
        dims = tensor["shape"][::-1]
        matrix = len(dims) == 2
        g.tensors.append(damage_gguf.Tensor(damage_gguf.name_of(tensor["name"]).encode(), dims, 8 if matrix else 0, offset=at))
        at += -(-math.prod(dims) * (34 if matrix else 128) // 32 // 32) * 32
    spoil(g)
    head = g.head()
    path.write_bytes(head)
    os.truncate(path, -(-len(head) // 32) * 32 + at)
    return path


def test_real_size_in_2_gib(quern, tmp_path):
    """What does not fit the address space is still looked at, and refused for its damage rather than its size."""
    facts = quern.json("inspect", real_size(quern, tmp_path / "sound.gguf"), "--json", timeout=10, memory=2 << 30)
    assert facts["parameters"] == 3085938688 and facts["weight_bytes"] > 3 << 30
    last = "blk.35.ffn_down.weight"
    path = real_size(quern, tmp_path / "spoiled.gguf", lambda g: g.tensor(last).dims.reverse())
    for command in (["inspect", path], ["run", path, "--tokens", "1", "-n", 1]):
        assert last in quern.refused(*command, timeout=10, memory=2 << 30)


@pytest.mark.parametrize("kind", ["nan", "inf", "nan-scales"])
def test_numbers_that_are_none(quern, kind, tmp_path):
    """G34, G35: weights are taken as they are; a run ends, with tokens or with one line."""
    g = damage_gguf.sound()
    for t in g.tensors:
        n = len(t.data) // 4
        if kind == "nan-scales" and len(t.dims) == 2:
            t.kind, t.data = 8, (b"\xff\xff" + b"\7" * 32) * (n // 32)
        elif kind != "nan-scales":
            t.data = struct.pack(f"<{n}f", *[float(kind)] * n)
    path = put(tmp_path, g.bytes())
    assert quern.json("inspect", path, "--json")["vocabulary"] == damage_gguf.N_VOCAB
    for strategy in ("greedy", "sampling"):
        done = quern.run("run", path, "--tokens", "1 2 3", "-n", 4, "--strategy", strategy, timeout=10)
        lines = done.stderr.splitlines() # the first tells the memory
        assert done.returncode in (0, 1) and b"KV cache" in lines[0] and len(lines) <= 2, done
