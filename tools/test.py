#!/usr/bin/env python3
"""Runs the test suites and counts their cases; `./run tests` and `./run checks` call it in the tests' venv.

usage: tools/test.py --build DIR (tests | checks) [SUITE …]
QUERN_TEST_JOBS test programs run at once: as many as there are processors, eight at most, unless it is set.
Ends with `total: N passed, N failed, N skipped`; exit 1 when anything failed. Skips are printed with their reasons.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
JOBS = max(1, int(os.environ.get("QUERN_TEST_JOBS") or min(8, CPUS)))


class Count:
    """Cases passed, failed and skipped; failures and skips are told as they come."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped

    def result(self, ok, name):
        print(f"{'ok  ' if ok else 'FAIL'} {name}", flush=True)
        self.add(passed=ok, failed=not ok)
        return ok

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def sh(command, env=None, timeout=3600, **keywords):
    """Runs a command; the completed process with stdout and stderr together."""
    try:
        return subprocess.run([str(c) for c in command], env={**os.environ, **(env or {})}, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **keywords)
    except subprocess.TimeoutExpired as e:
        out = e.stdout.decode(errors="replace") if isinstance(e.stdout, bytes) else e.stdout or ""
        return subprocess.CompletedProcess(command, 124, f"{out}\ntimed out after {timeout} s")


def c_tests(build, suites, count, env=None, wrapper=(), timeout=600):
    """The cmocka programs of the given Meson suites, built now; their cases counted from TAP."""
    if not count.result(ninja(build, "meson-test-prereq"), f"build of the C tests in {build.name}"):
        return
    tests = [test for test in json.loads(sh(["meson", "introspect", "--tests", build]).stdout)
             if any(suite.split(":")[-1] in suites for suite in test["suite"])]
    if not tests:
        count.result(False, f"{build.name} has no tests of {', '.join(sorted(suites))}: cmocka was not found")

    def run(test):
        started = time.monotonic()
        done = sh([*wrapper, *test["cmd"]], {**test["env"], **(env or {}), "CMOCKA_MESSAGE_OUTPUT": "TAP"}, timeout)
        return done, time.monotonic() - started

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for test, (done, seconds) in zip(tests, pool.map(run, tests)):
            c_result(test["name"], done, seconds, count)


def c_result(name, done, seconds, count):
    """Counts and tells the cases of one cmocka program that has ended."""
    lines = done.stdout.splitlines()
    skips = [line for line in lines if re.match(r"ok \d+ .*# SKIP", line) or re.match(r"not ok \d+ .*# SKIP", line)]
    bad = [line for line in lines if re.match(r"not ok\b", line) and line not in skips]
    good = sum(bool(re.match(r"ok \d+", line)) and line not in skips for line in lines)
    if done.returncode and not bad or not (good or bad or skips):
        bad.append(f"{name}: ended with {done.returncode}")
    count.add(good, len(bad), len(skips))
    for line in skips:
        print(f"SKIP {name}: {line}")
    print(f"{'FAIL' if bad else 'ok  '} {name}: {good} cases, {seconds:.1f} s", flush=True)
    if bad:
        print("\n".join(lines[-60:]), *bad, sep="\n", flush=True)


def pytest(folder, count, quern, name, env=None, arguments=(), timeout=3000):
    """A folder of pytest files against the program `quern` (a command line)."""
    report = pathlib.Path(f"{os.environ['QUERN_TEST_BUILD']}/junit-{name}.xml")
    report.unlink(missing_ok=True)
    done = sh([sys.executable, "-m", "pytest", "-q", "-rs", "--tb=short", "-p", "no:cacheprovider", "-n", JOBS, "--dist", "worksteal",
               ROOT / folder, f"--junitxml={report}", *arguments],
              {"QUERN_BIN": str(quern), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}, timeout, cwd=ROOT)
    if not report.exists() or done.returncode not in (0, 1):
        print(done.stdout[-6000:])
        count.result(False, f"{name}: pytest ended with {done.returncode}")
        return
    suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
    n, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    count.add(n - failed - skipped, failed, skipped)
    for line in re.findall(r"^SKIPPED .*$", done.stdout, re.M):
        print(line)
    sampled = re.search(r"^a sample: (.*)$", done.stdout, re.M)
    left_out = f" (a sample: {sampled[1]})" if sampled else ""
    print(f"{'FAIL' if failed else 'ok  '} {name}: {n} cases{left_out}, {float(suite.get('time')):.1f} s", flush=True)
    if failed:
        print(done.stdout[-12000:], flush=True)


def ninja(build, *targets, env=None):
    """Builds targets; True on success."""
    done = sh(["ninja", "-C", build, *targets], env)
    if done.returncode:
        print(done.stdout[-6000:])
    return done.returncode == 0


def server(build, count):
    """The black-box server tests, over a scripted engine and over the real one."""
    if count.result(ninja(build, "tests/server/quern_fake_server", "tests/server/quern_dying"),
                    "build of the server over a scripted engine, and on a device that dies"):
        pytest("tests/server", count, build / "quern", "server")


