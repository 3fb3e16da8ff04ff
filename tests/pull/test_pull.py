"""`quern pull` against a local hub (hub_server.py): what is downloaded, resumed, verified, refused, and shared with huggingface_hub."""

import fcntl
import hashlib
import json
import os
import pathlib
import pty
import resource
import signal
import ssl
import subprocess
import sys
import threading
import time

import pytest
from conftest import REPO, SANITIZED, TIMEOUT_SCALE, text_of
from hub_server import Hub, Zeros, git_hash

NAME = "acme/Tiny-1B"
TINY = sorted((REPO / "models").glob("*/config.json"))[0].parent
SMALL = {p.name: p.read_bytes() for p in sorted(TINY.iterdir()) if p.is_file() and p.name != "README.md"}
BIG = "model.safetensors"
EXTRA = {"README.md": b"# no part of the model", "pytorch_model.bin": bytes(9000), "onnx/model.onnx": bytes(9000)}
SECRET = "hf_secretSECRETsecret"
DATA = bytes(i * 7 % 251 for i in range(400_000))
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def hub():
    h = Hub()
    yield h
    h.close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hub"


@pytest.fixture
def env(hub, cache, tmp_path):
    return {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "HF_TOKEN": "", "HF_HUB_OFFLINE": "", "HOME": str(tmp_path), "HF_HOME": "",
            "XDG_CACHE_HOME": "", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN_PATH": "", "no_proxy": "*"}


@pytest.fixture
def pull(quern, env):
    def run(*words, **more):
        return pathlib.Path(text_of(quern.ok("pull", *words, env={**env, **more})).strip())
    return run


@pytest.fixture
def refused(quern, env):
    """The last line of stderr of a pull that must fail."""
    def run(*words, code=1, **more):
        done = quern.run("pull", *words, env={**env, **more})
        assert done.returncode == code and not done.stdout, text_of(done.stderr)
        assert SECRET not in text_of(done.stderr)
        return text_of(done.stderr).splitlines()[-1]
    return run


def one_file(hub, data=DATA, **options):
    """A repository of one file in LFS, whose faults are those of its CDN."""
    hub.add(NAME, {"w.gguf": data}, **options)
    return f"/cdn/{hashlib.sha256(data).hexdigest()}"


def blobs(cache):
    return sorted(p.name for p in (cache / "models--acme--Tiny-1B" / "blobs").iterdir())


def client(env, code):
    """Runs Hugging Face's own client."""
    done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code], env={k: v for k, v in {**os.environ, **env}.items() if v}, text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- faults ----

def broken_after(n, etag=None):
    def fault(h):
        data = h.server.hub.blob(h.path.split("?")[0].split("/")[2])
        at = int((h.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        etag_now = etag or f'"cdn-{h.path.split("/")[2][:8]}"'
        if at:
            h.send(206, data[at:at + n], ETag=etag_now, Content_Length=str(len(data) - at),
                   Content_Range=f"bytes {at}-{len(data) - 1}/{len(data)}")
        else:
            h.send(200, data[:n], ETag=etag_now, Content_Length=str(len(data)))
        h.cut()
    return fault


def answers(status, data=b"", **headers):
    return lambda h: h.send(status, data, **headers)


def stalls(h):
    data = h.server.hub.blob(h.path.split("?")[0].split("/")[2])
    h.send_response(200)
    h.send_header("Content-Length", str(len(data)))
    h.send_header("ETag", '"cdn"')
    h.end_headers()
    h.wfile.write(data[:100_000])
    h.wfile.flush()
    time.sleep(30)


# ---- a model ----

def test_a_model_is_downloaded_verified_and_runs(hub, cache, pull, quern, env):
    repo = hub.add(NAME, {**SMALL, **EXTRA})
    folder = pull(NAME)
    assert folder == cache / "models--acme--Tiny-1B" / "snapshots" / repo.commit
    assert sorted(p.name for p in folder.iterdir()) == sorted(SMALL), "what a model needs and nothing else"
    for name, data in SMALL.items():
        link = folder / name
        assert os.readlink(link) == f"../../blobs/{repo.hash_of(name)}" and link.read_bytes() == data
    assert (cache / "models--acme--Tiny-1B" / "refs" / "main").read_text() == repo.commit
    assert blobs(cache) == sorted({repo.hash_of(n) for n in SMALL}), "nothing unfinished is left"
    done = quern.ok("run", NAME, "What is 2 + 3?", "-n", "4", env=env, cwd="/")
    assert done == quern.ok("run", TINY, "What is 2 + 3?", "-n", "4")
    n = len(hub.requests)
    assert pull(NAME) == folder and len(hub.requests) == n + 1, "only the list is asked for again"


def test_weights_in_shards_are_those_of_the_index(hub, pull, refused):
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) * 5000 for i in (1, 2)}
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    files = {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode(), **shards, "other.safetensors": bytes(5000)}
    hub.add(NAME, files)
    assert sorted(p.name for p in pull(NAME).iterdir()) == sorted(set(files) - {"other.safetensors"})
    for name in ("../../../x.safetensors", "gone.safetensors", "config.json", 5):
        hub.add(NAME, {**files, "model.safetensors.index.json": json.dumps({"weight_map": {"a": name}}).encode()}, commit="ab" * 20)
        assert "weight_map: expected .safetensors files of the repository" in refused(NAME)


