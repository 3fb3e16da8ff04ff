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
    """The environment: processors=8, capability=90, seed=1, omit=TEXT, dead=PATH, log=PATH, memory=BYTES."""
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


def logits(model, out, *options, n=83, backend="cuda", **keywords):
    ids = " ".join(str((i * 37 + 11) % 200) for i in range(n))
    return quern("logits", model if "/" in str(model) else REPO / "models" / model, "--tokens", ids, "--out", out, "--backend", backend, *options,
                 **keywords)


# sm_80: the fused products and the attention of other cards than Hopper, as the PTX for Hopper has them.
@pytest.mark.parametrize("settings", [{"seed": 1}, {"seed": 2, "processors": 11}, {"seed": 3, "processors": 3}, {"seed": 4, "capability": 80}],
                         ids=["8", "11", "3", "sm_80"])
def test_every_operation_is_the_cpus(settings):
    page, _ = selftest("--seed", settings["seed"], **settings)
    assert "\nPASS: 0 of " in page and f"emulated card, sm_{settings.get('capability', 90)}" in page


def test_parts_of_products_are_added_up_by_who_reads_them():
    """Of so small products only a card with many processors leaves the parts apart."""
    page, _ = selftest("--only", "long", processors=64)
    assert "\nPASS: 0 of " in page


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("settings", [{}, {"processors": 3}], ids=["8", "3"])
@pytest.mark.parametrize("options", [(), ("--repetition-penalty", "1.3", "--presence-penalty", "0.5")], ids=["plain", "penalised"])
def test_greedy_texts_are_the_cpus(model, settings, options):
    asked = model, "Once upon a time", *options
    assert tokens(*asked, n=16, env=card(**settings)) == tokens(*asked, n=16, backend="cpu")


@pytest.mark.parametrize("options", [("--temperature", "0.8", "--strategy", "sampling", "--seed", "7"),
                                     ("--strategy", "top_p", "--top-p", "0.9", "--seed", "5"), ("--strategy", "beam")],
                         ids=["sampling", "top_p", "beam"])
def test_other_strategies_draw_the_same_whatever_the_card_has(options, tmp_path):
    """Not the CPU's: near draws hang on x being rounded to F16 here."""
    quern("quantize", REPO / "models/tiny-qwen3", tmp_path / "m.gguf", "--to", "q8_0")
    asked = tmp_path / "m.gguf", "Once upon a time", *options
    drawn = tokens(*asked)
    assert tokens(*asked, "--prefill-chunk", 3, env=card(processors=3, seed=9)) == drawn and len(drawn) == 12


@pytest.mark.parametrize("model, settings", [(MODELS[0], {}), (MODELS[1], {"seed": 2}), (MODELS[1], {"processors": 3, "seed": 4})],
                         ids=["qwen2_8", "qwen3_8", "qwen3_3"])
