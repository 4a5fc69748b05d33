"""The MQ coder gives a published sequence; the wavelet, tag trees and orders are what they are defined to be."""

import numpy as np
import pytest

from tests.streams.jpeg2000 import GOLDEN, codec, golden
from volcomp.errors import DamagedError
from volcomp.runtime.compiled import entry
from volcomp.streams.jpeg2000 import codestream, contexts, mq, tag_trees, wavelet
from volcomp.streams.jpeg2000 import side as sides
from volcomp.streams.jpeg2000.geometry import _order, geometry

# The test sequence of the same coder in ITU-T T.88, H.2, of one context; without the marker that ends it there.
PLAIN = bytes.fromhex("00020051000000C00352872AAAAAAAAA82C02000FCD79EF6BF7FED904F46A3BF")
CODED = bytes.fromhex("84C73BFCE1A1430402200000410DBB86F4317FFF88FF37471ADB6ADF")


@entry
def _encode(symbols: np.ndarray, states: np.ndarray, out: np.ndarray) -> int:
    states[:] = 0
    c, a, ct, at = mq.begin_encoding()
    c, a, ct, at = mq.encode(symbols, symbols.shape[0], states, out, c, a, ct, at)
    return mq.flush(out, c, a, ct, at)


@entry
def _decode(data: np.ndarray, states: np.ndarray, symbols: np.ndarray) -> None:
    states[:] = 0
    c, a, ct, at = mq.begin(data, 0)
    for n in range(symbols.shape[0]):
        symbols[n], c, a, ct, at = mq.decode(states, 0, data, c, a, ct, at)


def test_the_coder_gives_the_published_sequence():
    bits = np.unpackbits(np.frombuffer(PLAIN, np.uint8))
    out, states = np.zeros(64, np.uint8), np.zeros(mq.CONTEXTS, np.uint8)
    end = _encode(bits, states, out)
    assert out[1:end].tobytes() == CODED
    decoded = np.zeros_like(bits)
    _decode(np.frombuffer(CODED + b"\xff\xff", np.uint8), states, decoded)
    np.testing.assert_array_equal(decoded, bits)


def test_a_full_buffer_is_not_left():
    out, states = np.full(16, 7, np.uint8), np.zeros(mq.CONTEXTS, np.uint8)
    noise = np.random.default_rng(0).integers(0, 2, 4000).astype(np.uint8)
    assert _encode(noise, states, out[:8]) <= 8
    assert (out[8:] == 7).all()


def _lifted(line: np.ndarray, first: int) -> list[int]:
    """Transform a line whose first sample has this coordinate, as Equations F-9 and F-10 say, extended by mirroring."""
    n = len(line)
    if n == 1:
        return [int(line[0]) << (first & 1)]

    def at(values: np.ndarray, i: int) -> int:
        k = abs(i - first) % (2 * n - 2)
        return int(values[min(k, 2 * n - 2 - k)])

    out = line.astype(np.int64).copy()
    for i in range(first, first + n):
        if i & 1:
            out[i - first] -= (at(line, i - 1) + at(line, i + 1)) // 2
    high = out.copy()
    for i in range(first, first + n):
        if not i & 1:
            out[i - first] += (at(high, i - 1) + at(high, i + 1) + 2) // 4
    return [*out[first & 1 :: 2].tolist(), *out[1 - (first & 1) :: 2].tolist()]


@pytest.mark.parametrize("y0", [0, 1])
@pytest.mark.parametrize("x0", [0, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 3), (5, 4), (8, 7)])
def test_the_wavelet_is_the_one_that_is_defined(shape, y0, x0):
    h, w = shape
    image = np.random.default_rng(h * w).integers(-500, 500, (1, h, w)).astype(np.int32)
    planes, other = image.copy(), np.empty(h * w, np.int32)
    rectangle = np.array([[0, y0, x0, y0 + h, x0 + w, 1]])
    wavelet.forward(rectangle, y0, x0, other, planes)
    columns = np.array([_lifted(column, y0) for column in image[0].T]).T
    expected = np.array([_lifted(row, x0) for row in columns])
    np.testing.assert_array_equal(planes[0], expected)
    wavelet.inverse(rectangle, y0, x0, other, planes)
    np.testing.assert_array_equal(planes, image)


