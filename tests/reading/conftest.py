"""Archives that the tests of reading share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import compress, series
from volcomp.codec import decode, encode


@pytest.fixture(scope="session")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of 50 slices of 12², in slabs of 12 or 13, and a text."""
    folder = series(tmp_path_factory.mktemp("ct") / "ct", 50, 12)
    (folder / "report.txt").write_text("No finding.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "SLAB_HEIGHT", 13)
        compress([folder], folder.parent / "ct.vcz")
    return folder.parent / "ct.vcz"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """The slabs that are decoded meanwhile, as (volume, slab)."""
    found: list[tuple[int, int]] = []
    genuine = decode.decode_volume

    def noted(reader, volume, slabs, options, **others):
        for k, voxels in genuine(reader, volume, slabs, options, **others):
            found.append((volume.number, k))
            yield k, voxels

    monkeypatch.setattr(decode, "decode_volume", noted)
    yield found


def words_of(folder: Path) -> np.ndarray:
    """The voxels of a native series of 16-bit images, in the order of their positions."""
    import pydicom

    images = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    images.sort(key=lambda image: float(image.ImagePositionPatient[2]))
    return np.stack([image.pixel_array for image in images])