def setup(build, *options, env=None):
    """A Meson build directory with the given options, and the program built in it. True on success."""
    if not (build / "build.ninja").exists():
        shutil.rmtree(build, ignore_errors=True)
        done = sh(["meson", "setup", build, ROOT, *options], env)
        if done.returncode:
            print(done.stdout[-4000:])
            return False
    return ninja(build, "quern", "tests/server/quern_fake_server", "tests/server/quern_dying", "meson-test-prereq", env=env)


# ---- ./run tests ----

def check(build, count):
    done = sh([sys.executable, ROOT / "tools/check/check.py", "--build", build])
    print(done.stdout, end="", flush=True)
    m = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", done.stdout, re.M)
    count.add(*map(int, m.groups())) if m else count.result(False, "tools/check/check.py")


def models(build, count):
    done = sh([sys.executable, ROOT / "tools/eval_models.py", "--quern", build / "quern"], timeout=1200, cwd=ROOT)
    print(done.stdout, end="", flush=True)
    count.result(done.returncode == 0, "tools/eval_models.py: accuracies and stories of the embedded models")


def metal(build, count):
    """The Metal backend without a Mac: the shipped kernels on an emulator, the host on a strict fake (docs/metal.md)."""
    if sys.platform == "darwin":
        print("SKIP metal: the emulator runs on Linux; on a Mac: quern selftest --backend metal")
        count.add(skipped=1)
        return
    if "quern_metal" not in (build / "build.ninja").read_text():
        print("SKIP metal: clang-19, libclang-rt-19-dev, lld-19 and gobjc are needed, and were not there when the build was configured")
        count.add(skipped=1)
        return
    c_tests(build, {"metal"}, count, timeout=1200)
    if count.result(ninja(build, "tests/metal/fake/quern_metal"), "build of the command with the Metal backend on its emulator"):
        pytest("tests/metal", count, build / "quern", "metal", {"QUERN_METAL_BIN": str(build / "tests/metal/fake/quern_metal")})


def cuda(build, count):
    """The CUDA backend without a card: what nvcc makes of its kernels, as PTX, on an emulated one (docs/gpu.md)."""
    if "quern_cuda" not in (build / "build.ninja").read_text():
        print("SKIP cuda: nvcc is needed, and was not there when the build was configured")
        count.add(skipped=1)
        return
    c_tests(build, {"cuda"}, count)
    if count.result(ninja(build, "tests/cuda/quern_cuda", "tests/cuda/libcuda.so.1"), "build of the command with the kernels' PTX, and of the card"):
        program = build / "tests/cuda/quern_cuda"
        pytest("tests/cuda", count, build / "quern", "cuda", {"QUERN_CUDA_BIN": str(program), "QUERN_TIMEOUT_SCALE": "5"})
        first, *more = [f"tests/golden/test_{case}" for case in (
            *(f"packed.py::test_{case}" for case in ("mlx[4-64]", "mlx[8-64]", "mlx[4-32]", "mlx[3-32]", "mlx[5-128]", "mlx[6-64]", "gptq[8-qwen2]",
                                                     "awq[qwen2-128]", "fp8[qwen3-BF16]")),
            *(f"gguf.py::test_logits[qwen3-{kind}]" for kind in ("Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS")))]
        pytest(first, count, program, "cuda-packed", {
            "QUERN_TEST_BACKEND": "cuda", "QUERN_TIMEOUT_SCALE": "5", "LD_LIBRARY_PATH": str(program.parent)}, more)


TESTS = {
    "check": check,
    "unit": lambda build, count: c_tests(build, {"unit"}, count),
    "ops": lambda build, count: c_tests(build, {"ops"}, count),
    "metal": metal,
    "cuda": cuda,
    "tools": lambda build, count: pytest("tests/tools", count, build / "quern", "tools"),
    "golden": lambda build, count: pytest("tests/golden", count, build / "quern", "golden"),
    "server": server,
    "pull": lambda build, count: pytest("tests/pull", count, build / "quern", "pull"),
    "models": models,
}


# ---- ./run checks ----

def made_cuda(build):
    """CUDA's host code is compiled here too, beside the kernels that nvcc has made for the main build; without nvcc there are none."""
    made = (build / "src/backend/cuda_kernels.c").exists()
    return [f"-Dmade_cuda={build}/src/backend"] if made else ["-Dcuda=disabled"]


def compilers(build, count):
    """Warnings are errors, with gcc and with clang."""
    for cc in ("gcc", "clang"):
        count.result(setup(build / f"werror-{cc}", "-Dwerror=true", "-Dbuildtype=release", *made_cuda(build), env={"CC": cc}),
                     f"{cc}: no warnings")


