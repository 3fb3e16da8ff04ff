"""quern chat, from a pipe and in a terminal, with the embedded model; and commands whose output cannot be written."""

import errno
import os
import pty
import select
import signal
import subprocess
import time

import conftest
import pytest

MODEL = conftest.REPO / "models" / "tiny-qwen2"


def test_from_a_pipe_each_line_is_a_message(quern):
    one = quern.ok("chat", MODEL, "--strategy", "greedy", input=b"What is 1 plus 1?")
    two = quern.ok("chat", MODEL, "--strategy", "greedy", input=b"What is 1 plus 1?\n/reset\n\nWhat is 1 plus 1?\n")
    assert one.strip() and two == one + one


def test_an_error_from_a_pipe_is_exit_1(quern):
    assert "context" in quern.refused("chat", MODEL, "--context", 16, input=b"hello\n")


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, words, env):
        self.seen, self.open = b"", True
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.execvpe(words[0], words, {**os.environ, **env})

    def until(self, wanted, seconds=30):
        """Reads until there is `wanted`, and forgets what is before it; None: until the command has ended."""
        end = time.monotonic() + seconds * conftest.TIMEOUT_SCALE
        while self.open and (wanted is None or wanted not in self.seen):
            assert time.monotonic() < end, f"{wanted!r} does not come after {self.seen!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    data = os.read(self.fd, 4096)
                except OSError as e:  # Linux's way to say that the other side has gone
                    assert e.errno == errno.EIO
                    data = b""
                self.open = bool(data)
                self.seen += data
        if wanted is not None:
            assert wanted in self.seen, f"ended without {wanted!r}: {self.seen!r}"
            self.seen = self.seen.split(wanted, 1)[1]

    def write(self, text):
        os.write(self.fd, text.encode())

    def exit_code(self):
        """Of the command, whose terminal is no longer open."""
        child, self.child = self.child, None
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def close(self):
        os.close(self.fd)
        if self.child:
            os.kill(self.child, signal.SIGKILL)
            self.exit_code()


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "nowhere"])
def test_in_a_terminal(quern, locale):
    terminal = Terminal([*quern.command, "chat", str(MODEL), "--strategy", "greedy"], {"LC_ALL": locale, "TERM": "xterm"})
    try:
        terminal.until(b"> ")
        terminal.write("Hello, café!\r")
        terminal.until("café!\r\n".encode())
        terminal.until(b"tokens/s")
        terminal.until(b"> ")
        terminal.write("/quit\r")
        terminal.until(None)
        assert terminal.exit_code() == 0
    finally:
        terminal.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("command", [["inspect", MODEL], ["run", MODEL, "x", "-n", "1"], ["--help"], ["--version"]])
def test_a_full_disk_is_told(quern, command):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*quern.command, *map(str, command)], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and b"cannot write" in done.stderr
