#!/bin/sh
# The figures of docs/performance.md on an NVIDIA card, part by part, so that a card that is lent for minutes is used for all of
# them; each part leaves OUT/PART.json or OUT/PART.log. QUERN_TEST_BACKEND names another backend than cuda.
# usage: bench/cuda_figures.sh QUERN OUT [PART…]       QUERN: the program, or a folder from bench/cuda_pack.sh
#   limits    what the card can do                          pair     both models in one process, each alone and beside
#   7b, 3b    strategies, batches, prefill in F16           formats  7B in every format of weights
#   cache     7B with keys and values in q8_0               selftest every kernel against the CPU
#   goldens   logits and texts of tests/golden              crowd    1 to 256 at once through the server, against each alone
#   memcheck, racecheck   the self-test, one round, under compute-sanitizer; for racecheck QUERN is one of bench/cuda_variant.sh … -DQN_EVERY_LANE
set -eu
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
mkdir -p "$2"
quern=$(readlink -f "$1")
out=$(readlink -f "$2")
shift 2
if [ -d "$quern" ]; then
    [ ! -d "$quern/golden" ] || export QUERN_SHARED="$quern"
    # The pack's libraries are for quern alone, not for Python.
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/quern "$@"\n' "$quern" "$quern" >"$out/quern"
    chmod +x "$out/quern"
    quern=$out/quern
fi

backend=${QUERN_TEST_BACKEND:-cuda}

# NAME OPTIONS…: one run of the benchmark.
bench() {
    name=$1
    shift
    "$quern" bench --backend "$backend" --seconds 1 --json "$@" >"$out/$name.json" 2>"$out/$name.log" ||
        echo "$name ended with $?: $(tail -n 1 "$out/$name.log")"
}

# Where pytest-xdist is, 15 at a time: each case is a process of its own, which takes a second to find the card.
many=
if python3 -c 'import xdist' 2>/dev/null; then many="-p xdist -n 15"; fi

tests() {
    name=$1
    shift
    # shellcheck disable=SC2086
    (cd "$here" && QUERN_BIN=$quern QUERN_TEST_BACKEND=$backend python3 -m pytest -q -rs --tb=short -p no:cacheprovider $many "$@") >"$out/$name.log" 2>&1 || true
    tail -n 1 "$out/$name.log"
}

large="--max-batch 256 --prefill-chunk 2048 --context 8192"
for part in ${*:-limits 7b 3b pair formats cache selftest crowd goldens memcheck racecheck}; do
    echo "== $part, $(date +%H:%M:%S)"
    # shellcheck disable=SC2086
    case $part in
    limits) "$quern" bench limits --backend "$backend" --json >"$out/limits.json" || echo "limits ended with $?" ;;
    7b) bench 7b --shape qwen2.5-7b --dtype f16 --only short,strategies,batch,prefill $large ;;
    3b) bench 3b --shape qwen2.5-3b --dtype f16 --only short,batch,prefill $large ;;
    pair) bench pair --shape qwen2.5-7b,qwen2.5-3b --dtype f16 --context 8192 --only pair ;;
    formats)
        for type in q8_0 q6_k q5_k q4_k q4_0 q3_k q2_k iq4_nl iq4_xs affine8_64 affine6_64 affine5_64 affine4_64 affine3_64 fp8_128; do
            bench "formats-$type" --shape qwen2.5-7b --dtype $type --only short,batch,prefill --max-batch 128 --prefill-chunk 2048 --context 8192
        done
        ;;
    cache) bench cache --shape qwen2.5-7b --dtype f16 --kv-cache q8_0 --only short,batch,prefill --max-batch 64 --prefill-chunk 2048 --context 8192 ;;
    selftest) "$quern" selftest --backend "$backend" --rounds 2 >"$out/selftest.log" 2>&1 || echo "selftest ended with $?" ;;
    goldens) tests goldens tests/golden/test_logits.py tests/golden/test_generate.py ;;
    crowd) tests crowd tests/server/test_real.py -k 'crowd or at_once or preempted' ;;
    memcheck | racecheck)
        compute-sanitizer --target-processes all --tool "$part" "$quern" selftest --backend "$backend" --rounds 1 >"$out/$part.log" 2>&1 || true
        tail -n 1 "$out/$part.log"
        ;;
    *)
        echo "unknown part $part" >&2
        exit 2
        ;;
    esac
done
