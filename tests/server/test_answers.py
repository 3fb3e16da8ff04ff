"""POST /generate, plain and as a stream: the forms of answers and errors, clients that leave, read slowly or are too many."""

import concurrent.futures
import json
import socket
import struct
import time

import pytest
from server_client import SCALE

ERRORS = {"argument": 400, "context": 400, "unsupported": 400, "format": 400, "limit": 400, "memory": 503, "busy": 429, "closing": 503,
          "deadline": 408, "device": 500, "internal": 500}


def test_the_answers_form(fake):
    a = fake.generate(prompt="hello", max_tokens=3, seed=5)
    assert set(a) == {"id", "model", "text", "finish_reason", "seed", "usage", "timings", "route"}
    assert a["text"] == "w0 w1 w2 " and a["finish_reason"] == "length" and a["seed"] == 5
    assert set(a["usage"]) == {"prompt_tokens", "completion_tokens", "cached_tokens"} and a["usage"]["completion_tokens"] == 3
    assert set(a["timings"]) == {"queue_ms", "prefill_ms", "decode_ms", "total_ms", "prefill_tokens_per_second", "tokens_per_second"}
    assert set(a["route"]) == {"requested", "priority", "chosen", "reason", "predicted_ms"}
    assert a["route"]["chosen"] == a["model"] and set(a["route"]["predicted_ms"]) == {"small", "large"}
    assert fake.generate(prompt="hello", max_tokens=1)["id"] != a["id"]


@pytest.mark.parametrize("priority, chosen", [("speed", "small"), ("quality", "large")])
def test_routes(fake, priority, chosen):
    route = fake.generate(prompt="x", max_tokens=1, priority=priority)["route"]
    assert route["chosen"] == chosen and route["priority"] == priority and priority in route["reason"]


def test_logprobs(fake):
    a = fake.generate(prompt="x", max_tokens=2, logprobs=2)
    assert [p["token"] for p in a["logprobs"]] == ["w0 ", "w1 "]
    assert a["logprobs"][0]["bytes"] == [119, 48, 32] and a["logprobs"][0]["id"] == 100 and a["logprobs"][0]["logprob"] == -0.5
    top = a["logprobs"][0]["top"]
    assert [t["logprob"] for t in top] == [-1, -2]
    assert top[0]["bytes"] == [255, 34] and top[0]["token"] == "�\"", "bytes that are no character"
    assert fake.generate(prompt="x", max_tokens=1, logprobs=0)["logprobs"][0]["top"] == []
    assert "logprobs" not in fake.generate(prompt="x", max_tokens=1)


def test_beams(fake):
    a = fake.generate(prompt="x", max_tokens=2, strategy="beam", num_beams=4, n_best=2)
    assert [set(b) for b in a["beams"]] == [{"text", "tokens", "score"}] * 2 and a["beams"][0]["tokens"] == [1, 2, 3]
    done = fake.stream(prompt="x", max_tokens=2, strategy="beam", n_best=2, num_beams=2)[-1]
    assert len(done["beams"]) == 2


def test_text_that_json_must_escape(fake):
    text = "!echo \"quotes\" \\ \b\f\n\r\t \x7f é € \U0001f600 \u2028 </script>"
    assert fake.generate(prompt=text, max_tokens=1)["text"] == text
    assert fake.stream(prompt=text, max_tokens=1)[1]["text"] == text


@pytest.mark.parametrize("code", ERRORS)
def test_errors_before_the_start_are_statuses(fake, code):
    for stream in (False, True):
        for path, what in (("/generate", {"prompt": f"!fail={code}"}),
                           ("/v1/chat/completions", {"model": "small", "messages": [{"role": "user", "content": f"!fail={code}"}]})):
            r = fake.post(path, {**what, "max_tokens": 2, "stream": stream})
            assert r.status == ERRORS[code], r
            assert r.error["code"] == code and r.headers["Content-Type"] == "application/json"
            assert ("Retry-After" in r.headers) == (r.status in (429, 503))


def test_a_prompt_that_does_not_fit(fake):
    r = fake.post("/generate", {"prompt": "a" * 20000, "stream": True})
    assert r.status == 400 and r.error["code"] == "context"


def test_an_error_in_mid_answer(fake):
    r = fake.post("/generate", {"prompt": "!failat=2"})
    assert r.status == 500 and r.error["code"] == "device" and r.error["type"] == "server_error"
    events = fake.stream(prompt="!failat=2")
    assert [e["type"] for e in events] == ["start", "token", "token", "error"] and events[-1]["error"]["code"] == "device"


