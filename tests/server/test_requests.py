"""The fields of a request: every field with good and bad values, on REST, WebSocket and OpenAI's form; errors name the field."""

import json

import pytest
from server_client import RawSocket

BIG = 2**53 + 1
INT_MIN, INT_MAX = -2**31, 2**31 - 1
ODD = ["text", "", None, [], {}, [1], True, "1", float("1e308")]
WHOLE = ODD + [0.5, -0.5, INT_MIN, BIG, INT_MAX + 1]

# field: (good values, bad values)
FIELDS = {
    "max_tokens": ([1, 100, INT_MAX], WHOLE + [0, -1]),
    "min_tokens": ([0, 2], WHOLE + [-1]),
    "top_k": ([0, 1, INT_MAX], WHOLE + [-1]),
    "logprobs": ([0, 1, 20], WHOLE + [-1, 21, INT_MAX]),
    "num_beams": ([1, 16], WHOLE + [0, -1, 17, INT_MAX]),
    "n_best": ([1], WHOLE + [0, -1, 17, INT_MAX]),
    "temperature": ([0, 0.0, 0.7, 1, 2], ODD + [-1, -0.001, INT_MIN, BIG]),
    "top_p": ([0.0, 0.9, 1, 1.0], ODD + [-1, 1.1, INT_MIN, INT_MAX, BIG]),
    "min_p": ([0, 0.05, 1], ODD + [-1, 1.1, INT_MIN, INT_MAX, BIG]),
    "repetition_penalty": ([0.5, 1, 1.3], ODD + [0, -1, INT_MIN, BIG, 1e-60]),
    "presence_penalty": ([-2, 0, 2], ODD + [-2.1, 2.1, INT_MIN, INT_MAX, BIG]),
    "frequency_penalty": ([-2, 0, 2], ODD + [-2.1, 2.1, INT_MIN, INT_MAX, BIG]),
    "length_penalty": ([-1, 0, 1.5], ODD + [INT_MIN, INT_MAX, BIG]),
    "seed": ([0, 1, INT_MAX, BIG, 2**63 - 1], ODD + [-1, 0.5, INT_MIN, 2**63, 2**64, 10**400]),
    "deadline_ms": ([0, 60000, 60000.5], ODD + [-1, INT_MIN, BIG]),
    "strategy": (["greedy", "sampling", "top_k", "top_p", "beam"], ODD + ["Greedy", "greedy ", 0, 1, -1]),
    "early_stopping": ([True, False, "never"], ["text", "", None, [], {}, "true", "false", 0, 1, "Never"]),
    "ignore_eos": ([True, False], [v for v in WHOLE if v is not True] + [0, 1]),
    "stream": ([True, False], [v for v in WHOLE if v is not True] + [0, 1]),
    "stop": (["x", ["x"], ["a", "b"], [], ["x"] * 16, "é\n"],
             ["", [""], ["a", ""], None, 1, True, {}, [1], [None], [["a"]], ["x"] * 17]),
    "model": (["auto", "small", "large"], ["", None, 1, True, [], {}, ["small"]]),
    "priority": (["speed", "balanced", "quality"], ODD + ["Speed", 0, -1]),
    "prompt": (["x", "\n", "é", "a\t\"\\b", "\U0001f600"], ["", None, 1, 0.5, True, [], {}, ["x"], [1, 2]]),
}
MINIMUM = {"prompt": "hi", "max_tokens": 2}


def cases(which):
    return [pytest.param(name, value, id=f"{name}={json.dumps(value)[:40]}") for name, row in FIELDS.items() for value in row[which]]


@pytest.mark.parametrize("name, value", cases(0))
def test_good_values(fake, name, value):
    r = fake.post("/generate", {**MINIMUM, "strategy": "beam", "num_beams": 4, name: value} if name == "n_best"
                  else {**MINIMUM, name: value})
    assert r.status == 200, r


@pytest.mark.parametrize("name, value", cases(1))
def test_bad_values(fake, name, value):
    r = fake.post("/generate", {**MINIMUM, name: value})
    assert r.status == 400, r
    # What is no number at all in JSON's own terms is refused with the text.
    if not isinstance(value, int) or abs(value) < 2**63:
        assert r.error["param"] == name and r.error["message"].startswith(name), r
    assert r.error["code"] == "argument" and r.error["type"] == "invalid_request_error"


