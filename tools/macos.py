#!/usr/bin/env python3
"""Compiles what a Mac builds, tests included, for macOS on Apple Silicon, and sees that all it calls is there. Nothing is linked or run.

usage: tools/macos.py BUILD      BUILD: a Meson build directory of Linux, whose compile commands are taken. Exit 77: ziglang cannot be installed
The headers and the list of symbols of macOS's libc are those of ziglang, which is installed into BUILD/macos; the other libraries'
headers are this system's, and their symbols are known by prefix. The Metal backend has a check of its own, tools/metal/cross_macho.sh.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import struct
import subprocess
import sys

ZIGLANG = "ziglang==0.17.1"
NOT_THERE = re.compile(r"cuda|metal|fuzz|kernels_avx512")
OF_LIBRARIES = re.compile(r"_(json|uv|MHD|curl|wslay|yaml|pcre2|utf8proc|EVP|el)_|_history|__(assert|cmocka|fail|skip)|_print_")  # the last five: cmocka's


def compiler(folder):
    if not (folder / "ziglang").exists():
        if subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", folder, ZIGLANG]).returncode:
            print(f"macos: {ZIGLANG} cannot be installed")
            sys.exit(77)
    return folder / "ziglang"


def objects(build, zig):
    """A command, a folder and an object for each source; the NEON kernels take the place of those for x86."""
    rows = json.loads((build / "compile_commands.json").read_text())
    for row in {row["file"]: row for row in rows if not NOT_THERE.search(row["output"])}.values():
        kept = [w for w in shlex.split(row["command"]) if w.startswith(("-I", "-D", "-U", "-std", "-O", "-W", "-f")) and w != "-DQN_HAVE_CUDA"]
        source = row["file"].replace("kernels_avx2", "kernels_neon")
        out = build / "macos/objects" / (source.replace("../", "").replace("/", "_") + ".o")
        yield [zig / "zig", "cc", "-target", "aarch64-macos.13.0", "-fno-sanitize=all", *kept, "-Werror", "-idirafter", "/usr/include",
               "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu", "-c", source, "-o", out], row["directory"], out


def symbols(path):
    """The external symbols of a Mach-O object: (defined, undefined)."""
    data, found, at = path.read_bytes(), (set(), set()), 32
    for _ in range(struct.unpack_from("<I", data, 16)[0]):
        command, size, first, n, strings, _ = struct.unpack_from("<6I", data, at)
        at += size
        for i in range(n if command == 2 else 0):  # LC_SYMTAB
            name, kind = struct.unpack_from("<IB", data, first + 16 * i)
            if kind & 1:
                found[kind & 14 == 0].add(data[strings + name:data.index(0, strings + name)].decode())
    return found


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    zig = compiler(build / "macos")
    (build / "macos/objects").mkdir(exist_ok=True)
    os.environ["ZIG_GLOBAL_CACHE_DIR"] = os.environ["ZIG_LOCAL_CACHE_DIR"] = str(build / "macos/cache")

    def compile(row):
        done = subprocess.run(row[0], cwd=row[1], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout if done.returncode else ""
    rows = list(objects(build, zig))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = [e for e in pool.map(compile, rows) if e]
    if errors:
        sys.exit("\n".join(errors)[:8000])
    of_system = set(re.findall(r"_[\w$]+", (zig / "lib/libc/darwin/libSystem.tbd").read_text()))
    found = {out.name: symbols(out) for _, _, out in rows}
    ours = set().union(*(defined for defined, _ in found.values()))
    lacking = [f"{name}: macOS has no {symbol[1:]}" for name, (_, used) in found.items() for symbol in sorted(used - ours - of_system)
               if not OF_LIBRARIES.match(symbol)]
    if lacking:
        sys.exit("\n".join(lacking))
    print(f"macos.py: {len(rows)} sources")


if __name__ == "__main__":
    main()
