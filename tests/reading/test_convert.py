"""Volumes as files of other formats, read back by nibabel, SimpleITK, numpy and zarr."""

import gzip
import json
import re
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.formats.volumes import nifti, npy, picture
from tests.helpers import compress, image, noise, series
from tests.reading.placed import ORIENTATIONS, enhanced, placed
from tests.reading.whole import RAS, matrix, opened, voxels
from volcomp import cli
from volcomp.cli.image import is_image
from volcomp.errors import TargetError, UnsupportedError
from volcomp.formats.geometry import Geometry
from volcomp.options import IMAGE_SUFFIXES, image_suffix
from volcomp.reading import image_files, tiff_file
from volcomp.reading.convert import pair_of
from volcomp.reading.image_files import Grid

SLOPES = {"slopes": [0.5, 0.25, 2.125, 1, 3.7], "intercepts": [-1024, 0, 3, 7, 5]}
TILT = {"shear": (0, 0.7, 0)}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_nibabel_reads_nifti(orientation: str, suffix: str, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = volcomp.open(placed(tmp_path / "x", orientation, **SLOPES))
    assert volume.save(tmp_path / f"v{suffix}") == volume.shape
    found, made = nibabel.load(tmp_path / f"v{suffix}"), volume.to_nibabel()
    assert found.get_data_dtype() == np.float32 and np.array_equal(np.asarray(found.dataobj).T, volume.rescaled())
    for name in ("get_sform", "get_qform"):
        assert np.allclose(getattr(found, name)(), getattr(made, name)(), atol=2e-4), name
        assert getattr(found, name)(coded=True)[1] == 1
    assert found.header.get_zooms() == made.header.get_zooms() and found.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_simpleitk_reads_images(orientation: str, suffix: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = volcomp.open(placed(tmp_path / "x", orientation, intercepts=[-1000] * 5))
    volume.save(tmp_path / f"v{suffix}")
    found, made = sitk.ReadImage(str(tmp_path / f"v{suffix}")), volume.to_sitk()
    assert found.GetPixelIDTypeAsString() == "16-bit signed integer"
    assert np.array_equal(sitk.GetArrayFromImage(found), volume.rescaled())
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert np.allclose(getattr(found, name)(), getattr(made, name)(), atol=1e-4), name


def test_types_of_values_are_kept(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    kinds = {"int16": {}, "int32": {"slopes": [20] * 5}, "float32": SLOPES, "float64": {"slopes": [1e6] * 5}}
    for kind, facts in kinds.items():
        volume = volcomp.open(placed(tmp_path / kind, **facts))  # type: ignore[arg-type]
        for suffix in (".nii", ".nrrd", ".mha"):
            path = tmp_path / (kind + suffix)
            volume.save(path)
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            assert array.dtype == kind and np.array_equal(array, volume.rescaled())


def test_frames_that_descend_make_left_handed_images(tmp_path: Path) -> None:
    sitk, nibabel = pytest.importorskip("SimpleITK"), pytest.importorskip("nibabel")
    volume = volcomp.open(enhanced(tmp_path / "x.dcm", "oblique", -1.5))
    for suffix in (".nii", ".nrrd", ".mha"):
        volume.save(tmp_path / f"v{suffix}")
        found = sitk.ReadImage(str(tmp_path / f"v{suffix}"))
        assert np.allclose(found.GetDirection(), volume.to_sitk().GetDirection(), atol=1e-5)
    assert np.allclose(nibabel.load(tmp_path / "v.nii").get_qform(), volume.affine, atol=1e-3)


def test_a_gantry_tilt_is_written_where_the_format_can_say_it(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = volcomp.open(placed(tmp_path / "x", **TILT))
    with pytest.warns(UserWarning, match="SimpleITK only in .nrrd"):
        volume.save(tmp_path / "v.nii")
    found = nibabel.load(tmp_path / "v.nii")
    assert np.allclose(found.affine, volume.affine, atol=1e-4) and found.header["qform_code"] == 0
    volume.save(tmp_path / "v.nrrd")
    assert b"space directions: (0.6,0.0,0.0) (0.0,0.7,0.0) (0.0,0.6999" in (tmp_path / "v.nrrd").read_bytes()
    with pytest.raises(UnsupportedError, match="gantry tilt"):
        volume.save(tmp_path / "v.mha")
    assert not (tmp_path / "v.mha").exists()


def test_colours(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (4, 16, 12, 3)).cumsum(1).astype("u1")
    for i, colours in enumerate(pixels):
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        image(tmp_path / "x" / f"{i}.dcm", colours[..., 0], z=i, raw=colours.tobytes(), **colour)
    compress([tmp_path / "x"], tmp_path / "x.vcz")
    volume = volcomp.open(tmp_path / "x.vcz")
    sitk, nibabel = pytest.importorskip("SimpleITK"), pytest.importorskip("nibabel")
    for suffix in (".nii.gz", ".nrrd", ".mha", ".npy"):
        volume.save(tmp_path / f"v{suffix}")
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"v{suffix}"))), pixels)
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "v.nii.gz").dataobj)["B"].T, pixels[..., 2])
    assert np.array_equal(np.load(tmp_path / "v.npy"), pixels)


