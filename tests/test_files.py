"""The front door for folders: what goes in comes back, however it is named, and the options arrive."""

import subprocess
import sys
from pathlib import Path

import pytest

import volcomp
from tests.helpers import compress, contents, series
from volcomp.errors import TargetError, UnsupportedError


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series, a text and an empty folder."""
    folder = series(tmp_path_factory.mktemp("files") / "study", 4)
    (folder / "report.txt").write_text("No finding.")
    (folder / "empty").mkdir()
    return folder


def test_a_folder_and_back(study: Path, tmp_path: Path) -> None:
    done = volcomp.compress_files(str(study), str(tmp_path / "x.vcz"), threads=1)
    assert (done.files, done.voxels, done.packed_bytes) == (5, 4 * 8 * 8, (tmp_path / "x.vcz").stat().st_size)
    back = volcomp.decompress_files(str(tmp_path / "x.vcz"), str(tmp_path / "out"), threads=1)
    assert (back.files, back.raw_bytes, back.lost) == (5, done.raw_bytes, [])
    assert contents(tmp_path / "out") == contents(study)


def test_several_inputs_from_any_iterable(study: Path, tmp_path: Path) -> None:
    single = tmp_path / "note.txt"
    single.write_text("beside it")
    volcomp.compress_files(iter([study, str(single)]), tmp_path / "x.vcz", threads=1)
    volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out", threads=1)
    assert contents(tmp_path / "out" / "study") == contents(study)
    assert (tmp_path / "out" / "note.txt").read_text() == "beside it"


def test_the_options_arrive(study: Path, tmp_path: Path) -> None:
    """They give the file of the same options elsewhere, which is another than that of the default."""
    volcomp.compress_files(study, tmp_path / "default.vcz", threads=1)
    volcomp.compress_files(study, tmp_path / "x.vcz", "turbo", effort=1, verify=False, threads=1, device="cpu")
    compress([study], tmp_path / "same.vcz", model="turbo", effort=1)
    assert (tmp_path / "x.vcz").read_bytes() == (tmp_path / "same.vcz").read_bytes()
    assert (tmp_path / "x.vcz").read_bytes() != (tmp_path / "default.vcz").read_bytes()
    with pytest.raises(UnsupportedError, match="effort 0 is not known"):
        volcomp.compress_files(study, tmp_path / "y.vcz", effort=0)
    with pytest.raises(UnsupportedError, match="device 'abacus' is not known"):
        volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out", device="abacus")
    assert not (tmp_path / "y.vcz").exists() and not (tmp_path / "out").exists()


def test_force_slices_and_salvage(study: Path, tmp_path: Path) -> None:
    archive, out = tmp_path / "x.vcz", tmp_path / "out"
    volcomp.compress_files(study, archive, threads=1)
    with pytest.raises(TargetError, match="exists"):
        volcomp.compress_files(study, archive, threads=1)
    volcomp.compress_files(study, archive, threads=1, force=True)
    volcomp.decompress_files(archive, out, slice(1, 3), threads=1)
    assert sorted(path.name for path in out.iterdir()) == ["IM0002.dcm", "IM0003.dcm"]
    with pytest.raises(TargetError, match="is not empty"):
        volcomp.decompress_files(archive, out, threads=1)
    archive.write_bytes(archive.read_bytes()[:-1])  # without its index, which a salvage does not need
    with pytest.raises(volcomp.DamagedError):
        volcomp.decompress_files(archive, out, threads=1, force=True)
    done = volcomp.decompress_files(archive, out, salvage=True, threads=1, force=True)
    assert done.damage and done.files == 5 and contents(out) == contents(study)


def test_slices_in_other_steps_are_refused(study: Path, tmp_path: Path) -> None:
    volcomp.compress_files(study, tmp_path / "x.vcz", threads=1)
    for step in (2, -1):
        with pytest.raises(UnsupportedError, match=f"slices in steps of {step}"):
            volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out", slice(None, None, step))
    assert not (tmp_path / "out").exists()


def test_the_names_cost_nothing_until_they_are_used() -> None:
    code = "import sys, volcomp; assert 'volcomp.files' not in sys.modules; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert {"compress_files", "decompress_files"} <= set(volcomp.__all__)


def test_append_list_info_and_verify(study: Path, tmp_path: Path) -> None:
    archive, note = tmp_path / "x.vcz", tmp_path / "note.txt"
    note.write_text("beside it")
    volcomp.compress_files([study], archive, threads=1)
    done = volcomp.append(str(archive), str(note), threads=1, times=False)
    assert done.files == 1 and done.packed_bytes > 0
    entries = {entry["name"]: entry for entry in volcomp.list_files(archive)}
    assert set(entries) == {*contents(study), "note.txt"}
    assert entries["note.txt"]["kept"] == "whole" and entries["note.txt"]["mtime_ns"] is None
    assert entries["IM0001.dcm"]["slices"] == [3, 4] and entries["empty"]["kind"] == "folder"
    found = volcomp.info(str(archive))
    assert found["files"] == 6 and found["volumes"][0]["series"] == "1.2.3.4"
    checked = volcomp.verify(str(archive), threads=1)
    assert (checked.files, checked.voxels, checked.lost) == (6, 4 * 8 * 8, [])
    with pytest.raises(UnsupportedError, match=r"holds note\.txt already"):
        volcomp.append(archive, [note], threads=1)


def test_verify_tells_damage_of_archive_and_parity(study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "x.vcz"
    volcomp.compress_files([study], archive, threads=1, parity=0.1)
    assert volcomp.verify(archive, threads=1).files == 5
    data = bytearray(archive.read_bytes())
    data[-200] ^= 1  # in the parity, of which the archive itself knows nothing
    archive.write_bytes(data)
    with pytest.raises(volcomp.DamagedError, match=r"x\.vcz: .*volcomp.repair"):
        volcomp.verify(archive, threads=1)


def test_files_that_are_missing_are_errors_of_volcomp(tmp_path: Path) -> None:
    for function in (volcomp.verify, volcomp.list_files, volcomp.info, volcomp.open, volcomp.decompress_files):
        with pytest.raises(UnsupportedError, match=r"missing\.vcz"):
            function(tmp_path / "missing.vcz")
    with pytest.raises(UnsupportedError, match=r"missing\.vcz"):
        volcomp.append(tmp_path / "missing.vcz", tmp_path)


def test_what_cannot_be_read_is_left_out_on_demand(study: Path, tmp_path: Path) -> None:
    inputs = [study, tmp_path / "missing"]
    with pytest.raises(UnsupportedError, match="missing"):
        volcomp.compress_files(inputs, tmp_path / "x.vcz", threads=1)
    done = volcomp.compress_files(inputs, tmp_path / "x.vcz", threads=1, skip_errors=True)
    assert len(done.skipped) == 1 and "missing" in done.skipped[0]


def test_bits_that_give_rights_are_not_kept(tmp_path: Path) -> None:
    """No archive can plant a program that runs with the rights of who restores it."""
    (tmp_path / "in" / "shared").mkdir(parents=True)
    (tmp_path / "in" / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "in" / "tool").chmod(0o6755)
    (tmp_path / "in" / "shared").chmod(0o3770)
    if (tmp_path / "in" / "tool").stat().st_mode & 0o7000 != 0o6000:
        pytest.skip("this file system keeps no such bits")
    volcomp.compress_files(tmp_path / "in", tmp_path / "x.vcz", threads=1)
    assert {entry["name"]: entry["mode"] for entry in volcomp.list_files(tmp_path / "x.vcz")} == {
        "shared": "0770",
        "tool": "0755",
    }
    volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out", threads=1)
    modes = {name: (tmp_path / "out" / name).stat().st_mode & 0o7777 for name in ("shared", "tool")}
    assert modes == {"shared": 0o770, "tool": 0o755}
