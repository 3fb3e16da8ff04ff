#!/usr/bin/env python3
"""The hashes of Metal texts without their last lines, as a C file: what the emulator's kernels were compiled from.

usage: text_hash.py OUT.c TEXT.metal...
"""
import pathlib
import sys


def fnv1a64(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & (1 << 64) - 1
    return h


hashes = [f"{fnv1a64(pathlib.Path(p).read_bytes().rsplit(b'// fnv1a64', 1)[0]):016x}" for p in sys.argv[2:]]
pathlib.Path(sys.argv[1]).write_text(
    f'// Made by text_hash.py.\nextern const char qn_emulated_text_hashes[];\nconst char qn_emulated_text_hashes[] = "{" ".join(hashes)}";\n')