def test_the_same_table_on_a_websocket(fake):
    with RawSocket(fake) as ws:
        n = 0
        for name, (good, bad) in FIELDS.items():
            for value in bad:
                if isinstance(value, int) and abs(value) >= 2**63:
                    continue
                n += 1
                ws.send_json({"type": "generate", "id": n, **MINIMUM, name: value})
                answer = ws.read_json()
                assert answer["type"] == "error" and answer["id"] == n and answer["error"]["param"] == name, answer
        ws.send_json({"type": "generate", "id": "still", **MINIMUM})
        assert ws.read_json()["type"] == "start"
        assert [ws.read_json()["type"] for _ in range(3)] == ["token", "token", "done"]


def test_fields_reach_the_engine(fake):
    sent = {"max_tokens": 3, "min_tokens": 1, "top_k": 7, "top_p": 0.5, "min_p": 0.25, "temperature": 0.75, "repetition_penalty": 1.5,
            "presence_penalty": 0.5, "frequency_penalty": -0.5, "seed": 2**63 - 1, "length_penalty": 2, "num_beams": 3,
            "n_best": 2, "deadline_ms": 60000, "logprobs": 4, "strategy": "top_p", "early_stopping": "never", "ignore_eos": True}
    text = fake.generate(prompt="!params", stop=["a b", "c"], **sent)["text"].split("w1")[0]
    got = dict(p.split("=") for p in text.strip(";").split(";"))
    assert got.pop("stop") == "c"
    assert {k: float(v) for k, v in got.items()} == pytest.approx(
        {**sent, "strategy": 3, "early_stopping": 2, "ignore_eos": 1})
    assert got["seed"] == str(2**63 - 1), "all 63 bits"


def test_what_is_absent_is_not_given(fake):
    assert fake.generate(prompt="!params", max_tokens=1)["text"] == "max_tokens=1;"


def test_the_issues_own_request(fake):
    r = fake.post("/generate", {"model": "small", "max_tokens": 100, "temperature": 0.7, "priority": "speed", "prompt": "x"})
    assert r.status == 200 and r.json()["model"] == "small"


@pytest.mark.parametrize("name, near", [("max_token", "max_tokens"), ("Temperature", "temperature"), ("topp", "top_p"), ("n_predict", None),
                                        ("message", "messages"), ("stop_", "stop"), ("n", None), ("x" * 5000, None), ("a\nb", None),
                                        ("type", None), ("id", None), ("", None), ("é", None)])
def test_unknown_fields_name_the_nearest(fake, name, near):
    r = fake.post("/generate", {**MINIMUM, name: 1})
    assert r.status == 400 and r.error["code"] == "argument"
    assert ("the nearest is " + near in r.error["message"]) if near else True, r
    assert "\n" not in r.error["message"] and len(r.error["message"]) < 500


@pytest.mark.parametrize("body", [
    b"", b" ", b"null", b"[]", b"1", b'"x"', b"true", b"{", b"}", b"{}", b"{]", b'{"prompt"}', b'{"prompt":"x",}', b"{'prompt':'x'}",
    b'\xef\xbb\xbf{"prompt":"x"}', '{"prompt":"x"}'.encode("utf-16"), b'{"prompt":"\xff"}', b'{"prompt":"\xc0\xaf"}',
    b'{"prompt":"\xed\xa0\x80"}', b'{"prompt":"\\ud800"}', b'{"prompt":"\\u0000"}', b'{"prompt":"a\x00b"}', b'{"prompt":"a\nb"}',
    b'{"prompt":"x","prompt":"y"}', b'{"prompt":"x"} trailing', b'{"prompt":"x"}{"prompt":"x"}', b'{"prompt":"x","temperature":NaN}',
    b'{"prompt":"x","temperature":Infinity}', b'{"prompt":"x","temperature":1e999}', b'{"prompt":"x","top_k":0x10}',
    b'{"prompt":"x","top_k":01}', b'{"prompt":"x","top_k":+1}', b'{"prompt":"x","seed":' + b"9" * 100000 + b"}", b"[" * 100000,
    b'{"a":' * 100000, b'{"prompt":"x","stop":' + b"[" * 80 + b"]" * 80 + b"}", b'{"prompt":"' + b"\\" * 99999 + b'"}',
    b"{" + b",".join(b'"k%d":1' % i for i in range(100000)) + b"}", b"\x00", b"/*c*/{}", b'{"prompt":"x"//c\n}'],
    ids=lambda b: repr(b[:30]))
