"""A lossy layer beneath the slabs: it is read alone, slabs are completed from it, and what is damaged is told."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.helpers import contents, image
from tests.stages.test_near_factors import drifting
from volcomp import cli, models
from volcomp.codec import encode
from volcomp.codec.decode import decode_slabs
from volcomp.codec.engines import by_device, by_reference
from volcomp.codec.layer import Layer, pays
from volcomp.container.sections import PREVIEW, SERIES_VERSION, SLAB, Reader, SectionId
from volcomp.container.volume import read_volume
from volcomp.errors import ArgumentError, DamagedError, UnsupportedError
from volcomp.options import DecodeOptions, EncodeOptions
from volcomp.stages import near_factors

pytest.importorskip("PIL")


def smooth(shape: tuple[int, ...], kind: str = "u2", top: int = 4000) -> np.ndarray:
    """Waves with noise: something that a preview at 16:1 can show."""
    random = np.random.default_rng(1)
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    waves = np.sin(y / 9 + z / 3) * np.cos(x / 13) + 1.2
    return (waves * top / 3 + random.normal(0, top / 200, shape)).clip(0, top).astype(kind)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 slices of 96 × 80 as DICOM files, and an archive of them with a preview, in three slabs."""
    folder = tmp_path_factory.mktemp("layered")
    for k, pixels in enumerate(smooth((30, 96, 80))):
        image(folder / "ct" / f"{k:02}.dcm", pixels, z=k, InstanceNumber=k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "SLAB_HEIGHT", 10)
        volcomp.compress_files(folder / "ct", folder / "ct.vcz", "turbo", preview=16, threads=1)
    return folder


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(3, 65, 70), (1, 64, 64), (64, 70)])
def test_arrays_come_back(kind: str, shape: tuple[int, ...]) -> None:
    voxels = smooth((1, *shape)[-3:], kind, 100).reshape(shape)
    data = volcomp.compress(voxels, "turbo", preview=8, threads=1)
    assert np.array_equal(volcomp.decompress(data, threads=1), voxels)
    with volcomp.open(data, threads=1) as volume:
        assert volume.has_preview and np.array_equal(np.asarray(volume), voxels)
        shown = volume.preview()
        assert shown.dtype == voxels.dtype and shown.shape == voxels.shape[-2:]
        exact = voxels if voxels.ndim == 2 else voxels[0]
        assert np.abs(shown.astype(int) - exact).mean() < 4
    (report,) = volcomp.inspect(data).volumes
    pixels = voxels.nbytes / 8
    assert 0 < report.preview <= pixels + 40 and report.preview < report.bytes


def test_threads_and_repetition_do_not_change_the_file() -> None:
    voxels = smooth((6, 64, 64))
    made = {volcomp.compress(voxels, "turbo", preview=16, threads=n) for n in (1, 2, 1)}
    assert len(made) == 1


def test_slabs_refer_to_the_layer() -> None:
    """What is left to say of a slab is less where the preview is known."""
    voxels = smooth((2, 128, 128))
    alone, layered = (volcomp.inspect(volcomp.compress(voxels, "turbo", preview=k, threads=1)) for k in (0, 16))
    (one,), (other,) = alone.volumes, layered.volumes
    assert other.bytes - other.preview < one.bytes


def model_of(data: bytes) -> str:
    return read_volume(Reader(io.BytesIO(data)), 0).layout.model.name


def test_single_slices_have_a_model_that_sees_the_layer() -> None:
    """It makes them smaller than the one that they have without a preview would."""
    voxels = smooth((1, 128, 128), "u1", 200)
    alone, layered = (volcomp.compress(voxels, preview=k, threads=1) for k in (0, 16))
    flat = models.chosen("fast").flat
    assert (model_of(alone), model_of(layered)) == (flat, "fast-layered-1")
    assert model_of(volcomp.compress(voxels[:, :120], preview=16, threads=1)) == "fast-3"  # too small for either
    unseen = replace(models.named(flat), layered="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_ALL", tuple(unseen if one.name == unseen.name else one for one in models._ALL))
        other = volcomp.compress(voxels, preview=16, threads=1)
    assert model_of(other) == flat and len(layered) < len(other)
    for data in (layered, other):
        assert np.array_equal(volcomp.decompress(data, threads=1), voxels)


