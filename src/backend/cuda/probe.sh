#!/bin/sh
# probe.sh NVCC: prints the folder of its toolkit, or says on stderr why it does not do: no code for sm_90a (CUDA before 12), no C++
# compiler beside it, no cuda.h.
nvcc=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
echo '__global__ void probe() {}' >"$dir/probe.cu"
"$nvcc" -fatbin -std=c++17 -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a -o "$dir/probe.fatbin" \
    "$dir/probe.cu" >"$dir/log" 2>&1 || { head -n 3 "$dir/log" >&2; exit 1; }
home=$("$nvcc" --dryrun -o "$dir/x" "$dir/probe.cu" 2>&1 | sed -n 's/^#\$ TOP=//p')
home=$(cd "$home" 2>/dev/null && pwd) || home=
for at in "$home" "$(dirname "$(dirname "$(readlink -f "$nvcc")")")" /usr/local /usr; do
    [ ! -f "$at/include/cuda.h" ] || { echo "$at"; exit 0; }
done
echo "no cuda.h beside $nvcc" >&2
exit 1
