"""What is in a folder several times is in its archive once."""

import os
import shutil

import numpy as np

from tests.helpers import ONE, compress, contents, image, noise, series
from volcomp.archive import bytes_codec, header_reader, whole
from volcomp.archive.describe import describe
from volcomp.archive.entry import Stored, Voxels
from volcomp.archive.opening import manifest_of
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import BLOB, Reader
from volcomp.formats import registry
from volcomp.formats.protocol import Format, Image

A_NAME = 40  # bytes that one more name may cost: its packed letters, time and place; no digest


def archived(folder, archive):
    """Compress, verify, restore and compare; returns the entries and the size of the archive."""
    compress([folder], archive)
    verify(archive, options=ONE)
    restore(archive, archive.with_suffix(".out"), options=ONE)
    assert contents(archive.with_suffix(".out")) == contents(folder)
    with archive.open("rb") as file:
        return {entry.name: entry for entry in manifest_of(Reader(file)).files}, archive.stat().st_size


def test_a_file_three_times(tmp_path):
    """Of some bytes, of nothing, and of more than is read for its digest before it is known that there is a copy."""
    random = np.random.default_rng(0)
    for size in (0, 5000, (1 << 20) + 1):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "a").write_bytes(random.bytes(size))
        _, once = archived(folder, tmp_path / f"{size}-1.vcz")
        shutil.copy(folder / "a", folder / "b")
        (folder / "sub").mkdir()
        shutil.copy(folder / "a", folder / "sub" / "c")
        entries, thrice = archived(folder, tmp_path / f"{size}-3.vcz")
        assert len({entry.place for entry in entries.values()}) == 1
        assert thrice - once < 3 * A_NAME


def test_many_empty_files(tmp_path):
    for i in range(300):
        (tmp_path / "in" / str(i % 7)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / str(i % 7) / f"empty{i}").write_bytes(b"")
    entries, size = archived(tmp_path / "in", tmp_path / "x.vcz")
    assert len(entries) == 300 and size < 300 * A_NAME
    assert {entry.place for entry in entries.values()} == {Stored(0, 0)}


def test_a_series_in_two_folders(tmp_path):
    folder = tmp_path / "in"
    series(folder / "a", 30, size=32)
    _, once = archived(folder, tmp_path / "1.vcz")
    shutil.copytree(folder / "a", folder / "b")
    entries, twice = archived(folder, tmp_path / "2.vcz")
    assert twice - once < 31 * A_NAME
    assert all(entries[f"a/IM{i:04d}.dcm"].place == entries[f"b/IM{i:04d}.dcm"].place for i in range(1, 31))


def test_pictures_with_other_headers(tmp_path):
    """As an anonymised copy has them: names and numbers differ, voxels do not. Only the headers are there twice."""
    folder = tmp_path / "in"
    series(folder / "a", 30, size=32, PatientName="A^B")
    _, once = archived(folder, tmp_path / "1.vcz")
    series(folder / "b", 30, size=32, PatientName="anonymous", series="9.9.9")
    entries, twice = archived(folder, tmp_path / "2.vcz")
    found = describe(tmp_path / "2.vcz")
    assert [volume["shape"] for volume in found["volumes"]] == [(30, 32, 32)]
    assert found["volumes"][0]["files"] == 60
    assert twice - once < 30 * (32 + A_NAME) < found["volumes"][0]["bytes"]
    for i in range(1, 31):
        one, other = (entries[f"{name}/IM{i:04d}.dcm"].place for name in "ab")
        assert isinstance(one, Voxels) and (one.volume, one.first) == (other.volume, other.first)
        assert (one.table, one.row) != (other.table, other.row)


def test_pictures_of_other_shapes_or_types_are_no_copies(tmp_path):
    """Of the same bytes: 4 × 6 and 6 × 4, 8 and 16 bits, one frame and two."""
    folder = tmp_path / "in"
    words = noise((4, 6), "u2", 0, 99)
    image(folder / "a", words, series="1.1")
    image(folder / "b", words.reshape(6, 4), series="1.2")
    image(folder / "c", words.view("u1"), series="1.3")
    image(folder / "d", words.reshape(2, 2, 6), series="1.4")
    image(folder / "e", words.byteswap(), series="1.5", syntax="1.2.840.10008.1.2.2", raw=words.tobytes())
    entries, _ = archived(folder, tmp_path / "x.vcz")
    assert len({(entry.place.volume, entry.place.first) for entry in entries.values()}) == 5


