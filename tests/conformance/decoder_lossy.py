"""The part of the conformance decoder for previews and the lossy layer, from docs/format.md alone.

It takes nothing from the package but the arrays of `lossy-1`: a coefficient at a time, in Python's integers.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.conformance.decoder_bits import Reader, check, clip

WEIGHTS = Path(__file__).parents[2] / "volcomp" / "models" / "lossy-1.npz"
TYPES = ["<u1", "<i1", "<u2", "<i2"]
CAUSAL = [(0, -1), (0, -2), (0, -3), (-1, 0), (-1, -1), (-1, 1), (-1, -2), (-1, 2), (-1, -3), (-1, 3)]
CAUSAL += [(-2, 0), (-2, -1), (-2, 1), (-2, -2), (-2, 2), (-3, 0)]
AROUND = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
SIGNED = [(0, -1), (-1, 0), (0, -2), (-2, 0), (-1, -1), (-1, 1)]
# 2^16 over the norm of a basis function, by level: LL; HL and LH; HH.
GAINS = [
    (50447, 64805, 83248), (36405, 49666, 67758), (26982, 35875, 47697), (20292, 26611, 34898),
    (15329, 20019, 26144), (11594, 15124, 19729), (8771, 11439, 14918),
]  # fmt: skip
BASES = [0, 1, 2, 3, 4]  # the least magnitude of each bucket
while len(BASES) < 52:
    BASES += [BASES[-1] + max(1, (len(BASES) > 5) * 2 ** ((len(BASES) - 6) // 2 + 1))]


class Weights(NamedTuple):
    """The arrays of the model, as integers that cannot overflow."""

    of: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.of[name]


@cache
def weights() -> Weights:
    with np.load(WEIGHTS) as file:
        return Weights({name: file[name].astype(np.int64) for name in file.files})


def preview(payload: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Previews: the layer of a slab [z, y, x]."""
    data = Reader(payload)
    planes = np.stack([image(data.string().data) for _ in range(shape[0])])
    data.end()
    check(planes.shape == shape and planes.dtype == dtype, "layer of another shape or type")
    return planes


