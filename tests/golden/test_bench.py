"""quern bench: every group has its rows and every row its figures, also where the context is short; wrong words are told."""

import re
import xml.etree.ElementTree as xml

import golden_roots
import pytest

MODELS = golden_roots.OWN.golden / "models"
MODEL, OTHER = MODELS / "qwen2-f32-tied", MODELS / "qwen3-f16"  # contexts of 512 tokens
STRATEGIES = ["greedy", "sampling", "top_k", "top_p", "beam"]
FIGURES = ["tokens_per_second", "ms_per_token", "prefill_tokens_per_second", "bytes_per_second", "share_of_ceiling"]


def bench(quern, *words):
    return quern.json("bench", *words, "--seconds", 20, "--json", timeout=120)


def texts_of(svg):
    root = xml.parse(svg).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")], root


def test_every_group_has_rows_and_every_row_figures(quern, tmp_path):
    svg = tmp_path / "bench.svg"
    report = bench(quern, MODEL, "--max-batch", 4, "--svg", svg)
    assert report["ceiling_bytes_per_second"] > 0 and report["pair"] == []
    (model,) = report["models"]
    assert model["active_bytes"] > 0 and model["ceiling_tokens_per_second"] > 0 and model["context"] == 512
    rows = model["rows"]
    for length, n in ("short", 50), ("medium", 150), ("long", 300):
        group = [row for row in rows if row["group"] == length]
        assert [row["strategy"] for row in group] == STRATEGIES
        assert all(row["tokens"] == n and row["ratio_to_greedy"] > 0 for row in group)
        assert group[0]["ratio_to_greedy"] == 1
    assert [row["n_at_once"] for row in rows if row["group"] == "batch"] == [1, 4]
    assert [row["tokens"] for row in rows if row["group"] == "batch"] == [128, 512]
    assert [row["prompt_tokens"] for row in rows if row["group"] == "prefill"] == [128]
    for row in rows:
        assert not row["cut"] and all(row[name] > 0 for name in FIGURES), row
    texts, root = texts_of(svg)
    for expected in "short, greedy", "long, beam 4", "4 at once", "128 tokens":
        assert expected in texts, expected
    assert any("ceiling" in text for text in texts)
    bars = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("rx")]
    assert len(bars) == len(rows) and all(float(bar.get("width")) > 0 for bar in bars)


@pytest.mark.parametrize("only, names", [
    ("short", ["short, greedy"]),
    ("prefill,short,strategies", ["short, greedy", "short, sampling", "short, top_k", "short, top_p", "short, beam 4",
                                  "prefill, 128 tokens"]),
    ("batch", ["batch, 1 at once", "batch, 4 at once", "batch, 8 at once"]),
])
def test_only_some_groups(quern, only, names):
    report = bench(quern, MODEL, "--only", only, "--max-batch", 8)
    assert [row["scenario"] for row in report["models"][0]["rows"]] == names


def test_batches_end_at_the_queue_and_the_cache(quern):
    for limit in ("--max-queue", 4), ("--kv-blocks", 70):
        report = bench(quern, MODEL, "--only", "batch", *limit)
        assert [row["n_at_once"] for row in report["models"][0]["rows"]] == [1, 4]


def test_a_short_context_has_short_prompts(quern):
    rows = bench(quern, MODEL, "--only", "short,prefill", "--context", 100)["models"][0]["rows"]
    assert [row["prompt_tokens"] for row in rows] == [50] and rows[0]["tokens_per_second"] > 0


def test_two_models(quern, tmp_path):
    svg = tmp_path / "two.svg"
    report = bench(quern, MODEL, OTHER, "--only", "short,pair", "--svg", svg)
    assert [m["model"] for m in report["models"]] == [str(MODEL), str(OTHER)]
    assert [[row["scenario"] for row in m["rows"]] for m in report["models"]] == [["short, greedy"]] * 2
    assert [p["model"] for p in report["pair"]] == [str(MODEL), str(OTHER)]
    for pair in report["pair"]:
        assert pair["ratio"] == pytest.approx(pair["beside_tokens_per_second"] / pair["alone_tokens_per_second"], rel=1e-3)
    assert texts_of(svg)[0].count("beside") == 2


def test_markdown_and_progress(quern):
    done = quern.run("bench", MODEL, OTHER, "--only", "prefill,pair", "--seconds", 20, timeout=120)
    tables = [line for line in done.stdout.decode().splitlines() if line.startswith("| ")]
    assert done.returncode == 0 and len({line.count("|") for line in tables[:2]}) == 1
    assert tables[0].startswith("| scenario | tok/s | ms/token ") and re.match(r"\| prefill, 128 tokens \| \d", tables[1])
    assert len([line for line in tables if "qwen" in line and line.count("|") == 5]) == 2
    assert re.search(r"1/1 prefill, 128 tokens: \d+\.\d+ tok/s\n", done.stderr.decode())


def test_limits(quern):
    limits = quern.json("bench", "limits", "--json", timeout=120)
    assert {"backend", "device", "threads"} < set(limits)
    for name in "read_bytes_per_second", "copy_bytes_per_second", "matmul_flops_per_second", "launch_seconds":
        assert limits[name] > 0, name
    assert limits["launch_seconds"] < 1
    assert quern.ok("bench", "limits", timeout=120).count(b"\n| ") == 5


def test_help_tells_the_columns(quern):
    text = quern.ok("bench", "--help").decode()
    for column in "tok/s", "ms/token", "whole tok/s", "prefill tok/s", "read GB/s", "share of ceiling", "ratio":
        assert f"\n  {column} " in text, column


@pytest.mark.parametrize("wrong, told", [
    (["--shape", "gpt-2"], "gpt-2"),
    (["--shape", "qwen2.5-0.5b,gpt-2"], "gpt-2"),
    (["--shape", "qwen2.5-0.5b", "--dtype", "q4"], "q4"),
    ([MODEL, "no-such-model"], "no-such-model"),
    ([MODEL, "--svg", "/no/such/folder/x.svg"], "/no/such/folder/x.svg"),
    ([MODEL, "--backend", "abacus"], "abacus"),
    (["limits", "--backend", "abacus"], "abacus"),
])
def test_what_cannot_be_is_told_in_one_line(quern, wrong, told):
    assert told in quern.refused("bench", *wrong)


@pytest.mark.parametrize("wrong, told", [
    ([], "either MODEL or --shape"),
    ([MODEL, "--shape", "qwen2.5-0.5b"], "either MODEL or --shape"),
    ([MODEL, OTHER, MODEL], "unexpected"),
    (["--shape", "a,b,c"], "a,b,c"),
    (["--shape", "a,"], "a,"),
    ([MODEL, "--only", "short,huge"], '"huge"'),
    ([MODEL, "--only", ""], '""'),
    ([MODEL, "--only", "pair"], "two models"),
    ([MODEL, "--seconds", "0"], "--seconds"),
    (["limits", "qwen2.5-0.5b"], "unexpected"),
])
def test_wrong_usage(quern, wrong, told):
    done = quern.run("bench", *wrong)
    assert done.returncode == 2 and not done.stdout
    assert told in done.stderr.decode().splitlines()[0]
