"""Frames to look at: decoded, with the sign and the colours that the header states, and how it says to show them."""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO

import numpy as np
from pydicom.uid import ExplicitVRBigEndian, JPEGTransferSyntaxes

from ...bodies.encapsulated import read_items
from ...errors import DamagedError, UnsupportedError
from ...formats.dicom_pixels import stream_of_syntax
from ...streams.protocol import FrameInfo, NotReproducible
from .attributes import first, little_endian, pixel_vr, values
from .frames import Shape
from .header import Header
from .protocol import Json, Picture, Table

_MODALITY, _CURVE = "00283000", "00283010"  # sequences of tables
_FUNCTIONS = {"LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}
_NATIVE = 0  # number of the stream of frames that are native
_MOST_PIXELS = 1 << 27
Value = Callable[[str], bytes]


def pixel_bytes(header: Header) -> bytes:
    """Return the value of the pixels, little-endian; of encapsulated ones all items, without the last delimiter."""
    pixels = header.pixels
    assert pixels is not None
    length = pixels.length
    if header.is_encapsulated:
        try:
            length = read_items(header.file, pixels.start)[1] - pixels.start
        except NotReproducible as error:
            raise UnsupportedError(f"its pixels cannot be given as one value: {error}") from None
    header.file.seek(pixels.start)
    value = header.file.read(length)
    if len(value) != length:
        raise DamagedError("the file is cut short")
    return little_endian(value, pixel_vr(header), big_endian=header.big_endian)


def decoded(data: bytes, syntax: str, shape: Shape) -> np.ndarray:
    """Return the samples [Y, X] or [Y, X, components] of a frame.

    Raises UnsupportedError where they cannot be decoded here, and DamagedError.
    """
    if shape.rows * shape.columns * shape.components > _MOST_PIXELS:
        raise UnsupportedError("the frame has more pixels than can be shown")
    if not shape.rows or not shape.columns:
        raise UnsupportedError("its header states no picture")
    number = stream_of_syntax(syntax)
    if syntax in JPEGTransferSyntaxes and number is None:
        return _jpeg(data)
    if number is None and len(data) * 8 - shape.frame_bits not in range(16):
        raise UnsupportedError("frames of its transfer syntax cannot be decoded here; fetch them as they are")
    if number in (None, _NATIVE):
        return _native(data, syntax, shape)
    from ...streams.registry import BY_NUMBER  # numba is imported when there is a stream to decode

    assert number is not None
    if number not in BY_NUMBER:
        raise UnsupportedError("frames of its transfer syntax cannot be decoded here; fetch them as they are")
    info = FrameInfo(
        shape.rows, shape.columns, shape.components, 8 if shape.bits <= 8 else 16 if shape.bits <= 16 else 32
    )
    try:
        samples = BY_NUMBER[number].take_apart(data, info).samples
    except NotReproducible as error:
        raise UnsupportedError(f"its frame cannot be decoded here: {error}") from None
    return samples[0] if len(samples) == 1 else np.moveaxis(samples, 0, -1)


def _jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG of 8 bits; colours become red, green and blue."""
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError("JPEG frames are shown with Pillow: pip install 'volcomp[serve]'") from None
    try:
        with Image.open(BytesIO(data), formats=["JPEG"]) as found:
            return np.asarray(found if found.mode == "L" else found.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UnsupportedError("its JPEG frame cannot be decoded here; fetch it as it is") from None


def _native(data: bytes, syntax: str, shape: Shape) -> np.ndarray:
    rows, columns, components, bits = shape.rows, shape.columns, shape.components, shape.bits
    if 8 * len(data) < shape.frame_bits:
        raise DamagedError("its frame has fewer bytes than its header states")
    if shape.photometric == "YBR_FULL_422" and components == 3 and bits == 8:
        pairs = np.frombuffer(data, np.uint8, rows * columns * 2).reshape(rows, columns // 2, 4)
        luma = pairs[..., :2].reshape(rows, columns, 1)
        return np.concatenate([luma, np.repeat(pairs[..., 2:], 2, axis=1)], axis=-1)
    if bits in (8, 16, 32, 64):
        floating = shape.bits == 64
        kind = "f" if floating else "i" if shape.signed else "u"
        words = np.dtype(f"{kind}{bits // 8}").newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
        samples = np.frombuffer(data, words, rows * columns * components).astype(words.newbyteorder("="))
    elif bits < 16:
        some = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: shape.frame_bits].reshape(-1, bits)
        samples = (some.astype(np.uint16) << np.arange(bits, dtype=np.uint16)).sum(axis=1, dtype=np.uint16)
    else:
        raise UnsupportedError(f"samples of {bits} bits cannot be shown")
    if components == 1:
        return samples.reshape(rows, columns)
    if shape.planar:
        return np.moveaxis(samples.reshape(components, rows, columns), 0, -1)
    return samples.reshape(rows, columns, components)


def picture(samples: np.ndarray, shape: Shape, attributes: Json, frame: int, value: Value) -> Picture:
    """Return a frame with what the header says of showing it. Raises UnsupportedError.

    Parameters:
        samples: [Y, X] or [Y, X, components].
        shape: what is stated of the pixels.
        attributes: of the instance.
        frame: its number, from 1.
        value: returns the value at a path, of a palette for instance, little-endian.
    """
    if samples.ndim == 3:
        return Picture(_colours(samples, shape), 1.0, 0.0, None, False)
    samples = _words(samples, shape)
    if shape.photometric == "PALETTE COLOR":
        return Picture(_palette(samples, attributes, value), 1.0, 0.0, None, False)
    groups = _groups(attributes, frame)
    signed = samples.dtype.kind == "i"
    modality = _table(attributes, _MODALITY, value, signed=signed)
    slope = 1.0 if modality else _number(groups, "00281053") or 1.0
    intercept = 0.0 if modality else _number(groups, "00281052") or 0.0
    centre, width = _number(groups, "00281050"), _number(groups, "00281051")
    window = (centre, width) if centre is not None and width is not None and width > 0 else None
    function = next((first(group, "00281056") for group in groups if "00281056" in group), "")
    # C.11.2.1.1: the first entry is for a signed number where values can be negative.
    curve = _table(attributes, _CURVE, value, signed=not modality and (signed or slope < 0 or intercept < 0))
    inverted = shape.photometric == "MONOCHROME1"
    return Picture(
        samples, slope, intercept, window, inverted, _FUNCTIONS.get(function, "linear"), modality, curve
    )  # fmt: skip


def _table(attributes: Json, sequence: str, value: Value, *, signed: bool) -> Table | None:
    """Return the first table of a sequence (PS3.3, C.11.1.1.1); None without any that makes sense."""
    items = attributes.get(sequence, {}).get("Value") or [{}]
    item = items[0] if isinstance(items[0], dict) else {}
    try:
        count, begin, bits = (int(one) for one in values(item, "00283002"))
    except (TypeError, ValueError):
        return None
    count, begin = count % (1 << 16) or 1 << 16, begin % (1 << 16)  # which headers state signed or unsigned
    if signed and begin >= 1 << 15:
        begin -= 1 << 16
    data = item.get("00283006", {})
    if "Value" in data:
        entries = np.array([int(one) % (1 << 16) for one in values(item, "00283006")], np.uint16)
    else:
        raw = value(f"{sequence}/0/00283006") if data.get("BulkDataURI") or data.get("InlineBinary") else b""
        narrow = bits <= 8 and len(raw) < 2 * count  # entries of 8 bits may fill words or halves of them
        entries = np.frombuffer(raw[: len(raw) - len(raw) % (1 if narrow else 2)], np.uint8 if narrow else "<u2")
    if not 1 <= bits <= 16 or not len(entries):
        return None
    return Table(begin, entries[:count].clip(0, (1 << bits) - 1), bits)


def _groups(attributes: Json, frame: int) -> list[Json]:
    """Return where the attributes of a frame are: its functional groups, those shared, the data set itself."""
    found: list[Json] = []
    of_frames = attributes.get("52009230", {}).get("Value") or []
    shared = attributes.get("52009229", {}).get("Value") or []
    for group in [*of_frames[frame - 1 : frame], *shared[:1]]:
        for sequence in ("00289110", "00289132", "00289145"):  # measures, window, rescaling
            found += (group.get(sequence, {}).get("Value") or [])[:1]
    return [*found, attributes]


def _number(groups: list[Json], tag: str) -> float | None:
    for group in groups:
        for value in values(group, tag):
            try:
                found = float(value)
            except (TypeError, ValueError):
                continue
            if math.isfinite(found):
                return found
    return None


def _words(samples: np.ndarray, shape: Shape) -> np.ndarray:
    """Return samples with the sign and the bits that the header states."""
    if samples.dtype.kind == "f" or not 0 < shape.stored <= 8 * samples.itemsize:
        return samples
    words = samples.view(np.dtype(f"u{samples.itemsize}"))
    above = 8 * samples.itemsize - shape.stored
    if above:
        words = words << words.dtype.type(above)  # what is above the picture goes
    if shape.signed:
        return words.view(np.dtype(f"i{samples.itemsize}")) >> above
    return words >> words.dtype.type(above)


def _colours(samples: np.ndarray, shape: Shape) -> np.ndarray:
    """Return red, green and blue, 8 bits each."""
    if samples.shape[-1] == 4:
        samples = samples[..., :3]
    if samples.shape[-1] != 3:
        raise UnsupportedError(f"pictures of {samples.shape[-1]} components cannot be shown")
    words = samples.view(np.dtype(f"u{samples.itemsize}"))
    if words.itemsize > 1:
        words = (words >> max(min(shape.stored, 8 * words.itemsize) - 8, 0)).clip(0, 255).astype(np.uint8)
    if not shape.photometric.startswith("YBR_FULL"):
        return np.ascontiguousarray(words)
    luma, blue, red = (words[..., i].astype(np.float32) for i in range(3))  # PS3.3, C.7.6.3.1.2
    blue, red = blue - 128, red - 128
    made = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
    return np.rint(made).clip(0, 255).astype(np.uint8)


def _palette(samples: np.ndarray, attributes: Json, value: Value) -> np.ndarray:
    """Return the colours of a palette (PS3.3, C.7.9), 8 bits each. Raises UnsupportedError, MissingError."""
    made = []
    for colour in "123":
        descriptor = [int(one) for one in values(attributes, f"0028110{colour}")]
        if len(descriptor) != 3:
            raise UnsupportedError("it has a palette that its header does not describe")
        count, begin = descriptor[0] % (1 << 16) or 1 << 16, descriptor[1]
        raw = value(f"0028120{colour}")
        wide = len(raw) >= 2 * count
        table = np.frombuffer(raw[: len(raw) - len(raw) % (1 + wide)], "<u2" if wide else np.uint8)[:count]
        if not len(table):
            raise UnsupportedError("it has an empty palette")
        if wide and table.max() > 255:
            table = table >> 8
        made.append(table.astype(np.uint8)[np.clip(samples.astype(np.int64) - begin, 0, len(table) - 1)])
    return np.stack(made, axis=-1)
