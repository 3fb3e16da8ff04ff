#!/bin/sh
# Cross-compiles the Metal backend for Apple Silicon and links it to a Mach-O executable, against hand-written lists of what the
# system's libraries have (cross/*.tbd) and of the C functions that it uses (cross/include): so calling convention, spelling and
# undefined symbols are checked without a Mac. Nothing runs.
# usage: cross_macho.sh [OUT]      exit 0: linked; 77: a tool is missing (said on stderr); else what went wrong
# CLANG (default clang-19), LD64 (default ld64.lld-19).
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$here/../..
clang=${CLANG:-clang-19} ld=${LD64:-ld64.lld-19}
for tool in "$clang" "$ld" python3; do
    command -v "$tool" >/dev/null || { echo "cross_macho.sh: SKIP: $tool is not installed" >&2; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=${1:-$work/quern_metal_macho}

for text in kernels matrix; do
    python3 "$root/src/backend/metal/make_msl.py" $text "$root/src" "$work/$text.metal" "$work/${text}_metal.c" "$work/d" "$clang"
done
cp "$here/cross/main.c" "$work/main.c"
cd "$root"
n=0
for source in src/backend/metal/*.c src/backend/gpu/*.c src/backend/selftest.c src/backend/compose.c src/backend/ops.c \
    src/backend/plan.c src/backend/step.c src/base/arena.c src/base/clock.c src/base/error.c src/tensor/*.c src/tensor/quant/*.c \
    "$work/kernels_metal.c" "$work/matrix_metal.c" "$work/main.c"; do
    n=$((n + 1))
    "$clang" -target arm64-apple-macos14 -std=c17 -O2 -nostdlibinc "-I$here/cross/include" -Iinclude -Isrc -DQN_HAVE_METAL \
        -Wall -Wextra -Werror -Wno-unused-command-line-argument -ffp-contract=off -fno-strict-aliasing -c -o "$work/$n.o" "$source"
done
"$ld" -arch arm64 -platform_version macos 14.0 14.0 -o "$out" "$work"/*.o \
    "$here/cross/libSystem.tbd" "$here/cross/libobjc.tbd" "$here/cross/Metal.tbd" "$here/cross/Foundation.tbd" "$here/cross/CoreGraphics.tbd"
case $(od -An -tx4 -N8 "$out") in
*feedfacf*0100000c*) echo "cross_macho.sh: $n sources, a Mach-O executable for arm64" ;;
*) echo "cross_macho.sh: the linker made no Mach-O file for arm64" >&2; exit 1 ;;
esac
