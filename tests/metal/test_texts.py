"""Whole texts on the Metal backend: the real command over the fake and the emulator gives the CPU's greedy texts.

QUERN_METAL_BIN    quern_metal (default: tests/metal/fake/quern_metal of the build that QUERN_BIN, or build/quern, is of)
A process over the fake ends with 86 where Metal was misused and with 87 where anything was left alive, so exit code 0 says more
than usual.
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests/server"))
from server_client import SCALE, Server, built  # noqa: E402

MODELS = ["tiny-qwen2", "tiny-qwen3"]
PROMPTS = ["Hello", "Once upon a time", "12 and 3 and"]
LONG = "Once upon a time there was a boy who walked past the pond. " * 8


def command_path():
    return built("tests/metal/fake/quern_metal", "QUERN_METAL_BIN")


pytestmark = pytest.mark.skipif(not os.path.exists(command_path()),
                                reason=f"{command_path()} is not built: ninja tests/metal/fake/quern_metal (clang-19, libobjc)")


def run(model, prompt, *options, backend="metal", fake="", stats=None, n=16, code=0):
    env = {**os.environ, "QUERN_FAKE_METAL": fake}
    if stats:
        env["QUERN_FAKE_METAL_STATS"] = str(stats)
    words = [command_path(), "run", REPO / "models" / model, prompt, "-n", n, *options, "--json"]
    if backend:
        words += ["--backend", backend]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=120 * SCALE, env=env)
    assert done.returncode == code, done.stderr
    return (json.loads(done.stdout) if code == 0 else None), done.stderr


def tokens(*arguments, **options):
    return run(*arguments, "--strategy", "greedy", **options)[0]["tokens"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_texts_are_the_cpus(model, prompt):
    assert tokens(model, prompt) == tokens(model, prompt, backend="cpu")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("options", [("--temperature", "0.8", "--seed", "7"), ("--strategy", "top_k", "--top-k", "20", "--seed", "3"),
                                     ("--strategy", "top_p", "--top-p", "0.9", "--seed", "5"), ("--strategy", "beam")],
                         ids=["sampling", "top_k", "top_p", "beam"])
def test_other_strategies_draw_the_same(model, options):
    assert run(model, "Once upon a time", *options)[0]["tokens"] == run(model, "Once upon a time", *options, backend="cpu")[0]["tokens"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_prefills_chunks_change_nothing(model, chunk):
    whole = tokens(model, LONG, backend="cpu", n=8)
    assert tokens(model, LONG, "--prefill-chunk", chunk, n=8) == whole


@pytest.mark.parametrize("model, fake", [(MODELS[0], ""), (MODELS[1], ""), (MODELS[1], "no_matrix=1")])
def test_the_prefills_chunks_give_the_same_bits(model, fake, tmp_path):
    ids = " ".join(str((i * 37 + 11) % 200) for i in range(67))
    found = set()
    for chunk in (1, 7, 256):  # kernels of one row, of few, of more than one tile
        done = subprocess.run([command_path(), "logits", str(REPO / "models" / model), "--tokens", ids, "--out", str(tmp_path / "l.npy"),
                               "--prefill-chunk", str(chunk), "--backend", "metal"], capture_output=True, text=True,
                              timeout=120 * SCALE, env={**os.environ, "QUERN_FAKE_METAL": fake})
        assert done.returncode == 0, done.stderr
        found.add((tmp_path / "l.npy").read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("fake", ["seed=2", "seed=3,polls=1", "polls=40", "old=1", "no_wrap=1", "max_buffer=13000000", "lose_at=0"])
def test_whatever_the_mac(fake):
    assert tokens("tiny-qwen3", "Once upon a time", fake=fake) == tokens("tiny-qwen3", "Once upon a time", backend="cpu")


@pytest.mark.parametrize("chunk", [1, 256])
def test_a_quantised_cache_gives_the_text_that_it_gives_on_the_cpu(chunk):
    cache = "--kv-cache", "q8_0", "--prefill-chunk", chunk
    assert tokens("tiny-qwen2", "Once upon a time", *cache) == tokens("tiny-qwen2", "Once upon a time", *cache, backend="cpu")


def test_weights_are_wrapped_and_a_step_is_one_command_buffer(tmp_path):
    small, large = {}, {}
    for n, to in ((4, small), (12, large)):
        tokens("tiny-qwen2", "Hello", "--kv-blocks", 16, stats=tmp_path / "stats", n=n)
        to.update(json.loads((tmp_path / "stats").read_text()))
    assert large["command_buffers"] - small["command_buffers"] == 8
    assert large["encoders"] == large["command_buffers"]
    assert large["wraps"] == 1 and large["wrapped_bytes"] == 0 and large["math_safe"] == 1 and large["residency_commits"] > 0
    assert large["buffers"] == small["buffers"], "a step allocates nothing"
    assert large["most_at_once"] > 1, "what does not depend on each other runs at once"


@pytest.mark.parametrize("midway", [0, 1, 2], ids=["before", "amid", "after"])
@pytest.mark.parametrize("at", [1, 2, 5])
def test_a_lost_command_buffer_costs_nothing_but_time(at, midway):
    expected = tokens("tiny-qwen2", "Once upon a time", backend="cpu")
    fake = f"lose_at={count_of_open('tiny-qwen2') + at},lose_midway={midway}"
    out, stderr = run("tiny-qwen2", "Once upon a time", "--strategy", "greedy", fake=fake)
    assert out["tokens"] == expected
    assert "was lost: lost, as told; its sequences start again" in stderr


def count_of_open(model, cache={}):
    """Command buffers before the first step: the self-test's."""
    if model not in cache:
        path = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"quern-fake-metal-{os.getpid()}"
        tokens(model, "Once upon a time", stats=path, n=1)
        cache[model] = json.loads(path.read_text())["command_buffers"] - 1
        path.unlink()
    return cache[model]


