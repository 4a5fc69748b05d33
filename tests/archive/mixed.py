"""A folder of files as hospitals and disks have them, and of each what an archive is expected to do with it."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.archive.everything import encapsulated
from tests.fuzz.dicom import SYNTAX_OF, wrapped
from tests.fuzz.golden_streams import GOLDEN, frames
from tests.helpers import compress, image, noise, series
from tests.streams.jpeg_lossless_encoder import Scan, Stream
from tests.streams.test_jpeg_ls import stream as jpeg_ls_markers
from tests.streams.test_rle import bytes_of, coded, row_of_runs, stream_of
from volcomp.streams.jpeg_ls import JpegLs

CODED = "coded"  # as voxels
NO_IMAGE = ""  # kept whole, of no known format
JPEG = "its JPEG frames are lossy; JPEG XL packs them where it is installed"
NS = 1_600_000_000_123_456_789
SIZE, SLICES = 48, 12  # of what is compared with another compressor: 12 slices of 48 × 48
COMPARED = ("ct", "mr", "eight", "signed eight", "big-endian", "multi-frame", "implicit", "colour", "wide", "uids",
            "rle", "jpeg lossless", "jpeg-ls", "deflated", "deflated frames")  # fmt: skip


def mixed(folder: Path) -> dict[str, str]:
    """Fill a folder; returns for each file in it CODED, NO_IMAGE, or why it is kept whole."""
    expected: dict[str, str] = {}
    for fill in (_series, _compressed_series, _oddities, _compressed, _others):
        expected |= fill(folder)
    for i, path in enumerate(sorted(folder.rglob("*"), key=lambda path: (-len(path.parts), path))):
        if not path.is_symlink():
            path.chmod((0o755, 0o700, 0o555)[i % 3] if path.is_dir() else (0o644, 0o600, 0o755, 0o444)[i % 4])
        os.utime(path, ns=(0, NS - i * 86_400_000_000_007), follow_symlinks=False)
    return expected


def _named(folder: Path, *places: str) -> list[str]:
    """Return the names of the files in subfolders."""
    found = (path for place in places for path in (folder / place).rglob("*"))
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]


def _series(folder: Path) -> dict[str, str]:
    """Write series that are compared with another compressor."""
    series(folder / "ct", SLICES, SIZE, "i2", series="1.1")
    series(folder / "mr", SLICES, SIZE, "u2", series="1.2", stored=12, Modality="MR")
    series(folder / "eight", SLICES, SIZE, "u1", series="1.3")
    series(folder / "signed eight", SLICES, SIZE, "i1", series="1.4")
    series(folder / "big-endian", SLICES, SIZE, "u2", series="1.5", syntax=ExplicitVRBigEndian)
    series(folder / "implicit", SLICES, SIZE, "i2", series="1.6", syntax=ImplicitVRLittleEndian)
    image(folder / "multi-frame" / "all.dcm", noise((SLICES, SIZE, SIZE), "i2", seed=7), series="1.7")
    for i in range(SLICES):
        grey = noise((SIZE, SIZE), "u1", 20, 200, seed=i).astype(int)
        random = np.random.default_rng(i)
        rgb = np.stack([grey + random.integers(0, 3, grey.shape) + c for c in range(3)], -1).astype("u1")
        flat = np.zeros((SIZE, SIZE), "u1")
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        image(folder / "colour" / f"{i}.dcm", flat, z=i, series="1.8", raw=rgb.tobytes(), **colour)
        wide = noise((SIZE, SIZE), "u2", 0, 3000, seed=i).astype("<u4") + 65_000
        bits = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}
        image(folder / "wide" / f"{i}.dcm", flat.astype("u2"), z=i, series="1.9", raw=wide.tobytes(), **bits)
        image(folder / "uids" / f"{i}.dcm", noise((SIZE, SIZE), seed=i), z=i, series=f"1.10.{i}", InstanceNumber=i)
    shutil.copytree(folder / "ct", folder / "ct again")
    series(folder / "ct renamed", SLICES, SIZE, "i2", series="1.1.9", PatientName="anonymous")
    places = ("ct", "mr", "eight", "signed eight", "big-endian", "implicit", "multi-frame", "colour", "wide", "uids")
    return dict.fromkeys(_named(folder, *places, "ct again", "ct renamed"), CODED)


def _compressed_series(folder: Path) -> dict[str, str]:
    """Write series of encoders of our own, or of zlib, that are compared with another compressor."""
    shape = (1, SIZE, SIZE)
    for i, words in enumerate(noise((SLICES, *shape), "u2", 100, 900, seed=11)):
        facts = {"series": "2.1", "z": i, "InstanceNumber": i}
        runs = stream_of([
            b"".join(coded(row, row_of_runs(row)) for row in (plane[y : y + SIZE] for y in range(0, len(plane), SIZE)))
            for plane in bytes_of(words)
        ])  # fmt: skip
        wrapped(folder / "rle" / f"{i}.dcm", [runs], ".5", shape, 16, **facts)
        lossless = Stream(words, 12, [Scan([0])]).encode()
        wrapped(folder / "jpeg lossless" / f"{i}.dcm", [lossless], ".4.70", shape, 16, **{**facts, "series": "2.2"})
        jpeg_ls = JpegLs().make(words, b"\1\0" + jpeg_ls_markers(12, shape, 0))
        wrapped(folder / "jpeg-ls" / f"{i}.dcm", [jpeg_ls], ".4.80", shape, 16, **{**facts, "series": "2.3"})
        machine = zlib.compressobj(6, zlib.DEFLATED, -15)
        deflated = machine.compress(words.astype("<u2").tobytes()) + machine.flush()
        wrapped(folder / "deflated frames" / f"{i}.dcm", [deflated], ".8.1", shape, 16, **{**facts, "series": "2.4"})
        facts = {"series": "2.5", "z": i, "InstanceNumber": i}
        image(folder / "deflated" / f"{i}.dcm", words[0], syntax=DeflatedExplicitVRLittleEndian, **facts)
    places = ("rle", "jpeg lossless", "jpeg-ls", "deflated", "deflated frames")
    return dict.fromkeys(_named(folder, *places), CODED)


def _oddities(folder: Path) -> dict[str, str]:
    """Write native files that are odd, each in its own way."""
    odd = folder / "odd"
    grey = noise((3, 12, 10), "u2", 0, 3000, seed=20)
    small = noise((3, 12, 10), "u1", 0, 200, seed=21)
    rgb = np.moveaxis(small, 0, -1)
    facts = iter(range(100))

    def write(name: str, pixels: np.ndarray, **options: object) -> Path:
        return image(odd / name, pixels, **{"series": f"3.{next(facts)}", **options})  # type: ignore[arg-type]

    def without(path: Path, *names: str) -> None:
        dataset = pydicom.dcmread(path)
        for name in names:
            delattr(dataset, name)
        dataset.save_as(path)

    expected = {}
    colour = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    coded_ones = [
        write("no preamble", grey[0], preamble=False),
        write("no preamble, implicit", grey[1], preamble=False, syntax=ImplicitVRLittleEndian),
        write("a few bytes short", grey[0] + 1, raw=grey[0].tobytes()[:-6]),
        write("long", grey[1] + 2, raw=(grey[1] + 2).tobytes() + b"padding " * 9),
        write("frames short", grey + 3, raw=(grey + 3).tobytes()[: 2 * 12 * 10 * 2 + 8]),
        write("frames unstated", grey + 4, raw=(grey + 4).tobytes()),
        write("planar", small[0], raw=small.tobytes(), PhotometricInterpretation="RGB",
              **{**colour, "PlanarConfiguration": 1}),
        write("ybr", small[0], raw=rgb.tobytes()[::-1], PhotometricInterpretation="YBR_FULL", **colour),
        write("ybr 422", small[0], raw=small[:2].tobytes(), PhotometricInterpretation="YBR_FULL_422", **colour),
        write("palette", small[1], PhotometricInterpretation="PALETTE COLOR"),
        write("overlay", grey[2] % 4096 | np.random.default_rng(1).integers(0, 16, grey[2].shape).astype("u2") << 12,
              stored=12),
        write("odd length", noise((5, 7), "u1", 0, 99)),
        write("pairs", small[2], syntax=ExplicitVRBigEndian),
        write("bytes after the end", grey[0] + 5),
    ]  # fmt: skip
    with coded_ones[-1].open("ab") as file:
        file.write(b"\0" * 100 + b"trailing")
    path = write("no photometric", grey[0] + 6)
    without(path, "PhotometricInterpretation", "BitsStored", "HighBit")
    coded_ones.append(path)
    path = write("magic is zeros", grey[0] + 7)
    path.write_bytes(bytes(132) + path.read_bytes()[132:])
    coded_ones.append(path)
    expected |= {f"odd/{path.name}": CODED for path in coded_ones}
    path = write("another magic", grey[0] + 8)
    path.write_bytes(bytes(128) + b"DICX" + path.read_bytes()[132:])
    expected["odd/another magic"] = NO_IMAGE
    write("far too short", grey[0], raw=grey[0].tobytes()[:100])
    expected["odd/far too short"] = "it has fewer pixels than its header states"
    write("seventeen bits", grey[0], BitsAllocated=17, raw=bytes(400))
    expected["odd/seventeen bits"] = "it has 17 bits allocated for a sample"
    twelve = np.unpackbits((grey[0] % 4096).reshape(-1, 1).view("u1"), axis=1, bitorder="little")[:, :12]
    write("twelve bits", grey[0], BitsAllocated=12, raw=np.packbits(twelve, bitorder="little").tobytes())
    expected["odd/twelve bits"] = CODED
    write("bits", grey[0][:9, :9], BitsAllocated=1, raw=np.random.default_rng(3).bytes(32), NumberOfFrames=3)
    expected["odd/bits"] = CODED
    without(write("no rows", grey[0]), "Rows")
    expected["odd/no rows"] = "its header states no image"
    without(write("report", grey[0]), "PixelData")
    (odd / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"\x02\0\0\0UL\4\0\0\0\0\0")
    expected |= {"odd/report": "it has no pixels", "odd/DICOMDIR": "it has no pixels"}
    path = write("floating-point", grey[0])
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.FloatPixelData = np.random.default_rng(4).normal(0, 1, grey[0].shape).astype("<f4").tobytes()
    dataset.save_as(path)
    expected["odd/floating-point"] = CODED
    del dataset.FloatPixelData
    dataset.DoubleFloatPixelData = np.zeros(120, "<f8").tobytes()
    dataset.save_as(odd / "double")
    expected["odd/double"] = "a general codec makes its numbers smaller"
    pattern = np.random.default_rng(2).choice(np.array([0, 255], "u1"), (16, 16))
    write("graphics", np.tile(pattern, (12, 12)))
    expected["odd/graphics"] = "it is graphics, which a general codec makes smaller"
    for name, table, fragments in (("items", False, 1), ("table", True, 1), ("fragments", True, 3)):
        path = write(name, grey + 10 + fragments + table)
        encapsulated(path, [frame.tobytes() for frame in grey], table=table, fragments=fragments)
        expected[f"odd/{name}"] = CODED
    return expected


def _compressed(folder: Path) -> dict[str, str]:
    """Wrap streams of other encoders in all ways; and damaged, lossy and unknown ones."""
    expected = {}
    for kind, syntax in SYNTAX_OF.items():
        chosen = [frame for frame in frames(kind) if 1 < frame.info.rows < 256][:3]
        for number, frame in enumerate(chosen):
            shape = (frame.info.components, frame.info.rows, frame.info.columns)
            for way in range(3 if number == 0 else 1):  # one frame; three with a table; three of two fragments each
                options = {"table": way > 0, "fragments": (1, 1, 2)[way]}
                path = folder / "compressed" / f"{kind} {number} {way}"
                wrapped(path, [frame.data] * (3 if way else 1), syntax, shape, frame.info.bits, **options)
                expected[f"compressed/{path.name}"] = CODED
    (frame, *_) = frames("rle")
    shape = (frame.info.components, frame.info.rows, frame.info.columns)
    wide = np.random.default_rng(5).integers(0, 1 << 32, 20, "<u4").tobytes()
    segments = b"".join(b"\x13" + wide[i::4] + b"\0" for i in reversed(range(4)))  # a literal of 20 bytes each
    head = np.array([4, 64, 86, 108, 130, *[0] * 11], "<u4").tobytes()
    wrapped(folder / "compressed" / "wide", [head + segments], ".5", (1, 4, 5), 32)
    expected["compressed/wide"] = CODED
    damaged = frame.data[:64] + b"\x7f" * (len(frame.data) - 64)
    wrapped(folder / "compressed" / "damaged", [damaged], ".5", shape, frame.info.bits)
    expected["compressed/damaged"] = "its RLE stream is damaged"
    wrapped(folder / "compressed" / "video", [b"\0\0\1\xb3" * 9], ".4.100", (1, 16, 16), 8)
    expected["compressed/video"] = "no codec makes its transfer syntax again: MPEG2 Main Profile / Main Level"
    jpeg = (GOLDEN / "jpeg_xl" / "waves.jpg").read_bytes()
    at = jpeg.index(b"\xff\xc0")
    rows, columns = int.from_bytes(jpeg[at + 5 : at + 7], "big"), int.from_bytes(jpeg[at + 7 : at + 9], "big")
    for frame_count in (1, 2):
        path = folder / "compressed" / f"baseline {frame_count}"
        wrapped(path, [jpeg] * frame_count, ".4.50", (jpeg[at + 9], rows, columns), 8)
        expected[f"compressed/{path.name}"] = JPEG
    return expected


def _others(folder: Path) -> dict[str, str]:
    """Write what is no DICOM file."""
    other = folder / "other files"
    (other / "deep" / "deeper").mkdir(parents=True)
    (other / "hollow" / "inside").mkdir(parents=True)
    (other / "read me.txt").write_text("read me\n" * 20)
    (other / "deep" / "deeper" / "copy.txt").write_text("read me\n" * 20)
    (other / "empty").write_bytes(b"")
    (other / "empty too").write_bytes(b"")
    (other / "paper.pdf").write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + np.random.default_rng(3).bytes(3000))
    (other / "ünï cödé\n.txt").write_bytes(bytes(range(256)))
    (other / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"name")
    (other / "-dash").write_bytes(b"dash")
    (other / ("n" * 200)).write_bytes(b"a long name")
    compress([folder / "ct"], other / "nested.vcz", model="turbo")
    (other / "link").symlink_to("read me.txt")
    (other / "deep" / "gone").symlink_to("../nowhere")
    (folder / "link to a folder").symlink_to("other files/deep")
    (folder / "link to an image").symlink_to("ct/IM0001.dcm")
    found = dict.fromkeys(_named(folder, "other files"), NO_IMAGE)
    return {name: NO_IMAGE for name in found if not (folder / name).is_symlink()}
