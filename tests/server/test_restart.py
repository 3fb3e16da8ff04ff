"""A device that dies: each request in flight gets its error, and `quern serve` executes itself anew on the same socket.

`quern_dying` is the real command on a CPU backend that dies when the file $QUERN_DYING appears (dying_backend.c).
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import fake_binary, real_models
from server_client import SCALE, RawSocket, Server

LONG = {"prompt": "Once upon a time", "max_tokens": 1500, "ignore_eos": True, "strategy": "greedy"}
SHORT = {"prompt": "Once upon a time", "max_tokens": 8, "ignore_eos": True, "strategy": "greedy"}


@pytest.fixture
def binary():
    path = pathlib.Path(fake_binary()).with_name("quern_dying")
    if not path.exists() or not real_models():
        pytest.skip(f"{path} is not built, or there are no models")
    return path


@pytest.fixture
def serve(binary, tmp_path):
    """Starts a server; its die(how) writes the file that ends its device."""
    servers = []

    def start(program=binary, **env):
        words = [program, "serve", "--port", "0", "--threads", "1", "--model", f"m={real_models()[0].split('=', 1)[1]}"]
        server = Server(words, {"QUERN_DYING": str(tmp_path / "die"), **env})
        server.die = lambda how="once": (tmp_path / "die.new").write_text(how) and os.rename(tmp_path / "die.new", tmp_path / "die")
        servers.append(server)
        return server
    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def wait_until(condition, seconds=20):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds * SCALE
        time.sleep(0.01)


def sockets_of(pid):
    found = []
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found.append(os.readlink(fd))
    return [f for f in found if f.startswith("socket:")]


def test_requests_in_flight_get_their_errors_and_new_ones_the_new_process(serve):
    server = serve(QUERN_DYING_OPEN_MS="400")
    text = server.generate(**SHORT)["text"]
    kept = server.connect()
    kept.request("GET", "/health")
    assert kept.getresponse().read()
    with concurrent.futures.ThreadPoolExecutor(8) as pool, RawSocket(server) as ws:
        plain = pool.submit(server.post, "/generate", LONG)
        stream = pool.submit(server.stream, **LONG)
        chat = pool.submit(server.post, "/v1/chat/completions",
                           {"model": "m", "messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 1500, "ignore_eos": True})
        ws.send_json({"type": "generate", "id": 7, **LONG})
        server.wait_for(lambda p: p["server"]["running"] == 4)
        server.die()
        r = plain.result()
        # The very next connection: whoever had an error is answered by the process that comes.
        again = pool.submit(server.generate, **SHORT)
        assert r.status == 500 and r.error["code"] == "device"
        assert "text" not in r.json()
        events = stream.result()
        assert events[-1]["type"] == "error" and events[-1]["error"]["code"] == "device"
        assert chat.result().status == 500 and chat.result().error["code"] == "device"
        while (e := ws.read_json())["type"] != "error":
            pass
        assert e["error"]["code"] == "device" and e["id"] == 7
        states = []
        wait_until(lambda: states.append(server.get("/ready").json()["status"]) or states[-1] == "ready")
        assert "loading" in states and set(states) <= {"loading", "ready"}
        assert again.result()["text"] == text
    kept.close()
    assert server.process.poll() is None, server.stderr
    assert len(re.findall("starts afresh", server.stderr)) == 1 and "the device has failed: DYING_AS_TOLD" in server.stderr
    assert server.performance()["server"]["accepted_total"] == 1, "the new process counts from the start"
    if os.path.exists("/proc/self/fd"):
        server.wait_for(lambda p: p["server"]["running"] == 0)
        n = len(sockets_of(server.process.pid))
        server.die()
        assert server.post("/generate", SHORT).status == 500
        assert server.generate(**SHORT)["text"] == text
        wait_until(lambda: len(sockets_of(server.process.pid)) <= n)
    server.stop()


def test_no_connection_is_refused_at_any_time(serve, binary, tmp_path):
    program = tmp_path / "quern"
    shutil.copy(binary, program)
    server = serve(program)
    refused, over = [], threading.Event()

    def knock():
        while not over.wait(0.01):
            with socket.socket() as c:
                refused.append(c.connect_ex(("127.0.0.1", server.port)))
    knocker = threading.Thread(target=knock)
    knocker.start()
    if os.path.exists("/proc/self/exe"):  # macOS executes by name alone
        program.unlink()  # an update, say: the program that runs is still there
    for _ in range(2):
        server.die()
        assert server.post("/generate", SHORT).status == 500
        assert server.generate(**SHORT)["usage"]["completion_tokens"] == 8
    over.set()
    knocker.join()
    assert len(refused) > 50 and not any(refused), refused
    server.stop()


def test_a_kept_connection_is_closed_so_that_its_client_connects_anew(serve):
    server = serve()
    c = server.connect()
    server.die()
    for status in (500, 200):
        c.request("POST", "/generate", json.dumps(SHORT), {"Content-Type": "application/json"})
        r = c.getresponse()
        assert r.status == status and r.read()
        assert (r.headers.get("Connection") == "close") == (status == 500)
    server.stop()


def test_while_models_load_the_server_says_so_and_requests_wait(binary, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = [binary, "serve", "--port", str(port), "--model", f"m={real_models()[0].split('=', 1)[1]}"]
    pool = concurrent.futures.ThreadPoolExecutor(4)
    starting = pool.submit(Server, words, {"QUERN_DYING_OPEN_MS": str(int(1500 * SCALE))})
    early = Server.__new__(Server)
    early.port = port

    def listens():
        with socket.socket() as c:
            return not c.connect_ex(("127.0.0.1", port))
    wait_until(listens)
    r = early.get("/ready")
    assert r.status == 503 and r.json()["status"] == "loading" and int(r.headers["Retry-After"]) > 0
    assert early.get("/health").status == 200 and early.get("/").status == 200
    waiting = [pool.submit(early.generate, **SHORT), pool.submit(early.get, "/models"), pool.submit(RawSocket, early)]
    server = starting.result()
    assert waiting[0].result()["usage"]["completion_tokens"] == 8
    assert waiting[1].result().json()["models"][0]["state"] == "ready"
    ws = waiting[2].result()
    ws.send_json({"type": "generate", "id": 1, **SHORT})
    while (e := ws.read_json())["type"] != "done":
        pass
    ws.close()
    assert server.get("/ready").status == 200
    server.stop()


@pytest.mark.parametrize("how", ["always", "open"])
def test_a_device_that_dies_each_time_ends_in_an_error(serve, how):
    server = serve()
    server.die(how)
    start = time.monotonic()
    assert server.post("/generate", SHORT).error["code"] == "device"
    late = server.request("POST", "/generate", json.dumps(SHORT), {"Content-Type": "application/json"})
    assert late.status == 503 and late.error["code"] == "closing" and "Retry-After" in late.headers
    assert server.wait(60) == 1
    assert time.monotonic() - start > 4.9, "the pauses grow: none, 1 s, 4 s"
    time.sleep(0.1)
    assert len(re.findall("starts afresh", server.stderr)) == 3
    last = server.stderr.splitlines()[-1]
    assert last == "quern: the device has failed again after 3 restarts within 5 minutes: the server gives up"


def test_a_stop_during_the_failure_is_a_stop(serve):
    server = serve(QUERN_DYING_OPEN_MS="300")
    server.die("always")
    assert server.post("/generate", SHORT).status == 500
    server.signal()
    assert server.wait() in (0, -15)


@pytest.mark.parametrize("value", ["pid=1 fd=5 backend=cpu at=1.0", "", "nonsense", "pid=99999999 fd=0"])
def test_what_another_process_left_is_nothing(serve, value):
    server = serve(QUERN_RESTARTED=value)
    assert server.is_well() and server.generate(**SHORT)
    server.stop()


@pytest.mark.parametrize("value", ["fd=0 backend=cpu at=1.0", "fd=999 backend=dying at=1.0", "fd=7 backend= at=1.0", "fd=7 backend=a/b at=1",
                                   "fd=7 backend=dying at=9e99", "fd=7 backend=dying at=", "fd=7 backend=dying at=1,2,3,4",
                                   "fd=7 backend=dying at=2,1", "fd={pipe} backend=dying at=1.0", "fd={connected} backend=dying at=1.0"])
def test_a_handed_over_socket_is_checked(binary, value):
    pipe = os.pipe()
    with socket.socket() as listener, socket.socket() as connected:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        connected.connect(listener.getsockname())
        value = value.format(pipe=pipe[0], connected=connected.fileno())
        program = f"""import os; os.environ["QUERN_RESTARTED"] = f"pid={{os.getpid()}} {value}"
os.execv({str(binary)!r}, ["quern", "serve", "--model", {"m=" + real_models()[0].split("=", 1)[1]!r}])"""
        done = subprocess.run([sys.executable, "-c", program], pass_fds=(pipe[0], connected.fileno()), capture_output=True, text=True,
                              timeout=30 * SCALE)
    for fd in pipe:
        os.close(fd)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "QUERN_RESTARTED: is set by quern for itself" in done.stderr or "expected a listening TCP socket" in done.stderr
