"""HTTP framing, hosts, origins, methods, types and sizes: every bad request gets its 4xx, and the server goes on."""

import json
import os
import pathlib
import socket
import time

import pytest
from server_client import SCALE, status_of

BODY = b'{"prompt":"hi","max_tokens":1}'
HOST = b"Host: localhost\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
POST = b"POST /generate HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def get(target=b"/health", version=b"HTTP/1.1", headers=HOST, method=b"GET"):
    return method + b" " + target + b" " + version + b"\r\n" + headers + b"\r\n"


def chunk(size):
    return POST + CHUNKED + b"\r\n" + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n"


# name: (bytes, status; None: closed without an answer)
BAD = {
    "length and chunked": (POST + LENGTH + CHUNKED + CHUNKS, 400),
    "chunked and length": (POST + CHUNKED + LENGTH + CHUNKS, 400),
    "two lengths, same": (POST + LENGTH + LENGTH + b"\r\n" + BODY, 400),
    "two lengths": (POST + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY, 400),
    "length +30": (POST + b"Content-Length: +30\r\n\r\n" + BODY, 400),
    "length 0x1e": (POST + b"Content-Length: 0x1e\r\n\r\n" + BODY, 400),
    "length 30,30": (POST + b"Content-Length: 30,30\r\n\r\n" + BODY, 400),
    "length -1": (POST + b"Content-Length: -1\r\n\r\n" + BODY, 400),
    "length empty": (POST + b"Content-Length: \r\n\r\n" + BODY, 400),
    "length 2^64": (POST + b"Content-Length: 18446744073709551616\r\n\r\n" + BODY, 413),
    "length 2^63": (POST + b"Content-Length: 9223372036854775808\r\n\r\n" + BODY, 400),
    "no length": (POST + b"\r\n", 411),
    "coding gzip": (POST + b"Transfer-Encoding: chunked, gzip\r\n" + CHUNKS, 400),
    "coding xchunked": (POST + b"Transfer-Encoding: xchunked\r\n" + CHUNKS, 400),
    "coding twice": (POST + CHUNKED + CHUNKED + CHUNKS, 400),
    "coding folded": (POST + b"Transfer-Encoding:\r\n chunked\r\n" + CHUNKS, 400),
    "coding folded behind a length": (POST + LENGTH + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n" + BODY, 400),
    "length folded": (POST + b"Content-Length: 3\r\n 0\r\n\r\n" + BODY, 400),
    "chunked in 1.0": (b"POST /generate HTTP/1.0\r\n" + HOST + CHUNKED + CHUNKS, 400),
    "chunk 0x": (chunk(b"0x1e"), 400),
    "chunk +": (chunk(b"+1e"), 400),
    "chunk -": (chunk(b"-1"), 400),
    "chunk empty": (chunk(b""), 400),
    "chunk of 17 digits": (chunk(b"1000000000000001e"), 413),
    "space before colon": (get(headers=b"Host : localhost\r\n"), 400),
    "control in value": (get(headers=HOST + b"X: a\x01b\r\n"), 400),
    "bad name": (get(headers=HOST + b"X(y): a\r\n"), 400),
    "8-bit name": (get(headers=HOST + b"X\xe9: a\r\n"), 400),
    "no host": (get(headers=b""), 400),
    "two hosts": (get(headers=HOST + HOST), 400),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 400),
    "HTTP/1.2": (get(version=b"HTTP/1.2"), 400),
    "HTTP/2.0": (get(version=b"HTTP/2.0"), 505),  # libmicrohttpd's own answer
    "not HTTP": (get(version=b"FOO/1.1"), 400),
    "long method": (get(method=b"G" * 100000), 414),
    "long path": (get(b"/" + b"a" * 9000), 414),
    "absolute": (get(b"http://localhost/health"), 400),
    "star": (get(b"*", method=b"OPTIONS"), 400),
    "NUL in path": (get(b"/models%00"), 400),
    "bad escape": (get(b"/models%zz"), 400),
    "cut escape": (get(b"/models%2"), 400),
    "8-bit path": (get(b"/mod\xe9ls"), 400),
    "long header": (get(headers=HOST + b"X: " + b"a" * 32768 + b"\r\n"), 431),
    "101 headers": (get(headers=HOST + b"".join(b"X%d: a\r\n" % i for i in range(101))), 431),
    "other expectation": (POST + LENGTH + b"Expect: tea\r\n\r\n" + BODY, 417),
    "gzip body": (POST + LENGTH + b"Content-Encoding: gzip\r\n\r\n" + BODY, 415),
    "body on GET": (get(headers=HOST + b"Content-Length: 5\r\n") + b"hello", 400),
    "upgrade and body": (get(b"/ws/stream", headers=HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                             b"Content-Length: 5\r\n") + b"hello", 400),
    "SSH": (b"SSH-2.0-OpenSSH_9\r\n", None),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_framing_is_refused_and_closed(fake, name):
    data, status = BAD[name]
    out, closed = fake.raw(data)
    assert status_of(out) == status, out[:300]
    assert closed, "an ambiguous connection must not be used again"
    assert b" 200 OK" not in out, "what followed was taken for a request"
    assert fake.is_well()


def test_errors_have_the_form_of_errors(fake):
    r = fake.get("/nowhere")
    assert r.status == 404 and r.headers["Content-Type"] == "application/json"
    assert set(r.error) == {"type", "code", "message", "param"}
    assert r.error["code"] == "not_found" and r.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["//health", "/health/", "/%2e%2e/models", "/Health", "/generate/x", "/v1", "/favicon.ico"])
