"""docs/format.md is enough for files with deflate streams: gzipped files, deflated data sets, PNG."""

import gzip
import zlib
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.bodies.test_png import BEFORE, FILES, kept_of
from tests.conformance.decoder_archive import Archive
from tests.conformance.decoder_deflated import filtered, png
from tests.formats.test_png_and_netpbm import GOLDEN
from tests.formats.test_png_and_netpbm import png as png_file
from tests.helpers import compress, contents, image, noise
from volcomp.archive.entry import INFLATED, Stored, Voxels
from volcomp.archive.manifest import read_manifest
from volcomp.archive.random_access import RandomAccess
from volcomp.bodies.png import IDAT
from volcomp.codec.decode import Slab, decode_volume
from volcomp.container.sections import Reader
from volcomp.container.volume import Volume
from volcomp.options import DecodeOptions
from volcomp.streams import png_filters


def test_the_conformance_decoder_reads_files_with_deflate_streams(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    folder = tmp_path / "in"
    folder.mkdir()
    pydicom.dcmread(image(folder / "deflated.dcm", noise((9, 11)), syntax=DeflatedExplicitVRLittleEndian)).save_as(
        folder / "deflated.dcm"
    )
    scan = noise((3, 16, 18), "i2", 0, 900)
    nibabel.save(nibabel.Nifti1Image(scan.T, np.eye(4)), folder / "scan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(scan[:2].T, np.eye(4)), tmp_path / "plain.nii")
    plain = (tmp_path / "plain.nii").read_bytes()
    (folder / "members.nii.gz").write_bytes(gzip.compress(plain[:700]) + gzip.compress(plain[700:], 1) + b"\0end")
    text = "".join(f"{k}\t{k * k % 977}\n" for k in range(900)).encode()
    (folder / "text.tsv.gz").write_bytes(gzip.compress(text, 9))
    (folder / "grey.png").write_bytes(png_file(noise((12, 14), "u1", 0, 200)))
    (folder / "colour.png").write_bytes(png_file(np.moveaxis(noise((3, 12, 14), "u1", 0, 200), 0, -1), colour=2))
    compress([folder], tmp_path / "x.vcz", model="turbo", effort=1)
    with (tmp_path / "x.vcz").open("rb") as file:
        places = [entry.place for entry in read_manifest(Reader(file)).files]
    assert {place.body for place in places if isinstance(place, Voxels)} >= {4, 8, 9}
    assert [place.packing for place in places if isinstance(place, Stored)] == [INFLATED]
    items = Archive((tmp_path / "x.vcz").read_bytes()).items
    assert {name.decode(): item.data for name, item in items.items()} == contents(folder)


@pytest.mark.parametrize("name", FILES)
def test_the_conformance_decoder_makes_image_data(name: str) -> None:
    """Chunks of all sizes, and streams with checksums or without."""
    kept, planes = kept_of(name)
    assert BEFORE + png(kept.side, planes) + kept.after == FILES[name]


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*.png")))
def test_the_conformance_decoder_makes_files_of_other_encoders(name: str, tmp_path: Path) -> None:
    compress([GOLDEN / name], tmp_path / "x.vcz", model="turbo", effort=1)
    with (tmp_path / "x.vcz").open("rb") as file:
        reader = Reader(file)

        def decode(volume: Volume, numbers: list[int]) -> Generator[Slab]:
            return decode_volume(reader, volume, numbers, DecodeOptions(threads=1))

        access = RandomAccess(reader, read_manifest(reader), decode)
        entry = access.entry(name)
        kept = access.kept(entry)
        assert kept is not None and kept.after[4:8] != IDAT
        words = [plane.view(f"u{plane.itemsize}") for plane in access.planes(entry, 0)]
    assert kept.before + png(kept.side, words) + kept.after == (GOLDEN / name).read_bytes()


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("rule", [0, 1, 2, 3, 4, png_filters.LEAST, png_filters.LEAST_WITHOUT_AVERAGE,
                                  png_filters.CONCENTRATED])  # fmt: skip
@pytest.mark.parametrize("exceptions", [0, 2, 20])
def test_the_conformance_decoder_chooses_filters(rule: int, step: int, exceptions: int) -> None:
    """Of rows that are smooth, flat and noise: by every rule, with filters listed and packed."""
    raw = noise((31, 24), "u1", 0, 250)
    raw[10:15], raw[20:25] = 7, np.random.default_rng(2).integers(0, 256, (5, 24))
    kinds = png_filters.chosen(raw, bytes([rule]), step)
    kinds[:exceptions] = (kinds[:exceptions] + 1) % 5
    side = png_filters.kept(raw, kinds, step)
    assert zlib.crc32(filtered([row.tobytes() for row in raw], side, step)) == zlib.crc32(
        png_filters.filtered(raw, kinds, step).tobytes()
    )
