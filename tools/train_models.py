#!/usr/bin/env python3
"""Makes the two embedded models: text from a seed, one tokenizer, two models, rounded to BF16.

    pip install torch transformers tokenizers safetensors numpy
    python3 tools/train_models.py --out models

Same seed, same text and tokenizer; the weights also depend on the device's arithmetic.
The smaller model is trained for less: it stands for the fast and weaker one of a pair.
"""

import argparse
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F

from corpus import exam, stories
from training import answers, folder, tokenizer as tok
from training.data import Packed

# Steps and peak learning rate.
RECIPES = {
    "tiny-qwen2": {"steps": 750, "lr": 3e-3},
    "tiny-qwen3": {"steps": 4000, "lr": 2e-3},
}
STEP_TOKENS = 16 * 1024
SHORT, LONG = 512, 2048      # every fifth step reads windows as long as the context
TOKENIZER_DOCUMENTS = 60_000
WARMUP_STEPS = 150
WEIGHT_DECAY = 0.1


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="models", help="folder that gets tiny-qwen2/ and tiny-qwen3/")
    parser.add_argument("--model", action="append", choices=list(RECIPES), help="train only this one (repeatable)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--documents", type=int, default=800_000)
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--minutes", type=float, help="stop training a model early, well cooled down, after so long")
    parser.add_argument("--check-every", type=int, default=1000, help="steps between checks on held-out sums and facts")
    return parser.parse_args()


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def optimizer_of(model, lr):
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=model.device.type == "cuda")


def rate(progress, step):
    """Share of the peak rate: a warm-up, then a cosine down to nothing."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def loss_of(model, batch, device):
    """Mean cross-entropy over the learned tokens; only their logits are computed."""
    inputs, targets, mask = (torch.from_numpy(part) for part in batch)
    chosen = mask.reshape(-1).nonzero()[:, 0].to(device, non_blocking=True)
    wanted = targets.reshape(-1).to(device, non_blocking=True)[chosen]
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        hidden = model.model(input_ids=inputs.to(device, non_blocking=True), use_cache=False).last_hidden_state
        logits = model.lm_head(hidden.reshape(-1, hidden.shape[-1])[chosen])
    return F.cross_entropy(logits.float(), wanted)


def check(model, tokenizer, questions):
    """Shares of right answers, as one line."""
    vocabulary = stories.vocabulary()
    model.eval()
    got = answers.answer(model, tokenizer, questions)
    model.train()
    marks = {}
    for question, (text, ended) in zip(questions, got):
        kind = f"{question.kind} {question.group}" if question.kind in ("sums", "stories") else question.kind
        marks.setdefault(kind, []).append(exam.is_right(question, text, ended, vocabulary))
    return ", ".join(f"{kind} {sum(rights) / len(rights):.1%}" for kind, rights in marks.items())


def step_once(model, optimizer, batch, lr):
    """One update at this rate; the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    loss = loss_of(model, batch, model.device)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


def train(name, data, tokenizer, args):
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model = folder.new_model(name).to(args.device).train()
    n_steps, lr = args.steps or RECIPES[name]["steps"], RECIPES[name]["lr"]
    optimizer = optimizer_of(model, lr)
    quick = exam.sum_questions(4) + exam.fact_questions(250) + exam.story_questions()[:20]
    say(f"{name}: {model.num_parameters():,} parameters, {n_steps} steps of {STEP_TOKENS} tokens on {args.device}")
    begun, losses = time.monotonic(), []
    for step in range(n_steps):
        seconds = time.monotonic() - begun
        progress = max(step / n_steps, seconds / (60 * args.minutes) if args.minutes else 0)
        if progress >= 1:
            break
        length = LONG if step % 5 == 4 else SHORT
        batch = data.batch(rng, STEP_TOKENS // length, length)
        losses.append(step_once(model, optimizer, batch, lr * rate(progress, step)))
        if len(losses) == 100:
            say(f"{name}: step {step + 1}/{n_steps} loss {float(sum(losses)) / 100:.4f} "
                f"{STEP_TOKENS * step / seconds:,.0f} tokens/s")
            losses = []
        if (step + 1) % args.check_every == 0 and step + 1 < n_steps:
            say(f"{name}: step {step + 1} {check(model, tokenizer, quick)}")
    say(f"{name}: trained in {(time.monotonic() - begun) / 60:.1f} minutes")
    return model


def main():
    args = options()
    out = pathlib.Path(args.out)
    say("training the tokenizer")
    tokenizer_dict = tok.make(TOKENIZER_DOCUMENTS, args.seed)
    data = Packed(tokenizer_dict, args.documents, args.seed)
    say(f"{len(data.starts):,} documents, {len(data.ids):,} tokens, {int(data.learned.sum()):,} of them learned")
    everything = [*exam.sum_questions(), *exam.fact_questions(), *exam.story_questions(), *exam.json_questions(),
                  *exam.tool_questions(), *exam.self_questions(), *exam.late_questions()]
    for name in args.model or RECIPES:
        model = train(name, data, tok.load(tokenizer_dict), args)
        folder.write(out / name, name, model, tokenizer_dict)
        rounded, tokenizer = folder.read(out / name, args.device)
        say(f"{name}: rounded to BF16: {check(rounded, tokenizer, everything)}")


if __name__ == "__main__":
    main()
