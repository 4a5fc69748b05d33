"""Gzipped files are recognised by what they inflate to, and archived as images."""

import gzip
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from tests.helpers import ONE, compress, contents, image, noise
from volcomp.archive.describe import describe
from volcomp.archive.restore import restore
from volcomp.formats import gzipped
from volcomp.formats.dicom import DICOM
from volcomp.formats.gzipped import inflated, wrapped
from volcomp.formats.protocol import NotCoded
from volcomp.formats.registry import read_image

PIXELS = noise((3, 12, 10), "u2", 0, 3000)


def test_gzipped_files_are_archived_as_images(tmp_path):
    """Native, with planes, and compressed ones; what holds no image is kept whole."""
    folder = tmp_path / "in"
    plain = image(tmp_path / "plain", PIXELS).read_bytes()
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    rgb = image(tmp_path / "rgb", PIXELS[0, :4].astype("u1"), raw=bytes(range(120)), series="7", **colour).read_bytes()
    folder.mkdir()
    (folder / "a.dcm.gz").write_bytes(gzip.compress(plain, 6))
    (folder / "b.dcm.gz").write_bytes(gzip.compress(plain, 9) + bytes(100))
    (folder / "rgb.dcm.gz").write_bytes(gzip.compress(rgb, 1))
    (folder / "text.gz").write_bytes(gzip.compress(b"no image"))
    (folder / "cut.gz").write_bytes(gzip.compress(plain)[:-40])
    summary = compress([folder], tmp_path / "out.vcz")
    assert summary.voxels == PIXELS.size + 120, "equal pictures are coded once"
    assert describe(tmp_path / "out.vcz")["kept_whole"] == 2
    restore(tmp_path / "out.vcz", tmp_path / "again", options=ONE)
    assert contents(tmp_path / "again") == contents(folder)


def test_what_is_found(tmp_path):
    plain = image(tmp_path / "plain", PIXELS)
    path = tmp_path / "scan.dcm.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    found, inner = read_image(path, "deep/scan.dcm.gz"), read_image(plain, "plain")
    assert found.reading.number == 8 and found.size == path.stat().st_size
    assert (found.name, found.path, found.format) == ("deep/scan.dcm.gz", path, DICOM)
    same = ("rows", "columns", "frames", "bits", "series", "position", "start")
    assert [getattr(found, name) for name in same] == [getattr(inner, name) for name in same]


def test_a_compressed_file_twice(tmp_path):
    plain = image(tmp_path / "plain", PIXELS)
    found = read_image(plain, "plain")
    once = wrapped(found, 1000)
    with pytest.raises(NotCoded, match="compressed twice"):
        wrapped(once, 1000)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(gzip.compress(plain.read_bytes())))
    with pytest.raises(NotCoded, match="no image"):
        read_image(path, "a.gz")


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize(
    "compressed", [gzip.compress, zlib.compress, lambda b: gzip.compress(b[:9]) + gzip.compress(b[9:])]
)
def test_an_inflated_file_reads_like_a_file(start, compressed):
    content = np.random.default_rng(1).bytes(500_000) + bytes(500_000)
    file = inflated(BytesIO(b"plain"[:start] + compressed(content) + b"\0tail"), start)
    whole = b"plain"[:start] + content
    assert file.read(3) == whole[:3]
    assert file.seek(400_000) == 400_000 and file.read(200_000) == whole[400_000:600_000]
    assert file.seek(100) == 100 and file.read(50) == whole[100:150] and file.tell() == 150
    assert file.seek(0, 2) == len(whole) and file.read(1) == b""
    assert file.seek(-10, 2) == len(whole) - 10 and file.read() == whole[-10:]
    assert file.seek(1 << 24) == 1 << 24 and file.read(1) == b""
    assert file.seek(7) == 7 and file.read() == whole[7:]


def test_what_does_not_inflate_has_a_reason(monkeypatch):
    with pytest.raises(NotCoded, match="no gzip member"):
        inflated(BytesIO(b"plain text")).read(1)
    damaged = gzip.compress(b"")[:10] + b"\7" + bytes(30)  # a block of the type that there is not
    with pytest.raises(NotCoded, match="damaged"):
        inflated(BytesIO(damaged)).read()
    with pytest.raises(NotCoded, match="cut short"):
        inflated(BytesIO(gzip.compress(bytes(5000))[:-9])).seek(0, 2)
    monkeypatch.setattr(gzipped, "LARGEST", 1 << 20)
    with pytest.raises(NotCoded, match="more than 2 GiB"):
        inflated(BytesIO(gzip.compress(bytes(1 << 21)))).seek(0, 2)


def test_series_of_whole_volumes_have_their_own_names(tmp_path, monkeypatch):
    plain = image(tmp_path / "plain", PIXELS)
    (tmp_path / "a.gz").write_bytes(gzip.compress(plain.read_bytes()))
    original = type(DICOM).read
    named = lambda self, path, name, file: replace(original(self, path, name, file), series=name)  # noqa: E731
    monkeypatch.setattr(type(DICOM), "read", named)
    assert read_image(tmp_path / "a.gz", "a.gz").series == "a.gz"


def test_information_is_that_of_the_inner_format(tmp_path):
    folder = tmp_path / "in"
    plain = image(tmp_path / "plain", PIXELS, Modality="MR")
    folder.mkdir()
    (folder / "a.gz").write_bytes(gzip.compress(plain.read_bytes()))
    compress([folder], tmp_path / "out.vcz")
    assert describe(tmp_path / "out.vcz")["volumes"][0]["modality"] == "MR"
