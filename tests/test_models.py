"""The records of the released models: what a user asks for is one of them, and none stands for another."""

import pytest

from volcomp import models
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.pipelines.registry import PIPELINES


def test_every_choice_is_one_model() -> None:
    chosen = [model.choice for model in models.RELEASED.values() if model.choice]
    assert sorted(chosen) == sorted(models.CHOICES) and models.DEFAULT in chosen
    assert [models.chosen(choice).choice for choice in models.CHOICES] == list(models.CHOICES)


def test_names_numbers_and_digests_are_unique() -> None:
    records = list(models.RELEASED.values())
    for facts in ({model.name for model in records}, {model.number for model in records}, {m.digest for m in records}):
        assert len(facts) == len(records)
    assert all(0 < number < models.TRIAL < models.FINE_TUNED for number in models.RELEASED)


@pytest.mark.parametrize("model", models.RELEASED.values(), ids=lambda model: model.name)
def test_the_weights_are_those_of_the_record(model: models.Model) -> None:
    """Loading compares them with the record's digest."""
    weights = PIPELINES[model.pipeline].load(model)
    assert weights.digest().hex() == model.digest
    network = model.network
    if network is not None:
        assert (weights.hidden, weights.shared) == (network.units, network.shared)
        assert not weights.weights[slice(*network.spared)].any()


def test_what_is_no_model_is_one_sentence() -> None:
    with pytest.raises(UnsupportedError, match="model 'huge' is not known; take one of turbo, fast, base, paper"):
        models.chosen("huge")
    with pytest.raises(UnsupportedError, match="there are fast-1"):
        models.named("huge-1")
    with pytest.raises(UnsupportedError, match="the file needs model 99"):
        models.of_file(99, b"")
    with pytest.raises(DamagedError, match="is not the one that the file was made with"):
        models.of_file(5, b"another")