def test_components_are_transformed_as_defined():
    samples = np.random.default_rng(1).integers(0, 256, (3, 4, 5)).astype(np.uint8)
    planes = np.empty(samples.shape, np.int32)
    tiles = np.array([[0, 0, 4, 3], [0, 3, 4, 5]])
    wavelet.from_samples(samples, 128, tiles, np.array([True, False]), planes)
    red, green, blue = samples.astype(int) - 128
    np.testing.assert_array_equal(planes[:, :, 3:], np.stack([red, green, blue])[:, :, 3:])
    np.testing.assert_array_equal(
        planes[:, :, :3], np.stack([(red + 2 * green + blue) // 4, blue - green, red - green])[:, :, :3]
    )
    back = np.empty_like(samples)
    assert wavelet.to_samples(planes, 128, tiles, np.array([True, False]), 0, 255, back)
    np.testing.assert_array_equal(back, samples)


@entry
def _write_tree(values: np.ndarray, high: int, wide: int, threshold: int, out: np.ndarray) -> int:
    states = values[1]
    states[:] = 0
    bits = out.view(np.int64)[:8]
    tag_trees.fill(values[0], high, wide)
    tag_trees.begin(bits, 64, 0)
    for y in range(high):
        for x in range(wide):
            tag_trees.write(out, bits, states, values[0], high, wide, y, x, threshold)
    return tag_trees.end_of_writing(out, bits)


@entry
def _read_tree(data: np.ndarray, high: int, wide: int, threshold: int, bits: np.ndarray, states: np.ndarray) -> int:
    tag_trees.begin(bits, 64, data.shape[0])
    states[0, :] = 0
    for y in range(high):
        for x in range(wide):
            states[1, y * wide + x] = tag_trees.read(data, bits, states[0], high, wide, y, x, threshold)
    return tag_trees.end_of_reading(bits)


def test_a_tag_tree_gives_the_bits_of_the_example():
    """The example of B.10.2: 6 × 3 leaves, of which the first four have the values 1, 3, 2 and 3."""
    leaves = np.array([[1, 3, 2, 3, 2, 3], [2, 2, 1, 4, 3, 2], [2, 2, 2, 2, 1, 2]])
    values = np.zeros((2, 30), np.int32)
    values[0, :18] = leaves.ravel()
    out = np.zeros(256, np.uint8)
    end = _write_tree(values, 3, 6, 9, out)
    bits = "".join(f"{byte:08b}" for byte in out[64:end])
    assert bits.startswith("01111" + "001" + "101")


@pytest.mark.parametrize(("high", "wide"), [(1, 1), (1, 9), (5, 3), (8, 8)])
@pytest.mark.parametrize("threshold", [1, 4, 20])
def test_tag_trees_come_back(high, wide, threshold):
    leaves = np.random.default_rng(high).integers(0, 12, high * wide).astype(np.int32)
    values = np.zeros((2, 200), np.int32)
    values[0, : high * wide] = leaves
    out = np.zeros(1024, np.uint8)
    end = _write_tree(values, high, wide, threshold, out)
    states, bits = np.zeros((2, 200), np.int32), np.zeros(tag_trees.BITS, np.int64)
    assert _read_tree(out[:end].copy(), high, wide, threshold, bits, states) == end
    np.testing.assert_array_equal(states[1, : high * wide], np.minimum(leaves, threshold))
    assert not bits[tag_trees.ERROR]
    _read_tree(out[: end - 1].copy(), high, wide, threshold, bits, states)
    assert bits[tag_trees.ERROR]


def test_contexts_of_coefficients_without_neighbours_are_the_first():
    assert (contexts.ZERO_CONTEXTS[:, 0] == mq.ZERO).all()
    assert contexts.ZERO_CONTEXTS.max() == 8
    assert contexts.SIGN_CONTEXTS[0] == 2 * mq.SIGN
    # Left and upper neighbours, both negative (Table D.3): the last context, and the sign is flipped.
    assert contexts.SIGN_CONTEXTS[0b0101_0101] == 2 * (mq.SIGN + 4) + 1


@pytest.mark.parametrize("order", range(5))
def test_packets_come_in_the_five_orders(order):
    """Two components, two resolutions, 1 and 4 precincts, 2 layers, against the loops of B.12.1."""
    keys = np.array(
        [
            (c, r, y, x, k, 5 * c + r + k)
            for c in (0, 1)
            for r, places in ((0, [(0, 0)]), (1, [(0, 0), (0, 8), (8, 0), (8, 8)]))
            for k, (y, x) in enumerate(places)
        ]
    )
    rank = {
        0: lambda c, r, y, x, k, layer: (layer, r, c, k),
        1: lambda c, r, y, x, k, layer: (r, layer, c, k),
        2: lambda c, r, y, x, k, layer: (r, y, x, c, layer),
        3: lambda c, r, y, x, k, layer: (y, x, c, r, layer),
        4: lambda c, r, y, x, k, layer: (c, y, x, r, layer),
    }[order]
    rows = [(*key, layer) for key in keys.tolist() for layer in (0, 1)]
    rows.sort(key=lambda row: rank(*row[:5], row[6]))
    assert _order(keys, order, 2).tolist() == [[row[5], row[6]] for row in rows]


@pytest.mark.parametrize("name", GOLDEN)
def test_blocks_cover_every_coefficient_once(name):
    stream = codestream.read(golden(name), True, codec(name).high)
    layout = geometry(stream.size, stream.main, stream.tiles)
    cover = np.zeros(layout.planes, np.int64)
    for c, y, x, h, w, *_ in layout.blocks.tolist():
        cover[c, y : y + h, x : x + w] += 1
    assert (cover == 1).all()


def test_side_information_comes_back():
    side = sides.Side(
        b"frame",
        True,
        1,
        2,
        [3, 0, 200],
        [(0, b"\x80"), (7, b"xyz")],
        [sides.Correction(2, 1, b""), sides.Correction(900, 0, b"!")],
    )
    assert sides.unpack(sides.pack(side)) == side
    for end in range(len(sides.pack(side))):
        with pytest.raises(DamagedError):
            sides.unpack(sides.pack(side)[:end])
    with pytest.raises(DamagedError, match="version"):
        sides.unpack(b"\x02" + sides.pack(side)[1:])
