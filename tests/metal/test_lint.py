"""tools/metal/msl_compile.sh refuses each program of tests/metal/bad for its own reason, and accepts the right one.

The first line of a bad program is `// expect: FRAGMENT`, a part of the message that must be printed.
"""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
COMPILE = REPO / "tools/metal/msl_compile.sh"
CLANG = os.environ.get("CLANG", "clang-19")
PROGRAMS = sorted((REPO / "tests/metal/bad").glob("*.metal"))

sys.path.insert(0, str(REPO / "tools/metal"))
import msl_lint  # noqa: E402

needs_clang = pytest.mark.skipif(not shutil.which(CLANG), reason=f"{CLANG} is not installed")


def compiled(source, tmp_path):
    return subprocess.run([COMPILE, source, tmp_path / "out.o", "-O1"], capture_output=True, text=True, timeout=120)


@needs_clang
@pytest.mark.parametrize("program", [p for p in PROGRAMS if p.stem != "00_ok"], ids=lambda p: p.stem)
def test_a_bad_program_is_refused_for_its_reason(program, tmp_path):
    first = program.read_text().splitlines()[0]
    assert first.startswith("// expect: ")
    done = compiled(program, tmp_path)
    assert done.returncode != 0
    assert first.removeprefix("// expect: ") in done.stderr
    assert not (tmp_path / "out.o").exists()


@needs_clang
def test_the_right_program_is_accepted(tmp_path):
    done = compiled(REPO / "tests/metal/bad/00_ok.metal", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_there_are_22_bad_programs():
    assert len(PROGRAMS) == 23


@needs_clang
def test_too_many_threadgroup_bytes_are_refused(tmp_path):
    text = (REPO / "tests/metal/bad/00_ok.metal").read_text()
    large = text.replace("y[q_tt.x] = a.n;", "threadgroup float s[SIZE]; s[q_tt.x] = 1.0f; "
                         "threadgroup_barrier(mem_flags::mem_threadgroup); y[q_tt.x] = s[255 - q_tt.x];")
    for size, code in (8192, 0), (8193, 1):
        (tmp_path / "in.metal").write_text(large.replace("SIZE", str(size)))
        done = compiled(tmp_path / "in.metal", tmp_path)
        assert done.returncode == code, done.stderr
    assert "kernel k has 32772 bytes of threadgroup arrays, at most 32768" in done.stderr


IDS = ("uint3 q_tg [[threadgroup_position_in_grid]], uint3 q_tt [[thread_position_in_threadgroup]], "
       "ushort q_ln [[thread_index_in_simdgroup]], ushort q_sg [[simdgroup_index_in_threadgroup]]")


@pytest.mark.parametrize("text, fragment", [
    (f"kernel void k(device float *y [[buffer(1)]], {IDS}) {{ }}", "buffer(1) is parameter 0"),
    (f"kernel void k(device float *y [[buffer(0)]], {IDS.replace('ushort q_sg', 'uint q_sg')}) {{ }}", "none of the dialect's"),
    ("kernel void k(device float *y [[buffer(0)]], uint3 t [[thread_position_in_threadgroup]]) { }", "expected the four ids"),
    (f"struct A {{ int n; half h; }}; kernel void k(constant A &a [[buffer(0)]], {IDS}) {{ }}", "`half h`, expected 32-bit"),
    (f"typedef struct {{ float4 v; }} A; kernel void k(constant A &a [[buffer(0)]], {IDS}) {{ }}", "`float4 v`, expected 32-bit"),
    (f"struct A {{ int n; }}; kernel void k(constant A &a [[buffer(0)]], device int *y [[buffer(1)]], {IDS}) {{ }}",
     "a buffer after the args struct"),
    ("static int f(int n); static int g(int n) { return f(n); } static int f(int n) { return g(n - 1); }", "recursion of g"),
    ("void f() { half2 x = (const half2)(1.0h, 2.0h); }", "a C vector cast"),
    ("void f() { int y = __builtin_popcount(3); }", "a reserved name"),
    ("void f() { if constexpr (true) { } }", "C++17"),
    ("void f() { int y = [](int x) { return x; }(3); }", "a lambda"),
    ("#define X 1", "the text that ships is expanded"),
    (f"kernel void k(device int *y [[buffer(0)]], {IDS}) {{ }} kernel void k(device float *y [[buffer(0)]], {IDS}) {{ }}", "kernel k twice"),
])
def test_the_lint_alone_refuses(text, fragment):
    assert any(fragment in what for _, what in msl_lint.lint(text)), msl_lint.lint(text)


def test_the_lint_reads_no_comments():
    assert msl_lint.lint("// goto, (float4)(1)\n/* expf(1) */ void f() { int x[2]; x[x[0]] = 1; if (x[0]) { f2(); } }") == []
