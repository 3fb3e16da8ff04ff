"""quern inspect: exact parameter counts, of checkpoints and of the shapes that it knows by name."""

import golden_roots
import pytest


@pytest.mark.parametrize("model", golden_roots.over_roots(golden_roots.models))
def test_parameters_of_a_checkpoint(quern, model):
    report = quern.json("inspect", model.path, "--json")
    assert report["parameters"] == model.golden["parameters"]


@pytest.mark.parametrize("shape, parameters", [("qwen2.5-7b", 7_615_616_512), ("qwen2.5-3b", 3_085_938_688)])
def test_parameters_of_a_shape(quern, shape, parameters):
    """From the configuration alone: no weights are made or read, so a little memory and time suffice."""
    report = quern.json("inspect", "--shape", shape, "--json", timeout=10, memory=2 << 30)
    assert report["parameters"] == parameters


def test_parameters_from_a_config_alone(quern, tmp_path):
    """inspect needs no weight file, only the files that it reads."""
    for name, model in golden_roots.models(golden_roots.OWN):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            (folder / file).write_bytes((model.path / file).read_bytes())
        assert quern.json("inspect", folder, "--json")["parameters"] == model.golden["parameters"], name


def test_inspect_speaks_to_people_too(quern):
    name, model = next(golden_roots.models(golden_roots.OWN))
    text = quern.ok("inspect", model.path).decode()
    digits = "".join(c for c in text if c.isdigit())
    assert str(model.golden["parameters"]) in digits, text
    assert model.golden["family"] in text


def test_unknown_shape_is_refused(quern):
    done = quern.run("inspect", "--shape", "nonsense-1b")
    assert done.returncode in (1, 2) and done.stderr.count(b"\n") >= 1, done
    assert b"nonsense-1b" in done.stderr
