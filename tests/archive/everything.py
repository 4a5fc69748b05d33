"""A small folder with all that an archive of format version 4 can hold, but for streams of other codecs."""

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from tests.helpers import image, noise, series

ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
NS = 1_700_000_000_123_456_789


def encapsulated(path: Path, frames: list[bytes], *, table: bool, fragments: int = 1) -> Path:
    """Encapsulate the pixels of a file."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ENCAPSULATED_UNCOMPRESSED
    dataset.PixelData = encapsulate(frames, fragments, has_bot=table)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return path


def everything(folder: Path) -> Path:
    """Fill a folder; every time of modification and permission is set."""
    series(folder / "ct", 4, size=6)
    shutil.copytree(folder / "ct", folder / "copy")  # of whole files
    series(folder / "renamed", 4, size=6, series="1.2.9", PatientName="anonymous")  # equal voxels, other headers
    image(folder / "unsigned.dcm", noise((4, 6, 6))[0].astype("u2"), series="1.3")
    image(folder / "frames.dcm", noise((3, 5, 4), seed=3), series="1.4")
    image(folder / "big.dcm", noise((4, 5), "u2", 0, 3000, seed=4), series="1.5", syntax=ExplicitVRBigEndian)
    words = noise((4, 5), "u1", 0, 99, seed=5)
    path = image(folder / "pairs.dcm", words, series="1.6", syntax=ExplicitVRBigEndian)
    dataset = pydicom.dcmread(path)
    dataset["PixelData"].VR, dataset.PixelData = "OW", _pairs(words.tobytes())
    dataset.save_as(path, implicit_vr=False, little_endian=False)
    random = np.random.default_rng(6)
    rgb = (noise((3, 4, 5), "u1", 50, 200, seed=6).astype(int) + random.integers(0, 3, (3, 4, 5))).astype("u1")
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    flat = np.zeros((4, 5), "u1")
    pixels = np.moveaxis(rgb, 0, -1).tobytes()
    image(folder / "rgb.dcm", flat, series="1.7", raw=pixels, PlanarConfiguration=0, **colour)
    planar = np.roll(rgb, 1, axis=2).tobytes()
    image(folder / "planar.dcm", flat, series="1.8", raw=planar, PlanarConfiguration=1, **colour)
    wide = (noise((4, 5), "u2", 0, 3000, seed=7).astype("<u4") + 65_530).tobytes()
    bits = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}
    image(folder / "wide.dcm", np.zeros((4, 5), "u2"), series="1.9", raw=wide, **bits)
    rubbish = noise((4, 5), "u2", 0, 4000, seed=8) & 0xFFF | random.integers(0, 16, (4, 5)).astype("u2") << 12
    image(folder / "rubbish.dcm", rubbish, series="1.10", stored=12)
    voxels = noise((3, 4, 5), "u2", 0, 3000, seed=9).astype("<u2")
    for name, table, fragments in (("items", False, 1), ("table", True, 1), ("fragments", True, 2)):
        path = image(folder / f"{name}.dcm", voxels + len(name), series=f"2.{len(name)}", syntax=ExplicitVRLittleEndian)
        encapsulated(path, [frame.tobytes() for frame in voxels + len(name)], table=table, fragments=fragments)
    stated = {"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}
    raw = np.packbits(np.unpackbits((voxels % 4096).reshape(-1, 1).view("u1"), axis=1, bitorder="little")[:, :12])
    image(folder / "twelve.dcm", voxels, series="1.11", raw=raw.tobytes(), **stated)
    stated = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "NumberOfFrames": 5}
    image(folder / "bits.dcm", np.zeros((3, 5), "u1"), series="1.12", raw=random.bytes(10), **stated)
    path = image(folder / "wide items.dcm", voxels[0], series="1.13", raw=wide, BitsAllocated=32, BitsStored=32)
    encapsulated(path, [wide], table=True)
    (folder / "notes" / "deep").mkdir(parents=True)
    (folder / "notes" / "read me.txt").write_text("read me\n" * 20)
    (folder / "notes" / "deep" / "copy.txt").write_text("read me\n" * 20)
    (folder / "notes" / "empty").write_bytes(b"")
    (folder / "notes" / "ünï cödé").write_bytes(bytes(range(256)))
    (folder / "notes" / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"name")
    (folder / "hollow").mkdir()
    (folder / "notes" / "link").symlink_to("read me.txt")
    (folder / "notes" / "deep" / "gone").symlink_to("../nowhere")
    (folder / "link to a folder").symlink_to("notes/deep")
    for i, path in enumerate(sorted(folder.rglob("*"), key=lambda path: (-len(path.parts), path))):
        if not path.is_symlink():
            path.chmod((0o755, 0o700, 0o555)[i % 3] if path.is_dir() else (0o644, 0o600, 0o755, 0o444)[i % 4])
        os.utime(path, ns=(0, (-1 if i % 9 == 0 else 1) * (NS - i * 86_400_000_000_007)), follow_symlinks=False)
    folder.chmod(0o711)
    os.utime(folder, ns=(0, NS))
    return folder


def _pairs(data: bytes) -> bytes:
    """Swap the bytes of every pair."""
    return np.frombuffer(data, "<u2").byteswap().tobytes()
