"""Places in space of whole-volume files, as nibabel and SimpleITK read them from the same files."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.formats.volumes import meta, mgh, nifti, npy, nrrd, stored, tiff
from tests.reading.placed import ORIENTATIONS
from tests.reading.whole import CORNER, RAS, SIZES, matrix, of_sitk, opened, voxels
from volcomp import cli
from volcomp.errors import UnsupportedError

nibabel = pytest.importorskip("nibabel")
sitk = pytest.importorskip("SimpleITK")

PLACES = [(name, handed) for name in ORIENTATIONS for handed in (False, True)]


def agrees(volume: volcomp.Archive, ras: np.ndarray, rounded: float = 1e-4) -> bool:
    """Whether affine, spacing and both conversions have a place."""
    sizes = np.linalg.norm(ras[:3, :3], axis=0)
    return bool(
        np.allclose(volume.affine, ras, atol=rounded)
        and np.allclose(volume.spacing, sizes[::-1], atol=rounded)
        and np.allclose(volume.to_nibabel().affine, ras, atol=rounded)
        and np.allclose(of_sitk(volume.to_sitk()), RAS @ ras, atol=rounded)
    )


@pytest.mark.parametrize(
    ("orientation", "left_handed", "name"),
    [(*place, "x.nii") for place in PLACES] + [("oblique", True, name) for name in ("x.nii.gz", "x.img", "two.nii")],
)
def test_nifti_lies_where_nibabel_has_it(orientation: str, left_handed: bool, name: str, tmp_path: Path) -> None:
    affine = RAS @ matrix(orientation, left_handed=left_handed)
    kinds = {"x.img": nibabel.Nifti1Pair, "two.nii": nibabel.Nifti2Image}
    image = kinds.get(name, nibabel.Nifti1Image)(voxels().T, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, tmp_path / name)
    found = nibabel.load(tmp_path / name)
    volume = opened(*(path for path in (tmp_path / name, tmp_path / "x.hdr") if path.exists()))
    assert volume.shape == voxels().shape and volume.dtype == np.int16
    assert agrees(volume, found.affine)
    assert np.array_equal(volume.to_nibabel().get_fdata(), found.get_fdata())
    if name == "two.nii":  # of which SimpleITK reads none
        return
    read = sitk.ReadImage(str(tmp_path / name))
    assert np.allclose(of_sitk(read), volume.geometry.lps, atol=1e-4)
    assert np.array_equal(sitk.GetArrayFromImage(volume.to_sitk()), sitk.GetArrayFromImage(read))


@pytest.mark.parametrize("qform", [0, 1, 2])
@pytest.mark.parametrize("sform", [0, 1, 2, 4])
def test_of_two_places_in_a_nifti_file_the_one_of_nibabel_is_taken(qform: int, sform: int, tmp_path: Path) -> None:
    """ITK takes the other one where both have a code and that of the sform is not 1."""
    image = nibabel.Nifti1Image(voxels().T, np.eye(4))
    image.set_qform(RAS @ matrix("sagittal"), qform)
    image.set_sform(RAS @ matrix("oblique"), sform)
    nibabel.save(image, tmp_path / "x.nii")
    volume, found = opened(tmp_path / "x.nii"), nibabel.load(tmp_path / "x.nii")
    assert np.allclose(volume.affine, found.affine, atol=1e-4)
    assert volume.geometry.code == (sform or qform) and volume.geometry.known == bool(sform or qform)
    read = of_sitk(sitk.ReadImage(str(tmp_path / "x.nii")))
    same = bool(np.allclose(read, volume.geometry.lps, atol=1e-4))
    assert same == (bool(sform or qform) and not (qform and sform > 1))
    again = volume.to_nibabel()
    assert again.header["sform_code"] == again.header["qform_code"] == volume.geometry.code


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1), ("meter", 1000), ("micron", 0.001), ("unknown", 1)])
def test_units_of_nifti_become_millimetres(unit: str, mm: float, tmp_path: Path) -> None:
    """As for ITK; nibabel leaves them as they are."""
    for name, codes in (("s", (1, 0)), ("q", (0, 1)), ("none", (0, 0))):
        image = nibabel.Nifti1Image(voxels().T, np.diag([2.0, 3, 4, 1]))
        image.set_sform(np.diag([2.0, 3, 4, 1]), codes[0])
        image.set_qform(np.diag([2.0, 3, 4, 1]), codes[1])
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / f"{name}.nii")
        volume = opened(tmp_path / f"{name}.nii")
        assert np.allclose(volume.spacing, (4 * mm, 3 * mm, 2 * mm))
        assert np.allclose(sitk.ReadImage(str(tmp_path / f"{name}.nii")).GetSpacing(), volume.spacing[::-1])


def test_a_shear_is_in_the_affine_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    affine = RAS @ matrix("axial")
    affine[1, 2] += 0.7
    image = nibabel.Nifti1Image(voxels().T, affine)
    image.set_sform(affine, 1)
    nibabel.save(image, tmp_path / "x.nii")
    volume = opened(tmp_path / "x.nii")
    assert np.allclose(volume.affine, affine, atol=1e-4)
    with pytest.raises(UnsupportedError, match=r"the slices are sheared by 15\.64 degrees \(gantry tilt\) in x\.nii"):
        volume.to_sitk()
    with pytest.warns(UserWarning, match="slices are sheared .* and SimpleITK only in .nrrd"):
        volume.save(tmp_path / "v.nii.gz")
    assert np.allclose(nibabel.load(tmp_path / "v.nii.gz").affine, affine, atol=1e-4)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "v.nii.gz"))
    line = ["decompress", str(tmp_path / "archive.vcz"), "-o", str(tmp_path / "w.nii"), "--threads", "1"]
    assert cli.main(line) == 0
    assert "nibabel reads that in NIfTI, and SimpleITK only in .nrrd" in capsys.readouterr().err
    volume.save(tmp_path / "v.nrrd")
    assert np.allclose(of_sitk(sitk.ReadImage(str(tmp_path / "v.nrrd"))), RAS @ affine, atol=1e-4)
    skew = RAS @ matrix("axial")
    skew[0, 1] += 0.3
    image.set_sform(skew, 1)
    nibabel.save(image, tmp_path / "x.nii")
    with pytest.raises(UnsupportedError, match=r"rows and columns meet at \d+\.\d\d degrees in x\.nii"):
        opened(tmp_path / "x.nii").to_sitk()


@pytest.mark.parametrize(("origin", "scale"), [((0, 0, 0), 0.0), ((3, 4, 5), 0.5), ((3000, 4, 5), float("nan"))])
def test_analyze_is_read_as_spm_writes_it(origin: tuple[int, ...], scale: float, tmp_path: Path) -> None:
    image = nibabel.Spm99AnalyzeImage(voxels().T, None)
    image.header.set_zooms(SIZES)
    head = bytearray(image.header.binaryblock)
    struct.pack_into("<3h", head, 253, *origin)
    struct.pack_into("<f", head, 112, scale)
    (tmp_path / "x.hdr").write_bytes(head)
    (tmp_path / "x.img").write_bytes(stored(voxels()))
    found, volume = nibabel.load(tmp_path / "x.img"), opened(tmp_path / "x.img", tmp_path / "x.hdr")
    assert type(found).__name__ == "Spm2AnalyzeImage"
    assert agrees(volume, found.affine) and not volume.geometry.known
    assert np.array_equal(volume.rescaled().T, np.asarray(found.dataobj))
    assert volume.rescaled_dtype == (np.float64 if scale == 0.5 else np.int16)


def test_a_calibrated_range_of_analyze_scales(tmp_path: Path) -> None:
    head = bytearray(nibabel.Spm99AnalyzeImage(voxels().T, None).header.binaryblock)
    struct.pack_into("<f", head, 112, 0)
    struct.pack_into("<2f", head, 124, 8.5, 2.5)
    struct.pack_into("<2i", head, 140, 110, 10)
    (tmp_path / "x.hdr").write_bytes(head)
    (tmp_path / "x.img").write_bytes(stored(voxels()))
    volume = opened(tmp_path / "x.img", tmp_path / "x.hdr")
    assert np.array_equal(volume.rescaled().T, np.asarray(nibabel.load(tmp_path / "x.img").dataobj))


@pytest.mark.parametrize(
    ("orientation", "left_handed", "name"),
    [(*place, name) for place in PLACES for name in ("x.nrrd", "x.mha")]
    + [("oblique", True, name) for name in ("x.nrrd.gz", "x.nhdr", "x.mhd", "packed.nrrd", "packed.mha")],
)
def test_files_of_simpleitk_lie_where_it_has_them(
    orientation: str, left_handed: bool, name: str, tmp_path: Path
) -> None:  # fmt: skip
    lps = matrix(orientation, left_handed=left_handed)
    image = sitk.GetImageFromArray(voxels())
    image.SetSpacing(SIZES.tolist())
    image.SetOrigin(CORNER.tolist())
    image.SetDirection((lps[:3, :3] / SIZES).ravel().tolist())
    bare = tmp_path / name.removesuffix(".gz")
    sitk.WriteImage(image, str(bare), "packed" in name)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(bare.read_bytes()))
        bare.unlink()
    volume = opened(*tmp_path.iterdir())
    assert agrees(volume, RAS @ lps, 1e-5) and volume.geometry.known
    assert volume.dtype == np.int16 and np.array_equal(np.asarray(volume), voxels())
    volcomp_info = volcomp.info(tmp_path / "archive.vcz")["volumes"][0]["spacing_mm"]
    assert tuple(volcomp_info) == volume.spacing


@pytest.mark.parametrize(
    ("space", "known"),
    [
        ("space: right-anterior-superior", True), ("space: RAS", True), ("space: left-anterior-superior", True),
        ("space: LAS", True), ("space: left-posterior-superior", True), ("space: lps", True),
        ("space: scanner-xyz", False), ("space: 3D-right-handed", False), ("space dimension: 3", False),
    ],
)  # fmt: skip
def test_spaces_of_nrrd_are_those_of_itk(space: str, known: bool, tmp_path: Path) -> None:
    key, value = space.split(": ")
    fields = {"spacings": None, "space directions": "(0,0.5,0) (0,0,0.7) (2,0,0)", "space origin": "(1,2,3)"}
    data = nrrd(voxels(), fields={key: value, **fields})
    data = data.replace(b"spacings: None\n", b"")
    (tmp_path / "x.nrrd").write_bytes(data)
    volume = opened(tmp_path / "x.nrrd")
    assert np.allclose(volume.geometry.lps, of_sitk(sitk.ReadImage(str(tmp_path / "x.nrrd"))))
    assert volume.geometry.known == known and volume.to_nibabel().header["sform_code"] == known


def test_sizes_alone_of_nrrd(tmp_path: Path) -> None:
    (tmp_path / "x.nrrd").write_bytes(nrrd(voxels()))
    volume = opened(tmp_path / "x.nrrd")
    assert volume.spacing == (3.0, 0.75, 0.5) and not volume.geometry.known
    assert np.allclose(volume.geometry.lps, of_sitk(sitk.ReadImage(str(tmp_path / "x.nrrd"))))
    (tmp_path / "x.nrrd").write_bytes(nrrd(voxels(), spacings="0.5 0.75 nan", thicknesses="nan nan 4"))
    assert opened(tmp_path / "x.nrrd").spacing == (4.0, 0.75, 0.5)
    units = {"space": "LPS", "space directions": "(500,0,0) (0,700,0) (0,0,2000)", "space units": '"um" "um" "um"'}
    (tmp_path / "x.nrrd").write_bytes(nrrd(voxels(), fields=units).replace(b"spacings: 0.5 0.75 3\n", b""))
    assert opened(tmp_path / "x.nrrd").spacing == (2.0, 0.7, 0.5)


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"TransformMatrix": "0 1 0 0 0 1 1 0 0", "Offset": "1 2 3"},
        {"Orientation": "0 1 0 0 0 1 1 0 0", "Position": "1 2 3"}, {"Rotation": "0 1 0 0 0 1 1 0 0", "Origin": "1 2 3"},
        {"TransformMatrix": "0 1 0 0 0 1 1 0 0", "CenterOfRotation": "10 20 30", "AnatomicalOrientation": "RAS"},
        {"AnatomicalOrientation": "RAS"}, {"ElementSpacing": None, "ElementSize": "0.5 0.7 2"},
        {"ElementSpacing": "0.5 -0.7 2", "Offset": "1 2 3"},
        {"ElementSpacing": "1 1 1", "TransformMatrix": "0.5 0 0 0 0.7 0 0 0 2"},
    ],
)  # fmt: skip
def test_metaimage_lies_where_itk_has_it(fields: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "x.mha").write_bytes(meta(voxels(), **fields))
    volume = opened(tmp_path / "x.mha")
    assert np.allclose(volume.geometry.lps, of_sitk(sitk.ReadImage(str(tmp_path / "x.mha"))))


@pytest.mark.parametrize(
    ("orientation", "left_handed", "name"), [(*place, "x.mgh") for place in PLACES] + [("oblique", True, "x.mgz")]
)
def test_mgh_lies_where_nibabel_has_it(orientation: str, left_handed: bool, name: str, tmp_path: Path) -> None:
    affine = RAS @ matrix(orientation, left_handed=left_handed)
    nibabel.save(nibabel.MGHImage(voxels().T, affine), tmp_path / name)
    volume = opened(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    # nibabel.load leaves the file open.
    found = nibabel.MGHImage.from_bytes(gzip.decompress(data) if name.endswith("z") else data)
    assert agrees(volume, found.affine, 1e-3)
    assert volume.dtype == np.int16 and np.array_equal(np.asarray(volume), voxels())


def test_mgh_without_a_place_is_the_coronal_one_of_freesurfer(tmp_path: Path) -> None:
    """To the left, down and to the front. (nibabel 5.4 has its y and z axes turned round.)"""
    (tmp_path / "y.mgh").write_bytes(mgh(voxels())[:28] + bytes(256) + stored(voxels(), ">"))
    bare = opened(tmp_path / "y.mgh")
    assert bare.affine[:3, :3].tolist() == [[-1, 0, 0], [0, 0, 1], [0, -1, 0]] and not bare.geometry.known
    assert np.allclose(bare.affine @ [4.5, 4, 2.5, 1], [0, 0, 0, 1])


def test_planes_lie_in_space_too(tmp_path: Path) -> None:
    plane = voxels((24, 20))
    affine = RAS @ matrix("oblique")
    nibabel.save(nibabel.Nifti1Image(plane.T, affine), tmp_path / "x.nii")
    assert agrees(opened(tmp_path / "x.nii"), nibabel.load(tmp_path / "x.nii").affine)
    image = sitk.GetImageFromArray(plane)
    image.SetSpacing([0.5, 0.7])
    image.SetOrigin([3.0, 4])
    for name in ("x.mha", "x.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        volume = opened(tmp_path / name)
        assert volume.shape == (1, 24, 20) and volume.spacing == (1.0, 0.7, 0.5)
        assert volume.geometry.lps[:2, 3].tolist() == [3, 4] and not volume.geometry.known


@pytest.mark.parametrize("shape", [(1, 24, 20), (24, 1, 20), (24, 20, 1), (3, 1, 24, 20)])
def test_axes_of_one_voxel_keep_their_direction(shape: tuple[int, ...], tmp_path: Path) -> None:
    """An archive leaves them out: columns and rows are the first two others."""
    affine = RAS @ matrix("oblique")
    nibabel.save(nibabel.Nifti1Image(voxels(shape).T, affine), tmp_path / "x.nii")
    volume = opened(tmp_path / "x.nii")
    assert volume.shape[1:] == (24, 20) and volume.times == (3 if len(shape) > 3 else 1)
    axes = [axis for axis, length in enumerate(shape[::-1]) if length > 1][:2]
    index = [0, 0, 0, 1]
    index[axes[0]], index[axes[1]] = 7, 11
    assert np.allclose(volume.affine @ [7, 11, 0, 1], affine @ index, atol=1e-4)


def test_time_points_are_a_fourth_axis(tmp_path: Path) -> None:
    whole, affine = voxels((3, 5, 24, 20)), RAS @ matrix("oblique")
    image = nibabel.Nifti1Image(whole.T, affine)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 2500
    nibabel.save(image, tmp_path / "x.nii.gz")
    volume = opened(tmp_path / "x.nii.gz")
    assert volume.shape == whole.shape and volume.times == 3 and volume.seconds == 2.5
    assert np.allclose(volume.affine, affine, atol=1e-4)
    made = volume.to_nibabel()
    assert made.shape == (20, 24, 5, 3) and np.array_equal(np.asarray(made.dataobj).T, whole)
    assert made.header.get_zooms()[3] == 2.5 and made.header.get_xyzt_units() == ("mm", "sec")
    four = volume.to_sitk()
    assert np.array_equal(sitk.GetArrayFromImage(four), whole) and four.GetSpacing()[3] == 2.5
    assert np.allclose(of_sitk(four), volume.geometry.lps)
    for suffix in (".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr", ".img"):
        volume.save(tmp_path / f"v{suffix}", force=True)
        read = sitk.ReadImage(str(tmp_path / f"v{suffix}"))
        found = sitk.GetArrayFromImage(read)
        assert np.array_equal(found if found.shape == whole.shape else np.moveaxis(found, -1, 0), whole), suffix
        assert np.allclose(of_sitk(read), volume.geometry.lps, atol=1e-3), suffix
    volume.save(tmp_path / "some.nii", slice(1, 4))
    some = nibabel.load(tmp_path / "some.nii")
    assert np.array_equal(np.asarray(some.dataobj).T, whole[:, 1:4])
    assert np.allclose(some.affine[:3, 3], (affine @ [0, 0, 1, 1])[:3], atol=1e-3)


LIES = {
    "an affine of zeros": (nifti, {"codes": (0, 1), "srow": [0] * 12}, "axes that do not span a space"),
    "an affine of NaN": (nifti, {"codes": (0, 1), "srow": [float("nan")] * 12}, "that are no numbers, or beyond"),
    "two equal axes": (nifti, {"codes": (0, 1), "srow": [1, 1, 0, 0] * 3}, "axes that do not span a space"),
    "a long quaternion": (nifti, {"codes": (1, 0), "quaternion": (1, 1, 0)}, "a quaternion of a length above 1"),
}


@pytest.mark.parametrize("what", LIES)
def test_lying_headers_give_one_sentence(what: str, tmp_path: Path) -> None:
    _, facts, sentence = LIES[what]
    data = bytearray(nifti(voxels()))
    struct.pack_into("<2h", data, 252, *facts["codes"])
    struct.pack_into("<3f", data, 256, *facts.get("quaternion", (0, 0, 0)))
    struct.pack_into("<12f", data, 280, *facts.get("srow", [1] * 12))
    (tmp_path / "x.nii").write_bytes(data)
    volume = opened(tmp_path / "x.nii")
    for access in (lambda: volume.affine, volume.to_sitk, volume.to_nibabel, lambda: volume.save(tmp_path / "v.nii")):
        with pytest.raises(UnsupportedError, match=f"x.nii has no place in space: its header states .*{sentence}"):
            access()
    assert volume.spacing == (None, None, None) and np.array_equal(np.asarray(volume), voxels())
    assert np.array_equal(sitk.GetArrayFromImage(volume.to_sitk(geometry=False)), voxels())


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("x.mha", meta(voxels(), TransformMatrix="1 0 0 0 1 0"), "another number of axes, or of no numbers"),
        ("x.mha", meta(voxels(), ElementSpacing="a b c"), "another number of axes, or of no numbers"),
        ("x.mha", meta(voxels(), ElementSpacing="0 1 1"), "axes that do not span a space"),
        ("x.mha", meta(voxels(), Offset="1e300 0 0"), "beyond 1000 km"),
        ("x.nrrd", nrrd(voxels(), fields={"space directions": "(1,0,0) (0,x,0) (0,0,1)"}), "that are no numbers"),
        ("x.nrrd", nrrd(voxels(), fields={"space directions": "(1,0,0) (0,1,0)"}), "directions of fewer axes"),
        ("x.nrrd", nrrd(voxels(), fields={"space directions": "(1,0,0) none (0,0,1)"}), "no direction of an axis"),
        ("x.nrrd", nrrd(voxels(), spacings="1 nan 1"), "no spacing of an axis"),
        ("x.npy", npy(voxels()), "its format has no coordinates"),
    ],
)
def test_headers_without_a_place_say_why(name: str, data: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    volume = opened(tmp_path / name)
    with pytest.raises(UnsupportedError, match=f"{name} has no place in space: .*{sentence}"):
        volume.affine  # noqa: B018
    assert np.array_equal(np.asarray(volume), voxels())


def test_tiff_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(tiff(voxels(kind="u2")))
    volume = opened(tmp_path / "x.tif")
    assert volume.dtype == np.uint16
    with pytest.raises(UnsupportedError, match=r"no header that can be read describes x.tif; .* gives the file itself"):
        volume.affine  # noqa: B018


def test_the_command_writes_images_of_whole_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels().T, RAS @ matrix("coronal")), tmp_path / "x.nii.gz")
    volume = opened(tmp_path / "x.nii.gz")
    for suffix in (".nii.gz", ".nrrd", ".mha", ".mhd"):
        line = ["decompress", str(tmp_path / "archive.vcz"), "-o", str(tmp_path / f"v{suffix}"), "--threads", "1"]
        assert cli.main([*line, "--json"]) == 0
        names = [f"v{suffix}", *(["v.raw"] if suffix == ".mhd" else [])]
        written = sum((tmp_path / name).stat().st_size for name in names)
        assert json.loads(capsys.readouterr().out)["bytes_out"] == written
        read = sitk.ReadImage(str(tmp_path / f"v{suffix}"))
        assert np.allclose(of_sitk(read), volume.geometry.lps, atol=1e-4)
        assert np.array_equal(sitk.GetArrayFromImage(read), voxels())
