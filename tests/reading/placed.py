"""Series at places in the patient, in all orientations."""

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence

from tests.helpers import compress, image, noise

ORIENTATIONS = {
    "axial": [1, 0, 0, 0, 1, 0],
    "feet first": [-1, 0, 0, 0, 1, 0],
    "sagittal": [0, 1, 0, 0, 0, -1],
    "coronal": [1, 0, 0, 0, 0, -1],
    "oblique": [0.8, 0.6, 0, -0.36, 0.48, 0.8],
}
CORNER = np.array([-101.25, 33.5, -712.0])
SHAPE = (5, 7, 9)


def normal(orientation: list[float]) -> np.ndarray:
    """The direction from slice to slice."""
    return np.cross(orientation[:3], orientation[3:])


def placed(
    folder: Path,
    orientation: str = "axial",
    *,
    step: float = 2.5,
    steps: list[float] | None = None,
    shear: tuple[float, float, float] = (0, 0, 0),
    slopes: list[float] | None = None,
    intercepts: list[float] | None = None,
    dtype: str = "i2",
    **elements: object,
) -> Path:
    """Write SHAPE voxels, pixels of 0.7 mm × 0.6 mm (rows, columns), and archive them beside the folder.

    `steps` are the distances from the first slice; `shear` is added to the position with every slice; a slope and an
    intercept of each slice.
    """
    cosines = ORIENTATIONS[orientation]
    along = [step * i for i in range(SHAPE[0])] if steps is None else steps
    voxels = noise(SHAPE, dtype, 0 if dtype[0] == "u" else -1000, 100 if dtype[1] == "1" else 3000)
    for i, distance in enumerate(along):
        place = CORNER + distance * normal(cosines) + i * np.array(shear)
        facts = {"ImageOrientationPatient": cosines, "ImagePositionPatient": [f"{one:.6g}" for one in place]}
        facts |= {"PixelSpacing": [0.7, 0.6], "InstanceNumber": len(along) - i}
        if slopes:
            facts["RescaleSlope"] = slopes[i]
        if intercepts:
            facts["RescaleIntercept"] = intercepts[i]
        image(folder / f"{(i * 3) % 5}.dcm", voxels[i], **{**facts, **elements})  # type: ignore[arg-type]
    compress([folder], folder.with_suffix(".vcz"))
    return folder.with_suffix(".vcz")


def item(**elements: object) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def enhanced(path: Path, orientation: str = "oblique", step: float = 1.5, **elements: object) -> Path:
    """Write SHAPE voxels as one file whose frames say their places and slopes themselves; and archive it."""
    cosines = ORIENTATIONS[orientation]
    each = []
    for i in range(SHAPE[0]):
        place = CORNER + i * step * normal(cosines)
        each.append(
            item(
                PlanePositionSequence=Sequence([item(ImagePositionPatient=[f"{one:.6g}" for one in place])]),
                PixelValueTransformationSequence=Sequence(
                    [item(RescaleSlope=1 + i / 4, RescaleIntercept=-100 * i, RescaleType="US")]
                ),
            )
        )
    shared = item(
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=cosines)]),
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.7, 0.6], SliceThickness=step, SpacingBetweenSlices=step)]),
    )
    groups = {
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(each),
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1",
    }
    image(path, noise(SHAPE), **{**groups, **elements})  # type: ignore[arg-type]
    import pydicom

    dataset = pydicom.dcmread(path)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, name)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(path)
    compress([path], path.with_suffix(".vcz"))
    return path.with_suffix(".vcz")
