"""The integers of a `paper` model, its neighbourhood among them, and the proof that no sum of products can overflow."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neighbourhoods import Neighbourhood, is_causal

from ...constants import WEIGHT_LIMIT  # 128 products with int8 halves of outputs stay below 2^24
from ...dtypes import Float64s, Int8s, Int16s, Int32s
from ...errors import DamagedError
from .sequence import in_order

UNITS = 128
REACH = 127  # of offsets, which are int8
SEQUENCE_LIMIT = 4096  # voxels

ENTRANCE_BITS, BIAS_BITS, HEAD_BITS, OUTPUT_BITS = 12, 26, 13, 28
SIGMOID_STEPS = 1 << 10  # entries of the table in one unit of its argument, which ends at 8
SHIFT_LIMIT = 11
TYPES = {
    "neighbourhood": "i1", "recurrent": "i1", "shift": "i4", "entrance": "i2", "bias": "i4", "head": "i2",
    "head_bias": "i4", "sigmoid": "i2",
}  # fmt: skip


@dataclass(frozen=True)
class PaperWeights:
    """The integers of a model. The order of the gates is input, forget, output, candidate. All numbers of the candidate
    are doubled, because tanh z = 2σ(2z) − 1 and there is only one table, of σ.

    neighbourhood int8 [K, 3]   the offsets (dz, dy, dx) in the order of the sequence
    recurrent int8 [128, 512]   from the hidden outputs to the gates, within ±64
    shift int32 [512]           of each column, 0 … 11: a weight's unit is 2^-shift
    entrance int16 [512]        from the voxel to the gates, in 2^-12
    bias int32 [512]            in 2^-26, within ±2^30; includes the halves by which the shifts round
    head int16 [128]            from the last hidden outputs to the voxel, in 2^-13
    head_bias int32 [1]         in 2^-28
    sigmoid int16 [8192]        σ(k/1024) in 1/32768
    """

    name: str
    neighbourhood: Int8s
    recurrent: Int8s
    shift: Int32s
    entrance: Int16s
    bias: Int32s
    head: Int16s
    head_bias: Int32s
    sigmoid: Int16s

    def __post_init__(self) -> None:
        gates, k = 4 * UNITS, len(self.neighbourhood)
        shapes = [(k, 3), (UNITS, gates), (gates,), (gates,), (gates,), (UNITS,), (1,), (8 * SIGMOID_STEPS,)]
        arrays = {name: getattr(self, name) for name in TYPES}
        found = [(array.shape, array.dtype) for array in arrays.values()]
        if found != list(zip(shapes, map(np.dtype, TYPES.values()), strict=True)) or not 0 < k <= SEQUENCE_LIMIT:
            raise DamagedError(f"model {self.name}: the shapes or types of its arrays are not those of a `paper` model")
        if not all(map(is_causal, self.offsets)) or len(set(self.offsets)) < k:
            raise DamagedError(f"model {self.name}: its neighbourhood has voxels that are not known yet, or one twice")
        if (
            np.abs(self.recurrent.astype(int)).max() > WEIGHT_LIMIT
            or np.abs(self.bias.astype(np.int64)).max() > 1 << 30
        ):
            raise DamagedError(f"model {self.name}: weights must be within ±64 and biases within ±2^30")
        if not 0 <= self.shift.min() <= self.shift.max() <= SHIFT_LIMIT:
            raise DamagedError(f"model {self.name}: shifts must be within 0 … {SHIFT_LIMIT}")
        if self.sigmoid.min() < 1 << 14 or (np.diff(self.sigmoid.astype(int)) < 0).any():
            raise DamagedError(f"model {self.name}: its table is not that of a rising function from 1/2 on")

    @property
    def offsets(self) -> Neighbourhood:
        """The neighbourhood, in the order of the sequence."""
        return tuple((dz, dy, dx) for dz, dy, dx in self.neighbourhood.tolist())

    def digest(self) -> bytes:
        """Compute the SHA-256 of all arrays in their order, little-endian, by which a file identifies its model."""
        sha = hashlib.sha256()
        for name, kind in TYPES.items():
            sha.update(getattr(self, name).astype("<" + kind).tobytes())
        return sha.digest()

    def save(self, path: Path) -> None:
        """Write as .npz, atomically."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: getattr(self, name) for name in TYPES})
        temporary = path.with_suffix(".part")
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)


def load(path: Path, name: str) -> PaperWeights:
    """Read a model written by `save`. Raises DamagedError where it is not valid."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return PaperWeights(name, **{field: arrays[field] for field in TYPES})
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"model {name} at {path.name} cannot be read: {error}; reinstall volcomp") from error


def from_real(
    name: str, neighbourhood: Neighbourhood, recurrent: Float64s, entrance: np.ndarray, bias: np.ndarray,
    head: np.ndarray, head_bias: float,
) -> PaperWeights:  # fmt: skip
    """Round a trained network, as torch has it: gates in the order i, f, g, o, `recurrent` float64 [512, 128],
    `entrance` and `bias` [512], `head` [128].

    `recurrent` must hold integers within ±64 times a power of two for every gate, as training rounded them.
    """
    i, f, g, o = np.arange(4 * UNITS).reshape(4, UNITS)
    order = np.concatenate([i, f, o, g])
    doubled = np.where(np.arange(4 * UNITS) < 3 * UNITS, 1.0, 2.0)
    matrix = recurrent[order].T * doubled  # [128, 512]
    largest = np.maximum(np.abs(matrix).max(axis=0), 1e-6)
    shift = np.clip(np.floor(np.log2(WEIGHT_LIMIT / largest)), 0, SHIFT_LIMIT)
    halves = 2.0 ** (BIAS_BITS - 10)  # of the two shifts that bring a gate to 1/1024, together
    limit = 1 << 30
    return PaperWeights(
        name,
        np.array(in_order(neighbourhood), np.int8).reshape(-1, 3),
        np.clip(np.rint(matrix * 2**shift), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8),
        shift.astype(np.int32),
        np.clip(np.rint(entrance[order] * doubled * 2**ENTRANCE_BITS), -32767, 32767).astype(np.int16),
        np.clip(np.rint(bias[order] * doubled * 2**BIAS_BITS + halves), -limit, limit).astype(np.int32),
        np.clip(np.rint(head * 2**HEAD_BITS), -32767, 32767).astype(np.int16),
        np.array([round(head_bias * 2**OUTPUT_BITS)], np.int32),
        np.rint(32768 / (1 + np.exp(-np.arange(8 * SIGMOID_STEPS) / SIGMOID_STEPS))).astype(np.int16),
    )
