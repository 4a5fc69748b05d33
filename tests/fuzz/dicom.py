"""DICOM files, changed in their elements and anywhere: whatever the file, it comes back byte for byte."""

from __future__ import annotations

import re
import struct
import tempfile
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.archive.everything import encapsulated
from tests.helpers import ONE, compress, contents, image, noise
from volcomp.archive.manifest import read_manifest
from volcomp.archive.restore import restore
from volcomp.container.sections import Reader
from volcomp.errors import VolcompError
from volcomp.formats.dicom import DICOM, data_start

from . import mutations
from .golden_streams import frames
from .target import Target, WrongError, expect

_ROOT = "1.2.840.10008.1.2"
SYNTAXES = ["", ".1", ".1.99", ".2", ".1.98", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91",
            ".4.201", ".4.202", ".5", ".8.1"]  # fmt: skip
SYNTAX_OF = {"jpeg_lossless": ".4.70", "rle": ".5", "jpeg_ls": ".4.80", "deflate": ".8.1", "jpeg2000": ".4.90",
             "htj2k": ".4.201"}  # fmt: skip
_LONG = (b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN", b"OD", b"OL", b"UC", b"UR", b"OV")
_VRS = (*_LONG, b"US", b"SS", b"UL", b"IS", b"DS", b"CS", b"UI", b"AT", b"zz")
_PIXELS = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF  # a length, also the greatest


def wrapped(
    path: Path, streams: list[bytes], syntax: str, shape: tuple[int, int, int], bits: int, *,
    table: bool = True, fragments: int = 1, **elements: object,
) -> Path:  # fmt: skip
    """Write a file with compressed frames of one shape [components, Y, X]."""
    components, rows, columns = shape
    photometric = "RGB" if components == 3 else "MONOCHROME2"
    pixels = np.zeros((len(streams), rows, columns) if len(streams) > 1 else (rows, columns), f"u{bits // 8}")
    stated = {"series": f"2.25.{sum(path.name.encode()) * 1000 + len(path.name)}", "SamplesPerPixel": components}
    image(path, pixels, **{**stated, "PhotometricInterpretation": photometric, **elements})  # type: ignore[arg-type]
    dataset = pydicom.dcmread(path)
    unknown = syntax == ".8.1"  # to pydicom, which does not write it: another one of as many bytes stands in
    dataset.file_meta.TransferSyntaxUID = _ROOT + (".4.50" if unknown else syntax)
    dataset.PixelData = encapsulate(streams, fragments, has_bot=table)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    if unknown:
        path.write_bytes(path.read_bytes().replace(f"{_ROOT}.4.50".encode(), f"{_ROOT}{syntax}\0".encode()))
    return path


def files(folder: Path) -> list[Path]:
    """Write files with compressed frames, some of each syntax."""
    made = []
    for kind, syntax in SYNTAX_OF.items():
        for number, frame in enumerate(sorted(frames(kind), key=lambda frame: len(frame.data))[:3]):
            shape = (frame.info.components, frame.info.rows, frame.info.columns)
            for count in (1, 2) if number == 1 else (1,):
                name = f"{kind}{number}{count}.dcm"
                made.append(wrapped(folder / name, [frame.data] * count, syntax, shape, frame.info.bits))
    return made


@lru_cache(maxsize=1)
def _seeds() -> list[bytes]:
    """Return small files of every kind that is coded, and some that are not."""
    voxels = noise((3, 6, 5), "u2", 0, 3000, seed=1)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    flat = np.zeros((4, 5), "u1")
    rgb = noise((4, 5, 3), "u1", 0, 200, seed=2).tobytes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [
            image(folder / "native", voxels[0]),
            image(folder / "frames", voxels),
            image(folder / "signed", voxels.astype("i2"), stored=12, preamble=False),
            image(folder / "implicit", voxels[1], syntax=ImplicitVRLittleEndian),
            image(folder / "big", voxels[1], syntax=ExplicitVRBigEndian),
            image(folder / "bytes", noise((5, 7), "u1", 0, 99)),
            image(folder / "deflated", voxels, syntax=DeflatedExplicitVRLittleEndian),
            image(folder / "rgb", flat, raw=rgb, **colour),
            image(folder / "planar", flat, raw=rgb, **{**colour, "PlanarConfiguration": 1}),
            image(folder / "ybr", flat, raw=rgb[:40], **{**colour, "PhotometricInterpretation": "YBR_FULL_422"}),
            image(folder / "wide", flat.astype("u2"), raw=bytes(range(80)), BitsAllocated=32, BitsStored=32),
            image(folder / "overlay", voxels[2] | 0xA000, stored=12),
            image(folder / "short", voxels[0], raw=voxels[0].tobytes()[:-4]),
            image(folder / "long", voxels[0], raw=voxels[0].tobytes() + b"after"),
        ]
        path = image(folder / "items", voxels)
        made.append(encapsulated(path, [frame.tobytes() for frame in voxels], table=True, fragments=2))
        return [path.read_bytes() for path in [*made, *files(folder / "streams")]]


class _Element(NamedTuple):
    """A data element, with a length that its value need not have."""

    tag: int
    vr: bytes  # b"" where it is implicit
    value: bytes
    length: int

    def written(self) -> bytes:
        head = struct.pack("<HH", self.tag >> 16, self.tag & 0xFFFF)
        if not self.vr:
            return head + struct.pack("<I", self.length & _UNDEFINED) + self.value
        if self.vr in _LONG:
            return head + self.vr + b"\0\0" + struct.pack("<I", self.length & _UNDEFINED) + self.value
        return head + self.vr + struct.pack("<H", self.length & 0xFFFF) + self.value


def _elements(data: bytes, at: int) -> list[_Element]:
    """Cut little-endian elements. One of undefined length, and what cannot be cut, lasts to the end."""
    found = []
    while at + 8 <= len(data):
        group, element = struct.unpack_from("<HH", data, at)
        vr = data[at + 4 : at + 6]
        if not (vr.isalpha() and vr.isupper()):
            vr, begin, length = b"", at + 8, struct.unpack_from("<I", data, at + 4)[0]
        elif vr in _LONG:
            begin, length = at + 12, int.from_bytes(data[at + 8 : at + 12], "little")
        else:
            begin, length = at + 8, struct.unpack_from("<H", data, at + 6)[0]
        end = min(len(data), begin + length)
        found.append(_Element(group << 16 | element, vr, data[begin:end], length))
        at = end
    return found


def _changed(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change elements; or any bytes."""
    if random.random() < 0.3:
        return mutations.changed(random, data, others)
    start = data_start(data[:134])
    elements = _elements(data, start)
    for _ in range(random.choice((1, 1, 2, 3))):
        if elements:
            _change_element(random, elements)
    out = data[:start] + b"".join(element.written() for element in elements)
    return mutations.changed(random, out, others) if random.random() < 0.1 else out


def _change_element(random: Random, elements: list[_Element]) -> None:
    telling = [i for i, one in enumerate(elements) if one.tag >> 16 in (0x28, 0x7FE0) or one.tag == 0x00020010]
    at = random.choice(telling) if telling and random.random() < 0.8 else random.randrange(len(elements))
    one = elements[at]
    what = random.random()
    if one.tag == 0x00020010 and what < 0.7:
        uid = (_ROOT + random.choice(SYNTAXES)).encode()
        uid += b"\0" * (len(uid) % 2)
        elements[at] = one._replace(value=uid, length=len(uid))
    elif what < 0.1:
        del elements[at]
    elif what < 0.15:
        elements.insert(random.randrange(len(elements)), one)
    elif what < 0.2 and one.vr:
        elements[at] = one._replace(vr=random.choice(_VRS))
    elif what < 0.3:
        near = max(0, one.length + random.choice((-2, -1, 1, 2)))
        elements[at] = one._replace(length=random.choice((near, mutations.number(random) & _UNDEFINED, _UNDEFINED)))
    elif what < 0.7 and one.tag != _PIXELS:
        value = _number(random, one)
        elements[at] = one._replace(value=value, length=len(value))
    else:
        value = mutations.changed(random, one.value, [other.value for other in elements])
        fits = one.length == len(one.value)
        elements[at] = one._replace(value=value, length=len(value) if fits else one.length)


def _number(random: Random, one: _Element) -> bytes:
    """Return another number, near or far."""
    if one.vr in (b"IS", b"DS", b"CS"):
        texts = ("0", "-1", "2", "3", "1e9", "99999999999", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "1\\2")
        return random.choice(texts).encode()
    old = int.from_bytes(one.value[:2], "little")
    values = (old + 1, old - 1, old * 2, old // 2, 8, 16, 32, 1, 64, 12, 0, mutations.number(random))
    return (random.choice(values) % 65536).to_bytes(2, "little")


def _check(data: bytes) -> object:
    """Archive a file next to a sound one of the same series, restore both, compare."""
    before = data[: len(data) // 2]
    cuts = DICOM.cut(before)
    expect(all(a.tag < b.tag and a.start < b.start for a, b in pairwise(cuts)), "cuts go back")
    expect(all(cut.start <= cut.value for cut in cuts), "a value begins before its element")
    DICOM.describe([data, before])
    with tempfile.TemporaryDirectory() as name:
        folder, archive = Path(name) / "in", Path(name) / "a.vcz"
        folder.mkdir()
        (folder / "changed").write_bytes(data)
        (folder / "sound").write_bytes(_seeds()[0])
        try:
            compress([folder], archive, model="turbo", effort=1)
            restore(archive, Path(name) / "out", ONE)
        except VolcompError as error:  # of any file, as any file can be archived
            raise WrongError(f"a file is not archived or not restored: {error}") from error
        expect(contents(Path(name) / "out") == contents(folder), "a file comes back with other bytes")
        with archive.open("rb") as file:
            entry = next(entry for entry in read_manifest(Reader(file)).files if entry.name == "changed")
    reason = entry.note
    with suppress(AttributeError):
        reason = reason or f"body {entry.place.body}, {entry.place.planes} planes"  # type: ignore[union-attr]
    return re.sub(r"\d{2,}", "#", reason)


TARGETS = (Target("dicom", _seeds, _changed, _check),)
