"""Native files that change between their two readings are kept whole, and nothing else comes out in another way."""

import pytest

from tests.helpers import ONE, compress, contents, image, noise, series
from volcomp import UnsupportedError
from volcomp.archive import groups, images
from volcomp.archive.append import append
from volcomp.archive.describe import describe
from volcomp.archive.restore import restore, verify
from volcomp.archive.stack import Stack
from volcomp.errors import SourceError
from volcomp.options import EncodeOptions


@pytest.fixture
def folder(tmp_path):
    """Five series, of which some are small enough to share a group; a copy; a file that is none."""
    folder = tmp_path / "in"
    for i in range(5):
        series(folder / f"s{i}", 3, series=f"1.2.{i}", PatientName=f"Nobody^{i}")
        for path in (folder / f"s{i}").iterdir():
            path.write_bytes(path.read_bytes()[:-1] + bytes([i]))
    (folder / "copy").write_bytes((folder / "s1" / "IM0001.dcm").read_bytes())
    (folder / "note").write_text("note")
    return folder


def changing(monkeypatch, paths, change=lambda data: data[:-1] + bytes([data[-1] ^ 1])):
    """Let each file change once, when its series is read again."""
    left = list(paths)
    slices = Stack.slices

    def change_then_read(stack, number, first, end):
        for path in left.copy():
            if any(part.image.path == path for part in stack._parts):
                left.remove(path)
                path.write_bytes(change(path.read_bytes()))
                break
        return slices(stack, number, first, end)

    monkeypatch.setattr(Stack, "slices", change_then_read)
    return left


@pytest.mark.parametrize("enough", [1, 256 << 10])
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    "names",
    [["s0/IM0001.dcm"], ["copy"], ["s4/IM0003.dcm", "s2/IM0002.dcm"], [f"s3/IM000{i}.dcm" for i in (1, 2, 3)]],
)
def test_they_are_kept_whole(folder, tmp_path, monkeypatch, names, check, enough):
    monkeypatch.setattr(images, "_ENOUGH_KEPT", enough)
    paths = [folder / name for name in names]
    left = changing(monkeypatch, paths)
    done = compress([folder], tmp_path / "x.vcz", verify=check)
    assert not left
    found = describe(tmp_path / "x.vcz")
    assert found["not_coded"] == {groups.CHANGED: len(names), "no image of a known format": 1}
    assert done.files == found["files"] == 17 and done.raw_bytes == sum(
        p.stat().st_size for p in folder.rglob("*.*")
    ) + ((folder / "note").stat().st_size + (folder / "copy").stat().st_size)
    verify(tmp_path / "x.vcz", ONE)
    restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
    assert contents(tmp_path / "out") == contents(folder)
    voxels = sum(int(v["shape"][0]) * 64 for v in found["volumes"])
    assert done.voxels == voxels


def test_the_archive_is_that_of_the_files_that_stayed(folder, tmp_path, monkeypatch):
    """Nothing of the first attempt is left: but for the reason, the same as if the file had never been an image."""
    path = folder / "s2" / "IM0002.dcm"
    monkeypatch.setattr(groups, "CHANGED", "")
    changing(monkeypatch, [path])
    compress([folder], tmp_path / "x.vcz", times=False)
    again = images.ImageWriter.add

    def without(writer, stack, progress):
        kept = [one for one in stack if one.path != path]
        return again(writer, kept, progress) | {one.name: "" for one in stack if one.path == path}

    monkeypatch.setattr(images.ImageWriter, "add", without)
    compress([folder], tmp_path / "y.vcz", times=False)
    assert (tmp_path / "x.vcz").read_bytes() == (tmp_path / "y.vcz").read_bytes()


def test_files_that_become_shorter_or_longer(folder, tmp_path, monkeypatch):
    changing(monkeypatch, [folder / "s0" / "IM0001.dcm"], lambda data: data[:-30])
    compress([folder], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
    assert contents(tmp_path / "out") == contents(folder)


def test_a_file_that_is_gone(folder, tmp_path, monkeypatch):
    """An error as for any that cannot be read, or a sentence."""
    path = folder / "s0" / "IM0001.dcm"
    data = path.read_bytes()
    slices = Stack.slices

    def remove_then_read(stack, number, first, end):
        path.unlink(missing_ok=True)
        return slices(stack, number, first, end)

    monkeypatch.setattr(Stack, "slices", remove_then_read)
    with pytest.raises(UnsupportedError, match=r"IM0001\.dcm cannot be read"):
        compress([folder], tmp_path / "x.vcz")
    path.write_bytes(data)
    done = compress([folder], tmp_path / "x.vcz", skip_errors=True)
    assert len(done.skipped) == 1 and "IM0001.dcm cannot be read" in done.skipped[0]
    restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
    assert contents(tmp_path / "out") == contents(folder)


def test_an_addition(folder, tmp_path, monkeypatch):
    compress([folder / "s0"], tmp_path / "x.vcz")
    path = folder / "s1" / "IM0001.dcm"
    changing(monkeypatch, [path])
    append(tmp_path / "x.vcz", [folder / "s1", folder / "s2"], EncodeOptions(threads=1))
    verify(tmp_path / "x.vcz", ONE)
    restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
    assert (tmp_path / "out" / "s1" / "IM0001.dcm").read_bytes() == path.read_bytes()


def test_an_error_about_another_file_is_none_of_a_group(folder, tmp_path, monkeypatch):
    def fail(stack, number, first, end):
        raise SourceError("another cannot be read", tmp_path / "another")

    monkeypatch.setattr(Stack, "slices", fail)
    with pytest.raises(UnsupportedError, match="another cannot be read"):
        compress([folder], tmp_path / "x.vcz")
    assert not (tmp_path / "x.vcz").exists()


def test_a_frame_of_several_changes(tmp_path, monkeypatch):
    path = image(tmp_path / "in" / "x", noise((5, 8, 8)))
    changing(monkeypatch, [path])
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
