"""The Unicode tables in src/text are what tools/unicode_tables.py makes."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import unicode_tables  # noqa: E402

why_not = unicode_tables.unmet()
pytestmark = pytest.mark.skipif(why_not is not None, reason=f"unicode tables: {why_not}")


def check(root):
    return subprocess.run([sys.executable, root / "tools" / "unicode_tables.py", "--check"], capture_output=True,
                          text=True, timeout=300)


def test_tables_are_the_generated_ones():
    done = check(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_finds_a_changed_row_in_either_table(tmp_path):
    changes = {"src/text/nfc.c": ("{0x9fe, 0x9fe}, ", ""),
               "src/text/pretokenizer_unicode.c": ("0xece, 0x901}", "0xece, 0x903}")}
    (tmp_path / "src/text").mkdir(parents=True)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/unicode_tables.py", tmp_path / "tools")
    for name, (old, new) in changes.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    done = check(tmp_path)
    assert done.returncode == 1, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == sorted(changes, reverse=True)
