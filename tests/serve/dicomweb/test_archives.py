"""DICOMweb over real archives and a real inbox: the original files, slabs decoded once, damage, growth."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from tests.fuzz.dicom import wrapped
from tests.helpers import damage, noise
from tests.serve.dicomweb.test_retrieve import parts
from tests.serve.makers import QUICK, instance, packed, study, uid
from tests.serve.running import WAIT, served, settings
from tests.streams.jpeg_lossless_encoder import Scan
from tests.streams.jpeg_lossless_encoder import Stream as JpegLossless
from tests.streams.test_jpeg_ls import stream as jpeg_ls_markers
from volcomp.container.sections import SLAB, SectionId
from volcomp.serve.dicomweb import plain
from volcomp.serve.inbox import open_inbox
from volcomp.serve.inbox.packing import pack
from volcomp.serve.settings import Settings
from volcomp.serve.store import open_store
from volcomp.streams.jpeg_ls import JpegLs

SLICES = 40


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, low_slabs: None) -> Path:
    """Two archives: Ann's with two series of two slabs each, Bob's with one."""
    folder = tmp_path_factory.mktemp("archives")
    packed(study(folder / "ann", "Ann", series=2, slices=SLICES), folder / "tree" / "ann.vcz")
    packed(study(folder / "bob", "Bob", slices=SLICES), folder / "tree" / "sub" / "bob.vcz")
    return folder


@pytest.fixture
def server(tree: Path) -> Iterator[SimpleNamespace]:
    """A server of the archives, that packs nothing meanwhile."""
    yield from running(settings(tree / "tree", quiet=3600.0))


def running(told: Settings) -> Iterator[SimpleNamespace]:
    store = open_store(told)
    store.refresh()
    inbox = open_inbox(store, told, pack)
    with served(store, inbox, told) as url, httpx.Client(timeout=WAIT) as client:
        yield SimpleNamespace(url=f"{url}/dicom-web", store=store, inbox=inbox, client=client)


def original(tree: Path, who: str, series: int, number: int) -> bytes:
    return (tree / who.lower() / f"series{series}" / f"IM{number:03d}.dcm").read_bytes()


def test_the_original_files(server, tree):
    got = server.client.get(f"{server.url}/studies/{uid('Ann')}")
    files = {pydicom.dcmread(BytesIO(data)).SOPInstanceUID: data for _, data in parts(got)}
    assert len(files) == 2 * SLICES and int(got.headers["content-length"]) == len(got.content)
    for series in range(2):
        for number in range(SLICES):
            assert files[uid("Ann", series, number)] == original(tree, "Ann", series, number)


def test_each_slab_is_decoded_once(server, tree):
    """Many clients that scroll the same series: its two slabs are decoded once each."""
    series = f"{server.url}/studies/{uid('Ann')}/series/{uid('Ann', 1)}"
    expected = [pydicom.dcmread(BytesIO(original(tree, "Ann", 1, number))).PixelData for number in range(SLICES)]

    def scroll(client: int) -> None:
        for number in range(client, SLICES, 8):
            got = server.client.get(
                f"{series}/instances/{uid('Ann', 1, number)}/frames/1", headers={"Accept": "application/octet-stream"}
            )
            assert got.content == expected[number]

    with ThreadPoolExecutor(16) as threads:
        for done in [threads.submit(scroll, client % 8) for client in range(16)]:
            done.result(WAIT)
    assert server.store._slabs.decoded == 2
    assert len(server.client.get(f"{series}/metadata").json()) == SLICES
    assert server.client.get(f"{server.url}/studies/{uid('Bob')}/metadata").status_code == 200
    assert server.store._slabs.decoded == 2  # attributes need no slab


def test_pictures_and_values(server, tree):
    path = f"{server.url}/studies/{uid('Bob')}/series/{uid('Bob', 0)}/instances/{uid('Bob', 0, 3)}"
    made = pydicom.dcmread(BytesIO(original(tree, "Bob", 0, 3)))
    (attributes,) = server.client.get(f"{path}/metadata").json()
    url = attributes["7FE00010"]["BulkDataURI"]
    assert url == f"{path}/bulkdata/7FE00010" and server.client.get(url).content == made.PixelData
    got = server.client.get(url, headers={"Range": "bytes=100-199"})
    assert got.status_code == 206 and got.content == made.PixelData[100:200]
    assert server.client.get(f"{path}/rendered", headers={"Accept": "image/png"}).content[:4] == b"\x89PNG"
    assert server.client.get(f"{server.url}/studies/{uid('Bob')}/thumbnail").status_code == 200


def test_searches(server):
    client = DICOMwebClient(server.url)
    (found,) = client.search_for_studies(search_filters={"PatientName": "bob*"}, fuzzymatching=True)
    assert found["0020000D"]["Value"] == [uid("Bob")] and found["00201208"]["Value"] == [SLICES]
    assert found["00081190"]["Value"] == [f"{server.url}/studies/{uid('Bob')}"]
    assert len(client.search_for_instances(search_filters={"StudyDate": "20200101-20201231"}, limit=1000)) == 3 * SLICES
    got = server.client.get(f"{server.url}/studies?StudyDate=yesterday")
    assert got.status_code == 400 and got.json()["error"]["sentence"]
    got = server.client.get(f"{server.url}/instances?limit=7")
    assert len(got.json()) == 7 and "offset=7" in got.headers["warning"]


def test_a_damaged_slab_is_an_error_of_its_instances_alone(tree, tmp_path):
    told = settings(tmp_path / "tree", quiet=3600.0)
    for name in ("ann.vcz", "bob.vcz"):
        (found,) = tree.glob(f"tree/**/{name}")
        target = tmp_path / "tree" / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(found.read_bytes())
    damage(tmp_path / "tree" / "bob.vcz", SectionId(SLAB, 0, 1))
    for server in running(told):
        statuses = set()
        for number in (0, SLICES - 1):
            path = f"/studies/{uid('Bob')}/series/{uid('Bob', 0)}/instances/{uid('Bob', 0, number)}"
            got = server.client.get(server.url + path)
            statuses.add(got.status_code)
            if got.status_code == 500:
                sentence = got.json()["error"]["sentence"]
                assert "damaged" in sentence and str(tmp_path) not in got.text and "bob.vcz" not in got.text
        assert statuses == {200, 500}
        assert server.client.get(f"{server.url}/studies/{uid('Ann')}").status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):  # the first slab is sound: the answer has begun
            server.client.get(f"{server.url}/studies/{uid('Bob')}")


def test_what_is_stored_is_there_at_once_and_after_packing(tree, tmp_path):
    told = settings(tmp_path, quiet=0.0, options=QUICK)
    files = [instance(tmp_path.parent / f"{tmp_path.name}-{i}.dcm", pixels, "Eve", 0, i)
             for i, pixels in enumerate(noise((3, 16, 16)))]  # fmt: skip
    for server in running(told):
        client = DICOMwebClient(server.url)
        answer = client.store_instances([pydicom.dcmread(path) for path in files])
        assert len(answer.ReferencedSOPSequence) == 3
        for i, path in enumerate(files):
            url = answer.ReferencedSOPSequence[i].RetrieveURL
            got = server.client.get(url, headers={"Accept": "application/dicom"})
            assert got.content == path.read_bytes()
        end = time.monotonic() + WAIT
        while server.store.instances(uid("Eve"))[0].archive is None and time.monotonic() < end:
            time.sleep(0.05)
        for i, path in enumerate(files):
            url = answer.ReferencedSOPSequence[i].RetrieveURL
            assert server.client.get(url, headers={"Accept": "application/dicom"}).content == path.read_bytes()
        assert len(client.search_for_instances(uid("Eve"))) == 3
        assert list(tmp_path.glob("**/*.vcz"))


def compressed(folder: Path) -> np.ndarray:
    """Write a study of series that pydicom by itself cannot decode; return the samples [i, y, x] of each of them."""
    words = noise((3, 1, 24, 24), "u2", 100, 900, seed=11)
    for i, of_one in enumerate(words):
        machine = zlib.compressobj(6, zlib.DEFLATED, -15)
        streams = {
            ".4.70": JpegLossless(of_one, 12, [Scan([0])]).encode(),
            ".4.80": JpegLs().make(of_one, b"\1\0" + jpeg_ls_markers(12, (1, 24, 24), 0)),
            ".8.1": machine.compress(of_one.astype("<u2").tobytes()) + machine.flush(),
        }
        for ending, stream in streams.items():
            facts = {"z": i, "InstanceNumber": i + 1, "StudyInstanceUID": "1.9", "series": f"1.9{ending}"}
            facts |= {"SOPInstanceUID": f"1.9{ending}.{i + 1}"}
            wrapped(folder / ending / f"{i}.dcm", [stream], ending, (1, 24, 24), 16, **facts)
    return words[:, 0]


def test_compressed_series_are_made_plain_by_decoders_of_our_own(tmp_path, monkeypatch):
    """JPEG Lossless, JPEG-LS and deflated frames, in an archive and in the inbox, where pydicom has no decoder."""
    words = compressed(tmp_path / "given")
    packed(tmp_path / "given", tmp_path / "tree" / "given.vcz")
    explicit = {"Accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}
    monkeypatch.setattr(plain, "_by_pydicom", lambda syntax: False)
    for server in running(settings(tmp_path / "tree", quiet=3600.0)):
        for ending in (".4.70", ".4.80", ".8.1"):
            series = f"{server.url}/studies/1.9/series/1.9{ending}"
            for i in range(3):
                path = f"{series}/instances/1.9{ending}.{i + 1}"
                original_file = (tmp_path / "given" / ending / f"{i}.dcm").read_bytes()
                stored = {"Accept": "application/dicom; transfer-syntax=*"}
                assert server.client.get(path, headers=stored).content == original_file
                made = pydicom.dcmread(BytesIO(server.client.get(path, headers=explicit).content))
                assert made.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
                assert np.array_equal(made.pixel_array, words[i]) and made.SOPInstanceUID == f"1.9{ending}.{i + 1}"
                octets = {"Accept": "application/octet-stream"}
                assert server.client.get(f"{path}/frames/1", headers=octets).content == words[i].tobytes()
            assert len(parts(server.client.get(series))) == 3
            got = server.client.get(f"{series}/rendered?window=500,1000", headers={"Accept": "image/png"})
            assert got.status_code == 200