def test_combs_have_near_factors_over_a_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice that they make much smaller stays so with a preview."""
    voxels = drifting(140, 128)
    alone, layered = (volcomp.compress(voxels, preview=k, threads=1) for k in (0, 16))
    assert model_of(layered) == "fast-layered-1" and np.array_equal(volcomp.decompress(layered, threads=1), voxels)
    preview = volcomp.inspect(layered).volumes[0].preview
    assert len(layered) < len(alone) + preview
    monkeypatch.setattr(near_factors, "find", lambda *_: None)
    assert len(layered) < 0.9 * len(volcomp.compress(voxels, preview=16, threads=1))


def test_backends_see_the_same_of_the_layer() -> None:
    voxels = smooth((1, 128, 130), "u1", 200)
    source, options = encode.ArraySource(voxels), EncodeOptions(threads=1)
    layer = Layer(source, 16, 1)
    coded = [encode.encode_slabs(source, options, reference=layer, engine=by)[1] for by in (by_device, by_reference)]
    (one,), (other,) = coded
    assert one.payload == other.payload and np.array_equal(one.voxels, voxels)


def test_a_model_that_sees_a_layer_needs_one() -> None:
    """A file that names it, in a volume without a preview."""
    voxels = smooth((1, 128, 128), "u1", 200)
    source = encode.ArraySource(voxels)
    header, slabs = encode.encode_slabs(source, EncodeOptions(threads=1), reference=Layer(source, 16, 1))
    payloads = dict(enumerate(slab.payload for slab in slabs))
    ((_, found),) = decode_slabs(header, payloads, DecodeOptions(threads=1))
    assert isinstance(found, DamagedError) and "for volumes with previews, and its volume has none" in str(found)


def test_what_is_fine_tuned_competes_with_it() -> None:
    pytest.importorskip("torch")
    voxels = smooth((1, 128, 128), "u1", 200)
    data = volcomp.compress(voxels, preview=16, effort=6, threads=1)
    assert np.array_equal(volcomp.decompress(data, threads=1), voxels)
    assert len(data) <= len(volcomp.compress(voxels, preview=16, threads=1))


def test_small_slices_have_none() -> None:
    assert pays((9, 64, 64), 2, 16) and not pays((9, 16, 16), 2, 16)
    data = volcomp.compress(smooth((3, 16, 16)), "turbo", preview=16, threads=1)
    assert volcomp.inspect(data).volumes[0].preview == 0
    with volcomp.open(data) as volume, pytest.raises(UnsupportedError, match="has no preview; one is made with"):
        volume.preview()


def test_an_archive_is_restored_and_its_preview_is_read_alone(study: Path, tmp_path: Path) -> None:
    volcomp.decompress_files(study / "ct.vcz", tmp_path / "out", threads=1)
    assert contents(tmp_path / "out") == contents(study / "ct")
    with (study / "ct.vcz").open("rb") as file:
        reader = Reader(file)
        assert reader.version == SERIES_VERSION
        order = [section.tag for section in reader.places if section.tag in (PREVIEW, SLAB)]
        assert order == [PREVIEW] * 3 + [SLAB] * 3
    with volcomp.open(study / "ct.vcz", threads=1) as volume:
        for z in (0, 17, -1):
            assert np.abs(volume.preview(z).astype(int) - volume[z]).mean() < 60
        assert volume.preview(3, 1).shape == (48, 40)
        with pytest.raises(UnsupportedError, match="slices 0 to 29, and no slice 30"):
            volume.preview(30)
        with pytest.raises(ArgumentError):
            volume.preview("3")


def test_a_preview_at_a_url_costs_its_section(study: Path) -> None:
    pytest.importorskip("aiohttp")
    from tests.reading.server import served

    with (study / "ct.vcz").open("rb") as file:
        places = Reader(file).places
    with served(study) as sent, volcomp.open(f"{sent.url}/ct.vcz") as volume:
        assert volume.shape == (30, 96, 80)
        before = sent.bytes
        volume.preview(12)
        assert sent.bytes - before <= places[SectionId(PREVIEW, 0, 1)].length


def test_a_damaged_layer_hurts_its_slab_alone(study: Path, tmp_path: Path) -> None:
    data = bytearray((study / "ct.vcz").read_bytes())
    place = Reader(io.BytesIO(data)).places[SectionId(PREVIEW, 0, 1)]
    data[place.offset + place.length // 2] ^= 0x55
    (tmp_path / "x.vcz").write_bytes(data)
    with pytest.raises(DamagedError):
        volcomp.verify(tmp_path / "x.vcz", threads=1)
    done = volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out", salvage=True, threads=1)
    assert len(done.lost) == 10 and len(list((tmp_path / "out").iterdir())) == 20
    with volcomp.open(tmp_path / "x.vcz", threads=1) as volume:
        volume.preview(0)
        with pytest.raises(DamagedError):
            volume.preview(15)


def test_no_damage_to_a_layer_gives_a_wrong_picture() -> None:
    """Payloads have no checksum of their own; the section has one, of all its bytes."""
    data = volcomp.compress(smooth((1, 64, 64), "u1", 200), "turbo", preview=16, threads=1)
    place = Reader(io.BytesIO(data)).places[SectionId(PREVIEW, 0, 0)]
    for at in range(place.offset, place.offset + place.length, 7):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        with volcomp.open(bytes(damaged), threads=1) as volume, pytest.raises(DamagedError):
            volume.preview()


def test_a_layer_of_another_shape_is_refused(study: Path, tmp_path: Path) -> None:
    """A payload that decodes, with a sound checksum, and is none of this volume."""
    from volcomp.codec.layer import read_slice

    other = Layer(encode.ArraySource(smooth((1, 80, 96))), 16, 1)
    with (study / "ct.vcz").open("rb") as file:
        volume = read_volume(Reader(file), 0)
        with pytest.raises(DamagedError, match="of another type or shape"):
            read_slice(other._payloads[0], volume)


def test_appending_copies_layers(study: Path, tmp_path: Path) -> None:
    (tmp_path / "x.vcz").write_bytes((study / "ct.vcz").read_bytes())
    (tmp_path / "report.txt").write_text("No finding.")
    volcomp.append(tmp_path / "x.vcz", tmp_path / "report.txt", threads=1)
    volcomp.verify(tmp_path / "x.vcz", threads=1)
    with volcomp.open(tmp_path / "x.vcz", threads=1) as volume:
        assert volume.has_preview


def test_wrong_ratios_are_refused() -> None:
    for wrong in (2, 300, -1):
        with pytest.raises(UnsupportedError, match="from 4:1 to 256:1"):
            volcomp.compress(smooth((1, 64, 64)), preview=wrong)
    with pytest.raises(ArgumentError):
        volcomp.compress(smooth((1, 64, 64)), preview="16")
    with pytest.raises(UnsupportedError, match="series in time"):
        volcomp.compress(np.zeros((2, 2, 64, 64), "u1"), preview=16)


def test_the_commands(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    assert cli.main(["compress", str(study / "ct"), "--preview", "16:1", "--model", "turbo", "--threads", "1"]) == 0
    assert cli.main(["info", "ct.vcz"]) == 0
    assert "with a preview of" in capsys.readouterr().out
    assert cli.main(["preview", "ct.vcz", "--size", "40", "--slice", "7", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["preview"] and facts["slice"] == 7 and (facts["width"], facts["height"]) == (33, 40)
    with Image.open("ct.png") as picture:
        assert picture.size == (33, 40)
    assert cli.main(["preview", "ct.vcz"]) == 1
    assert "ct.png exists" in capsys.readouterr().err
    assert cli.main(["compress", str(study / "ct"), "-o", "plain.vcz", "--model", "turbo", "--threads", "1"]) == 0
    assert cli.main(["preview", "plain.vcz", "-o", "plain.jpg"]) == 0
    assert "slice 15 of ct, 80 × 96 pixels" in capsys.readouterr().out
    assert cli.main(["preview", "plain.vcz", "-o", "plain.gif"]) == 1
    assert cli.main(["compress", str(study / "ct"), "--preview", "2"]) == 2


def test_a_preview_of_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No file is coded as voxels; of an image nothing is said."""
    (tmp_path / "notes.txt").write_text("nothing to see")
    text, archive = str(tmp_path / "notes.txt"), str(tmp_path / "a.vcz")
    sentence = "none of these files has a preview, since none is coded as voxels; volcomp info says why"
    assert cli.main(["compress", text, "-o", str(tmp_path / "n.vcz"), "--preview", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [sentence]
    image(tmp_path / "a.dcm", smooth((1, 128, 128))[0])
    assert cli.main(["compress", str(tmp_path / "a.dcm"), "-o", archive, "--preview", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []
    assert cli.main(["append", archive, text, "--preview", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [sentence]
