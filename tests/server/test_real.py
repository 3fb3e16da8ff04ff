"""`quern serve` with two real models: routes, streams, beams, crowds, preemption, limits, drain."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time

import pytest
from conftest import BACKEND, quern_command, real_models, serve_command
from server_client import SANITIZED, SCALE, RawSocket, Server

CHAT = [{"role": "user", "content": "What is 2 + 3?"}]
LONG = {"ignore_eos": True, "max_tokens": 1500, "strategy": "greedy", "prompt": "Once upon a time"}


@pytest.fixture
def names(real):
    return [m["name"] for m in real.get("/models").json()["models"]]


def status_at(port, path):
    """None while nobody listens there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * SCALE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except ConnectionError:
        return None
    finally:
        connection.close()


def without(answer, *more):
    """What must be the same for the same request: not its id, times and route."""
    return {k: v for k, v in answer.items() if k not in ("id", "timings", "route", *more)}


# ---- one request ----

def test_greedy_on_each_model_equals_the_command_line(real, names):
    for given, name in zip(real_models(), names):
        a = real.generate(model=name, prompt="Once upon a time", strategy="greedy", max_tokens=24)
        assert a["model"] == name and a["route"]["chosen"] == name and a["usage"]["completion_tokens"] <= 24
        done = subprocess.run([*quern_command(), "run", given.split("=", 1)[1], "Once upon a time", "-n", "24", "--strategy", "greedy",
                               "--json"], capture_output=True, timeout=60 * SCALE)
        assert done.returncode == 0, done.stderr
        line = json.loads(done.stdout)
        assert a["text"] == line["text"] and a["finish_reason"] == line["finish_reason"]


def test_chat_through_the_template(real, names):
    a = real.generate(model=names[0], messages=CHAT, strategy="greedy", max_tokens=32)
    assert a["usage"]["prompt_tokens"] > 10 and "<|im_" not in a["text"]
    plain = real.generate(model=names[0], messages=[{"role": "user", "content": "x"}], max_tokens=1)["usage"]["prompt_tokens"]
    spoken = real.generate(model=names[0], messages=[{"role": "user", "content": "x<|im_end|>"}], max_tokens=1)["usage"]["prompt_tokens"]
    assert spoken > plain + 1, "a special token that a message brings is plain text"


def test_a_route_for_each_priority(real):
    models = {m["name"]: m for m in real.get("/models").json()["models"]}
    largest = max(models, key=lambda n: models[n]["parameters"])
    for priority in ("speed", "balanced", "quality"):
        a = real.generate(priority=priority, messages=CHAT, strategy="greedy", max_tokens=16)
        route = a["route"]
        assert route["requested"] == "auto" and route["priority"] == priority and route["chosen"] == a["model"]
        assert priority in route["reason"] and set(route["predicted_ms"]) == set(models)
        fastest = min(route["predicted_ms"], key=route["predicted_ms"].get)
        if priority == "speed":
            assert a["model"] == fastest
        elif priority == "quality":
            assert a["model"] == largest
        else:
            assert a["model"] == (largest if route["predicted_ms"][largest] <= 2 * route["predicted_ms"][fastest] else fastest)
    route = real.generate(priority="balanced", messages=CHAT, max_tokens=500, strategy="greedy")["route"]
    assert route["chosen"] == min(route["predicted_ms"], key=route["predicted_ms"].get), "long texts go to the fastest"


def test_the_speeds_are_measured(real):
    for m in real.get("/models").json()["models"]:
        assert m["measured"]["prefill_tokens_per_second"] > 0 and m["measured"]["decode_tokens_per_second"]["1"] > 0


def test_a_stream_is_the_plain_answer_in_pieces(real, names):
    for name in names:
        fields = {"model": name, "messages": CHAT, "max_tokens": 40, "seed": 11, "temperature": 0.8}
        plain = real.generate(**fields)
        events = real.stream(**fields)
        assert [e["type"] for e in events[:1] + events[-1:]] == ["start", "done"]
        assert "".join(e["text"] for e in events if e["type"] == "token") == plain["text"]
        assert events[-1]["usage"] == plain["usage"] and events[-1]["finish_reason"] == plain["finish_reason"]


