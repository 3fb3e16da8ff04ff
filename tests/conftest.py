"""Fixtures of all black-box tests: the quern binary, found and run the same way everywhere.

QUERN_BIN            the binary (default build/quern); several words are a command: "qemu-aarch64 -L /usr/… /path/quern"
QUERN_TIMEOUT_SCALE  multiplies every timeout, for sanitizers, emulators and slow runners
QUERN_TEST_BACKEND   the backend that runs models (default cpu); the goldens' rules for GPUs hold on any other
QUERN_SANITIZED=1    the binary is an ASan or TSan build, whose shadow memory no RLIMIT_AS can hold
QUERN_EMULATED=1     it runs under qemu-user; then, and sanitized, large files of cases are sampled (SAMPLED)
"""

import json
import os
import pathlib
import resource
import shlex
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_SCALE = float(os.environ.get("QUERN_TIMEOUT_SCALE", "1"))
BACKEND = os.environ.get("QUERN_TEST_BACKEND", "cpu")
RUNS_A_MODEL = ("run", "logits", "bench")
SANITIZED = os.environ.get("QUERN_SANITIZED") == "1"
EMULATED = os.environ.get("QUERN_EMULATED") == "1"
# Where a run takes several times as long, of these files one case in so many: (sanitized, emulated). Odd where
# a parameter has two values, which take turns.
SAMPLED = {"test_damage": (1, 24), "test_damage_gguf": (1, 24), "test_formats": (6, 12), "test_packed": (4, 12), "test_quantize": (4, 19),
           "test_generate": (1, 3), "test_gguf": (1, 3), "test_bench": (1, 5)}


def quern_command():
    words = shlex.split(os.environ.get("QUERN_BIN") or str(REPO / "build" / "quern"))
    # A relative path is meant from the repository, wherever pytest was started.
    return [str(REPO / w) if "/" in w and not w.startswith("/") else w for w in words]


class Quern:
    """Runs the binary. Nothing here forgives: a signal, a timeout or an unexpected exit code fails the test."""

    def __init__(self, command):
        self.command = command

    def run(self, *args, input=None, timeout=60, memory=None, stack=None, env=None, cwd=None):
        """The finished process, stdout and stderr as bytes. memory and stack are limits in bytes; macOS takes neither."""
        def limit():
            if memory is not None and not SANITIZED:
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            if stack is not None:
                resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))
        words = [*self.command, *[str(a) for a in args]]
        if BACKEND != "cpu" and args and args[0] in RUNS_A_MODEL:
            words += ["--backend", BACKEND]
        try:
            done = subprocess.run(words, input=input, capture_output=True, timeout=timeout * TIMEOUT_SCALE, cwd=cwd,
                                  preexec_fn=limit if (memory or stack) and sys.platform != "darwin" else None,
                                  env=None if env is None else {**os.environ, **env})
        except subprocess.TimeoutExpired:
            pytest.fail(f"{shlex.join(words)}: still running after {timeout * TIMEOUT_SCALE:g} s")
        if done.returncode < 0:
            pytest.fail(f"{shlex.join(words)}: ended by signal {-done.returncode}\n{text_of(done.stderr)}")
        return done

    def ok(self, *args, **options):
        """stdout of a run that must succeed."""
        done = self.run(*args, **options)
        if done.returncode != 0:
            pytest.fail(f"{shlex.join(map(str, args))}: exit {done.returncode}\n{text_of(done.stderr)}")
        return done.stdout

    def json(self, *args, **options):
        return json.loads(self.ok(*args, **options))

    def peak_kib(self, *args):
        """A run's peak, told by a small parent: Linux counts what a process was before it became another."""
        code = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        words = [sys.executable, "-S", "-c", code, *self.command, *map(str, args)]
        peak = int(subprocess.run(words, capture_output=True, check=True).stdout)
        return peak // 1024 if sys.platform == "darwin" else peak  # macOS counts bytes

    def refused(self, *args, **options):
        """The one line on stderr of a run that must fail with exit code 1."""
        done = self.run(*args, **options)
        lines = text_of(done.stderr).splitlines()
        if done.returncode != 1 or len(lines) != 1 or not lines[0].strip():
            pytest.fail(f"{shlex.join(map(str, args))}: exit {done.returncode} where 1 and one line on stderr are due; "
                        f"stderr has {len(lines)} lines:\n{text_of(done.stderr)[:2000]}")
        return lines[0]


def text_of(data):
    return data.decode("utf-8", errors="backslashreplace")


def pytest_report_header(config):
    shared = os.environ.get("QUERN_SHARED") or REPO.parent / "shared"
    return [f"quern: {shlex.join(quern_command())}", f"shared goldens: {shared}"]


@pytest.fixture(scope="session")
def quern():
    command = quern_command()
    if not os.path.exists([word for word in command if "/" in word][-1]):
        pytest.fail(f"no binary at {shlex.join(command)}: build it (./run build) or set QUERN_BIN")
    return Quern(command)


def pytest_collection_modifyitems(config, items):
    if not SANITIZED and not EMULATED:
        return
    n, left_out = {}, []
    for item in items:
        name = item.path.stem
        n[name] = n.get(name, -1) + 1
        if name in SAMPLED and n[name] % SAMPLED[name][EMULATED]:
            left_out.append(item)
    items[:] = [item for item in items if item not in set(left_out)]
    config.left_out = len(left_out)
    if hasattr(config, "workeroutput"):  # a process of pytest-xdist: each collects all cases
        config.workeroutput["left_out"] = len(left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    node.config.left_out = getattr(node, "workeroutput", {}).get("left_out", getattr(node.config, "left_out", 0))


def pytest_terminal_summary(terminalreporter, config):
    if getattr(config, "left_out", 0):
        terminalreporter.write_line(f"a sample: {config.left_out} cases left out, SAMPLED in tests/conftest.py says of which")
