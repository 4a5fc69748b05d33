"""Folders come back byte for byte, and nothing half-done is ever left behind."""

import os
import socket
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

import volcomp
from tests.helpers import ONE, compress, contents, image, noise, series
from volcomp import TargetError, UnsupportedError, VerificationError
from volcomp.archive import bytes_codec, pack, whole
from volcomp.archive.describe import as_text, describe
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import BLOB, KEPT, Reader
from volcomp.stages.histogram_packing import HistogramPacking


def round_trip(folder, tmp_path, **options):
    """Compress a folder, restore it, compare; returns the archive's description."""
    archive = tmp_path / "archive.vcz"
    compress([folder], archive, **options)
    restore(archive, tmp_path / "restored", options=ONE)
    assert contents(tmp_path / "restored") == contents(folder)
    return describe(archive)


def test_a_study_with_everything(tmp_path):
    study = tmp_path / "study"
    series(study / "ct", 5)
    series(study / "nested" / "deeper", 3, size=9, series="1.2.9")  # the same file names again
    image(study / "ct" / "odd.dcm", noise((6, 5)), z=99)
    for i, orientation in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        image(
            study / "ct" / f"localizer{i}",
            noise((12, 12), seed=i),
            series="1.2.5",
            ImageOrientationPatient=orientation,
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        )
    report = pydicom.dcmread(study / "ct" / "IM0001.dcm")
    del report.PixelData, report.Rows
    report.Modality = "SR"
    report.save_as(study / "report.dcm")
    (study / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"\x02\0\0\0UL\4\0\0\0\0\0")
    (study / "README.txt").write_text("read me\n" * 50)
    (study / "empty").write_bytes(b"")
    (study / "hollow" / "inside").mkdir(parents=True)
    (study / "ünï cödé\n.txt").write_bytes(b"\xff\xfe")
    Path(os.fsdecode(os.fsencode(study) + b"/not-\xff-utf8")).write_bytes(b"name")
    found = round_trip(study, tmp_path)
    assert found["promise"] == "file-exact" and found["root"] == "study"
    assert (found["files"], found["kept_whole"], found["folders"], found["links"]) == (18, 6, 5, 0)
    assert sorted(volume["shape"][0] for volume in found["volumes"]) == [1, 3, 3, 5]
    assert "MR" not in as_text(found) and "CT" in as_text(found)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("i2", {"stored": 12}),
        ("u2", {"stored": 12}),
        ("u1", {}),
        ("i1", {}),
        ("u2", {"syntax": ImplicitVRLittleEndian}),
        ("i2", {"syntax": ExplicitVRBigEndian}),
        ("u1", {"syntax": ExplicitVRBigEndian}),
        ("i2", {"preamble": False}),
        ("u2", {"PhotometricInterpretation": "MONOCHROME1"}),
        ("i2", {"BurnedInAnnotation": "NO"}),
    ],
)
def test_kinds_of_greyscale_are_coded(tmp_path, dtype, options):
    found = round_trip(series(tmp_path / "in", 4, dtype=dtype, **options), tmp_path)
    assert [volume["shape"] for volume in found["volumes"]] == [(4, 8, 8)]
    assert found["kept_whole"] == 0


def test_rubbish_in_unused_bits(tmp_path):
    random = np.random.default_rng(1)
    for i in range(3):
        words = noise((8, 8), "u2", 0, 4000, seed=i) | random.integers(0, 16, (8, 8)).astype("u2") << 12
        image(tmp_path / "in" / str(i), words.astype("i2"), z=i, stored=12)
    assert len(round_trip(tmp_path / "in", tmp_path)["volumes"]) == 1


