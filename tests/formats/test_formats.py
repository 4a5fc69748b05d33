"""A format is one object behind one protocol: a new one is archived and restored without a change of the package."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers import ONE, compress, contents, image, noise, series
from volcomp import UnsupportedError
from volcomp.archive.describe import describe
from volcomp.archive.restore import restore, verify
from volcomp.bodies.protocol import Kept
from volcomp.bodies.registry import body
from volcomp.container.sections import BLOB, KEPT, Reader
from volcomp.formats import registry
from volcomp.formats.dicom import DICOM
from volcomp.formats.protocol import Cut, Description, Format, Image

MAGIC = b"TOYVOL\1\2"


class Toy(Format):
    """A magic number, three uint16 (Z, Y, X), little-endian uint16 voxels, a trailer of any length."""

    def sniff(self, head):
        return head.startswith(MAGIC)

    def read(self, path, name, file):
        head = file.read(len(MAGIC) + 6)
        if len(head) < len(MAGIC) + 6:
            return None
        depth, height, width = struct.unpack("<3H", head[len(MAGIC) :])
        size = file.seek(0, 2)
        if not depth * height * width or len(head) + 2 * depth * height * width > size:
            return None
        return Image(self, path, name, size, len(head), height, width, depth, 16, False, False, series=name)


class Spoken(Toy):
    """The same, with the optional methods."""

    def cut(self, before):
        return [Cut(1, len(MAGIC), len(MAGIC)), Cut(2, len(MAGIC) + 2, len(MAGIC) + 2)]

    def describe(self, headers):
        return Description(modality="TOY", spacing_mm=(3.0, 2.0, 1.0))


def toy(path, voxels, trailer=b"", magic=MAGIC):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(magic + struct.pack("<3H", *voxels.shape) + voxels.astype("<u2").tobytes() + trailer)


def mixed(folder):
    """Three toy volumes, a DICOM series, a text, and two files that only look like toys; the toys' voxels."""
    voxels = noise((40, 6, 5), "u2", 0, 3000)
    toy(folder / "scan.toy", voxels, b"the end")
    toy(folder / "deep" / "scan.toy", voxels[:3])
    toy(folder / "deep" / "other.toy", voxels[:2] + 7, bytes(1000))
    series(folder / "ct", 4, size=6, dtype="u2")
    (folder / "note.txt").write_text("a note\n" * 30)
    (folder / "short.toy").write_bytes((folder / "scan.toy").read_bytes()[:-30])
    (folder / "cut.toy").write_bytes(MAGIC + b"\1")
    return 40 + 3 + 2


@pytest.mark.parametrize("added", [Toy(), Spoken()])
def test_a_format_that_the_package_does_not_have(tmp_path, monkeypatch, added):
    slices = mixed(tmp_path / "in")
    archive = tmp_path / "x.vcz"
    with monkeypatch.context() as patch:
        patch.setattr(registry, "FORMATS", (*registry.FORMATS, added))
        compress([tmp_path / "in"], archive)
        found = describe(archive)
    assert (found["files"], found["kept_whole"], len(found["volumes"])) == (10, 3, 4)
    assert sum(volume["shape"][0] for volume in found["volumes"]) == slices + 4
    toys = [volume for volume in found["volumes"] if volume["modality"] != "CT"]
    assert len(toys) == 3
    if isinstance(added, Spoken):
        assert {(volume["modality"], volume["spacing_mm"]) for volume in toys} == {("TOY", (3.0, 2.0, 1.0))}
    with archive.open("rb") as file:
        assert {BLOB, KEPT} <= {section.tag for section in Reader(file).places}
    # A reader needs no format: this one has never heard of the toy.
    verify(archive, options=ONE)
    restore(archive, tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    assert len(describe(archive)["volumes"]) == 4


def test_without_the_format_its_files_are_kept_whole(tmp_path):
    mixed(tmp_path / "in")
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    assert describe(tmp_path / "x.vcz")["kept_whole"] == 6


def test_formats_share_no_volume(tmp_path, monkeypatch):
    """Even where everything that volumes are grouped by is alike."""

    class Nameless(Toy):
        def read(self, path, name, file):
            return replace(super().read(path, name, file), series="1.2.3.4")

    monkeypatch.setattr(registry, "FORMATS", (*registry.FORMATS, Nameless()))
    toy(tmp_path / "in" / "a.toy", noise((1, 4, 4), "u2", 0, 99))
    image(tmp_path / "in" / "b.dcm", noise((4, 4), "u2", 0, 99, seed=1))
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    assert len(describe(tmp_path / "x.vcz")["volumes"]) == 2


def test_the_first_format_that_finds_voxels_reads_a_file(tmp_path, monkeypatch):
    """A head that two formats accept: the one that makes nothing of the rest is passed over."""

    class Ambiguous(Toy):
        def sniff(self, head):
            return True

    path = image(tmp_path / "a.dcm", noise((4, 4)))
    toy(tmp_path / "b", noise((2, 4, 4), "u2", 0, 99))
    for order in ((DICOM, Ambiguous()), (Ambiguous(), DICOM)):
        monkeypatch.setattr(registry, "FORMATS", order)
        assert registry.read_image(tmp_path / "b", "b").format is not DICOM
    monkeypatch.setattr(registry, "FORMATS", (DICOM, Ambiguous()))
    assert registry.read_image(path, "a").format is DICOM
    assert registry.describe([]) == registry.describe([b"", b"nothing"]) == Description()


@pytest.mark.parametrize("big_endian", [False, True])
def test_the_native_body_is_the_inverse_of_read(tmp_path, big_endian):
    syntax = "1.2.840.10008.1.2.2" if big_endian else "1.2.840.10008.1.2.1"
    path = image(tmp_path / "a", noise((5, 4, 3), "u2", 0, 3000), syntax=syntax)
    found, data = registry.read_image(path, "a"), path.read_bytes()
    assert found.reading is None and found.big_endian == big_endian
    end = found.start + found.pixel_bytes
    voxels = np.frombuffer(data[found.start : end], ">u2" if big_endian else "<u2").astype("<u2").reshape(5, 4, 3)
    kept = Kept(data[: found.start], b"", data[end:])
    pieces = body(int(big_endian)).write(kept, iter([[voxels[:2]], [voxels[2:]]]))
    assert b"".join(pieces) == data


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(OSError):
        registry.read_image(tmp_path / "missing", "missing")
    with pytest.raises(UnsupportedError):
        compress([tmp_path / "missing"], tmp_path / "x.vcz")
