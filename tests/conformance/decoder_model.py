"""The part of the conformance decoder for the LSTM and its arrays, from docs/format.md alone."""

import hashlib
from pathlib import Path

import numpy as np

from tests.conformance.decoder_bits import Binary, Reader, check, clip

MODELS = Path(__file__).parents[2] / "volcomp" / "models"
NAMES = {
    1: "fast-1", 2: "base-1", 3: "fast-2", 4: "base-2", 5: "fast-3", 6: "base-3", 7: "base-4", 8: "turbo-1",
    9: "fast-flat-1", 10: "fast-layered-1", 11: "base-flat-1", 12: "fast-flat-2", 16: "paper-1",
}  # fmt: skip

SEEING = {"fast-layered-1"}  # models that see the reference


class Model:
    """LSTM: the arrays of a model, and the step from one voxel of a row to the next."""

    def __init__(self, number: int, digest: bytes):
        check(number in NAMES, "model of a later version")
        arrays = dict(np.load(MODELS / f"{NAMES[number]}.npz"))
        order = {"weights": "<i1", "shift": "<i4", "head": "<i2", "bias": "<i4", "counts": "<u4", "sizes": "<i8"}
        order |= {"slopes": "<i1", "metric": "<i2"} if "metric" in arrays else {}
        content = b"".join(arrays[name].astype(dtype).tobytes() for name, dtype in order.items())
        check(hashlib.sha256(content).digest()[:8] == digest, "another model")
        self.weights = arrays["weights"].astype(float)  # quick, and exact: all sums are far below 2^53
        self.shift, self.head, self.bias = (arrays[name].astype(np.int64) for name in ("shift", "head", "bias"))
        self.tables = [t.tolist() for t in np.split(arrays["counts"], np.cumsum(arrays["sizes"])[:-1])]
        self.refers, self.units = NAMES[number] in SEEING, len(self.shift) // 4
        self.shared = (len(self.weights) - 64 - self.units) // 2
        self.seen = self.head.shape[1]
        self.learns = "metric" in arrays
        if self.learns:
            self.slopes, self.metric = (arrays[name].astype(np.int64) for name in ("slopes", "metric"))

    def fit(self, data: Reader) -> None:
        """Fitted models."""
        lists = [data.string() for _ in range(4)]
        sizes = [*self.weights.shape, self.head.size, 2]
        row, column, head, bias = (
            np.array(part.rice(size) if part.data else [0] * size) for part, size in zip(lists, sizes, strict=True)
        )
        check(max(abs(row).max(), abs(column).max()) <= 32, "gain")
        product = self.weights.astype(np.int64) * (64 + row[:, None]) * (64 + column)
        coded = data.take(len(data.data) - data.at // 8)
        self.weights = (np.clip((product + 2**11) >> 12, -64, 64) + self.differing(coded)).astype(float)
        self.head, self.bias = self.head + head.reshape(2, -1), self.bias + bias
        check(abs(self.weights).max() <= 64 and 128 * abs(self.weights).sum(axis=0).max() < 2**24, "weights")
        check((128 * abs(self.head).sum(axis=1) + abs(self.bias)).max() < 2**24, "head")

    def differing(self, coded: bytes) -> np.ndarray:
        """Fitted models: single weights."""
        found, bits = np.zeros(self.weights.shape, int), Binary(coded)
        rows, columns = found.shape
        whether, sizes, k, counts = [1, 1], [[1, 1] for _ in range(17)], 0, [0] * columns
        for i in range(rows if coded else 0):
            if not bits.adaptive(whether):
                continue
            n = 0
            for j in range(columns):
                share = max(2**16 * (sum(counts) + 1) // (k * columns + j + 8), 1)
                p = (2**16 * counts[j] + 4 * share) // (k + 4) * ((2**16 * n + 16 * share) // (j + 16)) // share
                if bits.bit(clip(p, 65472, 64)):
                    negative, size = bits.bit(2**15), 1
                    while size < 128 and bits.adaptive(sizes[min(size, 16)]):
                        size += 1
                    found[i, j] = -size if negative else size
                    counts[j], n = counts[j] + 1, n + 1
            k += 1
        return found

    def step(self, inputs: list[int], hidden: np.ndarray, cell: np.ndarray, head: np.ndarray) -> tuple:
        """The offset and octaves of a voxel, what the head saw, and the state after it."""
        z = (np.concatenate([inputs, hidden]) @ self.weights * 8).astype(np.int64) >> self.shift
        i, f, o = (self.sigma(gate) for gate in np.split(z[: 3 * self.units], 3))
        cell = np.clip((f * cell + (i * self.tau(z[3 * self.units :]) >> 3) + 2**14) >> 15, -32767, 32767)
        hidden = np.minimum((o * self.tau(cell >> 2) + 2**22) >> 23, 127)
        seen = np.concatenate([inputs, hidden])[-self.seen :]
        offset, octaves = (head @ seen + self.bias).tolist()
        return clip(offset >> 5, 8192), octaves >> 11, seen, hidden, cell

    def sigma(self, z: np.ndarray) -> np.ndarray:
        z = np.clip(z, -4096, 4096)
        return 16384 + 8 * z - (z * abs(z) >> 10)

    def tau(self, z: np.ndarray) -> np.ndarray:
        z = np.clip(z, -2048, 2048)
        return 32 * z - (z * abs(z) >> 7)