def test_a_device_that_dies_is_told():
    _, stderr = run("tiny-qwen2", "Hello", fake=f"lose_at={count_of_open('tiny-qwen2') + 3},lose_code=3", code=1)
    assert "device" in stderr


@pytest.mark.parametrize("fake, says", [("wrong=rms_norm", "self-test: rms_norm"), ("no_library=1", "do not compile"),
                                        ("max_threads=128", "128 threads a group"), ("family=1006", "older than the M1")])
def test_auto_falls_back_to_the_cpu_and_says_so(fake, says):
    out, stderr = run("tiny-qwen2", "Hello", "--strategy", "greedy", fake=fake, backend=None)
    assert out["tokens"] == tokens("tiny-qwen2", "Hello", backend="cpu")
    assert "backend metal cannot be used" in stderr and says in stderr
    _, stderr = run("tiny-qwen2", "Hello", fake=fake, code=1)  # asked for by name
    assert says in stderr


def selftest(*options, fake="", code=0):
    """One round: the emulator takes its time, and tests/metal/test_selftest.c has more."""
    done = subprocess.run([command_path(), "selftest", "--backend", "metal", "--rounds", "1", *options], capture_output=True, text=True,
                          timeout=240 * SCALE, env={**os.environ, "QUERN_FAKE_METAL": fake})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_selftest_passes_and_is_a_page():
    page = selftest()
    assert page.startswith("quern ") and "\nPASS: 0 of " in page and len(page.splitlines()) < 100
    assert "With products in simdgroup matrices:" in page and "With the dialect's products" in page
    assert "Metal 4 tensor operations (not used): they do not compile" in page
    report = json.loads(selftest("--json", "--seed", "2"))
    assert report["passed"] and report["failed"] == 0 and report["device"].startswith("Apple M0")
    assert {r["operation"].split()[0] for r in report["operations"]} >= {"embed", "rms_norm", "matmul", "attention", "sample"}