def test_a_repository_without_a_model_says_what_there_is(hub, refused):
    hub.add(NAME, {"config.json": b"{}", "tiny-Q8_0.gguf": bytes(5000), "tiny-F16-00002-of-00002.gguf": b"", "tiny-F16-00001-of-00002.gguf": b""})
    line = refused(NAME)
    assert "there is no model.safetensors" in line and f"{NAME}:FILE: tiny-F16-00001-of-00002.gguf, tiny-Q8_0.gguf" in line
    hub.add(NAME, {"x.txt": b"1"})
    assert refused(NAME).endswith("there is no config.json")


def test_one_file(hub, pull, refused, cache):
    files = {"config.json": b"{}", "Tiny-Q4_K_M.gguf": b"a" * 5000, "Tiny-Q8_0.gguf": b"b" * 5000, "empty.txt": b""}
    parts = {f"big/Tiny-F16-{i:05}-of-00003.gguf": bytes([i]) * 6000 for i in (1, 2, 3)}
    repo = hub.add(NAME, {**files, **parts})
    folder = cache / "models--acme--Tiny-1B" / "snapshots" / repo.commit
    assert pull(f"{NAME}:Tiny-Q8_0.gguf") == folder / "Tiny-Q8_0.gguf"
    assert pull(f"{NAME}:q4_k_m").read_bytes() == files["Tiny-Q4_K_M.gguf"]
    assert pull(f"{NAME}:config.json").read_bytes() == b"{}" and pull(f"{NAME}:empty.txt").read_bytes() == b""
    assert sorted(p.name for p in folder.iterdir()) == sorted(files)
    for given in ("F16", "big/Tiny-F16-00002-of-00003.gguf"):
        assert pull(f"{NAME}:{given}") == folder / "big/Tiny-F16-00001-of-00003.gguf", "a split file's first part stands for all"
    for path, data in parts.items():
        assert os.readlink(folder / path) == f"../../../blobs/{repo.hash_of(path)}" and (folder / path).read_bytes() == data
    assert "names several files: Tiny-Q4_K_M.gguf, Tiny-Q8_0.gguf" in refused(f"{NAME}:Tiny-Q")
    assert "no such file; there are " in refused(f"{NAME}:Q5")
    del hub.repositories[NAME].files["big/Tiny-F16-00003-of-00003.gguf"]
    assert "its part big/Tiny-F16-00003-of-00003.gguf is not there" in refused(f"{NAME}:F16")


def test_revisions(hub, pull, refused, cache, quern, env):
    repo = hub.add(NAME, SMALL, refs=("v1.0", "refs/pr/7"))
    refs = cache / "models--acme--Tiny-1B" / "refs"
    folder = pull(NAME, "--revision", "v1.0")
    assert (refs / "v1.0").read_text() == repo.commit and not (refs / "main").exists()
    assert quern.ok("inspect", NAME, env=env, cwd="/"), "the only snapshot is the model's"
    assert pull(NAME, "--revision", "refs/pr/7") == folder and (refs / "refs/pr/7").read_text() == repo.commit
    assert any(r.path.endswith("/revision/refs%2Fpr%2F7") for r in hub.requests)
    assert pull(NAME, "--revision", repo.commit) == folder and not (refs / repo.commit).exists()
    assert "RevisionNotFound" in refused(NAME, "--revision", "v2")


