"""Decode in plain numpy and Python integers: what the compiled loops must equal, bit for bit. Slow; for tests.

Nothing here is compiled, and no sum can overflow unseen: Python's integers have any length, and what is stored as int32
wraps as two's complement.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import Int32s, Int64s, Integers
from ..wire.cursor import Cursor
from . import bands, codec, coder, coefficients, contexts, header, network, postfilter, transform, weights
from .bands import KIND, LEVEL, PARENT, START, STRIDE, UNCLE, Layout
from .postfilter import Filter
from .quantisation import FARTHEST, SHIFT, STEP, band_steps, step_of


def decode(payload: bytes) -> Integers:
    """Decode a sound payload as `codec.decode` does."""
    cursor = Cursor(payload, "the lossy layer")
    head = header.read(cursor)
    places = bands.layout(*head.shape)
    quantised = Reader(cursor.rest(), places).read()
    flat = [0] * places.size
    steps = band_steps(places, head.steps.code)
    for row, step in zip(places.table.tolist(), steps.tolist(), strict=True):
        for y in range(row[bands.HEIGHT]):
            for x in range(row[bands.WIDTH]):
                at = row[START] + y * row[STRIDE] + x
                flat[at] = _restored(int(quantised[at]), step, row[KIND] == 0, head.steps.shifts)
    arrays = [bands.view(np.array(flat, np.int32), row) for row in places.table]
    plane = arrays[0]
    for i in range(1, len(arrays), 3):
        plane = _joined(plane, *arrays[i : i + 3])
    if head.filtered:
        plane = improve(plane, weights.postfilter(), head.steps.code)
    return codec.finished(plane, head._replace(filtered=False))


def improve(plane: Int32s, filters: Filter, code: int) -> Int32s:
    """Filter an image as `postfilter.improve` does, each sum as int64 and tap by tap."""
    height, width = plane.shape
    rows, columns = height + height % 2, width + width % 2
    reach, step = filters.reach, step_of(code)

    def at(y: int, x: int) -> list[int]:
        own = [(min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)) for dy in (0, 1) for dx in (0, 1)]
        return [int(plane[place]) for place in own]

    values = np.array(
        [[at(2 * y, 2 * x) for x in range(-reach, columns // 2 + reach)] for y in range(-reach, rows // 2 + reach)],
        np.int64,
    )
    sums = _convolved(values, filters.first)
    scaled = (sums << (16 + postfilter.ACTIVE + postfilter.FINE - postfilter.WEIGHT - transform.FRACTION)) // step
    scaled += filters.bias + ((filters.by_step.astype(np.int64) * (code - postfilter.MIDDLE_STEP)) >> 11)
    values = np.clip((scaled + 128) >> postfilter.FINE, 0, postfilter.HIGHEST)
    for matrix, biases in zip(filters.middle, filters.biases, strict=True):
        total = _convolved(values, matrix) + biases + (1 << (postfilter.WEIGHT - 1))
        values = np.clip(total >> postfilter.WEIGHT, 0, postfilter.HIGHEST)
    correction = ((_convolved(values, filters.last) + filters.last_bias) * step + (1 << 24)) >> 25
    out = np.zeros((rows, columns), np.int64)
    for n in range(4):
        out[n // 2 :: 2, n % 2 :: 2] = correction[:, :, n]
    return (plane + out[:height, :width]).astype(np.int32)


def _convolved(values: Int64s, matrix: Int32s) -> Int64s:
    y, x, inputs = values.shape[0] - 2, values.shape[1] - 2, values.shape[2]
    total = np.zeros((y, x, matrix.shape[1]), np.int64)
    for tap in range(9):
        part = values[tap // 3 : tap // 3 + y, tap % 3 : tap % 3 + x]
        for i in range(inputs):
            total += part[:, :, i, None] * matrix[tap * inputs + i].astype(np.int64)
    return total


def _restored(value: int, step: int, low: bool, shifts: tuple[int, int, int]) -> int:
    if value == 0:
        return 0
    drop = STEP + SHIFT - transform.FRACTION
    fine = (abs(value) << SHIFT) - (0 if low else shifts[min(abs(value), 3) - 1])
    restored = (min(fine, (FARTHEST << drop) // step) * step + (1 << (drop - 1))) >> drop
    return -restored if value < 0 else restored


def _joined(low: Int32s, horizontal: Int32s, vertical: Int32s, diagonal: Int32s) -> Int32s:
    plane = np.zeros((low.shape[0] + vertical.shape[0], low.shape[1] + horizontal.shape[1]), np.int32)
    plane[::2, ::2], plane[::2, 1::2], plane[1::2, ::2], plane[1::2, 1::2] = low, horizontal, vertical, diagonal
    for way in (plane.T, plane):
        for first, factor in ((0, transform.DELTA), (1, transform.GAMMA), (0, transform.BETA), (1, transform.ALPHA)):
            _unlift(way, first, factor)
    return plane


def _unlift(plane: Int32s, first: int, factor: int) -> None:
    """Undo a lifting step along the first axis."""
    n = plane.shape[0]
    if n == 1:
        return
    own = np.arange(first, n, 2)
    before, after = np.abs(own - 1), np.where(own + 1 < n, own + 1, n - 2)
    products = factor * (plane[before].astype(np.int64) + plane[after])
    plane[own] -= ((products + transform.HALF) >> transform.UNIT).astype(np.int32)


class Reader:
    """Reads the coefficients of a payload: the arithmetic decoder, the network and the corrections."""

    def __init__(self, data: bytes, places: Layout) -> None:
        self.data, self.places, self.table = data, places, places.table.tolist()
        self.network = weights.network()
        self.place = int.from_bytes(data[:7].ljust(7, b"\0"), "big")
        self.range, self.at = coder.WINDOW_MASK, 7
        self.of_band = np.zeros((len(self.table), network.ALL_FLAGS), np.int64)
        self.of_activity = np.zeros((coefficients.ACTIVITIES, network.ALL_FLAGS), np.int64)
        self.values = [0] * places.size
        self.bases = network.BASES.tolist()

    def read(self) -> Int32s:
        """Read all coefficients, int32 [size]."""
        for band, row in enumerate(self.table):
            for y in range(row[bands.HEIGHT]):
                for x in range(row[bands.WIDTH]):
                    at = row[START] + y * row[STRIDE] + x
                    if row[KIND] == 0:
                        self.values[at] = self._predicted(at, row[STRIDE], y, x) + self._value(band, 0, None)
                    else:
                        inputs = self._inputs(band, y, x)
                        self.values[at] = self._value(band, self._activity(inputs), self._logits(band, inputs))
        return np.array(self.values, np.int32)

    def _predicted(self, at: int, stride: int, y: int, x: int) -> int:
        left, above, corner = self.values[at - 1], self.values[at - stride], self.values[at - stride - 1]
        if y == 0 or x == 0:
            return left if y == 0 else above
        return sorted((left, above, left + above - corner))[1]

    def _magnitude(self, at: int) -> int:
        return int(self.network.magnitudes[min(abs(self.values[at]), 255)])

    def _inputs(self, band: int, y: int, x: int) -> list[int]:
        def seen(other: int, y: int, x: int) -> int:
            return self._magnitude(self.table[other][START] + y * self.table[other][STRIDE] + x)

        row = self.table[band]
        inputs = [seen(band, y + dy, x + dx) for dy, dx in contexts.CAUSAL.tolist()]
        around = contexts.AROUND.tolist()
        for k in range(2):
            earlier = k < row[KIND] - 1
            inputs += [seen(band - row[KIND] + 1 + k, y + dy, x + dx) if earlier else 0 for dy, dx in around]
        parent = row[PARENT]
        if parent < 0:
            return inputs + [0] * (contexts.INPUTS - len(inputs))
        down, right = 2 * (y % 2) - 1, 2 * (x % 2) - 1
        inputs += [seen(parent, y // 2 + dy * down, x // 2 + dx * right) for dy, dx in around]
        inputs += [seen(row[UNCLE] + k, y // 2, x // 2) for k in range(3) if row[UNCLE] + k != parent]
        above = self.table[parent][PARENT]
        return [*inputs, seen(above, y // 4, x // 4) if above >= 0 else 0]

    def _activity(self, inputs: list[int]) -> int:
        total = 2 * (inputs[0] + inputs[3]) + inputs[4] + inputs[5] + inputs[contexts.ABOVE]
        steps = range(coefficients.ACTIVITIES - 1)
        return next((step for step in steps if total <= 6 * step * step), coefficients.ACTIVITIES - 1)

    def _logits(self, band: int, inputs: list[int]) -> list[int]:
        net, kind = self.network, self.table[band][KIND] - 1
        level = min(self.table[band][LEVEL] - 1, network.LEVELS - 1)
        first = np.array(inputs) @ net.first[kind].astype(np.int64) + net.first_bias[kind, level]
        first = np.clip(first >> (network.INPUT + network.WEIGHT - network.HIDDEN), 0, network.HIGHEST)
        second = first @ net.second[kind].astype(np.int64) + net.second_bias[kind]
        second = np.clip(second >> network.WEIGHT, 0, network.HIGHEST)
        third = net.third[kind].astype(np.int64) @ second + net.third_bias[kind, level]
        logits: list[int] = (third >> (network.HIDDEN + network.WEIGHT - network.LOGIT)).tolist()
        return logits

    def _bit(self, probability: int) -> int:
        bound = (self.range >> coder.PROBABILITY) * probability
        bit = int(self.place < bound)
        self.range = bound if bit else self.range - bound
        self.place -= 0 if bit else bound
        while self.range < 1 << coder.SMALLEST:
            self.place = (self.place << 8) | (self.data[self.at] if self.at < len(self.data) else 0)
            self.at, self.range = self.at + 1, self.range << 8
        return bit

    def _value(self, band: int, activity: int, logits: list[int] | None) -> int:
        flag = 0
        while flag < network.ALL_FLAGS:
            z = logits[flag] if logits is not None and flag < network.FLAGS else coefficients.TAIL
            z += int(self.of_band[band, flag] + self.of_activity[activity, flag]) >> coefficients.FINE
            probability = int(self.network.squash[min(max(z, -network.EDGE), network.EDGE) + network.EDGE])
            bit = self._bit(probability)
            change = (((bit << coder.PROBABILITY) - probability) * coefficients.RATE) >> coder.PROBABILITY
            self.of_band[band, flag] += change
            self.of_activity[activity, flag] += change
            if not bit:
                break
            flag += 1
        if flag == 0:
            return 0
        magnitude = self.bases[flag]
        within = self.bases[flag + 1] - magnitude if flag < network.ALL_FLAGS else 1
        while within > 1:
            within //= 2
            magnitude += within * self._bit(coefficients.HALF)
        return -magnitude if self._bit(coefficients.HALF) else magnitude