def test_a_deadline(fake):
    r = fake.post("/generate", {"prompt": "!tokens=1000 !delay=5", "deadline_ms": 50})
    assert r.status == 408 and r.error["code"] == "deadline"
    events = fake.stream(prompt="!tokens=1000 !delay=5", deadline_ms=50)
    assert events[0]["type"] == "start" and events[-1]["error"]["code"] == "deadline"


# ---- streams ----

def test_the_streams_form(fake):
    events = fake.stream(prompt="x", max_tokens=3)
    assert [e["type"] for e in events] == ["start", "token", "token", "token", "done"]
    start, *tokens, done = events
    assert {"id", "model", "route"} <= set(start) and start["route"]["chosen"] == start["model"]
    assert [(t["index"], t["text"]) for t in tokens] == [(0, "w0 "), (1, "w1 "), (2, "w2 ")]
    assert {"id", "finish_reason", "usage", "timings"} <= set(done) and done["finish_reason"] == "length"
    assert len({e["id"] for e in events}) == 1


def test_tokens_come_as_they_are_made(fake):
    with fake.open_stream(prompt="!delay=100", max_tokens=4) as r:
        times = [time.monotonic() for line in r if b'"token"' in line]
    assert len(times) == 4 and times[-1] - times[0] > 0.2


def test_stream_equals_plain(fake):
    fields = {"prompt": "!tokens=40", "model": "small"}
    assert "".join(e["text"] for e in fake.stream(**fields) if e["type"] == "token") == fake.generate(**fields)["text"]


def test_headers_of_a_stream(fake):
    with fake.open_stream(prompt="x", max_tokens=1) as r:
        assert r.headers["Cache-Control"] == "no-store" and r.headers["X-Accel-Buffering"] == "no"
        assert r.headers["Transfer-Encoding"] == "chunked"


def test_a_stream_over_http_1_0_ends_with_the_connection(fake):
    body = b'{"prompt":"x","max_tokens":2,"stream":true}'
    out, closed = fake.raw(b"POST /generate HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body, quiet=1)
    assert closed and out.endswith(b"data: [DONE]\n\n") and b"chunked" not in out


def test_quiet_streams_are_kept_alive(make_fake):
    server = make_fake("--ping-ms", "200")
    with server.open_stream(prompt="!delay=1500", max_tokens=2) as r:
        text = r.read().decode()
    assert text.count(": ping\n\n") >= 2 and text.endswith("data: [DONE]\n\n")


# ---- clients that leave ----

def leave(s, how):
    if how == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        s.shutdown(socket.SHUT_WR)
    else:
        s.close()


def send(server, **fields):
    s = server.open_raw()
    body = json.dumps(fields).encode()
    s.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return s


def test_a_client_that_was_refused_has_not_left_a_request(make_fake):
    server = make_fake()
    for _ in range(3):
        assert server.post("/generate", {"prompt": "x", "model": "unknown"}).status == 404
    server.wait_for(lambda p: p["server"]["connections"] == 1)
    assert server.performance()["server"]["clients_gone_total"] == 0


@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_request(make_fake, how, stream):
    server = make_fake()
    s = send(server, prompt="!tokens=100000 !delay=20", stream=stream, model="small")
    server.wait_for(lambda p: p["server"]["running"] == 1)
    time.sleep(0.1)
    before = server.performance("small")["steps_total"]
    leave(s, how)
    took = server.wait_for(lambda p: p["server"]["running"] == 0)
    assert took < 0.5 * SCALE, "milliseconds, not the next token"
    steps = server.performance("small")["steps_total"] - before
    p = server.performance()
    assert p["server"]["cancelled_total"] == 1 and p["server"]["clients_gone_total"] == 1
    assert steps < 1000
    s.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_while_queued(make_fake, stream):
    server = make_fake("--max-batch", "1", "--models", "1")
    first = send(server, prompt="!tokens=100000 !delay=10", stream=True)
    server.wait_for(lambda p: p["models"][0]["running"] == 1)
    second = send(server, prompt="x", stream=stream)
    server.wait_for(lambda p: p["models"][0]["waiting"] == 1)
    second.close()
    assert server.wait_for(lambda p: p["models"][0]["waiting"] == 0) < 0.5 * SCALE
    first.close()
    server.wait_for(lambda p: p["server"]["running"] == 0)


def test_pipelined_bytes_are_no_goodbye(fake):
    body = b'{"prompt":"!hold=300","max_tokens":1}'
    out, _ = fake.raw((b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body) * 2, quiet=1.5)
    assert out.count(b"200 OK") == 2


def test_a_thousand_clients_cut_at_random(make_fake):
    server = make_fake()
    body = json.dumps({"prompt": "!tokens=50 !delay=2", "stream": True}).encode()
    request = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def one(i):
        with server.open_raw() as s:
            s.sendall(request[:(i * 7919) % len(request)] if i % 3 == 0 else request)
            if i % 3 == 2:
                s.settimeout(0.05)
                try:
                    while len(s.recv(1 + i % 700)) and i % 5:
                        pass
                except OSError:
                    pass
            if i % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(1000)))
    server.wait_for(lambda p: p["server"]["running"] == 0)
    p = server.performance()["server"]
    assert p["accepted_total"] == p["complete_total"] + p["cancelled_total"] + p["failed_total"]
    server.wait_until_all_is_free()
    assert server.is_well()


