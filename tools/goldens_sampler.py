"""Expected distributions of the sampler: tests/golden/data/sampler.jsonl.

A line is {params, ties, logits, history, probs}: the probabilities left after repetition penalty, frequency and presence
penalties, temperature, top-k, top-p and min-p, in this order. Hugging Face's own processors do all but OpenAI's two
penalties, in float64. A case whose cuts move when the logits move by 1e-5 is drawn again, so that no test hangs on rounding.
"""

import itertools
import json
import random

import torch
from transformers import (MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper,
                          TopPLogitsWarper)


def distribution(params, logits, history):
    """The probabilities after every filter, as a list as long as logits (0 where cut)."""
    scores = torch.tensor([logits], dtype=torch.float64)
    ids = torch.tensor([history], dtype=torch.long)
    if params["repetition_penalty"] != 1.0:
        scores = RepetitionPenaltyLogitsProcessor(params["repetition_penalty"])(ids, scores)
    counts = torch.zeros_like(scores)
    for token in history:
        counts[0, token] += 1
    scores = scores - params["frequency_penalty"] * counts - params["presence_penalty"] * (counts > 0)
    if params["temperature"] != 1.0:
        scores = TemperatureLogitsWarper(params["temperature"])(ids, scores)
    if params["top_k"] > 0:
        scores = TopKLogitsWarper(params["top_k"])(ids, scores)
    if params["top_p"] < 1.0:
        scores = TopPLogitsWarper(params["top_p"])(ids, scores)
    if params["min_p"] > 0:
        scores = MinPLogitsWarper(params["min_p"])(ids, scores)
    return torch.softmax(scores, -1)[0].tolist()


def is_stable(case, rng):
    """True where no cut moves when every logit (or, among equal logits, every threshold) moves by up to 1e-5."""
    params, logits, history = case["params"], case["logits"], case["history"]
    kept = [p > 0 for p in distribution(params, logits, history)]
    for _ in range(8):
        if case["ties"]:
            shift = rng.uniform(-1e-5, 1e-5)
            moved = {**params, **{k: params[k] + shift for k in ("top_p", "min_p") if 0 < params[k] < 1}}
            same = [p > 0 for p in distribution(moved, logits, history)] == kept
        else:
            moved = [x + rng.uniform(-1e-5, 1e-5) for x in logits]
            same = [p > 0 for p in distribution(params, moved, history)] == kept
        if not same:
            return False
    return True


def draw_case(params, n_vocab, ties, rng):
    logits = [round(rng.gauss(0, 2.5), 4) for _ in range(n_vocab)]
    if ties:
        for _ in range(n_vocab // 2):
            logits[rng.randrange(n_vocab)] = logits[rng.randrange(n_vocab)]
    history = [rng.randrange(n_vocab) for _ in range(rng.randrange(1, 24))]
    return {"params": params, "ties": ties, "logits": logits, "history": history}


def all_params():
    """Each parameter alone, then a spread over their product."""
    off = dict(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0,
               frequency_penalty=0.0)
    values = dict(temperature=[0.3, 1.7], top_k=[1, 7, 1000], top_p=[0.1, 0.9, 0.999], min_p=[0.02, 0.5],
                  repetition_penalty=[1.2, 0.8], presence_penalty=[0.9, -0.5], frequency_penalty=[0.3, -0.2])
    yield dict(off)
    for name, some in values.items():
        for value in some:
            yield {**off, name: value}
    product = list(itertools.product(*[[off[name]] + some for name, some in values.items()]))
    for row in product[1::53]:
        yield dict(zip(values, row))


def write(path, seed):
    rng = random.Random(seed)
    sizes = itertools.cycle([5, 61, 130])
    lines = []
    for number, params in enumerate(all_params()):
        n_vocab, ties = next(sizes), number % 9 == 4
        while True:
            case = draw_case(params, n_vocab, ties, rng)
            if is_stable(case, rng):
                break
        probs = distribution(params, case["logits"], case["history"])
        case["probs"] = {str(i): float(f"{p:.9g}") for i, p in enumerate(probs) if p > 0}
        lines.append(json.dumps(case, separators=(",", ":")))
    path.write_text("\n".join(lines) + "\n")
    print(f"{path}: {len(lines)} cases")
