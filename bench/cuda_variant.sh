#!/bin/sh
# A quern for sm_90a whose CUDA kernels are compiled with other flags, in BUILD, without compiling them for other cards:
#   bench/cuda_variant.sh BUILD -DQN_PROFILE -Ibench    the resident kernel tells when each warp was where (resident_trace.cuh)
#   bench/cuda_variant.sh BUILD -DQN_EVERY_LANE         for compute-sanitizer --tool racecheck (barrier_ptx.cuh)
# Compiles for some three minutes on each of two processors.
set -eu
[ $# -ge 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
build=$(readlink -f "$1")
shift
cd "$(dirname "$0")/.."
made=$build.made
mkdir -p "$made"
fatbin() {
    name=$1
    shift
    nvcc -fatbin -fmad=false -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc "$@" -o "$made/$name.fatbin" "src/backend/cuda/$name.cu"
    python3 src/backend/cuda/embed.py "$made/$name.fatbin" "$name" "$made/cuda_$name.c"
}
fatbin kernels "$@" &
fatbin resident -Xptxas -dlcm=cg "$@"
wait $!
if [ -f "$build/build.ninja" ]; then
    meson configure "$build" -Dcuda=enabled -Dmade_cuda="$made"
else
    meson setup "$build" . -Dcuda=enabled -Dmade_cuda="$made"
fi
ninja -C "$build" quern
