"""Files within a bound: no voxel beyond it, what must stay stays, and new instances say what they are."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest

import volcomp
from tests.helpers import contents, image, noise
from volcomp import cli
from volcomp.derived import dicom
from volcomp.derived.bound import bounded
from volcomp.derived.region import region_of
from volcomp.errors import UnsupportedError

ELEMENTS = {"PatientName": "A^B", "StudyInstanceUID": "1.2.3", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}


@pytest.mark.parametrize("error", [1, 2, 7, 300])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
def test_no_voxel_leaves_the_bound_or_the_type(error: int, kind: str) -> None:
    info = np.iinfo(kind)
    voxels = np.arange(info.min, info.max + 1).astype(kind)
    near = bounded(voxels, error, info.min, info.max)
    assert near.dtype == voxels.dtype
    difference = np.abs(near.astype(int) - voxels.astype(int)).max()
    assert difference == error if error < info.max // 2 else difference <= error
    assert near[-info.min] == 0
    assert np.unique(near).size <= (info.max - info.min) // (2 * error + 1) + 3


def test_stored_bits_bound_the_values() -> None:
    voxels = np.arange(4096).astype("u2")
    near = bounded(voxels, 4, 0, 4095)
    assert near.max() <= 4095 and np.abs(near.astype(int) - voxels).max() == 4


def test_exact_voxels_stay() -> None:
    voxels = np.arange(64).reshape(1, 8, 8).astype("u2")
    exact = np.zeros((1, 8, 8), bool)
    exact[0, 2:5] = True
    near = bounded(voxels, 3, 0, 65535, exact)
    assert np.array_equal(near[exact], voxels[exact]) and not np.array_equal(near[~exact], voxels[~exact])


def test_regions_are_read() -> None:
    inside = region_of("1:3,:2,4:").inside((6, 4, 5), 3, 6)
    expected = np.zeros((6, 4, 5), bool)
    expected[4:, :2, 1:3] = True
    assert np.array_equal(np.broadcast_to(inside, (3, 4, 5)), expected[3:])
    assert str(region_of("x1:3,y:2,z4:")) == "x1:3,y0:2,z4:"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("3:3,:,:", "is empty"), ("1:2,3:4", "is no region and no file"), ("nowhere.nii", "is no region and no file")],
)
def test_wrong_regions_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(UnsupportedError, match=sentence):
        region_of(text)


def test_a_region_beyond_the_volume_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="begins at 9 of an axis with 4 voxels"):
        region_of(":,9:,:").inside((6, 4, 5), 0, 6)


def _study(folder: Path, kind: str = "i2", stored: int | None = None, **elements: object) -> np.ndarray:
    volume = noise((4, 16, 16), kind, 0 if kind[0] == "u" else -1000, 200 if kind[1] == "1" else 3000)
    for z, pixels in enumerate(volume):
        image(folder / f"{z}.dcm", pixels, z=z, stored=stored, InstanceNumber=z, **ELEMENTS, **elements)
    return volume


def _restored(archive: Path, folder: Path) -> Path:
    volcomp.decompress_files(archive, folder, threads=1)
    return folder


def test_dicom_images_become_new_instances(tmp_path: Path) -> None:
    volume = _study(tmp_path / "ct")
    (tmp_path / "ct" / "report.txt").write_text("No finding.")
    done = volcomp.compress_files(tmp_path / "ct", tmp_path / "ct.vcz", max_error=3, lossy=True, threads=1)
    assert (done.files, done.changed, done.unchanged) == (5, 4, [])
    out = _restored(tmp_path / "ct.vcz", tmp_path / "out")
    assert (out / "report.txt").read_text() == "No finding."
    for z, pixels in enumerate(volume):
        old, new = pydicom.dcmread(tmp_path / "ct" / f"{z}.dcm"), pydicom.dcmread(out / f"{z}.dcm")
        assert 0 < np.abs(new.pixel_array.astype(int) - pixels).max() <= 3
        assert new.SOPInstanceUID != old.SOPInstanceUID and len(new.SOPInstanceUID) <= 64
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
        assert new.ImageType[0] == "DERIVED" and new.ImageType[1:] == ["PRIMARY", "AXIAL"]
        assert new.LossyImageCompression == "01" and new.LossyImageCompressionMethod == "VOLCOMP_BOUND"
        assert float(new.LossyImageCompressionRatio) > 1
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert new.DerivationCodeSequence[0].CodeValue == "113040"
        for name in ("PatientName", "StudyInstanceUID", "SeriesInstanceUID", "ImagePositionPatient", "InstanceNumber"):
            assert new[name].value == old[name].value
    facts = volcomp.info(tmp_path / "ct.vcz")
    assert facts["promise"] == "bounded-error"
    assert facts["losses"] == [{"files": 4, "max_error": 3, "region": ""}]
    assert volcomp.inspect(tmp_path / "ct.vcz").losses[0].max_error == 3


def test_the_same_change_gives_the_same_archive(tmp_path: Path) -> None:
    _study(tmp_path / "ct")
    for name in ("a.vcz", "b.vcz"):
        volcomp.compress_files(tmp_path / "ct", tmp_path / name, max_error=2, lossy=True, threads=1)
    assert (tmp_path / "a.vcz").read_bytes() == (tmp_path / "b.vcz").read_bytes()


def test_ratio_and_method_are_appended(tmp_path: Path) -> None:
    _study(
        tmp_path / "ct", LossyImageCompression="01", LossyImageCompressionRatio=["4.5"],
        LossyImageCompressionMethod=["ISO_10918_1"], DerivationDescription="cropped",
    )  # fmt: skip
    volcomp.compress_files(tmp_path / "ct", tmp_path / "ct.vcz", max_error=2, lossy=True, threads=1)
    new = pydicom.dcmread(_restored(tmp_path / "ct.vcz", tmp_path / "out") / "0.dcm")
    assert list(new.LossyImageCompressionMethod) == ["ISO_10918_1", "VOLCOMP_BOUND"]
    assert float(new.LossyImageCompressionRatio[0]) == 4.5 and len(new.LossyImageCompressionRatio) == 2
    assert new.DerivationDescription.startswith("cropped; ")


def test_padding_stays(tmp_path: Path) -> None:
    volume = noise((16, 16), "i2", -1000, 3000)
    volume[:, :4] = -2000
    image(tmp_path / "in.dcm", volume, PixelPaddingValue=-2000, **ELEMENTS)
    volcomp.compress_files(tmp_path / "in.dcm", tmp_path / "a.vcz", max_error=4, lossy=True, threads=1)
    new = pydicom.dcmread(_restored(tmp_path / "a.vcz", tmp_path / "out") / "in.dcm").pixel_array
    assert np.array_equal(new == -2000, volume == -2000) and np.abs(new.astype(int) - volume).max() == 4


@pytest.mark.parametrize(("kind", "stored"), [("u1", None), ("u2", 12), ("i2", 12), ("u2", None)])
def test_all_types_of_pixels(tmp_path: Path, kind: str, stored: int | None) -> None:
    size = 16 if kind[1] == "2" else 8
    low = -(1 << (stored or size) - 1) if kind[0] == "i" else 0
    span = 1 << (stored or size)
    pixels = (np.arange(32 * 32).reshape(32, 32) * (span // 1024 or 1) % span + low).astype(kind)
    image(tmp_path / "in.dcm", pixels, stored=stored, **ELEMENTS)
    volcomp.compress_files(tmp_path / "in.dcm", tmp_path / "a.vcz", max_error=5, lossy=True, threads=1)
    new = pydicom.dcmread(_restored(tmp_path / "a.vcz", tmp_path / "out") / "in.dcm").pixel_array
    assert new.dtype == pixels.dtype and np.abs(new.astype(int) - pixels.astype(int)).max() == 5
    assert low <= new.min() and new.max() < low + span


def test_compressed_instances_become_native(tmp_path: Path) -> None:
    pixels = noise((32, 32), "u2", 0, 3000)
    image(tmp_path / "in.dcm", pixels, **ELEMENTS)
    dataset = pydicom.dcmread(tmp_path / "in.dcm")
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(tmp_path / "in.dcm")
    done = volcomp.compress_files(tmp_path / "in.dcm", tmp_path / "a.vcz", max_error=1, lossy=True, threads=1)
    new = pydicom.dcmread(_restored(tmp_path / "a.vcz", tmp_path / "out") / "in.dcm")
    assert done.changed == 1 and new.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert np.abs(new.pixel_array.astype(int) - pixels).max() == 1


def test_elements_of_a_message_are_left_out(tmp_path: Path) -> None:
    """Real series have them: pydicom reads such files and refuses to write them."""
    pixels = noise((16, 16), "u2", 0, 3000)
    path = image(tmp_path / "in.dcm", pixels, syntax=pydicom.uid.ImplicitVRLittleEndian, **ELEMENTS)
    data = path.read_bytes()
    begin = data.index(b"\x08\x00\x08\x00", 132)
    command = b"\x00\x00\x10\x01\x02\x00\x00\x00\x07\x00"  # (0000,0110), a Message ID
    path.write_bytes(data[:begin] + command + data[begin:])
    assert 0x00000110 in pydicom.dcmread(path)
    done = volcomp.compress_files(path, tmp_path / "a.vcz", max_error=1, lossy=True, threads=1)
    new = pydicom.dcmread(_restored(tmp_path / "a.vcz", tmp_path / "out") / "in.dcm")
    assert done.changed == 1 and 0x00000110 not in new
    assert np.abs(new.pixel_array.astype(int) - pixels).max() == 1


def test_what_cannot_change_stays_and_is_named(tmp_path: Path) -> None:
    pixels = noise((16, 16), "u1", 0, 200)
    image(tmp_path / "in" / "palette.dcm", pixels, PhotometricInterpretation="PALETTE COLOR", **ELEMENTS)
    image(tmp_path / "in" / "grey.dcm", pixels, series="1.2.3.5", **ELEMENTS)
    np.save(tmp_path / "in" / "floats.npy", np.linspace(0, 1, 512, dtype="f4").reshape(2, 16, 16))
    done = volcomp.compress_files(tmp_path / "in", tmp_path / "a.vcz", max_error=2, lossy=True, threads=1)
    assert done.changed == 1 and sorted(done.unchanged) == ["floats.npy", "palette.dcm"]
    out, given = contents(_restored(tmp_path / "a.vcz", tmp_path / "out")), contents(tmp_path / "in")
    assert {name for name in given if out[name] != given[name]} == {"grey.dcm"}


def test_nothing_to_change_is_no_loss(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("No finding.")
    done = volcomp.compress_files(tmp_path / "report.txt", tmp_path / "a.vcz", max_error=2, threads=1)
    assert done.changed == 0 and volcomp.info(tmp_path / "a.vcz")["promise"] == "file-exact"


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.nrrd", "v.mha", "v.npy"])
def test_whole_volumes_keep_their_headers(tmp_path: Path, name: str) -> None:
    voxels = noise((6, 20, 24), "i2")
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, voxels)
    else:
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(voxels), path, useCompression=name.endswith("gz"))
    volcomp.compress_files(path, tmp_path / "a.vcz", max_error=2, threads=1)
    out = (_restored(tmp_path / "a.vcz", tmp_path / "out") / name).read_bytes()
    given = path.read_bytes()
    if name.endswith(".gz"):
        out, given = gzip.decompress(out), gzip.decompress(given)
    begin = len(given) - voxels.nbytes
    assert out[:begin] == given[:begin]
    near = np.frombuffer(out[begin:], "<i2").astype(int)
    assert np.abs(near - voxels.ravel()).max() == 2


def test_a_box_stays(tmp_path: Path) -> None:
    volume = _study(tmp_path / "ct")
    volcomp.compress_files(tmp_path / "ct", tmp_path / "a.vcz", max_error=6, roi="2:9,3:12,1:3", lossy=True, threads=1)
    out = _restored(tmp_path / "a.vcz", tmp_path / "out")
    new = np.stack([pydicom.dcmread(out / f"{z}.dcm").pixel_array for z in range(4)]).astype(int)
    assert np.array_equal(new[1:3, 3:12, 2:9], volume[1:3, 3:12, 2:9])
    outside = np.ones(volume.shape, bool)
    outside[1:3, 3:12, 2:9] = False
    assert np.abs(new - volume)[outside].max() == 6 and np.unique(new[outside] % 13).tolist() == [0]
    assert volcomp.info(tmp_path / "a.vcz")["losses"][0]["region"] == "x2:9,y3:12,z1:3"


@pytest.mark.parametrize("compressed", [False, True])
def test_a_mask_stays(tmp_path: Path, compressed: bool) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = _study(tmp_path / "ct")
    mask = np.random.default_rng(0).integers(0, 2, volume.shape).astype("u1")
    path = tmp_path / ("m.nii.gz" if compressed else "m.nii")
    sitk.WriteImage(sitk.GetImageFromArray(mask), path)
    volcomp.compress_files(tmp_path / "ct", tmp_path / "a.vcz", max_error=6, roi=str(path), lossy=True, threads=1)
    out = _restored(tmp_path / "a.vcz", tmp_path / "out")
    new = np.stack([pydicom.dcmread(out / f"{z}.dcm").pixel_array for z in range(4)]).astype(int)
    assert np.array_equal(new[mask > 0], volume[mask > 0]) and np.abs(new - volume).max() == 6


def test_a_mask_of_another_grid_is_refused(tmp_path: Path) -> None:
    _study(tmp_path / "ct")
    np.save(tmp_path / "m.npy", np.ones((3, 16, 16), "u1"))
    with pytest.raises(UnsupportedError, match=r"3 × 16 × 16 voxels .* and a volume has 4 × 16 × 16"):
        volcomp.compress_files(
            tmp_path / "ct", tmp_path / "a.vcz", max_error=6, roi=str(tmp_path / "m.npy"), lossy=True, threads=1
        )
    assert not (tmp_path / "a.vcz").exists()


def test_appending_keeps_what_was_stated(tmp_path: Path) -> None:
    _study(tmp_path / "ct")
    volcomp.compress_files(tmp_path / "ct", tmp_path / "a.vcz", max_error=2, lossy=True, threads=1)
    (tmp_path / "report.txt").write_text("No finding.")
    volcomp.append(tmp_path / "a.vcz", tmp_path / "report.txt", threads=1)
    assert volcomp.info(tmp_path / "a.vcz")["losses"] == [{"files": 4, "max_error": 2, "region": ""}]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    _study(tmp_path / "ct")
    assert cli.main(["compress", "ct", "--max-error", "2", "--threads", "1"]) == 1
    assert "is a DICOM image, whose voxels would change; allow it (--lossy" in capsys.readouterr().err
    assert not (tmp_path / "ct.vcz").exists()
    assert cli.main(["compress", "ct", "--max-error", "2", "--lossy", "--threads", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["changed"] == 4 and facts["unchanged"] == []
    assert cli.main(["info", "ct.vcz"]) == 0
    text = capsys.readouterr().out
    assert "4 files differ from the original by at most 2 in a voxel" in text
    assert cli.main(["verify", "ct.vcz", "--threads", "1"]) == 0
    assert cli.main(["compress", "ct", "--lossy", "-o", "b.vcz"]) == 2
    assert cli.main(["compress", "ct", "--max-error", "0", "-o", "b.vcz"]) == 2


def test_more_than_was_agreed_on_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((64, 64), "u2")
    pixels[20:40, 20:40] = 500
    image(tmp_path / "head.dcm", pixels, BodyPartExamined="HEAD", **ELEMENTS)
    assert cli.main(["compress", "head.dcm", "--max-error", "1", "--lossy", "--threads", "1"]) == 0
    assert "the German consensus of 2009" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["analyze", "nrrd", "metaimage"])
def test_files_whose_header_is_beside_them_change(tmp_path: Path, kind: str) -> None:
    voxels = noise((4, 16, 24), "i2")
    folder = tmp_path / "in"
    folder.mkdir()
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 24, 16, 4, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    (folder / "a.hdr").write_bytes(header)
    (folder / "b.nhdr").write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 24 16 4\nencoding: raw\nendian: little\ndata file: b.raw\n\n"
    )
    (folder / "c.mhd").write_text("NDims = 3\nDimSize = 24 16 4\nElementType = MET_SHORT\nElementDataFile = c.raw\n")
    name = {"analyze": "a.img", "nrrd": "b.raw", "metaimage": "c.raw"}[kind]
    (folder / name).write_bytes(voxels.tobytes())
    done = volcomp.compress_files(folder, tmp_path / "a.vcz", max_error=2, threads=1)
    assert (done.changed, done.unchanged, done.voxels) == (1, [], voxels.size)
    out = _restored(tmp_path / "a.vcz", tmp_path / "out")
    new = np.fromfile(out / name, "<i2").reshape(voxels.shape)
    assert np.abs(new.astype(int) - voxels).max() == 2
    for one in ("a.hdr", "b.nhdr", "c.mhd"):
        assert (out / one).read_bytes() == (folder / one).read_bytes()


def test_values_stay_within_those_of_a_plain_file(tmp_path: Path) -> None:
    pixels = noise((40, 60), "u1", 0, 99).clip(0, 99)
    pixels[:, ::2] = 99
    (tmp_path / "a.pgm").write_bytes(b"P5 60 40 99\n" + pixels.tobytes())  # 100, a multiple of 5, would be too large
    done = volcomp.compress_files(tmp_path / "a.pgm", tmp_path / "a.vcz", max_error=2, threads=1)
    new = np.frombuffer((_restored(tmp_path / "a.vcz", tmp_path / "out") / "a.pgm").read_bytes(), "u1", 2400, 12)
    assert done.changed == 1 and new.max() == 99
    assert np.abs(new.reshape(40, 60).astype(int) - pixels).max() == 2


def test_no_voxel_becomes_padding(tmp_path: Path) -> None:
    pixels = noise((16, 16), "i2", -20, 20)
    pixels[:, :3] = 0
    image(tmp_path / "in.dcm", pixels, PixelPaddingValue=0, **ELEMENTS)
    volcomp.compress_files(tmp_path / "in.dcm", tmp_path / "a.vcz", max_error=4, lossy=True, threads=1)
    new = pydicom.dcmread(_restored(tmp_path / "a.vcz", tmp_path / "out") / "in.dcm").pixel_array
    assert np.array_equal(new == 0, pixels == 0) and np.abs(new.astype(int) - pixels).max() == 4


def test_an_instance_that_reads_back_otherwise_stays_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _study(tmp_path / "ct")
    write = dicom.write

    def other(dataset: pydicom.Dataset, voxels: np.ndarray, change: dicom.Change, target: Path) -> None:
        write(dataset, voxels + (dataset.InstanceNumber == 2), change, target)

    monkeypatch.setattr(dicom, "write", other)
    done = volcomp.compress_files(tmp_path / "ct", tmp_path / "ct.vcz", max_error=3, lossy=True, threads=1)
    assert (done.changed, done.unchanged) == (3, ["2.dcm"])
    out = _restored(tmp_path / "ct.vcz", tmp_path / "out")
    same = [(out / f"{z}.dcm").read_bytes() == (tmp_path / "ct" / f"{z}.dcm").read_bytes() for z in range(4)]
    assert same == [False, False, True, False]


def test_pixels_that_decoders_read_differently_stay_exact(tmp_path: Path) -> None:
    path = pydicom.data.get_testdata_file("693_J2KI.dcm", download=False)  # reversible JPEG 2000, cut to a rate
    if path is None:
        pytest.skip("pydicom came without its files")
    (tmp_path / "in.dcm").write_bytes(Path(path).read_bytes())
    done = volcomp.compress_files(tmp_path / "in.dcm", tmp_path / "a.vcz", max_error=2, lossy=True, threads=1)
    assert (done.changed, done.unchanged) == (0, ["in.dcm"])
    out = _restored(tmp_path / "a.vcz", tmp_path / "out")
    assert (out / "in.dcm").read_bytes() == (tmp_path / "in.dcm").read_bytes()
