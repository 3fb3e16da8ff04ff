#!/bin/sh
# Front-end check of Metal text, and native code of it for the emulator in tests/metal/emulator.
# usage: msl_compile.sh IN.metal OUT.o [compiler flags]
#   -O1                                                    the plain object
#   -O1 -g -fsanitize=thread                               data races
#   -O2 -ffast-math                                        tolerance to Metal's default maths
#   -O1 -fsanitize-coverage=func,trace-loads,trace-stores  bytes read and written, strict bounds
# Refuses (exit 1) what clang as a strict front end refuses, what msl_lint.py refuses, and a kernel with more than 32 KiB of
# threadgroup arrays. CLANG names the compiler (default clang-19).
set -eu

[ $# -ge 2 ] || { sed -n '3p' "$0" | cut -c3- >&2; exit 2; }
in=$1 out=$2
shift 2
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
shim=$here/../../tests/metal/emulator/shim
case $(uname -m) in
x86_64) machine='-target x86_64-linux-gnu -mf16c -mfma' ;;
aarch64) machine='-target aarch64-linux-gnu' ;;
*) echo "msl_compile.sh: no code for $(uname -m)" >&2; exit 2 ;;
esac
extensions=+cl_khr_fp16,-cl_khr_fp64,-__opencl_c_fp64,-__opencl_c_program_scope_global_variables
extensions=$extensions,-__opencl_c_generic_address_space,-__opencl_c_pipes,-__opencl_c_device_enqueue
extensions=$extensions,-__opencl_c_read_write_images,+__cl_clang_function_scope_local_variables

# Attributes such as [[buffer(0)]] are unknown to clang: their spelling is the lint's business. Function-scope threadgroup
# arrays are "unused results" of nobody, and vectors of one loop need no vectoriser: kernels run a lane at a time.
# shellcheck disable=SC2086
"${CLANG:-clang-19}" -x clcpp -cl-std=clc++2021 $machine "-I$shim" -cl-no-stdinc -cl-single-precision-constant \
    -Xclang "-cl-ext=$extensions" -Wall -Werror -Wno-unknown-attributes -Wno-ignored-attributes \
    -Wno-unused-function -Wno-psabi -fno-vectorize -fno-slp-vectorize -ffp-contract=off \
    -c -o "$out" "$@" "$in"

# The lint reads expanded text; what ships is that already.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/metal_stdlib"
"${CLANG:-clang-19}" -E -P -x c++ -nostdinc -nostdinc++ "-I$work" -o "$work/expanded.metal" "$in"
"${PYTHON:-python3}" "$here/msl_lint.py" "$work/expanded.metal" || { rm -f "$out"; exit 1; }

# Threadgroup arrays are the whole .bss: in a section of their own the emulator finds and refills them.
objcopy --rename-section .bss=qn_threadgroup "$out"
nm -S "$out" | awk -v file="$in" '
    $3 ~ /^[bB]$/ && $4 ~ /^_ZZ[0-9]+/ {
        digits = $4; sub(/^_ZZ/, "", digits); n = digits + 0; sub(/^[0-9]+/, "", digits)
        bytes = 0; for (i = 1; i <= 16; i++) bytes = bytes * 16 + index("123456789abcdef", tolower(substr($2, i, 1)))
        total[substr(digits, 1, n)] += bytes
    }
    END { for (k in total) if (total[k] > 32768) { print file ": kernel " k " has " total[k] " bytes of threadgroup arrays, at most 32768"; bad = 1 } exit bad }' >&2 ||
    { rm -f "$out"; exit 1; }
