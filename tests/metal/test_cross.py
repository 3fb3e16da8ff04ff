"""The Metal backend cross-compiles for Apple Silicon and links to a Mach-O executable (tools/metal/cross_macho.sh)."""
import pathlib
import subprocess

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]


def test_a_macho_executable_links(tmp_path):
    done = subprocess.run([REPO / "tools/metal/cross_macho.sh", tmp_path / "out"], capture_output=True, text=True, timeout=300)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes()[:8] == bytes.fromhex("cffaedfe0c000001")