def test_unknown_paths(fake, path):
    assert fake.get(path).status == 404


ROUTES = {"/": "GET", "/generate": "POST", "/ws/stream": "GET", "/models": "GET", "/performance": "GET",
          "/health": "GET", "/ready": "GET", "/metrics": "GET", "/v1/models": "GET", "/v1/chat/completions": "POST"}


@pytest.mark.parametrize("path", ROUTES)
def test_wrong_methods_name_the_right_one(fake, path):
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "BREW"):
        if method == ROUTES[path]:
            continue
        body = BODY if method in ("POST", "PUT", "PATCH") else None
        r = fake.request(method, path, body, {"Content-Type": "application/json"})
        assert r.status == 405, (method, r)
        assert r.headers["Allow"] == ROUTES[path]


def test_a_query_is_no_part_of_the_path(fake):
    assert fake.get("/health?verbose=1").status == 200


def test_http_1_0(fake):
    out, closed = fake.raw(b"GET /health HTTP/1.0\r\n" + HOST + b"\r\n")
    assert status_of(out) == 200 and closed


def test_chunked_body(fake):
    out, _ = fake.raw(POST + CHUNKED + CHUNKS, quiet=1)
    assert status_of(out) == 200 and b'"text":"w0 "' in out


def test_body_byte_by_byte(fake):
    with fake.open_raw() as s:
        for byte in POST + LENGTH + b"\r\n" + BODY:
            s.sendall(bytes([byte]))
        assert status_of(s.recv(65536)) == 200


def test_pipelined_requests_are_all_answered(fake):
    out, _ = fake.raw(get() * 200 + POST + LENGTH + b"\r\n" + BODY + get(), quiet=1)
    assert out.count(b"HTTP/1.1 200") == 202


def test_expect_100_continue(fake):
    with fake.open_raw() as s:
        s.sendall(POST + LENGTH + b"Expect: 100-continue\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 100 ")
        s.sendall(BODY)
        assert status_of(s.recv(65536)) == 200


def test_expect_is_refused_without_the_body(fake):
    start = time.monotonic()
    out, _ = fake.raw(b"POST /nowhere HTTP/1.1\r\n" + HOST + LENGTH + b"Expect: 100-continue\r\n\r\n")
    assert status_of(out) == 404 and time.monotonic() - start < 2 * SCALE


# ---- hosts and origins ----

@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:80"])
def test_this_machine_is_a_good_host(fake, host):
    assert fake.get("/health", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:", "localhost:x",
                                  "localhost:123456", "0.0.0.0", "127.0.0.2", "[::2]", "", "localhost@evil", "user@localhost"])
def test_other_hosts_are_refused(fake, host):
    for path in ("/", "/health", "/generate", "/nowhere"):
        assert fake.get(path, Host=host).status == 403


def origin(fake, value, path="/generate"):
    return fake.post(path, BODY, headers={"Origin": value}).status


def test_own_origins_may_post(fake):
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert origin(fake, f"http://{host}:{fake.port}") == 200


@pytest.mark.parametrize("value", ["http://evil.example", "null", "http://localhost", "http://localhost:1", "file://", "",
                                   "http://localhost.evil.example:PORT", "https://evil.example:PORT", "httpx://localhost:PORT"])
def test_foreign_origins_may_not(fake, value):
    value = value.replace("PORT", str(fake.port))
    for path in ("/generate", "/v1/chat/completions"):
        assert origin(fake, value, path) == 403
    assert fake.get("/models", Origin=value).status == 200, "what a page of that origin cannot read"
    assert "Access-Control-Allow-Origin" not in fake.get("/models", Origin=value).headers


