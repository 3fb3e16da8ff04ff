"""The CUDA backend on the emulated card: every kernel as the PTX that nvcc makes of it, under the real command.

QUERN_CUDA_BIN     quern_cuda (default: tests/cuda/quern_cuda of the build that QUERN_BIN, or build/quern, is of); libcuda.so.1 lies beside it
The card's seed orders warps, lanes and copies; what nobody waited for is not there (emulator/driver.c tells of its environment).
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import numpy
import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests/server"), str(REPO / "tests/golden")]
import gguf_files  # noqa: E402
import packed_files  # noqa: E402
from server_client import SCALE, Server, built  # noqa: E402

MODELS = ["tiny-qwen2", "tiny-qwen3"]
LONG = "Once upon a time there was a boy who walked past the pond. " * 6


def command_path():
    return built("tests/cuda/quern_cuda", "QUERN_CUDA_BIN")


pytestmark = pytest.mark.skipif(not os.path.exists(command_path()),
                                reason=f"{command_path()} is not built: ninja tests/cuda/quern_cuda (nvcc)")


def card(**settings):
    """The environment: processors=8, seed=1, omit=TEXT, dead=PATH, log=PATH, memory=BYTES."""
    return {**os.environ, "LD_LIBRARY_PATH": str(pathlib.Path(command_path()).parent),
            **{f"QUERN_CARD_{k.upper()}": str(v) for k, v in settings.items()}}


def quern(*words, code=0, env=None):
    done = subprocess.run([command_path(), *[str(w) for w in words]], capture_output=True, text=True, timeout=400 * SCALE, env=env or card())
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def tokens(model, prompt, *options, backend="cuda", n=12, env=None):
    if "--strategy" not in options:
        options = ("--strategy", "greedy", *options)
    return json.loads(quern("run", REPO / "models" / model, prompt, "-n", n, *options, "--backend", backend, "--json", env=env).stdout)["tokens"]


def selftest(*options, code=0, **settings):
    done = quern("selftest", "--backend", "cuda", "--rounds", 1, *options, code=code, env=card(**settings))
    return done.stdout, done.stderr


def logits(model, out, *options, n=83, **keywords):
    ids = " ".join(str((i * 37 + 11) % 200) for i in range(n))
    return quern("logits", model if "/" in str(model) else REPO / "models" / model, "--tokens", ids, "--out", out, "--backend", "cuda", *options,
                 **keywords)


# With 8 processors steps of up to eight rows are the resident kernel's, with 3 graphs of kernels.
@pytest.mark.parametrize("settings", [{"seed": 1}, {"seed": 2, "processors": 11}, {"seed": 3, "processors": 3}],
                         ids=["resident", "resident_odd", "graphs"])
def test_every_operation_is_the_cpus(settings):
    page, _ = selftest("--seed", settings["seed"], **settings)
    assert "\nPASS: 0 of " in page and "emulated card, sm_90" in page


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("settings", [{}, {"processors": 3}], ids=["resident", "graphs"])
def test_greedy_texts_are_the_cpus(model, settings):
    assert tokens(model, "Once upon a time", n=16, env=card(**settings)) == tokens(model, "Once upon a time", n=16, backend="cpu")


@pytest.mark.parametrize("options", [("--temperature", "0.8", "--strategy", "sampling", "--seed", "7"),
                                     ("--strategy", "top_p", "--top-p", "0.9", "--seed", "5"), ("--strategy", "beam")],
                         ids=["sampling", "top_p", "beam"])
def test_other_strategies_draw_the_same_by_graphs_and_by_the_resident_kernel(options):
    """Not the CPU's: near draws hang on x being rounded to the weights' type here."""
    asked = "tiny-qwen3", "Once upon a time", *options
    resident = tokens(*asked)
    assert tokens(*asked, "--prefill-chunk", 3, env=card(processors=3, seed=9)) == resident and len(resident) == 12


@pytest.mark.parametrize("model, settings", [(MODELS[0], {}), (MODELS[1], {"seed": 2}), (MODELS[1], {"processors": 3, "seed": 4})],
                         ids=["qwen2_resident", "qwen3_resident", "qwen3_graphs"])
def test_the_prefills_chunks_give_the_same_bits(model, settings, tmp_path):
    found = set()
    for chunk in (1, 7, 256):  # rows one by one, of few, of wgmma's tiles
        logits(model, tmp_path / "l.npy", "--prefill-chunk", chunk, env=card(**settings), n=35)
        found.add((tmp_path / "l.npy").read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("chunk", [1, 256])
def test_a_quantised_cache_gives_the_text_that_it_gives_on_the_cpu(chunk):
    cache = "--kv-cache", "q8_0", "--prefill-chunk", chunk
    assert tokens("tiny-qwen2", "Once upon a time", *cache) == tokens("tiny-qwen2", "Once upon a time", *cache, backend="cpu")


@pytest.mark.parametrize("bits", [4, 8])
def test_a_tied_mlx_model_is_multiplied_in_the_matrix_units_form(bits, tmp_path):
    """Table and head too; as graphs, whose kernels have names, and as the resident kernel: the same bits."""
    folder = tmp_path / "hf"
    gguf_files.make_directory(folder, "qwen3")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    gguf_files.write_tensors(folder, {n: t for n, t in gguf_files.read_tensors(folder).items() if n != "lm_head.weight"})
    path, plain, _ = packed_files.write_mlx(folder, tmp_path, bits, 64, "BF16", {})
    found, log = set(), tmp_path / "log"
    for chunk, processors in ((1, 8), (5, 8), (20, 8), (5, 3)):
        log.unlink(missing_ok=True)
        logits(path, tmp_path / "l.npy", "--prefill-chunk", chunk, env=card(log=log, processors=processors), n=20)
        found.add((tmp_path / "l.npy").read_bytes())
    of_model = log.read_text().rpartition("pack_blocks")[2].split()
    assert "product" in of_model and "embed_packed" in of_model and not [k for k in of_model if k.startswith("matmul_")]
    assert len(found) == 1
    logits(plain, tmp_path / "plain.npy", n=20)
    out, ref = numpy.load(tmp_path / "l.npy"), numpy.load(tmp_path / "plain.npy")
    assert numpy.linalg.norm(out - ref) / numpy.linalg.norm(ref) < 1e-2


@pytest.mark.parametrize("type_", ["q8_0", "q4_k_m"])
def test_quantised_weights_give_the_same_bits_in_any_company(type_, tmp_path):
    """Few rows are multiplied from their blocks, many from blocks that became 16-bit numbers first."""
    quern("quantize", REPO / "models/tiny-qwen3", tmp_path / "m.gguf", "--to", type_)
    found = set()
    for chunk in (1, 5, 40):
        logits(tmp_path / "m.gguf", tmp_path / "l.npy", "--prefill-chunk", chunk, n=40)
        found.add((tmp_path / "l.npy").read_bytes())
    assert len(found) == 1


# ---- what must be noticed ----

# Instructions that hold others back or tell them to go on; "bar.sync 3," is one of many barriers: a race tells.
@pytest.mark.parametrize("omitted", ["cp.async.wait_group", "wgmma.wait_group", "cp.async.bulk.wait_group", "bar.sync", "bar.sync 3,", "bar.arrive",
                                     "mbarrier.arrive.shared::cta", "red.release", "fence.proxy.async"])
def test_a_hold_that_is_left_out_is_noticed(omitted, tmp_path):
    done = logits("tiny-qwen2", tmp_path / "l.npy", env=card(omit=omitted), code=1)
    assert "emulated card: " in done.stderr


def test_lanes_that_do_not_wait_for_each_other_are_noticed():
    """Some orders do well without: one of several must not."""
    expected = tokens("tiny-qwen2", "Once", backend="cpu", n=4)
    for seed in range(1, 6):
        done = subprocess.run([command_path(), "run", REPO / "models/tiny-qwen2", "Once", "-n", "4", "--strategy", "greedy", "--backend", "cuda",
                               "--json"], capture_output=True, text=True, timeout=400 * SCALE, env=card(omit="bar.warp.sync", seed=seed))
        if done.returncode or json.loads(done.stdout)["tokens"] != expected:
            return
    pytest.fail("five orders of lanes without bar.warp.sync, and no difference")


# ---- a card that has too little, or dies ----

def test_too_little_memory_is_refused_before_loading():
    told = quern("run", REPO / "models/tiny-qwen3", "Hello", "--backend", "cuda", code=1, env=card(memory=20_000_000)).stderr
    assert "tiny-qwen3: memory: needs " in told and "CUDA_ERROR" not in told, told


def serve(*options, models=MODELS, **settings):
    """With little memory beside the models', so that measuring its speed at the start is short."""
    models = [w for m in models for w in ("--model", f"{m}={REPO / 'models' / m}")]
    return Server([command_path(), "serve", "--port", "0", *models, "--backend", "cuda", "--context", "256", "--kv-blocks", "80", *options],
                  env=card(memory=100_000_000, **settings), start_s=120)


