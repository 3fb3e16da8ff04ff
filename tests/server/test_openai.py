"""OpenAI's own Python client against /v1: what its users call works without a change but the address."""

import pytest

openai = pytest.importorskip("openai")


@pytest.fixture
def client(fake):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{fake.port}/v1", api_key="none", max_retries=0)


MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]


def test_models(client):
    assert [m.id for m in client.models.list()] == ["small", "large"]


def test_plain(client):
    c = client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=3, temperature=0.5, top_p=0.9, seed=1, stop=["\n\n"])
    assert c.object == "chat.completion" and c.model == "small" and c.id.startswith("chatcmpl-")
    assert c.choices[0].message.content == "w0 w1 w2 " and c.choices[0].message.role == "assistant"
    assert c.choices[0].finish_reason == "length" and c.choices[0].logprobs is None
    assert c.usage.total_tokens == c.usage.prompt_tokens + 3
    c = client.chat.completions.create(model="small", messages=MESSAGES)
    assert c.choices[0].finish_reason == "stop"


def test_stream(client):
    chunks = list(client.chat.completions.create(model="small", messages=MESSAGES, max_completion_tokens=3, stream=True,
                                                 stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "w0 w1 w2 "
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 3
    assert len({c.id for c in chunks}) == 1
    without = list(client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=1, stream=True))
    assert all(c.usage is None for c in without)


def test_logprobs(client):
    c = client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=2, logprobs=True, top_logprobs=2)
    content = c.choices[0].logprobs.content
    assert [t.token for t in content] == ["w0 ", "w1 "] and [len(t.top_logprobs) for t in content] == [2, 2]
    chunks = client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=2, logprobs=True, stream=True)
    pieces = [c.choices[0].logprobs.content[0].token for c in chunks if c.choices and c.choices[0].logprobs]
    assert pieces == ["w0 ", "w1 "]


def test_the_answer_says_why(client):
    c = client.chat.completions.create(model="auto", messages=MESSAGES, max_tokens=1, extra_body={"priority": "quality"})
    assert c.model == "large" and "quality" in c.route["reason"]


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="nobody", messages=MESSAGES)
    assert e.value.code == "model_not_found" and e.value.param == "model"
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="small", messages=MESSAGES, n=2)
    assert e.value.param == "n"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="small", messages=MESSAGES, tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "!fail=busy"}])
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="small", messages=[{"role": "user", "content": "!failat=1"}], stream=True))


def test_a_stream_that_is_left(client, fake):
    stream = client.chat.completions.create(model="small", messages=[{"role": "user", "content": "!tokens=100000 !delay=5"}], stream=True)
    next(iter(stream))
    stream.close()
    fake.wait_for(lambda p: p["server"]["running"] == 0)


def test_two_retries_come_by_themselves(fake):
    """429 with Retry-After is what the client retries; it must not hang on it."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{fake.port}/v1", api_key="none", max_retries=1)
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "!fail=busy"}])


def test_websockets_library(fake):
    websockets = pytest.importorskip("websockets.sync.client")
    import json
    with websockets.connect(f"ws://127.0.0.1:{fake.port}/ws/stream", origin=f"http://127.0.0.1:{fake.port}") as ws:
        ws.send(json.dumps({"type": "generate", "id": "a", "prompt": "x", "max_tokens": 2}))
        events = [json.loads(ws.recv()) for _ in range(4)]
        assert [e["type"] for e in events] == ["start", "token", "token", "done"]
        ws.ping().wait(5)
        ws.send([json.dumps({"type": "cancel", "id": "a"})[i:i + 5] for i in range(0, 30, 5)])
        assert json.loads(ws.recv())["type"] == "error"