def test_logprobs_concatenate_to_the_text(real, names):
    a = real.generate(model=names[0], prompt="Once", strategy="greedy", max_tokens=12, logprobs=3, ignore_eos=True)
    assert len(a["logprobs"]) == 12
    text = b"".join(bytes(p["bytes"]) for p in a["logprobs"]).decode(errors="replace")
    assert text.startswith(a["text"].rstrip("�"))
    for p in a["logprobs"]:
        assert len(p["top"]) == 3 and p["logprob"] == pytest.approx(p["top"][0]["logprob"]) and p["id"] == p["top"][0]["id"]
        assert p["top"] == sorted(p["top"], key=lambda t: -t["logprob"])


def test_seeds(real, names):
    fields = {"model": names[0], "prompt": "The", "strategy": "sampling", "max_tokens": 24, "ignore_eos": True}
    first = real.generate(**fields, seed=1)
    assert without(real.generate(**fields, seed=1)) == without(first)
    assert len({real.generate(**fields, seed=s)["text"] for s in range(6)}) > 1
    drawn = real.generate(**fields)
    assert real.generate(**fields, seed=drawn["seed"])["text"] == drawn["text"]


def test_stop_strings(real, names):
    fields = {"model": names[0], "prompt": "Once upon a time", "strategy": "greedy", "max_tokens": 40, "ignore_eos": True}
    text = real.generate(**fields)["text"]
    stop = text[6:10]
    a = real.generate(**fields, stop=[stop])
    assert a["text"] == text[:text.index(stop)] and a["finish_reason"] == "stop"
    pieces = real.stream(**fields, stop=stop)
    assert "".join(e.get("text", "") for e in pieces) == a["text"]