@pytest.mark.parametrize("words", [["acme"], ["a/b/c"], ["../x"], ["a--b/c"], ["acme/.."], ["-x/y"], ["acme/x:../y"], ["acme/x:/etc/passwd"],
                                   ["acme/x:"], ["acme/x", "--revision", "../main"], ["acme/x", "--revision", "/main"],
                                   ["acme/x", "--revision", "a b"], ["acme/ü"], ["acme/" + "x" * 97]])
def test_names_that_are_none(hub, refused, words):
    code = 2 if words[0].startswith("-") else 1
    assert code == 2 and refused(*words, code=2) or "expected" in refused(*words)
    assert not hub.requests


# ---- the network ----

def test_a_broken_download_goes_on_where_it_broke(hub, pull, cache):
    path = one_file(hub)
    hub.fail(path, broken_after(100_000), broken_after(150_000), answers(503), broken_after(0))
    assert pull(f"{NAME}:w.gguf").read_bytes() == DATA
    ranges = [(r.headers.get("Range"), r.headers.get("If-Range")) for r in hub.gets(path)]
    etag = f'"cdn-{SHA[:8]}"'
    assert ranges == [(None, None), ("bytes=100000-", etag)] + [("bytes=250000-", etag)] * 3
    assert blobs(cache) == [SHA]


def test_a_killed_download_goes_on_in_the_next_process(hub, pull, cache, quern, env):
    path = one_file(hub)
    hub.fail(path, stalls)
    process = subprocess.Popen([*quern.command, "pull", f"{NAME}:w.gguf"], env={**os.environ, **env}, stderr=subprocess.DEVNULL)
    part = cache / "models--acme--Tiny-1B" / "blobs" / f"{SHA}.incomplete"
    while not part.exists() or part.stat().st_size < 100_000:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cache / "models--acme--Tiny-1B" / "refs" / "main").exists(), "no name for what is not whole"
    hub.fail(path, lambda h: h.content(DATA, '"cdn"'))
    assert pull(f"{NAME}:w.gguf").read_bytes() == DATA
    assert [(r.headers.get("Range"), r.headers.get("If-Range")) for r in hub.gets(path)] == [(None, None), ("bytes=100000-", '"cdn"')]
    assert blobs(cache) == [SHA]


def test_another_etag_or_no_ranges_mean_from_the_beginning(hub, pull):
    path = one_file(hub)
    hub.fail(path, broken_after(100_000, etag='"old"'))
    assert pull(f"{NAME}:w.gguf").read_bytes() == DATA, "If-Range with the old ETag is answered 200"
    other = DATA[::-1]
    path = one_file(hub, other)
    hub.fail(path, broken_after(100_000), answers(200, other, ETag=None))
    assert pull(f"{NAME}:w.gguf").read_bytes() == other, "a server that does not know ranges"


@pytest.mark.parametrize("left", [b"x" * 1000, DATA[:-1] + b"?", DATA + b"more", DATA[:5000]])
def test_what_lies_there_unfinished_is_used_where_it_fits(hub, pull, cache, left):
    path = one_file(hub)
    folder = cache / "models--acme--Tiny-1B" / "blobs"
    folder.mkdir(parents=True)
    (folder / f"{SHA}.incomplete").write_bytes(left)
    assert pull(f"{NAME}:w.gguf").read_bytes() == DATA
    assert blobs(cache) == [SHA]
    asked = [r.headers.get("Range") for r in hub.gets(path)]
    assert asked == {1000: ["bytes=1000-", None], 5000: ["bytes=5000-"]}.get(len(left), [None])


def test_no_range_is_left_to_ask_for(hub, pull, cache):
    path = one_file(hub)
    hub.fail(path, broken_after(1000), answers(416, Content_Range="bytes */400000"))
    assert pull(f"{NAME}:w.gguf").read_bytes() == DATA
    assert [r.headers.get("Range") for r in hub.gets(path)] == [None, "bytes=1000-", None]


def test_what_does_not_match_is_discarded(hub, pull, refused, cache):
    path = one_file(hub)
    hub.fail(path, answers(200, DATA[:-1] + b"?"))
    line = refused(f"{NAME}:w.gguf")
    assert f"expected the SHA-256 {SHA}, found {hashlib.sha256(DATA[:-1] + b'?').hexdigest()}" in line and blobs(cache) == []
    hub.fail(path, broken_after(1000), lambda h: h.send(206, DATA[1000:-1] + b"?", Content_Range="bytes 1000-399999/400000"))
    assert pull(f"{NAME}:w.gguf").read_bytes() == DATA, "pieces that do not belong together: once more from the beginning"
    hub.add(NAME, {"small.txt": b"good"})
    hub.fail(f"/{NAME}/resolve/{hub.repositories[NAME].commit}/small.txt", answers(200, b"evil"))
    assert f"expected the git hash {git_hash(b'good')}" in refused(f"{NAME}:small.txt")