# A kernel, and operations that are made of it.
KERNELS = {"embed": "embed", "gather": "gather", "rms_norm": "rms_norm", "rope": "rope", "kv_append": "kv_append", "swiglu": "swiglu",
           "copy_blocks": "copy_blocks", "step_begin": "layer bf16", "step_end": "sample", "gate_open": "sample", "matmul_any": "matmul f16",
           "matmul_f16_1x1": "one row f16", "matmul_bf16_4x2": "matmul bf16", "matmul_q4_k_1x2": "one row q4_k", "matmul_q8_0_4x2": "matmul q8_0",
           "matrix_few_f16": "matmul f16", "matrix_tiles_bf16": "many rows bf16", "matrix_norm_project_bf16": "layer, one row bf16",
           "matrix_norm_gate_up_f16": "layer, one row f16", "matrix_merge_project_bf16_2048": "layer, one row bf16",
           "norm_project_f16": "layer, one row f16", "norm_gate_up_bf16": "layer, one row bf16", "merge_project_f16_2048": "layer, one row f16",
           "attention_bf16_128": "attention", "attention_merge": "attention"}


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_selftest_notices_a_kernel_that_is_off(kernel):
    only = ("--only", KERNELS[kernel])
    assert "\nFAIL: " in selftest(*only, fake=f"wrong={kernel}", code=1)
    assert "\nPASS: " in selftest(*only)


def test_the_selftest_of_a_part():
    page = selftest("--only", "q4_k")
    assert "only q4_k" in page and "| layer q4_k " in page and "| embed " in page and "| rope " not in page
    done = subprocess.run([command_path(), "selftest", "--backend", "metal", "--only", "nothing"], capture_output=True, text=True, timeout=60 * SCALE)
    assert done.returncode == 1 and '"nothing"' in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("fake", ["no_matrix=1", "wrong=matrix_tiles_bf16", "wrong=matrix_norm_project_f16"])
def test_without_matrices_the_dialects_products_serve(fake):
    for model in MODELS:
        assert tokens(model, LONG, fake=fake, n=8) == tokens(model, LONG, backend="cpu", n=8)


def test_bench_limits():
    done = subprocess.run([command_path(), "bench", "limits", "--backend", "metal", "--json"], capture_output=True, text=True,
                          timeout=120 * SCALE)
    assert done.returncode == 0, done.stderr
    limits = json.loads(done.stdout)
    assert all(limits[k] > 0 for k in ("read_bytes_per_second", "copy_bytes_per_second", "matmul_flops_per_second", "launch_seconds"))


def test_the_order_of_dispatches_without_a_barrier_is_really_random():
    assert "\nFAIL: " in selftest(fake="no_barriers=1", code=1)


# ---- several at once ----

def serve(*options):
    models = [w for m in MODELS for w in ("--model", f"{m}={REPO / 'models' / m}")]
    return Server([command_path(), "serve", "--port", "0", *models, "--backend", "metal", *options])


@pytest.mark.parametrize("options", [(), ("--kv-blocks", "10", "--prefill-chunk", "16")], ids=["room", "preempted"])
def test_requests_at_once_on_two_models(options):
    asked = [(m, p) for m in MODELS for p in [*PROMPTS, LONG[:200]]]
    alone = {(m, p): run(m, p, "--strategy", "greedy", "--ignore-eos", backend="cpu", n=40)[0]["text"] for m, p in asked}
    server = serve(*options)
    try:
        with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
            answers = {a: pool.submit(server.generate, model=a[0], prompt=a[1], strategy="greedy", ignore_eos=True, max_tokens=40)
                       for a in asked}
            for a, future in answers.items():
                assert future.result()["text"] == alone[a]
        preempted = sum(m["preemptions_total"] for m in server.performance()["models"])
        assert (preempted > 0) == bool(options)
    finally:
        server.stop()
