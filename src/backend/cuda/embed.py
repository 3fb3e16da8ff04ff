#!/usr/bin/env python3
"""Writes a C file that includes a fat binary, or a text of PTX, as an array, 16-byte aligned, with a 0 behind it.

usage: embed.py FILE NAME OUT.c        NAME: qn_cuda_module_<NAME>
"""
import pathlib
import sys

source, name, target = sys.argv[1:]
symbol = f"qn_cuda_module_{name}"
pathlib.Path(target).write_text(f'''// Made by embed.py.
#include "backend/cuda/modules.h"
__asm__(".section .rodata\\n.balign 16\\n.globl {symbol}\\n.type {symbol}, @object\\n{symbol}:\\n"
        ".incbin \\"{pathlib.Path(source).resolve()}\\"\\n.byte 0\\n.size {symbol}, . - {symbol}\\n.previous\\n");
''')
