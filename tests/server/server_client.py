"""A running server and the ways to talk to it, down to raw bytes. No third-party packages."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import struct
import subprocess
import threading
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
SCALE = float(os.environ.get("QUERN_TIMEOUT_SCALE", "1"))
SANITIZED = os.environ.get("QUERN_SANITIZED") == "1"


def built(path, variable):
    """A program of the build that QUERN_BIN, or build/quern, is of; or what the environment's variable names."""
    words = shlex.split(os.environ.get("QUERN_BIN") or str(REPO / "build" / "quern"))
    build = next((p for p in pathlib.Path(words[-1]).resolve().parents if (p / "build.ninja").exists()), REPO / "build")
    return os.environ.get(variable) or str(build / path)


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json()["error"]

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Server:
    """A process that prints its address and serves until it is told to stop."""

    def __init__(self, command, env=None, cwd=None, start_s=60):
        self.command = [str(c) for c in command]
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
                                        env={**os.environ, **(env or {})})
        self.log = []
        threading.Thread(target=self._read_log, daemon=True).start()
        killer = threading.Timer(start_s * SCALE, self.process.kill)
        killer.start()
        self.port = None
        for line in self.process.stdout:
            found = re.search(rb"on http://\S+:(\d+)", line)
            if found:
                self.port = int(found[1])
                break
        killer.cancel()
        if self.port is None:
            self.process.wait()
            time.sleep(0.2)
            raise RuntimeError(f"{self.command}: exit {self.process.returncode}, no address\n{self.stderr}")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.decode(errors="replace"))

    def memory(self):
        """Bytes resident; 0 where that says nothing: sanitizers keep what is freed, and not all systems have /proc."""
        if SANITIZED or not os.path.exists("/proc/self/statm"):
            return 0
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * 4096

    @property
    def stderr(self):
        return "".join(self.log)

    # ---- the end ----

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=40):
        return self.process.wait(timeout * SCALE)

    def stop(self):
        """Stops it; anything but a clean exit (sanitizers included) is an error."""
        if self.process.poll() is None:
            self.signal()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the server does not stop\n{self.stderr}")
        time.sleep(0.05)
        assert self.process.returncode == 0, f"exit {self.process.returncode}\n{self.stderr}"

    # ---- HTTP ----

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * SCALE)

    def request(self, method, path, body=None, headers=None, timeout=30):
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body, headers or {})
            r = connection.getresponse()
            return Reply(r.status, r.headers, r.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def post(self, path, obj, timeout=60, headers=None):
        body = obj if isinstance(obj, (bytes, str)) else json.dumps(obj)
        return self.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})}, timeout)

    def generate(self, **fields):
        """The answer of a request that must succeed."""
        r = self.post("/generate", fields)
        assert r.status == 200, r
        return r.json()

    def tokens_that_last(self, seconds, at_most=1900, **fields):
        """How many a request needs so that something else can be tried meanwhile, on any machine and in any build: by its speed here,
        the best of three short ones. at_most: what the tiny models' context holds."""
        n, best = 32, 60.0
        for _ in range(3):
            start = time.monotonic()
            self.generate(**{**fields, "max_tokens": n})
            best = min(best, time.monotonic() - start)
        return max(n, min(at_most, int(n * seconds / best)))

    def is_well(self):
        return self.get("/health").status == 200

    def performance(self, model=None):
        p = self.get("/performance").json()
        return next(m for m in p["models"] if m["name"] == model) if model else p

    def wait_for(self, condition, timeout=10):
        """Polls /performance until condition(performance) holds; returns the seconds it took."""
        start = time.monotonic()
        while not condition(p := self.performance()):
            assert time.monotonic() - start < timeout * SCALE, p
            time.sleep(0.002)
        return time.monotonic() - start

    def wait_until_all_is_free(self):
        """An answer may be there before the engine's round that counts what it had as free."""
        self.wait_for(lambda p: all(m["running"] + m["waiting"] == 0 and m["blocks_free"] == m["blocks_total"] for m in p["models"]))

    # ---- streams ----

    @contextlib.contextmanager
    def open_stream(self, path="/generate", **fields):
        """The raw answer of a streamed request, for reading line by line."""
        connection = self.connect()
        try:
            connection.request("POST", path, json.dumps({"stream": True, **fields}),
                               {"Content-Type": "application/json"})
            yield connection.getresponse()
        finally:
            connection.close()

    def stream(self, path="/generate", **fields):
        """All events of a streamed request; the last line must be [DONE]."""
        with self.open_stream(path, **fields) as r:
            assert r.status == 200, r.read()
            assert r.headers["Content-Type"] == "text/event-stream"
            datas = [line[6:] for line in r.read().decode().split("\n\n") if line.startswith("data: ")]
        assert datas[-1] == "[DONE]", datas[-1]
        return [json.loads(d) for d in datas[:-1]]

    # ---- raw ----

    def open_raw(self, timeout=10):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.settimeout(timeout * SCALE)
        return s

    def raw(self, data, timeout=5, quiet=0.3):
        """Sends bytes; what came back until the peer closed or fell silent, and whether it closed."""
        with self.open_raw(timeout) as s:
            try:
                s.sendall(data)
            except OSError:
                pass
            out, closed = b"", False
            try:
                while True:
                    got = s.recv(65536)
                    if not got:
                        closed = True
                        break
                    out += got
                    s.settimeout(quiet * SCALE)
            except socket.timeout:
                pass
            except OSError:
                closed = True
        return out, closed