def test_two_origins(fake):
    own = b"Origin: http://localhost\r\n"
    out, _ = fake.raw(POST + own + own + LENGTH + b"\r\n" + BODY)
    assert status_of(out) == 403


def test_a_public_bind_has_no_host_rule(make_fake):
    server = make_fake("--host", "0.0.0.0")
    assert server.get("/health", Host="quern.example").status == 200


# ---- content types ----

@pytest.mark.parametrize("value, status", [
    ("application/json", 200), ("application/json; charset=utf-8", 200), ("APPLICATION/JSON", 200), ("application/json ;a=b", 200),
    ("application/x-www-form-urlencoded", 200), (None, 200), ("text/plain", 415), ("application/jsonp", 415), ("", 415),
    ("multipart/form-data; boundary=x", 415), ("application/xml", 415)])
def test_content_types(fake, value, status):
    r = fake.request("POST", "/generate", BODY, {"Content-Type": value} if value is not None else {})
    assert r.status == status, r
    if status == 415:
        assert r.error["code"] == "content_type"


def test_a_form_with_an_origin_is_refused(fake):
    r = fake.request("POST", "/generate", BODY, {"Content-Type": "application/x-www-form-urlencoded",
                                                 "Origin": f"http://localhost:{fake.port}"})
    assert r.status == 415


def test_two_content_types(fake):
    one = b"Content-Type: application/json\r\n"
    out, _ = fake.raw(POST + one + one + LENGTH + b"\r\n" + BODY)
    assert status_of(out) == 415


# ---- sizes ----

def test_too_long_a_body_is_refused_before_it_is_read(fake):
    with fake.open_raw() as s:
        s.sendall(POST + b"Content-Length: 16777217\r\n\r\n" + b"x" * 1000)
        assert status_of(s.recv(65536)) == 413
    assert fake.is_well()


def test_a_body_of_16_mib_is_taken(fake):
    body = b'{"max_tokens":1,"prompt":"' + b"a" * (16 * 1024 * 1024 - 28) + b'"}'
    assert len(body) == 16 * 1024 * 1024
    r = fake.post("/generate", body)
    assert r.status == 400 and r.error["code"] == "context", r


def test_a_chunked_body_over_the_limit(make_fake):
    server = make_fake("--body-bytes", "100000")
    piece = b"2710\r\n" + b"x" * 10000 + b"\r\n"
    out, closed = server.raw(POST + CHUNKED + b"\r\n" + piece * 12 + b"0\r\n\r\n")
    assert status_of(out) == 413 and closed
    # One that does not end is cut.
    with server.open_raw() as s, pytest.raises(OSError):
        s.sendall(POST + CHUNKED + b"\r\n")
        for _ in range(10000):
            s.sendall(piece)
    assert server.is_well()


def test_a_short_refused_body_keeps_the_connection(fake):
    connection = fake.connect()
    connection.request("POST", "/nowhere", BODY)
    assert (r := connection.getresponse()).status == 404 and r.read()
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()


# ---- deadlines ----

def closes_within(s, seconds):
    start = time.monotonic()
    s.settimeout(seconds * SCALE)
    try:
        while s.recv(65536):
            pass
    except (ConnectionError, socket.timeout) as e:
        assert not isinstance(e, socket.timeout), f"open after {seconds} s"
    return time.monotonic() - start


def drip(s, data, seconds, every=0.05):
    """Sends byte by byte until the peer closes; False where it has not within the time."""
    until = time.monotonic() + seconds * SCALE
    s.setblocking(False)
    for i in range(10**9):
        if time.monotonic() > until:
            return False
        try:
            s.send(data[i % len(data):i % len(data) + 1])
            if s.recv(1000) == b"":
                return True
        except BlockingIOError:
            pass
        except OSError:
            return True
        time.sleep(every)


def test_slow_headers_are_cut(make_fake):
    server = make_fake("--header-ms", "600")
    with server.open_raw() as s:
        assert drip(s, get()[:-2] + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 5)
    with server.open_raw() as s:
        assert closes_within(s, 5) > 0.3, "a silent connection has its time, too"
    assert server.performance()["server"]["deadlines_missed_total"] == 2


def test_slow_bodies_are_cut(make_fake):
    server = make_fake("--body-ms", "600")
    with server.open_raw() as s:
        s.sendall(POST + b"Content-Length: 1000000\r\n\r\n")
        assert drip(s, b"x", 5)
    assert server.is_well()


def test_an_idle_connection_is_closed(make_fake):
    server = make_fake("--idle-ms", "1000", "--header-ms", "500")
    with server.open_raw() as s:
        s.sendall(get())
        assert status_of(s.recv(1000)) == 200
        assert closes_within(s, 6) > 0.5


