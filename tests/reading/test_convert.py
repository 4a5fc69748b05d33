"""Volumes as files of other formats, read back by nibabel, SimpleITK, numpy and zarr."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.helpers import compress, image, noise, series
from tests.reading.placed import ORIENTATIONS, enhanced, placed
from volcomp import cli
from volcomp.cli.image import is_image
from volcomp.errors import TargetError, UnsupportedError
from volcomp.reading.convert import SUFFIXES, suffix_of

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
    for i, picture in enumerate(pixels):
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        image(tmp_path / "x" / f"{i}.dcm", picture[..., 0], z=i, raw=picture.tobytes(), **colour)
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
        volume.save(tmp_path / "w.tif")


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
    for name, depth in (("1.2", 5), ("a", 4)):
        assert cli.main([*line, "--series", name, "--force"]) == 0
        assert len(np.load(tmp_path / "v.npy")) == depth
    assert cli.main(["decompress", str(tmp_path / "x.vcz"), "-o", str(tmp_path / "out"), "--series", "1.2"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b"]


def test_the_command_knows_the_suffixes(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        assert is_image(tmp_path / f"v{suffix}") and suffix_of(f"v{suffix}") == suffix
    (tmp_path / "folder.nii").mkdir()
    for name in ("folder.nii", "v", "v.tif", "nii"):
        assert not is_image(tmp_path / name)
    assert not is_image(None)
