#!/bin/sh
# A quern for sm_90a whose CUDA kernels are compiled with other flags, in BUILD, without compiling them for other cards:
#   bench/cuda_variant.sh BUILD -DQN_PROFILE -Ibench    the kernels of graphs tell when they were there (graph_trace.cuh)
#   bench/cuda_variant.sh BUILD -DQN_EVERY_LANE         for compute-sanitizer --tool racecheck (barrier_ptx.cuh)
# Compiles for some three minutes.
set -eu
[ $# -ge 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
build=$(readlink -f "$1")
shift
cd "$(dirname "$0")/.."
made=$build.made
mkdir -p "$made"
nvcc -fatbin -fmad=false -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc "$@" -o "$made/kernels.fatbin" src/backend/cuda/kernels.cu
python3 src/backend/cuda/embed.py "$made/kernels.fatbin" kernels "$made/cuda_kernels.c"
if [ -f "$build/build.ninja" ]; then
    meson configure "$build" -Dcuda=enabled -Dmade_cuda="$made"
else
    meson setup "$build" . -Dcuda=enabled -Dmade_cuda="$made"
fi
ninja -C "$build" quern
