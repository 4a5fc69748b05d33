"""PNG, PGM and PPM files come back byte for byte, are coded where they hold pictures, and are opened."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.bodies.test_png import chunk
from tests.helpers import ONE, compress, contents
from volcomp.archive.describe import describe
from volcomp.archive.entry import Voxels
from volcomp.archive.manifest import read_manifest
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import Reader
from volcomp.formats import registry
from volcomp.formats.protocol import NotCoded

GOLDEN = Path(__file__).parent / "golden" / "png"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")


def picture(bits=8, components=1, seed=0):
    """A smooth thing with noise, [y, x] or [y, x, c]."""
    y, x, c = np.mgrid[:40, :52, :components]
    smooth = 90 + 50 * np.sin((x + 5 * c) / 9) + 40 * np.cos(y / 7) + np.random.default_rng(seed).normal(0, 2, x.shape)
    numbers = np.rint(smooth * (1 if bits == 8 else 150)).clip(0).astype(f">u{bits // 8}")
    return numbers[..., 0] if components == 1 else numbers


def header(columns=52, rows=40, bits=8, colour=0, interlace=0):
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, interlace))


def png(pixels, *, colour=0, text=b"", **fields):
    bits = 8 * pixels.itemsize
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    other = chunk(b"tEXt", text) if text else b""
    fields = {"bits": bits, "colour": colour, **fields}
    return (
        header(pixels.shape[1], pixels.shape[0], **fields) + other + chunk(b"IDAT", zlib.compress(rows)) + other + END
    )


def pnm(pixels, most, kind=b"P5", after=b"\n", comment=b""):
    head = b"%s\n%s%d\t%d\n%d" % (kind, comment, pixels.shape[1], pixels.shape[0], most)
    return head + after + pixels.astype(">u2" if most > 255 else "u1").tobytes()


CODED = {
    "grey.png": png(picture(), text=b"Title\0of it"),
    "grey16.png": png(picture(16)),
    "rgb.png": png(picture(8, 3), colour=2),
    "rgb16.png": png(picture(16, 3), colour=2),
    "alpha.png": png(picture(8, 2), colour=4),
    "rgba16.png": png(picture(16, 4), colour=6),
    "trailing.png": png(picture(seed=5)) + b"bytes behind the end",
    "grey.pgm": pnm(picture(seed=1), 255),
    "twelve.pgm": pnm(picture(16, seed=2) >> 4, 4095, comment=b"# a comment\n#another\r\n"),
    "rgb.ppm": pnm(picture(8, 3), 255, b"P6"),
    "rgb16.ppm": pnm(picture(16, 3), 65535, b"P6"),
    "comment.pgm": pnm(picture(seed=3), 200, after=b"# with a line\n"),
    "several.pgm": b"".join(pnm(picture(16, seed=n), 65535) for n in range(3)) + b"P5 and no more",
}
WHOLE = {
    "interlaced.png": png(picture(), interlace=1),
    "palette.png": png(picture(), colour=3),
    "bits.png": png(picture(), bits=4),
    "colour.png": png(picture(), colour=1),
    "short.png": CODED["grey.png"][:30],
    "cut.png": CODED["grey.png"][:900],
    "chunk.png": header() + b"\x7f\xff\xff\xffabcd",
    "huge.png": header(1 << 20, 1 << 20) + CODED["grey.png"][33:],
    "crc.png": CODED["grey16.png"].replace(b"IEND", b"IDAT"),
    "digits.pgm": b"P2 2 2 255\n1 2 3 4\n",
    "most.pgm": b"P5 2 2 70000\n" + bytes(8),
    "nothing.pgm": b"P5 0 2 255\n",
    "short.pgm": CODED["grey.pgm"][:300],
    "text.pgm": b"P5 is a place on the map\n",
}


def test_a_folder_of_them(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in (CODED | WHOLE).items():
        (folder / name).write_bytes(data)
    archive = tmp_path / "x.vcz"
    compress([folder], archive, model="turbo", effort=1)
    with archive.open("rb") as file:
        entries = read_manifest(Reader(file)).entries
    assert {Path(entry.name).name for entry in entries if not isinstance(entry.place, Voxels)} == {*WHOLE}
    verify(archive, options=ONE)
    restore(archive, tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(folder)


def test_files_of_other_encoders_come_back(tmp_path):
    compress([GOLDEN], tmp_path / "x.vcz", model="turbo", effort=1)
    assert describe(tmp_path / "x.vcz")["not_coded"] == {"no image of a known format": 1}  # what says who made them
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(GOLDEN)


@pytest.mark.parametrize("name", ["grey16.png", "rgb.png", "twelve.pgm", "rgb16.ppm"])
def test_they_are_opened(tmp_path, name):
    (tmp_path / name).write_bytes(CODED[name])
    compress([tmp_path / name], tmp_path / "x.vcz", model="turbo", effort=1)
    expected = {
        "grey16.png": picture(16), "rgb.png": picture(8, 3), "twelve.pgm": picture(16, seed=2) >> 4,
        "rgb16.ppm": picture(16, 3),
    }[name]  # fmt: skip
    with volcomp.open(tmp_path / "x.vcz") as volume:
        assert np.array_equal(np.asarray(volume)[0], expected)


@pytest.mark.parametrize(("name", "reason"), [
    ("palette.png", "its colours are in a palette"), ("bits.png", "its samples have 4 bits, not 8 or 16"),
    ("colour.png", "its header makes no sense"),
])  # fmt: skip
def test_why_samples_are_not_coded(tmp_path, name, reason):
    (tmp_path / name).write_bytes(WHOLE[name])
    compress([tmp_path / name], tmp_path / "x.vcz")
    assert describe(tmp_path / "x.vcz")["not_coded"] == {reason: 1}


@pytest.mark.parametrize(
    "name", [name for name in WHOLE if name.endswith(".png") and name not in ("cut.png", "crc.png")]
)
def test_headers_that_make_no_sense(tmp_path, name):
    (tmp_path / name).write_bytes(WHOLE[name])
    with pytest.raises(NotCoded):
        registry.read_image(tmp_path / name, name)
