"""The part of `decoder.py` for `paper` models, from docs/format.md alone: one voxel at a time, as it reads."""

import hashlib
import itertools
from collections import Counter
from typing import Any

import numpy as np

from tests.conformance.decoder_bits import Ans, Reader, check

ORDER = {"neighbourhood": "<i1", "recurrent": "<i1", "shift": "<i4", "entrance": "<i2", "bias": "<i4", "head": "<i2"}
ORDER |= {"head_bias": "<i4", "sigmoid": "<i2"}
Offset = tuple[int, int, int]


class Model:
    """`paper` models: the arrays, and the prediction of a voxel."""

    def __init__(self, path: Any, digest: bytes):
        arrays = dict(np.load(path))
        content = b"".join(arrays[name].astype(kind).tobytes() for name, kind in ORDER.items())
        if hashlib.sha256(content).digest()[:8] != digest:
            raise ValueError("another model")
        self.offsets = [tuple(offset) for offset in arrays["neighbourhood"].tolist()]
        arrays = {name: array.astype(np.int64) for name, array in arrays.items()}
        self.recurrent = arrays["recurrent"].astype(float)  # quick, and exact: all sums are far below 2^53
        self.shift, self.entrance, self.bias = arrays["shift"], arrays["entrance"], arrays["bias"]
        self.head, self.head_bias, self.table = arrays["head"], int(arrays["head_bias"][0]), arrays["sigmoid"]

    def sigma(self, z: np.ndarray) -> np.ndarray:
        return np.where(z >= 0, self.table[np.clip(z, 0, 8191)], 32768 - self.table[np.clip(-z, 0, 8191)])

    def predict(self, near: list[int], limit: int) -> int:
        hidden, cell, m = np.zeros(128, np.int64), np.zeros(128, np.int64), max(limit, 1)
        for rank in near:
            value = (rank * 2**15 + m // 2) // m - 2**14
            high = np.minimum((hidden + 128) >> 8, 127)
            low = hidden - 256 * high
            sums = 256 * (high @ self.recurrent) + low @ self.recurrent
            z = (sums.astype(np.int64) >> (5 + self.shift)) + ((value * self.entrance + self.bias) >> 16)
            i, f, o, g = np.split(self.sigma(z), 4)
            cell = np.clip((f * cell + (i * (2 * g - 32768) >> 3) + 2**14) >> 15, -32767, 32767)
            hidden = np.minimum((o * (2 * self.sigma((cell + 1) >> 1) - 32768) + 2**14) >> 15, 32639)
        output = int(self.head @ hidden) + self.head_bias
        return min(max((output * limit + 2**28 * limit + 2**28) >> 29, 0), limit)


def table(numbers: list[int]) -> list[int]:
    counts = [1 + n * (2**20 - len(numbers)) // sum(numbers) for n in numbers]
    counts[counts.index(max(counts))] += 2**20 - sum(counts)
    return counts


def schedule(offsets: list[Offset]) -> Offset:
    """The order of voxels: a, b, c."""
    a = int(any(dz == dy == 0 for dz, dy, dx in offsets))
    b = next(b for b in itertools.count() if all(a * dx + b * dy < 0 for dz, dy, dx in offsets if dz == 0 and dy))
    return a, b, next(c for c in itertools.count() if all(a * x + b * y + c * z < 0 for z, y, x in offsets if z))


def ranks(data: Any, ans: Any, model: Model, shape: Offset, limit: int, seen: Any) -> list[int]:
    """`paper` models: the ranks of a slab, whose words `ans` has and whose raw bits `data` is at."""
    a, b, c = schedule(model.offsets)
    where = itertools.product(*map(range, shape))
    order = sorted((a * x + b * y + c * z, b * y + c * z, z, y, x) for z, y, x in where)
    known: dict[Offset, int] = {}
    reach = min(limit, 1024)
    numbers = [1 + 2**14 // (64 + (t - reach) ** 2) for t in range(2 * reach + 2)]
    counts, since = table(numbers), 0
    for _, group in itertools.groupby(order, key=lambda v: v[0]):
        front = [(z, y, x) for _, _, z, y, x in group]
        near = [[known.get((z + dz, y + dy, x + dx), 0) for dz, dy, dx in model.offsets] for z, y, x in front]
        tokens = [ans.symbol(counts) for _ in front]
        for voxel, read, token in zip(front, near, tokens, strict=True):
            escaped = token == 2 * reach + 1
            known[voxel] = data.bits(limit.bit_length()) if escaped else model.predict(read, limit) + token - reach
            if not 0 <= known[voxel] <= limit:
                raise ValueError("no such value")
            numbers[token] += 32
            seen["paper escape"] += escaped
        since += len(front)
        if since >= max(64, len(known) // 16):
            counts, since = table(numbers), 0
            seen["paper table"] += 1
    return [known[voxel] for voxel in itertools.product(*map(range, shape))]


def slab(data: Reader, model: "Model", shape: tuple[int, int, int], limit: int, seen: Counter) -> list[int]:
    """`paper` models: a slab, and that nothing is left of it."""
    ans = Ans([data.number(4) for _ in range(data.varint())])
    found = ranks(data, ans, model, shape, limit, seen)
    check(ans.state == 0 and not ans.words, "words are left")
    data.end()
    return found
