#!/usr/bin/env python3
"""The hash of a Metal text without its last line, as a C file: what the emulator's kernels were compiled from.

usage: text_hash.py kernels.metal OUT.c
"""
import pathlib
import sys

h = 0xCBF29CE484222325
for byte in pathlib.Path(sys.argv[1]).read_bytes().rsplit(b"// fnv1a64", 1)[0]:
    h = ((h ^ byte) * 0x100000001B3) & (1 << 64) - 1
pathlib.Path(sys.argv[2]).write_text(
    f'// Made by text_hash.py.\nextern const char qn_emulated_text_hash[];\nconst char qn_emulated_text_hash[] = "{h:016x}";\n')