def test_odd_lengths_padding_and_frames(tmp_path):
    folder = tmp_path / "in"
    image(folder / "odd", noise((5, 7), "u1", 0, 99), series="1.1")
    image(folder / "padded", noise((4, 4)), series="1.2", raw=noise((4, 4)).tobytes() + b"\1\2" * 500)
    image(folder / "short", noise((4, 4)), series="1.3", raw=noise((4, 4)).tobytes()[:-2])
    image(folder / "frames", noise((40, 6, 5)), series="1.4")  # across two slabs
    image(folder / "deflated", noise((4, 4)), series="1.5", syntax=DeflatedExplicitVRLittleEndian)
    image(folder / "tail", noise((4, 4), seed=1), series="1.6")
    with (folder / "tail").open("ab") as file:
        file.write(b"bytes after the last element")
    found = round_trip(folder, tmp_path)
    assert found["kept_whole"] == 0
    assert sum(volume["shape"][0] for volume in found["volumes"]) == 44  # what is deflated shows what is padded


def test_the_files_that_come_with_pydicom(tmp_path):
    """Every transfer syntax, colour, overlays, DICOMDIRs, broken files."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = round_trip(folder, tmp_path)
    assert found["files"] > 100 and len(found["volumes"]) >= 16


def test_large_files_span_chunks(tmp_path, monkeypatch):
    from volcomp.archive import header_reader

    for module in (whole, bytes_codec, header_reader):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    folder = tmp_path / "in"
    folder.mkdir()
    for i, size in enumerate([999, 1, 0, 2500, 1000, 3]):
        (folder / str(i)).write_bytes(np.random.default_rng(i).bytes(size))
    round_trip(folder, tmp_path)
    with (tmp_path / "archive.vcz").open("rb") as file:
        assert [s.major for s in Reader(file).places if s.tag == BLOB] == [0, 1, 2, 3, 4]


def test_many_headers_make_several_tables(tmp_path, monkeypatch):
    from volcomp.archive import header_writer

    monkeypatch.setattr(header_writer, "MAX_RECORDS", 3)
    round_trip(series(tmp_path / "in", 7), tmp_path)
    with (tmp_path / "archive.vcz").open("rb") as file:
        assert [s.major for s in Reader(file).places if s.tag == KEPT] == [0, 1, 2]


def test_several_inputs(tmp_path):
    one, two = series(tmp_path / "a" / "ct", 2), series(tmp_path / "b" / "ct", 2)
    (tmp_path / "note.txt").write_text("note")
    compress([one, two, tmp_path / "note.txt"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert sorted(os.listdir(tmp_path / "out")) == ["ct", "ct-2", "note.txt"]
    assert contents(tmp_path / "out" / "ct-2") == contents(two)


def test_an_empty_folder(tmp_path):
    (tmp_path / "in").mkdir()
    assert round_trip(tmp_path / "in", tmp_path)["files"] == 0
    verify(tmp_path / "archive.vcz")


def test_links_are_kept_as_links(tmp_path):
    """Whatever they point to, be it nothing, or the folder that they are in."""
    series(tmp_path / "elsewhere", 2)
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name, target in {
        "folder": tmp_path / "elsewhere",
        "file": tmp_path / "elsewhere" / "IM0001.dcm",
        "sub/gone": "no/such/file",
        "sub/around": "..",
        "sub/self": "self",
        "sub/bytes": os.fsdecode(b"\xff\xfe"),
    }.items():
        (folder / name).symlink_to(target)
    found = round_trip(folder, tmp_path)
    assert (found["files"], found["links"]) == (0, 6)
    verify(tmp_path / "archive.vcz")


def test_an_input_that_is_a_link_is_followed(tmp_path):
    series(tmp_path / "ct", 2)
    (tmp_path / "one").symlink_to("ct")
    (tmp_path / "two").symlink_to(tmp_path / "ct" / "IM0001.dcm")
    compress([tmp_path / "one"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "ct")
    compress([tmp_path / "one", tmp_path / "two"], tmp_path / "y.vcz")
    restore(tmp_path / "y.vcz", tmp_path / "both", options=ONE)
    assert contents(tmp_path / "both" / "one") == contents(tmp_path / "ct")
    assert (tmp_path / "both" / "two").read_bytes() == (tmp_path / "ct" / "IM0001.dcm").read_bytes()


def test_inputs_that_cannot_be_stored(tmp_path):
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "x")
    with pytest.raises(UnsupportedError, match="neither a file nor a folder"):
        compress([tmp_path / "in"], tmp_path / "x.vcz")
    (tmp_path / "in" / "x").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "in" / "s"))
        with pytest.raises(UnsupportedError, match="neither a file nor a folder"):
            compress([tmp_path / "in"], tmp_path / "x.vcz")
    with pytest.raises(UnsupportedError, match="nowhere cannot be read"):
        compress([tmp_path / "nowhere"], tmp_path / "x.vcz")
    assert not (tmp_path / "x.vcz").exists()


def test_the_same_files_give_the_same_bytes(tmp_path):
    """Wherever they lie, whatever the time where that is not kept, with any number of threads."""
    first, second = series(tmp_path / "one" / "ct", 3), series(tmp_path / "two" / "ct", 3)
    os.utime(second / "IM0001.dcm", (1, 1))
    compress([first], tmp_path / "1.vcz", times=False)
    compress([second], tmp_path / "2.vcz", times=False, threads=2, verify=False)
    assert (tmp_path / "1.vcz").read_bytes() == (tmp_path / "2.vcz").read_bytes()


def test_the_voxels_can_be_had_as_an_array(tmp_path):
    compress([series(tmp_path / "in", 4)], tmp_path / "x.vcz")
    assert np.array_equal(volcomp.decompress(tmp_path / "x.vcz"), noise((4, 8, 8)))


def test_what_exists_needs_force(tmp_path):
    folder = series(tmp_path / "in", 2)
    archive, target = tmp_path / "x.vcz", tmp_path / "out"
    archive.write_text("precious")
    with pytest.raises(TargetError, match="force=True"):
        compress([folder], archive)
    assert archive.read_text() == "precious"
    compress([folder], archive, force=True)
    target.mkdir()
    restore(archive, target, options=ONE)  # empty: nothing can be lost
    (target / "mine").write_text("mine")
    (target / "IM0001.dcm").write_text("old")
    with pytest.raises(TargetError, match="force=True"):
        restore(archive, target, options=ONE)
    assert (target / "IM0001.dcm").read_text() == "old"
    restore(archive, target, options=ONE, force=True)
    assert contents(target) == {**contents(folder), "mine": b"mine"}


def test_files_and_folders_that_clash(tmp_path):
    series(tmp_path / "in" / "sub", 2)
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="is a file"):
        restore(tmp_path / "x.vcz", tmp_path / "file")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("a file where a folder goes")
    with pytest.raises(TargetError, match="sub is a file where"):
        restore(tmp_path / "x.vcz", tmp_path / "out", force=True)
    assert os.listdir(tmp_path / "out") == ["sub"]
    with pytest.raises(TargetError, match="is a folder"):
        compress([tmp_path / "in"], tmp_path / "out", force=True)
    with pytest.raises(TargetError, match="does not exist"):
        compress([tmp_path / "in"], tmp_path / "nowhere" / "x.vcz")


def test_an_archive_does_not_swallow_itself(tmp_path):
    folder = series(tmp_path / "in", 2)
    compress([folder], folder / "x.vcz")
    with pytest.raises(UnsupportedError, match="among the files to archive"):
        compress([folder], folder / "x.vcz", force=True)


def test_a_codec_that_errs_leaves_no_archive(tmp_path, monkeypatch):
    folder = series(tmp_path / "in", 3)
    forward = HistogramPacking.forward
    monkeypatch.setattr(HistogramPacking, "forward", lambda found, voxels, kind: forward(found, voxels, kind) // 2)
    with pytest.raises(VerificationError, match="does not decode to what was read"):
        compress([folder], tmp_path / "x.vcz")
    assert os.listdir(tmp_path) == ["in"]


def test_a_file_that_changes_while_it_is_read_is_kept_whole(tmp_path, monkeypatch):
    """As it is in the end."""
    folder = series(tmp_path / "in", 2)
    read_image = pack.read_image

    def look_then_change(path, name):
        found = read_image(path, name)
        path.write_bytes(path.read_bytes() + b"more")
        return found

    monkeypatch.setattr(pack, "read_image", look_then_change)
    found = round_trip(folder, tmp_path)
    assert found["kept_whole"] == 2
    assert found["not_coded"] == {"it could not be read, or changed while it was": 2}
