#!/usr/bin/env python3
"""Files of `quern quantize` opened by llama.cpp itself: the same ids of a text, both programs' logits and greedy tokens.

    python -m venv V && V/bin/pip install llama-cpp-python==0.3.36 numpy==2.4.6 gguf==0.19.0     # compiles llama.cpp: minutes
    V/bin/python tools/peer_llama_cpp.py [--quern build/quern] [--model models/tiny-qwen3]

The reference is float32: Quern on a directory of the numbers that gguf-py reads from the file, with a cache of F32. An error is
the largest difference of a logit over the largest logit. Prints the table of docs/formats.md; exit 1 where ids differ or Quern is
farther from the reference than llama.cpp.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import gguf_files  # noqa: E402 (the tests' writer of directories)
from formats_table import text  # noqa: E402

KINDS = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")
N_TOKENS, N_NEW, SEED, CONTEXT = 256, 64, 31, 1024
EXACT = ("--kv-cache", "f32")
PROMPTS = ("Once upon a time", "The cat", "What is 2 + 3?")


def run(*words):
    return subprocess.run([str(w) for w in words], check=True, capture_output=True).stdout


def dequantised(path, folder, to):
    """A directory like `folder` with the numbers of the GGUF file, as gguf-py reads them."""
    reader = gguf.GGUFReader(path)
    arch = {"qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}[reader.get_field("general.architecture").contents()]
    n_layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    names = gguf.get_tensor_name_map(arch, n_layers)
    numbers = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype("<f4") for t in reader.tensors}
    shutil.copytree(folder, to)
    gguf_files.write_tensors(to, {name: numbers[names.get_name(name, (".weight", ".bias"))] for name in gguf_files.read_tensors(folder)})
    return to


def logits(quern, model, ids, to, *options):
    run(quern, "logits", model, "--tokens", " ".join(map(str, ids)), "--out", to, *options)
    return numpy.load(to)


def tokens(quern, model, prompt, *options):
    words = ("-n", N_NEW, "--strategy", "greedy", "--ignore-eos", "--json")
    return json.loads(run(quern, "run", model, prompt, *words, *options))["tokens"]


def before_the_first_other(wanted, found):
    return next((i for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b), N_NEW)


def greedy(peer, ids):
    """llama.cpp's tokens after a prompt: each the likeliest."""
    peer.reset()
    peer.eval(ids)
    new = []
    while len(new) < N_NEW:
        new.append(int(peer.scores[peer.n_tokens - 1].argmax()))
        peer.eval(new[-1:])
    return new


def compare(quern, folder, kind, work):
    path = work / f"{kind}.gguf"
    run(quern, "quantize", folder, path, "--to", kind)
    peer = llama_cpp.Llama(str(path), n_ctx=CONTEXT, n_threads=2, n_gpu_layers=0, logits_all=True, verbose=False)
    document = text(SEED, 24)
    (work / "text").write_text(document)
    ours = json.loads(run(quern, "tokenize", path, work / "text"))
    same_ids = ours == peer.tokenize(document.encode(), add_bos=False, special=False)
    ids = ours[:N_TOKENS]
    reference = dequantised(path, folder, work / kind)
    exact = logits(quern, reference, ids, work / "l.npy", *EXACT)
    scale = numpy.abs(exact).max()
    peer.eval(ids)
    errors = [float(numpy.abs(found - exact).max() / scale)
              for found in (logits(quern, path, ids, work / "l.npy"), peer.scores[:len(ids)])]
    same = [0, 0]
    for prompt in PROMPTS:
        wanted, ours = tokens(quern, reference, prompt, *EXACT), tokens(quern, path, prompt)
        (work / "text").write_text(prompt)
        theirs = greedy(peer, json.loads(run(quern, "tokenize", path, work / "text")))
        same = [n + before_the_first_other(wanted, found) for n, found in zip(same, (ours, theirs))]
    return same_ids, *errors, *same


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quern", type=pathlib.Path, default=ROOT / "build" / "quern")
    arguments.add_argument("--model", type=pathlib.Path, default=ROOT / "models" / "tiny-qwen3")
    given = arguments.parse_args()
    print(f"llama-cpp-python {llama_cpp.__version__}, {given.model.name}\n")
    n = N_NEW * len(PROMPTS)
    print(f"| format | ids of the text | error, Quern | llama.cpp | of {n} greedy tokens, before the first other: Quern | llama.cpp |")
    print("|---|---|--:|--:|--:|--:|")
    bad = False
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as work:
            same_ids, ours, theirs, *same = compare(given.quern, given.model, kind, pathlib.Path(work))
        print(f"| {kind} | {'equal' if same_ids else 'DIFFERENT'} | {ours:.1e} | {theirs:.1e} | {same[0]} | {same[1]} |", flush=True)
        bad = bad or not same_ids or ours > theirs
    return bad


if __name__ == "__main__":
    sys.exit(main())
