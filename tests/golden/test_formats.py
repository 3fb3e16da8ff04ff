"""One model in every format that loads: how near its answers stay to those of the full-precision directory.

A row of FORMATS is a format's name, a function that writes the model in it, and two bounds: the share of positions whose likeliest token
is the same (greedy agreement) and the mean Kullback-Leibler divergence in nats, over texts that the full model wrote. The blocks
are rounded to the nearest, without the search that llama.cpp's quantiser makes, so a maker's own file is better than its bound.
`pytest tests/golden/test_formats.py` prints the table.
"""

import json

import conftest
import gguf_files
import golden_roots
import numpy
import pytest

MODEL = conftest.REPO / "models" / "tiny-qwen3"
PROMPTS = ("Tell me a story.", "What is 3 + 4?", "What is the capital of France?", "Count to five.")


def in_gguf(kind):
    """As llama.cpp's quantiser: rows that are no whole blocks go to Q8_0."""
    def write(to):
        block = gguf_files.gguf.GGML_QUANT_SIZES[gguf_files.TYPES[kind]][0]
        path, _ = gguf_files.write(MODEL, to / "model.gguf", lambda name: "Q8_0" if "o_proj" in name and 384 % block else kind, seed=None)
        return path
    return write


FORMATS = (
    # (Beside BF16 weights keys and values are kept in BF16, which those of F32 and F16 are not.)
    ("F32", in_gguf("F32"), 1, 1e-5),
    ("BF16", in_gguf("BF16"), 1, 1e-6),
    ("F16", in_gguf("F16"), 0.99, 1e-4),
    ("Q8_0", in_gguf("Q8_0"), 0.98, 1e-3),
    ("Q6_K", in_gguf("Q6_K"), 0.97, 3e-3),
    ("Q5_1", in_gguf("Q5_1"), 0.95, 1e-2),
    ("Q5_0", in_gguf("Q5_0"), 0.95, 1e-2),
    ("Q5_K", in_gguf("Q5_K"), 0.95, 1e-2),
    ("Q4_1", in_gguf("Q4_1"), 0.9, 5e-2),
    ("Q4_0", in_gguf("Q4_0"), 0.9, 5e-2),
    ("Q4_K", in_gguf("Q4_K"), 0.9, 5e-2),
    ("IQ4_NL", in_gguf("IQ4_NL"), 0.9, 5e-2),
    ("IQ4_XS", in_gguf("IQ4_XS"), 0.9, 5e-2),
    ("Q3_K", in_gguf("Q3_K"), 0.8, 0.2),
    ("Q2_K", in_gguf("Q2_K"), 0.5, 2),
)


def log_softmax(x):
    x = x.astype("f8") - x.max(1, keepdims=True)
    return x - numpy.log(numpy.exp(x).sum(1, keepdims=True))


def log_probabilities(quern, model, texts, to):
    out = []
    for ids in texts:
        quern.ok("logits", model, "--tokens", golden_roots.words(ids), "--out", to / "logits.npy")
        out.append(log_softmax(numpy.load(to / "logits.npy", allow_pickle=False)))
    return numpy.concatenate(out)


@pytest.fixture(scope="module")
def full(quern, tmp_path_factory):
    """(texts as ids, the full model's log probabilities over them, its bytes)."""
    texts, to = [], tmp_path_factory.mktemp("full")
    for prompt in PROMPTS:
        (to / "chat.json").write_text(json.dumps({"messages": [{"role": "user", "content": prompt}], "add_generation_prompt": True}))
        ids = json.loads(quern.ok("tokenize", MODEL, "--special", input=quern.ok("template", MODEL, to / "chat.json")))
        texts.append(ids + quern.json("run", MODEL, "--tokens", golden_roots.words(ids), "-n", 60, "--strategy", "greedy", "--json")["tokens"])
    size = quern.json("inspect", MODEL, "--json")["weight_bytes"]
    return texts, log_probabilities(quern, MODEL, texts, to), size


def test_every_type_is_here(quern):
    """A type that the program's own table names has a row."""
    rows = {name.lower() for name, *_ in FORMATS}
    assert {t["name"] for t in quern.json("formats", "--json")["types"]} <= rows


@pytest.mark.parametrize("name, write, agreement, divergence", FORMATS, ids=[row[0] for row in FORMATS])
def test_answers_stay_near(quern, full, name, write, agreement, divergence, tmp_path, capsys):
    texts, reference, size = full
    path = write(tmp_path)
    ours = log_probabilities(quern, path, texts, tmp_path)
    kl = (numpy.exp(reference) * (reference - ours)).sum(1)
    same = (reference.argmax(1) == ours.argmax(1)).mean()
    bytes_of = quern.json("inspect", path, "--json")["weight_bytes"]
    with capsys.disabled():
        print(f"\n{name:12} {100 * bytes_of / size:6.1f} % of the bytes   greedy agreement {100 * same:6.2f} % (≥ {100 * agreement:g})   "
              f"KL {kl.mean():.2e} (≤ {divergence:g}), at most {kl.max():.2e}", end="")
    assert same >= agreement and 0 <= kl.mean() + 1e-12 <= divergence + 1e-12
