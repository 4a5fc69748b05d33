"""Types and scaling that the headers of whole volumes state."""

import struct
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.formats.volumes import meta, nifti, nrrd, picture, stored
from tests.reading.whole import opened

nibabel = pytest.importorskip("nibabel")


@pytest.mark.parametrize(
    ("slope", "inter"), [(1, 0), (0, 3), (float("nan"), 3), (float("inf"), 0), (0.1, 0), (2, -1024), (-0.5, 7)]
)
@pytest.mark.parametrize("kind", ["i2", "u1", "f4", "f8", "i4"])
def test_values_are_those_of_nibabel(kind: str, slope: float, inter: float, tmp_path: Path) -> None:
    data = bytearray(nifti(picture((6, 24, 20), kind)))
    struct.pack_into("<2f", data, 112, slope, inter)
    (tmp_path / "x.nii").write_bytes(data)
    volume = opened(tmp_path / "x.nii")
    expected = np.asarray(nibabel.load(tmp_path / "x.nii").dataobj).T
    found = volume.rescaled()
    assert found.dtype == volume.rescaled_dtype == expected.dtype.newbyteorder("=")
    assert np.array_equal(found, expected) and np.array_equal(volume.rescaled(3), expected[3])
    volume.save(tmp_path / "v.nii")
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "v.nii").dataobj).T, expected)


@pytest.mark.parametrize("values", [(-300, 500), (0, 65_535), (-30_000, 30_000)])
@pytest.mark.parametrize("beside", ["hdr", "mhd", "nhdr", "list"])
def test_numbers_have_the_sign_of_a_header_in_another_file(
    beside: str, values: tuple[int, int], tmp_path: Path
) -> None:  # fmt: skip
    """It was that which spans fewer values."""
    kind = "u2" if values[1] > 32_767 else "i2"
    base = picture((6, 24, 20), "f8")
    numbers = np.round(values[0] + np.ptp(values) * (base - base.min()) / np.ptp(base)).astype(kind)
    files: dict[str, bytes] = {"x.raw": stored(numbers)}
    if beside == "hdr":
        files = {"x.img": stored(numbers), "x.hdr": nifti(numbers, magic=b"ni1\0")}
    elif beside == "mhd":
        files["x.mhd"] = meta(numbers, data_file="x.raw")
    elif beside == "nhdr":
        files["x.nhdr"] = nrrd(numbers, fields={"data file": "x.raw"})
    else:
        files = {f"{number}.raw": stored(plane) for number, plane in enumerate(numbers)}
        more = "".join(f"{number}.raw\n" for number in range(len(numbers)))
        files["list.mhd"] = meta(numbers, data_file="LIST", more=more)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    volume = opened(*(tmp_path / name for name in files))
    assert volume.dtype == np.dtype(kind) and np.array_equal(np.asarray(volume), numbers)
    assert volume.spacing == (3.0, 0.75, 0.5) and np.array_equal(volcomp.decompress(tmp_path / "archive.vcz"), numbers)
    assert tuple(volcomp.info(tmp_path / "archive.vcz")["volumes"][0]["spacing_mm"]) == volume.spacing
