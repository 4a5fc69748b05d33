"""Gzipped files that are kept whole: inflated, compressed with the others, and back byte for byte."""

import gzip
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.helpers import contents
from volcomp.archive import gzip_packing
from volcomp.archive.entry import AS_IT_IS, INFLATED, Stored
from volcomp.archive.manifest import read_manifest
from volcomp.container.sections import Reader
from volcomp.errors import DamagedError
from volcomp.streams.protocol import NotReproducible

TEXT = "".join(f"{k}\t{k * k % 977}\tsub-{k % 7}\n" for k in range(9000)).encode()


def packings(archive: Path) -> dict[str, int]:
    """How files that are kept whole are packed, by name."""
    with archive.open("rb") as file:
        whole = read_manifest(Reader(file)).whole
    return {entry.name: entry.place.packing for entry in whole if isinstance(entry.place, Stored)}


def test_files_are_inflated_and_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    random = np.random.default_rng(0).bytes(60_000)
    for level in (1, 6, 9):
        (folder / f"{level}.tsv.gz").write_bytes(gzip.compress(TEXT, level, mtime=level))
    (folder / "two.tsv.gz").write_bytes(gzip.compress(TEXT[:40_000]) + gzip.compress(TEXT[40_000:]) + b"\0" * 9)
    (folder / "wrong crc.gz").write_bytes(gzip.compress(TEXT)[:-8] + b"12345678")
    (folder / "noise.gz").write_bytes(gzip.compress(random))
    (folder / "cut.gz").write_bytes(gzip.compress(TEXT)[:9000])
    (folder / "no stream.gz").write_bytes(b"\x1f\x8b\x08" + bytes(50))
    done = volcomp.compress_files(folder, tmp_path / "x.vcz", threads=1)
    found = packings(tmp_path / "x.vcz")
    apart = {"noise.gz", "cut.gz", "no stream.gz"}
    assert {name for name, packing in found.items() if packing == AS_IT_IS} == apart
    assert {name for name, packing in found.items() if packing == INFLATED} == found.keys() - apart
    volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out", threads=1)
    assert contents(tmp_path / "out") == contents(folder)
    assert done.packed_bytes < 60_000 + 9_000 + len(gzip.compress(TEXT, 9))  # one text for all five


def test_labels_take_less_than_their_gzipped_file(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    z, y, x = np.mgrid[:40, :48, :44]
    labels = (((z // 9) * 7 + (y // 11) * 3 + x // 13) % 5).astype("u1") * ((z - 20) ** 2 + (y - 24) ** 2 < 300)
    nibabel.save(nibabel.Nifti1Image(labels.astype("u1").T, np.eye(4)), tmp_path / "labels.nii.gz")
    done = volcomp.compress_files(tmp_path / "labels.nii.gz", tmp_path / "x.vcz", threads=1)
    assert packings(tmp_path / "x.vcz") in ({"labels.nii.gz": INFLATED}, {})
    assert done.packed_bytes < 0.9 * done.raw_bytes
    volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out", threads=1)
    assert (tmp_path / "out" / "labels.nii.gz").read_bytes() == (tmp_path / "labels.nii.gz").read_bytes()


def test_a_copy_is_kept_once(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.gz", "b.gz"):
        (folder / name).write_bytes(gzip.compress(TEXT, mtime=0))
    volcomp.compress_files(folder, tmp_path / "x.vcz", threads=1)
    places = [entry.get("copy_of") for entry in volcomp.list_files(tmp_path / "x.vcz")]
    assert "a.gz" in places
    volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out", threads=1)
    assert contents(tmp_path / "out") == contents(folder)


def test_changed_packed_bytes_are_damage_or_another_file() -> None:
    packed = bytearray(gzip_packing.pack(gzip.compress(TEXT, mtime=0)))
    for wrong in (bytes([9]) + packed[1:], packed[:40], packed[:-1], bytes(packed) + b"x"):
        with pytest.raises(DamagedError):
            b"".join(gzip_packing.unpack(bytes(wrong)))
    random = np.random.default_rng(1)
    for _ in range(200):
        changed = bytearray(packed)
        changed[random.integers(0, 60)] ^= 1 << random.integers(0, 8)
        with suppress(DamagedError):
            b"".join(gzip_packing.unpack(bytes(changed)))


def test_what_inflates_to_too_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_packing, "MOST_BYTES", 1 << 16)
    with pytest.raises(NotReproducible):
        gzip_packing.pack(gzip.compress(bytes(1 << 20)))
    assert zlib.crc32(b"".join(gzip_packing.unpack(gzip_packing.pack(gzip.compress(b"1234" * 99))))) == zlib.crc32(
        gzip.compress(b"1234" * 99)
    )
