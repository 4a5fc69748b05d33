"""The benchmarks: a phantom that looks like CT, rivals that are lossless, tables that can be written twice."""

import filecmp

import numpy as np
import pydicom
import pytest

from benchmarks import phantom, ratio, report
from benchmarks.command import same_files
from benchmarks.rivals import CODECS, RIVALS, from_zero
from volcomp.training import corpus


@pytest.fixture(scope="module")
def scene():
    return phantom.scan(slices=4, size=128)


def test_phantom_is_the_same_every_time(scene, tmp_path):
    again = phantom.scan(slices=4, size=128)
    assert (again == scene).all()
    phantom.write(tmp_path / "a", scene)
    phantom.write(tmp_path / "b", again)
    names = [path.name for path in (tmp_path / "a").iterdir()]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", names, shallow=False) == (names, [], [])


def test_phantom_is_a_noisy_chest(scene):
    hounsfield = scene.astype(int) + phantom.INTERCEPT
    assert scene.dtype == np.uint16
    assert scene.max() < 4096
    assert (scene[:, 0, 0] == 0).all()  # outside of the circle
    muscle = hounsfield[:, 36:40, 56:72]
    lung = hounsfield[:, 60:68, 34:42]
    assert abs(muscle.mean() - 50) < 15
    assert (abs(lung + 850) < 50).mean() > 0.5  # the rest are vessels
    assert 5 < muscle.std() < 40
    # The noise is that of a reconstruction: neighbouring slices share some of it.
    noise = muscle - muscle.mean()
    assert np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1] > 0.3


def test_phantom_is_valid_dicom(scene, tmp_path):
    phantom.write(tmp_path, scene)
    images = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    assert (np.stack([image.pixel_array for image in images]) == scene).all()
    assert {image.SeriesInstanceUID for image in images} == {images[0].SeriesInstanceUID}
    assert images[0][0x0029, 0x1020].value == bytes(range(256))


@pytest.mark.parametrize("codec", RIVALS, ids=lambda codec: codec.name)
@pytest.mark.parametrize("shape", [(3, 37, 51), (1, 8, 8), (4, 16, 128)])
@pytest.mark.parametrize("top", [1, 3071, 65535])
def test_rivals_are_lossless(codec, shape, top):
    if not codec.installed:
        pytest.skip(f"{codec.packages} are not installed")
    noise = np.random.default_rng(0).normal(0.5, 0.1, shape).cumsum(axis=1)
    volume = from_zero(np.rint(top * noise / noise.max()).astype(np.int32))
    for threads in (1, 2):
        streams = codec.encode(volume, threads)
        assert all(type(stream) is bytes for stream in streams)
        decoded = codec.decode(streams, volume.shape, threads)
        assert decoded.dtype == np.uint16
        assert (decoded == volume).all()


@pytest.mark.parametrize("bits", [2, 8, 9, 12, 16])
def test_rivals_are_told_the_depth(bits):
    """As their streams state it: JPEG-LS in its frame header, JPEG 2000 in SIZ; JPEG XL and HTJ2K are not asked."""
    pytest.importorskip("imagecodecs")
    pytest.importorskip("jpeg_ls")
    volume = np.full((2, 24, 24), 1, np.uint16)
    volume[0, 3, 4] = (1 << bits) - 1
    for stream in CODECS["jpegls"].encode(volume, 1):
        assert stream[:4] == b"\xff\xd8\xff\xf7"  # nothing before the frame header
        assert stream[6] == bits
    for stream in CODECS["jpeg2000"].encode(volume, 1):
        siz = stream.index(b"\xff\x51")
        assert stream[siz + 40] + 1 == bits


@pytest.mark.parametrize("name", ["jpeg2000", "htj2k"])
def test_streams_do_not_name_their_coder(name):
    if not CODECS[name].installed:
        pytest.skip("imagecodecs is not installed")
    volume = np.random.default_rng(0).integers(0, 4096, (1, 64, 64)).astype(np.uint16)
    (stream,) = CODECS[name].encode(volume, 1)
    head = stream[: stream.index(b"\xff\x90")]
    assert b"\xff\x64" not in head
    assert head.startswith(b"\xff\x4f\xff\x51")


def test_values_start_at_zero():
    assert from_zero(np.array([-3, 5], np.int16)).tolist() == [0, 8]
    assert from_zero(np.array([-32768, 32767], np.int16)).tolist() == [0, 65535]


def test_table_goes_between_its_marks_however_often():
    text = "# Title\n<!-- ratio:begin -->\nold\n<!-- ratio:end -->\nafter\n"
    once = report.insert(text, "ratio", "| new |")
    assert once == "# Title\n<!-- ratio:begin -->\n| new |\n<!-- ratio:end -->\nafter\n"
    assert report.insert(once, "ratio", "| new |") == once
    assert report.insert(text, "speed", "| new |") == text


def test_rows_come_back_from_csv(tmp_path):
    rows = [{"codec": "a", "bpv": "1.5"}, {"codec": "b", "bpv": "2.0"}]
    assert report.read_rows(tmp_path / "absent.csv") == []
    report.write_rows(tmp_path / "some.csv", ["codec", "bpv"], rows)
    assert report.read_rows(tmp_path / "some.csv") == rows


def test_machine_keeps_the_versions_of_earlier_runs(tmp_path):
    report.write_machine(tmp_path / "some.csv", ["tomoz 0.1.0", "zstandard 0.25.0"])
    report.write_machine(tmp_path / "some.csv", ["tomoz 0.2.0"])
    text = (tmp_path / "some.json").read_text()
    assert "tomoz 0.2.0" in text
    assert "zstandard 0.25.0" in text
    assert "tomoz 0.1.0" not in text


def test_summary_compares_codecs_over_the_same_series():
    sizes = {("jpegxl-e9", "x"): 4, ("jpegxl-e9", "y"): 6, ("base", "x"): 3, ("base", "y"): 6, ("jpegls", "x"): 5}
    rows = [
        {"codec": codec, "series": series, "split": "valid", "modality": "CT" if series == "x" else "MR", "bpv": str(b)}
        for (codec, series), b in sizes.items()
    ]
    lines = ratio.summary(rows, "valid").splitlines()
    assert lines[0].startswith("|  | all 2 series | CT (1) | MR (1) |")
    assert lines[2] == "| **volcomp base** | 4.500 | 3.000 | 6.000 | -10.0 % |  |"
    assert len(lines) == 4  # JPEG-LS lacks a series


def test_committed_sizes_are_of_known_codecs_and_lossless():
    rows = report.read_rows(ratio.CSV)
    assert {row["codec"] for row in rows} <= set(CODECS)
    assert all(row["verified"] == "yes" for row in rows)
    assert all(float(row["bpv"]) == pytest.approx(8 * int(row["bytes"]) / int(row["voxels"]), abs=1e-4) for row in rows)


def test_folders_are_compared_byte_by_byte(tmp_path):
    for side in ("a", "b"):
        (tmp_path / side / "inner").mkdir(parents=True)
        (tmp_path / side / "inner" / "file").write_bytes(b"same")
        (tmp_path / side / "empty").touch()
    assert same_files(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "inner" / "file").write_bytes(b"sane")
    assert not same_files(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "inner" / "file").write_bytes(b"same")
    (tmp_path / "b" / "more").touch()
    assert not same_files(tmp_path / "a", tmp_path / "b")


def test_without_a_corpus_one_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("VOLCOMP_CORPUS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="set VOLCOMP_CORPUS"):
        corpus.splits()