def test_sizes_must_be_those_of_the_list(hub, refused, cache):
    path = one_file(hub)
    hub.fail(path, answers(200, DATA + b"!"))
    assert "expected 400000 bytes as the list of files says, found 400001" in refused(f"{NAME}:w.gguf")
    hub.fail(path, answers(200, DATA[:-5]))
    assert "found 399995" in refused(f"{NAME}:w.gguf")

    def endless(h):
        h.send_response(200)
        h.send_header("Connection", "close")
        h.end_headers()
        h.close_connection = True
        for _ in range(1000):
            h.wfile.write(bytes(10_000))
    hub.fail(path, endless)
    assert "expected 400000 bytes, found more" in refused(f"{NAME}:w.gguf")
    hub.fail(path, lambda h: h.send(206, DATA, Content_Range="bytes 5-399999/400000"))
    assert refused(f"{NAME}:w.gguf")
    assert SHA not in blobs(cache)


def test_it_waits_as_long_as_the_server_asks_and_gives_up(hub, pull, refused):
    path = one_file(hub)
    hub.fail(path, answers(429, Retry_After="1"))
    start = time.monotonic()
    assert pull(f"{NAME}:w.gguf").read_bytes() == DATA and time.monotonic() - start > 0.99
    one_file(hub, DATA[1:])
    api = f"/api/models/{NAME}/revision/main"
    hub.fail(api, answers(429, Retry_After="3600"))
    n = len(hub.gets(api))
    assert "too many requests (HTTP 429): the server asks to wait 3600 s" in refused(NAME)
    assert len(hub.gets(api)) == n + 1
    hub.fail(api, *[answers(500, Retry_After="0")] * 9)
    assert "HTTP 500" in refused(NAME) and len(hub.gets(api)) == n + 6
    hub.faults.clear()


def test_a_server_that_is_not_there(refused, hub):
    gone = hub.servers[1].server_port
    hub.servers[1].shutdown()
    hub.servers.pop().server_close()
    start = time.monotonic()
    assert f"127.0.0.1 port {gone}" in refused(NAME, HF_ENDPOINT=f"http://127.0.0.1:{gone}").replace(":", " port ").replace("port  port", "port")
    assert time.monotonic() - start < 20 * TIMEOUT_SCALE


@pytest.mark.parametrize("status,code,expected", [
    (401, "RepoNotFound", "there is no such repository, or it is private: HF_TOKEN"), (404, "RepoNotFound", "not found (HTTP 404, RepoNotFound)"),
    (403, "GatedRepo", "is gated (HTTP 403): accept its terms"), (403, "", "HTTP 403"), (410, "", "HTTP 410"), (302, "", "HTTP 302")])
def test_refusals_of_the_server(hub, refused, status, code, expected):
    api = f"/api/models/{NAME}/revision/main"
    hub.fail(api, answers(status, b"<html>", X_Error_Code=code, X_Error_Message="because"))
    line = refused(NAME)
    assert line.startswith(f"quern: {NAME}: ") and expected in line and "because" in line
    assert len(hub.requests) == 1, "no second attempt would help"


# ---- token and redirects ----

def test_the_token_goes_to_the_endpoint_only(hub, pull, refused, tmp_path):
    hub.add(NAME, {**SMALL, BIG: SMALL[BIG]}, token=SECRET, gated=True)
    assert "is gated" in refused(NAME) and "is gated" in refused(NAME, HF_TOKEN="wrong")
    hub.requests.clear()
    assert pull(NAME, HF_TOKEN=SECRET)
    for r in hub.requests:
        assert (r.headers.get("Authorization") == f"Bearer {SECRET}") == hub.url.endswith(f":{r.port}"), r
    assert {r.port for r in hub.requests} == {s.server_port for s in hub.servers}
    (tmp_path / ".cache/huggingface").mkdir(parents=True)
    (tmp_path / ".cache/huggingface/token").write_text(SECRET + "\n")
    assert pull(NAME), "the token of the client's login"
    assert "token: expected printable characters" in refused(NAME, HF_TOKEN="a b\r\nHost: x")


