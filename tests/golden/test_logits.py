"""quern logits against the float32 reference, and against itself at every chunking and thread count."""

import conftest
import golden_roots
import numpy
import pytest

MAX_F32_ERROR, MAX_F32_ERROR_ON_A_GPU = 1e-4, 1e-3  # ‖out−ref‖ / ‖ref‖


def logits(quern, model, ids, out, *options):
    quern.ok("logits", model.path, "--tokens", golden_roots.words(ids), "--out", out, *options)
    return numpy.load(out, allow_pickle=False)


def own_error(model, case, on_gpu):
    """What transformers' own run in the weights' type is off. GPUs round activations to that type as it does, so of a few tokens either may be
    the luckier: there, for our own models, what it is off over all cases (the root of the mean square)."""
    if not on_gpu or golden_roots.OWN.golden not in model.path.parents:
        return case["own_relative_error"]
    errors = [c["own_relative_error"] for c in model.golden["cases"]]
    return numpy.sqrt(numpy.mean(numpy.square(errors)))


@pytest.mark.parametrize("model_case", golden_roots.over_roots(golden_roots.model_cases))
def test_logits(quern, model_case, tmp_path):
    model, case = model_case
    out = logits(quern, model, case["ids"], tmp_path / "out.npy")
    ref = numpy.load(model.path / case["logits"], allow_pickle=False)
    assert out.dtype == numpy.float32 and out.shape == ref.shape
    on_gpu = conftest.BACKEND != "cpu"
    error = numpy.linalg.norm(out.astype(float) - ref) / numpy.linalg.norm(ref.astype(float))
    if not model.is_f32:
        assert error < own_error(model, case, on_gpu)
        return
    assert error <= (MAX_F32_ERROR_ON_A_GPU if on_gpu else MAX_F32_ERROR)
    if on_gpu:
        return
    wrong = numpy.flatnonzero(out.argmax(1) != ref.argmax(1))
    assert wrong.size == 0, f"the best token differs at positions {wrong.tolist()}"


@pytest.mark.parametrize("model", golden_roots.over_roots(golden_roots.models))
def test_same_bits_at_every_chunk_and_thread_count(quern, model, tmp_path):
    ids = max((case["ids"] for case in model.golden["cases"]), key=len)
    first = None
    for chunk in (1, 7, 64):
        for n_threads in (1, 2):
            out = tmp_path / f"{chunk}-{n_threads}.npy"
            logits(quern, model, ids, out, "--prefill-chunk", chunk, "--threads", n_threads)
            first = first or out.read_bytes()
            assert out.read_bytes() == first, f"--prefill-chunk {chunk} --threads {n_threads} changes the logits"


@pytest.mark.parametrize("model", golden_roots.over_roots(golden_roots.models))
def test_a_prefix_has_the_logits_of_the_whole(quern, model, tmp_path):
    """Row i is what follows token i, whatever comes after it."""
    ids = max((case["ids"] for case in model.golden["cases"]), key=len)
    whole = logits(quern, model, ids, tmp_path / "whole.npy")
    part = logits(quern, model, ids[:len(ids) // 2], tmp_path / "part.npy")
    assert part.tobytes() == whole[:len(part)].tobytes()


@pytest.mark.parametrize("tokens", ["", "x", "1 -1", "999999999", "99999999999999999999"])
def test_bad_tokens_are_refused(quern, tmp_path, tokens):
    name, model = next(golden_roots.models(golden_roots.OWN))
    done = quern.run("logits", model.path, "--tokens", tokens, "--out", tmp_path / "out.npy", timeout=10)
    assert done.returncode in (1, 2) and done.stderr.strip(), done
    assert not (tmp_path / "out.npy").exists()