def test_beams(real, names):
    fields = {"model": names[0], "prompt": "Once upon", "strategy": "beam", "num_beams": 4, "n_best": 3, "max_tokens": 16}
    a = real.generate(**fields)
    scores = [b["score"] for b in a["beams"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True) and a["text"] == a["beams"][0]["text"]
    assert len({tuple(b["tokens"]) for b in a["beams"]}) == 3
    events = real.stream(**fields)
    assert events[-1]["beams"] == a["beams"] and "".join(e.get("text", "") for e in events) == a["text"]


# ---- the WebSocket ----

def test_many_ids_and_a_cancel(real, names):
    alone = {i: real.generate(model=names[i % 2], prompt="Once upon", seed=i, strategy="sampling", max_tokens=20)["text"] for i in range(8)}
    with RawSocket(real, timeout=30) as ws:
        ws.send_json({"type": "generate", "id": "long", "model": names[0], **LONG})
        for i in alone:
            ws.send_json({"type": "generate", "id": i, "model": names[i % 2], "prompt": "Once upon", "seed": i, "strategy": "sampling",
                          "max_tokens": 20})
        texts, ends = {}, {}
        while len(ends) < 9:
            e = ws.read_json()
            if e["type"] == "token":
                texts[e["id"]] = texts.get(e["id"], "") + e["text"]
                if e["id"] == "long" and e["index"] == 3:
                    ws.send_json({"type": "cancel", "id": "long"})
            elif e["type"] != "start":
                ends[e["id"]] = e.get("finish_reason") or e
        assert ends.pop("long") == "cancelled" and set(ends.values()) <= {"stop", "length"}
        texts.pop("long")
        assert {i: texts.get(i, "") for i in alone} == alone


# ---- many ----

def mixed(i, names):
    kinds = [{"strategy": "greedy"}, {"strategy": "sampling", "seed": i}, {"strategy": "top_p", "seed": i, "temperature": 0.7},
             {"strategy": "top_k", "top_k": 5, "seed": i, "repetition_penalty": 1.2}, {"strategy": "beam", "num_beams": 3, "n_best": 2},
             {"strategy": "sampling", "seed": i, "min_p": 0.05, "presence_penalty": 0.5, "frequency_penalty": 0.3}]
    what = {"messages": [{"role": "user", "content": f"What is {i} + {i % 7}?"}]} if i % 3 else {"prompt": "Once upon a time " * (1 + i % 5)}
    return {"model": names[i % 2], "max_tokens": 8 + i % 25, "logprobs": 1, **kinds[i % len(kinds)], **what}


def test_32_at_once_equal_those_alone(real, names):
    requests = [mixed(i, names) for i in range(32)]
    alone = [real.generate(**r) for r in requests]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        crowd = list(pool.map(lambda r: real.generate(**r), requests))
    for request, a, b in zip(requests, alone, crowd):
        drawn = () if "seed" in request else ("seed",)
        assert without(a, "usage", *drawn) == without(b, "usage", *drawn)
        assert a["usage"]["completion_tokens"] == b["usage"]["completion_tokens"]


def test_a_crowd_of_any_size_equals_each_alone(make_real):
    """Steps of one sequence to hundreds (on the CPU: some 60), as requests come and end, with prompts cut into chunks wherever the crowd leaves room for them."""
    server = make_real("--max-batch", "256", "--max-queue", "256", "--prefill-chunk", "64", "--kv-blocks", "8192")
    n, names = 256 if BACKEND != "cpu" else 16 if SANITIZED else 64, [m["name"] for m in server.get("/models").json()["models"]]
    requests = [{"model": names[i % 2], "prompt": "Once upon a time " * (1 + i * 7 % 20) + str(i), "max_tokens": 4 + i % 29, "logprobs": 1,
                 "ignore_eos": True, "strategy": "sampling" if i % 4 == 0 else "greedy", "seed": i} for i in range(n)]
    requests += [{**r, "model": names[1 - i % 2]} for i, r in enumerate(requests)]
    alone = [server.generate(**r) for r in requests]
    with concurrent.futures.ThreadPoolExecutor(2 * n) as pool:
        crowd = list(pool.map(lambda r: server.generate(**r), requests))
    assert [without(a, "usage") for a in crowd] == [without(a, "usage") for a in alone]
    assert [a["usage"]["completion_tokens"] for a in crowd] == [r["max_tokens"] for r in requests]


def test_16_requests_share_their_steps(make_real):
    """They come while one request holds all places, so that they start together however slowly a client sends them."""
    server = make_real("--max-batch", "16", "--kv-blocks", "4096")
    name = server.get("/models").json()["models"][0]["name"]
    fields = {"model": name, "prompt": "Once upon a time", "ignore_eos": True}
    holding = {**fields, "strategy": "beam", "num_beams": 16}
    holding["max_tokens"] = server.tokens_that_last(2, **holding)
    start = server.performance(name)["steps_total"]
    server.generate(**holding)
    alone = server.performance(name)["steps_total"] - start
    with concurrent.futures.ThreadPoolExecutor(17) as pool:
        holder = pool.submit(server.generate, **holding)
        server.wait_for(lambda p: any(m["name"] == name and m["running"] == 1 for m in p["models"]))
        answers = [pool.submit(server.generate, **fields, strategy="greedy", max_tokens=24) for _ in range(16)]
        server.wait_for(lambda p: any(m["name"] == name and m["waiting"] == 16 for m in p["models"]))
        assert not holder.done()
        assert all(a.result()["usage"]["completion_tokens"] == 24 for a in answers)
        holder.result()
    steps = server.performance(name)["steps_total"] - start - 2 * alone
    assert 24 <= steps < 3 * 24


def test_models_share_the_machine(real, names):
    """A short request to one model does not wait until another's long ones are done."""
    for busy, other in (names[:2], names[1::-1]):
        n_tokens = real.tokens_that_last(2, model=busy, **LONG)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            long = [pool.submit(real.generate, model=busy, **{**LONG, "max_tokens": n_tokens}) for _ in range(4)]
            real.wait_for(lambda p: any(m["name"] == busy and m["running"] == 4 for m in p["models"]))
            real.generate(model=other, prompt="Once", strategy="greedy", max_tokens=5)
            assert real.performance(busy)["running"] == 4, f"{other} waited for {busy}"
            for f in long:
                f.result()


def test_preempted_requests_lose_nothing(make_real):
    roomy = make_real()
    name = roomy.get("/models").json()["models"][0]["name"]
    requests = [{"model": name, "prompt": f"Story {i}: once upon a time", "strategy": "sampling", "seed": i, "ignore_eos": True,
                 "max_tokens": 60} for i in range(8)]
    expected = [roomy.generate(**r)["text"] for r in requests]
    roomy.stop()
    tight = make_real("--kv-blocks", "12")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda r: tight.generate(**r)["text"], requests))
    assert texts == expected
    tight.wait_until_all_is_free()
    p = tight.performance(name)
    assert p["preemptions_total"] > 0 and p["blocks_total"] == 12


# ---- bad input ----

def test_too_long_a_prompt(real, names):
    for name in names:
        text = "one two three four five " * 4000
        for fields in ({"prompt": text}, {"messages": [{"role": "user", "content": text}]}, {"prompt": text, "stream": True}):
            r = real.post("/generate", {"model": name, **fields})
            assert r.status == 400 and r.error["code"] == "context", r
    with RawSocket(real, timeout=30) as ws:
        ws.send_json({"type": "generate", "id": 1, "prompt": text})
        assert ws.read_json()["error"]["code"] == "context"
    assert real.is_well()


