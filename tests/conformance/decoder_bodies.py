"""The part of the conformance decoder that makes the bytes of voxels, written from docs/format.md alone: bodies 0 to 7,
but for 4, without streams of other codecs."""

import struct
from typing import Any

import numpy as np

from tests.conformance.decoder_bits import Reader, check
from tests.conformance.decoder_numbers import numbers


def voxel_bytes(body: int, side: bytes, planes: list[np.ndarray]) -> bytes:
    """Bodies."""
    check(body in (0, 1, 2, 3, 5, 6, 7), "a body of a later version, or a stream of another codec")
    if body < 2:
        return planes[0].astype(f">u{planes[0].itemsize}" if body else planes[0].dtype).tobytes()
    reader = Reader(side)
    if body == 5:
        return numbers(reader, planes)
    if body == 6:
        return packed(reader, planes)
    samples = of_map(reader.take(4), planes)
    if body == 2:
        flags, missing = reader.number(1), reader.varint()
        check(flags < 8, "flags")
        frames = np.moveaxis(samples, 1, 0)  # frame, component, y, x
        frames = frames if flags & 1 else np.moveaxis(frames, 1, -1)
        data = frames.astype(samples.dtype.newbyteorder(">" if flags & 2 else "<")).tobytes()
        if flags & 4:
            data = b"".join(data[i + 1 : i + 2] + data[i : i + 1] for i in range(0, len(data), 2))
        return data[: len(data) - missing]
    return encapsulated(reader, samples)


def of_map(head: bytes, planes: list[np.ndarray]) -> np.ndarray:
    """Bodies: samples [component, frame, y, x] of planes."""
    kind, number, components, bits = head
    dtype = np.dtype(("u1", "i1", "<u2", "<i2", "<u4", "<i4")[number])
    unsigned = np.dtype(f"<u{dtype.itemsize}")
    wide: list[Any] = [plane.astype(np.int64) for plane in planes]
    modulus, m = 1 << 8 * dtype.itemsize, 1 << 8 * dtype.itemsize - 1
    if kind == 1:
        green = wide[0]
        wide = [wide[1] + green - m, green, wide[2] + green - m]
    elif kind == 2:
        wide = [high * 65536 + low for high, low in zip(wide[::2], wide[1::2], strict=True)]
    elif kind == 3:
        wide = [low + high * (1 << bits) for low, high in zip(wide[::2], wide[1::2], strict=True)]
    elif kind == 4:
        wide = [word % (1 << bits) for word in wide]
    check(kind <= 5 and len(wide) == components, "kind or components of a map")
    return np.stack([(word % modulus).astype(unsigned).view(dtype) for word in wide])


def packed(reader: Reader, planes: list[np.ndarray]) -> bytes:
    """Body 6."""
    bits, components, flags, fill = (reader.number(1) for _ in range(4))
    reader.end()
    check(1 <= bits <= 15 and components == len(planes) and flags < 8, "bits, components or flags")
    data, byte, used = bytearray(), 0, 0
    for frame in np.stack(planes, 1 if flags & 1 else -1):
        for sample in frame.reshape(-1).tolist():
            for i in reversed(range(bits)) if flags & 2 else range(bits):
                byte |= (sample >> i & 1) << (7 - used if flags & 2 else used)
                used += 1
                if used == 8:
                    data.append(byte)
                    byte = used = 0
        if flags & 4 and used:
            data.append(byte)
            byte = used = 0
    check(fill < 1 << (-used % 8), "fill")
    return bytes(data) + (bytes([byte | (fill if flags & 2 else fill << used)]) if used else b"")


def encapsulated(reader: Reader, samples: np.ndarray) -> bytes:
    """Body 3, of frames that are not compressed."""
    check(reader.number(1) == 0, "a stream of another codec")
    kind = reader.number(1)
    value = reader.take(reader.varint()) if kind == 2 else b""
    frames, begins, at = [], [], 0
    for i in range(reader.varint()):
        lengths = [reader.varint() for _ in range(reader.varint() - 1)]
        stream = np.moveaxis(samples[:, i], 0, -1).tobytes() + reader.take(reader.varint())
        items = b""
        for length in lengths:
            items, stream = items + item(stream[:length]), stream[length:]
        frames.append(items + item(stream))
        begins.append(at)
        at += len(frames[-1])
    check(len(frames) == samples.shape[1], "frames")
    reader.end()
    return item(struct.pack(f"<{len(begins)}I", *begins) if kind == 1 else value) + b"".join(frames)


def item(value: bytes) -> bytes:
    """Body 3: an item."""
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(value)) + value