def test_requests_at_once_are_answered_as_alone():
    """Two models, more rows than the resident kernel takes, prompts in chunks; logprobs too."""
    fields = {"strategy": "greedy", "ignore_eos": True, "max_tokens": 6, "logprobs": 2}
    asked = [(m, p) for m in MODELS for p in ("Hello", "Once upon a time", "12 and 3 and", LONG[:150], LONG[:70], "A", "The", "One day", "She")]
    server = serve("--prefill-chunk", "16")
    try:
        alone = {a: server.generate(model=a[0], prompt=a[1], **fields) for a in asked[::3]}
        with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
            answers = {a: pool.submit(server.generate, model=a[0], prompt=a[1], **fields) for a in asked}
            for a, expected in alone.items():
                found = answers[a].result()
                assert found["text"] == expected["text"] and found["logprobs"] == expected["logprobs"]
            assert all(f.result()["usage"]["completion_tokens"] == 6 for f in answers.values())
    finally:
        server.stop()


def test_a_card_that_dies_ends_what_runs_with_an_error_and_the_server_starts_afresh(tmp_path):
    server = serve(models=MODELS[:1], dead=tmp_path / "dead")
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(server.post, "/generate", {"prompt": "Once upon a time", "max_tokens": 200, "ignore_eos": True}) for _ in range(4)]
            server.wait_for(lambda p: p["server"]["running"] == 4)
            (tmp_path / "dead").touch()
            answers = [a.result() for a in asked]
            (tmp_path / "dead").unlink()
        assert all(r.status in (500, 503) and r.error["code"] for r in answers), answers
        server.wait_for(lambda p: server.get("/ready").status == 200, timeout=60)
        assert server.generate(prompt="Hello", max_tokens=2)["usage"]["completion_tokens"] == 2
    finally:
        server.stop()
