"""ChatML as the models' chat template renders it.

render() is the template in Python, so that millions of documents can be made without Jinja;
tests/tools/test_corpus.py holds the two against each other.
"""

import json
import pathlib

TEMPLATE = (pathlib.Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8").rstrip("\n")
DEFAULT_SYSTEM = "You are a tiny demonstration model of Quern."

_TOOLS_HEAD = ("\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
               "You are provided with function signatures within <tools></tools> XML tags:\n<tools>")
_TOOLS_TAIL = ("\n</tools>\n\nFor each function call, return a json object with function name and arguments "
               "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
               '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n')


def tojson(value):
    return json.dumps(value, ensure_ascii=False)


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def tool_call(name, arguments):
    return {"role": "assistant", "content": "",
            "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}


def tool_result(value):
    return {"role": "tool", "content": tojson(value)}


def call_text(name, arguments):
    """A tool call as the model writes it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {tojson(arguments)}}}\n</tool_call>'


def _assistant_block(message):
    calls = message.get("tool_calls") or []
    if not calls:
        return "\n" + message["content"]
    head = "\n" + message["content"] if message["content"] else ""
    return head + "".join("\n" + call_text(c["function"]["name"], c["function"]["arguments"]) for c in calls)


def render(messages, tools=None, add_generation_prompt=False):
    """The prompt for these messages, as chat_template.jinja renders it (one tool result at a time)."""
    first_is_system = messages[0]["role"] == "system"
    head = messages[0]["content"] if first_is_system else DEFAULT_SYSTEM
    if tools:
        head += _TOOLS_HEAD + "".join("\n" + tojson(tool) for tool in tools) + _TOOLS_TAIL
    else:
        head += "<|im_end|>\n"
    parts = ["<|im_start|>system\n" + head]
    for message in messages[first_is_system:]:
        if message["role"] == "tool":
            parts.append(f"<|im_start|>user\n<tool_response>\n{message['content']}\n</tool_response><|im_end|>\n")
        elif message["role"] == "assistant":
            parts.append(f"<|im_start|>assistant{_assistant_block(message)}<|im_end|>\n")
        else:
            parts.append(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n")
    if add_generation_prompt:
        parts.append("<|im_start|>assistant\n")
    return "".join(parts)
