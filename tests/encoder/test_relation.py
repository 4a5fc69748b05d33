"""Pictures of different things are told from series of slices, and become slabs of their own in archives."""

import numpy as np
import pytest

from tests.formats.test_png_and_netpbm import png
from tests.helpers import ONE, compress, contents, image
from volcomp.archive.restore import restore
from volcomp.codec.encode import ArraySource
from volcomp.container.sections import SLAB, VOLUME_HEADER, Reader
from volcomp.encoder.relation import FEWEST, MOST, are_unrelated

SIDE = 128


def shared(weight, depth=12, side=SIDE, seed=0):
    """Slices on one background, whose noise is in part that of the slice before: int16 [z, y, x]."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 20, (depth, side, side))
    for z in range(1, depth):
        noise[z] = weight * noise[z - 1] + (1 - weight**2) ** 0.5 * noise[z]
    return (1000 + noise + 200 * np.sin(np.arange(side) / 30)).astype("<i2")


@pytest.mark.parametrize(("weight", "unrelated"), [(0.0, True), (0.03, True), (0.2, False), (0.8, False)])
def test_by_the_noise_of_neighbours(weight, unrelated):
    assert are_unrelated(ArraySource(shared(weight))) is unrelated


def test_the_decision_is_for_large_enough_slices_and_for_more_than_one():
    assert not are_unrelated(ArraySource(shared(0.0, depth=1)))
    assert SIDE**2 == FEWEST
    assert not are_unrelated(ArraySource(shared(0.0, side=SIDE - 1)))
    assert not are_unrelated(ArraySource(np.zeros((3, SIDE, SIDE), np.uint8)))


def test_large_slices_are_looked_at_in_their_middle():
    rows = MOST // 1024
    voxels = np.random.default_rng(1).integers(0, 99, (2, 3 * rows, 1024), dtype=np.uint16)
    voxels[:, :rows] = voxels[0, :rows]  # equal above the middle
    assert are_unrelated(ArraySource(voxels))
    voxels[1, rows : 2 * rows] = voxels[0, rows : 2 * rows]
    assert not are_unrelated(ArraySource(voxels))


@pytest.mark.parametrize(("weight", "slabs"), [(0.0, 5), (0.8, 1)])
def test_a_folder_of_pictures(tmp_path, weight, slabs):
    (tmp_path / "in").mkdir()
    for z, pixels in enumerate(shared(weight, depth=5)):
        (tmp_path / "in" / f"{z}.png").write_bytes(png(pixels.astype(">u2")))
    compress([tmp_path / "in"], tmp_path / "x.vcz", model="turbo", effort=1)
    with (tmp_path / "x.vcz").open("rb") as file:
        tags = [place.tag for place in Reader(file).places]
    assert (tags.count(VOLUME_HEADER), tags.count(SLAB)) == (1, slabs)
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def test_frames_of_one_file_stay_together(tmp_path):
    """As of XA runs and breast tomosynthesis, which are multi-frame files."""
    image(tmp_path / "in" / "run.dcm", shared(0.0, depth=5), Modality="XA")
    compress([tmp_path / "in"], tmp_path / "x.vcz", model="turbo", effort=1)
    with (tmp_path / "x.vcz").open("rb") as file:
        tags = [place.tag for place in Reader(file).places]
    assert (tags.count(VOLUME_HEADER), tags.count(SLAB)) == (1, 1)
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
