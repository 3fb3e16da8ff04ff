"""quern tokenize and detokenize: the ids that Hugging Face tokenizers gives, and the text back."""

import json
import resource
import unicodedata

import conftest
import golden_roots
import pytest


def tokenizers(root):
    for path in sorted((root.golden / "tokenizer").glob("*.jsonl")):
        cases = golden_roots.json_lines(path)
        for kind, special in (("user", False), ("template", True)):
            yield f"{path.stem}-{kind}", (root.tokenizers / path.stem, special,
                                          [case for case in cases if case.get("special", False) == special])


PARAMS = golden_roots.over_roots(tokenizers)


@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "raw"])
@pytest.mark.parametrize("tokenizer", PARAMS)
def test_ids(quern, tokenizer, escaped):
    folder, special, cases = tokenizer
    # A lone line of JSON a text: escaped as \uXXXX, then as UTF-8.
    lines = "".join(json.dumps(case["text"], ensure_ascii=escaped) + "\n" for case in cases)
    options = ["--special"] if special else []
    out = quern.ok("tokenize", folder, "--jsonl", *options, input=lines.encode(), timeout=120).decode().splitlines()
    assert len(out) == len(cases)
    wrong = [f"{case['text'][:200]!r}\n  expected {case['ids'][:60]}\n  got      {json.loads(line)[:60]}"
             for case, line in zip(cases, out) if json.loads(line) != case["ids"]]
    assert not wrong, f"{len(wrong)} of {len(cases)} cases differ:\n" + "\n".join(wrong[:10])


@pytest.mark.parametrize("tokenizer", PARAMS)
def test_a_file_is_one_text(quern, tokenizer, tmp_path):
    """The plain form: a file's text, its last newline included, gives one array; standard input does the same."""
    folder, special, cases = tokenizer
    case = max(cases, key=lambda case: len(case["ids"]))
    (tmp_path / "text").write_bytes(case["text"].encode())
    options = ["--special"] if special else []
    assert quern.json("tokenize", folder, tmp_path / "text", *options) == case["ids"]
    assert quern.json("tokenize", folder, *options, input=case["text"].encode()) == case["ids"]


@pytest.mark.parametrize("tokenizer", PARAMS)
def test_text_back(quern, tokenizer, tmp_path):
    """Byte-level BPE loses nothing but what NFC joins, so all cases can be checked in one go."""
    folder, special, cases = tokenizer
    if special:
        # Text between added tokens is normalised by itself: keep the cases where that makes no difference to us.
        cases = [case for case in cases if case["text"].isascii()]
    (tmp_path / "ids").write_text(json.dumps([token for case in cases for token in case["ids"]]))
    out = quern.ok("detokenize", folder, tmp_path / "ids", timeout=120)
    expected = "".join(unicodedata.normalize("NFC", case["text"]) for case in cases).encode()
    at = next((i for i, (a, b) in enumerate(zip(out, expected)) if a != b), min(len(out), len(expected)))
    assert out == expected, f"differs at byte {at}: {out[max(0, at - 40):at + 40]} for {expected[max(0, at - 40):at + 40]}"


def cpu_seconds():
    """What all processes that ended have used: on a busy machine the clock on the wall tells little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("unit", ["a", " ", "\n"], ids=["letters", "spaces", "newlines"])
def test_time_is_linear_and_the_stack_bounded(quern, tmp_path, unit):
    """64 MiB of one character (1 MiB under sanitizers and emulators) costs about 8 times what an eighth of it does."""
    is_slow = conftest.SANITIZED or conftest.TIMEOUT_SCALE > 1
    size = (1 << 20) if is_slow else (64 << 20)
    folder, seconds = golden_roots.OWN.tokenizers / "strings", []
    for n in (size // 8, size):
        (tmp_path / "text").write_bytes(unit.encode() * n)
        before = cpu_seconds()
        out = quern.ok("tokenize", folder, tmp_path / "text", timeout=120, stack=None if is_slow else 1 << 20)
        seconds.append(cpu_seconds() - before)
        ids = json.loads(out)
        assert len(ids) >= n / 256
    # Caches apart; quadratic would be 64.
    assert seconds[1] < 20 * max(seconds[0], 0.05), seconds


def test_ids_beyond_the_vocabulary_decode_to_nothing(quern):
    """The models' vocabularies are padded: ids up to the padded size are legal outputs."""
    name, model = next(golden_roots.models(golden_roots.OWN))
    letters = quern.json("tokenize", model.path, input=b"ab")
    padded = [letters[0], 310, letters[1]] if len(letters) == 2 else [310, *letters]
    assert quern.ok("detokenize", model.path, input=json.dumps(padded).encode()) == b"ab"


@pytest.mark.parametrize("line", ["[1]", "5", "\"unclosed", "\"\\ud800\"", ""], ids=["array", "number", "cut", "surrogate", "empty"])
def test_bad_lines_are_refused(quern, line):
    out = quern.run("tokenize", golden_roots.OWN.tokenizers / "strings", "--jsonl", input=b'"ok"\n' + line.encode() + b"\n")
    assert out.returncode == 1 and len(out.stderr.splitlines()) == 1, out
