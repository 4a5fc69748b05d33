"""Archives of format version 4 that earlier releases wrote come back, whatever becomes of encoders."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import volcomp
from tests.archive.everything import everything
from tests.archive.write_golden import GOLDEN, digests, facts, write
from tests.helpers import ONE, noise
from volcomp.archive.entry import Kind, Stored, Voxels
from volcomp.archive.opening import manifest_of
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import FORMAT_VERSION, SERIES_VERSION, Reader
from volcomp.container.volume import Order, read_volume, volume_numbers

NAMES = sorted(path.name[: -len(".facts.json")] for path in GOLDEN.glob("*.facts.json"))


def listed(name: str, suffix: str):
    return json.loads((GOLDEN / (name + suffix)).read_text())


@pytest.mark.parametrize("name", NAMES)
def test_all_comes_back(name, tmp_path):
    """Bytes, links, times and permissions."""
    restore(GOLDEN / f"{name}.vcz", tmp_path / "out", options=ONE)
    assert digests(tmp_path / "out") == listed(name, ".json")
    expected = listed(name, ".facts.json")
    itself = {".": facts(tmp_path / "out")["."]} if "." not in expected else {}  # 0.10.0 kept nothing of it
    assert facts(tmp_path / "out") == expected | itself
    verify(GOLDEN / f"{name}.vcz", options=ONE)


def test_series_in_time_come_back(tmp_path):
    """In all orders."""
    restore(GOLDEN / "0.12.0-times.vcz", tmp_path / "out", options=ONE)
    assert digests(tmp_path / "out") == listed("0.12.0-times", ".json")
    verify(GOLDEN / "0.12.0-times.vcz", options=ONE)
    with (GOLDEN / "0.12.0-times.vcz").open("rb") as file:
        reader = Reader(file)
        found = [read_volume(reader, number) for number in volume_numbers(reader)]
        assert reader.version == SERIES_VERSION
    assert {volume.times.order for volume in found if volume.times} == set(Order)
    assert any(volume.key is not None for volume in found)


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_what_an_archive_can(name):
    with (GOLDEN / f"{name}.vcz").open("rb") as file:
        reader = Reader(file)
        assert reader.version == FORMAT_VERSION
        entries = manifest_of(reader).entries
    files = {entry.name: entry for entry in entries if entry.kind == Kind.FILE}
    images = {name: entry.place for name, entry in files.items() if isinstance(entry.place, Voxels)}
    later = {6, 7} if "." in listed(name, ".facts.json") else set()
    assert {place.body for place in images.values()} >= {0, 1, 2, 3} | later
    assert {place.planes for place in images.values()} >= {1, 2, 3}
    assert images["ct/IM0001.dcm"] == images["copy/IM0001.dcm"]
    renamed = images["renamed/IM0001.dcm"]
    slices = {field: getattr(renamed, field) for field in ("volume", "first", "frames")}
    assert renamed != images["ct/IM0001.dcm"] == replace(images["ct/IM0001.dcm"], **slices)
    whole = [entry for entry in files.values() if isinstance(entry.place, Stored)]
    assert len(whole) > len({entry.place for entry in whole}) > 2
    assert Counter(entry.kind for entry in entries)[Kind.LINK] == 3
    assert all(entry.mtime is not None and entry.mode is not None for entry in entries if entry.kind != Kind.LINK)
    assert any(entry.mtime < 0 for entry in entries)


@pytest.mark.parametrize("name", NAMES)
def test_its_volumes_can_be_had_as_arrays(name):
    with (GOLDEN / f"{name}.vcz").open("rb") as file:
        place = next(entry.place for entry in manifest_of(Reader(file)).files if entry.name == "ct/IM0001.dcm")
    voxels = volcomp.decompress(GOLDEN / f"{name}.vcz", volume=place.volume, threads=1)
    assert np.array_equal(voxels, noise((4, 6, 6)))


def test_what_is_archived_now_comes_back_as_well(tmp_path):
    """The folder of the golden archives, and lists that are written for it."""
    write("now", tmp_path)
    everything(tmp_path / "in")
    restore(tmp_path / "now.vcz", tmp_path / "out", options=ONE)
    assert digests(tmp_path / "out") == digests(tmp_path / "in") == json.loads((tmp_path / "now.json").read_text())
    assert facts(tmp_path / "out") == facts(tmp_path / "in") == json.loads((tmp_path / "now.facts.json").read_text())
    shutil.rmtree(tmp_path / "in")
