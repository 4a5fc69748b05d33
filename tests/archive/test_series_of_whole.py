"""Files that are kept whole are found by their series as well."""

import numpy as np
import pydicom
import pytest

from tests.fuzz.dicom import wrapped
from tests.helpers import ONE, compress, contents, damage, image, noise, series
from tests.streams.test_jpeg_xl import GOLDEN
from volcomp import DamagedError, UnsupportedError
from volcomp.archive import whole
from volcomp.archive.entry import JPEG_XL
from volcomp.archive.opening import manifest_of
from volcomp.archive.restore import restore
from volcomp.container.sections import BLOB, Reader, SectionId

LONE = "1.2.3.999"


@pytest.fixture
def archive(tmp_path):
    folder = series(tmp_path / "in" / "ct", 2)
    flat = np.zeros((4, 4), "u2")
    image(folder / "seventeen", flat, raw=bytes(50), BitsAllocated=17)
    image(folder / "lone", flat, raw=bytes(50), BitsAllocated=17, series=LONE)
    image(folder / "longer", flat, raw=bytes(50), BitsAllocated=17, series=LONE + "9", PatientID=LONE)
    (folder / "note").write_text(f"the series {LONE} and 1.2.3.4 are named here")
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    return tmp_path / "x.vcz"


def test_they_are_found(archive, tmp_path):
    restore(archive, tmp_path / "a", options=ONE, series=["1.2.3.4"])
    assert {path.name for path in (tmp_path / "a" / "ct").iterdir()} == {"IM0001.dcm", "IM0002.dcm", "seventeen"}
    restore(archive, tmp_path / "b", options=ONE, series=[LONE])
    assert [path.name for path in (tmp_path / "b" / "ct").iterdir()] == ["lone"]
    restore(archive, tmp_path / "c", options=ONE, series=[LONE, LONE + "9"])
    assert {path.name for path in (tmp_path / "c" / "ct").iterdir()} == {"lone", "longer"}
    with pytest.raises(UnsupportedError, match=r"holds no volume or series 1\.2\.3;"):
        restore(archive, tmp_path / "d", options=ONE, series=["1.2.3"])


def test_damage(archive, tmp_path):
    damage(archive, SectionId(BLOB, 0))
    with pytest.raises(DamagedError):
        restore(archive, tmp_path / "a", options=ONE, series=["1.2.3.4"])
    restore(archive, tmp_path / "a", options=ONE, series=["1.2.3.4"], salvage=True)
    assert len(contents(tmp_path / "a" / "ct")) == 2


def test_frames_that_are_packed(tmp_path, monkeypatch):
    """What precedes them is read without the library that unpacks them."""
    pytest.importorskip("imagecodecs")
    monkeypatch.setattr(whole, "_WORTHWHILE", 9)
    jpeg = (GOLDEN / "waves.jpg").read_bytes()
    at = jpeg.index(b"\xff\xc0")
    shape = (jpeg[at + 9], int.from_bytes(jpeg[at + 5 : at + 7], "big"), int.from_bytes(jpeg[at + 7 : at + 9], "big"))
    path = tmp_path / "in" / "jpeg"
    wrapped(path, [jpeg], ".4.50", shape, 8)
    image(tmp_path / "in" / "other", noise((4, 4)), series=LONE)
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    with (tmp_path / "x.vcz").open("rb") as file:
        (entry,) = manifest_of(Reader(file)).whole
    assert entry.place.packing == JPEG_XL
    uid = pydicom.dcmread(path).SeriesInstanceUID
    restore(tmp_path / "x.vcz", tmp_path / "a", options=ONE, series=[uid])
    assert contents(tmp_path / "a") == {"jpeg": path.read_bytes()}