def test_the_prefills_chunks_give_the_same_bits(model, settings, tmp_path):
    found = set()
    for chunk in (1, 3, 7, 256):  # rows one by one, of few, of wgmma's tiles
        logits(model, tmp_path / "l.npy", "--prefill-chunk", chunk, env=card(**settings), n=35)
        found.add((tmp_path / "l.npy").read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("chunk", [1, 256])
def test_a_quantised_cache_gives_the_text_that_it_gives_on_the_cpu(chunk):
    cache = "--kv-cache", "q8_0", "--prefill-chunk", chunk
    assert tokens("tiny-qwen2", "Once upon a time", *cache) == tokens("tiny-qwen2", "Once upon a time", *cache, backend="cpu")


def directory_with_heads_of(dim, folder, window=0):
    gguf_files.write_tensors(folder, gguf_files.make_directory(folder, "qwen2"), "F16")
    config = json.loads((folder / "config.json").read_text()) | {
        "torch_dtype": "float16", "head_dim": dim, "num_attention_heads": 256 // dim, "num_key_value_heads": 128 // dim, "max_position_embeddings": 1300,
        "use_sliding_window": window > 0, "sliding_window": window or None, "max_window_layers": 1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# Of a 16-bit cache steps with a position from 512 on share rows' splits among groups, others have a group a row.
@pytest.mark.parametrize("cache, dim, window, n", [("q8_0", 64, 50, 270), ("q8_0", 128, 0, 330), ("f16", 64, 50, 560), ("f16", 128, 0, 560)])
def test_a_cache_gives_the_same_bits_in_any_company(cache, dim, window, n, tmp_path):
    """Rows one by one, of few and in runs; over some of six splits, with a window, and over all."""
    folder, log = directory_with_heads_of(dim, tmp_path / "hf", window), tmp_path / "log"
    found = set()
    many = (3, 8), (7, 8), (100, 8), (2, 3), (20, 3)
    for chunk, processors in many if cache == "f16" else ((1, 8), *many):
        logits(folder, tmp_path / "l.npy", "--kv-cache", cache, "--prefill-chunk", chunk, "--max-batch", 128, n=n,
               env=card(log=log, processors=processors))
        found.add((tmp_path / "l.npy").read_bytes())
    of_all, of_last = set(log.read_text().split()), set(log.read_text().rpartition("pack_weights")[2].split())
    assert {f"flash_{form}_{cache}_{dim}" for form in ("rows", "wide")} <= of_all
    assert "gemm_enter" in of_last and not [k for k in of_last if k.startswith(("attention_f16", "attention_q8_0", "kv_append"))]
    assert cache == "q8_0" or {"gemm_merge", f"flash_rows_f16_{dim}"} <= of_last
    assert len(found) == 1
    logits(folder, tmp_path / "cpu.npy", "--kv-cache", cache, backend="cpu", n=n)
    out, ref = numpy.load(tmp_path / "l.npy"), numpy.load(tmp_path / "cpu.npy")
    assert numpy.linalg.norm(out - ref) / numpy.linalg.norm(ref) < 2e-2


@pytest.mark.parametrize("weights, cache, dim, window", [("f16", "f16", 64, 50), ("f16", "q8_0", 128, 0), ("q8_0", "f16", 128, 0), ("q8_0", "q8_0", 64, 0)])
def test_other_cards_than_hopper_give_the_same_bits_in_any_company(weights, cache, dim, window, tmp_path):
    """Rows one by one and of few, in fused products and attention; more rows, some in runs."""
    path, log = directory_with_heads_of(dim, tmp_path / "hf", window), tmp_path / "log"
    if weights != "f16":
        quern("quantize", path, tmp_path / "m.gguf", "--to", weights)
        path = tmp_path / "m.gguf"
    found = set()
    for chunk, processors in (1, 8), (7, 9), (20, 3), (100, 8):
        logits(path, tmp_path / "l.npy", "--kv-cache", cache, "--prefill-chunk", chunk, "--max-batch", 128, n=150,
               env=card(log=log, processors=processors, capability=80))
        found.add((tmp_path / "l.npy").read_bytes())
    names = set(log.read_text().split())
    assert {"product", *(f"flash_{form}_{cache}_{dim}" for form in ("attend", "rows", "tiles"))} <= names
    assert weights == "q8_0" or "product_tiles" in names
    assert len(found) == 1


def tied_directory(folder):
    gguf_files.make_directory(folder, "qwen3")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    gguf_files.write_tensors(folder, {n: t for n, t in gguf_files.read_tensors(folder).items() if n != "lm_head.weight"})
    return folder


def check_matrix_units_form(path, plain, tmp_path):
    """The same bits in any company, and no product by the dialect's kernels; on other cards than Hopper too."""
    log = tmp_path / "log"
    for capability, kernel, ways in ((80, "product", ((20, 8), (1, 8))), (90, "gemm_packed_16", ((20, 8), (1, 8), (3, 3)))):
        found = set()
        for chunk, processors in ways:
            log.unlink(missing_ok=True)
            logits(path, tmp_path / "l.npy", "--prefill-chunk", chunk, env=card(log=log, processors=processors, capability=capability), n=20)
            found.add((tmp_path / "l.npy").read_bytes())
            of_model = log.read_text().rpartition("pack_blocks")[2].split()
            assert "embed_packed" in of_model and not [k for k in of_model if k.startswith("matmul_")]
        assert kernel in of_model and len(found) == 1
    logits(plain, tmp_path / "plain.npy", n=20)
    out, ref = numpy.load(tmp_path / "l.npy"), numpy.load(tmp_path / "plain.npy")
    assert numpy.linalg.norm(out - ref) / numpy.linalg.norm(ref) < 1e-2


@pytest.mark.parametrize("bits, group", [(3, 32), (4, 64), (5, 128), (6, 32), (8, 64)])
def test_a_tied_mlx_model_is_multiplied_in_the_matrix_units_form(bits, group, tmp_path):
    """Table and head too."""
    path, plain, _ = packed_files.write_mlx(tied_directory(tmp_path / "hf"), tmp_path, bits, group, "BF16", {})
    check_matrix_units_form(path, plain, tmp_path)


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS"])
def test_a_tied_gguf_model_is_multiplied_in_the_matrix_units_form(kind, tmp_path):
    folder = tied_directory(tmp_path / "hf")
    path, numbers = gguf_files.write(folder, tmp_path / "model.gguf", kind)
    gguf_files.write_tensors(folder, numbers)
    check_matrix_units_form(path, folder, tmp_path)


@pytest.mark.parametrize("type_", ["q8_0", "q4_k_m"])
def test_quantised_weights_give_the_same_bits_in_any_company(type_, tmp_path):
    """One row, tiles of 16 and of 32; the self-test has those of 64."""
    quern("quantize", REPO / "models/tiny-qwen3", tmp_path / "m.gguf", "--to", type_)
    found, log = set(), tmp_path / "log"
    for chunk in (1, 2, 5, 12, 40):
        logits(tmp_path / "m.gguf", tmp_path / "l.npy", "--prefill-chunk", chunk, env=card(log=log), n=40)
        found.add((tmp_path / "l.npy").read_bytes())
    assert len(found) == 1 and {"gemm_packed_16", "gemm_packed_32"} <= set(log.read_text().split())


def test_rows_past_those_that_take_blocks_as_they_lie_have_the_same_bits(tmp_path):
    """More than 128 rows a step: the matrices become F16 in memory first."""
    quern("quantize", REPO / "models/tiny-qwen2", tmp_path / "m.gguf", "--to", "q4_k_m")
    found = []
    for chunk in (64, 140):
        logits(tmp_path / "m.gguf", tmp_path / "l.npy", "--prefill-chunk", chunk, "--max-batch", 140, env=card(log=tmp_path / str(chunk)), n=140)
        found.append((tmp_path / "l.npy").read_bytes())
    assert "gemm_packed_64" in (tmp_path / "64").read_text() and "unpack_blocks" in (tmp_path / "140").read_text()
    assert found[0] == found[1]


def test_products_of_blocks_that_are_cut_between_groups_have_the_same_bits(tmp_path):
    """More tiles than groups, and a remainder: a tile's parts of K are two groups' then, and what one has is handed over."""
    gguf_files.make_directory(tmp_path / "hf", "qwen2", hidden=1280, inner=1536)
    quern("quantize", tmp_path / "hf", tmp_path / "m.gguf", "--to", "q4_k_m")
    found, log = set(), tmp_path / "log"
    for chunk, processors in ((1, 8), (24, 3), (12, 7)):
        logits(tmp_path / "m.gguf", tmp_path / "l.npy", "--prefill-chunk", chunk, env=card(log=log, processors=processors), n=24)
        found.add((tmp_path / "l.npy").read_bytes())
    assert len(found) == 1 and {"gemm_packed_16", "gemm_packed_32"} <= set(log.read_text().split())


def test_chains_that_are_cut_between_groups_have_the_same_bits(tmp_path):
    """Of gate and up, wide enough for that, all of K is one chain, which a group begins and its neighbour goes on with, in tiles of every size; of down, with
    three processors, a chain and the sum of those before it."""
    folder, found, log = tmp_path / "hf", set(), tmp_path / "log"
    gguf_files.write_tensors(folder, gguf_files.make_directory(folder, "qwen2", hidden=512, inner=4352), "F16")
    config = json.loads((folder / "config.json").read_text()) | {"torch_dtype": "float16", "max_position_embeddings": 200}
    (folder / "config.json").write_text(json.dumps(config))
    for chunk, processors in (132, 7), (70, 7), (40, 7), (20, 7), (11, 7), (40, 3):
        logits(folder, tmp_path / "l.npy", "--prefill-chunk", chunk, "--max-batch", 132, env=card(log=log, processors=processors), n=132)
        found.add((tmp_path / "l.npy").read_bytes())
    names = set(log.read_text().split())
    assert len(found) == 1 and {"gemm_f16_16", "gemm_f16_32", "gemm_f16_64", "gemm_f16_128", "gemm_f16_chain"} <= names


def test_heads_that_cuda_has_no_kernels_for_have_the_same_bits_in_any_company(tmp_path):
    """Their attention is the dialect's, whose fused kernels of one row must not bring other products with them."""
    folder, found = directory_with_heads_of(32, tmp_path / "hf"), set()
    for chunk in (1, 2, 7, 20):
        logits(folder, tmp_path / "l.npy", "--prefill-chunk", chunk, n=20)
        found.add((tmp_path / "l.npy").read_bytes())
    assert len(found) == 1


def test_f32_weights_give_the_same_bits_in_any_company(tmp_path):
    """A row alone has the dialect's fused kernels."""
    folder, found, log = tmp_path / "hf", set(), tmp_path / "log"
    gguf_files.write_tensors(folder, gguf_files.make_directory(folder, "qwen3"))
    for chunk in (1, 2, 7, 20):
        logits(folder, tmp_path / "l.npy", "--prefill-chunk", chunk, env=card(log=log), n=20)
        found.add((tmp_path / "l.npy").read_bytes())
    assert len(found) == 1 and {"norm_project_f32", "norm_gate_up_f32"} <= set(log.read_text().split())


@pytest.mark.parametrize("omitted", ["fence.proxy.async", "bar.sync 7,"])
def test_a_hold_that_a_quantised_cache_leaves_out_is_noticed(omitted, tmp_path):
    told = logits(directory_with_heads_of(128, tmp_path / "hf"), tmp_path / "l.npy", "--kv-cache", "q8_0", "--prefill-chunk", 250, "--max-batch", 250, code=1, n=250,
                  env=card(omit=f"flash_wide_q8_0_128/{omitted}")).stderr
    assert "emulated card: flash_wide_q8_0" in told, told


# ---- what must be noticed ----

# Instructions that hold others back or tell them to go on; "bar.sync 2," to "4," are some of many barriers (the self-test at the beginning runs
# them): a race tells.
@pytest.mark.parametrize("omitted", ["cp.async.wait_group", "wgmma.wait_group", "cp.async.bulk.wait_group", "bar.sync", "bar.sync 2,", "bar.sync 3,", "bar.sync 4,",
                                     "bar.arrive", "mbarrier.arrive.shared::cta", "fence.proxy.async"])
def test_a_hold_that_is_left_out_is_noticed(omitted, tmp_path):
    done = logits("tiny-qwen2", tmp_path / "l.npy", env=card(omit=omitted, processors=3), code=1)  # some groups have two tiles, one after the other
    assert "emulated card: " in done.stderr


@pytest.mark.parametrize("omitted", ["wgmma.wait_group", "mbarrier.try_wait", "mbarrier.arrive.shared::cta"])
def test_a_hold_that_a_product_of_blocks_leaves_out_is_noticed(omitted):
    told = quern("selftest", "--backend", "cuda", "--rounds", 1, "--only", "row alone, long matmul q4_k", code=1, env=card(omit=omitted, processors=4)).stderr
    assert "emulated card: gemm_packed_" in told


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
    told = quern("run", REPO / "models/tiny-qwen3", "Hello", "--backend", "cuda", code=1, env=card(memory=28_000_000)).stderr
    assert "tiny-qwen3: memory: needs " in told and "CUDA_ERROR" not in told, told


def serve(*options, models=MODELS, **settings):
    """With little memory beside the models', so that measuring its speed at the start is short."""
    models = [w for m in models for w in ("--model", f"{m}={REPO / 'models' / m}")]
    return Server([command_path(), "serve", "--port", "0", *models, "--backend", "cuda", "--context", "256", "--kv-blocks", "80", *options],
                  env=card(memory=100_000_000, **settings), start_s=120)


def test_the_room_of_programs_is_in_the_budget(tmp_path):
    sizes = ["--context", "256", "--kv-blocks", "80", "--max-batch", "4", "--prefill-chunk", "16"]
    server = serve(*sizes[4:], models=MODELS[:1])
    try:
        p = server.performance()["machine"]
    finally:
        server.stop()
    needed = p["memory_weights_bytes"] + p["memory_state_bytes"] + p["memory_scratch_bytes"]
    logits(MODELS[0], tmp_path / "logits.npy", *sizes, "--memory", needed, n=3)
    told = logits(MODELS[0], tmp_path / "logits.npy", *sizes, "--memory", needed - 1, n=3, code=1).stderr
    assert "tiny-qwen2: memory: room for its programs" in told, told


def test_requests_at_once_are_answered_as_alone():
    """Two models, as many rows at once, prompts in chunks; logprobs too, and tokens that are drawn, some of them filtered."""
    drawn = {"strategy": "sampling", "temperature": 0.9, "seed": 3}, {"strategy": "top_p", "top_p": 0.8, "seed": 4, "logprobs": 1}
    kinds = [{"ignore_eos": True, "max_tokens": 6, **kind} for kind in ({"strategy": "greedy", "logprobs": 2}, *drawn)]
    asked = [(m, p) for m in MODELS for p in ("Hello", "Once upon a time", "12 and 3 and", LONG[:150], LONG[:70], "A", "The", "One day", "She")]
    fields = {a: kinds[i // 3 % 3] for i, a in enumerate(asked)}
    server = serve("--prefill-chunk", "16")
    try:
        alone = {a: server.generate(model=a[0], prompt=a[1], **fields[a]) for a in asked[::3]}
        with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
            answers = {a: pool.submit(server.generate, model=a[0], prompt=a[1], **fields[a]) for a in asked}
            for a, expected in alone.items():
                found = answers[a].result()
                assert found["text"] == expected["text"] and found.get("logprobs") == expected.get("logprobs")
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
