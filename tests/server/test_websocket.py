"""WS /ws/stream: handshake, frames that break the rules, many requests on a socket, cancelling, slow and silent clients."""

import json
import socket
import struct
import time

import pytest
from server_client import SCALE, RawSocket, frame, status_of, ws_head

MINIMUM = {"prompt": "hi", "max_tokens": 2}


def generate(ws, id, **fields):
    ws.send_json({"type": "generate", "id": id, **MINIMUM, **fields})


def until_end(ws, id):
    """The events of one request, others' left out."""
    events = []
    while True:
        e = ws.read_json()
        if e.get("id") == id:
            events.append(e)
            if e["type"] in ("done", "error"):
                return events


# ---- handshake ----

@pytest.mark.parametrize("head, status", [
    (ws_head(key=None), 400), (ws_head(key="short"), 400), (ws_head(key="x" * 24), 400), (ws_head(key="dGhlIHNhbXBsZSBub25jZQ==="), 400),
    (ws_head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400), (ws_head(version="8"), 426), (ws_head(version="13, 8"), 426),
    (ws_head(version=""), 426), (ws_head().replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
    (ws_head().replace(b"Connection: keep-alive, Upgrade", b"Connection: keep-alive"), 426),
    (ws_head().replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"), 405),
    (ws_head("Origin: http://evil.example\r\n"), 403), (ws_head("Origin: null\r\n"), 403), (ws_head(host="evil.example"), 403),
    (ws_head("Content-Length: 3\r\n") + b"abc", 400), (ws_head().replace(b"HTTP/1.1", b"HTTP/1.0"), 426)],
    ids=range(16))
def test_bad_handshakes(fake, head, status):
    out, _ = fake.raw(head)
    assert status_of(out) == status, out
    if status == 426:
        assert b"Sec-WebSocket-Version: 13" in out or b"Upgrade: websocket" in out
    assert fake.is_well()


def test_good_handshakes(fake):
    for extra in ("", "Origin: http://127.0.0.1\r\n", "Sec-WebSocket-Extensions: permessage-deflate\r\n"):
        with fake.open_raw() as s:
            s.sendall(ws_head(extra))
            out = s.recv(65536)
            assert status_of(out) == 101 and b"Extensions" not in out and b"Sec-WebSocket-Protocol" not in out


def test_what_is_sent_with_the_handshake_is_not_lost(fake):
    with RawSocket(fake, early=frame(1, json.dumps({"type": "generate", "id": 1, **MINIMUM}).encode())) as ws:
        assert [e["type"] for e in until_end(ws, 1)] == ["start", "token", "token", "done"]


# ---- frames ----

TEXT = json.dumps({"type": "cancel", "id": "nobody"}).encode()

# name: (bytes, close code)
BAD_FRAMES = {
    "unmasked": (frame(1, b"{}", mask=None), 1002),
    "rsv1": (frame(1, b"{}", rsv=4), 1002), "rsv2": (frame(1, b"{}", rsv=2), 1002), "rsv3": (frame(1, b"{}", rsv=1), 1002),
    **{f"opcode {o}": (frame(o, b"x"), 1002) for o in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "long ping": (frame(9, b"x" * 126), 1002), "cut ping": (frame(9, b"x", fin=False), 1002), "cut close": (frame(8, b"", fin=False), 1002),
    "continuation of nothing": (frame(0, b"x"), 1002), "text within a text": (frame(1, b"{", fin=False) + frame(1, b"}"), 1002),
    "continuation after the end": (frame(1, TEXT) + frame(0, b"x"), 1002),
    "length not minimal, 16": (frame(1, b"{}", length=(16, 2)), 1002), "length not minimal, 64": (frame(1, b"{}", length=(64, 2)), 1002),
    "length 2^63": (frame(1, b"{}", length=(64, 2**63)), 1002), "length 2^63-1": (frame(1, b"{}", length=(64, 2**63 - 1)), 1009),
    "16 MiB and a byte": (frame(1, b"{}", length=(64, (16 << 20) + 1)), 1009),
    "bad UTF-8": (frame(1, b"\xff"), 1007), "overlong": (frame(1, b"\xc0\xaf"), 1007), "surrogate": (frame(1, b"\xed\xa0\x80"), 1007),
    "cut UTF-8": (frame(1, b"\xe2\x82"), 1007), "UTF-8 cut over fragments": (frame(1, b"\xe2", fin=False) + frame(0, b"\x28"), 1007),
    "bad UTF-8, told at once": (frame(1, b"\xff", fin=False), 1007),
    "binary": (frame(2, b"\x00"), 1003),
    "too many fragments": (frame(1, b" ", fin=False) + frame(0, b" ", fin=False) * 1024, 1009),
    **{f"close {c}": (frame(8, struct.pack(">H", c)), 1002) for c in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)},
    "close of one byte": (frame(8, b"\x03"), 1002), "close with bad UTF-8": (frame(8, struct.pack(">H", 1000) + b"\xff"), 1007),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 1002),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames_close_with_their_code(fake, name):
    data, code = BAD_FRAMES[name]
    with RawSocket(fake) as ws:
        ws.send(data)
        assert ws.read_close() == code
        with pytest.raises((EOFError, ConnectionError)):
            ws.read_frame()
    assert fake.is_well()


@pytest.mark.parametrize("payload, answer", [(b"", 0), (struct.pack(">H", 1000), 1000), (struct.pack(">H", 1001) + b"bye", 1001),
                                             (struct.pack(">H", 3000), 3000), (struct.pack(">H", 4999) + "é".encode(), 4999)])
def test_good_closes_are_answered(fake, payload, answer):
    with RawSocket(fake) as ws:
        ws.send(frame(8, payload) + frame(1, TEXT))
        opcode, got = ws.read_frame()
        assert opcode == 8 and got == payload, "and what follows a close is ignored"
        assert ws.read_close() is None


def test_fragments_and_pings_between_them(fake):
    with RawSocket(fake) as ws:
        ws.send(frame(1, TEXT[:1], fin=False))
        for i in range(1, len(TEXT) - 1):
            ws.send(frame(0, TEXT[i:i + 1], fin=False) + frame(9, b"%d" % i))
        ws.send(frame(0, b"", fin=False) + frame(0, TEXT[-1:]))
        got = [ws.read_frame() for _ in range(len(TEXT) - 1)]
        assert [f for f in got if f[0] == 10] == [(10, b"%d" % i) for i in range(1, len(TEXT) - 1)]
        assert json.loads(next(f for f in got if f[0] == 1)[1])["error"]["param"] == "id"


def test_frames_byte_by_byte(fake):
    with RawSocket(fake) as ws:
        ws.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(1, TEXT) + frame(9, b"hello"):
            ws.send(bytes([byte]))
        assert ws.read_json()["type"] == "error" and ws.read_frame() == (10, b"hello")


def test_unasked_pongs_are_ignored(fake):
    with RawSocket(fake) as ws:
        ws.send(frame(10, b"x") * 100 + frame(9, b"y"))
        assert ws.read_frame() == (10, b"y")


def message_of(n_bytes, **fields):
    """A generate message of exactly n_bytes, filled up by its prompt."""
    text = json.dumps({"type": "generate", "id": 1, **fields, "prompt": ""}).encode()
    return text[:-2] + b"a" * (n_bytes - len(text)) + text[-2:]


def test_a_message_of_16_mib(fake):
    with RawSocket(fake, timeout=30) as ws:
        ws.send(frame(1, message_of(16 << 20)))
        assert ws.read_json()["error"]["code"] == "context"
        ws.send(frame(1, message_of(16 << 20, nonsense=1)) + frame(1, TEXT))
        assert ws.read_json()["error"]["param"] == "nonsense"
        assert ws.read_json()["error"]["param"] == "id", "messages behind a long one keep their order"


def test_too_long_a_message_in_fragments(fake):
    with RawSocket(fake, timeout=30) as ws:
        try:
            ws.send(frame(1, b" " * (8 << 20), fin=False))
            ws.send(frame(0, b" " * (8 << 20), fin=False) + frame(0, b" ", fin=False))
        except ConnectionError:
            pass
        assert ws.read_close() == 1009


def test_a_flood_of_fragments_costs_no_memory(fake):
    before = fake.memory()
    with RawSocket(fake) as ws:
        try:
            ws.send(frame(1, b"x", fin=False) + frame(0, b"x", fin=False) * 1000000)
        except ConnectionError:
            pass
    assert fake.memory() - before < 8 << 20


def test_a_reset_in_mid_frame(fake):
    for cut in (1, 3, 7, 20):
        ws = RawSocket(fake)
        ws.send(frame(1, TEXT)[:cut])
        ws.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ws.close()
    fake.wait_for(lambda p: p["server"]["websockets"] == 0)


# ---- messages ----

@pytest.mark.parametrize("text, id, param", [
    ("", None, None), ("{", None, None), ("[]", None, None), ("1", None, None), ("null", None, None), ("{}", None, "type"),
    ('{"type":"generate"}', None, "id"), ('{"type":"cancel"}', None, "id"), ('{"type":"generate","id":null}', None, "id"),
    ('{"type":"generate","id":""}', None, "id"), ('{"type":"generate","id":1.5}', None, "id"), ('{"type":"generate","id":[1]}', None, "id"),
    ('{"type":"generate","id":"%s"}' % ("x" * 129), None, "id"), ('{"type":"sing","id":"a"}', "a", "type"), ('{"type":1,"id":7}', 7, "type"),
    ('{"id":"a","prompt":"x"}', "a", "type"), ('{"type":"generate","id":"a"}', "a", "prompt"),
    ('{"type":"generate","id":"a","prompt":"x","colour":1}', "a", "colour"), ('{"type":"cancel","id":"a"}', "a", "id"),
    ('{"type":"cancel","id":5}', 5, "id"), ('{"type":"cancel","id":"a","why":1}', "a", "why"),
    ('{"type":"generate","id":"a","prompt":"x","model":"nobody"}', "a", "model"),
    ('{"type":"generate","id":"a","prompt":"x","prompt":"y"}', None, None)])
def test_bad_messages_are_events(fake, text, id, param):
    with RawSocket(fake) as ws:
        ws.send(frame(1, text.encode()))
        e = ws.read_json()
        assert e["type"] == "error" and e.get("id") == id and e["error"]["param"] == param, e
        assert ("id" in e) == (id is not None)
        generate(ws, 1)
        assert until_end(ws, 1)[-1]["type"] == "done", "the socket goes on"


def test_the_events_form(fake):
    with RawSocket(fake) as ws:
        generate(ws, "mine", model="small", seed=9, logprobs=1)
        start, first, second, done = until_end(ws, "mine")
        assert start["type"] == "start" and start["model"] == "small" and start["route"]["chosen"] == "small"
        assert (first["index"], first["text"], second["index"]) == (0, "w0 ", 1) and len(first["logprobs"]) == 1
        assert done["finish_reason"] == "length" and {"usage", "timings"} <= set(done)


def test_many_ids_on_a_socket(fake):
    with RawSocket(fake) as ws:
        for i in range(60):
            generate(ws, f"é{i}" if i % 2 else i, prompt=f"!tokens={i + 1}", max_tokens=100)
        texts, ended = {}, 0
        while ended < 60:
            e = ws.read_json()
            if e["type"] == "token":
                texts[e["id"]] = texts.get(e["id"], "") + e["text"]
            ended += e["type"] == "done"
        for i in range(60):
            assert texts[f"é{i}" if i % 2 else i] == "".join(f"w{k} " for k in range(i + 1))


def test_cancel(fake):
    with RawSocket(fake) as ws:
        generate(ws, "long", prompt="!tokens=100000 !delay=2", max_tokens=100000)
        generate(ws, "other", prompt="!tokens=50 !delay=2", max_tokens=100)
        while ws.read_json()["type"] != "token":
            pass
        ws.send_json({"type": "cancel", "id": "long"})
        ends = {}
        while len(ends) < 2:
            e = ws.read_json()
            if e["type"] == "done":
                ends[e["id"]] = e["finish_reason"]
        assert ends == {"long": "cancelled", "other": "stop"}
        ws.send_json({"type": "cancel", "id": "long"})
        assert ws.read_json()["error"]["param"] == "id"


def test_an_id_can_be_used_again_when_it_has_ended(fake):
    with RawSocket(fake) as ws:
        for _ in range(20):
            generate(ws, "a")
            assert until_end(ws, "a")[-1]["type"] == "done"


def test_a_running_id_is_refused(fake):
    with RawSocket(fake) as ws:
        generate(ws, "a", prompt="!tokens=1000 !delay=5", max_tokens=1000)
        generate(ws, "a")
        while (e := ws.read_json())["type"] != "error":
            pass
        assert e["error"]["param"] == "id" and "is running" in e["error"]["message"]
        ws.send_json({"type": "cancel", "id": "a"})
        while (e := ws.read_json())["type"] != "done":
            assert e["type"] != "error"


def test_so_many_on_a_socket_and_no_more(make_fake):
    server = make_fake("--per-socket", "3")
    with RawSocket(server) as ws:
        for i in range(5):
            generate(ws, i, prompt="!tokens=100000 !delay=20", max_tokens=100000)
        refused = []
        while len(refused) < 2:
            e = ws.read_json()
            if e["type"] == "error":
                assert e["error"]["code"] == "busy"
                refused.append(e["id"])
        assert refused == [3, 4]
    server.wait_for(lambda p: p["server"]["running"] == 0)


def test_a_full_queue_is_an_event(make_fake):
    server = make_fake("--max-batch", "1", "--max-queue", "1", "--models", "1")
    with RawSocket(server) as ws:
        for i in range(4):
            generate(ws, i, prompt="!tokens=100000 !delay=20", max_tokens=100000)
            time.sleep(0.05)
        while (e := ws.read_json())["type"] != "error":
            pass
        assert e["error"]["code"] == "busy"


@pytest.mark.parametrize("code", ["context", "device"])
def test_errors_are_events(fake, code):
    with RawSocket(fake) as ws:
        generate(ws, 1, prompt=f"!fail={code}")
        assert until_end(ws, 1)[-1]["error"]["code"] == code
        generate(ws, 2, prompt="!tokens=1000 !delay=5", max_tokens=1000, deadline_ms=30)
        assert until_end(ws, 2)[-1]["error"]["code"] == "deadline"


# ---- clients that leave, are slow, or silent ----

@pytest.mark.parametrize("how", ["close frame", "close", "reset"])
def test_a_client_that_leaves_ends_all_its_requests(make_fake, how):
    server = make_fake()
    ws = RawSocket(server)
    for i in range(10):
        generate(ws, i, prompt="!tokens=100000 !delay=20", max_tokens=100000)
    server.wait_for(lambda p: p["server"]["running"] == 10)
    if how == "close frame":
        ws.send(frame(8, struct.pack(">H", 1000)))
    elif how == "reset":
        ws.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.close()
    assert server.wait_for(lambda p: p["server"]["running"] == 0) < 1 * SCALE
    server.wait_for(lambda p: p["server"]["websockets"] == 0)
    assert server.performance()["server"]["cancelled_total"] == 10


def test_a_socket_that_closes_in_the_middle_of_tokens_is_no_slow_reader(make_fake):
    """Its requests are cancelled, each once: those of a client that has left."""
    server = make_fake()
    with RawSocket(server) as ws:
        for i in range(10):
            generate(ws, i, prompt="!tokens=100000 !delay=5", max_tokens=100000)
        server.wait_for(lambda p: p["server"]["running"] == 10)
        ws.send(frame(8, struct.pack(">H", 1000)))
        server.wait_for(lambda p: p["server"]["running"] == 0)
        assert ws.read_close() == 1000
    p = server.performance()["server"]
    assert (p["cancelled_total"], p["clients_gone_total"], p["failed_total"], p["slow_clients_total"]) == (10, 10, 0, 0)


def test_silent_clients_are_pinged_and_closed(make_fake):
    server = make_fake("--ping-ms", "300", "--pong-ms", "1500")
    with RawSocket(server) as silent, RawSocket(server) as polite:
        start, pings = time.monotonic(), 0
        while time.monotonic() - start < 3 * SCALE:
            opcode, payload = polite.read_frame()
            assert opcode == 9
            pings += 1
            polite.send(frame(10, payload))
        assert pings >= 5
        assert silent.read_close() is None, "pings, then the end"
        generate(polite, 1)
        assert until_end(polite, 1)[-1]["type"] == "done"


def test_a_slow_reader_loses_its_request_and_not_more(make_fake):
    server = make_fake("--stream-bytes", "65536")
    before = server.memory()
    with RawSocket(server, timeout=30) as ws:
        generate(ws, "big", prompt="!tokens=1000000 !delay=0 !size=4000", max_tokens=1000000)
        server.wait_for(lambda p: p["server"]["slow_clients_total"] == 1, timeout=60)
        server.wait_for(lambda p: p["server"]["running"] == 0)
        assert server.memory() - before < 64 << 20
        assert until_end(ws, "big")[-1]["error"]["code"] == "limit"
        generate(ws, "small")
        assert until_end(ws, "small")[-1]["type"] == "done"


def test_a_flood_of_messages_that_nobody_reads(make_fake):
    """Errors for bad messages queue up; reading stops before they take much memory."""
    server = make_fake("--stream-bytes", "65536", "--ping-ms", "300", "--pong-ms", "1500")
    before = server.memory()
    for payload in (frame(1, b"{}"), frame(9, b"x" * 125)):
        with RawSocket(server) as ws:
            ws.s.settimeout(1)
            try:
                for _ in range(300):
                    ws.send(payload * 2000)
            except OSError:
                pass
            assert server.memory() - before < 48 << 20
            assert server.is_well()
    server.wait_for(lambda p: p["server"]["websockets"] == 0)


def test_many_sockets(make_fake):
    server = make_fake()
    sockets = [RawSocket(server) for _ in range(200)]
    for i, ws in enumerate(sockets):
        generate(ws, i)
    for i, ws in enumerate(sockets):
        assert until_end(ws, i)[-1]["type"] == "done"
    for ws in sockets:
        ws.close()
    server.wait_for(lambda p: p["server"]["websockets"] == 0)
