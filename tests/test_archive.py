"""Folders come back byte for byte; damage costs only what it touches; nothing half-done is left behind."""

import io
import os
import socket
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicoms import contents, image, noise, series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

import volcomp
from volcomp import DamagedError, TargetError, UnsupportedError, VerificationError, VolcompError
from volcomp.archive import pack, packing, table
from volcomp.archive.describe import as_text, describe
from volcomp.archive.manifest import Entry, Manifest, read_manifest, write_manifest
from volcomp.archive.restore import restore, verify
from volcomp.archive.tree import check_names
from volcomp.container import KEPT, MANIFEST, SLAB, Reader, SectionId, Writer


def compress(inputs, output, **options):
    return pack.compress([Path(i) for i in inputs], output, **{"threads": 1, **options})


def round_trip(folder, tmp_path, **options):
    """Compress a folder, restore it, compare; returns the archive's description."""
    archive = tmp_path / "archive.vcz"
    compress([folder], archive, **options)
    restore(archive, tmp_path / "restored", threads=1)
    assert contents(tmp_path / "restored") == contents(folder)
    return describe(archive)


def damage(path, section, offset=20):
    """Flip a byte in the middle of a section."""
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        place = Reader(file).places[section]
    data[place.offset + min(offset, place.length - 1)] ^= 0xFF
    path.write_bytes(data)


# ------------------------------------------------------------------------------------------------ what comes back


