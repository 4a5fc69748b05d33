"""Pictures of volumes: the right slices in true proportions, and what each slab costs."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.helpers import compress, image, series
from tests.reading.placed import placed
from volcomp import cli
from volcomp.errors import TargetError, UnsupportedError
from volcomp.reading.view import look, save

Image = pytest.importorskip("PIL.Image")


def test_the_three_slices_are_those_of_the_volume(ct: Path) -> None:
    volume = volcomp.open(ct).volumes["ct"]
    values = volume.rescaled()
    seen = look(volume, 7)
    (label, axial, ratio), (_, coronal, high), (_, sagittal, _) = seen.panels
    assert label == "slice 7 of 50" and (ratio, high) == (1, 5)
    assert np.array_equal(axial, values[7])
    assert np.array_equal(coronal, values[::-1, 6]) and np.array_equal(sagittal, values[::-1, :, 6])
    assert np.array_equal(look(volume).panels[0][1], values[25])
    assert seen.facts["spacing"] == "2.5 × 0.5 × 0.5 mm (z × y × x)" and "50×12×12" in seen.facts["shape"]
    for wrong in (-1, 50):
        with pytest.raises(UnsupportedError, match="slices 0 to 49"):
            look(volume, wrong)


def test_slices_towards_the_feet_are_not_turned(tmp_path: Path) -> None:
    volume = volcomp.open(placed(tmp_path / "x", "feet first"))
    assert np.array_equal(look(volume).panels[1][1], volume.rescaled()[:, 3])


def test_bits_per_voxel_are_those_of_the_slabs(ct: Path) -> None:
    volume = volcomp.open(ct).volumes["ct"]
    seen = look(volume)
    assert [(first, end) for first, end, _ in seen.slabs] == [(0, 12), (12, 25), (25, 37), (37, 50)]
    size = sum(bits * (end - first) * 144 / 8 for first, end, bits in seen.slabs)
    assert round(size) == sum(volume.slab_bytes) < volcomp.info(ct)["volumes"][0]["bytes"]


def test_a_picture_shows_what_is_bright_where_it_is(tmp_path: Path) -> None:
    """One bright corner: first row, last column of the last slice, which is at the top."""
    voxels = np.random.default_rng(0).integers(0, 10, (10, 20, 20)).astype("u2")
    voxels[5:, :10, 10:] += 1000
    for i, pixels in enumerate(voxels):
        image(tmp_path / "x" / f"{i}.dcm", pixels, z=i, PixelSpacing=[1, 1])
    compress([tmp_path / "x"], tmp_path / "x.vcz")
    save(volcomp.open(tmp_path / "x.vcz").volumes["x"], tmp_path / "x.png")
    picture = np.asarray(Image.open(tmp_path / "x.png").convert("L")).astype(int)
    axial = picture[38:438, 16:416]
    assert axial[50, 350] > 250 and axial[50, 50] < 10 > axial[350, 350]
    column = picture[38:438, 848:1248]  # ten slices of 1 mm by twenty rows: half as high as it is wide
    assert column[120, 100] > 250 and column[280, 100] < 10 > column[120, 300]
    assert column[90, 100] < 30 > column[310, 100]  # nothing but the ground


def test_a_page_needs_no_other_file(ct: Path, tmp_path: Path) -> None:
    save(volcomp.open(ct).volumes["ct"], tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "http" not in page and "<td>12 to 24<td>" in page
    found = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert found
    assert Image.open(io.BytesIO(base64.b64decode(found[1]))).size == (1264, 708)


def test_names_in_a_page_are_no_markup(tmp_path: Path) -> None:
    series(tmp_path / "a<b>&", 3, 8, SeriesDescription="<script>")
    compress([tmp_path / "a<b>&"], tmp_path / "x.vcz")
    (volume,) = volcomp.open(tmp_path / "x.vcz").volumes.values()
    save(volume, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "a&lt;b&gt;&amp;" in page and "&lt;script&gt;" in page and "<script>" not in page


def test_colours_are_shown_as_colours(tmp_path: Path) -> None:
    pixels = np.zeros((4, 16, 16, 3), "u1")
    pixels[..., 0] = np.random.default_rng(0).integers(200, 256, (4, 16, 16))
    for i, picture in enumerate(pixels):
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        image(tmp_path / "x" / f"{i}.dcm", picture[..., 0], z=i, raw=picture.tobytes(), **colour)
    compress([tmp_path / "x"], tmp_path / "x.vcz")
    volume = volcomp.open(tmp_path / "x.vcz").volumes["x"]
    save(volume, tmp_path / "x.png")
    red, green, blue = Image.open(tmp_path / "x.png").getpixel((200, 200))
    assert red > 190 and green == blue == 0


def test_the_command_writes_beside_nothing(
    ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["view", str(ct), "--threads", "1"]) == 0
    assert "ct, 50×12×12 int16, to ct.png" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["ct.png"]
    assert cli.main(["view", str(ct)]) == 1
    assert "ct.png exists" in capsys.readouterr().err
    assert cli.main(["view", str(ct), "--force", "--json", "-o", "x.html", "--slice", "3", "--series", "ct"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"] == "x.html" and len(facts["slabs"]) == 4
    for more, sentence in (
        (["-o", "x.jpg"], r"neither .png nor .html"),
        (["--slice", "99", "-o", "y.png"], "no slice 99"),
        (["--series", "7", "-o", "y.png"], "no volume '7'"),
    ):
        assert cli.main(["view", str(ct), *more]) == 1
        assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct.png", "x.html"]


def test_what_cannot_be_shown_says_so(ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = volcomp.open(volcomp.compress(np.zeros((4, 4), "u1"), threads=1))
    with pytest.raises(UnsupportedError, match="two-dimensional"):
        save(plane.volumes["volume 0"], tmp_path / "x.png")
    with pytest.raises(TargetError, match="does not exist"):
        save(volcomp.open(ct).volumes["ct"], tmp_path / "missing" / "x.png")
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'volcomp\[view\]'"):
        save(volcomp.open(ct).volumes["ct"], tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