def sanitizers(build, count):
    """The whole suite under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer."""
    to = build / "asan"
    if not count.result(setup(to, "-Db_sanitize=address,undefined", "-Dbuildtype=debugoptimized", "-Db_lundef=false",
                              "-Dcuda=disabled"),
                        "build with address and undefined"):
        return
    # ASan's memmem looks at the whole range on every call: a search that goes on piece by piece would be quadratic.
    env = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99:intercept_memmem=0",
           "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=98", "QUERN_SANITIZED": "1",
           "QUERN_TIMEOUT_SCALE": "6"}
    c_tests(to, {"unit", "ops"}, count, env, timeout=1200)
    pytest("tests/golden", count, to / "quern", "golden-asan", env)
    pytest("tests/server", count, to / "quern", "server-asan", env)
    pytest("tests/pull", count, to / "quern", "pull-asan", env)


def threads(build, count):
    """Engine and server tests under ThreadSanitizer."""
    to = build / "tsan"
    if not count.result(setup(to, "-Db_sanitize=thread", "-Dbuildtype=debugoptimized", "-Db_lundef=false", "-Dcuda=disabled"), "build with thread"):
        return
    env = {"TSAN_OPTIONS": f"halt_on_error=1:exitcode=97:suppressions={ROOT}/tests/tsan.txt", "QUERN_SANITIZED": "1",
           "QUERN_TIMEOUT_SCALE": "10"}
    c_tests(to, {"unit"}, count, env, timeout=1200)
    pytest("tests/server", count, to / "quern", "server-tsan", env)


def arm64(build, count):
    """Cross-built for aarch64; unit, ops and golden tests under qemu-user."""
    to = build / "arm64"
    script = sh([ROOT / "tools/arm64.sh", to])
    if not count.result(script.returncode == 0, "cross build for aarch64"):
        print(script.stdout[-6000:])
        return
    root = to / "sysroot"
    qemu = ["qemu-aarch64", "-L", root]
    env = {"QUERN_TIMEOUT_SCALE": "10", "QUERN_EMULATED": "1"}
    c_tests(to, {"unit", "ops"}, count, env, qemu, 1800)
    pytest("tests/golden", count, f"qemu-aarch64 -L {root} {to}/quern", "golden-arm64", env)


def macos(build, count):
    """What a Mac builds compiles for it, and calls nothing that it lacks."""
    done = sh([sys.executable, ROOT / "tools/macos.py", build])
    if done.returncode == 77:
        print(f"SKIP {done.stdout.splitlines()[-1]}", flush=True)
        return count.add(skipped=1)
    if not count.result(done.returncode == 0, "compiles for macOS"):
        print(done.stdout[-6000:])


def fuzz(build, count):
    """Each fuzz target for a while from its seeds, with address and undefined."""
    seconds = int(os.environ.get("QUERN_FUZZ_SECONDS", "20"))
    to = build / "fuzz"
    if not count.result(setup(to, "-Db_sanitize=address,undefined", "-Dfuzz=true", "-Db_lundef=false",
                              "-Dcuda=disabled",
                              env={"CC": "clang-14"}), "build of the fuzz targets"):
        return
    done = sh(["ninja", "-C", to, "fuzz-targets"])
    if not count.result(done.returncode == 0, "fuzz targets link"):
        print(done.stdout[-4000:])
        return
    def run(target):
        seeds = ROOT / "tests/fuzz/seeds" / target.name
        corpus = to / "corpus" / target.name
        corpus.mkdir(parents=True, exist_ok=True)
        return sh([target, corpus, *([seeds] if seeds.exists() else []), f"-max_total_time={seconds}",
                   "-rss_limit_mb=1024", "-timeout=10", "-max_len=65536", "-print_final_stats=1"], cwd=corpus)

    targets = [path for path in sorted((to / "tests/fuzz").glob("fuzz_*")) if os.access(path, os.X_OK) and not path.is_dir()]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for target, done in zip(targets, pool.map(run, targets)):
            runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
            if not count.result(done.returncode == 0, f"{target.name}: {runs[1] if runs else 0} inputs"):
                print(done.stdout[-4000:])


CHECKS = {"compilers": compilers, "sanitizers": sanitizers, "threads": threads, "arm64": arm64, "macos": macos, "fuzz": fuzz}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--build", type=pathlib.Path, required=True)
    arguments.add_argument("stage", choices=("tests", "checks"))
    arguments.add_argument("suites", nargs="*")
    given = arguments.parse_args()
    build = given.build.resolve()
    os.environ["QUERN_TEST_BUILD"] = str(build)
    table = TESTS if given.stage == "tests" else CHECKS
    unknown = set(given.suites) - set(table)
    if unknown:
        arguments.error(f"unknown suite {', '.join(sorted(unknown))}: choose from {', '.join(table)}")
    count, started = Count(), time.monotonic()
    for name in given.suites or table:
        print(f"== {name}", flush=True)
        table[name](build, count)
    print(f"{given.stage} took {time.monotonic() - started:.0f} s")
    print(f"total: {count}")
    return count.failed > 0 or count.passed == 0


if __name__ == "__main__":
    sys.exit(main())
