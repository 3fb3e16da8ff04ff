#!/usr/bin/env python3
"""Makes the project's own goldens, tests/golden/data, with the code of Hugging Face and gguf: run by hand, its output is committed.

    python3.11 -m venv /tmp/goldens && /tmp/goldens/bin/pip install -r tools/requirements-goldens.txt
    /tmp/goldens/bin/python tools/goldens.py [--out DIR] [--only templates|tokenizers|sampler|formats|models] [--model PART-OF-NAME]

Everything comes from one seed and takes about two minutes on a CPU. The layout and the keys are those of the goldens in
../shared/golden (its README.md describes them), and beside them: `greedy_presence`, `beam_never` and `beam_penalised`
(more options of the same runs), `logprobs` in `greedy`, and `message` in a template's error. `min_margin` of a penalised run is
that of the penalised scores.
"""

import argparse
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
SEED = 20240607
LIMIT_BYTES = 4 << 20


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=here.parent / "tests" / "golden" / "data")
    parser.add_argument("--only", choices=["templates", "tokenizers", "sampler", "formats", "models"])
    parser.add_argument("--model")
    args = parser.parse_args()
    wanted = {args.only} if args.only else {"templates", "tokenizers", "sampler", "formats", "models"}

    # Imported here: each needs only its own libraries, and torch takes seconds.
    if "templates" in wanted:
        import goldens_templates
        goldens_templates.write(args.out / "templates")
    if wanted & {"tokenizers", "models"}:
        import goldens_text
        tiny = goldens_text.write(args.out, SEED)
    if "sampler" in wanted:
        import goldens_sampler
        goldens_sampler.write(args.out / "sampler.jsonl", SEED)
    if "formats" in wanted:
        import goldens_formats
        goldens_formats.write(args.out / "formats", SEED)
    if "models" in wanted:
        import torch
        import transformers
        import goldens_models
        torch.set_num_threads(1)  # one order of summation, whatever machine this runs on
        transformers.utils.logging.disable_progress_bar()
        goldens_models.write(args.out / "models", tiny, SEED, args.model)
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"{args.out}: {total} bytes")
    if total > LIMIT_BYTES:
        raise SystemExit(f"more than the {LIMIT_BYTES} bytes that are committed")


if __name__ == "__main__":
    main()
