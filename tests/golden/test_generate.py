"""quern run: greedy, penalised and beam search, token for token as Hugging Face generates them."""

import conftest
import golden_roots
import numpy
import pytest

MAX_SCORE_ERROR = 1e-4
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")
CLEAR_MARGIN = 0.25  # standard deviations of the logits that bind greedy choices of 16-bit weights


def run_cases(kind):
    """items() for over_roots: every run of the cases whose name begins with `kind`."""
    def items(root):
        for name, (model, case) in golden_roots.model_cases(root):
            for run in case:
                if run.startswith(kind):
                    yield f"{name}-{run}", (model, case, case[run])
    return items


def option_words(expected):
    options = []
    for name in (*PENALTIES, "num_beams", "length_penalty", "early_stopping"):
        if name in expected:
            value = expected[name]
            options += ["--" + name.replace("_", "-"), str(value).lower() if isinstance(value, bool) else value]
    return options


def generate(quern, model, ids, expected, strategy, *more):
    return quern.json("run", model.path, "--tokens", golden_roots.words(ids), "-n", expected["n"], "--strategy", strategy,
                      *option_words(expected), *more, "--json")


def finish_reason(model, tokens):
    return "stop" if tokens and tokens[-1] in model.golden["eos"] else "length"


def binds(model, case, expected):
    """Whether the README of the goldens lets this run bind token for token."""
    if model.is_f32 and conftest.BACKEND == "cpu":
        return True
    spread = numpy.load(model.path / case["logits"], allow_pickle=False).std()
    return expected["min_margin"] > CLEAR_MARGIN * spread


@pytest.mark.parametrize("run", golden_roots.over_roots(run_cases("greedy")))
def test_greedy(quern, run):
    model, case, expected = run
    out = generate(quern, model, case["ids"], expected, "greedy")
    if not binds(model, case, expected):
        # own_relative_error (test_logits) binds instead; the run must still end as a run does.
        assert 1 <= len(out["tokens"]) <= expected["n"]
        return
    assert out["tokens"] == expected["ids"]
    assert out["finish_reason"] == finish_reason(model, expected["ids"])


@pytest.mark.parametrize("run", golden_roots.over_roots(run_cases("beam")))
def test_beam(quern, run):
    model, case, expected = run
    out = generate(quern, model, case["ids"], expected, "beam", "--n-best", len(expected["beams"]))
    assert [beam["tokens"] for beam in out["beams"]] == [beam["ids"] for beam in expected["beams"]]
    for got, want in zip(out["beams"], expected["beams"]):
        assert abs(got["score"] - want["score"]) <= MAX_SCORE_ERROR
    assert out["tokens"] == expected["ids"]


def logprob_cases(root):
    for name, run in run_cases("greedy")(root):
        if "logprobs" in run[2]:
            yield name, run


def own_params(items):
    """Goldens that only the project's own set has."""
    return [pytest.param(value, id=name) for name, value in items(golden_roots.OWN)]


@pytest.mark.parametrize("run", own_params(logprob_cases))
def test_logprobs(quern, run):
    model, case, expected = run
    n_top = len(expected["logprobs"][0]["top"])
    out = generate(quern, model, case["ids"], expected, "greedy", "--logprobs", n_top)
    assert [entry["id"] for entry in out["logprobs"]] == expected["ids"]
    for got, want in zip(out["logprobs"], expected["logprobs"]):
        assert abs(got["logprob"] - want["logprob"]) <= MAX_SCORE_ERROR
        got_top = [entry["logprob"] for entry in got["top"]]
        assert numpy.allclose(got_top, [value for _, value in want["top"]], rtol=0, atol=MAX_SCORE_ERROR)
        assert got["top"][0]["id"] == want["top"][0][0]


def first_runs(root):
    """One run a model, its longest prompt."""
    for name, model in golden_roots.models(root):
        yield name, (model, max(model.golden["cases"], key=lambda case: len(case["ids"])))


@pytest.mark.parametrize("first", own_params(first_runs))
def test_same_tokens_at_every_chunk_and_thread_count(quern, first):
    """Also where choices are not clear and where tokens are drawn: the bits are the same, so the text is."""
    model, case = first
    expected = {"n": 24}
    for strategy in (["greedy"], ["sampling", "--seed", 7, "--temperature", 1.3]):
        runs = [generate(quern, model, case["ids"], expected, *strategy, "--prefill-chunk", chunk, "--threads", n)["tokens"]
                for chunk in (1, 7, 64) for n in (1, 2)]
        assert runs.count(runs[0]) == len(runs), strategy


@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_text_is_printed_once(quern, strategy):
    options = [conftest.REPO / "models" / "tiny-qwen2", "Once upon a time", "-n", 8, "--strategy", strategy]
    assert quern.ok("run", *options).decode() == quern.json("run", *options, "--json")["text"] + "\n"
    chat = options[:1] + options[2:]
    answer = quern.json("run", *options, "--chat", "--json")["text"] + "\n"
    assert quern.ok("chat", *chat, input=b"Once upon a time").decode() == answer


def test_seeds(quern):
    """The same seed gives the same tokens; other seeds give others."""
    model, case = next(first_runs(golden_roots.OWN))[1]
    by_seed = {}
    for seed in (1, 2, 3, 1, 2, 3):
        out = generate(quern, model, case["ids"], {"n": 16}, "sampling", "--seed", seed, "--temperature", 2)
        assert by_seed.setdefault(seed, out["tokens"]) == out["tokens"]
    assert len({tuple(tokens) for tokens in by_seed.values()}) > 1