def test_numpy_reads_npy_also_of_what_has_no_place(tmp_path: Path) -> None:
    volume = volcomp.open(placed(tmp_path / "x", PixelSpacing=None, **SLOPES))
    assert volume.save(str(tmp_path / "v.npy")) == volume.shape
    found = np.load(tmp_path / "v.npy")
    assert found.dtype == "<f4" and np.array_equal(found, volume.rescaled())
    for suffix in (".nii", ".nrrd", ".mha"):
        with pytest.raises(UnsupportedError, match=r"lack PixelSpacing.*; \.npy and \.zarr hold voxels without"):
            volume.save(tmp_path / f"v{suffix}")
    array = noise((9, 7))
    (tmp_path / "plane.vcz").write_bytes(volcomp.compress(array, threads=1))
    volcomp.open(tmp_path / "plane.vcz").save(tmp_path / "plane.npy")
    assert np.array_equal(np.load(tmp_path / "plane.npy"), array)


def test_zarr_reads_zarr(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    volume = volcomp.open(placed(tmp_path / "x", "coronal", **SLOPES))
    volume.save(tmp_path / "v.zarr", slice(1, 4))
    found = zarr.open_array(str(tmp_path / "v.zarr"), mode="r")
    assert found.dtype == np.float32 and np.array_equal(found[...], volume.rescaled(slice(1, 4)))
    shifted = volume.affine @ [0, 0, 1, 1]
    assert np.allclose(np.array(found.attrs["affine_ras_mm"])[:, 3], shifted)
    assert found.attrs["spacing_mm"] == pytest.approx([2.5, 0.7, 0.6]) and found.attrs["series"] == "1.2.3.4"
    assert found.metadata.dimension_names == ("z", "y", "x")
    with pytest.raises(TargetError, match=r"v\.zarr exists"):
        volume.save(tmp_path / "v.zarr", force=True)
    bare = volcomp.open(placed(tmp_path / "y", PixelSpacing=None))
    bare.save(tmp_path / "y.zarr")
    assert "affine_ras_mm" not in zarr.open_array(str(tmp_path / "y.zarr"), mode="r").attrs


def test_some_slices_begin_at_their_place(ct: Path, tmp_path: Path, decoded: list) -> None:
    """And the slabs are decoded that hold them, each once."""
    nibabel = pytest.importorskip("nibabel")
    volume = volcomp.open(ct, threads=1, cache_bytes=0)
    assert volume.save(tmp_path / "v.nii", slice(20, 40)) == (20, 12, 12)
    assert decoded == [(0, 1), (0, 2), (0, 3)]
    found = nibabel.load(tmp_path / "v.nii")
    assert found.affine[2, 3] == 20 * 2.5 and np.array_equal(np.asarray(found.dataobj).T, volume.rescaled()[20:40])
    for threads in (2, 3, 8):
        volcomp.open(ct, threads=threads).save(tmp_path / f"{threads}.npy")
        assert np.array_equal(np.load(tmp_path / f"{threads}.npy"), volume.rescaled())
    for wrong, sentence in ((slice(60, 70), "slices 0 to 49"), (slice(0, 9, 2), "steps of 2")):
        with pytest.raises(UnsupportedError, match=sentence):
            volume.save(tmp_path / "w.npy", wrong)
    with pytest.raises(UnsupportedError, match=r"none of the suffixes \.nii\.gz, "):
        volume.save(tmp_path / "w.txt")


def test_a_gzip_stream_has_no_time_in_it(ct: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        volcomp.open(ct).save(tmp_path / f"{name}.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    volcomp.open(ct).save(tmp_path / "a.nii")
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes()) == (tmp_path / "a.nii").read_bytes()


def test_what_is_there_stays_unless_forced(ct: Path, tmp_path: Path) -> None:
    target = tmp_path / "v.nii"
    target.write_text("mine")
    volume = volcomp.open(ct)
    with pytest.raises(TargetError, match="exists"):
        volume.save(target)
    assert target.read_text() == "mine"
    volume.save(target, force=True)
    assert target.stat().st_size == 352 + volume.nbytes


def test_damage_leaves_nothing(ct: Path, tmp_path: Path) -> None:
    from tests.helpers import damage
    from volcomp.container.sections import SLAB, SectionId

    (tmp_path / "x.vcz").write_bytes(ct.read_bytes())
    damage(tmp_path / "x.vcz", SectionId(SLAB, 0, 2), 40)
    with pytest.raises(volcomp.DamagedError):
        volcomp.open(tmp_path / "x.vcz").save(tmp_path / "v.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["x.vcz"]


def test_the_command_writes_a_volume(ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["decompress", str(ct), "-o", str(tmp_path / "v.npy"), "--threads", "1"]) == 0
    assert "ct, 50×12×12 int16, to " in capsys.readouterr().out
    assert np.array_equal(np.load(tmp_path / "v.npy"), volcomp.open(ct).rescaled())
    line = ["decompress", str(ct), "-o", str(tmp_path / "w.nii.gz"), "--slices", "10:20", "--json", "--series", "ct"]
    assert cli.main(line) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["shape"] == [10, 12, 12] and facts["series"] == "1.2.3.4"
    assert facts["bytes_out"] == (tmp_path / "w.nii.gz").stat().st_size
    assert facts["bytes_in"] == ct.stat().st_size
    assert cli.main(line) == 1
    assert "exists; --force overwrites it" in capsys.readouterr().err
    assert cli.main([*line, "--force"]) == 0
    assert cli.main([*line, "--salvage"]) == 1


def test_the_command_chooses_among_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series(tmp_path / "study" / "a", 4, 8, series="1.1")
    series(tmp_path / "study" / "b", 5, 9, series="1.2")
    compress([tmp_path / "study"], tmp_path / "x.vcz")
    line = ["decompress", str(tmp_path / "x.vcz"), "-o", str(tmp_path / "v.npy")]
    assert cli.main(line) == 1
    assert "x.vcz has 2 volumes: 'a', 'b'; choose one with --series" in capsys.readouterr().err
    assert cli.main([*line, "--series", "c"]) == 1
    assert "has no volume 'c'; it has 2 volumes: 'a', 'b'" in capsys.readouterr().err
    assert cli.main([*line, "--series", "1"]) == 1
    assert "has no volume '1'; it has 2 volumes: 'a', 'b'; a number is given as 'volume 1'" in capsys.readouterr().err
    for name, depth in (("1.2", 5), ("a", 4)):
        assert cli.main([*line, "--series", name, "--force"]) == 0
        assert len(np.load(tmp_path / "v.npy")) == depth
    assert cli.main(["decompress", str(tmp_path / "x.vcz"), "-o", str(tmp_path / "out"), "--series", "1.2"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b"]


def test_the_command_knows_the_suffixes(tmp_path: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        assert is_image(tmp_path / f"v{suffix}") and image_suffix(f"v{suffix}") == suffix
    (tmp_path / "folder.nii").mkdir()
    for name in ("folder.nii", "v", "v.txt", "nii"):
        assert not is_image(tmp_path / name)
    assert not is_image(None)


@pytest.mark.parametrize("name", ["v.mhd", "v.MHD", "v.nhdr", "v.hdr", "v.img"])
def test_a_header_and_its_voxels_are_two_files(name: str, tmp_path: Path) -> None:
    sitk, nibabel = pytest.importorskip("SimpleITK"), pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(voxels().T, RAS @ matrix("oblique")), tmp_path / "x.nii")
    volume = opened(tmp_path / "x.nii")
    (tmp_path / "out").mkdir()
    volume.save(tmp_path / "out" / name)
    header, data = pair_of(tmp_path / "out" / name) or (Path(), Path())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted((header.name, data.name))
    assert data.stat().st_size == volume.rescaled().nbytes
    if "MHD" not in name:  # which SimpleITK does not know
        found = sitk.ReadImage(str(header))
        assert np.array_equal(sitk.GetArrayFromImage(found), volume.rescaled())
        for part in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert np.allclose(getattr(found, part)(), getattr(volume.to_sitk(), part)(), atol=1e-4)
    if header.suffix == ".hdr":
        assert np.allclose(nibabel.load(data).affine, volume.affine, atol=1e-3)
    compress([header, data], tmp_path / "again.vcz")
    again = volcomp.open(tmp_path / "again.vcz")
    assert np.allclose(again.affine, volume.affine, atol=1e-3) and np.array_equal(np.asarray(again), volume.rescaled())
    with pytest.raises(TargetError, match="exists"):
        volume.save(tmp_path / "out" / name)
    header.unlink()
    with pytest.raises(TargetError, match=rf"{data.name} exists"):
        volume.save(tmp_path / "out" / name)
    assert not header.exists()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "f4", "f8", "u4"])
def test_pillow_and_simpleitk_read_tiff(dtype: str, tmp_path: Path) -> None:
    sitk, pillow = pytest.importorskip("SimpleITK"), pytest.importorskip("PIL.Image")
    steps = np.random.default_rng(0).integers(-3, 4, (6, 24, 20)).cumsum(-1)
    pixels = (steps + 50).astype(dtype)
    (tmp_path / "x.nii").write_bytes(nifti(pixels))
    compress([tmp_path / "x.nii"], tmp_path / "x.vcz")
    volume = volcomp.open(tmp_path / "x.vcz")
    volume.save(tmp_path / "v.tif")
    if dtype != "f8":  # which ITK reads as colours of bytes
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "v.tif")))
        assert found.dtype == pixels.dtype and np.array_equal(found, pixels)
    if dtype in ("u1", "u2", "f4"):
        with pillow.open(tmp_path / "v.tif") as image:
            assert image.n_frames == 6 and image.tag_v2[282] == 20 and abs(image.tag_v2[283] - 10 / 0.75) < 1e-3
            image.seek(4)
            assert np.array_equal(np.asarray(image), pixels[4])
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "v.tif").write_bytes((tmp_path / "v.tif").read_bytes())
    compress([tmp_path / "again" / "v.tif"], tmp_path / "again.vcz")
    again = volcomp.open(tmp_path / "again.vcz")
    assert again.dtype == pixels.dtype and np.array_equal(np.asarray(again), pixels)


