#!/usr/bin/env python3
"""Makes a Metal text of kernels: the preprocessor's expansion of a header of metal/kernels/, as a file and as a C array.

usage: make_msl.py TEXT SRC OUT.metal OUT.c OUT.d COMPILER...
TEXT is `kernels` (kernels/all.h; the array is qn_metal_kernels_text) or `matrix` (kernels/matrix_all.h, of which only the kernels
whose names begin with matrix_ stay). SRC is the folder src/. OUT.d lists the files it was made from, for the build system. The text's last line is
`// fnv1a64 <hash of all lines before it>`: what was compiled can be told from what was meant.
"""
import pathlib
import re
import subprocess
import sys
import tempfile


def fnv1a64(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & (1 << 64) - 1
    return h


def only(lines, prefix):
    """Without the kernels of other names. A kernel begins at the start of a line, and ends where its braces do."""
    kept, dropping, depth = [], False, 0
    for line in lines:
        m = re.match(r"\s*kernel void (\w+)", line)
        if m and not m[1].startswith(prefix):
            dropping, depth = True, 0
        if not dropping:
            kept.append(line)
            continue
        depth += line.count("{") - line.count("}")
        dropping = depth > 0 or "}" not in line
    return kept


def main(name, src, metal, c, depfile, *compiler):
    root = pathlib.Path(src) / "backend/metal/kernels" / {"kernels": "all.h", "matrix": "matrix_all.h"}[name]
    with tempfile.TemporaryDirectory() as empty:
        (pathlib.Path(empty) / "metal_stdlib").touch()
        command = [*compiler, "-E", "-P", "-x", "c++", "-nostdinc", "-nostdinc++", "-DQN_MSL", f"-I{src}", f"-I{empty}"]
        body = subprocess.run([*command, str(root)], stdout=subprocess.PIPE, check=True).stdout
        needs = subprocess.run([*command, "-M", str(root)], stdout=subprocess.PIPE, check=True, text=True).stdout
    lines = [line for line in body.decode().splitlines() if line.strip() and (not line.startswith("#") or line.startswith("#pragma unroll"))]
    if name == "matrix":
        lines = only(lines, "matrix_")
    text = "\n".join(["#include <metal_stdlib>", *lines, ""]).encode()
    text += f"// fnv1a64 {fnv1a64(text):016x}\n".encode()
    pathlib.Path(metal).write_bytes(text)
    rows = (",".join(str(b) for b in text[i:i + 24]) for i in range(0, len(text), 24))
    pathlib.Path(c).write_text("// Made by make_msl.py.\n#include \"backend/metal/text.h\"\n"
                               f"const char qn_metal_{name}_text[] = {{\n"
                               + ",\n".join(rows) + ",0};\n")
    files = [f for f in needs.split(":", 1)[1].replace("\\\n", " ").split() if empty not in f]
    pathlib.Path(depfile).write_text(f"{c}: {' '.join(files)}\n")


main(*sys.argv[1:])
