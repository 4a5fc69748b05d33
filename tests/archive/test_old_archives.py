"""Archives of format versions before 4 are read for ever. The golden one was written by volcomp 0.9.0."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

import volcomp
from tests.archive.forge import EMPTY, forged_old
from tests.archive.legacy_writer import OldEntry, OldManifest
from tests.helpers import ONE, contents, damage
from volcomp import DamagedError, VolcompError
from volcomp.archive import bytes_codec
from volcomp.archive.describe import as_text, describe
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import BLOB, KEPT, MANIFEST, SLAB, VOLUME_HEADER, Reader
from volcomp.container.volume import read_volume

GOLDEN = Path(__file__).parent / "golden"
ARCHIVE = GOLDEN / "0.9.0-archive.vcz"
FILES = json.loads((GOLDEN / "0.9.0-archive.json").read_text())  # SHA-256 of every file by its name, null of a folder


def digests(folder):
    """As in the golden list."""
    return {name: data if data is None else hashlib.sha256(data).hexdigest() for name, data in contents(folder).items()}


def test_all_files_come_back(tmp_path):
    outcome = restore(ARCHIVE, tmp_path / "out", options=ONE)
    assert digests(tmp_path / "out") == FILES
    assert outcome.files == sum(digest is not None for digest in FILES.values())
    verify(ARCHIVE, options=ONE)


def test_it_is_described():
    found = describe(ARCHIVE)
    assert found["promise"] == "file-exact" and found["files"] == 11 and found["kept_whole"] == 2
    assert {"MANI", "KEEP", "VHDR", "SLAB", "BLOB"} <= found["sections"].keys()
    assert [volume["files"] for volume in found["volumes"]] == [1, 2, 1, 5]
    assert "CT" in as_text(found)


def test_slices_of_it_come_back(tmp_path):
    restore(ARCHIVE, tmp_path / "out", slices=slice(4, 5), options=ONE)
    found = {name for name, digest in digests(tmp_path / "out").items() if digest}
    assert found and all(FILES[name] == digest for name, digest in digests(tmp_path / "out").items() if digest)
    assert sum(name.startswith("ct/") for name in found) == 1


def test_times_are_those_of_now(tmp_path):
    """It has none."""
    restore(ARCHIVE, tmp_path / "out", options=ONE)
    assert all((tmp_path / "out" / name).stat().st_mtime > ARCHIVE.stat().st_ctime - 1e9 for name in FILES)


def test_salvage_restores_what_is_undamaged(tmp_path):
    """Each section in turn is damaged, with the index and without."""
    with ARCHIVE.open("rb") as file:
        reader = Reader(file)
        sections = list(reader.places)
        shapes = {s.major: read_volume(reader, s.major).layout.shape for s in sections if s.tag == VOLUME_HEADER}
    assert sum(s.tag == SLAB for s in sections) == len(shapes) == 4
    copy, target = tmp_path / "x.vcz", tmp_path / "out"
    lost = {}
    for section in sections:
        for cut in (0, 2):
            shutil.copy(ARCHIVE, copy)
            damage(copy, section)
            copy.write_bytes(copy.read_bytes()[: -cut or None])
            with pytest.raises(DamagedError):
                verify(copy, options=ONE)
            if section.tag == MANIFEST:
                with pytest.raises(DamagedError, match=r"manifest|list of files"):
                    restore(copy, target, salvage=True, options=ONE)
                continue
            restore(copy, target, salvage=True, options=ONE)
            found = {name: digest for name, digest in digests(target).items() if digest}
            shutil.rmtree(target)
            assert found == {name: FILES[name] for name in found}
            lost[section, cut] = {name for name, digest in FILES.items() if digest} - found.keys()
    for section in sections:
        if section.tag == MANIFEST:
            continue
        assert lost[section, 0] == lost[section, 2] != set()
        if section.tag in (SLAB, VOLUME_HEADER):
            others = [lost[s, 0] for s in sections if s.tag == SLAB and s.major != section.major]
            assert not any(lost[section, 0] & other for other in others)
    assert set().union(*(lost[s, 0] for s in sections if s.tag == BLOB)) == {"notes/none", "notes/read me.txt"} - {
        name for name, digest in FILES.items() if digest == EMPTY.hex()
    }
    images = {name for name, digest in FILES.items() if digest and name.endswith(".dcm")}
    assert set().union(*(lost[s, 0] for s in sections if s.tag == KEPT)) == images


def test_every_changed_byte_is_an_error(tmp_path):
    data, copy = ARCHIVE.read_bytes(), tmp_path / "x.vcz"
    for i in range(0, len(data), 7):
        copy.write_bytes(data[:i] + bytes([data[i] ^ 0x41]) + data[i + 1 :])
        with pytest.raises(DamagedError):
            restore(copy, tmp_path / "out", options=ONE)
    assert os.listdir(tmp_path) == ["x.vcz"]


def test_its_volumes_can_be_had_as_arrays():
    shapes = [tuple(volume["shape"]) for volume in describe(ARCHIVE)["volumes"]]
    for number, shape in enumerate(shapes):
        assert volcomp.decompress(ARCHIVE, volume=number, threads=1).shape == shape


def test_manifests_that_contradict_the_archive(tmp_path):
    image_entry, note = OldEntry("x", 32, EMPTY, frames=1), OldEntry("note", 0, EMPTY)
    for manifest in (
        OldManifest(volumes=[[image_entry]], tables=[1]),  # a volume that is not there
        OldManifest(tables=[1], whole=[note]),  # a table without images
        OldManifest(whole=[OldEntry("x", 1 << 60, EMPTY)]),  # bytes that are not there
        OldManifest(whole=[OldEntry("x", (1 << 64) - 1, EMPTY), OldEntry("y", (1 << 64) - 1, EMPTY)]),
        OldManifest(whole=[note, note]),
    ):
        with pytest.raises(DamagedError):
            restore(forged_old(tmp_path / "x.vcz", manifest), tmp_path / "out")
    flagged = OldManifest(volumes=[[OldEntry("x", 32, EMPTY, 1, 0, 2)]], tables=[1])
    with pytest.raises(VolcompError, match="unknown flags 0x02"):
        restore(forged_old(tmp_path / "x.vcz", flagged), tmp_path / "out")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff\xff\xff\x7f",
        b"\x00\x01\x05a",
        b"\x00\x02\xff\xff\xff\x7fxx",
        b"\x00\x01\x10\x00\x00",
        b"\x00\x09\x03\x00\x00",
        b"\x00" + bytes_codec.pack_table(b"\0" * 100_000),
        b"\x00" + bytes_codec.pack_table(b"\1" * 100_000),
    ],
)
def test_lying_manifests(tmp_path, payload):
    with pytest.raises(VolcompError):
        restore(forged_old(tmp_path / "x.vcz", payload), tmp_path / "out")


def test_an_old_archive_with_a_list_of_the_new_kind_is_read_by_its_manifest(tmp_path):
    """Versions tell them apart."""
    archive = forged_old(tmp_path / "x.vcz", OldManifest(whole=[OldEntry("note", 0, EMPTY)]), LIST=b"not read")
    restore(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"note": b""}