def test_a_study_with_everything(tmp_path):
    study = tmp_path / "study"
    series(study / "ct", 5)
    series(study / "nested" / "deeper", 3, series="1.2.9")  # the same file names again
    image(study / "ct" / "odd.dcm", noise((6, 5)), z=99)
    for i, orientation in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        image(study / "ct" / f"localizer{i}", noise((12, 12)), series="1.2.5", ImageOrientationPatient=orientation,
              ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
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
    assert (found["files"], found["kept_whole"], found["empty_folders"]) == (18, 6, 1)
    assert sorted(volume["shape"][0] for volume in found["volumes"]) == [1, 3, 3, 5]
    assert "MR" not in as_text(found) and "CT" in as_text(found)


@pytest.mark.parametrize(("dtype", "options"), [
    ("i2", {"stored": 12}), ("u2", {"stored": 12}), ("u1", {}), ("i1", {}),
    ("u2", {"syntax": ImplicitVRLittleEndian}), ("i2", {"syntax": ExplicitVRBigEndian}),
    ("u1", {"syntax": ExplicitVRBigEndian}), ("i2", {"preamble": False}),
    ("u2", {"PhotometricInterpretation": "MONOCHROME1"}), ("i2", {"BurnedInAnnotation": "NO"}),
])
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
    image(folder / "tail", noise((4, 4)), series="1.6")
    with (folder / "tail").open("ab") as file:
        file.write(b"bytes after the last element")
    found = round_trip(folder, tmp_path)
    assert (len(found["volumes"]), found["kept_whole"]) == (4, 2)


def test_the_files_that_come_with_pydicom(tmp_path):
    """Every transfer syntax, colour, overlays, DICOMDIRs, broken files."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = round_trip(folder, tmp_path)
    assert found["files"] > 100 and len(found["volumes"]) >= 16


def test_large_files_span_chunks(tmp_path, monkeypatch):
    from volcomp.archive import stored
    for module in (pack, packing, stored):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    folder = tmp_path / "in"
    folder.mkdir()
    for i, size in enumerate([999, 1, 0, 2500, 1000, 3]):
        (folder / str(i)).write_bytes(np.random.default_rng(i).bytes(size))
    assert sum(s == "BLOB" for s in round_trip(folder, tmp_path)["sections"]) == 1


def test_many_headers_make_several_tables(tmp_path, monkeypatch):
    from volcomp.archive import kept
    monkeypatch.setattr(kept, "MAX_RECORDS", 3)
    round_trip(series(tmp_path / "in", 7), tmp_path)
    with (tmp_path / "archive.vcz").open("rb") as file:
        assert [s.major for s in Reader(file).places if s.tag == KEPT] == [0, 1, 2]


def test_several_inputs(tmp_path):
    one, two = series(tmp_path / "a" / "ct", 2), series(tmp_path / "b" / "ct", 2)
    (tmp_path / "note.txt").write_text("note")
    compress([one, two, tmp_path / "note.txt"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", threads=1)
    assert sorted(os.listdir(tmp_path / "out")) == ["ct", "ct-2", "note.txt"]
    assert contents(tmp_path / "out" / "ct-2") == contents(two)


def test_an_empty_folder(tmp_path):
    (tmp_path / "in").mkdir()
    assert round_trip(tmp_path / "in", tmp_path)["files"] == 0
    verify(tmp_path / "archive.vcz")


def test_links_are_stored_as_what_they_point_to(tmp_path):
    series(tmp_path / "elsewhere", 2)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "file").symlink_to(tmp_path / "elsewhere" / "IM0001.dcm")
    round_trip(tmp_path / "in", tmp_path)
    assert not (tmp_path / "restored" / "folder").is_symlink()


def test_inputs_that_cannot_be_stored(tmp_path):
    (tmp_path / "in").mkdir()
    for make, sentence in ((lambda p: p.symlink_to(tmp_path / "gone"), "cannot be read: No such file"),
                           (lambda p: p.symlink_to(tmp_path / "in"), "a link to a folder around it"),
                           (os.mkfifo, "neither a file nor a folder")):
        make(tmp_path / "in" / "x")
        with pytest.raises(UnsupportedError, match=sentence):
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
    """Wherever they lie, whatever the time, with any number of threads."""
    first, second = series(tmp_path / "one" / "ct", 3), series(tmp_path / "two" / "ct", 3)
    os.utime(second / "IM0001.dcm", (1, 1))
    compress([first], tmp_path / "1.vcz")
    compress([second], tmp_path / "2.vcz", threads=2, check=False)
    assert (tmp_path / "1.vcz").read_bytes() == (tmp_path / "2.vcz").read_bytes()


def test_the_voxels_can_be_had_as_an_array(tmp_path):
    compress([series(tmp_path / "in", 4)], tmp_path / "x.vcz")
    assert np.array_equal(volcomp.decompress(tmp_path / "x.vcz"), noise((4, 8, 8)))


# ------------------------------------------------------------------------------------------------ parts of an archive


@pytest.fixture(scope="module")
def long_series(tmp_path_factory):
    """40 slices in two slabs, a text file, an empty folder; and their archive."""
    folder = tmp_path_factory.mktemp("long")
    series(folder / "in", 40, size=6)
    (folder / "in" / "note.txt").write_text("note")
    (folder / "in" / "hollow").mkdir()
    compress([folder / "in"], folder / "x.vcz")
    return folder / "in", folder / "x.vcz"


def test_slices_restore_the_files_that_hold_them(long_series, tmp_path):
    folder, archive = long_series
    restore(archive, tmp_path / "out", slices=slice(18, 22), threads=1)
    expected = {f"IM{40 - z:04d}.dcm" for z in range(18, 22)}
    assert contents(tmp_path / "out") == {name: contents(folder)[name] for name in expected}
    with pytest.raises(UnsupportedError, match="no volume has the slices"):
        restore(archive, tmp_path / "none", slices=slice(40, 50))
    assert not (tmp_path / "none").exists()


def test_slices_need_only_their_slab(long_series, tmp_path):
    archive = tmp_path / "x.vcz"
    archive.write_bytes(long_series[1].read_bytes())
    damage(archive, SectionId(SLAB, 0, 0))
    restore(archive, tmp_path / "out", slices=slice(20, 21), threads=1)
    with pytest.raises(DamagedError, match="x.vcz: slab 0 of volume 0"):
        restore(archive, tmp_path / "other", slices=slice(19, 21), threads=1)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("section", "lost"), [
    (SectionId(SLAB, 0, 1), {f"IM{n:04d}.dcm" for n in range(1, 21)}),
    (SectionId(b"VHDR", 0), {f"IM{n:04d}.dcm" for n in range(1, 41)}),
    (SectionId(KEPT, 0), {f"IM{n:04d}.dcm" for n in range(1, 41)}),
    (SectionId(b"BLOB", 0), {"note.txt"}),
])
def test_salvage_restores_what_is_undamaged(long_series, tmp_path, section, lost):
    folder, original = long_series
    archive = tmp_path / "x.vcz"
    archive.write_bytes(original.read_bytes())
    damage(archive, section)
    with pytest.raises(DamagedError):
        verify(archive, threads=1)
    with pytest.raises(DamagedError):
        restore(archive, tmp_path / "out", threads=1)
    assert sorted(os.listdir(tmp_path)) == ["x.vcz"]
    for cut in (0, 3):  # with the index, and without
        archive.write_bytes(archive.read_bytes()[: -cut or None])
        outcome = restore(archive, tmp_path / f"out{cut}", salvage=True, threads=1)
        expected = {name: data for name, data in contents(folder).items() if name not in lost}
        assert contents(tmp_path / f"out{cut}") == expected
        assert {sentence.split(" (")[0] for sentence in outcome.lost} == lost
        assert (outcome.damage is None) == (cut == 0)
        if section.tag == SLAB:
            assert outcome.lost[0].startswith("IM0020.dcm (slice 20 of volume 0): slab 1 of volume 0 is ")


def test_salvage_without_a_manifest(long_series, tmp_path):
    archive = tmp_path / "x.vcz"
    archive.write_bytes(long_series[1].read_bytes())
    damage(archive, SectionId(MANIFEST))
    for cut in (0, 1):
        archive.write_bytes(archive.read_bytes()[: -cut or None])
        with pytest.raises(DamagedError, match="manifest"):
            restore(archive, tmp_path / "out", salvage=True)


def test_every_cut_and_every_changed_byte(tmp_path):
    """Any damage to an archive is an error of ours, and leaves nothing behind."""
    folder = series(tmp_path / "in", 2, size=3)
    (folder / "note").write_text("note")
    archive, target = tmp_path / "x.vcz", tmp_path / "out"
    compress([folder], archive)
    data = archive.read_bytes()
    before = sorted(os.listdir(tmp_path))
    changed = [data[:i] for i in range(0, len(data), 5)]
    changed += [data[:i] + bytes([data[i] ^ 0x41]) + data[i + 1 :] for i in range(len(data))]
    for damaged in changed:
        archive.write_bytes(damaged)
        with pytest.raises(DamagedError) as error:
            restore(archive, target, threads=1)
        assert str(error.value).startswith(f"{archive}: ") and "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == before


# ------------------------------------------------------------------------------------------------ adversaries


def forged(tmp_path, manifest=None, **sections):
    """An archive that is sound to its checksums, with other contents."""
    path = tmp_path / "forged.vcz"
    with path.open("wb") as file:
        writer = Writer(file)
        for tag, payload in sections.items():
            writer.add(SectionId(tag.encode(), 0), payload)
        if manifest:
            write_manifest(writer, manifest)
        writer.finish()
    return path


NOTE = Entry("note", 0, bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a//b", "", ".", "a/.", "nul\0", "x" * 5000])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    entry = Entry(name, 0, NOTE.sha256)
    for manifest in (Manifest("r", [], [], [entry], []), Manifest("r", [], [], [NOTE], [name])):
        with pytest.raises(DamagedError, match="nothing was restored"):
            restore(forged(tmp_path, manifest), tmp_path / "out")
    if name:
        with pytest.raises(DamagedError):
            restore(forged(tmp_path, Manifest(name, [], [], [NOTE], [])))
    assert os.listdir(tmp_path) == ["forged.vcz"]


@pytest.mark.parametrize("names", [["a", "a"], ["a", "a/b"], ["a/b", "x", "a"], ["a/b", "a/b/c/d"], ["a", "a-", "a/b"]])
def test_names_that_cannot_exist_together_are_refused(names):
    with pytest.raises(DamagedError, match="two files|both as a file and as a folder"):
        check_names(names, [])
    check_names(["a", "a-", "a.b", "b/a", "b/c"], ["c"])


def test_manifests_that_contradict_the_archive(tmp_path):
    image_entry = Entry("x", 32, NOTE.sha256, frames=1, before=0)
    for manifest in (Manifest("r", [[image_entry]], [1], [], []),  # a volume that is not there
                     Manifest("r", [], [1], [NOTE], []),  # a table without images
                     Manifest("r", [], [], [Entry("x", 1 << 60, NOTE.sha256)], [])):  # bytes that are not there
        with pytest.raises(DamagedError):
            restore(forged(tmp_path, manifest), tmp_path / "out")


@pytest.mark.parametrize("payload", [
    b"", b"\xff\xff\xff\xff\x7f", b"\x00\x01\x05a", b"\x00\x02\xff\xff\xff\x7fxx", b"\x00\x01\x10\x00\x00",
    b"\x00\x09\x03\x00\x00",
    b"\x00" + packing.pack_table(b"\0" * 100_000), b"\x00" + packing.pack_table(b"\1" * 100_000),
])
def test_lying_manifests(tmp_path, payload):
    with pytest.raises(VolcompError):
        restore(forged(tmp_path, MANI=payload), tmp_path / "out")


@pytest.mark.parametrize("packed", [packing.pack_blob, packing.pack_table])
def test_payloads_unpack_to_what_they_say_or_not_at_all(packed, monkeypatch):
    raw = b"0123456789" * 1000
    data = packed(raw)
    assert packing.unpack(data, "x") == raw
    for size in (0, 9999, 10001, 1 << 24):
        lying = data[:1] + packing.varint(size) + data[3:]
        with pytest.raises(DamagedError, match="x is damaged"):
            packing.unpack(lying, "x")
    for size in (packing.CHUNK_BYTES + 1, 1 << 62):
        with pytest.raises(DamagedError, match="x is damaged"):
            packing.unpack(data[:1] + packing.varint(size) + data[3:], "x")
    for end in range(len(data)):
        with pytest.raises(DamagedError):
            packing.unpack(data[:end], "x")


@given(st.integers(0, 6).flatmap(lambda rows: st.lists(
    st.lists(st.binary(max_size=5) | st.just(b"same"), min_size=rows, max_size=rows), max_size=6)))
def test_tables_come_back(columns):
    data = table.encode_table(columns)
    assert table.decode_table(data, "x", max_rows=10, max_bytes=1000) == columns
    for end in range(len(data)):
        with pytest.raises(DamagedError):
            table.decode_table(data[:end], "x", max_rows=10, max_bytes=1000)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_damaged(data):
    try:
        columns = table.decode_table(data, "x", max_rows=50, max_bytes=200)
    except DamagedError:
        return
    assert sum(len(cell) for column in columns for cell in column) <= 200
    assert all(len(column) <= 50 for column in columns)


def test_wide_cells_of_one_width():
    columns = [[bytes([i]) * 100 for i in range(5)], [b"", b"", b"", b"", b"x"], [b"k"] * 5]
    assert table.decode_table(table.encode_table(columns), "x", max_rows=5, max_bytes=1000) == columns
    with pytest.raises(DamagedError):
        table.decode_table(table.encode_table(columns), "x", max_rows=5, max_bytes=505)
    with pytest.raises(DamagedError):
        table.decode_table(table.encode_table(columns), "x", max_rows=4, max_bytes=1000)


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8), st.lists(st.integers(0, 3), max_size=4))
def test_manifests_come_back(names, sizes):
    entries = [Entry(name.replace("\ud800", ""), i << 33, bytes([i]) * 32, i + 1, i, i % 2 == 1)
               for i, name in enumerate(names)]
    cut = len(entries) // 2
    manifest = Manifest("root", [entries[:cut]] if cut else [], [cut] if cut else [], entries[cut:], ["hollow/x"])
    file = io.BytesIO()
    writer = Writer(file)
    write_manifest(writer, manifest)
    writer.finish()
    assert read_manifest(Reader(file)) == manifest


# ------------------------------------------------------------------------------------------------ targets


def test_what_exists_needs_force(tmp_path):
    folder = series(tmp_path / "in", 2)
    archive, target = tmp_path / "x.vcz", tmp_path / "out"
    archive.write_text("precious")
    with pytest.raises(TargetError, match="--force"):
        compress([folder], archive)
    assert archive.read_text() == "precious"
    compress([folder], archive, force=True)
    target.mkdir()
    restore(archive, target, threads=1)  # empty: nothing can be lost
    (target / "mine").write_text("mine")
    (target / "IM0001.dcm").write_text("old")
    with pytest.raises(TargetError, match="--force"):
        restore(archive, target, threads=1)
    assert (target / "IM0001.dcm").read_text() == "old"
    restore(archive, target, threads=1, force=True)
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
    encode = pack.write_volume.__globals__["codec"].encode
    monkeypatch.setattr("volcomp.codec.encode", lambda voxels, **options: encode(voxels // 2, **options))
    with pytest.raises(VerificationError, match="does not decode to what was read"):
        compress([folder], tmp_path / "x.vcz")
    assert os.listdir(tmp_path) == ["in"]


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    folder = series(tmp_path / "in", 2)
    read_image = pack.read_image

    def look_then_change(path, name):
        found = read_image(path, name)
        path.write_bytes(path.read_bytes() + b"more")
        return found

    monkeypatch.setattr(pack, "read_image", look_then_change)
    with pytest.raises(UnsupportedError, match="changed while it was being read"):
        compress([folder], tmp_path / "x.vcz")
    assert os.listdir(tmp_path) == ["in"]


def test_memory_is_bounded_by_what_is_there(tmp_path):
    """A volume header that claims a shape far beyond its slabs is refused before anything is allocated for it."""
    reader = Reader(io.BytesIO(volcomp.compress(np.zeros((4, 4, 4), "u2"))))
    header, slab = reader.read(SectionId(b"VHDR", 0)), reader.read(SectionId(SLAB, 0, 0))
    at = header.index(b"\x04\x04\x04\x01")  # z, y, x, slabs
    lying = header[:at] + b"\xff\xff\x03\x04\x04\xff\xff\x01" + header[at + 4 :]
    with pytest.raises(DamagedError, match="volume 0 has 1 slabs where its header says 32767"):
        volcomp.decompress(forged(tmp_path, VHDR=lying, SLAB=slab))
