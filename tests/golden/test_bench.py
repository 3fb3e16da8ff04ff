"""quern bench in its plain form: every scenario has figures, also where the context is short; wrong names are told."""

import golden_roots
import pytest

MODEL = golden_roots.OWN.golden / "models" / "qwen2-f32-tied"


def test_every_row_has_figures(quern):
    report = quern.json("bench", MODEL, "--seconds", 20, "--max-batch", 4, "--json", timeout=120)
    assert report["ceiling_bytes_per_second"] > 0
    names = [row["scenario"] for row in report["rows"]]
    for part in ("short", "medium", "long", "greedy", "sampling", "top_k", "top_p", "beam", "4 at once"):
        assert any(part in name for name in names), part
    for row in report["rows"]:
        assert row["tokens"] > 0 and row["prefill_tokens_per_second"] > 0, row


@pytest.mark.parametrize("wrong", [["--shape", "gpt-2"], ["--shape", "qwen2.5-0.5b", "--dtype", "q4"]])
def test_what_is_unknown_is_named(quern, wrong):
    assert wrong[-1] in quern.refused("bench", *wrong)
