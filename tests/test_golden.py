"""Files written by releases decode to what they held, and today's encoder writes the same bytes."""

import json

import numpy as np
import pytest

import volcomp

from .golden import FOLDER, INDEX, digest, volumes

ENTRIES = json.loads(INDEX.read_text())  # a missing index is an error, not a skipped test


def test_none_is_missing() -> None:
    assert {path.name for path in FOLDER.glob("*.vcz")} == set(ENTRIES)
    assert len(ENTRIES) >= 12


@pytest.mark.parametrize("file", ENTRIES)
def test_a_golden_file_decodes(file: str) -> None:
    assert digest(volcomp.decompress((FOLDER / file).read_bytes())) == ENTRIES[file]["sha256"]


@pytest.mark.parametrize("file", ENTRIES)
def test_the_encoder_still_writes_it(file: str) -> None:
    """While its model is the current one of that name; when models are added, this leaves out those that are not."""
    entry, data = ENTRIES[file], (FOLDER / file).read_bytes()
    today = volcomp.inspect(volcomp.compress(np.zeros((1, 1), "u1"), model=entry["model"])).volumes[0].model
    if volcomp.inspect(data).volumes[0].model != today or "effort" in entry:
        return
    assert volcomp.compress(volumes()[entry["volume"]], model=entry["model"]) == data
