"""Single slices are coded with a model of their own, on whatever way they come to the encoder."""

from dataclasses import replace

import numpy as np
import pytest

import volcomp
from tests.conformance.golden import slices
from volcomp import models
from volcomp.codec.encode import ArraySource, encode_slabs
from volcomp.container.volume import read_header
from volcomp.encoder.relation import FEWEST
from volcomp.models import DEFAULT
from volcomp.options import EncodeOptions

SLICE = slices()["slice"]


def model_of(voxels: np.ndarray, model: str = DEFAULT, *, loose: bool = False) -> str:
    header, slabs = encode_slabs(ArraySource(voxels), EncodeOptions(model, effort=1, verify=False), loose=loose)
    slabs.close()
    return read_header(header).model.name


def test_the_model_is_chosen_by_the_slices_alone() -> None:
    two = np.concatenate([SLICE, SLICE[:, ::-1]])
    assert SLICE[0].size == FEWEST
    assert model_of(SLICE) == models.chosen(DEFAULT).flat == "fast-flat-2"
    assert model_of(SLICE[:, 1:]) == model_of(two) == models.chosen(DEFAULT).name
    assert (
        model_of(np.concatenate([SLICE, np.random.default_rng(0).permuted(SLICE, axis=1)]), loose=True) == "fast-flat-2"
    )
    assert model_of(np.concatenate([SLICE, SLICE]), loose=True) == models.chosen(DEFAULT).name
    assert model_of(SLICE, "base") == models.chosen("base").flat == "base-flat-1"
    assert model_of(SLICE, "turbo") == models.chosen("turbo").name


@pytest.mark.parametrize("effort", [1, 5])
def test_arrays_come_back(effort: int) -> None:
    data = volcomp.compress(SLICE[0], effort=effort)
    assert np.array_equal(volcomp.decompress(data), SLICE[0])


def test_a_model_stands_in_for_one_of_the_same_shape() -> None:
    for model in models.RELEASED.values():
        if model.flat:
            assert model.for_slices.network == model.network and not model.for_slices.flat
            assert (
                model.for_slices.search == replace(model.search, near=True)
                and model.for_slices.tunable == model.tunable
            )
        else:
            assert model.for_slices is model
        if model.layered:
            assert model.over_preview.network == model.network and model.over_preview.search == model.search
            assert model.over_preview.sees and not model.over_preview.layered
        else:
            assert model.over_preview is model