def test_large_tiff_has_words_of_64_bits() -> None:
    """Its header alone is made: of 3000 slices of 1024²."""
    grid = Grid((3000, 1024, 1024), np.dtype("<u2"), Geometry(np.eye(4)))
    head = tiff_file.header(grid)
    assert head[:8] == b"II\x2b\0\x08\0\0\0"
    (at,) = struct.unpack_from("<Q", head, 8)
    for page in range(3000):
        (count,) = struct.unpack_from("<Q", head, at)
        fields = {struct.unpack_from("<H", head, at + 8 + 20 * i)[0]: at + 8 + 20 * i for i in range(count)}
        assert struct.unpack_from("<HQQ", head, fields[273] + 2) == (16, 1, len(head) + page * (1 << 21))
        (at,) = struct.unpack_from("<Q", head, at + 8 + 20 * count)
    assert at == 0 and len(head) < 3000 * 1000


def test_ome_zarr_has_axes_and_spacing(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    volume = volcomp.open(placed(tmp_path / "x", "coronal", **SLOPES))
    volume.save(tmp_path / "v.ome.zarr")
    group = zarr.open_group(str(tmp_path / "v.ome.zarr"), mode="r")
    (scales,) = group.attrs["ome"]["multiscales"]
    assert group.attrs["ome"]["version"] == "0.5" and [axis["name"] for axis in scales["axes"]] == ["z", "y", "x"]
    assert all(axis["type"] == "space" and axis["unit"] == "millimeter" for axis in scales["axes"])
    (one,) = scales["datasets"]
    assert one["coordinateTransformations"] == [{"type": "scale", "scale": [2.5, 0.7, 0.6]}]
    array = group[one["path"]]
    assert array.metadata.dimension_names == ("z", "y", "x") and np.array_equal(array[...], volume.rescaled())
    assert cli.main(["decompress", str(tmp_path / "x.vcz"), "-o", str(tmp_path / "w.ome.zarr"), "--slices", "1:3"]) == 0
    assert zarr.open_array(str(tmp_path / "w.ome.zarr" / "0"), mode="r").shape == (2, 7, 9)


def test_colours_of_ome_zarr_are_channels(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    pixels = np.random.default_rng(0).integers(0, 9, (4, 16, 12, 3)).cumsum(1).astype("u1")
    np.save(tmp_path / "x.npy", pixels)
    compress([tmp_path / "x.npy"], tmp_path / "x.vcz")
    volcomp.open(tmp_path / "x.vcz").save(tmp_path / "v.ome.zarr")
    group = zarr.open_group(str(tmp_path / "v.ome.zarr"), mode="r")
    (scales,) = group.attrs["ome"]["multiscales"]
    assert [axis["type"] for axis in scales["axes"]] == ["channel", "space", "space", "space"]
    assert "unit" not in scales["axes"][1] and np.array_equal(group["0"][...], np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize(("name", "hint"), [
    ("v.dcm", "come back as they were, in a folder"), ("v.PNG", "volcomp view writes pictures"),
    ("v.npz", r"\.npy holds an array"), ("v.raw", r"\.mhd writes a header"), ("v.mgz", r"\.nii\.gz holds the same"),
])  # fmt: skip
def test_names_of_files_that_are_not_written_make_no_folders(
    ct: Path, name: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["decompress", str(ct), "-o", str(tmp_path / name)]) == 1
    assert name in (said := capsys.readouterr().err) and re.search(hint, said)
    for access in (partial(volcomp.decompress_files, ct), volcomp.open(ct).save):
        with pytest.raises(UnsupportedError, match=hint):
            access(tmp_path / name)
    assert not list(tmp_path.iterdir())
    (tmp_path / name).mkdir()  # a folder that is there is one
    assert volcomp.decompress_files(ct, tmp_path / name, threads=1).files == 51


def test_the_library_makes_no_folder_with_the_name_of_an_image(ct: Path, tmp_path: Path) -> None:
    for name in ("v.nii.gz", "v.mhd", "v.zarr"):
        with pytest.raises(UnsupportedError, match=r"volcomp\.open\(archive\)\.save\('.*'\) writes the volume"):
            volcomp.decompress_files(ct, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_types_that_a_format_has_not_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy(picture((6, 24, 20), "f2")))
    compress([tmp_path / "x.npy"], tmp_path / "x.vcz")
    half = volcomp.open(tmp_path / "x.vcz")
    with pytest.raises(UnsupportedError, match=r"its format has no coordinates; \.npy and \.zarr hold voxels"):
        half.save(tmp_path / "v.nii")
    grid = Grid((2, 3, 4), np.dtype("f2"), Geometry(np.eye(4)))
    for header in (image_files.nifti, image_files.nrrd, image_files.meta_image):
        with pytest.raises(UnsupportedError, match="has no numbers of type float16"):
            header(grid)


def test_info_and_open_have_one_spacing(tmp_path: Path) -> None:
    """They disagreed where slices are missing."""
    for i in range(8):
        image(tmp_path / "times" / f"{i}", noise((9, 9), seed=i), z=1.25 * (i // 2), TemporalPositionIdentifier=i % 2)
    compress([tmp_path / "times"], tmp_path / "times.vcz")
    archives = {
        "even": placed(tmp_path / "even"),
        "missing": placed(tmp_path / "missing", steps=[0, 2.5, 7.5, 10, 12.5]),
        "frames": enhanced(tmp_path / "frames.dcm"),
        "tilted": placed(tmp_path / "tilted", **TILT),  # type: ignore[arg-type]
        "unknown": placed(tmp_path / "unknown", PixelSpacing=None),
        "times": tmp_path / "times.vcz",
    }
    found = {}
    for name, path in archives.items():
        (told,) = volcomp.info(path)["volumes"]
        found[name] = tuple(told["spacing_mm"])
        assert found[name] == volcomp.open(path).spacing
    assert found["even"] == (2.5, 0.7, 0.6) and found["missing"] == (None, 0.7, 0.6)
    assert found["times"] == (1.25, 0.5, 0.5) and found["frames"][0] == 1.5
    assert found["tilted"][0] == pytest.approx(np.hypot(2.5, 0.7)) and found["unknown"] == (None, None, None)
