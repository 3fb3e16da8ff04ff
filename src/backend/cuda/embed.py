#!/usr/bin/env python3
"""Writes a C file that includes a fat binary as an array, 16-byte aligned.

usage: embed.py FILE.fatbin NAME OUT.c        NAME: qn_cuda_module_<NAME>
"""
import pathlib
import sys

source, name, target = sys.argv[1:]
symbol = f"qn_cuda_module_{name}"
pathlib.Path(target).write_text(f'''// Made by embed.py.
#include "backend/cuda/modules.h"
__asm__(".section .rodata\\n.balign 16\\n.globl {symbol}\\n.type {symbol}, @object\\n{symbol}:\\n"
        ".incbin \\"{pathlib.Path(source).resolve()}\\"\\n.size {symbol}, . - {symbol}\\n.previous\\n");
''')