def test_bad_json(fake, body):
    r = fake.post("/generate", body)
    assert r.status == 400, r
    assert r.error["type"] == "invalid_request_error" and r.error["message"]
    assert fake.is_well()


def test_nesting_to_64_is_parsed(fake):
    r = fake.post("/generate", b'{"prompt":"x","stop":' + b"[" * 63 + b"]" * 63 + b"}")
    assert r.error["param"] == "stop"
    r = fake.post("/generate", b'{"prompt":"' + b"[{" * 100 + b'","max_tokens":1}')
    assert r.status == 200, "brackets in a string are no nesting"


def test_hostile_bodies_cost_little(fake):
    import time
    start = time.monotonic()
    for body in (b"[" * (8 << 20), b'{"a":' * (2 << 20), b"{" + b",".join(b'"%07d":1' % i for i in range(500000)) + b"}"):
        assert fake.post("/generate", body).status == 400
    assert time.monotonic() - start < 20


# ---- prompts and messages ----

USER = {"role": "user", "content": "hi"}

BAD_MESSAGES = [
    ([], "messages"), ({}, "messages"), ("hi", "messages"), (None, "messages"), (1, "messages"), ([1], "messages[0]"),
    ([None], "messages[0]"), ([{}], "messages[0].role"), ([{"role": "user"}], "messages[0].content"), ([USER, []], "messages[1]"),
    ([{"role": "robot", "content": "x"}], "messages[0].role"), ([{"role": 1, "content": "x"}], "messages[0].role"),
    ([{"role": "", "content": "x"}], "messages[0].role"), ([USER, {"role": "User", "content": "x"}], "messages[1].role"),
    ([{"role": "user", "content": None}], "messages[0].content"), ([{"role": "user", "content": 1}], "messages[0].content"),
    ([{"role": "user", "content": {}}], "messages[0].content"), ([{"role": "assistant", "content": None}], "messages[0].content"),
    ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], "messages[0].content"),
    ([{**USER, "flavour": "x"}], "messages[0].flavour"), ([{**USER, "name": 1}], "messages[0].name"),
    ([{"role": "assistant", "content": "", "tool_calls": 1}], "messages[0].tool_calls"),
    ([{"role": "assistant", "content": "", "tool_calls": [{}]}], "messages[0].tool_calls"),
    ([{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": 1}}]}], "messages[0].tool_calls"),
]


@pytest.mark.parametrize("messages, param", BAD_MESSAGES, ids=lambda v: json.dumps(v)[:50])
def test_bad_messages(fake, messages, param):
    r = fake.post("/generate", {"messages": messages, "max_tokens": 1})
    assert r.status == 400 and r.error["param"] == param, r


@pytest.mark.parametrize("fields", [{}, {"prompt": "x", "messages": [USER]}, {"tools": [{}], "prompt": "x"}, {"messages": [USER], "tools": []},
                                    {"messages": [USER], "tools": {}}, {"messages": [USER], "tools": [1]},
                                    {"messages": [USER], "tools": [{}] * 129}])
def test_prompt_messages_and_tools_together(fake, fields):
    r = fake.post("/generate", {**fields, "max_tokens": 1})
    assert r.status == 400 and r.error["param"] in ("prompt", "tools"), r


def template_variables(fake, **fields):
    text = fake.generate(max_tokens=1, **fields)["text"]
    return json.loads(text)


def test_messages_become_the_templates_variables(fake):
    messages = [{"role": "system", "content": "!echo é\n\"\\"}, USER,
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":[2.5]}"}}]},
                {"role": "tool", "content": "3", "tool_call_id": "1", "name": "f"},
                {"role": "assistant", "content": "x", "reasoning_content": "because"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "y": 0.1}}}]
    got = template_variables(fake, messages=messages, tools=tools)
    assert got["add_generation_prompt"] is True and got["tools"] == tools
    messages[2]["tool_calls"][0]["function"]["arguments"] = {"b": 1, "a": [2.5]}
    assert got["messages"] == messages
    assert list(got["tools"][0]["function"]["parameters"]) == ["z", "y"], "the order is the client's"


