#!/usr/bin/env python3
"""Writes the table of docs/formats.md: every format's size, perplexity and distance from full precision, on the embedded models.

    build/venv/bin/python tools/formats_table.py [--quern build/quern] [--threads N] [--check]     NumPy, as ./run tests sets it up

--check compares the table that is there with a new one instead: sizes to the byte, figures within 2 %, since bits may differ between
instruction sets. A format is a row of FORMATS; a model that a script makes joins as a function that returns its path.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

from corpus import facts, stories, sums

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import packed_files  # noqa: E402 (the tests' writer of MLX, GPTQ, AWQ and FP8 directories)

PAGE = ROOT / "docs" / "formats.md"
BEGIN, END = "<!-- table: build/venv/bin/python tools/formats_table.py -->", "<!-- end of table -->"
MODELS = ("tiny-qwen2", "tiny-qwen3")
CONTEXT = 256
SEEDS = {"text": 31, "calibration": 30}  # two texts of one kind
N_DOCUMENTS = 40


def text(seed, n_documents=N_DOCUMENTS):
    """What the embedded models know, as plain text: stories, facts and sums; always the same for a seed."""
    rng, statements, documents = random.Random(seed), facts.statements(), []
    for _ in range(n_documents):
        draw = rng.random()
        if draw < 0.5:
            documents.append(stories.story(rng))
        elif draw < 0.8:
            documents.append(" ".join(rng.sample(statements, 3)))
        else:
            documents.append(" ".join(sums.statement(*sums.training_pair(rng)) for _ in range(3)))
    return "\n\n".join(documents) + "\n"


class Bench:
    """One model in all formats; files lie in a folder that ends with the run."""

    def __init__(self, args, model, folder):
        self.quern, self.model, self.folder = pathlib.Path(args.quern).resolve(), ROOT / "models" / model, folder
        self.options = ["--context", CONTEXT, *(["--threads", args.threads] if args.threads else [])]
        for name, seed in SEEDS.items():
            (folder / name).write_text(text(seed), encoding="utf-8")

    def run(self, *args):
        """In its folder, so that no name in a file depends on where that is."""
        return subprocess.run([self.quern, *map(str, args)], check=True, cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout

    def directory(self):
        return self.model

    def gguf(self, kind, imatrix=False):
        path, matrix = self.folder / f"{kind}{'-imatrix' * imatrix}.gguf", self.folder / "imatrix.gguf"
        if imatrix and not matrix.exists():
            self.run("eval", self.model, "calibration", *self.options, "--imatrix", matrix.name)
        self.run("quantize", self.model, path, "--to", kind, *(["--imatrix", matrix.name] if imatrix else []))
        return path

    def mlx(self, bits, group=64):
        """Embedding and head too, as mlx-lm does it."""
        return packed_files.write_mlx(self.model, self.folder / f"mlx{bits}", bits, group)[0]

    def packed(self, name, config, quantise, *args, **options):
        """Embedding and head stay as they are."""
        pack = packed_files.linears(quantise, *args, **options)
        return packed_files.write(self.model, self.folder / name, pack, config, "BF16")[0]

    def evaluate(self, path):
        return json.loads(self.run("eval", path, "text", *self.options, "--reference", self.model, "--json"))


# What it is called, and how it is had from a Bench.
FORMATS = (
    ("BF16, the directory itself", lambda bench: bench.directory()),
    ("F16", lambda bench: bench.gguf("f16")),
    ("Q8_0", lambda bench: bench.gguf("q8_0")),
    ("Q6_K", lambda bench: bench.gguf("q6_k")),
    ("Q5_K_M", lambda bench: bench.gguf("q5_k_m")),
    ("Q5_1", lambda bench: bench.gguf("q5_1")),
    ("Q5_0", lambda bench: bench.gguf("q5_0")),
    ("Q4_K_M", lambda bench: bench.gguf("q4_k_m")),
    ("Q4_K_M, importance matrix", lambda bench: bench.gguf("q4_k_m", imatrix=True)),
    ("Q4_1", lambda bench: bench.gguf("q4_1")),
    ("Q4_0", lambda bench: bench.gguf("q4_0")),
    ("Q4_0, importance matrix", lambda bench: bench.gguf("q4_0", imatrix=True)),
    ("IQ4_NL", lambda bench: bench.gguf("iq4_nl")),
    ("IQ4_XS", lambda bench: bench.gguf("iq4_xs")),
    ("Q3_K_M", lambda bench: bench.gguf("q3_k_m")),
    ("Q2_K", lambda bench: bench.gguf("q2_k")),
    ("MLX, 8 bits", lambda bench: bench.mlx(8)),
    ("MLX, 6 bits", lambda bench: bench.mlx(6)),
    ("MLX, 5 bits", lambda bench: bench.mlx(5)),
    ("MLX, 4 bits", lambda bench: bench.mlx(4)),
    ("MLX, 3 bits", lambda bench: bench.mlx(3)),
    ("FP8", lambda bench: bench.packed("fp8", packed_files.fp8_config(), packed_files.fp8)),
    ("GPTQ-Int8", lambda bench: bench.packed("gptq8", packed_files.gptq_config(8), packed_files.gptq, 8, 128)),
    ("GPTQ-Int4", lambda bench: bench.packed("gptq4", packed_files.gptq_config(4), packed_files.gptq, 4, 128)),
    ("AWQ", lambda bench: bench.packed("awq", packed_files.awq_config(), packed_files.awq, 128, ends=False)),
)


def weight_bytes(path):
    return sum(file.stat().st_size for file in path.glob("*.safetensors")) if path.is_dir() else path.stat().st_size


def table_of(args, model):
    """Lines of Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, model, pathlib.Path(folder))
        n_parameters = json.loads(bench.run("inspect", bench.model, "--json"))["parameters"]
        lines = ["| format | bytes of weights | of FP16 | perplexity | KL, mean | KL, 99 % | KL, most | same top token |",
                 "|---|--:|--:|--:|--:|--:|--:|--:|"]
        for name, make in FORMATS:
            path = make(bench)
            size, found = weight_bytes(path), bench.evaluate(path)
            lines.append(f"| {name} | {size:,} | {size / n_parameters / 2:.1%} | {found['perplexity']:.4f} | {found['kl_mean']:.6f} "
                         f"| {found['kl_p99']:.5f} | {found['kl_max']:.4f} | {found['top1_agreement']:.2%} |")
            print(model, lines[-1], file=sys.stderr)
        return lines, found


