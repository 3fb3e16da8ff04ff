"""Servers for these tests: `fake` and `make_fake` run the real server over a scripted engine (fake_engine.c), `real`
and `make_real` run `quern serve` with real models.

QUERN_FAKE_BIN      quern_fake_server (default: tests/server/quern_fake_server beside QUERN_BIN's build)
QUERN_TEST_BACKEND  the backend that runs the real models (default cpu)
"""

import os
import shlex

import pytest
from server_client import REPO, Server, built

BACKEND = os.environ.get("QUERN_TEST_BACKEND", "cpu")


def fake_binary():
    return built("tests/server/quern_fake_server", "QUERN_FAKE_BIN")


def starter(command):
    started = []

    def start(*options, **kw):
        server = Server([*command, *options], **kw)
        started.append(server)
        return server
    return start, started


def stop_all(started):
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def make_fake():
    if not os.path.exists(fake_binary()):
        pytest.skip(f"{fake_binary()} is not built")
    start, started = starter([fake_binary(), "--port", "0"])
    yield start
    stop_all(started)


@pytest.fixture(scope="session")
def _fake():
    if not os.path.exists(fake_binary()):
        pytest.skip(f"{fake_binary()} is not built")
    server = Server([fake_binary(), "--port", "0"])
    yield server
    server.stop()


@pytest.fixture
def fake(_fake):
    """One server for all tests that leave it as they found it, which is checked."""
    yield _fake
    assert _fake.process.poll() is None, _fake.stderr
    _fake.wait_for(lambda p: p["server"]["running"] == 0)


def quern_command():
    return shlex.split(os.environ.get("QUERN_BIN") or str(REPO / "build" / "quern"))


def real_models():
    """NAME=PATH of two models: the embedded ones, else the small checkpoints of the goldens."""
    own = sorted(p.parent for p in (REPO / "models").glob("*/config.json"))
    if len(own) >= 2:
        return [f"{p.name}={p}" for p in own]
    golden = sorted(p.parent for root in (REPO / "tests/golden/data", REPO.parent / "shared/golden")
                    for p in root.glob("models/*/config.json"))
    names = {p.name: p for p in reversed(golden)}
    return [f"{n}={p}" for n, p in sorted(names.items())][:2]


def serve_command(models):
    return [*quern_command(), "serve", "--port", "0", "--backend", BACKEND, *[w for m in models for w in ("--model", m)]]


@pytest.fixture
def make_real():
    if not os.path.exists(quern_command()[-1]):
        pytest.skip(f"{quern_command()[-1]} is not built")
    models = real_models()
    if len(models) < 2:
        pytest.skip("no models: neither models/* nor goldens")
    start, started = starter(serve_command(models))
    yield start
    stop_all(started)


@pytest.fixture(scope="session")
def _real():
    if not os.path.exists(quern_command()[-1]):
        pytest.skip(f"{quern_command()[-1]} is not built")
    models = real_models()
    if len(models) < 2:
        pytest.skip("no models: neither models/* nor goldens")
    server = Server(serve_command(models))
    yield server
    server.stop()


@pytest.fixture
def real(_real):
    yield _real
    assert _real.process.poll() is None, _real.stderr
    _real.wait_for(lambda p: p["server"]["running"] == 0)
