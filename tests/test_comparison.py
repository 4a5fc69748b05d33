"""Sizes of a series under several codecs: each is what that codec makes of it."""

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.formats.volumes import picture
from tests.helpers import image, noise, series
from volcomp import cli, comparison
from volcomp.comparison import FILES, VOXELS, Rival, compare
from volcomp.errors import UnsupportedError, VerificationError
from volcomp.options import EncodeOptions

QUICK = EncodeOptions("turbo", 1, threads=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series, a copy of it, one of 32-bit words, and a text."""
    folder = series(tmp_path_factory.mktemp("compared") / "study" / "a", 5, 16).parent
    series(folder / "b", 5, 16, series="1.9")
    for i in range(3):
        wide = noise((16, 16), "u2", 0, 3000, seed=i).astype("<u4") + 65_000
        bits = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}
        image(folder / "c" / f"{i}.dcm", wide.astype("u2"), z=i, series="1.2", raw=wide.tobytes(), **bits)
    (folder / "report.txt").write_text("No finding. " * 99)
    return folder


def test_every_row_is_what_its_codec_makes(study: Path, tmp_path: Path) -> None:
    rows = {(row.of, row.method): row for row in compare(study, QUICK)}
    data = b"".join(path.read_bytes() for path in sorted(path for path in study.rglob("*") if path.is_file()))
    voxels = 5 * 256 + 2 * 3 * 256  # of the archive's volumes: the copy is none, and wide words are two
    volcomp.compress_files(study, tmp_path / "x.vcz", "turbo", effort=1, threads=1)
    assert rows[FILES, "as they are"].bytes == len(data) and rows[FILES, "as they are"].voxels == voxels
    assert rows[FILES, "volcomp turbo, effort 1"].bytes == (tmp_path / "x.vcz").stat().st_size
    assert rows[FILES, "gzip -9"].bytes == len(gzip.compress(data, 9, mtime=0))
    assert rows[FILES, "xz -9"].bytes == len(lzma.compress(data, preset=9))
    assert 0 < rows[FILES, "zstd -19 --long"].bytes < rows[FILES, "gzip -9"].bytes
    raw = rows[VOXELS, "as they are"]
    assert raw.bytes == 5 * 256 * 2 + 3 * 256 * 4 and raw.voxels == 8 * 256 and raw.bits_per_voxel == 22
    ours = rows[VOXELS, "volcomp turbo, effort 1"]
    assert 0 < ours.bytes < rows[FILES, "volcomp turbo, effort 1"].bytes and ours.ratio == raw.bytes / ours.bytes


@pytest.mark.parametrize("rival", comparison.RIVALS, ids=lambda rival: rival.package)
def test_rivals_that_are_installed_give_back_what_they_got(study: Path, rival: Rival) -> None:
    pytest.importorskip(rival.package)
    volume = noise((4, 16, 12), "u2", 0, 4000)
    for voxels in (volume, volume // 64):
        size, back = rival.encode(voxels, 2)
        assert 0 < size < voxels.nbytes and np.array_equal(back, voxels)
    assert rival.name in [row.method for row in compare(study, QUICK) if row.of == VOXELS]


def test_a_rival_that_gives_back_something_else_is_told(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "RIVALS", (Rival("Lossy", "numpy", lambda voxels, threads: (1, voxels // 2)),))
    with pytest.raises(VerificationError, match=r"what Lossy made of . does not decode to it"):
        list(compare(study, QUICK))


def test_a_file_that_is_no_image_has_no_voxels(study: Path) -> None:
    rows = list(compare(study / "report.txt", QUICK))
    assert {row.of for row in rows} == {FILES} and rows[0].bits_per_voxel is None


def test_the_command_names_what_is_not_installed(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        comparison, "RIVALS", (Rival("Absent", "no_such_package", lambda voxels, threads: (0, voxels)),)
    )
    line = ["compare", str(study), "--model", "turbo", "--effort", "1", "--threads", "1"]
    assert cli.main(line) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "not measured: Absent is not installed; pip install no_such_package"
    assert sum("volcomp turbo, effort 1" in one for one in out) == 2
    assert cli.main([*line, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["not_installed"] == {"Absent": "pip install no_such_package"} and len(facts["rows"]) == 7


def test_inputs_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UnsupportedError):
            list(compare(path, QUICK))


def test_rivals_get_no_fractions(tmp_path: Path) -> None:
    """They take whole numbers, and were given floating-point ones with the fractions cut off."""
    values = np.round(picture((6, 40, 36), "f8")).astype("f4") / 1000
    np.save(tmp_path / "x.npy", values)
    rows = list(compare(tmp_path / "x.npy", EncodeOptions("turbo", threads=1)))
    assert [row for row in rows if row.of == FILES] == rows and any("volcomp" in row.method for row in rows)
