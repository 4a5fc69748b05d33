"""Codecs of Zarr are measured alike, and the published table is that of the CSV."""

import pytest

pytest.importorskip("zarr", minversion="3")

from benchmarks import report, zarr_codecs
from benchmarks.rivals import from_zero
from tests.helpers import noise


def test_the_page_has_the_table_of_the_csv() -> None:
    table = zarr_codecs.summary(report.read_rows(zarr_codecs.CSV))
    page = report.published("zarr_codecs")
    assert table.count("\n") > 10
    assert report.insert(page, "zarr_codecs", table) == page


def test_every_row_was_verified_and_names_its_machine() -> None:
    for row in report.read_rows(zarr_codecs.CSV):
        assert row["verified"] == "yes" and row["threads"] == "1"
        assert row["processor"] and row["versions"] and float(row["encode_s"]) > 0


@pytest.mark.parametrize("name", ["turbo", "zstd-0", "blosc-bitshuffle"])
def test_a_volume_with_edges_is_measured(name: str) -> None:
    volume = from_zero(noise((10, 40, 36)))
    size, encoding, decoding = zarr_codecs.through_zarr(zarr_codecs.CODECS[name], volume, (8, 32, 32))
    assert 0 < size < volume.nbytes and encoding > 0 and decoding > 0


def test_a_codec_of_which_a_series_is_missing_has_no_line() -> None:
    rows = report.read_rows(zarr_codecs.CSV)
    fewer = [row for row in rows if row["codec"] != "jpegls" or row["series"] != "mr_pd_ge_signa"]
    assert "JPEG-LS" in zarr_codecs.summary(rows) and "JPEG-LS" not in zarr_codecs.summary(fewer)
