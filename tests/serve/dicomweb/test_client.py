"""dicomweb-client, in all its calls."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image

from tests.serve.dicomweb.conftest import CT, JPEG, MC, MULTI, RLE, STUDY, one, samples
from tests.serve.running import dataset


@pytest.fixture
def client(server):
    return DICOMwebClient(server.url)


def sent(error: pytest.ExceptionInfo[requests.HTTPError]) -> tuple[int, str]:
    """Status and sentence of an answer."""
    response = error.value.response
    return response.status_code, response.json()["error"]["sentence"]


def test_searches(client, server):
    (study,) = client.search_for_studies(fields=["PatientName"], search_filters={"PatientID": "P1"})
    assert study["0020000D"]["Value"] == [STUDY]
    assert study["00081190"]["Value"] == [f"{server.url}/studies/{STUDY}"]
    assert len(client.search_for_series(STUDY)) == len(client.search_for_series()) == 12
    assert len(client.search_for_instances(STUDY, CT)) == 5
    assert len(client.search_for_instances(STUDY)) == len(client.search_for_instances()) == 16
    assert len(client.search_for_instances(limit=3, offset=15)) == 1
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    assert len(client.search_for_instances(limit=4, get_remaining=True)) == 16
    found = client.search_for_instances(STUDY, CT, limit=1)[0]
    at = f"{server.url}/studies/{STUDY}/series/{CT}/instances/{found['00080018']['Value'][0]}"
    assert found["00081190"]["Value"] == [at]


def test_instances_come_as_they_are_stored(client, server):
    there = one(server.store, CT, 2)
    got = client.retrieve_instance(STUDY, CT, there.instance.sop)
    assert got == there.dataset
    got = client.retrieve_instance(STUDY, RLE, one(server.store, RLE).instance.sop)
    assert got.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless  # it asks for "*"


@pytest.mark.parametrize("iterate", [False, True])
def test_a_series_and_a_study(client, server, iterate):
    ask = client.iter_series if iterate else client.retrieve_series
    got = list(ask(STUDY, CT))
    assert [made.InstanceNumber for made in got] == [1, 2, 3, 4, 5]
    assert got[1] == one(server.store, CT, 1).dataset
    (got_rle,) = ask(STUDY, RLE)  # it asks for no syntax, and gets what it can read
    assert got_rle.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert np.array_equal(got_rle.pixel_array, samples(3, 8, 6))
    (got_rle,) = ask(STUDY, RLE, media_types=(("application/dicom", "1.2.840.10008.1.2.5"),))
    assert got_rle.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    whole = list((client.iter_study if iterate else client.retrieve_study)(STUDY))
    assert len(whole) == 15  # all but the one that nobody can decode here
    everything = list(client.iter_study(STUDY, media_types=(("application/dicom", "*"),)))
    assert len(everything) == 16


def test_metadata(client, server):
    there = one(server.store, CT)
    (got,) = [client.retrieve_instance_metadata(STUDY, CT, there.instance.sop)]
    assert got["00280010"]["Value"] == [16] and got["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
    (first, *_) = client.retrieve_series_metadata(STUDY, CT)
    assert pydicom.Dataset.from_json(first, lambda uri: b"").InstanceNumber == 1
    assert len(client.retrieve_series_metadata(STUDY, CT)) == 5
    assert len(client.retrieve_study_metadata(STUDY)) == 16


def test_bulk_data(client, server):
    there = one(server.store, CT)
    url = client.retrieve_instance_metadata(STUDY, CT, there.instance.sop)["7FE00010"]["BulkDataURI"]
    data = there.dataset.PixelData
    octets = ("application/octet-stream",)
    assert client.retrieve_bulkdata(url) == client.retrieve_bulkdata(url, media_types=octets) == [data]
    assert list(client.iter_bulkdata(url)) == [data]
    assert client.retrieve_bulkdata(url, byte_range=(10, 19)) == [data[10:20]]
    assert client.retrieve_bulkdata(url, media_types=octets, byte_range=(500, 900)) == [data[500:]]


@pytest.mark.parametrize("iterate", [False, True])
def test_frames(client, server, iterate):
    def ask(series, *arguments, **options):
        function = client.iter_instance_frames if iterate else client.retrieve_instance_frames
        return list(function(STUDY, series, one(server.store, series).instance.sop, *arguments, **options))

    pixels = samples(6, 10, 12)
    assert ask(MULTI, [2, 5]) == [pixels[1].tobytes(), pixels[4].tobytes()]
    assert ask(MULTI, [6, 1], media_types=("application/octet-stream",)) == [pixels[5].tobytes(), pixels[0].tobytes()]
    assert ask(MULTI, [1, 2, 3, 4, 5, 6], media_types=("*/*",)) == [frame.tobytes() for frame in pixels]
    decoded = samples(3, 8, 6)
    assert ask(RLE, [3, 1]) == [decoded[2].tobytes(), decoded[0].tobytes()]
    (jpeg,) = ask(JPEG, [1], media_types=(("image/jpeg", "1.2.840.10008.1.2.4.50"),))
    assert Image.open(BytesIO(jpeg)).size == (16, 16)
    (jpeg,) = ask(JPEG, [1], media_types=(("image/jpeg", "1.2.840.10008.1.2.4.50"), ("image/jls",)))
    assert Image.open(BytesIO(jpeg)).size == (16, 16)
    assert ask(MC, [1]) == [b"nobody decodes this "]  # what cannot be decoded here is still something
    with pytest.raises(requests.HTTPError) as error:
        ask(MULTI, [7])
    assert sent(error) == (404, "this instance has frames 1 to 6, and not all of those asked for")


def test_pictures(client, server):
    sop = one(server.store, CT, 2).instance.sop
    png = client.retrieve_instance_rendered(STUDY, CT, sop, media_types=("image/png",), params={"window": "0,100"})
    assert Image.open(BytesIO(png)).format == "PNG"
    for jpeg in (
        client.retrieve_instance_rendered(STUDY, CT, sop),
        client.retrieve_instance_rendered(STUDY, CT, sop, media_types=("image/jpeg",), params={"quality": 50}),
        client.retrieve_series_rendered(STUDY, CT, media_types=("image/jpeg",)),
        client.retrieve_instance_frames_rendered(STUDY, CT, sop, [1], media_types=("image/jpeg",)),
    ):
        found = Image.open(BytesIO(jpeg))
        assert (found.format, found.size) == ("JPEG", (16, 16))
    with pytest.raises(requests.HTTPError) as error:
        client.retrieve_instance_rendered(STUDY, CT, sop, media_types=("image/gif",))
    assert sent(error) == (406, "pictures are image/jpeg or image/png; accept one of them")


def test_storing(client, server):
    made = [dataset(samples(9, 9), study="1.2.9", series="1.2.9.1", number=number) for number in (1, 2)]
    large = dataset(samples(900, 900), study="1.2.9", series="1.2.9.1", number=3)  # is sent in chunks
    answer = client.store_instances([*made, large])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
        one_made.SOPInstanceUID for one_made in (*made, large)
    ]
    assert answer.ReferencedSOPSequence[0].RetrieveURL.startswith(f"{server.url}/studies/1.2.9/series/1.2.9.1/")
    file = BytesIO()
    pydicom.dcmwrite(file, large)
    assert server.store.files[large.SOPInstanceUID] == file.getvalue()
    assert client.retrieve_instance("1.2.9", "1.2.9.1", made[0].SOPInstanceUID) == made[0]
    answer = client.store_instances([made[0], dataset(None, study="1.2.8", series="1.2.8.1")], "1.2.9")
    assert len(answer.ReferencedSOPSequence) == 1
    assert [item.FailureReason for item in answer.FailedSOPSequence] == [0xA900]
    for sop in [uid for uid, data in server.store.files.items() if b"1.2.9.1" in data]:
        del server.store.files[sop]


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_nothing_is_deleted(client, server, level):
    sop = one(server.store, CT).instance.sop
    with pytest.raises(requests.HTTPError) as error:
        {
            "study": lambda: client.delete_study(STUDY),
            "series": lambda: client.delete_series(STUDY, CT),
            "instance": lambda: client.delete_instance(STUDY, CT, sop),
        }[level]()
    status, sentence = sent(error)
    assert status == 405 and "neither changed nor deleted" in sentence
    assert sop in server.store.files


def test_what_there_is_not(client):
    for ask in (client.retrieve_study, client.retrieve_study_metadata):
        with pytest.raises(requests.HTTPError) as error:
            ask("1.2.99")
        assert sent(error) == (404, "there is no such study here; GET /dicom-web/studies lists what there is")
    with pytest.raises(requests.HTTPError) as error:
        client.retrieve_instance(STUDY, CT, "1.2.99")
    assert sent(error)[0] == 404
