"""Files written by releases decode to what they held, and today's encoder writes the same bytes."""

import json

import pytest

import volcomp
from tests.conformance.golden import FOLDER, INDEX, OF_FLAT, OF_SERIES, digest, series, slices, volumes

ENTRIES = json.loads(INDEX.read_text())  # a missing index is an error, not a skipped test


def test_none_is_missing() -> None:
    assert {path.name for path in FOLDER.glob("*.vcz")} == set(ENTRIES)
    assert len(ENTRIES) >= 12


WRITER = "0.6.0"  # the last release that changed what encoders write
EARLIER = "0.11.0-fast-slice.vcz"  # with a model of single slices that they no longer take
HELD = volumes() | slices() | series()


def test_the_current_encoder_has_golden_files() -> None:
    assert sum(file.startswith(f"{WRITER}-") for file in ENTRIES) >= 2 * len(volumes())


@pytest.mark.parametrize("file", ENTRIES)
def test_a_golden_file_decodes(file: str) -> None:
    assert digest(volcomp.decompress((FOLDER / file).read_bytes())) == ENTRIES[file]["sha256"]


@pytest.mark.parametrize("file", ENTRIES)
def test_the_encoder_still_writes_it(file: str) -> None:
    """While this version is the one that wrote it first; later ones may write other files, and must read it."""
    entry, data = ENTRIES[file], (FOLDER / file).read_bytes()
    if (
        not file.startswith((f"{WRITER}-", f"{OF_SERIES}-", f"{OF_FLAT}-"))
        or {"effort", "preview"} & entry.keys()
        or file == EARLIER
    ):
        return
    assert volcomp.compress(HELD[entry["volume"]], model=entry["model"]) == data
