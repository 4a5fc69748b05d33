"""Whatever is wrong with an archive: the right voxels, or an error of volcomp."""

from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.helpers import compress, image, noise
from tests.reading.placed import enhanced, placed
from volcomp.errors import VolcompError

CHANGES = 40


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small ones: a series, an enhanced file, colours."""
    folder = tmp_path_factory.mktemp("damage")
    pixels = np.random.default_rng(0).integers(0, 9, (3, 9, 9, 3)).cumsum(1).astype("u1")
    for i, picture in enumerate(pixels):
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        image(folder / "rgb" / f"{i}.dcm", picture[..., 0], z=i, raw=picture.tobytes(), **colour)
    compress([folder / "rgb"], folder / "rgb.vcz")
    return [placed(folder / "ct", "oblique"), enhanced(folder / "mr.dcm"), folder / "rgb.vcz"]


def everything_of(data: bytes) -> list[np.ndarray]:
    """What can be asked of a volume; each question may fail by itself."""
    found = []
    with volcomp.open(data, threads=1) as archive:
        for volume in archive.volumes.values():
            for ask in (
                lambda v: np.asarray(v),
                lambda v: v.rescaled(),
                lambda v: v.affine,
                lambda v: np.array([len(v.headers), *v.shape]),
                lambda v: np.array([mm or 0 for mm in v.spacing]),
            ):
                try:
                    found.append(ask(volume))
                except VolcompError:
                    found.append(None)
    return found


def test_bits_that_flip(archives: list[Path]) -> None:
    random = np.random.default_rng(7)
    for path in archives:
        data = path.read_bytes()
        sound = everything_of(data)
        assert all(one is not None for one in sound)
        for _ in range(CHANGES):
            damaged = bytearray(data)
            damaged[random.integers(len(data))] ^= 1 << int(random.integers(8))
            try:
                found = everything_of(bytes(damaged))
            except VolcompError:
                continue
            for one, expected in zip(found, sound, strict=True):
                assert one is None or np.array_equal(one, expected)


def test_files_that_are_cut(archives: list[Path]) -> None:
    for path in archives:
        data = path.read_bytes()
        for size in range(0, len(data), max(1, len(data) // 40)):
            with pytest.raises(VolcompError):
                volcomp.open(data[:size])


def test_headers_that_make_no_sense(tmp_path: Path) -> None:
    """They are kept as they are, and whoever wrote them is asked for values and places."""
    words = noise((3, 9, 8), "i2")
    for number, facts in enumerate(
        [
            {"RescaleSlope": "1e300"},
            {"ImagePositionPatient": [1, 2]},
            {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
            {"PixelSpacing": ["-1", "1"]},
            {"BitsStored": 77},
            {"SliceThickness": "0"},
        ]
    ):
        folder = tmp_path / str(number)
        for i, pixels in enumerate(words):
            image(folder / f"{i}.dcm", pixels, z=i, **facts)  # type: ignore[arg-type]
        compress([folder], folder.with_suffix(".vcz"))
        volume = volcomp.open(folder.with_suffix(".vcz"))
        assert np.array_equal(volume, words)
        assert volume.rescaled().shape == words.shape
        try:
            assert volume.affine.shape == (4, 4)
        except volcomp.UnsupportedError:
            assert number in (1, 2, 3)