def tables(args):
    lines = []
    for model in MODELS:
        rows, found = table_of(args, model)
        lines += [f"`models/{model}`, {found['scored']:,} tokens scored in {found['windows']} windows of {found['context']}:", "", *rows, ""]
    return "\n".join(lines) + "\n"


def cells(table):
    return [[float(x.strip().rstrip("%").replace(",", "")) for x in line.split("|")[2:-1]]
            for line in table.splitlines() if re.match(r"\| (?!format)", line)]


def differences(old, new):
    """Rows that are not as they were."""
    if len(cells(old)) != len(cells(new)):
        return ["the number of rows"]
    return [line for line, a, b in zip([x for x in new.splitlines() if re.match(r"\| (?!format)", x)], cells(old), cells(new))
            if a[0] != b[0] or any(abs(x - y) > 0.02 * abs(x) + 1e-4 for x, y in zip(a[1:], b[1:]))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quern", default=str(ROOT / "build" / "quern"))
    parser.add_argument("--threads", type=int, help="of quern; figures do not depend on it")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    old, tail = rest.split(END)
    new = tables(args)
    if args.check:
        wrong = differences(old, new)
        print("\n".join(["differs:", *wrong] if wrong else ["the table holds"]))
        return 1 if wrong else 0
    PAGE.write_text(f"{head}{BEGIN}\n\n{new}{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