def test_a_long_answer_is_not_idle(make_fake):
    server = make_fake("--idle-ms", "1000", "--header-ms", "500", "--body-ms", "500")
    assert server.generate(prompt="!hold=2500", max_tokens=2)["text"] == "w0 w1 "


# ---- the whole ----

def test_a_storm_of_bad_requests_leaves_nothing_behind(make_fake):
    server = make_fake()
    fds = lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) if pathlib.Path("/proc").is_dir() else 0
    server.generate(prompt="warm", max_tokens=1)
    time.sleep(0.3)
    before = fds()
    for _ in range(3):
        for data, _ in BAD.values():
            with server.open_raw() as s:
                try:
                    s.sendall(data)
                except OSError:
                    pass
    deadline = time.monotonic() + 5 * SCALE
    while fds() > before + 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert fds() <= before + 2
    assert server.is_well()


def test_a_port_in_use_is_named(fake, make_fake):
    with pytest.raises(RuntimeError) as e:
        make_fake("--port", str(fake.port))
    assert "exit 1" in str(e.value) and f":{fake.port}: Address already in use" in str(e.value)


def test_instances(make_fake):
    server = make_fake("--horizontal", "1", "--instance", "seven")
    assert server.get("/health").headers["X-Quern-Instance"] == "seven"
    assert server.get("/health").json() == {"status": "ok", "instance": "seven"}
    assert server.generate(prompt="x", max_tokens=1)["instance"] == "seven"
    assert server.stream(prompt="x", max_tokens=1)[0]["instance"] == "seven"
    other = make_fake()
    assert "X-Quern-Instance" not in other.get("/health").headers
    assert "instance" not in other.generate(prompt="x", max_tokens=1)


def test_monitoring_off(make_fake):
    server = make_fake("--monitoring", "0")
    for path in ("/performance", "/metrics"):
        r = server.get(path)
        assert r.status == 404 and "monitoring is off" in r.error["message"]


def test_metrics_are_prometheus_text(fake):
    fake.generate(prompt="x", max_tokens=2)
    r = fake.get("/metrics")
    assert r.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    values, types = {}, {}
    for line in r.body.decode().splitlines():
        if line.startswith("# TYPE "):
            name, kind = line[7:].split()
            assert name not in types
            types[name] = kind
        elif not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
            assert name.split("{")[0] in types
    for name in ("running", "waiting", "blocks_total", "blocks_free", "steps_total", "batch_rows", "preemptions_total",
                 "tokens_total", "bytes_per_second", "ceiling_bytes_per_second"):
        assert f'quern_{name}{{model="small"}}' in values, name
    for name in ("ttft_ms", "inter_token_ms"):
        assert f'quern_{name}{{model="large",quantile="0.95"}}' in values
    accepted = values["quern_server_accepted_total"]
    assert accepted == sum(values[f"quern_server_{k}"] for k in ("complete_total", "cancelled_total", "failed_total", "running"))


def test_performance_has_its_names(fake):
    p = fake.performance("small")
    assert {"running", "waiting", "blocks_total", "blocks_free", "steps_total", "batch_rows", "preemptions_total", "tokens_total",
            "ttft_ms", "inter_token_ms", "bytes_per_second", "ceiling_bytes_per_second", "tokens_per_second_now",
            "tokens_per_second_since_start"} <= set(p)
    assert set(p["ttft_ms"]) == {"p50", "p95", "p99"}


def test_models(fake):
    m = {m["name"]: m for m in fake.get("/models").json()["models"]}
    assert set(m) == {"small", "large"} and m["small"]["parameters"] == 1000 and m["small"]["context"] == 4096
    v1 = fake.get("/v1/models").json()
    assert v1["object"] == "list" and [d["id"] for d in v1["data"]] == ["small", "large"]


def test_the_page_is_one_file_under_a_strict_policy(fake):
    r = fake.get("/")
    policy = r.headers["Content-Security-Policy"]
    assert r.status == 200 and r.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'sha256-" in policy
    html = r.body.decode()
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "") and "https://" not in html
    assert "innerHTML" not in html and "demonstration" in html


def test_ready(fake):
    assert fake.get("/ready").json() == {"status": "ready"}
    assert json.loads(fake.get("/health").body) == {"status": "ok"}


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are counted in /proc")
def test_a_long_body_starts_no_thread(make_fake):
    """Where none can be started (libuv aborts then), a server ends before it serves, not with requests that run."""
    server = make_fake()
    tasks = f"/proc/{server.process.pid}/task"
    before = len(os.listdir(tasks))
    assert server.post("/generate", {"prompt": "x" * 400000}).status == 400
    assert len(os.listdir(tasks)) == before
