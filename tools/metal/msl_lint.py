#!/usr/bin/env python3
"""Refuses in expanded Metal text what clang's front end in msl_compile.sh lets pass though Metal rejects it, or Quern must not ship.

usage: msl_lint.py KERNELS.metal      the text that ships: no macros, one #include <metal_stdlib>
Prints one line a finding, `FILE:LINE: what`, and ends with exit 1 when there is any.

Beside what Metal rejects it holds kernels to the dialect (docs/gpu.md): pointers with [[buffer(0)]], [[buffer(1)]], … in order, a
constant args struct of 32-bit scalars last, then the four ids. The emulator calls kernels by that order.
"""
import bisect
import pathlib
import re
import sys

# Of the dialect's kernels, in order: type and attribute.
IDS = [("uint3", "threadgroup_position_in_grid"), ("uint3", "thread_position_in_threadgroup"),
       ("ushort", "thread_index_in_simdgroup"), ("ushort", "simdgroup_index_in_threadgroup")]
MAX_BUFFERS = 16  # pointers a kernel; what the emulator calls
VECTOR = r"(?:float|half|bfloat|int|uint|short|ushort|char|uchar|long|ulong|bool)[234]"
LIBM = (r"(?:a?(?:sin|cos|tan)h?|atan2|exp2?|expm1|log(?:2|10|1p|b)?|sqrt|cbrt|rsqrt|pow|hypot|fabs|floor|ceil|round|rint|nearbyint|"
        r"trunc|fmod|remainder|fma|fmin|fmax|fdim|copysign|ldexp|frexp|modf|erfc?|[lt]gamma|scalbn)f")
# Pattern and why. The text has no comments and no strings any more.
FORBIDDEN = [
    (r"\bgoto\b", "goto: Metal has none"),
    (rf"\(\s*(?:const\s+)?{VECTOR}\s*\)", "a C vector cast: in Metal (float4)(a, b, c, d) is the comma operator; write float4(…)"),
    (rf"\b{LIBM}\b", "a C library name: Metal's functions are overloads (exp, not expf)"),
    (r"\b__\w+|\bqn_emulator_\w*", "a reserved name, or one of the emulator's shim"),
    (r"\b(?:global|local|generic)\b(?=\s+\w)", "an address space of OpenCL"),
    (r"\bdouble\b", "double: Metal has none"),
    (r"\b(?:try|catch|throw|typeid|dynamic_cast|asm|thread_local|virtual|new|delete)\b", "Metal has no such thing"),
    (r"\bif\s+constexpr\b|\bauto\s*&?\s*\[|\binline\s+constexpr\b|\bnamespace\s+\w+\s*::", "C++17: Metal's language is C++14"),
    (r"\[\s*[&=]?\s*\]\s*[({]", "a lambda: Metal has none"),
    (r"\(\s*\{", "a statement expression: not in Metal"),
    (r"\?\s*:", "?: without a middle operand: not in Metal"),
    (r"\{\s*\.\s*\w+\s*=", "a designated initialiser: not in C++14"),
    (r"\b(?:INFINITY|NAN|isnan|isinf|isfinite)\b", "Metal's default maths knows neither infinity nor NaN; compare with a large number"),
]
SCALARS = {"int", "uint", "float", "int32_t", "uint32_t", "unsigned"}
NOT_CALLS = {"if", "for", "while", "switch", "return", "sizeof", "else", "do", "case", "alignas", "static_assert", "decltype"}


def without_comments(text):
    """Comments and strings become spaces; lines stay."""
    blank = lambda m: re.sub(r"[^\n]", " ", m[0])  # noqa: E731
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def closing(text, at):
    """The index of the bracket that closes the one at `at`."""
    pairs, depth = {"(": ")", "[": "]", "{": "}"}, 0
    for i in range(at, len(text)):
        if text[i] == text[at]:
            depth += 1
        elif text[i] == pairs[text[at]]:
            depth -= 1
            if not depth:
                return i
    return len(text)


def functions(text):
    """(name, is a kernel, where, parameters, body) of each function definition outside other bodies."""
    at = 0
    while m := re.compile(r"([;{}]|\b(\w+)\s*\()").search(text, at):
        if not m[2]:
            # A struct's or namespace's body is entered, so that what is in it is seen.
            at = m.end()
            continue
        close = closing(text, m.end() - 1)
        rest = re.compile(r"\s*(?:const\s*)?\{").match(text, close + 1)
        if not rest or m[2] in NOT_CALLS:
            at = close + 1
            continue
        end = closing(text, rest.end() - 1)
        head = text[max(text.rfind(c, 0, m.start()) for c in ";{}") + 1:m.start()]
        yield m[2], bool(re.search(r"\bkernel\b", head)), m.start(), text[m.end():close], text[rest.end():end]
        at = end + 1


