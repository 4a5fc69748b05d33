"""Interim: the interface of the codec over zlib, while the real one is being built."""
from __future__ import annotations
import struct, zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
import numpy as np
from .errors import DamagedError, UnsupportedError

MODELS = ("fast", "base")

@dataclass(frozen=True)
class VolumeHeader:
    shape: tuple[int, int, int]          # Z, Y, X
    dtype: np.dtype                      # u1 i1 <u2 <i2
    model: str                           # 'fast' | 'base'
    slabs: tuple[tuple[int, int], ...]   # first and past-the-end slice of every slab

def encode(voxels: np.ndarray, *, model: str = "base", threads: int | None = None, device: str = "auto",
           progress: Callable[[int], None] | None = None) -> tuple[bytes, list[bytes]]:
    """Code a volume [Z,Y,X] of u1, i1, u2 or i2; returns its header section and one payload per slab."""
    z = voxels.shape[0]
    ranges = [(a, min(a + 32, z)) for a in range(0, z, 32)]
    head = struct.pack("<3IcBB", *voxels.shape, voxels.dtype.kind.encode(), voxels.dtype.itemsize, MODELS.index(model))
    out = []
    for a, b in ranges:
        raw = np.ascontiguousarray(voxels[a:b]).tobytes()
        out.append(struct.pack("<I", zlib.crc32(raw)) + zlib.compress(raw))
        if progress: progress((b - a) * voxels.shape[1] * voxels.shape[2])
    return head, out

def read_header(data: bytes) -> VolumeHeader:
    """Parse a header section; raises DamagedError or UnsupportedError."""
    try:
        z, y, x, k, n, m = struct.unpack("<3IcBB", data)
    except struct.error:
        raise DamagedError("volume header has the wrong length") from None
    return VolumeHeader((z, y, x), np.dtype(f"<{k.decode()}{n}" if n > 1 else f"{k.decode()}1"), MODELS[m],
                        tuple((a, min(a + 32, z)) for a in range(0, z, 32)))

def decode_slabs(header: bytes, payloads: Mapping[int, bytes], *, threads: int | None = None, device: str = "auto",
                 progress: Callable[[int], None] | None = None) -> Iterator[tuple[int, np.ndarray | DamagedError]]:
    """Decode the slabs given by number; yields (number, voxels [z,Y,X] of the header's dtype), or the error where a
    payload is damaged, in increasing order. Decodes several at once, bounded in memory."""
    h = read_header(header)
    for k in sorted(payloads):
        a, b = h.slabs[k]
        try:
            raw = zlib.decompress(payloads[k][4:])
            if zlib.crc32(raw) != struct.unpack("<I", payloads[k][:4])[0]: raise DamagedError("x")
            yield k, np.frombuffer(raw, h.dtype).reshape(b - a, *h.shape[1:])
        except (zlib.error, struct.error, ValueError, DamagedError):
            yield k, DamagedError(f"slab {k} (slices {a} to {b - 1}) is damaged")
            continue
        if progress: progress((b - a) * h.shape[1] * h.shape[2])
