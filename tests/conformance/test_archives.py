"""docs/format.md is enough for archives too: a decoder that was written from it alone reads what the package writes."""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from tests.archive.everything import everything
from tests.bodies.test_numbers import sides
from tests.conformance.decoder_archive import Archive
from tests.conformance.decoder_bodies import voxel_bytes
from tests.helpers import compress, contents, image, noise
from volcomp.archive import bytes_codec, header_reader, images, whole

GOLDEN = Path(__file__).parents[1] / "archive" / "golden"


def decoded(archive: Archive) -> dict[str, bytes | str | None]:
    """As `contents` has a folder."""
    return {
        os.fsdecode(name): item.data if item.kind == 0 else None if item.kind == 1 else os.fsdecode(item.target)
        for name, item in archive.items.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return everything(tmp_path_factory.mktemp("everything") / "in")


def test_the_conformance_decoder_reads_an_archive(folder: Path, tmp_path: Path) -> None:
    """Bytes, names, links, times and permissions."""
    compress([folder], tmp_path / "x.vcz")
    archive = Archive((tmp_path / "x.vcz").read_bytes())
    assert archive.version == 4 and archive.root == b"in" and decoded(archive) == contents(folder)
    for name, item in archive.items.items():
        status = (folder / os.fsdecode(name)).lstat()
        assert (item.time, item.mode) == (status.st_mtime_ns, status.st_mode & 0o777)


def test_the_conformance_decoder_reads_several_lists(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several tables of kept bytes and several chunks; without times."""
    monkeypatch.setattr(images, "_ENOUGH_KEPT", 1)
    monkeypatch.setattr(whole, "MAX_ROWS", 2)
    compress([folder], tmp_path / "x.vcz", times=False)
    archive = Archive((tmp_path / "x.vcz").read_bytes())
    assert sum(tag == b"LIST" for tag, _, _ in archive.found) > 5 < sum(tag == b"KEEP" for tag, _, _ in archive.found)
    assert decoded(archive) == contents(folder)
    assert all(item.time is None and item.mode is None for item in archive.items.values())


def test_the_conformance_decoder_reads_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (whole, bytes_codec, header_reader):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    monkeypatch.setattr("tests.conformance.decoder_archive.CHUNK", 1000)
    (tmp_path / "in").mkdir()
    for i, size in enumerate((999, 2500, 0, 1, 1000, 2500)):
        (tmp_path / "in" / str(i)).write_bytes(np.random.default_rng(size).bytes(size))
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    assert decoded(Archive((tmp_path / "x.vcz").read_bytes())) == contents(tmp_path / "in")


def test_the_conformance_decoder_checks_digests(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a", noise((2, 2)))
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    data = (tmp_path / "x.vcz").read_bytes()
    digest = hashlib.sha256((tmp_path / "in" / "a").read_bytes()).digest()
    assert data.count(digest) == 1
    with pytest.raises(ValueError, match="CRC of a section"):
        Archive(data.replace(digest, bytes(32)))


def test_the_conformance_decoder_reads_numbers() -> None:
    """Tables, splits, planes and streams of lower bits, components as planes and as slices; and gaps."""
    count = 0
    for side, blocks, data in sides():
        planes = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
        assert voxel_bytes(5, side, planes) == data
        count += 1
    assert count > 15


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.vcz")), ids=lambda path: path.stem)
def test_the_conformance_decoder_reads_a_golden_archive(golden: Path) -> None:
    expected = json.loads(golden.with_suffix(".json").read_text())
    found = decoded(Archive(golden.read_bytes()))
    implied = {str(parent) for name in found for parent in PurePosixPath(name).parents} - {"."}
    assert found.keys() | implied == expected.keys()
    for name, value in found.items():
        assert expected[name] == (hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value)