# ---- OpenAI's form ----

CHAT = {"model": "small", "messages": [USER], "max_tokens": 2}


def chat(fake, **fields):
    return fake.post("/v1/chat/completions", {**CHAT, **fields})


@pytest.mark.parametrize("fields", [
    {"n": 1}, {"n": None}, {"stop": None}, {"temperature": None, "top_p": None}, {"tools": None}, {"tools": []}, {"tool_choice": "none"},
    {"response_format": {"type": "text"}}, {"user": "u"}, {"metadata": {"a": "b"}}, {"store": False}, {"logit_bias": {}},
    {"max_tokens": None}, {"max_tokens": None, "max_completion_tokens": 3}, {"seed": 1}, {"stop": ["a"]}, {"priority": "quality"},
    {"logprobs": False}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 20}, {"stream": False}, {"modalities": ["text"]},
    {"presence_penalty": 1, "frequency_penalty": -1}, {"stream_options": None}, {"parallel_tool_calls": True}, {"model": "auto"},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
    {"messages": [USER, {"role": "assistant", "content": "x", "refusal": None}, USER]}, {"top_k": 5, "min_p": 0.1}, {"service_tier": "auto"}])
def test_openai_good(fake, fields):
    r = chat(fake, **fields)
    assert r.status == 200, r
    assert r.json()["choices"][0]["message"]["role"] == "assistant"


@pytest.mark.parametrize("fields, param", [
    ({"n": 2}, "n"), ({"n": 0}, "n"), ({"n": "1"}, "n"), ({"tools": [{"type": "function"}]}, "tools"), ({"functions": [{}]}, "functions"),
    ({"function_call": "auto"}, "function_call"), ({"tool_choice": "required"}, "tool_choice"), ({"tool_choice": {"type": "function"}}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"), ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"response_format": 1}, "response_format"), ({"logit_bias": {"5": 1}}, "logit_bias"), ({"logprobs": 1}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"), ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"), ({"modalities": ["audio"]}, "modalities"), ({"audio": {"voice": "x"}}, "audio"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"), ({"max_tokens": -1}, "max_tokens"), ({"model": None}, "model"), ({"model": 1}, "model"),
    ({"messages": None}, "messages"), ({"messages": []}, "messages"), ({"prompt": "x"}, "prompt"), ({"stop": ["x"] * 17}, "stop"),
    ({"stream_options": 1}, "stream_options"), ({"stream_options": {"include_usage": 1}}, "stream_options"), ({"temperature": "x"}, "temperature"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"), ({"max_token": 5}, "max_token"),
    ({"reasoning_effort": "high"}, "reasoning_effort"), ({"prediction": {"type": "content"}}, "prediction")],
    ids=lambda v: json.dumps(v)[:50])
def test_openai_bad(fake, fields, param):
    r = chat(fake, **fields)
    assert r.status == 400 and r.error["param"] == param, r


def test_openai_parts_are_joined(fake):
    r = chat(fake, max_tokens=1, messages=[{"role": "user", "content": [{"type": "text", "text": "!ec"}, {"type": "text", "text": "ho é"}]}])
    assert json.loads(r.json()["choices"][0]["message"]["content"])["messages"][0]["content"] == "!echo é"


def test_unknown_models(fake):
    r = fake.post("/generate", {**MINIMUM, "model": "nobody"})
    assert r.status == 404 and r.error["param"] == "model" and r.error["code"] == "not_found"
    r = chat(fake, model="nobody")
    assert r.status == 404 and r.error["code"] == "model_not_found" and r.error["param"] == "model"
