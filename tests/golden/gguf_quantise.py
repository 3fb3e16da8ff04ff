"""Block formats that the `gguf` package can read and not write, written by rounding to the nearest: enough for a model that
answers as before, not as good as a search for the best scales. gguf_files.py's writer takes them in place of its random blocks.

Each function takes float32 blocks [n, numbers of a block] and returns their bytes [n, bytes of a block] as llama.cpp's ggml-common.h
lays them out.
"""

import gguf
import numpy

IQ4 = numpy.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], "f4")


def half(x):
    """(as a file holds it, as it is read)."""
    stored = x.astype("<f2")
    return stored.reshape(-1, 1).view("u1"), stored.astype("f4")


def over(x, d):
    """x / d, and 0 where d is 0."""
    return numpy.divide(x, d, out=numpy.zeros(numpy.broadcast(x, d).shape, "f4"), where=d != 0)


def whole(x, low, high):
    return numpy.clip(numpy.rint(x), low, high).astype(int)


def asymmetric(x, groups, most, scale_max):
    """Numbers of 0 … most with a scale and a minimum a group: the bytes of both factors, both in whole steps, the numbers."""
    x = x.reshape(len(x), groups, -1)
    least = numpy.maximum(0, -x.min(2))
    scale = (x.max(2) + least) / most
    d_bytes, d = half(scale.max(1) / scale_max)
    m_bytes, m = half(least.max(1) / scale_max)
    steps, minima = whole(over(scale, d[:, None]), 0, scale_max), whole(over(least, m[:, None]), 0, scale_max)
    q = whole(over(x + (m[:, None] * minima)[..., None], (d[:, None] * steps)[..., None]), 0, most)
    return d_bytes, m_bytes, steps, minima, q.reshape(len(x), -1)


def symmetric(x, groups, low, scale_low):
    """Numbers of low … -low - 1 with a scale a group, itself of scale_low … -scale_low - 1."""
    x = x.reshape(len(x), groups, -1)
    at = numpy.abs(x).argmax(2)[..., None]
    scale = numpy.take_along_axis(x, at, 2)[..., 0] / low  # so that the largest is low itself
    largest = numpy.take_along_axis(scale, numpy.abs(scale).argmax(1)[:, None], 1)[:, 0]
    d_bytes, d = half(largest / scale_low)
    steps = whole(over(scale, d[:, None]), scale_low, -scale_low - 1)
    q = whole(over(x, (d[:, None] * steps)[..., None]), low, -low - 1)
    return d_bytes, steps, q.reshape(len(x), -1)


def low_bits(q, bits, run):
    """Numbers of `bits` bits: those of 8/bits runs of `run` numbers share a run of bytes, the first run lowest."""
    parts = q.reshape(len(q), -1, 8 // bits, run)
    return numpy.bitwise_or.reduce(parts << (bits * numpy.arange(8 // bits))[:, None], axis=2).reshape(len(q), -1).astype("u1")


def six_bits(steps, minima):
    """The 8 scales and 8 minima of Q4_K and Q5_K in 12 bytes."""
    first, last, m_first, m_last = steps[:, :4], steps[:, 4:], minima[:, :4], minima[:, 4:]
    return numpy.hstack([first | last >> 4 << 6, m_first | m_last >> 4 << 6, last & 15 | (m_last & 15) << 4]).astype("u1")


def q2_k(x):
    d, m, steps, minima, q = asymmetric(x, 16, 3, 15)
    return numpy.hstack([(steps | minima << 4).astype("u1"), low_bits(q, 2, 32), d, m])


def q3_k(x):
    d, steps, q = symmetric(x, 16, -4, -32)
    q, s = q + 4, steps + 32
    scales = numpy.hstack([s[:, :8] & 15 | (s[:, 8:] & 15) << 4, numpy.bitwise_or.reduce(
        s.reshape(-1, 4, 4) >> 4 << (2 * numpy.arange(4))[:, None], axis=1)]).astype("u1")
    return numpy.hstack([low_bits(q >> 2, 1, 32), low_bits(q & 3, 2, 32), scales, d])


def q4_k(x):
    d, m, steps, minima, q = asymmetric(x, 8, 15, 63)
    return numpy.hstack([d, m, six_bits(steps, minima), low_bits(q, 4, 32)])


def q5_k(x):
    d, m, steps, minima, q = asymmetric(x, 8, 31, 63)
    return numpy.hstack([d, m, six_bits(steps, minima), low_bits(q >> 4, 1, 32), low_bits(q & 15, 4, 32)])


def q6_k(x):
    d, steps, q = symmetric(x, 16, -32, -128)
    q += 32
    return numpy.hstack([low_bits(q & 15, 4, 64), low_bits(q >> 4, 2, 32), steps.astype("i1").view("u1"), d])


def nearest(x):
    return numpy.searchsorted((IQ4[1:] + IQ4[:-1]) / 2, x)


def iq4_nl(x):
    d_bytes, d = half(numpy.abs(x).max(1) / 113)
    return numpy.hstack([d_bytes, low_bits(nearest(over(x, d[:, None])), 4, 16)])


def iq4_xs(x):
    x = x.reshape(len(x), 8, 32)
    scale = numpy.abs(x).max(2) / 113
    d_bytes, d = half(scale.max(1) / 31)
    steps = whole(over(scale, d[:, None]), 0, 31)
    q = nearest(over(x, (d[:, None] * steps)[..., None])).reshape(len(x), 256)
    s = steps + 32
    high = (s >> 4 << 2 * numpy.arange(8)).sum(1).astype("<u2").reshape(-1, 1).view("u1")
    return numpy.hstack([d_bytes, high, low_bits(s & 15, 4, 1), low_bits(q, 4, 16)])


WRITERS = {"Q2_K": q2_k, "Q3_K": q3_k, "Q4_K": q4_k, "Q5_K": q5_k, "Q6_K": q6_k, "IQ4_NL": iq4_nl, "IQ4_XS": iq4_xs}


def quantise(values, kind):
    """The bytes of a matrix in a format, row by row."""
    size, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = WRITERS[kind](values.reshape(-1, size).astype("f4"))
    assert blocks.shape[1] == n_bytes
    return numpy.ascontiguousarray(blocks).reshape(*values.shape[:-1], -1)
