"""More safetensors files and sets of shards that must be refused, by the classes S01 to S27 (see damage_classes.py)."""

import contextlib
import json
import os
import socket
import struct

from damage import DOWN, EMBED, INDEX, NORM, SHARDED, WEIGHTS, add, entry, in_map, index, join, rebuild, split, tensors_of, write

SHARDS = [f"model-0000{i}-of-00004.safetensors" for i in range(1, 5)]
UP, QUERY, BIAS = "model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias"
SOME = (DOWN, UP, QUERY, BIAS, NORM, EMBED)


def file_is(name, data, file=WEIGHTS, *names):
    base = SHARDED if file in SHARDS else None
    add(name, lambda folder: write(folder / file, data), file, *names, **({"base": base} if base else {}))


def header(name, make, *names):
    """The header's text made anew from what it was."""
    def apply(folder):
        old, data = split(folder / WEIGHTS)
        join(folder / WEIGHTS, make(json.dumps(old).encode()), data)
    add(name, apply, WEIGHTS, *names)


def replace(name, old, new, *names):
    def make(text):
        assert text.count(old) >= 1
        return text.replace(old, new, 1)
    header(name, make, *names)


def length(name, value, file=WEIGHTS, grow=0):
    """The first eight bytes say `value` of (the header's length, the file's)."""
    def apply(folder):
        data = (folder / file).read_bytes()
        told = value(struct.unpack("<Q", data[:8])[0], len(data)) if callable(value) else value
        write(folder / file, struct.pack("<Q", told % (1 << 64)) + data[8:])
        if grow:
            os.truncate(folder / file, grow)
    add(name, apply, file, "header|model.", **({"base": SHARDED} if file in SHARDS else {}))


def tensors(name, change, *names, **more):
    """The header's entries, as JSON, changed; the data as `change` returns it, or as it was."""
    def apply(folder):
        entries, data = split(folder / WEIGHTS)
        new = change(entries, data)
        join(folder / WEIGHTS, entries, data if new is None else new)
    add(name, apply, WEIGHTS, *names, **more)


# ---- S01, S02: nothing, or less than a length ----

for shard in SHARDS:
    file_is(f"S01-{shard}", b"", shard, "empty")


def all_empty(folder):
    for shard in SHARDS:
        write(folder / shard, b"")


def without_index(then):
    def apply(folder):
        (folder / INDEX).unlink()
        then(folder)
    return apply


def linked_to_empty(folder):
    (folder / WEIGHTS).unlink()
    write(folder / "blob", b"")
    (folder / WEIGHTS).symlink_to("blob")


add("S01-all-shards", all_empty, SHARDS[0] + "|empty", base=SHARDED)
add("S01-shards-without-index", without_index(all_empty), SHARDS[0], "empty", base=SHARDED)
add("S01-last-without-index", without_index(lambda folder: write(folder / SHARDS[3], b"")), SHARDS[3], "empty", base=SHARDED)
add("S01-single-beside-shards", lambda folder: write(folder / WEIGHTS, b""), WEIGHTS, "empty", base=SHARDED)
add("S01-link-to-empty", linked_to_empty, WEIGHTS, "empty")
add("S01-surplus-file", without_index(lambda folder: write(folder / "adapter.safetensors", b"")), "adapter.safetensors", base=SHARDED)
for n in range(1, 7):
    file_is(f"S02-{n}-zeros", b"\0" * n, WEIGHTS, "8 bytes")
    file_is(f"S02-{n}-of-shard", b"\x40\0\0\0\0\0\0"[:n], SHARDS[n % 4], "8 bytes")
file_is("S02-brace", b"{", WEIGHTS, "8 bytes")
file_is("S02-ones", b"\xff" * 7, WEIGHTS, "8 bytes")

# ---- S03 to S07: lengths that lie ----

for shard in SHARDS:
    length(f"S03-{shard}", 0, shard)
    length(f"S03-one-{shard}", 1, shard)
