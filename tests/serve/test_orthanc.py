"""Orthanc, with its DICOMweb plugin, as a client: it searches, fetches and hands in; and what it stores is asked for by
the same client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("starlette", reason="the extra volcomp[serve] is not installed")

from dicomweb_client.api import DICOMwebClient

from benchmarks import orthanc
from tests import peers
from tests.serve import makers
from tests.serve.running import WAIT, served, settings
from volcomp.serve.inbox import open_inbox
from volcomp.serve.store import TreeStore, open_store

NAME, NEW = "there", "new"  # studies: one in an archive, one that is handed in
# Attributes in which metadata differ: URLs of the server, the characters of JSON, what it can send (PS3.18).
OWN = {"7FE00010", "00081190", "00080005", "00083002"}


class Both(NamedTuple):
    """Two servers, and the files of the study that each has in the beginning, by SOP Instance UID."""

    url: str
    store: TreeStore
    orthanc: orthanc.Orthanc
    ours: dict[str, bytes]
    theirs: dict[str, bytes]


def contents(folder: Path, name: str) -> dict[str, bytes]:
    """The files of a study of two series, by SOP Instance UID."""
    makers.study(folder, name, series=2, slices=3)
    return {
        makers.uid(name, s, i): (folder / f"series{s}" / f"IM{i:03d}.dcm").read_bytes()
        for s in range(2)
        for i in range(3)
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Volcomp with one study, and Orthanc with another, which knows volcomp by the name "volcomp"."""
    if why := orthanc.missing():
        peers.missing(why)
    folder = tmp_path_factory.mktemp("peers")
    tree = folder / "tree"
    tree.mkdir()
    ours = contents(folder / NAME, NAME)
    makers.packed(folder / NAME, tree / "there.vcz")
    theirs = contents(folder / NEW, NEW)
    own = settings(tree, quiet=0.5)
    store = open_store(own)
    store.refresh()
    with (
        served(store, open_inbox(store, own), own) as url,
        orthanc.running(folder / "orthanc", {"volcomp": f"{url}/dicom-web"}) as other,
    ):
        other.take(sorted((folder / NEW).rglob("*.dcm")))
        yield Both(url, store, other, ours, theirs)


def asked(both: Both, what: str, **body: Any) -> Any:
    """What the plugin makes of a task with volcomp as the other side."""
    return both.orthanc.ask(f"/dicom-web/servers/volcomp/{what}", body)


def test_it_searches(both: Both) -> None:
    (study,) = asked(both, "qido", Uri="/studies", Arguments={"PatientID": f"P-{NAME}", "00081030": "study*"})
    assert study["0020000D"]["Value"] == makers.uid(NAME)
    found = asked(both, "qido", Uri=f"/studies/{makers.uid(NAME)}/instances")
    assert {one["00080018"]["Value"] for one in found} == set(both.ours)
    assert asked(both, "qido", Uri="/studies", Arguments={"PatientID": "nobody"}) == []


def test_it_fetches_every_byte(both: Both) -> None:
    done = asked(both, "retrieve", Resources=[{"Study": makers.uid(NAME)}], Synchronous=True)
    assert done["ReceivedInstancesCount"] == str(len(both.ours)) or done["ReceivedInstancesCount"] == len(both.ours)
    for sop, content in both.ours.items():
        (found,) = both.orthanc.ask("/tools/lookup", sop.encode())
        with orthanc.opened(f"{both.orthanc.url}{found['Path']}/file") as answer:
            assert answer.read() == content


def test_it_hands_in_what_is_then_an_archive(both: Both) -> None:
    (found,) = both.orthanc.ask("/tools/lookup", makers.uid(NEW).encode())
    asked(both, "stow", Resources=[found["ID"]], Synchronous=True)
    study, end = makers.uid(NEW), time.monotonic() + WAIT
    assert {one.sop for one in both.store.instances(study)} == set(both.theirs)  # at once
    while any(one.archive is None for one in both.store.instances(study)) and time.monotonic() < end:
        time.sleep(0.05)
    for one in both.store.instances(study):
        assert one.archive is not None
        assert both.store.file(one) == both.theirs[one.sop]


def test_one_client_gets_the_same_of_both(both: Both) -> None:
    study = makers.uid(NAME)
    asked(both, "retrieve", Resources=[{"Study": study}], Synchronous=True)
    of_ours, of_theirs = DICOMwebClient(f"{both.url}/dicom-web"), DICOMwebClient(both.orthanc.dicomweb)
    series = makers.uid(NAME, 1)
    for sop in (makers.uid(NAME, 1, i) for i in range(3)):
        assert of_ours.retrieve_instance(study, series, sop) == of_theirs.retrieve_instance(study, series, sop)
        ours, theirs = (c.retrieve_instance_metadata(study, series, sop) for c in (of_ours, of_theirs))
        differ = {tag for tag in theirs.keys() | ours.keys() if ours.get(tag) != theirs.get(tag)}
        assert differ <= OWN, json.dumps({tag: (ours.get(tag), theirs.get(tag)) for tag in differ})