def split(parameters):
    parts, depth, start = [], 0, 0
    for i, c in enumerate(parameters):
        depth += (c in "([{<") - (c in ")]}>")
        if c == "," and not depth:
            parts.append(parameters[start:i])
            start = i + 1
    return [re.sub(r"\s+", " ", p).strip() for p in [*parts, parameters[start:]] if p.strip()]


def buffers(name, parameters):
    """Findings on a kernel's pointers; how many of its parameters they are; the type of the args struct."""
    found, seen, args = [], [], None
    for p in parameters:
        m = re.fullmatch(r"(device|constant)\b(.*?)([*&])\s*(?:\w+\s*)?\[\[\s*buffer\s*\(\s*(\d+)\s*\)\s*\]\]", p)
        if not m:
            break
        index = int(m[4])
        if index in seen:
            found.append(f"kernel {name}: buffer({index}) twice")
        elif index != len(seen):
            found.append(f"kernel {name}: buffer({index}) is parameter {len(seen)}; the order is that of the indices")
        if args:
            found.append(f"kernel {name}: a buffer after the args struct, which is last")
        seen.append(index)
        args = m[2].replace("const", "").strip() if m[3] == "&" else args
    if len(seen) > MAX_BUFFERS:
        found.append(f"kernel {name}: {len(seen)} buffers, at most {MAX_BUFFERS}")
    return found, len(seen), args


def kernel_findings(name, parameters, text):
    parameters = split(parameters)
    found, n, args = buffers(name, parameters)
    for p in parameters[n:]:
        m = re.fullmatch(r"(.*?)\s*\w+ \[\[(\w+)\]\]", p)
        if "[[" not in p:
            found.append(f"kernel {name}: parameter `{p}` has no attribute; Metal takes scalars by `constant T &`")
        elif not m or (m[1], m[2]) not in IDS:
            found.append(f"kernel {name}: parameter `{p}` is none of the dialect's")
    if not found and len(parameters) - n != len(IDS):
        found.append(f"kernel {name}: {len(parameters) - n} parameters after the buffers, expected the four ids")
    if args:
        m = re.search(rf"\bstruct\s+{args}\s*\{{([^{{}}]*)\}}|\bstruct\s*\w*\s*\{{([^{{}}]*)\}}\s*{args}\s*;", text)
        for member in (m[1] or m[2] or "").split(";") if m else []:
            word = re.match(r"\s*(?:const\s+)?(\w+)", member)
            if word and (word[1] not in SCALARS or "*" in member):
                found.append(f"kernel {name}: args struct {args} has `{member.strip()}`, expected 32-bit scalars only")
    return found


def recursion(calls):
    """Names on a cycle of the call graph."""
    def reaches(start):
        seen, todo = set(), list(calls[start])
        while todo:
            f = todo.pop()
            if f == start:
                return True
            if f not in seen:
                seen.add(f)
                todo += calls.get(f, ())
        return False
    return [f for f in calls if reaches(f)]


def lint(text):
    """(line, finding) of each."""
    clean = without_comments(text)
    starts = [0] + [m.end() for m in re.finditer("\n", clean)]
    line = lambda at: bisect.bisect_right(starts, at)  # noqa: E731
    found = [(line(m.start()), f"`{m[0].strip()}`: {why}") for pattern, why in FORBIDDEN for m in re.finditer(pattern, clean)]
    for m in re.finditer(r"^[ \t]*#[ \t]*(.*)$", clean, re.M):
        if not re.fullmatch(r"include\s*<metal_stdlib>|pragma\s+(?:unroll|clang loop)\b.*", m[1].strip()):
            found.append((line(m.start()), f"`#{m[1].strip()}`: the text that ships is expanded"))
    known = {"buffer"} | {attribute for _, attribute in IDS}
    for m in re.finditer(r"\[\[\s*([^\]]*?)\s*\]\]", clean):
        word = re.match(r"\w*", m[1])[0]
        if word not in known:
            found.append((line(m.start()), f"[[{m[1]}]]: no attribute of the dialect"))
    calls, where, kernels = {}, {}, set()
    for name, is_kernel, at, parameters, body in functions(clean):
        calls.setdefault(name, set()).update(set(re.findall(r"\b(\w+)\s*\(", body)) - NOT_CALLS)
        where[name] = at
        if is_kernel:
            found += [(line(at), f) for f in kernel_findings(name, parameters, clean)]
            if name in kernels:
                found.append((line(at), f"kernel {name} twice"))
            kernels.add(name)
    for name in recursion(calls):
        found.append((line(where[name]), f"recursion of {name}: Metal has none"))
    return sorted(set(found))


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found = lint(pathlib.Path(sys.argv[1]).read_text())
    for n, what in found:
        print(f"{sys.argv[1]}:{n}: {what}", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