file_is("S03-and-empty-object", struct.pack("<Q", 0) + b"{}", WEIGHTS, "header length")
file_is("S03-sparse", struct.pack("<Q", 0) + b"\0" * 65536, WEIGHTS, "header length")
for more in (1, 2, 8, 4096):
    length(f"S04-by-{more}", lambda _, size, more=more: size - 8 + more)
length("S04-twice", lambda _, size: 2 * size)
for at in (8, 9, 100):
    add(f"S04-file-of-{at}", lambda folder, at=at: os.truncate(folder / WEIGHTS, at), WEIGHTS, "header length")
for shard in SHARDS:
    length(f"S04-{shard}", lambda _, size: size, shard)
for name, value in (("and-1", 1), ("less-1", -1), ("less-8", -8), ("and-8", 8), ("and-a-page", 4096)):
    length(f"S05-{name}", (1 << 63) + value)
length("S05-and-the-length", lambda n, _: (1 << 63) + n)
length("S05-half", 1 << 62)
for i in (0, 2, 3):
    length(f"S05-{SHARDS[i]}", 1 << 63, SHARDS[i])
for back in (2, 3, 4, 5, 6, 7, 9):
    length(f"S06-less-{back}", -back)
for back in (16, 4096):
    length(f"S06-less-{back}", -back)
length("S06-and-the-length", lambda n, _: n - 8)
for name, value in (("cap-and-1", 100000001), ("2^31", 1 << 31), ("2^32", 1 << 32), ("2^40", 1 << 40), ("2^48", 1 << 48), ("spaces", 0x2020202020202020)):
    length(f"S07-{name}", value)
length("S07-2^32-and-the-length", lambda n, _: (1 << 32) + n)
length("S07-big-endian", lambda n, _: int.from_bytes(n.to_bytes(8, "big"), "little"))
length("S07-cap-and-1-there", 100000001, grow=200 << 20)
length("S07-2^32-there", 1 << 32, grow=5 << 30)

# ---- S08 to S11: text that is no header ----

for name, bad in (("continuation", b"\x80"), ("ff", b"\xff"), ("cut-2", b"\xc3"), ("cut-3", b"\xe2\x82"), ("overlong", b"\xc0\xaf"), ("overlong-3", b"\xe0\x80\xaf"),
                  ("surrogate", b"\xed\xa0\x80"), ("beyond-unicode", b"\xf4\x90\x80\x80"), ("five-bytes", b"\xf8\x88\x80\x80\x80"), ("latin1", b"norm\xe9")):
    replace(f"S08-{name}", b"model.norm", b"model." + bad, "byte")
replace("S08-in-metadata", b'"pt"', b'"p\xfft"', "byte")
header("S08-behind", lambda text: text + b"\xff", "byte")
header("S08-utf16", lambda text: text.decode().encode("utf-16-le"), "byte")
for name, first in (("tab", b"\t"), ("newline", b"\n"), ("nul", b"\0"), ("string", b'"x"'), ("number", b"5"), ("null", b"null"), ("comment", b"/* x */"),
                    ("nbsp", "\u00a0".encode()), ("utf16-bom", b"\xff\xfe"), ("spaces", b" " * 4096)):
    header(f"S09-{name}", lambda text, first=first: first + text, "byte 0")
