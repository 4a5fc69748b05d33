"""What pages are made of: searches, rows, stacks of slices, values, names of downloads."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from volcomp.errors import MissingError, UnsupportedError
from volcomp.serve.settings import Settings
from volcomp.serve.store.instance import Instance
from volcomp.serve.store.protocol import Holding
from volcomp.serve.web import downloads, listing, voxels
from volcomp.serve.web.site import attached, number, size
from volcomp.serve.web.stacks import Stacks, slices_of, stacks_of
from volcomp.serve.web.workroom import Workroom

from . import fakes, scenes


@pytest.fixture(scope="module")
def store(scene: dict[Path, Path]) -> fakes.FakeStore:
    return fakes.FakeStore(scene)


def test_a_search_becomes_a_query() -> None:
    search = listing.Search.of(
        {
            "name": " anna  b ",
            "modality": "ct",
            "since": "2026-01-02",
            "page": "3",
            "id": "S-?",
            "rest": "x",
            "until": "",
        }
    )
    assert search.query.match == {
        "00100010": "*anna b*", "00080061": "CT", "00100020": "S-?\\s-?", "00080020": "20260102-",
    }  # fmt: skip
    assert (search.query.limit, search.query.offset, search.query.fuzzy) == (25, 50, True)
    assert search.at(4) == "name=anna+b&id=S-%3F&modality=ct&since=2026-01-02&page=4"
    assert listing.Search.of({"page": "-1"}).page == 1 and listing.Search.of({"page": "9" * 50}).page == 100_000


def test_descriptions_are_found_in_large_and_small_letters() -> None:
    match = listing.Search.of({"description": "chest x-ray"}).query.match["00081030"].split("\\")
    assert {"*chest x-ray*", "*CHEST X-RAY*", "*Chest X-ray*", "*Chest X-Ray*", "*chest X-RAY*"} <= set(match)
    long = listing.Search.of({"description": "one two three four five six seven eight \\ nine"}).query.match["00081030"]
    assert len(long) < 1024 and long.count("\\") > 3


def test_values_are_shown_as_people_write_them() -> None:
    found = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane^Q^^Dr"}]},
        "00080020": {"vr": "DA", "Value": ["20260314"]},
        "00080021": {"vr": "DA", "Value": ["spring"]},
        "00080061": {"vr": "CS", "Value": ["CT", None, "MR"]},
        "00100020": {"vr": "LO"},
    }
    assert listing.text(found, "00100010") == "Doe, Jane Q Dr"
    assert (listing.date(found, "00080020"), listing.date(found, "00080021")) == ("2026-03-14", "spring")
    assert (listing.text(found, "00080061"), listing.text(found, "00100020")) == ("CT, MR", "")


def test_sizes_are_added_up() -> None:
    holdings = [Holding(Path("a"), 2, 3000, 1000, 2000), Holding(Path("b"), 1, 1000, 600, 0)]
    found = listing.sizes(holdings)
    assert (found.files, found.ratio, found.bits) == (3, 2.5, 8 * 1600 / 2000)
    assert listing.Sizes().ratio is None and listing.Sizes(1, 5, 3).bits is None
    assert [size(n) for n in (0, 999, 1000, 1234, 12345, 123456, 999_600, 5 << 30)] == [
        "0 B", "999 B", "1 kB", "1.23 kB", "12.3 kB", "123 kB", "1 MB", "5.37 GB",
    ]  # fmt: skip
    assert (number(None), number(2.0)) == ("–", "2.00")


def test_slices_lie_in_the_order_of_their_places(store: fakes.FakeStore) -> None:
    (stack,) = Stacks(store).of(scenes.STUDY, scenes.SAGITTAL)
    assert stack.shape == (12, 24, 16) and stack.even and stack.type == np.int16
    # The normal of rows (to the back) and columns (to the feet) points to the patient's right: x decreases.
    assert [one.position[0] for one in stack.slices] == [3.0 * k for k in range(11, -1, -1)]
    assert stack.affine is not None
    # Rows run to the patient's back, columns to the feet: RAS of voxel (1, 2, k) less that of (0, 0, k).
    step = stack.affine @ [1, 2, 0, 0]
    assert np.allclose(step[:3], [0, -0.5, -1.0])
    first = stack.affine @ [0, 0, 0, 1]
    assert np.allclose(first[:3], [-stack.first.position[0], 0, 0])
    assert stack.spacing == (3.0, 0.5, 0.5)


def test_values_are_those_after_rescaling(store: fakes.FakeStore) -> None:
    (stack,) = Stacks(store).of(scenes.STUDY, scenes.CT)
    data = voxels.numbers(store, stack, 3, 6, stack.type)
    pixels = [store._files[one.instance.sop][1].pixel_array.astype(int) - 1024 for one in stack.slices[3:6]]
    assert stack.type == np.int16
    assert np.array_equal(np.frombuffer(data, "<i2").reshape(3, *stack.shape[1:]), pixels)
    floats = voxels.numbers(store, stack, 3, 4, np.dtype(np.float32))
    assert np.array_equal(np.frombuffer(floats, "<f4").reshape(stack.shape[1:]), pixels[0])


def test_numbers_that_do_not_fit_are_refused(store: fakes.FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    (stack,) = Stacks(store).of(scenes.STUDY, scenes.CT)
    for first, end in ((-1, 2), (0, 99), (4, 4)):
        with pytest.raises(UnsupportedError, match="there are slices 0 to 19"):
            voxels.numbers(store, stack, first, end, stack.type)
    with pytest.raises(UnsupportedError, match="beyond uint16"):
        voxels.numbers(store, stack, 0, 1, np.dtype(np.uint16))
    monkeypatch.setattr(voxels, "MOST_BYTES", 10_000)
    with pytest.raises(UnsupportedError, match="ask for fewer"):
        voxels.numbers(store, stack, 0, 2, stack.type)
    (colour,) = Stacks(store).of(scenes.OTHER, scenes.COLOUR)
    with pytest.raises(UnsupportedError, match="colour"):
        voxels.numbers(store, colour, 0, 1, np.dtype(np.float32))


def test_pictures_are_windowed_as_the_standard_says(store: fakes.FakeStore) -> None:
    (stack,) = Stacks(store).of(scenes.STUDY, scenes.CT)
    values = np.frombuffer(voxels.numbers(store, stack, 10, 11, stack.type), "<i2").reshape(stack.shape[1:])
    seen = np.asarray(Image.open(io.BytesIO(voxels.png(store, stack, 10, (40.0, 400.0)))))
    # PS3.3, C.11.2.1.2.1, the linear function with y from 0 to 255.
    wanted = ((values - 39.5) / 399 + 0.5) * 255
    assert np.array_equal(seen, np.rint(wanted.clip(0, 255)))
    assert seen.min() == 0 and seen.max() == 255


def test_inverted_and_coloured_pictures(store: fakes.FakeStore) -> None:
    (stack,) = Stacks(store).of(scenes.OTHER, scenes.XRAY)
    assert stack.first.inverted and stack.affine is None and stack.type == np.int16
    seen = np.asarray(Image.open(io.BytesIO(voxels.png(store, stack, 0, None))))
    assert seen[100, 80] < 10 and seen[0, 0] > 240  # the greatest value is black
    (colour,) = Stacks(store).of(scenes.OTHER, scenes.COLOUR)
    assert np.asarray(Image.open(io.BytesIO(voxels.png(store, colour, 0, None)))).tolist()[3][4] == [20, 18, 0]
    small = Image.open(io.BytesIO(voxels.png(store, colour, 0, None, 25)))
    assert small.size == (25, 20)


def header(k: int, **more: object) -> dict[str, object]:
    found = {
        "00280010": {"vr": "US", "Value": [4]}, "00280011": {"vr": "US", "Value": [6]},
        "00200032": {"vr": "DS", "Value": [0, 0, 2.0 * k]}, "00200037": {"vr": "DS", "Value": [1, 0, 0, 0, 1, 0]},
        "00280030": {"vr": "DS", "Value": [0.7, 0.6]}, "00280101": {"vr": "US", "Value": [12]},
    }  # fmt: skip
    return {**found, **more}


def instance(k: int, frames: int = 1) -> Instance:
    return Instance("1", "1.2", f"1.2.{k}", "1.9", "1.2.840.10008.1.2.1", 100, frames, None, f"{k}")


def test_several_sizes_and_directions_are_several_stacks() -> None:
    slices = [one for k in range(5) for one in slices_of(instance(k), header(k))]
    scout = [replace(slices[0], orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0))]
    small = [replace(slices[0], shape=(2, 2))]
    assert [len(stack.slices) for stack in stacks_of(scout + slices[::-1] + small)] == [5, 1, 1]
    assert [one.instance.sop for one in stacks_of(slices[::-1])[0].slices] == [f"1.2.{k}" for k in range(5)]


def test_slices_that_are_unevenly_spaced_have_places_of_their_own() -> None:
    slices = [one for k in (0, 1, 2, 5) for one in slices_of(instance(k), header(k))]
    (stack,) = stacks_of(slices)
    assert not stack.even and stack.origins == [[0, 0, 2.0 * k] for k in (0, 1, 2, 5)]
    assert stack.affine is not None and np.allclose(stack.affine @ [0, 0, 3, 1], [0, 0, 10, 1])


def test_time_points_keep_the_order_of_their_numbers_and_have_no_place() -> None:
    slices = [one for k in range(6) for one in slices_of(instance(k), header(k % 3))]
    (stack,) = stacks_of(slices)
    assert [one.instance.sop for one in stack.slices] == [f"1.2.{k}" for k in range(6)] and stack.affine is None


def test_frames_of_an_enhanced_image_have_places_of_their_own() -> None:
    each = [
        {
            "00209113": {"vr": "SQ", "Value": [{"00200032": {"vr": "DS", "Value": [0, 0, -4.0 * k]}}]},
            "00289145": {"vr": "SQ", "Value": [{"00281053": {"vr": "DS", "Value": [1.5]}}]},
        }
        for k in range(3)
    ]
    shared = {"00289110": {"vr": "SQ", "Value": [{"00280030": {"vr": "DS", "Value": [2.0, 3.0]}}]}}
    enhanced = header(0, **{"52009229": {"Value": [shared]}, "52009230": {"Value": each}})
    (stack,) = stacks_of(list(slices_of(instance(0, 3), enhanced)))
    assert [one.frame for one in stack.slices] == [3, 2, 1] and stack.spacing == (4.0, 2.0, 3.0)
    assert stack.type == np.float32  # since 1.5 is no whole number


@pytest.mark.parametrize(
    "change",
    [
        {"00200032": {"Value": ["x", 1, 2]}}, {"00200032": {"Value": [1, 2]}}, {"00200037": {}},
        {"00200032": {"Value": [float("nan"), 1, 2]}},
    ],
)  # fmt: skip
def test_headers_that_make_no_sense_give_no_place(change: dict[str, object]) -> None:
    (stack,) = stacks_of([one for k in range(3) for one in slices_of(instance(k), header(k, **change))])
    assert stack.affine is None and len(stack.slices) == 3


def test_what_has_no_pixels_is_no_slice() -> None:
    assert list(slices_of(instance(0), {})) == [] and stacks_of([]) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("IM0001.dcm", "IM0001.dcm"), ("../../etc/passwd", "passwd"), ("a\\b:c.dcm", "b_c.dcm"),
        ("NUL.dcm", "_NUL.dcm"), ("..", "file"), ("Ä ö.dcm", "Ä ö.dcm"), ("a\nb", "a_b"), ("x" * 300, "x" * 120),
    ],
)  # fmt: skip
def test_names_are_safe(name: str, safe: str) -> None:
    assert downloads.safe_name(name) == safe


def test_paths_are_relative_and_names_are_told_apart() -> None:
    assert downloads.safe_path("/a/../b/./c.dcm") == "a/b/c.dcm"
    assert list(downloads.unique(["a.dcm", "A.dcm", "b/a.dcm", "a.dcm"])) == ["a.dcm", "A-2.dcm", "b/a.dcm", "a-3.dcm"]
    assert attached('ä"b.zip')["Content-Disposition"] == (
        "attachment; filename=\"__b.zip\"; filename*=UTF-8''%C3%A4%22b.zip"
    )


def test_a_zip_is_made_piece_by_piece_with_one_file_in_memory() -> None:
    taken = []

    def files():
        for k in range(5):
            taken.append(k)
            yield f"{k}.bin", bytes([k]) * (3 << 20)

    pieces = downloads.zipped(files())
    first = next(pieces)
    assert taken == [0] and len(first) <= (1 << 20) + 200
    sizes, data = [len(first)], io.BytesIO(first)
    data.seek(0, 2)
    for piece in pieces:
        sizes.append(len(piece))
        data.write(piece)
    assert max(sizes) <= (1 << 20) + 1000
    with zipfile.ZipFile(data) as archive:
        assert archive.testzip() is None
        assert [archive.read(f"{k}.bin") for k in range(5)] == [bytes([k]) * (3 << 20) for k in range(5)]


def test_originals_come_byte_for_byte(store: fakes.FakeStore, scene: dict[Path, Path]) -> None:
    data = b"".join(downloads.originals(store, store.instances(scenes.STUDY)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    folders = {folder.name: folder for folder in scene}
    wanted = {f"{scenes.CT}/{path.name}": path.read_bytes() for path in folders["ct"].iterdir()}
    wanted |= {f"{scenes.SAGITTAL}/{path.name}": path.read_bytes() for path in folders["sagittal"].iterdir()}
    assert found == wanted


def test_a_series_without_an_archive_has_no_volume(store: fakes.FakeStore, tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        downloads.nifti(store, scenes.STUDY, scenes.CT, 1, tmp_path)
    with pytest.raises(MissingError):
        downloads.archive_of(store, scenes.STUDY, scenes.CT, 1)


def test_a_workroom_is_private_and_leaves_nothing(tmp_path: Path) -> None:
    room = Workroom(Settings(tmp_path))
    assert list(tmp_path.iterdir()) == []
    with room.folder() as folder:
        assert (folder.stat().st_mode & 0o777, folder.is_relative_to(tmp_path / ".volcomp")) == (0o700, True)
        assert folder.parent.parent.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    room.new()
    room.close()
    assert list((tmp_path / ".volcomp").iterdir()) == []


def test_work_is_done_elsewhere_where_the_tree_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    for settings in (Settings(tmp_path / "tree", read_only=True), Settings(tmp_path / "tree" / "gone")):
        room = Workroom(settings)
        monkeypatch.setattr(Path, "mkdir", refuses(tmp_path / "tree"))
        with room.folder() as folder:
            assert folder.is_relative_to(tmp_path / "temporary")
        room.close()
        assert list((tmp_path / "temporary").iterdir()) == list((tmp_path / "tree").iterdir()) == []
        monkeypatch.undo()
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))


def refuses(folder: Path) -> Any:
    """Return what makes folders, but none in this one."""
    make = Path.mkdir

    def mkdir(self: Path, *given: Any, **named: Any) -> None:
        if self.is_relative_to(folder):
            raise PermissionError(13, "Permission denied")
        make(self, *given, **named)

    return mkdir


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import os, sys; from pathlib import Path; from volcomp.serve.settings import Settings; "
        "from volcomp.serve.web.workroom import Workroom; room = Workroom(Settings(Path(sys.argv[1]))); "
        "(room.new() / 'patient.dcm').write_bytes(b'secret'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert any((tmp_path / ".volcomp").rglob("patient.dcm"))
    first = Workroom(Settings(tmp_path))
    assert not any((tmp_path / ".volcomp").iterdir())
    kept = first.new()
    Workroom(Settings(tmp_path))  # a second server on the tree leaves the folder of the first alone
    assert kept.exists()
    first.close()