# ---- slow readers ----

def test_a_slow_reader_is_ended_within_bounded_memory(make_fake):
    server = make_fake("--stream-bytes", "65536", "--models", "1")
    server.generate(prompt="warm", max_tokens=2)
    before = server.memory()
    readers = [send(server, prompt="!tokens=1000000 !delay=0 !size=4000", stream=True) for _ in range(8)]
    assert server.wait_for(lambda p: p["server"]["slow_clients_total"] == 8, timeout=60) < 60
    server.wait_for(lambda p: p["server"]["running"] == 0)
    assert server.memory() - before < 64 << 20
    # What was said until then is there, and the end is told.
    data = b""
    readers[0].settimeout(5 * SCALE)
    while b"[DONE]" not in data:
        data += readers[0].recv(1 << 20)
    assert b'"code":"limit"' in data[-3000:] and b"too slowly" in data[-3000:]
    for s in readers:
        s.close()


def test_slow_readers_do_not_slow_others(make_fake):
    server = make_fake()
    readers = [send(server, prompt="!tokens=1000000 !delay=0 !size=20000", stream=True) for _ in range(8)]
    start = time.monotonic()
    assert server.generate(prompt="x", max_tokens=3)["text"] == "w0 w1 w2 "
    assert time.monotonic() - start < 5 * SCALE
    for s in readers:
        s.close()
    server.wait_for(lambda p: p["server"]["running"] == 0)


def test_a_reader_that_takes_nothing_is_closed(make_fake):
    server = make_fake("--idle-ms", "1000", "--models", "1")
    s = send(server, prompt="!tokens=60 !delay=0 !size=200000", stream=True)
    server.wait_for(lambda p: p["server"]["connections"] <= 1 and p["server"]["running"] == 0, timeout=20)
    s.close()


# ---- too many ----

def test_a_full_queue_is_429_with_retry_after(make_fake):
    server = make_fake("--max-batch", "1", "--max-queue", "2", "--models", "1")
    parked = [send(server, prompt="!tokens=1000 !delay=10", stream=True) for _ in range(1)]
    server.wait_for(lambda p: p["models"][0]["running"] == 1)
    parked += [send(server, prompt="!tokens=1000 !delay=10", stream=True) for _ in range(2)]
    server.wait_for(lambda p: p["models"][0]["waiting"] == 2)
    for stream in (False, True):
        r = server.post("/generate", {"prompt": "x", "stream": stream})
        assert r.status == 429 and r.error["code"] == "busy" and r.error["type"] == "overloaded_error"
        assert 1 <= int(r.headers["Retry-After"]) <= 60
    for s in parked:
        s.close()
    server.wait_for(lambda p: p["server"]["running"] == 0)
    assert server.generate(prompt="x", max_tokens=1)["text"] == "w0 "


def test_many_at_once(make_fake):
    server = make_fake("--max-queue", "1000")

    def one(i):
        if i % 3 == 0:
            return "".join(e.get("text", "") for e in server.stream(prompt=f"{i} !tokens={i % 17 + 1}"))
        return server.generate(prompt=f"{i} !tokens={i % 17 + 1}")["text"]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        texts = list(pool.map(one, range(400)))
    assert texts == ["".join(f"w{k} " for k in range(i % 17 + 1)) for i in range(400)]
    p = server.performance()["server"]
    assert p["accepted_total"] == p["complete_total"] == 400


def test_long_bodies_do_not_stop_streams(fake):
    """Parsing a long body takes a while; another's tokens go on coming meanwhile."""
    body = json.dumps({"prompt": "x", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}] * 300000})
    with concurrent.futures.ThreadPoolExecutor(2) as pool, fake.open_stream(prompt="!tokens=200 !delay=5") as r:
        refused = [pool.submit(fake.post, "/generate", body) for _ in range(4)]
        gaps, last = [], time.monotonic()
        for line in r:
            if b'"token"' in line:
                gaps.append(time.monotonic() - last)
                last = time.monotonic()
        assert [f.result().status for f in refused] == [400] * 4
    assert max(gaps) < 1.5 * SCALE, max(gaps)
