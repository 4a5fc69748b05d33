"""Where voxels lie: what SimpleITK and nibabel say of the same files, and a sentence where there is no such place."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

import volcomp
from tests.reading.placed import CORNER, ORIENTATIONS, SHAPE, enhanced, normal, placed
from volcomp.errors import UnsupportedError

pytest.importorskip("SimpleITK")
pytest.importorskip("nibabel")
TO_RAS = np.diag([-1, -1, 1, 1])


def read_by_sitk(folder: Path):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_simpleitk_sees_the_same_place(orientation: str, tmp_path: Path) -> None:
    archive = placed(tmp_path / "x", orientation)
    expected, found = read_by_sitk(tmp_path / "x"), volcomp.open(archive).to_sitk()
    assert found.GetSize() == expected.GetSize() == SHAPE[::-1]
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert np.allclose(getattr(found, name)(), getattr(expected, name)(), atol=2e-4), name
    assert found.GetPixelIDTypeAsString() == "16-bit signed integer"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_nibabel_sees_the_same_place(orientation: str, tmp_path: Path) -> None:
    """Its wrappers of single slices count rows first, in LPS, so that slices go the other way."""
    wrapper = pytest.importorskip("nibabel.nicom.dicomwrappers").wrapper_from_file
    archive = placed(tmp_path / "x", orientation, SpacingBetweenSlices=2.5)
    volume = volcomp.open(archive)
    first = wrapper(str(tmp_path / "x" / "0.dcm")).affine[:, [1, 0, 2, 3]] * [1, 1, -1, 1]
    image = volume.to_nibabel()
    assert np.allclose(image.affine, TO_RAS @ first, atol=1e-3) and np.array_equal(image.affine, volume.affine)
    assert image.shape == SHAPE[::-1] and image.header["sform_code"] == image.header["qform_code"] == 1
    assert np.allclose(image.get_qform(), image.affine, atol=1e-3)
    assert np.allclose(image.header.get_zooms(), (0.6, 0.7, 2.5), atol=1e-5)
    last = wrapper(str(tmp_path / "x" / "2.dcm")).affine[:3, 3]  # the name of the last slice
    assert np.allclose(volume.affine @ [0, 0, SHAPE[0] - 1, 1], TO_RAS @ [*last, 1], atol=1e-3)


def test_the_affine_takes_a_voxel_to_its_place(tmp_path: Path) -> None:
    volume = volcomp.open(placed(tmp_path / "x", "oblique"))
    cosines = ORIENTATIONS["oblique"]
    place = CORNER + 3 * 0.6 * np.array(cosines[:3]) + 4 * 0.7 * np.array(cosines[3:]) + 2 * 2.5 * normal(cosines)
    assert np.allclose(volume.affine @ [3, 4, 2, 1], [-place[0], -place[1], place[2], 1], atol=1e-3)
    assert np.allclose(volume.spacing, (2.5, 0.7, 0.6))


@pytest.mark.parametrize("slopes", [[1, 1, 1, 1, 1], [0.5, 0.25, 2.125, 1, 3.7]])
def test_values_are_those_that_nibabel_computes_of_each_slice(slopes: list[float], tmp_path: Path) -> None:
    wrapper = pytest.importorskip("nibabel.nicom.dicomwrappers").wrapper_from_file
    archive = placed(tmp_path / "x", slopes=slopes, intercepts=[-1024, 0, 3, 7, 5])
    volume = volcomp.open(archive)
    expected = np.stack([wrapper(str(tmp_path / "x" / name)).get_data() for name in volume.files])
    values = volume.rescaled()
    assert values.dtype == (np.int16 if slopes[1] == 1 else np.float32) == volume.rescaled_dtype
    assert np.array_equal(values, expected.astype(values.dtype))
    assert np.array_equal(volume.rescaled((slice(3, 0, -1), 2)), values[3:0:-1, 2])
    for image in (volume.to_nibabel(),):
        assert np.array_equal(np.asarray(image.dataobj).T, values)
    sitk = pytest.importorskip("SimpleITK")
    assert np.array_equal(sitk.GetArrayFromImage(volume.to_sitk()), values)


@pytest.mark.parametrize(
    ("dtype", "facts", "expected"),
    [
        ("u2", {}, np.int16),
        ("u2", {"intercepts": [-1024] * 5, "stored": 12}, np.int16),
        ("u2", {"intercepts": [-40_000] * 5}, np.int32),
        ("i2", {"slopes": [20] * 5}, np.int32),
        ("i2", {"slopes": [1e6] * 5}, np.float64),
        ("i2", {"intercepts": [0.5] * 5}, np.float32),
        ("u1", {}, np.int16),
        ("i2", {"slopes": [0] * 5}, np.int16),
    ],
)
def test_the_type_of_values_holds_them_all(dtype: str, facts: dict, expected: type, tmp_path: Path) -> None:
    volume = volcomp.open(placed(tmp_path / "x", dtype=dtype, **facts))
    slope, intercept = facts.get("slopes", [1])[0] or 1, facts.get("intercepts", [0])[0]
    assert volume.rescaled().dtype == expected
    assert np.array_equal(volume.rescaled(), (np.asarray(volume).astype(float) * slope + intercept).astype(expected))


def test_signs_within_words_are_those_of_the_header(tmp_path: Path) -> None:
    """Words of 12 bits with a sign, which a writer did not extend; and padding beyond these bits, which stays."""
    archive = placed(tmp_path / "x", dtype="i2", stored=12)
    words = np.asarray(volcomp.open(archive)).clip(-2048, 2047)
    words[:, 0, 0] = -3000
    for path in (tmp_path / "x").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        pixels = words[5 - dataset.InstanceNumber]
        dataset.PixelData = np.where(pixels < -2048, pixels, pixels & 4095).astype("<i2").tobytes()
        dataset.save_as(path)
    volcomp.compress_files(tmp_path / "x", tmp_path / "y.vcz", threads=1)
    volume = volcomp.open(tmp_path / "y.vcz")
    assert volume[...].max() > 4000 and np.array_equal(volume.rescaled(), words)


def test_frames_of_an_enhanced_file_have_places_and_slopes_of_their_own(tmp_path: Path) -> None:
    volume = volcomp.open(enhanced(tmp_path / "x.dcm"))
    stored = pydicom.dcmread(tmp_path / "x.dcm").pixel_array.astype(float)
    expected = np.stack([stored[i] * (1 + i / 4) - 100 * i for i in range(SHAPE[0])])
    assert np.array_equal(volume, stored) and np.array_equal(volume.rescaled(), expected.astype(np.float32))
    sitk = pytest.importorskip("SimpleITK")
    found, theirs = volume.to_sitk(), sitk.ReadImage(str(tmp_path / "x.dcm"))
    for name in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert np.allclose(getattr(found, name)(), getattr(theirs, name)(), atol=1e-3), name


def test_frames_in_descending_order_have_a_matrix_too(tmp_path: Path) -> None:
    volume = volcomp.open(enhanced(tmp_path / "x.dcm", "axial", -1.5))
    assert volume.spacing == (1.5, 0.7, 0.6) and np.allclose(volume.affine[:3, 2], [0, 0, -1.5])
    assert np.allclose(volume.to_sitk().GetDirection(), [1, 0, 0, 0, 1, 0, 0, 0, -1])


def test_a_single_slice_is_as_high_as_it_says(tmp_path: Path) -> None:
    for number, (facts, height) in enumerate(
        [({"SliceThickness": 3.0}, 3), ({"SliceThickness": 3.0, "SpacingBetweenSlices": 4.5}, 4.5), ({}, 1)]
    ):
        archive = placed(tmp_path / f"x{number}", steps=[0], **facts)  # type: ignore[arg-type]
        volume = volcomp.open(archive)
        assert volume.shape == (1, 7, 9) and volume.spacing == (height, 0.7, 0.6)
        assert volume.to_sitk().GetSpacing() == (0.6, 0.7, height)
        assert np.allclose(volume.affine[:3, 3], TO_RAS[:3, :3] @ CORNER)


def test_a_gantry_tilt_is_a_shear_of_the_affine(tmp_path: Path) -> None:
    """15 degrees: every slice lies further along the columns."""
    archive = placed(tmp_path / "x", shear=(0, 2.5 * np.tan(np.radians(15)), 0))
    volume = volcomp.open(archive)
    assert volume.geometry.sheared and abs(volume.geometry.tilt - 15) < 0.01
    with pytest.raises(UnsupportedError, match=r"sheared by 15\.0\d degrees \(gantry tilt\)"):
        volume.to_sitk()
    assert volume.to_sitk(geometry=False).GetSpacing() == (1, 1, 1)
    pytest.importorskip("nibabel")
    image = volume.to_nibabel()
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 0)
    assert np.allclose(image.get_sform(), volume.affine, atol=1e-4)
    last = pydicom.dcmread(tmp_path / "x" / volume.files[-1]).ImagePositionPatient
    assert np.allclose(volume.affine @ [0, 0, 4, 1], TO_RAS @ [*last, 1], atol=1e-3)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"steps": [0, 2.5, 5, 10, 12.5]}, "not evenly spaced: 5 mm lie between slices 2 and 3, and mostly 2.5 mm"),
        ({"steps": [0, 2.5, 2.5, 5, 7.5]}, "slices 1 and 2 are at one place"),
        ({"ImagePositionPatient": None}, "lack ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "lack ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "lack ImageOrientationPatient, or it makes no sense"),
        ({"PixelSpacing": None}, "lack PixelSpacing"),
        ({"PixelSpacing": [0, 0]}, "lack PixelSpacing"),
    ],
)
def test_a_volume_without_a_place_says_why(facts: dict, sentence: str, tmp_path: Path) -> None:
    volume = volcomp.open(placed(tmp_path / "x", **facts))
    for ask in (lambda: volume.affine, lambda: volume.to_sitk(), lambda: volume.geometry):
        with pytest.raises(UnsupportedError, match=f"x has no place in space: .*{sentence}"):
            ask()
    assert volume.spacing == ((None, 0.7, 0.6) if facts.get("PixelSpacing", 1) == 1 else (None, None, None))
    assert volume.to_sitk(geometry=False).GetSize() == SHAPE[::-1]


def test_positions_that_are_rounded_are_even(tmp_path: Path) -> None:
    volume = volcomp.open(placed(tmp_path / "x", steps=[0, 1.33, 2.67, 4, 5.33]))
    assert abs(volume.spacing[0] - 4 / 3) < 1e-3  # type: ignore[operator]


def test_a_table_of_values_is_refused(tmp_path: Path) -> None:
    from tests.reading.placed import item

    table = item(LUTDescriptor=[4, 0, 16], LUTData=bytes(8), ModalityLUTType="US")
    volume = volcomp.open(placed(tmp_path / "x", ModalityLUTSequence=[table]))
    with pytest.raises(UnsupportedError, match="ModalityLUTSequence"):
        volume.rescaled()
    assert volume[0].shape == (7, 9)


def test_colours_stay_colours(tmp_path: Path) -> None:
    from tests.helpers import compress, image

    pixels = np.random.default_rng(0).integers(0, 9, (4, 16, 16, 3)).cumsum(1).astype("u1")
    for i, picture in enumerate(pixels):
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        image(tmp_path / "x" / f"{i}.dcm", picture[..., 0], z=i, raw=picture.tobytes(), **colour)
    compress([tmp_path / "x"], tmp_path / "x.vcz")
    volume = volcomp.open(tmp_path / "x.vcz")
    assert np.array_equal(volume.rescaled(), pixels) and volume.spacing == (1, 0.5, 0.5)
    sitk = pytest.importorskip("SimpleITK")
    assert volume.to_sitk().GetNumberOfComponentsPerPixel() == 3
    assert np.array_equal(sitk.GetArrayFromImage(volume.to_sitk()), pixels)
    pytest.importorskip("nibabel")
    data = np.asarray(volume.to_nibabel().dataobj)
    assert data.shape == (16, 16, 4) and np.array_equal(data["G"].T, pixels[..., 1])
