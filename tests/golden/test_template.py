"""quern template: chat templates rendered as Hugging Face renders them, byte for byte, errors included."""

import datetime
import json
import re

import golden_roots
import pytest


def cases(root):
    for case in golden_roots.json_lines(root.golden / "templates" / "cases.jsonl"):
        name = case["template"].removesuffix(".jinja")
        yield f"{name}-{case['case']}", (root.templates / case["template"], case)


def model_with(tmp_path, template):
    """MODEL is a directory; template reads chat_template.jinja there and nothing else."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "chat_template.jinja").write_bytes(template if isinstance(template, bytes) else template.encode())
    return folder


def render_args(tmp_path, template, data):
    (tmp_path / "input.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return "template", model_with(tmp_path, template), tmp_path / "input.json"


def messages_raised(source):
    """What raise_exception can say in a template: literals, up to where something is joined to them."""
    return [m[1] for m in re.findall(r"raise_exception\(\s*(['\"])(.*?)\1", source)]


@pytest.mark.parametrize("path_case", golden_roots.over_roots(cases))
def test_template(quern, path_case, tmp_path):
    path, case = path_case
    args = render_args(tmp_path, path.read_bytes(), case["input"])
    if "output" in case:
        out = quern.ok(*args, timeout=10)
        assert out.decode() == case["output"]
        return
    line = quern.refused(*args, timeout=10)
    if "message" in case:
        assert case["message"] in line
    elif case["error"] == "TemplateError":
        assert any(message in line for message in messages_raised(path.read_text())), line


def test_strftime_now(quern, tmp_path):
    args = render_args(tmp_path, "{{ strftime_now('%Y-%m-%d') }}|{{ strftime_now('%d %B %Y, %H') | length > 12 }}", {"messages": []})
    before = datetime.date.today()
    out = quern.ok(*args).decode()
    assert out in (f"{day:%Y-%m-%d}|True" for day in (before, datetime.date.today()))


LIMITS = {
    "steps": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "range": "{{ range(1000000000000) | list }}",
    "output": "{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}",
    "doubling": "{% set ns = namespace(s='x') %}{% for a in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "repeat": "{{ 'x' * 10000000000 }}",
    "lists": "{% set ns = namespace(s=[1]) %}{% for a in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "replace": "{% set ns = namespace(s='aa') %}{% for a in range(64) %}{% set ns.s = ns.s.replace('a', 'aa') %}{% endfor %}",
    "recursion": "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "parentheses": "{{ " + "(" * 100000 + "1" + ")" * 100000 + " }}",
    "nested-if": "{% if true %}" * 100000 + "{% endif %}" * 100000,
    "minus": "{{ " + "-" * 100000 + "1 }}",
    "nots": "{{ " + "not " * 100000 + "1 }}",
    "indent": "{{ [1] | tojson(indent=1000000000) }}",
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(quern, tmp_path, name):
    """Depth 64, 1e6 steps, 8 MiB: what asks for more is refused soon, in little memory."""
    line = quern.refused(*render_args(tmp_path, LIMITS[name], {"messages": []}), timeout=10, memory=2 << 30)
    assert "chat_template.jinja" in line


def test_deep_input(quern, tmp_path):
    value = "[" * 50000 + "]" * 50000
    (tmp_path / "input.json").write_text('{"messages": ' + value + "}")
    quern.refused("template", model_with(tmp_path, "{{ messages }}"), tmp_path / "input.json", timeout=10, memory=2 << 30)


def test_template_of_tokenizer_config(quern, tmp_path):
    """A directory without chat_template.jinja: the template stands in tokenizer_config.json, whole or in a named list."""
    (tmp_path / "input.json").write_text('{"messages": [{"role": "user", "content": "hé"}]}')
    source = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    for number, value in enumerate((source, [{"name": "tool_use", "template": "no"}, {"name": "default", "template": source}])):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
        assert quern.ok("template", folder, tmp_path / "input.json").decode() == "<hé>"
        (folder / "chat_template.jinja").write_text("file first")
        assert quern.ok("template", folder, tmp_path / "input.json") == b"file first"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"messages": 1} x', "\xff"], ids=["empty", "array", "cut", "trailing", "latin1"])
def test_bad_input_is_refused(quern, tmp_path, text):
    (tmp_path / "input.json").write_bytes(text.encode("latin-1"))
    line = quern.refused("template", model_with(tmp_path, "x"), tmp_path / "input.json")
    assert "input.json" in line


def test_no_template_is_refused(quern, tmp_path):
    (tmp_path / "input.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    line = quern.refused("template", tmp_path / "empty", tmp_path / "input.json")
    assert "chat_template" in line