def status_of(data):
    found = re.match(rb"HTTP/1\.[01] (\d{3})", data)
    return int(found[1]) if found else None


# ---- WebSocket, frame by frame ----

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def ws_head(extra="", path="/ws/stream", key=KEY, version="13", host="127.0.0.1"):
    return (f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            f"Sec-WebSocket-Version: {version}\r\n" + (f"Sec-WebSocket-Key: {key}\r\n" if key else "") +
            extra + "\r\n").encode()


def frame(opcode, payload=b"", fin=True, mask=b"\x12\x34\x56\x78", rsv=0, length=None):
    """A client's frame. length: (form, value) writes another length than the true one."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    form, n = length or (7 if len(payload) < 126 else 16 if len(payload) < 65536 else 64, len(payload))
    bit = 0x80 if mask else 0
    head += bytes([bit | n]) if form == 7 else bytes([bit | 126]) + struct.pack(">H", n) if form == 16 \
        else bytes([bit | 127]) + struct.pack(">Q", n)
    if not mask:
        return head + payload
    whole = (mask * (len(payload) // 4 + 1))[:len(payload)]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")
    return head + mask + masked


class RawSocket:
    """A WebSocket client that may break every rule."""

    def __init__(self, server, timeout=10, extra="", early=b""):
        self.s = server.open_raw(timeout)
        self.s.sendall(ws_head(extra) + early)
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        assert status_of(head) == 101, head
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head

    def _more(self):
        got = self.s.recv(65536)
        if not got:
            raise EOFError
        self.buffer += got

    def send(self, data):
        self.s.sendall(data)

    def send_json(self, obj):
        self.send(frame(1, json.dumps(obj).encode()))

    def _take(self, n):
        while len(self.buffer) < n:
            self._more()
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def read_frame(self):
        first, second = self._take(2)
        assert second < 128, "a server's frame must not be masked"
        assert first & 0x70 == 0
        n = second
        if n == 126:
            n = struct.unpack(">H", self._take(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self._take(8))[0]
        return first & 15, self._take(n)

    def read_json(self):
        """The next text message; pings are answered."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == 9:
                self.send(frame(10, payload))
            elif opcode == 1:
                return json.loads(payload)
            else:
                raise AssertionError(f"frame {opcode}: {payload!r}")

    def read_close(self):
        """The code of the close frame that must come, after whatever else; None where the peer just ended."""
        try:
            while True:
                opcode, payload = self.read_frame()
                if opcode == 8:
                    return struct.unpack(">H", payload[:2])[0] if payload else 0
        except (EOFError, ConnectionError):
            return None

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def random_text(n):
    return base64.b64encode(os.urandom(n * 3 // 4 + 3)).decode()[:n]
