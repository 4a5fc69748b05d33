"""The lines of `volcomp info` leave out what there is not."""

from volcomp.archive.describe import describe
from volcomp.cli.summary import summary
from volcomp.files import compress_files

PGM = b"P5 48 40 255\n" + bytes(range(48)) * 40


def test_a_picture_has_no_spacing_and_no_empty_description(tmp_path):
    (tmp_path / "x.pgm").write_bytes(PGM)
    compress_files(tmp_path / "x.pgm", tmp_path / "x.vcz")
    found = describe(tmp_path / "x.vcz")
    volume = found["volumes"][0] | {"description": "hand"}
    found["volumes"] = [volume]
    lines = "\n".join(summary(found))
    assert "'x.pgm': 'hand', 1 file, 1×40×48 u1, " in lines
    assert ", spacing " not in lines and "--series" not in lines
    found["volumes"] = [volume | {"spacing_mm": [None, 0.5, 0.5]}]
    assert "spacing ? × 0.5 × 0.5 mm" in "\n".join(summary(found))


def test_reasons_that_are_clauses_agree_with_the_number_of_files(tmp_path):
    (tmp_path / "x.pgm").write_bytes(PGM)
    compress_files(tmp_path / "x.pgm", tmp_path / "x.vcz")
    found = describe(tmp_path / "x.vcz")
    found["not_coded"] = {"its rows are interlaced": 2, "no image of a known format": 3, "it is too large": 1}
    lines = [line.strip() for line in summary(found)]
    assert "2 files kept whole, each because its rows are interlaced" in lines
    assert "3 files kept whole: no image of a known format" in lines
    assert "1 file kept whole: it is too large" in lines


def test_only_volumes_of_several_names_are_chosen_with_series(tmp_path):
    (tmp_path / "x.pgm").write_bytes(PGM)
    compress_files(tmp_path / "x.pgm", tmp_path / "x.vcz")
    found = describe(tmp_path / "x.vcz")
    volume = found["volumes"][0]
    found["volumes"] = [volume, volume]
    assert not any("--series" in line for line in summary(found))
    found["volumes"] = [volume, volume | {"name": "y.pgm"}]
    assert any("extract, view and preview" in line for line in summary(found))