def test_max_tokens_beyond_the_context_is_cut(real, names):
    context = real.get("/models").json()["models"][0]["context"]
    a = real.generate(model=names[0], prompt="x", ignore_eos=True, max_tokens=context * 2, strategy="greedy", deadline_ms=0)
    assert a["finish_reason"] == "length" and a["usage"]["prompt_tokens"] + a["usage"]["completion_tokens"] == context


def test_an_unknown_model_is_404(real):
    r = real.post("/generate", {"model": "gpt-17", "prompt": "x"})
    assert r.status == 404 and r.error["param"] == "model" and "gpt-17" in r.error["message"]


def test_a_deadline(real, names):
    r = real.post("/generate", {"model": names[0], **LONG, "deadline_ms": 20})
    assert r.status == 408 and r.error["code"] == "deadline"
    events = real.stream(model=names[0], **LONG, deadline_ms=100)
    assert events[-1]["error"]["code"] == "deadline"


def test_odd_texts(real, names):
    for text in ("\n", " ", "\t\t", "é\u0301\U0001f600", "<|im_start|>", "\u200b\ufeff", "a" * 1000, "\r\n" * 300, "\x01\x7f"):
        assert real.generate(model=names[0], prompt=text, max_tokens=2)["usage"]["prompt_tokens"] > 0
        assert real.generate(model=names[1], messages=[{"role": "user", "content": text}], max_tokens=2)
    r = real.post("/generate", {"model": names[0], "messages": [{"role": "user", "content": ""}], "max_tokens": 2})
    assert r.status == 200, "an empty message is still a turn"


# ---- clients that leave, queues, the end ----

@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_sequence(make_real, stream):
    server = make_real()
    name = server.get("/models").json()["models"][1]["name"]
    body = json.dumps({"model": name, **LONG, "stream": stream}).encode()
    server.wait_for(lambda p: not any(m["running"] for m in p["models"]))  # those that measured the models at their load
    for _ in range(5):
        s = server.open_raw()
        s.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        server.wait_for(lambda p: any(m["name"] == name and m["running"] for m in p["models"]))
        s.close()
        assert server.wait_for(lambda p: p["server"]["running"] == 0) < 0.5 * SCALE
        server.wait_until_all_is_free()
    assert server.performance(name)["requests_cancelled"] == 5


def test_a_full_queue(make_real):
    server = make_real("--max-batch", "1", "--max-queue", "2")
    name = server.get("/models").json()["models"][1]["name"]  # the slower one: the state lasts
    refused, parked = None, []
    with RawSocket(server) as ws:
        for i in range(8):
            ws.send_json({"type": "generate", "id": i, "model": name, **LONG})
            if i == 0:  # until it runs, it is one of the two that wait
                server.wait_for(lambda p: p["models"][1]["running"] == 1)
        server.wait_for(lambda p: p["models"][1]["running"] == 1 and p["models"][1]["waiting"] == 2)
        refused = server.post("/generate", {"model": name, "prompt": "x", "max_tokens": 1})
        parked = server.performance(name)
    assert refused.status == 429 and refused.error["code"] == "busy" and 1 <= int(refused.headers["Retry-After"]) <= 60, (refused, parked)
    server.wait_for(lambda p: p["server"]["running"] == 0)
    assert server.generate(model=name, prompt="x", max_tokens=1)["usage"]["completion_tokens"] == 1


def test_a_drain_finishes_what_runs(make_real):
    server = make_real()
    name = server.get("/models").json()["models"][1]["name"]
    n_tokens = server.tokens_that_last(2, model=name, **LONG)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(server.generate, model=name, **{**LONG, "max_tokens": n_tokens}) for _ in range(3)]
        server.wait_for(lambda p: p["server"]["running"] == 3)
        server.signal(signal.SIGTERM)
        while server.get("/ready").status != 503:
            time.sleep(0.01)
        r = server.post("/generate", {"prompt": "x"})
        assert r.status == 503 and "Retry-After" in r.headers
        assert [f.result()["usage"]["completion_tokens"] for f in running] == [n_tokens] * 3
    assert server.wait() == 0


def test_a_drain_is_bounded(make_real):
    server = make_real("--drain-seconds", "1")
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        running = [pool.submit(server.post, "/generate", LONG) for _ in range(40)]
        server.wait_for(lambda p: p["server"]["running"] == 40)
        start = time.monotonic()
        server.signal()
        answers = [f.result() for f in running]
    assert server.wait() == 0
    assert time.monotonic() - start < 6 * SCALE
    assert {a.status for a in answers} <= {200, 503} and all(a.error["code"] == "closing" for a in answers if a.status == 503)


