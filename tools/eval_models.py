#!/usr/bin/env python3
"""Asks the two embedded models what they were taught, marks the answers, and fails below the bounds.

    python3 tools/eval_models.py                    through `build/quern serve`, standard library only
    python3 tools/eval_models.py --torch            through PyTorch and transformers, more questions

Bounds: the larger model right on 95 % of the held-out sums, whichever way they are counted, and of the facts;
clearly ahead of the smaller; every story of both ends in time, in the generator's words, no sentence twice.
"""

import argparse
import concurrent.futures
import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from corpus import exam, stories

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALLER, LARGER = "tiny-qwen2", "tiny-qwen3"
BOUND = 0.95
CLEARLY = 0.05          # by how much the larger leads on sums and facts together
FACTS_ASKED = 300       # over HTTP, so that the run takes seconds
SUMS_EVERY = 4          # and each held-out pair, in both orders, in every fourth phrasing


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=str(ROOT / "models"), help="folder that holds both model folders")
    parser.add_argument("--quern", default=str(ROOT / "build" / "quern"))
    parser.add_argument("--parallel", type=int, default=16, help="requests at a time")
    parser.add_argument("--torch", action="store_true", help="ask through transformers instead of quern")
    parser.add_argument("--device", default="cpu", help="with --torch")
    parser.add_argument("--all", action="store_true", help="every sum and fact in every phrasing, not a sample")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print up to N wrong answers of a kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return parser.parse_args()


def questions_for(args):
    everything = args.all or args.torch
    asked = exam.sum_questions(1 if everything else SUMS_EVERY)
    asked += exam.fact_questions(None if everything else FACTS_ASKED)
    asked += exam.story_questions() + exam.json_questions() + exam.self_questions()
    if args.torch:
        asked += exam.tool_questions() + exam.late_questions()
    return asked


# --- asking through quern -------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(args):
    """A running `quern serve` of both models; yields its address."""
    port = free_port()
    command = [args.quern, "serve", "--port", str(port)]
    for name in (SMALLER, LARGER):
        command += ["--model", f"{name}={pathlib.Path(args.models) / name}"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    except OSError as error:
        raise SystemExit(f"eval_models: {args.quern}: {error.strerror}; build it with ./run build") from error
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process, address, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"quern serve ended with {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"quern serve was not ready within {seconds} s")


def request_of(model, question):
    body = {"model": model, "max_tokens": question.max_tokens}
    if question.prompt is not None:
        body["prompt"] = question.prompt
    else:
        body["messages"] = question.messages
    if question.seed is None:
        body["strategy"] = "greedy"
    else:
        body |= {"strategy": "sampling", "temperature": 0.7, "top_k": 20, "top_p": 0.9, "seed": question.seed}
    return body


def ask(address, model, question):
    """(text, ended) of one question over POST /generate."""
    data = json.dumps(request_of(model, question)).encode()
    request = urllib.request.Request(f"{address}/generate", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"POST /generate: {error.code} {error.read()[:300]!r}") from error
    except OSError as error:
        raise SystemExit(f"POST /generate of {model}: {error}") from error
    return answer["text"], answer["finish_reason"] == "stop"


def ask_quern(args, questions):
    with serving(args) as address, concurrent.futures.ThreadPoolExecutor(args.parallel) as pool:
        return {model: list(pool.map(lambda q, m=model: ask(address, m, q), questions))
                for model in (SMALLER, LARGER)}


# --- asking through PyTorch -----------------------------------------------------------------------


def ask_torch(args, questions):
    from training import answers, folder
    return {name: answers.answer(*folder.read(pathlib.Path(args.models) / name, args.device), questions)
            for name in (SMALLER, LARGER)}


# --- marking --------------------------------------------------------------------------------------


def rows_of(question):
    """The rows of the table in which a question counts."""
    if question.kind == "sums":
        yield "sums: operands below 20"
        if question.group == "result < 20":
            yield "sums: result below 20"
    elif question.kind == "facts":
        yield "facts"
        yield f"facts: {question.group}"
    elif question.kind == "stories":
        yield f"stories: {question.group}"
    else:
        yield question.kind


def mark(questions, got, show):
    """{row: share right} of one model; prints wrong answers to stderr when asked to."""
    vocabulary, counts, shown = stories.vocabulary(), {}, {}
    for question, (text, ended) in zip(questions, got):
        right = exam.is_right(question, text, ended, vocabulary)
        for row in rows_of(question):
            n_right, n_all = counts.get(row, (0, 0))
            counts[row] = (n_right + right, n_all + 1)
        shown[question.kind] = shown.get(question.kind, 0) + (not right)
        if not right and shown[question.kind] <= show:
            asked = question.prompt or question.messages[-1]["content"]
            print(f"  {question.kind} ({question.group}): {asked!r} -> {text!r}", file=sys.stderr)
    return {row: (n_right / n_all, n_all) for row, (n_right, n_all) in counts.items()}


def failures(marks):
    """The bounds that are missed, one line each."""
    larger, smaller, missed = marks[LARGER], marks[SMALLER], []
    for row in ("sums: operands below 20", "sums: result below 20", "facts"):
        if larger[row][0] < BOUND:
            missed.append(f"{LARGER}: {row}: {larger[row][0]:.1%}, expected {BOUND:.0%}")
    lead = sum(larger[row][0] - smaller[row][0] for row in ("sums: operands below 20", "facts")) / 2
    if lead < CLEARLY:
        missed.append(f"{LARGER} leads {SMALLER} by {lead:.1%} on sums and facts, expected {CLEARLY:.0%}")
    for model in marks:
        for row in ("stories: greedy", "stories: seeded"):
            if marks[model][row][0] < 1:
                missed.append(f"{model}: {row}: {marks[model][row][0]:.0%} without a fault, expected all")
    return missed


def print_table(marks):
    print(f"{'share of right answers':30}{'asked':>7}{SMALLER:>13}{LARGER:>13}")
    for row, (_, n_all) in sorted(marks[LARGER].items(), key=lambda item: not re.match("sums|facts", item[0])):
        print(f"{row:30}{n_all:7}{marks[SMALLER][row][0]:13.1%}{marks[LARGER][row][0]:13.1%}")


def main():
    args = options()
    begun, questions = time.monotonic(), questions_for(args)
    got = (ask_torch if args.torch else ask_quern)(args, questions)
    marks = {}
    for model in (SMALLER, LARGER):
        if args.show:
            print(f"wrong answers of {model}:", file=sys.stderr)
        marks[model] = mark(questions, got[model], args.show)
    missed, seconds = failures(marks), time.monotonic() - begun
    if args.json:
        print(json.dumps({"models": {m: {row: share for row, (share, _) in marks[m].items()} for m in marks},
                          "asked": len(questions), "seconds": round(seconds, 1), "missed": missed}))
    else:
        print_table(marks)
        print(f"{len(questions)} questions a model, {seconds:.0f} s")
    for line in missed:
        print(f"eval_models: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
