"""Options that cannot be followed are not made, whoever makes them; and models whose weights are others do not load."""

import importlib.util
import pickle
from dataclasses import replace

import numpy as np
import pytest

import volcomp
from volcomp import models
from volcomp.constants import EFFORT
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.options import ENCODING, EncodeOptions
from volcomp.pipelines.registry import PIPELINES, ready


@pytest.mark.parametrize("effort", [0, 10, -1])
def test_an_effort_is_one_of_nine(effort: int) -> None:
    with pytest.raises(UnsupportedError, match=f"effort {effort} is not known; take 1 .* to 9"):
        EncodeOptions(effort=effort)
    with pytest.raises(UnsupportedError, match=f"effort {effort} is not known"):
        replace(ENCODING, effort=effort)


def test_a_model_is_a_choice_or_a_record() -> None:
    assert EncodeOptions().record is models.chosen(models.DEFAULT)
    old = models.named("fast-1")
    assert EncodeOptions(old).record is old
    with pytest.raises(UnsupportedError, match="model 'huge' is not known"):
        EncodeOptions("huge")


def test_fine_tuning_needs_a_model_that_is_tunable() -> None:
    assert EncodeOptions("paper", effort=EFFORT).effort == EFFORT
    with pytest.raises(
        UnsupportedError, match="model paper cannot be fine-tuned to a volume: take an effort of 1 to 5"
    ):
        EncodeOptions("paper", effort=EFFORT + 1)
    assert {model.name for model in models.RELEASED.values() if not model.tunable} == {"paper-1", "fast-layered-1"}


def test_fine_tuning_needs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that travel to another process are checked when that one changes them, as its torch is another."""
    carried = pickle.dumps(EncodeOptions(effort=6))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert EncodeOptions(effort=EFFORT).verify
    with pytest.raises(UnsupportedError, match=r"effort 6 fine-tunes the model .* install volcomp\[fit\], or take 5"):
        EncodeOptions(effort=6)
    with pytest.raises(UnsupportedError, match="needs torch"):
        replace(pickle.loads(carried), threads=1)


@pytest.mark.parametrize("choice", ["turbo", "paper"])
def test_weights_that_are_not_those_of_the_record_do_not_load(choice: str) -> None:
    record = replace(models.chosen(choice), digest="1f" * 32)
    with pytest.raises(DamagedError, match=f"model {record.name} at {record.name}.npz is not the released one"):
        PIPELINES[record.pipeline].load(record)
    with pytest.raises(DamagedError, match="is not the released one"):
        ready(record)


@pytest.mark.parametrize("times", ["a", [0], 1.5, True, slice("a", None), slice(None, None, 0)])
def test_times_that_are_none(times: object) -> None:
    data = volcomp.compress(np.zeros((2, 3, 4, 4), np.int16))
    with pytest.raises(volcomp.UnsupportedError, match="times="):
        volcomp.decompress(data, times=times)  # type: ignore[arg-type]
