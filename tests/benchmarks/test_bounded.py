"""The table of bounded errors, of made-up rows."""

from benchmarks import bounded


def row(series: str, codec: str, error: int, bpv: float) -> dict[str, str]:
    return {"series": series, "modality": "CT", "codec": codec, "max_error": str(error), "bpv": f"{bpv:.4f}"}


def test_means_are_of_series_that_all_codecs_have() -> None:
    rows = [row("a", "fast", 1, 3), row("a", "jpegls", 1, 4), row("b", "fast", 1, 1), row("b", "jpegls", 1, 1)]
    rows += [row("c", "fast", 1, 9), row("a", "fast", 2, 2)]
    lines = bounded.summary(rows).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| ±1 | 2.000 | 2.500 | -20.0 % | +0.0 % | 2 |"
