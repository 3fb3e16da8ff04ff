"""What a model takes of memory: told before it is loaded, refused with the numbers and with what would fit, and what fits does fit.
And keys and values in q8_0: half the memory, logits near, the same bits in every chunking."""

import re

import conftest
import numpy
import pytest

MODEL = conftest.REPO / "models" / "tiny-qwen2"
IDS = " ".join(str(3 + i * 7 % 250) for i in range(90))
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SIZE = r"(\d+(?:\.\d)?) (B|KiB|MiB|GiB)"
MAX_Q8_ERROR = 2e-2  # of q8_0 blocks a number is off by up to 1/254 of the block's largest


def sizes(pattern, text):
    """The sizes that a line has where the pattern has @, in bytes."""
    found = re.search(pattern.replace("@", SIZE), text)
    assert found, f"{pattern!r} is not in {text!r}"
    return [float(n) * UNITS[unit] for n, unit in zip(found.groups()[::2], found.groups()[1::2])]


def told(quern, *options):
    done = quern.run("run", MODEL, "Once", "-n", 1, *options)
    assert done.returncode == 0, done
    lines = conftest.text_of(done.stderr).splitlines()
    assert len(lines) == 1, lines
    return sizes(r"weights @ \+ KV cache @ \([^)]*\) \+ scratch @ = @ of @", lines[0]), lines[0]


def test_the_need_is_told_before_the_load(quern):
    (weights, state, scratch, total, left), line = told(quern, "--memory", "64M", "--kv-blocks", 512, "--context", 300)
    assert left == 64 << 20 and abs(weights + state + scratch - total) < 0.3 * (1 << 20)
    assert "context 300" in line
    (_, quantised, *_), line = told(quern, "--kv-blocks", 512, "--kv-cache", "q8_0")
    assert "q8_0" in line and 0.5 < quantised / state < 0.56  # 34 bytes for 32 numbers


def test_what_does_not_fit_is_refused_with_what_would(quern):
    big = "--memory", "7900K", "--prefill-chunk", 64, "--max-batch", 4  # for less than the model's 2,048 tokens
    line = quern.refused("run", MODEL, "Once", *big, "--context", 2048)
    total, weights, state, scratch, left, budget = sizes(
        r"needs @ \(weights @, KV cache @ for 2048 tokens in bf16, scratch @\), found @ left of a budget of @; would fit: ", line)
    assert total > left == budget and abs(weights + state + scratch - total) < 0.2 * (1 << 20)
    offers = line.split("would fit: ")[1].split("; ")
    context = int(re.fullmatch(r"--context (\d+)", offers[0])[1])
    assert 16 <= context < 2048
    quern.ok("run", MODEL, "Once", "-n", 1, *big, "--context", context)
    assert "memory" in quern.refused("run", MODEL, "Once", *big, "--context", context + 16)
    quern.ok("run", MODEL, "Once", "-n", 1, *big, *next(o for o in offers if "--kv-cache" in o).split(),
             *([] if "--context" in offers[1] else ["--context", 2048]))
    assert re.match(r"weights in q\d_\w \(", offers[2])


def test_a_pool_that_does_not_fit_is_refused(quern):
    line = quern.refused("run", MODEL, "Once", "--memory", "32M", "--kv-blocks", 100000)
    blocks = int(re.search(r"would fit: --kv-blocks (\d+)", line)[1])
    quern.ok("run", MODEL, "Once", "-n", 1, "--memory", "32M", "--kv-blocks", blocks)
    assert "memory" in quern.refused("run", MODEL, "Once", "--memory", "32M", "--kv-blocks", blocks + 1)


def test_nothing_would_fit(quern):
    assert "no smaller context, cache or format would fit" in quern.refused("run", MODEL, "Once", "--memory", "64K")


def test_heads_that_are_no_whole_blocks_are_refused(quern):
    odd = conftest.REPO / "tests/golden/data/models/qwen2-f32-tied"
    line = quern.refused("run", odd, "--tokens", "1 2", "--kv-cache", "q8_0")
    assert "kv_cache: q8_0" in line and "found heads of" in line


def logits(quern, out, *options):
    quern.ok("logits", MODEL, "--tokens", IDS, "--out", out, *options)
    return numpy.load(out, allow_pickle=False)


@pytest.mark.parametrize("cache, most", [("f16", 2e-3), ("bf16", 1e-2), ("q8_0", MAX_Q8_ERROR)])
def test_logits_of_a_cache_are_near(quern, tmp_path, cache, most):
    exact = logits(quern, tmp_path / "f32.npy", "--kv-cache", "f32").astype(float)
    out = logits(quern, tmp_path / "out.npy", "--kv-cache", cache)
    error = numpy.linalg.norm(out - exact) / numpy.linalg.norm(exact)
    assert 0 < error < most
    assert (out.argmax(1) == exact.argmax(1)).mean() > 0.9


def test_a_quantised_cache_has_the_same_bits_at_every_chunk_and_thread_count(quern, tmp_path):
    first = None
    for chunk, n_threads in ((1, 1), (7, 2), (64, 3)):
        out = logits(quern, tmp_path / "out.npy", "--kv-cache", "q8_0", "--prefill-chunk", chunk, "--threads", n_threads).tobytes()
        first = first or out
        assert out == first