def test_a_token_that_went_away_does_not_come_back(hub, pull):
    path = one_file(hub, token=SECRET)
    hub.fail(path, answers(302, Location=f"{hub.url}/cdn/{SHA}?again"), )
    resolve = f"/{NAME}/resolve/{hub.repositories[NAME].commit}/w.gguf"
    hub.fail(resolve, answers(302, Location=f"{hub.cdn_url}{path}"))
    hub.fail(path, lambda h: h.content(DATA, '"x"'))
    assert pull(f"{NAME}:w.gguf", HF_TOKEN=SECRET).read_bytes() == DATA
    last = hub.requests[-1]
    assert hub.url.endswith(f":{last.port}") and last.query == "again" and "Authorization" not in last.headers


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "//[::1", "loop"])
def test_redirects_that_lead_nowhere(hub, refused, to):
    path = one_file(hub)
    hub.fail(path, *[answers(302, Location=path if to == "loop" else to)] * 20)
    assert refused(f"{NAME}:w.gguf").startswith("quern: w.gguf: ")
    assert len(hub.gets(path)) < 10


def test_a_moved_repository_is_found(hub, pull):
    one_file(hub)
    hub.fail("/api/models/acme/Old/revision/main", answers(307, Location=f"/api/models/{NAME}/revision/main?blobs=true"))
    hub.fail(f"/acme/Old/resolve/{hub.repositories[NAME].commit}/w.gguf", answers(307, Location=f"/{NAME}/resolve/main/w.gguf"))
    assert pull("acme/Old:w.gguf").read_bytes() == DATA


def test_https_is_verified(hub, refused, tmp_path):
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / "cert",
                           "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], capture_output=True)
    if made.returncode:
        pytest.skip("no openssl to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = hub.servers[0]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    one_file(hub)
    assert "certificate" in refused(NAME, HF_ENDPOINT=f"https://localhost:{server.server_port}").lower() and not hub.requests


@pytest.mark.parametrize("endpoint", ["ftp://x", "huggingface.co", "https://", "https://a@b", "https://h/?q", "http://h/ x", "http://h\r\nX: y"])
def test_endpoints_that_are_none(refused, endpoint):
    assert "endpoint: expected https://HOST" in refused(NAME, HF_ENDPOINT=endpoint)


# ---- what the server says ----

GOOD = {"rfilename": "w.gguf", "size": 400_000, "blobId": "a" * 40, "lfs": {"sha256": SHA, "size": 400_000}}


@pytest.mark.parametrize("listing,expected", [
    *[({"sha": "a" * 40, "siblings": [GOOD, {**GOOD, "rfilename": name}]}, "relative paths")
      for name in ("../../x", "/etc/x", "a/../../x", "a//b", "a/./b", "a\\b", "", "a\n", "x" * 513, 5, None)],
    *[({"sha": sha, "siblings": [GOOD]}, "commit of 40") for sha in ("../../../x", "A" * 40, "a" * 39, "a" * 64, None)],
    *[({"sha": "a" * 40, "siblings": [{**GOOD, **wrong}]}, "expected its size and hash")
      for wrong in ({"lfs": {"sha256": "../" + "a" * 61, "size": 1}}, {"lfs": {"sha256": SHA, "size": -1}}, {"lfs": {"sha256": SHA, "size": 1e3}},
                    {"lfs": {"sha256": SHA.upper(), "size": 1}}, {"lfs": {"sha256": "a" * 40, "size": 1}}, {"lfs": {"sha256": SHA, "size": 1 << 50}},
                    {"lfs": None, "blobId": SHA}, {"lfs": None, "blobId": None}, {"lfs": None, "size": None})],
    ({"sha": "a" * 40}, "expected files"), ({"sha": "a" * 40, "siblings": {}}, "expected files"), ([], "JSON object"), (b"no", "expected JSON"),
    (b"", "expected JSON"), (b"[" * 100_000, "nested"), (b" " * (17 << 20), "more than 16 MiB"), (b'{"sha": "\xff"}', "expected UTF-8"),
])
def test_lists_that_are_none(hub, refused, cache, listing, expected):
    one_file(hub)
    hub.repositories[NAME].listing = listing if isinstance(listing, bytes) else json.dumps(listing).encode()
    assert expected in refused(f"{NAME}:w.gguf")
    assert not [p for p in cache.rglob("*") if not p.is_dir()] and not hub.gets("/resolve/")


# ---- the disk ----

def test_too_large_for_the_disk_is_said_before(hub, refused):
    hub.add(NAME, {"w.gguf": DATA})
    hub.repositories[NAME].listing = {"sha": "a" * 40, "siblings": [{**GOOD, "lfs": {"sha256": SHA, "size": 1 << 45}}]}
    assert "no room: 32768.0 GiB are needed, " in refused(f"{NAME}:w.gguf") and not hub.gets("/resolve/")


def test_a_disk_that_fills_up_is_an_error_and_then_resumed(hub, pull, quern, env, cache):
    path = one_file(hub)
    done = subprocess.run([*quern.command, "pull", f"{NAME}:w.gguf"], env={**os.environ, **env}, capture_output=True, timeout=60 * TIMEOUT_SCALE,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)))
    assert done.returncode == 1, text_of(done.stderr)
    assert "no room for w.gguf" in text_of(done.stderr) and "will be resumed" in text_of(done.stderr)
    assert pull(f"{NAME}:w.gguf").read_bytes() == DATA
    assert hub.gets(path)[1].headers["Range"] == f"bytes={cache_size_before(hub, path)}-"