for k in range(1, 12):
    header(f"S10-{k}-of-12", lambda text, k=k: text[:len(text) * k // 12], "header|model.|metadata")
header("S10-last-brace", lambda text: text[:-1], "byte")
header("S10-open-string", lambda text: text[:-1] + b', "abc', "byte")
for name, more in (("brace", b"}"), ("comma", b","), ("object", b"{}"), ("tab", b"\t"), ("newline", b"\n"), ("form-feed", b"\x0c"), ("nbsp", "\u00a0".encode()),
                   ("zip", b"PK\3\4"), ("spaces-and-x", b" " * 100 + b"x"), ("comment", b" //")):
    header(f"S11-{name}", lambda text, more=more: text + more, "byte")

# ---- S12 to S14: twice, and deep ----

for name in SOME:
    def twice(text, name=name):
        e = json.dumps(json.loads(text)[name]).encode()
        return text[:-1] + b', "' + name.encode() + b'": ' + e + b"}"
    header(f"S12-{name}", twice, name)
    header(f"S12-first-{name}", lambda text, name=name: b'{"' + name.encode() + b'": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, ' + text[1:], name)
header("S12-escaped", lambda text: text[:-1] + b', "\\u006dodel.norm.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}', NORM)
header("S12-metadata", lambda text: text[:-1] + b', "__metadata__": {}}', "__metadata__")
for field, value in (("dtype", b'"F32"'), ("dtype", b'"BF16"'), ("shape", b"[36]"), ("shape", b"[1]"), ("data_offsets", b"[0, 144]"), ("data_offsets", b"[0, 0]")):
    def inner(text, field=field, value=value):
        return text.replace(b'"model.norm.weight": {', b'"model.norm.weight": {"' + field.encode() + b'": ' + value + b", ", 1)
    header(f"S13-{field}-{value.decode()}", inner, NORM)
    header(f"S13-{field}-{value.decode()}-escaped", lambda text, inner=inner, field=field: inner(text).replace(
        b'"' + field.encode(), b'"\\u%04x' % ord(field[0]) + field[1:].encode(), 1) if field != "dtype" else inner(text).replace(
        b'{"dtype"', b'{"\\u0064type"', 1), "model.|metadata")
replace("S13-metadata", b'{"format": "pt"}', b'{"format": "pt", "format": "pt"}', "__metadata__")
for name, value in (("arrays", b"[" * 100000 + b"]" * 100000), ("open-arrays", b"[" * 100000), ("objects", b'{"a":' * 100000 + b"1" + b"}" * 100000), ("5", b"[" * 5 + b"]" * 5),
                    ("64", b"[" * 64 + b"]" * 64)):
    for field in ("shape", "dtype"):
        header(f"S14-{field}-{name}", lambda text, field=field, value=value: text.replace(
            b'"model.norm.weight": {', b'"model.norm.weight": {"' + field.encode() + b'": ' + value + b", ", 1), NORM)
    replace(f"S14-metadata-{name}", b'"pt"', value, "__metadata__")

# ---- S16 to S21: types, shapes and spans ----

for name, shape in (("2^31-cubed", [1 << 31] * 3), ("2^21-of-4", [1 << 21] * 4), ("2^63-1", [(1 << 63) - 1, 1]), ("2^63-1-twice", [(1 << 63) - 1] * 2), ("2^61-in-bytes", [1 << 61, 1]),
                    ("to-zero", [1 << 32, 1 << 32, 1]), ("behind-zero", [0, 1 << 62, 1 << 62]), ("2^16-of-8", [1 << 16] * 8), ("2^60-by-16", [1 << 60, 16]), ("2^58-by-64", [1 << 58, 64])):
    entry(f"S16-{name}", DOWN, lambda e, shape=shape: e.update(shape=shape), DOWN)
for name, shape in (("minus-one", [-1]), ("true", [True, 77]), ("nested", [[36], 77]), ("object", [{"a": 1}, 77]), ("hexadecimal", ["0x24", 77]), ("2^64", [1 << 64, 1]), ("null", [None, 77]),
                    ("exact-fraction", [36.0, 77]), ("empty-string", ["", 77]), ("minus-zero", [-0.0, 77]), ("minus-2^63", [-(1 << 63), 77])):
    entry(f"S17-{name}", DOWN, lambda e, shape=shape: e.update(shape=shape), "shape|" + DOWN)
for name in SOME:
    entry(f"S18-{name}", name, lambda e: e.update(data_offsets=e["data_offsets"][::-1]), name)
for by in (1, 4, 8, 4096):
    entry(f"S18-by-{by}", DOWN, lambda e, by=by: e.update(data_offsets=[e["data_offsets"][0], e["data_offsets"][0] - by]), DOWN)


def in_order(entries):
    return sorted((n for n in entries if n != "__metadata__"), key=lambda n: entries[n]["data_offsets"])


def gap(at, by):
    """A hole of `by` bytes before the tensor that is at'th in the file."""
    def change(entries, data):
        names = in_order(entries)
        begin = entries[names[at]]["data_offsets"][0]
        for name in names[at:]:
            entries[name]["data_offsets"] = [x + by for x in entries[name]["data_offsets"]]
        return data[:begin] + b"\0" * by + data[begin:]
    return change


for at in (0, 1, 5, -1):
    for by in (1, 4, 4096):
        tensors(f"S19-before-{at}-of-{by}", gap(at, by), "model.", "begin")


def pull(at, by):
    """The at'th tensor and all behind it `by` bytes nearer: it lies over the one before."""
    def change(entries, data):
        for name in in_order(entries)[at:]:
            entries[name]["data_offsets"] = [x - by for x in entries[name]["data_offsets"]]
        return data[:-by]
    return change


for at in (1, 2, 7, -1):
    for by in (1, 4):
        tensors(f"S20-{at}-by-{by}", pull(at, by), "model.", "begin")
for at in (3, 9):
    tensors(f"S20-{at}-on-the-next", lambda entries, data, at=at: entries[in_order(entries)[at]].update(
        data_offsets=[entries[in_order(entries)[at + 1]]["data_offsets"][0], 0]), "model.")
for name in SOME:
    entry(f"S21-row-more-{name}", name, lambda e: e["shape"].__setitem__(0, e["shape"][0] + 1), name)
    entry(f"S21-wider-{name}", name, lambda e: e.update(dtype="F64"), name)

# ---- S22, S23: what is behind, and metadata ----

for name, tail in (("zip", b"PK\5\6" + b"\0" * 18), ("elf", b"\x7fELF" + b"\0" * 60), ("newline", b"\n"), ("7-zeros", b"\0" * 7), ("mebibyte", b"\0" * (1 << 20)),
                   ("another-file", struct.pack("<Q", 2) + b"{}"), ("text", b"trailer"), ("page-less-one", b"\0" * 4095)):
    def append(folder, tail=tail):
        with open(folder / WEIGHTS, "ab") as file:
            file.write(tail)
    add(f"S22-{name}", append, WEIGHTS, "data")
for name, value in (("null", "null"), ("string", '"pt"'), ("nested", '{"a": {"b": "c"}}'), ("list", '{"a": ["b"]}'), ("bool", '{"a": true}'), ("fraction", '{"a": 1.5}'),
                    ("null-inside", '{"a": null}'), ("a-tensor", '{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'), ("50-MB", '{"a": "' + "x" * 50000000 + '"}'),
                    ("million-keys", "{" + ",".join(f'"k{i}": ""' for i in range(1000000)) + "}"), ("nul", '{"a\\u0000b": "c"}')):
    replace(f"S23-{name}", b'{"format": "pt"}', value.encode(), "__metadata__")

# ---- S24, S25: no dimensions, and names ----

EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
for name, shape in (("0", [0]), ("0-by-77", [0, 77]), ("77-by-0", [77, 0]), ("0-four-times", [0] * 4)):
    tensors(f"S24-beside-{name}", lambda entries, _, shape=shape: entries.update(beside={**EMPTY, "shape": shape}), sound=True)


def scalar(entries, data):
    entries["step"] = {"dtype": "F32", "shape": [], "data_offsets": [len(data), len(data) + 4]}
    return data + b"\0" * 4


tensors("S24-scalar-beside", scalar, sound=True)
for name in SOME[:4]:
    entry(f"S24-no-dimensions-{name}", name, lambda e: e.update(shape=[]), name)
entry("S24-nine-dimensions", DOWN, lambda e: e.update(shape=[1] * 7 + e["shape"]), DOWN)
entry("S24-one-more-one", NORM, lambda e: e["shape"].append(1), NORM)


def emptied(tensor):
    def change(entries, data):
        begin, end = entries[tensor]["data_offsets"]
        entries[tensor].update(shape=[0] * len(entries[tensor]["shape"]), data_offsets=[begin, begin])
        for name in entries:
            if name not in ("__metadata__", tensor) and entries[name]["data_offsets"][0] >= end:
                entries[name]["data_offsets"] = [x - (end - begin) for x in entries[name]["data_offsets"]]
        return data[:begin] + data[end:]
    return change


for name in (DOWN, NORM, BIAS):
    tensors(f"S24-emptied-{name}", emptied(name), name)
for name, text in (("mebibyte", "x" * (1 << 20)), ("1025", "x" * 1025), ("nul", "\0"), ("nul-inside", "a\0b"), ("up", "../x"), ("up-inside", "a/../../x"), ("empty", ""), ("newline", "a\nb"),
                   ("escape", "\x1b[31m"), ("delete", "a\x7f"), ("bell", "\7"), ("64-KiB-of-quotes", '"' * 65536)):
    tensors(f"S25-{name}", lambda entries, _, text=text: entries.update({text: EMPTY}), "header")

# ---- S26: the index ----

for name, value in (("nul", "model-00001-of-00004.safetensors\0x"), ("other-suffix", "pytorch_model.bin"), ("hidden", ".model.safetensors"), ("long", "x" * 300 + ".safetensors"), ("object", {}),
                    ("list", [SHARDS[0]]), ("true", True), ("backslash", "..\\x.safetensors"), ("suffix-alone", ".safetensors"), ("inside-up", "a/../" + SHARDS[0])):
    index(f"S26-{name}", in_map(value), "index.json|" + str(value), "weight_map|JSON|cannot open")
index("S26-million-shards", lambda data: data["weight_map"].update({f"t{i}": f"s{i}.safetensors" for i in range(300000)}), "safetensors")
index("S26-1001-shards", lambda data: data["weight_map"].update({f"t{i}": f"s{i}.safetensors" for i in range(1001)}), "1000")
index("S26-no-such-tensor", in_map(SHARDS[0], "model.layers.7.mlp.up_proj.weight"), INDEX, "model.layers.7.mlp.up_proj.weight")
index("S26-moved-tensor", lambda data: data["weight_map"].update({NORM: next(s for s in SHARDS if s != data["weight_map"][NORM])}), INDEX, NORM)


def in_two(tensor):
    def apply(folder):
        first = json.loads((folder / INDEX).read_text())["weight_map"][tensor]
        other = next(s for s in SHARDS if s != first)
        entries = tensors_of(*split(folder / other))
        entries[tensor] = tensors_of(*split(folder / first))[tensor]
        rebuild(folder / other, entries)
    return apply


add("S26-in-two-shards", in_two(NORM), "safetensors", NORM, base=SHARDED)
add("S26-in-two-shards-embed", in_two(EMBED), "safetensors", EMBED, base=SHARDED)


def link_shard(target):
    def apply(folder):
        (folder / SHARDS[1]).unlink()
        (folder / SHARDS[1]).symlink_to(target)
    return apply


add("S26-link-to-passwd", link_shard("/etc/passwd"), SHARDS[1], base=SHARDED)
add("S26-link-to-itself", link_shard(SHARDS[1]), SHARDS[1], base=SHARDED)
add("S26-link-to-another", link_shard(SHARDS[0]), "safetensors", "model.", base=SHARDED)

# ---- S27: what is no file ----


def listen(path):
    with socket.socket(socket.AF_UNIX) as s, contextlib.chdir(path.parent):
        s.bind(path.name)  # a path of at most 103 bytes


KINDS = (("folder", lambda path: path.mkdir()), ("fifo", os.mkfifo), ("device", lambda path: path.symlink_to("/dev/zero")), ("null", lambda path: path.symlink_to("/dev/null")),
         ("socket", listen), ("loop", lambda path: path.symlink_to(path.name)))
for file, base in ((WEIGHTS, None), (SHARDS[2], SHARDED), (INDEX, SHARDED)):
    for name, make in KINDS:
        def apply(folder, file=file, make=make):
            (folder / file).unlink()
            make(folder / file)
        dangling = file == INDEX and name == "loop"  # stat() says that it is not there: the shards are listed
        if not dangling:
            add(f"S27-{file}-{name}", apply, file, **({"base": base} if base else {}))
