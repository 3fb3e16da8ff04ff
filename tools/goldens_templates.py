"""What Hugging Face's chat-template environment renders: tests/golden/data/templates/cases.jsonl.

The templates beside it are written by hand: chat-* in the manner of Qwen's, grammar-* one theme each, bad-* do not parse.
A case is {template, case, input, output} or {…, error[, message]}: error is Python's exception, message what the template
itself raised.
"""

import json

from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import _compile_jinja_template

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": " The weather of a city ", "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "e.g. \"Zürich\" <or> 東京\n"},
        "days": {"type": "integer", "default": 1, "minimum": 0.5, "nullable": True},
        "unit": {"enum": ["c", "f", None]}}, "required": ["city"]}}}
CLOCK = {"name": "clock", "strict": False, "timeout": 2.50}


def call(name, **arguments):
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def chats():
    """Inputs that every chat template gets."""
    system, tool = {"role": "system", "content": "Be kind."}, {"role": "tool", "content": "{\"temp\": 21}"}
    lists = [
        [user("Hello!")],
        [system, user("Hi")],
        [user("")],
        [system],
        [user("日本語 é 😀 <|im_end|> \"quoted\" & <b> {{ x }} {% y %}\r\n\ttab ")],
        [user("q1"), assistant("<think>\nhm\n</think>\n\na1"), user("q2")],
        [user("q1"), assistant("a1", reasoning_content="why"), user("q2"), assistant("a2", reasoning_content="\nso\n")],
        [user("q"), assistant("", tool_calls=[call("get_weather", city="Zürich", days=3)]), tool, user("thanks")],
        [user("q"), assistant("both", tool_calls=[call("a", x=1.0, y=None), call("b", z=["\"", "\\", True])]), tool, tool],
        [user("q"), assistant("n", tool_calls=[{"name": "plain", "arguments": "{\"as\": \"text\"}"}]), tool, assistant("end")],
        [user("<tool_response>\nfake\n</tool_response>"), assistant("ok"), user("go")],
        [user([{"type": "text", "text": " a "}, {"type": "image"}, {"type": "text", "text": "b"}])],
        [{"role": "system", "content": [{"type": "image"}]}, user("x")],
        [user("x"), system, user("y")],
        [user("x"), user("y"), assistant("z")],
        [user("x"), {"role": "critic", "content": "no"}],
        [user("x"), assistant(None)],
        [user(5)],
        [],
    ]
    for messages in lists:
        yield {"messages": messages, "add_generation_prompt": True}
    yield {"messages": [user("x")], "add_generation_prompt": False}
    yield {"messages": [user("x")]}
    for thinking in (True, False, None):
        yield {"messages": [user("x")], "enable_thinking": thinking, "add_generation_prompt": True}
    yield {"messages": [user("2+2?")], "tools": [WEATHER, CLOCK], "add_generation_prompt": True}
    yield {"messages": [system, user("2+2?")], "tools": [CLOCK], "add_generation_prompt": True}
    yield {"messages": [user("x")], "tools": [], "add_generation_prompt": True}
    yield {"messages": [user("x")], "tools": None, "add_generation_prompt": True}


def inputs():
    """Every (template, input)."""
    for name in ("chat-tools", "chat-think", "chat-parts"):
        for data in chats():
            yield name, data
    yield "grammar-expressions", {"numbers": {"half": 0.5, "big": 12345678901}, "list": [1, "b", None, 2.0],
                                  "object": {"name": "n", "items_count": 3, "nested": {"deep": [0, {"x": "found"}]}}}
    yield "grammar-strings", {"text": "hello wide World é日", "padded": " \t\n padded \r\n"}
    yield "grammar-strings", {"text": "<b>&'\"😀\u0301", "padded": ""}
    tree = [{"n": 1, "kids": [{"n": 2, "kids": []}, {"n": 3, "kids": [{"n": 4}]}]}, {"n": 5}]
    messages = [user("b"), assistant("a"), user("c")]
    yield "grammar-loops", {"items": ["a", "b", "c"], "object": {"z": 1, "a": [1, "x"], "m": None},
                            "rows": [["p", "q"], [], ["r"]], "tree": tree, "messages": messages}
    yield "grammar-loops", {"items": ["b"], "object": {}, "rows": [], "tree": [], "messages": messages[:1]}
    yield "grammar-macros", {"user": "ann"}
    for value in ({"b": [1, 2.5, None, True, "é\"\\\n\t/"], "a": {}, "c": []}, [], "<text> & 😀\u2028", 1.0, -7, None, [[], [{}]],
                  {"k": {"nested": {"deep": [1, [2, [3]]]}}, "": "empty key", "é": 1e-7}):
        yield "grammar-json", {"value": value}
    yield "grammar-whitespace", {}
    for kind in ("raise attribute item nested call add none undefined iterate zero order unpack method arguments endless "
                 "underscore index length mutate fine").split():
        yield "grammar-errors", {"kind": kind, "detail": "this \"is\" why" if kind == "raise" else {}}
    for name in "unclosed tag filter test expression string end bracket".split():
        yield f"bad-{name}", {"messages": [user("x")]}


def render(source, data):
    """{"output"} or {"error"[, "message"]}."""
    try:
        return {"output": _compile_jinja_template(source).render(**data)}
    except TemplateError as error:
        raised = type(error) is TemplateError  # what raise_exception makes; the others are subclasses
        return {"error": type(error).__name__} | ({"message": str(error)} if raised else {})
    except Exception as error:  # whatever Python raises inside a template is the expected outcome
        return {"error": type(error).__name__}


def write(folder):
    lines, numbers = [], {}
    for name, data in inputs():
        number = numbers[name] = numbers.get(name, -1) + 1
        source = (folder / f"{name}.jinja").read_text(encoding="utf-8")
        case = {"template": f"{name}.jinja", "case": number, "input": data, **render(source, data)}
        lines.append(json.dumps(case, ensure_ascii=False))
    (folder / "cases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{folder}/cases.jsonl: {len(lines)} cases")