def test_a_second_signal(make_real):
    server = make_real()
    with server.open_stream(**LONG):
        server.signal()
        time.sleep(0.2)
        start = time.monotonic()
        if server.process.poll() is None:
            server.signal()
            assert server.wait() == 1 and time.monotonic() - start < 1 * SCALE


FORMS = {
    "names": "models: [{n0}, {n1}]\nrouting: automatic\nscaling: horizontal\nmonitoring: real-time\nport: 0\n",
    "paths": "models:\n  - name: first\n    path: {p0}\n  - name: second\n    path: {p1}\nrouting: second\nscaling: single\n"
             "monitoring: off\nport: 0\n",
    "JSON": '{{"models":[{{"name":"first","path":"{p0}"}},{{"name":"second","path":"{p1}"}}],"routing":"automatic",'
            '"scaling":"horizontal","monitoring":"real-time","port":0}}',
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_the_configuration(make_real, tmp_path, form):
    names, paths = zip(*(m.split("=", 1) for m in real_models()[:2]))
    config = tmp_path / "quern.yaml"
    config.write_text(FORMS[form].format(n0=names[0], n1=names[1], p0=paths[0], p1=paths[1]))
    (tmp_path / "models").mkdir()
    for name, path in zip(names, paths):
        (tmp_path / "models" / name).symlink_to(path)
    server = Server([*quern_command(), "serve", "--config", config], cwd=tmp_path)
    try:
        a = server.generate(prompt="x", max_tokens=1, priority="speed")
        assert [m["name"] for m in server.get("/models").json()["models"]] == (list(names) if form == "names" else ["first", "second"])
        assert ("instance" in a) == (form != "paths") == ("X-Quern-Instance" in server.get("/health").headers)
        assert server.get("/performance").status == (404 if form == "paths" else 200)
        if form == "paths":
            assert a["model"] == "second" and "routing" in a["route"]["reason"], a["route"]
    finally:
        server.stop()


def test_a_port_in_use_is_exit_1(real):
    done = subprocess.run([*quern_command(), "serve", "--port", str(real.port), "--model", real_models()[0]], capture_output=True,
                          timeout=60 * SCALE)
    assert done.returncode == 1 and f":{real.port}".encode() in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_the_ledger_joins(real):
    """Accepted = complete + cancelled + failed, and the engine agrees: nothing is lost, nothing counted twice."""
    real.wait_until_all_is_free()
    p = real.performance()
    s = p["server"]
    assert s["accepted_total"] == s["complete_total"] + s["cancelled_total"] + s["failed_total"]
    for m in p["models"]:
        assert m["requests_total"] == m["requests_done"] + m["requests_cancelled"] + m["requests_failed"]


def test_the_openai_client(real, names):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{real.port}/v1", api_key="none", max_retries=0)
    assert {m.id for m in client.models.list()} == set(names)
    fields = {"model": names[0], "messages": CHAT, "max_tokens": 24, "temperature": 0, "seed": 3}
    plain = client.chat.completions.create(**fields)
    ours = real.generate(model=names[0], messages=CHAT, max_tokens=24, temperature=0)
    assert plain.choices[0].message.content == ours["text"] and plain.usage.prompt_tokens == ours["usage"]["prompt_tokens"]
    chunks = list(client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ours["text"]
    assert chunks[-1].usage == plain.usage
    stopped = client.chat.completions.create(**fields, stop=ours["text"][2:4])
    assert stopped.choices[0].message.content == ours["text"][:ours["text"].index(ours["text"][2:4])]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=CHAT)


def test_a_signal_drains_from_the_first_request_on(tmp_path):
    """Nobody reads the line that announces the server, so it stays between its first request and its loop: a signal then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"." * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b".")
    os.set_blocking(write, True)
    command = [*serve_command(real_models()), "--port", str(port)]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=write, stderr=log)
    os.close(write)
    try:
        start = time.monotonic()
        while status_at(port, "/ready") != 200:
            assert process.poll() is None and time.monotonic() - start < 60 * SCALE, (tmp_path / "log").read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.poll() is None
        while os.read(read, 65536):
            pass
        assert process.wait(20 * SCALE) == 0, (tmp_path / "log").read_text()
    finally:
        os.close(read)
        process.kill()
        process.wait()
