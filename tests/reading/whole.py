"""Archives of one whole-volume file, made on the spot."""

from pathlib import Path

import numpy as np

import volcomp
from tests.helpers import compress
from tests.reading.placed import ORIENTATIONS, normal

SHAPE = (5, 8, 9)  # z, y, x
SIZES = np.array([0.6, 0.7, 2.5])  # x, y, z in mm
CORNER = np.array([-101.25, 33.5, -712.0])  # LPS


def voxels(shape: tuple[int, ...] = SHAPE, kind: str = "i2") -> np.ndarray:
    """Something that an archive codes as a volume: small steps."""
    steps = np.random.default_rng(0).integers(-3, 4, shape)
    return (100 + steps.cumsum(-1)).astype(kind)


def matrix(orientation: str, *, left_handed: bool = False) -> np.ndarray:
    """A matrix [4, 4] from (x, y, z, 1) to LPS mm."""
    cosines = np.array(ORIENTATIONS[orientation], float)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = cosines[:3], cosines[3:], normal(ORIENTATIONS[orientation])
    lps[:3, :3] *= SIZES * [1, 1, -1 if left_handed else 1]
    lps[:3, 3] = CORNER
    return lps


RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def opened(*paths: Path) -> volcomp.Archive:
    """Archive the files of one folder, and open the archive."""
    target = paths[0].parent / "archive.vcz"
    compress(list(paths), target, model="turbo", force=True)
    return volcomp.open(target, threads=1)


def of_sitk(image) -> np.ndarray:
    """The matrix [4, 4] of an image of SimpleITK, in LPS: that of its first three axes."""
    axes = image.GetDimension()
    lps = np.eye(4)
    lps[:3, :3] = (np.array(image.GetDirection()).reshape(axes, axes) * image.GetSpacing())[:3, :3]
    lps[:3, 3] = image.GetOrigin()[:3]
    return lps
