#!/usr/bin/env python3
"""Makes the Metal text of the kernels: the preprocessor's expansion of kernels/all.h, as a file and as a C array.

usage: make_msl.py SRC OUT.metal OUT.c OUT.d COMPILER...
SRC is the folder src/. OUT.d lists the files it was made from, for the build system. The text's last line is
`// fnv1a64 <hash of all lines before it>`: what was compiled can be told from what was meant.
"""
import pathlib
import subprocess
import sys
import tempfile


def fnv1a64(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & (1 << 64) - 1
    return h


def main(src, metal, c, depfile, *compiler):
    root = pathlib.Path(src) / "backend/metal/kernels/all.h"
    with tempfile.TemporaryDirectory() as empty:
        (pathlib.Path(empty) / "metal_stdlib").touch()
        command = [*compiler, "-E", "-P", "-x", "c++", "-nostdinc", "-nostdinc++", "-DQN_MSL", f"-I{src}", f"-I{empty}"]
        body = subprocess.run([*command, str(root)], stdout=subprocess.PIPE, check=True).stdout
        needs = subprocess.run([*command, "-M", str(root)], stdout=subprocess.PIPE, check=True, text=True).stdout
    lines = [line for line in body.decode().splitlines() if line.strip() and not line.startswith("#")]
    text = "\n".join(["#include <metal_stdlib>", *lines, ""]).encode()
    text += f"// fnv1a64 {fnv1a64(text):016x}\n".encode()
    pathlib.Path(metal).write_bytes(text)
    rows = (",".join(str(b) for b in text[i:i + 24]) for i in range(0, len(text), 24))
    pathlib.Path(c).write_text("// Made by make_msl.py.\n#include \"backend/metal/text.h\"\nconst char qn_metal_text[] = {\n"
                               + ",\n".join(rows) + ",0};\n")
    files = [f for f in needs.split(":", 1)[1].replace("\\\n", " ").split() if empty not in f]
    pathlib.Path(depfile).write_text(f"{c}: {' '.join(files)}\n")


main(*sys.argv[1:])
