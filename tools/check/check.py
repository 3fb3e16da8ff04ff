#!/usr/bin/env python3
"""Checks of the tree that need no compiler run: include directions, sizes, forbidden calls, formatting, registries.

usage: tools/check/check.py [--build DIR]      DIR: a Meson build directory, for the checks of symbols and headers
Prints one line a finding and ends with `N passed, N failed, N skipped`; exit 1 when anything failed.
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
CODE = {".c", ".h", ".cu", ".cuh", ".m", ".metal", ".inc"}
FILE_LINES, FUNCTION_LINES, PARAMETERS = 1000, 100, 8
OF_OTHERS = {"cuLaunchKernel"}  # signatures that a library's header gives


def sources(*roots):
    return sorted(p for r in roots for p in (ROOT / r).rglob("*") if p.suffix in CODE)


def layers():
    """Include directions of layers.txt."""
    allowed = {}
    for line in open(pathlib.Path(__file__).with_name("layers.txt")):
        line = line.split("#")[0].strip()
        if line:
            module, deps = line.split(":")
            allowed[module] = {module, *deps.split()}

    def module_of(path):
        if path.as_posix() in allowed:
            return path.as_posix()
        return next((p.as_posix() for p in path.parents if p.as_posix() in allowed), None)

    def folder_of(path):
        return next((p.as_posix() for p in path.parents if p.as_posix() in allowed), None)

    for f in sources("src"):
        here = module_of(f.relative_to(SRC))
        if here is None:
            yield f"{f.relative_to(ROOT)}: folder not in layers.txt"
            continue
        for n, line in enumerate(f.read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if m:
                there = "api" if m[1] == "quern.h" else folder_of(pathlib.PurePosixPath(m[1]))
                if there not in allowed[here]:
                    yield f'{f.relative_to(ROOT)}:{n}: {here} may not include "{m[1]}"'


def sizes():
    """Files ≤ 1000 lines, functions ≤ 100 lines and ≤ 8 parameters (6 is the aim), the public header ≤ 400."""
    files = sources("src", "include", "tests", "bench")
    for f in files:
        n = len(f.read_text().splitlines())
        limit = 400 if f.name == "quern.h" else FILE_LINES
        if n > limit:
            yield f"{f.relative_to(ROOT)}: {n} lines, at most {limit}"
    out = subprocess.run(
        ["ctags", "--output-format=json", "--fields=+neS", "--kinds-C=f", "--languages=C",
         "-f", "-", *map(str, [f for f in files if f.suffix in {".c", ".h"}])],
        capture_output=True, text=True, check=True).stdout
    for tag in map(json.loads, out.splitlines()):
        where = f"{pathlib.Path(tag['path']).relative_to(ROOT)}:{tag['line']}: {tag['name']}"
        lines = tag.get("end", tag["line"]) - tag["line"] + 1
        if lines > FUNCTION_LINES:
            yield f"{where} has {lines} lines, at most {FUNCTION_LINES}"
        parameters = tag.get("signature", "()").count(",") + 1
        if parameters > PARAMETERS and tag["name"] not in OF_OTHERS:
            yield f"{where} has {parameters} parameters, at most {PARAMETERS}"


def forbidden():
    """The library never prints, exits, aborts or reads the environment (app/ may; base/log.c asks for journald)."""
    bad = re.compile(r"\b(getenv|exit|_exit|abort|printf|puts|fprintf|perror|system|popen|gets|strcpy|strcat|sprintf)\s*\(")
    excused = {("src/base/log.c", "getenv"), ("src/server/server.c", "_exit")}
    for f in sources("src", "include"):
        name = f.relative_to(ROOT).as_posix()
        if name.startswith("src/app/"):
            continue
        text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), f.read_text(), flags=re.S)
        for n, line in enumerate(text.splitlines(), 1):
            line = re.sub(r'"(\\.|[^"\\])*"', '""', line.split("//")[0])
            for m in bad.finditer(line):
                if (name, m[1]) not in excused:
                    yield f"{name}:{n}: {m[1]}() does not belong in the library"


def unfinished():
    """No TODO or FIXME; includes never start with '..'; every file begins with a comment on its role."""
    for f in sources("src", "include", "tests", "bench"):
        name, text = f.relative_to(ROOT), f.read_text()
        if not text.startswith(("//", "/*")):
            yield f"{name}:1: a file begins with a comment that tells its role"
        for n, line in enumerate(text.splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                yield f"{name}:{n}: unfinished: {line.strip()}"
            if re.match(r'\s*#\s*include\s+"\.\.', line):
                yield f"{name}:{n}: includes are written from src/"


def formatting():
    """clang-format 14, the configuration of the root."""
    files = [f for f in sources("src", "include", "tests", "bench")
             if f.suffix in {".c", ".h"}]
    done = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *map(str, files)],
                          capture_output=True, text=True)
    seen = set()
    for m in re.finditer(r"^(\S+?):(\d+):\d+: error", done.stderr, re.M):
        if m[1] not in seen:
            seen.add(m[1])
            yield f"{pathlib.Path(m[1]).relative_to(ROOT)}:{m[2]}: not formatted (clang-format-14 -i)"


def registries():
    """Every row of a registry has its file and is named in a test."""
    tests = "\n".join(p.read_text(errors="replace") for d in ("tests/unit", "tests/ops", "tests/golden", "tests/server")
                      for p in (ROOT / d).glob("*.*") if p.suffix in {".c", ".py"})
    ops = re.findall(r"QN_OP_([A-Z_]+),", (SRC / "backend/plan.h").read_text())
    for op in (o.lower() for o in ops if o != "COUNT"):
        if not (SRC / f"backend/ops/{op}.h").exists():
            yield f"src/backend/plan.h: operation {op} has no src/backend/ops/{op}.h"
        fused = op in (SRC / "backend/compose.c").read_text()
        if not fused and not (SRC / f"backend/cpu/ref/{op}.c").exists():
            yield f"src/backend/plan.h: operation {op} has no src/backend/cpu/ref/{op}.c"
        if f"QN_OP_{op.upper()}" not in tests and f"qn_{op}" not in tests:
            yield f"src/backend/plan.h: operation {op} has no test"
    rows = [("model/registry.c", r"qn_(qwen\w+)_family", "model/{}.c"),
            ("tensor/quant/registry.c", r"&qn_format_(\w+)", "tensor/quant/{}.c"),
            ("model/packed.c", r"&qn_packing_(\w+)", "model/packed_{}.c"),
            ("backend/registry.c", r"qn_(\w+)_backend\b", "backend/{}")]
    for registry, pattern, file in rows:
        names = set(re.findall(pattern, (SRC / registry).read_text()))
        if not names:
            yield f"src/{registry}: no row matches {pattern}"
        for name in names:
            if not (SRC / file.format(name)).exists():
                yield f"src/{registry}: {name} has no src/{file.format(name)}"
            if name not in tests:
                yield f"src/{registry}: {name} is named in no test"
    for path in re.findall(r'"(/[a-z_/0-9]*)"', (SRC / "app/routes.c").read_text()):
        if path not in tests:
            yield f"src/app/routes.c: endpoint {path} is named in no test"


def symbols(build):
    """Global symbols are quern_*, or qn_ and the first word of the module, of a file or folder in it, or of a type in its headers."""
    for lib in sorted(pathlib.Path(build).glob("src/*/libqn_*.a")):
        folder = SRC / lib.parent.name
        files = [f for f in folder.rglob("*") if f.suffix in CODE]
        types = re.findall(r"\bqn_([a-z0-9]+)", " ".join(re.findall(r"^(?:}|typedef).*;", "\n".join(
            f.read_text() for f in files if f.suffix == ".h"), re.M)))
        words = {folder.name, *(re.match(r"[a-z0-9]+", f.stem)[0] for f in folder.rglob("*")), *types}
        out = subprocess.run(["nm", "-g", "--defined-only", str(lib)], capture_output=True, text=True).stdout
        prefix = "_" if sys.platform == "darwin" else ""
        for name in re.findall(rf"^[0-9a-f]+ [A-Z] {prefix}(\S+)$", out, re.M):
            m = re.match(r"qn_([a-z0-9]+)", name)
            if not (m and m[1] in words) and not re.match(r"quern_|__asan|__odr_asan|_", name):
                yield f"{lib.name}: global symbol {name} begins with no module, file or type of src/{folder.name}"


def headers(build):
    """Each header compiles alone; quern.h also as C++ and as strict C17."""
    # Clang, which is macOS's gcc, tells of an unused inline function in a file that it is given.
    flags = ["-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-D_GNU_SOURCE", f"-I{ROOT}/include", f"-I{SRC}"]
    nvcc = shutil.which("nvcc")
    home = subprocess.run([SRC / "backend/cuda/probe.sh", nvcc], capture_output=True, text=True).stdout.strip() if nvcc else ""
    toolkit = ["-isystem", f"{home}/include"]
    for f in sources("src", "include"):
        if f.suffix != ".h" or "simd_" in f.name or f.name.endswith("_impl.h"):
            continue  # a kernel's text for one instruction set is compiled with that set's flags only
        if f.parent.name == "kernels" or f.name == "dialect.h":
            continue  # GPU kernels are compiled as Metal's and CUDA's text (tools/metal, nvcc)
        if f.parent.name == "cuda" and not home:
            continue  # needs the toolkit's cuda.h
        languages = [["gcc", "-x", "c", "-std=c17"]]
        if f.name == "quern.h":
            languages += [["g++", "-x", "c++", "-std=c++17"], ["clang", "-x", "c", "-std=c17", "-pedantic"]]
        for command in languages:
            done = subprocess.run([*command, *flags, *toolkit, str(f)], capture_output=True, text=True)
            if done.returncode:
                yield f"{f.relative_to(ROOT)}: does not compile alone with {command[0]}: {done.stderr.splitlines()[0]}"


BEGIN, END = "<!-- quern formats --markdown -->\n", "<!-- end -->"


def readme(build, write=False):
    """README.md's tables of what loads are what the program prints from its own."""
    path = ROOT / "README.md"
    before, rest = path.read_text().split(BEGIN)
    old, after = rest.split(END, 1)
    new = subprocess.run([pathlib.Path(build) / "quern", "formats", "--markdown"], capture_output=True, text=True, check=True).stdout
    if write:
        path.write_text(before + BEGIN + new + END + after)
    elif old != new:
        yield f"README.md: what loads is not what quern formats prints: tools/check/check.py --build {build} --write-readme"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--build", help="a Meson build directory")
    arguments.add_argument("--write-readme", action="store_true", help="write the tables of README.md anew, and check nothing")
    given = arguments.parse_args()
    build = given.build
    if given.write_readme:
        return len(list(readme(build, write=True)))
    checks = [(layers, None, ()), (sizes, "ctags", ()), (forbidden, None, ()), (unfinished, None, ()),
              (formatting, "clang-format-14", ()), (registries, None, ()),
              (symbols, "nm", (build,)), (headers, "g++", (build,)), (readme, None, (build,))]
    passed = failed = skipped = 0
    for check, tool, args in checks:
        if tool and not shutil.which(tool):
            print(f"SKIP {check.__name__}: {tool} is not installed")
            skipped += 1
        elif args and not args[0]:
            print(f"SKIP {check.__name__}: no --build directory given")
            skipped += 1
        else:
            findings = list(check(*args))
            print("\n".join(findings + [f"{'FAIL' if findings else 'ok  '} {check.__name__}"]))
            passed, failed = passed + (not findings), failed + bool(findings)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
