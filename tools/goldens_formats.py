"""Block formats by the `gguf` package: tests/golden/data/formats.

<name>.blocks holds blocks of random bytes whose halves are finite, <name>.f32 what they stand for. quantise.f32 holds numbers,
and <name>.quantised their blocks where the package quantises, as llama.cpp's reference code does. Those of the other formats
were made once by ggml-quants.c itself (llama-cpp-python 0.3.9, compiled without contraction) and are left as they are.
affine<bits>_<group>.quantised are the blocks of the same numbers by mlx.core.quantize.
"""

import gguf
import mlx.core
import numpy

READ = {"q8_0": [0], "q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q2_k": [80, 82], "q3_k": [108],
        "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "iq4_nl": [0], "iq4_xs": [0]}  # where a block's halves are
WRITTEN = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1"]
N_ELEMENTS = 2048


def kind(name):
    return gguf.GGMLQuantizationType[name.upper()]


def random_blocks(name, rng):
    n_elements, n_bytes = gguf.GGML_QUANT_SIZES[kind(name)]
    blocks = rng.integers(0, 256, (N_ELEMENTS // n_elements, n_bytes), dtype=numpy.uint8)
    extremes = numpy.array([0x0000, 0x8000, 0x0001, 0x03ff, 0x8400, 0x7bff, 0xfbff], numpy.uint16)
    for at in READ[name]:
        halves = rng.integers(0, 1 << 16, len(blocks), dtype=numpy.uint16)
        halves = numpy.where((halves & 0x7c00) == 0x7c00, halves & 0x83ff, halves)
        n = min(len(extremes), len(blocks) - 1)
        halves[:n] = rng.permutation(extremes)[:n]
        blocks[:, at:at + 2] = halves[:, None].view(numpy.uint8)
    return blocks


def numbers(rng):
    """Blocks of 32 of many sizes: zeros, ties at half a step, one large number, all of one sign, all equal."""
    x = (rng.standard_normal((N_ELEMENTS // 32, 32)) * 10.0 ** rng.integers(-4, 3, (N_ELEMENTS // 32, 1))).astype(numpy.float32)
    x[0] = 0
    x[1] = numpy.arange(-16, 16) / 2 - 0.25
    x[2, 5] = -400
    x[3] = abs(x[3]) + 1
    x[4] = -abs(x[4])
    x[5] = -0.75
    x[6, :16] = 0
    x[7] = numpy.where(numpy.arange(32) % 2, 127, 0.5)
    return x


def affine_blocks(x, bits, group):
    parts = mlx.core.quantize(mlx.core.array(x.reshape(1, -1)), group_size=group, bits=bits)
    words, scales, biases = (numpy.array(a).reshape(x.size // group, -1) for a in parts)
    return numpy.concatenate([scales.astype("<f4").view("u1"), biases.astype("<f4").view("u1"), words.astype("<u4").view("u1")], axis=1)


def write(out, seed):
    rng = numpy.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    for name in READ:
        blocks = random_blocks(name, rng)
        (out / f"{name}.blocks").write_bytes(blocks.tobytes())
        (out / f"{name}.f32").write_bytes(gguf.quants.dequantize(blocks, kind(name)).astype("<f4").tobytes())
    x = numbers(rng)
    (out / "quantise.f32").write_bytes(x.astype("<f4").tobytes())
    for name in WRITTEN:
        (out / f"{name}.quantised").write_bytes(gguf.quants.quantize(x, kind(name)).tobytes())
    for bits in (3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            (out / f"affine{bits}_{group}.quantised").write_bytes(affine_blocks(x, bits, group).tobytes())