def cache_size_before(hub, path):
    return int(hub.gets(path)[1].headers["Range"].removeprefix("bytes=").rstrip("-")) or pytest.fail("nothing was kept")


def test_a_cache_that_cannot_be_written(hub, refused, tmp_path):
    one_file(hub)
    (tmp_path / "file").write_text("")
    assert "cannot make the folder" in refused(f"{NAME}:w.gguf", HF_HUB_CACHE=str(tmp_path / "file" / "hub"))


@pytest.mark.skipif(SANITIZED, reason="shadow memory")
def test_memory_does_not_grow_with_the_file(hub, quern, env):
    data = Zeros(512 << 20)
    hub.add(NAME, {"w.gguf": data})
    done = quern.run("pull", f"{NAME}:w.gguf", "--quiet", env=env, memory=256 << 20, timeout=120)
    assert done.returncode == 0, text_of(done.stderr)
    assert not done.stderr and os.stat(text_of(done.stdout).strip()).st_size == 512 << 20


# ---- with others ----

def test_two_at_once_download_once(hub, quern, env):
    path = one_file(hub)
    release = threading.Event()

    def slow(h):
        release.wait(20)
        h.content(DATA, '"x"')
    hub.fail(path, slow)
    both = [subprocess.Popen([*quern.command, "pull", f"{NAME}:w.gguf"], env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(2)]
    while len(hub.gets("/revision/")) < 2 or not hub.gets(path):
        time.sleep(0.01)
    time.sleep(0.5 * TIMEOUT_SCALE)
    release.set()
    outputs = [p.communicate(timeout=30 * TIMEOUT_SCALE) for p in both]
    assert [p.returncode for p in both] == [0, 0] and len({o for o, _ in outputs}) == 1
    assert len(hub.gets(path)) == 1
    assert any(b"another process is downloading it: waiting" in e for _, e in outputs)


def test_a_lock_of_the_client_is_respected(hub, quern, env, cache):
    path = one_file(hub)
    lock = cache / ".locks/models--acme--Tiny-1B" / f"{SHA}.lock"
    lock.parent.mkdir(parents=True)
    holder = subprocess.Popen([sys.executable, "-c", "import sys\nfrom huggingface_hub.utils import WeakFileLock\n"
                               f"with WeakFileLock({str(lock)!r}):\n print('locked', flush=True)\n sys.stdin.read()"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"locked\n"
    process = subprocess.Popen([*quern.command, "pull", f"{NAME}:w.gguf"], env={**os.environ, **env}, stderr=subprocess.PIPE)
    time.sleep(1 * TIMEOUT_SCALE)
    assert process.poll() is None and not hub.gets(path)
    holder.communicate()
    assert process.wait(20 * TIMEOUT_SCALE) == 0 and b"waiting" in process.stderr.read()


def test_the_client_finds_what_was_pulled(hub, pull, env):
    hub.add(NAME, {**SMALL, "sub/config.json": b"{}"}, refs=("v1",))
    folder = pull(NAME)
    assert client(env, f"print(snapshot_download({NAME!r}, local_files_only=True))") == str(folder)
    assert client(env, f"print(hf_hub_download({NAME!r}, {BIG!r}, local_files_only=True))") == str(folder / BIG)
    hub.requests.clear()
    names = sorted(SMALL)
    assert client(env, f"print(snapshot_download({NAME!r}, allow_patterns={names!r}))") == str(folder)
    assert not [r for r in hub.gets() if "/api/" not in r.path], "nor does it download again"
    report = client(env, "i = scan_cache_dir()\nprint(len(i.warnings), [r.repo_id for r in i.repos], i.size_on_disk)")
    assert report == f"0 ['{NAME}'] {sum(map(len, set(SMALL.values())))}"


def test_what_the_client_pulled_is_not_pulled_again(hub, pull, env):
    hub.add(NAME, SMALL)
    folder = client(env, f"print(snapshot_download({NAME!r}))")
    hub.requests.clear()
    assert str(pull(NAME)) == folder
    assert [r.path for r in hub.requests] == [f"/api/models/{NAME}/revision/main"]


def test_unfinished_files_are_shared_too(hub, pull, env, cache, refused):
    path = one_file(hub)
    hub.fail(path, broken_after(123_000), *[answers(410)] * 2)
    refused(f"{NAME}:w.gguf")
    assert (cache / "models--acme--Tiny-1B" / "blobs" / f"{SHA}.incomplete").stat().st_size == 123_000
    hub.faults.clear()
    assert pathlib.Path(client(env, f"print(hf_hub_download({NAME!r}, 'w.gguf'))")).read_bytes() == DATA


def test_a_new_commit_shares_what_did_not_change(hub, pull, cache):
    hub.add(NAME, SMALL)
    old = pull(NAME)
    hub.add(NAME, {**SMALL, "config.json": SMALL["config.json"] + b"\n"}, commit="cd" * 20)
    hub.requests.clear()
    new = pull(NAME)
    assert new != old and old.is_dir() and (cache / "models--acme--Tiny-1B/refs/main").read_text() == "cd" * 20
    assert [r.path for r in hub.gets("/resolve/")] == [f"/{NAME}/resolve/{'cd' * 20}/config.json"]


def test_offline(hub, pull, refused, cache):
    hub.add(NAME, SMALL)
    assert "HF_HUB_OFFLINE is set: " in refused(NAME, HF_HUB_OFFLINE="1")
    folder = pull(NAME)
    hub.requests.clear()
    assert pull(NAME, HF_HUB_OFFLINE="ON") == folder and pull(f"{NAME}:config.json", HF_HUB_OFFLINE="1") == folder / "config.json"
    assert "not in the cache" in refused(f"{NAME}:x.gguf", HF_HUB_OFFLINE="true")
    assert not hub.requests


# ---- what a person sees ----

def test_plain_lines(hub, quern, env):
    hub.add(NAME, SMALL)
    done = quern.run("pull", NAME, env=env)
    lines = text_of(done.stderr).splitlines()
    assert lines[0].startswith(f"{NAME} at {hub.repositories[NAME].commit[:12]}: {len(SMALL)} files, ") and len(lines) == 1 + len(SMALL)
    assert "\r" not in text_of(done.stderr)
    assert all("(was there)" in line for line in text_of(quern.run("pull", NAME, env=env).stderr).splitlines()[1:])
    assert quern.run("pull", NAME, "--quiet", env=env).stderr == b""


def test_a_bar_on_a_terminal(hub, quern, env):
    path = one_file(hub)

    def slow(h):
        h.send_response(200)
        h.send_header("Content-Length", str(len(DATA)))
        h.end_headers()
        for at in range(0, len(DATA), 40_000):
            h.wfile.write(DATA[at:at + 40_000])
            time.sleep(0.12)
    hub.fail(path, slow)
    master, slave = pty.openpty()
    process = subprocess.Popen([*quern.command, "pull", f"{NAME}:w.gguf"], env={**os.environ, **env}, stderr=slave, stdout=subprocess.DEVNULL)
    os.close(slave)
    seen = b""
    try:
        while data := os.read(master, 65536):
            seen += data
    except OSError:
        pass
    os.close(master)
    assert process.wait(20 * TIMEOUT_SCALE) == 0
    assert b"%" in seen and b"of 390.6 KiB" in seen and b"\r\x1b[K[####" in seen and seen.strip().endswith(b"w.gguf  390.6 KiB")
