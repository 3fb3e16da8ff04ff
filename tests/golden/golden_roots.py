"""Where goldens lie: the project's own (tests/golden/data) and those of ../shared, which may be absent and then skip."""

import json
import os
import pathlib
from dataclasses import dataclass

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SHARED = pathlib.Path(os.environ.get("QUERN_SHARED") or HERE.parent.parent.parent / "shared")


@dataclass
class Root:
    name: str
    golden: pathlib.Path      # models/, templates/cases.jsonl, tokenizer/*.jsonl
    templates: pathlib.Path   # the *.jinja that the cases name
    tokenizers: pathlib.Path  # a folder for each tokenizer/*.jsonl


OWN = Root("own", HERE / "data", HERE / "data" / "templates", HERE / "data" / "tokenizers")
ROOTS = [OWN, Root("shared", SHARED / "golden", SHARED / "data" / "templates", SHARED / "data" / "tokenizers")]


def absent(root):
    """A parameter that shows in the report what was not run, and why."""
    reason = f"{root.golden} is absent: set QUERN_SHARED to the folder that holds golden/ and data/"
    return pytest.param(None, id=f"{root.name}-absent", marks=pytest.mark.skip(reason=reason))


def over_roots(items):
    """pytest parameters: items(root) yields (id, value); a root that is not there gives one visible skip."""
    params = []
    for root in ROOTS:
        if root is not OWN and not root.golden.is_dir():
            params.append(absent(root))
            continue
        found = [pytest.param(value, id=f"{root.name}-{name}") for name, value in items(root)]
        assert found, f"{root.golden} holds none of the goldens sought"
        params += found
    return params


@dataclass
class Model:
    path: pathlib.Path
    golden: dict

    @property
    def is_f32(self):
        return self.golden["dtype"] == "float32"


def models(root):
    for path in sorted((root.golden / "models").iterdir()):
        yield path.name, Model(path, json.loads((path / "golden.json").read_text()))


def model_cases(root):
    for name, model in models(root):
        for number, case in enumerate(model.golden["cases"]):
            yield f"{name}-{number}", (model, case)


def json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def words(ids):
    """Token ids as --tokens takes them."""
    return " ".join(map(str, ids))
