"""Instances: files byte for byte, attributes, values, frames and pictures of every kind of image."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from tests.archive.everything import encapsulated
from tests.archive.mixed import mixed
from tests.helpers import noise
from tests.serve.makers import instance, packed, study, uid
from volcomp.codec import encode
from volcomp.errors import MissingError, UnsupportedError
from volcomp.serve.store import TreeStore
from volcomp.serve.store.instance import Instance


def only(store: TreeStore, name: str) -> Instance:
    (found,) = store.instances(uid(name))
    return found


def one(open_tree: Callable[..., TreeStore], folder: Path, pixels: np.ndarray, **elements: Any) -> tuple[Any, ...]:
    """A store of one instance; the store, the instance, its file."""
    path = instance(folder / "in" / "a.dcm", pixels, "One", **elements)
    packed(folder / "in", folder / "root" / "one.vcz")
    store = open_tree()
    return store, only(store, "One"), path


def test_files_come_back(tree: Path, store: TreeStore) -> None:
    files = {path.read_bytes() for path in (tree / "in").rglob("*.dcm")}
    found = [one for name in ("Alpha", "Beta", "Gamma") for one in store.instances(uid(name))]
    assert {store.file(one) for one in found} == files and len(found) == len(files)
    assert {one.size for one in found} == {len(data) for data in files}


def test_instances_are_in_order_of_their_numbers(store: TreeStore) -> None:
    found = store.instances(uid("Alpha"))
    assert [one.sop for one in found] == [uid("Alpha", s, i) for s in (0, 1) for i in range(4)]
    assert store.instances(uid("Alpha"), uid("Alpha", 1)) == found[4:]
    assert store.instances(uid("Alpha"), uid("Alpha", 1), uid("Alpha", 1, 2)) == [found[6]]
    one = found[0]
    assert (one.study, one.series, one.syntax, one.frames) == (uid("Alpha"), uid("Alpha", 0), ExplicitVRLittleEndian, 1)
    assert one.sop_class == "1.2.840.10008.5.1.4.1.1.2" and one.name == "series0/IM000.dcm" and one.archive


@pytest.mark.parametrize(
    "uids",
    [
        ("1.2",),
        ("\udcff",),
        ("\0", "'", '"'),
        (uid("Alpha"), "1.2"),
        (uid("Alpha"), uid("Alpha", 0), uid("Alpha", 1, 0)),
    ],
)
def test_what_there_is_not(store: TreeStore, uids: tuple[str, ...]) -> None:
    with pytest.raises(MissingError, match="there is no"):
        store.instances(*uids)


def test_metadata_is_what_pydicom_reads(tree: Path, store: TreeStore) -> None:
    for name in ("Alpha", "Gamma"):
        found = store.metadata(store.instances(uid(name))[0], lambda path: f"bulk/{path}")
        json.dumps(found, allow_nan=False)
        assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
        assert not [tag for tag in found if tag.startswith("0002")] and list(found) == sorted(found)
        path = tree / "in" / name[0].replace("G", "C").lower() / "series0" / "IM000.dcm"
        expected = pydicom.dcmread(path, stop_before_pixels=True).to_json_dict()
        del found["7FE00010"]
        assert found == expected | {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}


def test_long_values_are_bulk(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    item, inner = pydicom.Dataset(), pydicom.Dataset()
    inner.add_new(0x00091001, "OB", bytes(range(256)) * 8)
    item.add_new(0x00081140, "SQ", [inner, inner])
    extra = {"ReferencedStudySequence": [item], "EncapsulatedDocument": b"%PDF" * 1000, "ICCProfile": b"ab"}
    store, found, _ = one(open_tree, tmp_path, noise((8, 8), "u2", 0, 99), **extra)
    meta = store.metadata(found, lambda path: f"here/{path}")
    assert meta["00420011"] == {"vr": "OB", "BulkDataURI": "here/00420011"}
    assert meta["00282000"] == {"vr": "OB", "InlineBinary": "YWI="}
    nested = meta["00081110"]["Value"][0]["00081140"]["Value"][1]["00091001"]["BulkDataURI"]
    assert nested == "here/00081110/0/00081140/1/00091001"
    assert store.bulk(found, nested.removeprefix("here/")) == bytes(range(256)) * 8
    assert store.bulk(found, "00420011") == b"%PDF" * 1000
    for path in (
        "00081110/0",
        "00081110/9/00081140",
        "0010",
        "x",
        "",
        "00100099",
        "7FE00009",
        "00081110/-9/00081140",
        "/",
    ):
        with pytest.raises(MissingError):
            store.bulk(found, path)


def test_odd_values_do_no_harm(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    path = instance(tmp_path / "in" / "a.dcm", noise((8, 8)), "One", SliceThickness="1.5")
    data = path.read_bytes()
    assert data.count(b"1.5 ") == 1
    path.write_bytes(data.replace(b"1.5 ", b"abc "))
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00186064, "FD", [float("nan"), 1.0])
    dataset.add_new(0x00189309, "FD", float("inf"))
    dataset.save_as(path)
    packed(tmp_path / "in", tmp_path / "root" / "x.vcz")
    store = open_tree()
    found = store.metadata(only(store, "One"), str)
    json.dumps(found, allow_nan=False)
    assert (
        found["00186064"]["Value"] == [None, 1.0]
        and found["00180050"]["vr"] == "DS"
        and "Value" not in found["00189309"]
    )


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=["little", "big"])
@pytest.mark.parametrize("where", ["archive", "inbox"])
def test_native_frames(
    open_tree: Callable[..., TreeStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, where: str
) -> None:
    monkeypatch.setattr(encode, "SLAB_HEIGHT", 2)
    voxels = noise((6, 8, 10), "u2", 0, 3000)
    store, found, path = one(open_tree, tmp_path, voxels, syntax=syntax)
    if where == "inbox":
        store, found = landed(store, tmp_path, path)
    kind = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    frames = store.frames(found, [6, 1, 1])
    assert frames.syntax == found.syntax == syntax and found.frames == 6
    assert frames.frames == [voxels[n].astype(kind).tobytes() for n in (5, 0, 0)]
    if where == "archive":
        assert store.state["slabs_decoded"] == 2  # of three
    assert store.bulk(found, "7FE00010") == voxels.astype("<u2").tobytes()
    for n in (0, 7, -1):
        with pytest.raises(MissingError, match="frames 1 to 6"):
            store.frames(found, [1, n])
    picture = store.picture(found, 3)
    assert np.array_equal(picture.samples, voxels[2]) and picture.window == (40.0, 400.0)
    assert (picture.slope, picture.intercept, picture.inverted) == (1.0, -1024.0, False)


def landed(store: TreeStore, folder: Path, path: Path) -> tuple[TreeStore, Instance]:
    """Move the only instance from its archive to the inbox."""
    place = folder / "root" / ".volcomp" / "inbox" / ".volcomp" / "instances" / "s" / "x.dcm"
    place.parent.mkdir(parents=True)
    place.write_bytes(path.read_bytes())
    (folder / "root" / "one.vcz").unlink()
    store.refresh()
    found = only(store, "One")
    assert found.archive is None and store.file(found) == path.read_bytes()
    return store, found


@pytest.mark.parametrize("where", ["archive", "inbox"])
@pytest.mark.parametrize(("table", "fragments"), [(True, 1), (False, 1), (True, 2)])
def test_encapsulated_frames(
    open_tree: Callable[..., TreeStore], tmp_path: Path, where: str, table: bool, fragments: int
) -> None:
    voxels = noise((3, 8, 10), "u2", 0, 3000)
    path = instance(tmp_path / "in" / "a.dcm", voxels, "One")
    encapsulated(path, [frame.tobytes() for frame in voxels], table=table, fragments=fragments)
    packed(tmp_path / "in", tmp_path / "root" / "one.vcz")
    store = open_tree()
    found = only(store, "One")
    if where == "inbox":
        store, found = landed(store, tmp_path, path)
    frames = store.frames(found, [3, 1])
    assert frames.frames == [voxels[2].tobytes(), voxels[0].tobytes()] and frames.syntax == found.syntax
    assert np.array_equal(store.picture(found, 2).samples, voxels[1])
    value = store.bulk(found, "7FE00010")
    assert value in path.read_bytes() and all(frame.tobytes()[:60] in value for frame in voxels)


def test_a_deflated_data_set(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    voxels = noise((2, 8, 10), "u2", 0, 3000)
    path = instance(tmp_path / "in" / "a.dcm", voxels, "One")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    packed(tmp_path / "in", tmp_path / "root" / "one.vcz")
    store = open_tree()
    found = only(store, "One")
    for _ in range(2):
        assert found.syntax == DeflatedExplicitVRLittleEndian and store.file(found) == path.read_bytes()
        assert store.frames(found, [2]) == ([voxels[1].tobytes()], ExplicitVRLittleEndian)
        assert store.metadata(found, str)["00280010"]["Value"] == [8]
        assert np.array_equal(store.picture(found, 1).samples, voxels[0])
        if found.archive:
            store, found = landed(store, tmp_path, path)


def test_an_extended_offset_table(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    """Frames of several fragments, told apart by the table of 64 bits alone."""
    pieces = [[b"\1" * 4, b"\2" * 6], [b"\3" * 8], [b"\4" * 2, b"\5" * 2]]
    items = b"\xfe\xff\0\xe0\0\0\0\0" + b"".join(
        b"\xfe\xff\0\xe0" + len(one).to_bytes(4, "little") + one for frame in pieces for one in frame
    )
    offsets = np.array([0, 26, 42], "<u8").tobytes()
    path = instance(tmp_path / "in" / "a.dcm", np.zeros((3, 4, 4), "u1"), "One")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.57"
    dataset.ExtendedOffsetTable = offsets
    dataset.PixelData = items
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    packed(tmp_path / "in", tmp_path / "root" / "one.vcz")
    store = open_tree()
    found = only(store, "One")
    assert store.frames(found, [1, 2, 3]).frames == [b"".join(frame) for frame in pieces]
    with pytest.raises(UnsupportedError, match="cannot be decoded here"):
        store.picture(found, 1)


def test_single_bits_begin_in_a_byte_of_their_own(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, 3, 5), np.uint8)
    raw = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    stated = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "NumberOfFrames": 3, "raw": raw}
    store, found, _ = one(open_tree, tmp_path, np.zeros((3, 5), "u1"), **stated)
    frames = store.frames(found, [1, 2, 3]).frames
    assert frames == [np.packbits(frame.reshape(-1), bitorder="little").tobytes() for frame in bits]
    assert np.array_equal(store.picture(found, 2).samples, bits[1])


def test_signs_and_bits_beyond_the_picture(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    values = np.array([[-3, 5], [-2048, 2047]], "i2")
    raw = ((values & 0xFFF).astype("u2") | 0x5000).astype("<u2").tobytes()
    store, found, _ = one(open_tree, tmp_path, values, raw=raw, stored=12, PhotometricInterpretation="MONOCHROME1")
    picture = store.picture(found, 1)
    assert np.array_equal(picture.samples, values) and picture.inverted


@pytest.mark.parametrize("planar", [0, 1])
def test_colours(open_tree: Callable[..., TreeStore], tmp_path: Path, planar: int) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    raw = (np.moveaxis(rgb, -1, 0) if planar else rgb).tobytes()
    stated = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": planar}
    store, found, _ = one(open_tree, tmp_path, rgb[..., 0], raw=raw, **stated)
    picture = store.picture(found, 1)
    assert np.array_equal(picture.samples, rgb) and picture.window is None


def test_other_colours(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)
    ybr = np.array([[[76, 85, 255], [150, 44, 21]], [[29, 255, 107], [90, 128, 128]]], np.uint8)
    stated = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0}
    store, found, _ = one(open_tree, tmp_path, ybr[..., 0], raw=ybr.tobytes(), **stated)
    assert np.abs(store.picture(found, 1).samples.astype(int) - rgb).max() <= 2


def test_a_palette(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    tables = np.random.default_rng(2).integers(0, 1 << 16, (3, 200)).astype("<u2")
    stated: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        stated[f"{name}PaletteColorLookupTableDescriptor"] = [200, 10, 16]
        stated[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    pixels = np.array([[0, 10, 11], [12, 209, 255]], np.uint8)
    store, found, _ = one(open_tree, tmp_path, pixels, **stated)
    expected = tables[:, np.clip(pixels.astype(int) - 10, 0, 199)] >> 8
    assert np.array_equal(store.picture(found, 1).samples, np.moveaxis(expected, 0, -1))


def test_what_is_no_image(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    path = instance(tmp_path / "in" / "a.dcm", noise((4, 4)), "One")
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    packed(tmp_path / "in", tmp_path / "root" / "one.vcz")
    store = open_tree()
    found = only(store, "One")
    assert found.frames == 0 and "7FE00010" not in store.metadata(found, str) and store.file(found) == path.read_bytes()
    for ask in (
        lambda: store.frames(found, [1]),
        lambda: store.picture(found, 1),
        lambda: store.bulk(found, "7FE00010"),
    ):
        with pytest.raises(MissingError):
            ask()


def test_elements_after_the_pixels(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    path = instance(tmp_path / "in" / "a.dcm", np.arange(15, dtype="u1").reshape(3, 5), "One")  # an odd number of bytes
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x7FE10011, "LO", "late")
    dataset.add_new(0xFFFCFFFC, "OB", b"\0" * 10)
    dataset.save_as(path)
    packed(tmp_path / "in", tmp_path / "root" / "one.vcz")
    store = open_tree()
    found = only(store, "One")
    for _ in range(2):
        meta = store.metadata(found, str)
        assert meta["7FE10011"] == {"vr": "LO", "Value": ["late"]} and "FFFCFFFC" not in meta
        assert store.frames(found, [1]).frames == [bytes(range(15))]
        if found.archive:
            store, found = landed(store, tmp_path, path)


def test_every_kind_of_image(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    """What archives make of frames one by one is what is cut out of the file, in the archive and in the inbox."""
    mixed(tmp_path / "all")
    count = 0
    inbox = tmp_path / "root" / ".volcomp" / "inbox" / ".volcomp" / "instances" / "copies"
    inbox.mkdir(parents=True)
    for path in sorted((tmp_path / "all").rglob("*")):
        try:
            dataset = pydicom.dcmread(path)
            dataset.PixelData  # noqa: B018
        except Exception:
            continue
        if dataset.file_meta.get("TransferSyntaxUID") is None:
            continue
        dataset.StudyInstanceUID, dataset.SOPInstanceUID = uid("Many"), uid("many", count)
        target = tmp_path / "in" / f"{count}.dcm"
        target.parent.mkdir(exist_ok=True)
        try:
            dataset.save_as(target, enforce_file_format=False)
        except Exception:
            continue
        count += 1
        other = pydicom.dcmread(target)
        other.StudyInstanceUID = uid("Landed")
        other.SOPInstanceUID = uid("landed", count - 1)
        other.save_as(inbox / target.name, enforce_file_format=False)
    assert count > 30
    packed(tmp_path / "in", tmp_path / "root" / "many.vcz")
    store = open_tree()
    of_archive = {one.sop: one for one in store.instances(uid("Many"))}
    of_inbox = {one.sop: one for one in store.instances(uid("Landed"))}
    assert len(of_archive) == len(of_inbox) == count
    compared = 0
    for n in range(count):
        first, second = of_archive[uid("many", n)], of_inbox[uid("landed", n)]
        assert store.file(first) == (tmp_path / "in" / f"{n}.dcm").read_bytes()
        assert (first.frames, first.syntax) == (second.frames, second.syntax)
        for k in {1, first.frames}:
            compared += outcome(store, first, k) == outcome(store, second, k)
            assert outcome(store, first, k) == outcome(store, second, k), first.name
    assert compared > 30


def outcome(store: TreeStore, found: Instance, k: int) -> tuple[Any, ...]:
    """A frame and its picture, or the errors."""
    results: list[Any] = []
    for ask in (lambda: store.frames(found, [k]), lambda: store.picture(found, k)):
        try:
            result: Any = ask()
            results.append([repr(one.tolist()) if isinstance(one, np.ndarray) else one for one in result])
        except Exception as error:
            results.append(type(error))
    return tuple(map(repr, results))


def test_many_threads_decode_a_slab_once(tree: Path, open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    study(tmp_path / "in", "Many", slices=12, size=32)
    packed(tmp_path / "in", tmp_path / "root" / "x.vcz")
    store = open_tree()
    found = store.instances(uid("Many")) * 8
    barrier = threading.Barrier(16)

    def ask(one: Instance) -> bytes:
        barrier.wait()
        return store.file(one)

    with ThreadPoolExecutor(16) as pool:
        for one, data in zip(found, pool.map(ask, found), strict=True):
            assert pydicom.dcmread(BytesIO(data)).SOPInstanceUID == one.sop
    assert store.state["slabs_decoded"] == 1


def test_memory_is_bounded(open_tree: Callable[..., TreeStore], tmp_path: Path) -> None:
    """Slabs of all archives together."""
    for k in range(4):
        study(tmp_path / "in" / str(k), f"Study{k}", slices=4, size=64)
        packed(tmp_path / "in" / str(k), tmp_path / "root" / f"{k}.vcz")
    store = open_tree(memory=1 << 18)  # slabs are 32 KiB each, and may take 48 KiB
    for _ in range(2):
        for k in range(4):
            assert len(store.file(store.instances(uid(f"Study{k}"))[0])) > 8192
            assert 0 < store.state["slab_bytes"] <= 48 << 10
    assert store.state["slabs_decoded"] == 8
