"""Ctrl-C: the first asks for an end, the second is one."""

import array
import fcntl
import os
import signal
import subprocess
import termios
import time

import conftest
import pytest

MODEL = conftest.REPO / "models" / "tiny-qwen2"


def start(quern, *words, **streams):
    return subprocess.Popen([*quern.command, *map(str, words)], **streams)


def bytes_in(pipe):
    n = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, n)
    return n[0]


def await_true(condition):
    end = time.monotonic() + 60 * conftest.TIMEOUT_SCALE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def interrupt(process, seconds=30):
    """True: it has ended."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(seconds * conftest.TIMEOUT_SCALE)
    except subprocess.TimeoutExpired:
        return False
    return True


def full_pipe(n_free):
    """Both ends, and how many bytes fill it."""
    out, into = os.pipe()
    os.set_blocking(into, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(into, bytes(4096))
    os.set_blocking(into, True)
    n = bytes_in(out)
    os.read(out, n_free)
    return out, into, n


def test_an_evaluation_stops_waiting_for_its_text(quern, tmp_path):
    text, into = os.pipe()
    process = start(quern, "eval", MODEL, "-", "--imatrix", tmp_path / "i.gguf", stdin=text, stderr=subprocess.PIPE)
    os.write(into, b"some text")
    await_true(lambda: bytes_in(text) == 0)
    time.sleep(0.5 * conftest.TIMEOUT_SCALE)  # the read after this one waits
    ended = interrupt(process)
    process.kill()
    assert ended and process.wait() == 1
    assert conftest.text_of(process.stderr.read()).splitlines()[-1] == "quern: cancelled" and not os.listdir(tmp_path)
    os.close(text)
    os.close(into)


@pytest.mark.parametrize("command", [["run", MODEL, "hello"], ["chat", MODEL]], ids=["run", "chat"])
def test_a_reader_that_does_not_read_holds_nobody_up(quern, command):
    out, into, full = full_pipe(4096)
    process = start(quern, *command, "-n", 1900, "--ignore-eos", stdin=subprocess.PIPE, stdout=into, stderr=subprocess.DEVNULL)
    process.stdin.write(b"hello\n")
    process.stdin.flush()
    await_true(lambda: bytes_in(out) > full - 64)
    time.sleep(0.2 * conftest.TIMEOUT_SCALE)  # the write that finds no room
    ended = interrupt(process, 1) or interrupt(process)
    process.kill()
    assert ended and process.wait() == -signal.SIGINT
    os.close(out)
    os.close(into)
