#!/bin/sh
# Packs a built quern for a machine with a card that has neither its libraries nor the shared goldens: OUT.txz, to be unpacked
# there and measured with bench/cuda_figures.sh.   usage: bench/cuda_pack.sh BUILD OUT.txz [WHEEL…]
set -eu
[ $# -ge 2 ] || { echo "usage: $0 BUILD OUT.txz [WHEEL…]" >&2; exit 2; }
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
build=$1
out=$2
shift 2
pack=$(mktemp -d)
trap 'rm -rf "$pack"' EXIT
mkdir "$pack/quern"
cp "$build/quern" "$@" "$pack/quern/"
# All but the C library itself, which is the machine's own.
ldd "$build/quern" | awk '/=> \//{print $3}' | grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|ld-linux)[.-]' | xargs -I{} cp -L {} "$pack/quern/"
[ ! -d "$here/../shared/golden" ] || cp -r "$here/../shared/golden" "$pack/quern/golden"
tar -C "$pack" -cf - quern | xz -T0 -1 >"$out"
ls -l "$out"
