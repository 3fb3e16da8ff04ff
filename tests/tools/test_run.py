"""The ./run script where something is amiss: it says so, and stops."""

import pathlib
import shutil
import subprocess

import pytest

RUN = pathlib.Path(__file__).resolve().parents[2] / "run"
TOOLS = ("sh", "cat", "dirname", "env", "mkdir", "tail")


@pytest.fixture
def world(tmp_path):
    """Runs ./run with no programs but TOOLS and those that `programs` gives as shell text; a Debian without root or sudo."""
    if not shutil.which("apt-get"):
        pytest.skip("./run is another script without apt-get")

    def run(*arguments, **programs):
        folder = tmp_path / "bin"
        folder.mkdir()
        for tool in TOOLS:
            (folder / tool).symlink_to(shutil.which(tool))
        debian = {"id": "echo 1000", "uname": "echo Linux", "apt_get": "exit 1", "dpkg_query": "echo installed"}
        for name, text in {**debian, **programs}.items():
            program = folder / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        return subprocess.run([RUN, *arguments], env={"PATH": str(folder), "QUERN_BUILD": str(tmp_path / "build")},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return run


@pytest.mark.parametrize("arguments", [["build"], ["inspect", "--shapes"], []])
def test_a_failed_build_is_told(world, arguments):
    done = world(*arguments, meson="exit 0", ninja="echo clock.c: broken; exit 1")
    assert done.returncode == 1
    assert "clock.c: broken" in done.stderr
    assert not done.stdout


def test_a_failed_configuration_is_told(world):
    done = world("build", meson="echo no such library; exit 1")
    assert done.returncode == 1
    assert "no such library" in done.stderr


def test_without_root_or_sudo_the_command_is_named(world):
    done = world("build", dpkg_query="exit 1")
    assert done.returncode == 1
    assert "as root" in done.stderr and "apt-get install gcc " in done.stderr


def test_a_build_is_silent_on_stdout(world):
    program = 'echo "#!/bin/sh\necho answer: \\$*" >"$2/quern"; chmod +x "$2/quern"; echo noise'
    done = world("inspect", "x", meson="echo noise", ninja=program, chmod=f'exec {shutil.which("chmod")} "$@"')
    assert (done.returncode, done.stdout) == (0, "answer: inspect x\n"), done.stderr