def image(payload: bytes) -> np.ndarray:
    """Lossy layer: an image [y, x]."""
    data = Reader(payload)
    first, dtype = data.number(1), np.dtype(TYPES[data.number(1)])
    check(first & 15 == 1 and first < 64, "version of the lossy layer")
    height, width = data.varint(), data.varint()
    least, greatest = np.iinfo(dtype).min, np.iinfo(dtype).max
    if first & 32:
        least += data.varint()
        greatest = least + data.varint()
    code, shifts = data.number(2), data.number(2)
    check(code <= 49151 and shifts < 2**12, "step or shifts")
    step = (2048 + code % 2048) << (code // 2048)
    layer = Layer(payload[data.at // 8 :], height, width)
    layer.read()
    plane = layer.restored(step, [(shifts >> 4 * i & 15) - 4 for i in range(3)])
    if first & 16:
        plane = filtered(plane, step, code)
    pixels = ((plane + 32) >> 6) + (least + greatest + 1 >> 1)
    return np.clip(pixels, least, greatest).astype(dtype)


class Bits:
    """Lossy layer: the arithmetic coder."""

    def __init__(self, data: bytes):
        self.data, self.at, self.range = data, 7, 2**56 - 1
        self.place = int.from_bytes(data[:7].ljust(7, b"\0"), "big")

    def bit(self, p: int) -> int:
        bound = (self.range >> 16) * p
        bit = int(self.place < bound)
        self.place, self.range = (self.place, bound) if bit else (self.place - bound, self.range - bound)
        while self.range < 2**48:
            self.place = self.place << 8 | (self.data[self.at] if self.at < len(self.data) else 0)
            self.range, self.at = self.range << 8, self.at + 1
        check(self.at <= len(self.data) + 15, "the payload is too short")
        return bit


class Band(NamedTuple):
    """Kind 0 … 3 (LL, HL, LH, HH) and level of a band, and its coefficients."""

    kind: int
    level: int
    values: np.ndarray

    def at(self, y: int, x: int) -> int:
        """A coefficient, 0 outside."""
        height, width = self.values.shape
        return int(self.values[y, x]) if 0 <= y < height and 0 <= x < width else 0


class Layer:
    """Lossy layer: the coefficients of an image."""

    def __init__(self, data: bytes, height: int, width: int):
        sizes = [(height, width)]
        while max(sizes[-1]) > 6 and len(sizes) <= 7:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        self.levels, self.bits = len(sizes) - 1, Bits(data)
        self.bands = {(0, self.levels): Band(0, self.levels, np.zeros(sizes[-1], np.int64))}
        for level in range(self.levels, 0, -1):
            (y, x), (low_y, low_x) = sizes[level - 1], sizes[level]
            for kind, size in ((1, (low_y, x - low_x)), (2, (y - low_y, low_x)), (3, (y - low_y, x - low_x))):
                self.bands[kind, level] = Band(kind, level, np.zeros(size, np.int64))
        self.sums_of_activity = np.zeros((12, 52), np.int64)

    def read(self) -> None:
        """Coefficients: all of them."""
        for band in self.bands.values():
            sums = np.zeros(52, np.int64)
            for y, x in np.ndindex(*band.values.shape):
                if band.kind:
                    inputs = self.inputs(band, y, x)
                    value = self.value(sums, activity(inputs), logits(band, inputs), negative(band, y, x))
                else:
                    value = predicted(band, y, x) + self.value(sums, 0, [], 2**15)
                band.values[y, x] = value
        check(self.bits.at >= len(self.bits.data), "bytes are left")

    def value(self, sums: np.ndarray, activity: int, logits: list[int], negative: int) -> int:
        """Coefficients: flags, place in the bucket, sign."""
        bucket = 0
        while bucket < 51:
            z = (logits[bucket] if bucket < len(logits) else 512) + (
                int(sums[bucket] + self.sums_of_activity[activity, bucket]) // 256
            )
            p = int(weights()["squash"][clip(z, 3072) + 3072])
            bit = self.bits.bit(p)
            change = ((bit * 2**16 - p) * 1310) >> 16
            sums[bucket] += change
            self.sums_of_activity[activity, bucket] += change
            if not bit:
                break
            bucket += 1
        magnitude = BASES[bucket]
        check(magnitude < 2**24, "magnitude")
        width = max(1, (bucket > 4) * 2 ** ((bucket - 5) // 2 + 1))
        while width > 1:
            width //= 2
            magnitude += width * self.bits.bit(2**15)
        return -magnitude if magnitude and self.bits.bit(negative) else magnitude

    def inputs(self, band: Band, y: int, x: int) -> list[int]:
        """Inputs."""
        kind, level = band.kind, band.level
        near = [band.at(y + dy, x + dx) for dy, dx in CAUSAL]
        for other in (1, 2):
            known = self.bands[other, level] if other < kind else None
            near += [known.at(y + dy, x + dx) if known else 0 for dy, dx in AROUND]
        parent = self.bands.get((kind, level + 1))
        down, right = 2 * (y % 2) - 1, 2 * (x % 2) - 1
        near += [parent.at(y // 2 + down * dy, x // 2 + right * dx) if parent else 0 for dy, dx in AROUND]
        others = [self.bands.get((other, level + 1)) for other in (1, 2, 3) if other != kind]
        near += [one.at(y // 2, x // 2) if one else 0 for one in others]
        above = self.bands.get((kind, level + 2))
        near.append(above.at(y // 4, x // 4) if above else 0)
        seen: list[int] = weights()["magnitudes"][np.minimum(np.abs(near), 255)].tolist()
        return seen

    def restored(self, step: int, shifts: list[int]) -> np.ndarray:
        """Restoring: the image in 1/64 grey level, about its middle."""
        planes = {}
        for (kind, level), band in self.bands.items():
            gain = GAINS[level - 1][(kind + 1) // 2] if self.levels else 2**16
            s = max(1, step * gain >> 16)
            fine = [
                min(32 * abs(v) - (shifts[min(abs(v), 3) - 1] if kind and v else 0), 2**42 // s) * s + 2**14 >> 15
                for v in band.values.ravel().tolist()
            ]
            signed = [-f if v < 0 else f for f, v in zip(fine, band.values.ravel().tolist(), strict=True)]
            planes[kind, level] = np.array(signed, np.int64).reshape(band.values.shape)
        plane = planes[0, self.levels]
        for level in range(self.levels, 0, -1):
            parts = [plane, *(planes[kind, level] for kind in (1, 2, 3))]
            plane = np.zeros((len(plane) + len(parts[2]), plane.shape[1] + parts[1].shape[1]), np.int64)
            for k, part in enumerate(parts):
                plane[k // 2 :: 2, k % 2 :: 2] = part
            plane = unlifted(unlifted(plane.T).T)
        return plane


def predicted(band: Band, y: int, x: int) -> int:
    """Coefficients: the prediction in LL."""
    left, above, corner = band.at(y, x - 1), band.at(y - 1, x), band.at(y - 1, x - 1)
    return sorted((left, above, left + above - corner))[1] if y and x else left if x else above


def activity(inputs: list[int]) -> int:
    """Coefficients: the activity."""
    total = 2 * (inputs[0] + inputs[3]) + inputs[4] + inputs[5] + inputs[34]
    return next((a for a in range(12) if total <= 6 * a * a), 11)


def logits(band: Band, inputs: list[int]) -> list[int]:
    """Network."""
    kind, level = band.kind - 1, band.level - 1
    net = weights()
    first = np.clip((np.array(inputs) @ net["first"][kind] + net["first_bias"][kind, level]) >> 6, 0, 3840)
    second = np.clip((first @ net["second"][kind] + net["second_bias"][kind]) >> 10, 0, 3840)
    found: list[int] = ((net["third"][kind] @ second + net["third_bias"][kind, level]) >> 10).tolist()
    return found


def negative(band: Band, y: int, x: int) -> int:
    """Coefficients: the probability of a negative sign."""
    context = 0
    for dy, dx in SIGNED:
        context = 3 * context + 1 + int(np.sign(band.at(y + dy, x + dx)))
    return int(weights()["signs"][band.kind - 1, band.level - 1, context])


def wrapped(values: np.ndarray) -> np.ndarray:
    """Integers wrap as two's complement in 32 bits."""
    return (values + 2**31) % 2**32 - 2**31


def unlifted(plane: np.ndarray) -> np.ndarray:
    """Restoring: the synthesis along the first axis."""
    plane, n = plane.copy(), len(plane)
    for first, factor in ((0, 29066), (1, 57862), (0, -3472), (1, -103949)):
        for i in range(first, n if n > 1 else 0, 2):
            sides = plane[abs(i - 1)] + plane[i + 1 if i + 1 < n else n - 2]
            plane[i] = wrapped(plane[i] - (factor * sides + 2**15 >> 16))
    return plane


def filtered(plane: np.ndarray, step: int, code: int) -> np.ndarray:
    """Filter."""
    net, (height, width) = weights(), plane.shape
    padded = np.pad(plane, [(8, 8 + height % 2), (8, 8 + width % 2)], mode="edge")
    blocks = np.stack([padded[k // 2 :: 2, k % 2 :: 2] for k in range(4)], axis=2)
    by_step = (net["filter_by_step"] * (code - 16384)) >> 11
    scaled = (convolved(blocks, net["filter_first"]) << 13) // step
    values = np.clip((scaled + net["filter_bias"] + by_step + 128) >> 8, 0, 255)
    for matrix, bias in zip(net["filter_middle"], net["filter_biases"], strict=True):
        values = np.clip((convolved(values, matrix) + bias + 512) >> 10, 0, 255)
    more = ((convolved(values, net["filter_last"]) + net["filter_last_bias"]) * step + 2**24) >> 25
    out = np.zeros((height + height % 2, width + width % 2), np.int64)
    for k in range(4):
        out[k // 2 :: 2, k % 2 :: 2] = more[:, :, k]
    return wrapped(plane + out[:height, :width])


def convolved(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Filter: a 3 × 3 convolution, taps row by row, inputs within them."""
    y, x = values.shape[0] - 2, values.shape[1] - 2
    windows = [values[tap // 3 : tap // 3 + y, tap % 3 : tap % 3 + x] for tap in range(9)]
    return np.concatenate(windows, axis=2) @ matrix
