"""All rooms together, asked by a client: instances are stored, found and fetched, before and after they are packed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from tests.helpers import noise
from tests.serve.inbox.conftest import Served
from tests.serve.makers import instance, study, uid
from tests.serve.running import served as serving
from volcomp.serve.dicomweb.routes import PREFIX


def test_a_study_comes_back(tmp_path: Path, served: Callable[..., Served]) -> None:
    from dicomweb_client.api import DICOMwebClient

    study(tmp_path / "in", "Alpha", series=2, slices=3)
    item = pydicom.Dataset()
    item.add_new(0x00091001, "OB", bytes(range(256)) * 8)
    instance(tmp_path / "in" / "x.dcm", noise((3, 8, 8), "u2", 0, 99), "Alpha", 2, 0, ReferencedStudySequence=[item])
    sent = {
        dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, sorted((tmp_path / "in").rglob("*.dcm")))
    }
    one = served(quiet=1.0)
    with serving(one.store, one.inbox, one.settings) as url:
        client = DICOMwebClient(f"{url}{PREFIX}")
        answer = client.store_instances(list(sent.values()))
        assert len(answer.ReferencedSOPSequence) == 7 and not answer.get("FailedSOPSequence")
        for packed in (False, True):
            if packed:
                one.until(lambda state: state["packed"]["instances"] == 7 and not state["waiting"])
                assert all(found.archive for found in one.store.instances(uid("Alpha")))
            (row,) = client.search_for_studies(search_filters={"PatientName": "alpha*"})
            assert row["00201208"]["Value"] == [7]
            assert len(client.search_for_series(uid("Alpha"))) == 3
            got = client.retrieve_study(uid("Alpha"))
            assert {one.SOPInstanceUID for one in got} == set(sent)
            assert all(np.array_equal(one.pixel_array, sent[one.SOPInstanceUID].pixel_array) for one in got)
            uids = uid("Alpha"), uid("Alpha", 2), uid("Alpha", 2, 0)
            meta = client.retrieve_instance_metadata(*uids)
            value = meta["00081110"]["Value"][0]["00091001"]["BulkDataURI"]
            assert client.retrieve_bulkdata(value) == [bytes(range(256)) * 8]
            frames = client.retrieve_instance_frames(*uids, [3, 1])
            assert frames == [sent[uids[2]].pixel_array[n].tobytes() for n in (2, 0)]