def test_the_type_of_words_does_not_matter(tmp_path):
    """Signed in one header, unsigned in the other; little-endian and big-endian: the same picture."""
    words = noise((4, 6), "u2", 0, 99)
    image(tmp_path / "in" / "a", words, series="1.1")
    image(tmp_path / "in" / "b", words.astype("i2"), series="1.2")
    image(tmp_path / "in" / "c", words, series="1.3", syntax="1.2.840.10008.1.2.2")
    entries, _ = archived(tmp_path / "in", tmp_path / "x.vcz")
    assert len(describe(tmp_path / "x.vcz")["volumes"]) == 1
    assert [entries[name].place.body for name in "abc"] == [0, 0, 1]


def test_a_picture_twice_in_its_own_series(tmp_path):
    """The copy has no slice of its own, and the slices after it move up."""
    folder = tmp_path / "in"
    for z, seed in enumerate((0, 1, 1, 2, 0)):
        image(folder / f"{z}", noise((5, 6), seed=seed), z=z)
    entries, _ = archived(folder, tmp_path / "x.vcz")
    assert [entries[str(z)].place.first for z in range(5)] == [0, 1, 1, 2, 0]
    assert describe(tmp_path / "x.vcz")["volumes"][0]["shape"] == (3, 5, 6)
    restore(tmp_path / "x.vcz", tmp_path / "part", slices=slice(1, 2), options=ONE)
    assert contents(tmp_path / "part").keys() == {"1", "2"}


def test_copies_across_chunks(tmp_path, monkeypatch):
    """Files larger than a chunk, and those that begin in one and end in the next, are stored once."""
    for module in (whole, bytes_codec, header_reader):
        monkeypatch.setattr(module, "CHUNK_BYTES", 4000)
    monkeypatch.setattr(whole, "_SMALL_BYTES", 100)
    random = np.random.default_rng(0)
    texts = [random.bytes(size) for size in (3000, 3000, 9000, 50, 4000)]
    for i, text in enumerate(texts * 2):
        (tmp_path / "in" / f"{i // 5}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / f"{i // 5}" / f"{i % 5}").write_bytes(text)
    entries, _ = archived(tmp_path / "in", tmp_path / "x.vcz")
    assert all(entries[f"0/{i}"].place == entries[f"1/{i}"].place for i in range(5))
    with (tmp_path / "x.vcz").open("rb") as file:
        assert sum(section.tag == BLOB for section in Reader(file).places) == 5


def test_a_file_larger_than_a_chunk(tmp_path):
    """33 MiB, twice: of the size that a chunk has in files."""
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "a").open("wb") as file:
        file.truncate(33 << 20)
        file.seek(-5, os.SEEK_END)
        file.write(b"the end")
    shutil.copy(tmp_path / "in" / "a", tmp_path / "in" / "b")
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    with (tmp_path / "x.vcz").open("rb") as file:
        reader = Reader(file)
        assert [section.major for section in reader.places if section.tag == BLOB] == [0, 1]
        assert {entry.place for entry in manifest_of(reader).files} == {Stored(0, (33 << 20) + 2)}


def test_a_file_that_is_given_up_is_stored_once_as_well(tmp_path, monkeypatch):
    """Images whose format could not say how to make them again."""

    class Odd(Format):
        def sniff(self, head):
            return head.startswith(b"ODD")

        def read(self, path, name, file):
            size = path.stat().st_size
            return Image(self, path, name, size, 3, 1, 2, 1, 8, False, False) if size < 40 << 20 else None

    monkeypatch.setattr(registry, "FORMATS", (*registry.FORMATS, Odd()))
    monkeypatch.setattr("volcomp.archive.stack.MAX_RECORD_BYTES", 10)
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / name).write_bytes(b"ODD" + bytes(100))
    (tmp_path / "in" / "c").write_bytes(b"ODD" + bytes(5))
    entries, _ = archived(tmp_path / "in", tmp_path / "x.vcz")
    assert entries["a"].place == entries["b"].place == Stored(0, 103) and isinstance(entries["c"].place, Voxels)
    assert entries["a"].note == "it has too many bytes around its voxels"
    assert describe(tmp_path / "x.vcz")["not_coded"] == {entries["a"].note: 2}
