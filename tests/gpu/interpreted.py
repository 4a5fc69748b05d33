"""The kernels in Triton's interpreter, against the reference. Run by `test_kernels.py`, in a process of its own:
kernels are interpreted or compiled by what the environment says when Triton is first imported.

An interpreter takes some milliseconds for every program, so slabs are tiny, and heads learn from a few voxels already.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from neighbourhoods import Neighbourhood
from volcomp.pipelines.row.pipeline import ROW
from volcomp.stages.lstm import learning, reference

learning.ENOUGH = 40  # before the kernels take it over; compiled code on the CPU would not hear of it

from tests.codec.test_codec import decode, scan  # noqa: E402
from tests.gpu.test_gpu import comes_back, nothing, same_predictions, slab_of, slabs_of_all_kinds  # noqa: E402
from tests.gpu.test_gpu_paper import DEEP, FAR, check_walks, slabs_of  # noqa: E402
from tests.pipelines.test_paper import LEFT_FREE, made  # noqa: E402
from tests.stages.test_lstm import some_weights  # noqa: E402
from volcomp import models  # noqa: E402
from volcomp.codec import encode as encoding  # noqa: E402
from volcomp.codec.encode import encode  # noqa: E402
from volcomp.codec.engines import by_reference, on  # noqa: E402
from volcomp.gpu import double_buffer  # noqa: E402
from volcomp.gpu.paper import device as paper_device  # noqa: E402
from volcomp.gpu.paper import kernels as paper_kernels  # noqa: E402
from volcomp.gpu.paper import launch as paper_launch  # noqa: E402
from volcomp.gpu.paper import network as paper  # noqa: E402
from volcomp.gpu.row import device, kernels, launch, wavefront  # noqa: E402
from volcomp.gpu.row.network import DeviceLstm  # noqa: E402
from volcomp.options import EncodeOptions  # noqa: E402
from volcomp.pipelines.paper import reference as published_reference  # noqa: E402
from volcomp.pipelines.paper import weights as published  # noqa: E402
from volcomp.pipelines.row.wavefront import predict_slab  # noqa: E402
from volcomp.runtime.team import Team  # noqa: E402
from volcomp.stages.payload import Predictions  # noqa: E402

TRITON = on("cpu", "triton")


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter serves one thread at a time."""
    monkeypatch.setattr(double_buffer, "BUFFERS", 1)
    monkeypatch.setattr(device, "check", nothing)
    monkeypatch.setattr(paper_device, "check", nothing)
    monkeypatch.setattr(paper_kernels, "BLOCK", 4)  # fronts of several programs


def equal(slabs: list, network: DeviceLstm) -> list[Predictions]:
    backend = reference.ReferenceLstm(network.weights)
    found = wavefront.predict_slabs(slabs, network, nothing)
    for slab, one in zip(slabs, found, strict=True):
        assert same_predictions(one, predict_slab(slab, backend, Team(), nothing))
    return found


@pytest.mark.parametrize("number", [1, 5, 6])  # what heads see and learn, what is passed on; 32 units and 128
def test_released_models(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fronts of several programs; two slabs of different heights, padding that may be a spike; heads learn in both."""
    monkeypatch.setattr(kernels, "BLOCK", 4)
    weights = ROW.load(models.RELEASED[number])
    monkeypatch.setattr(kernels, "UNITS", weights.hidden // 2)  # two rounds, where there could be four
    slabs = [slab_of(scan(shape).astype(np.int32) + 2000, 2600, number) for shape in ((1, 4, 5), (2, 9, 8))]
    equal(slabs, DeviceLstm(weights, "cpu", launch.TritonSteps))


def test_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((4, 5, 9))
    monkeypatch.setattr(encoding, "SLAB_HEIGHT", 2)
    expected = encode(voxels, EncodeOptions("fast", effort=1), engine=by_reference)
    assert len(expected[1]) == 2
    assert encode(voxels, EncodeOptions("fast", effort=1), engine=TRITON) == expected
    assert np.array_equal(decode(*expected, engine=TRITON), voxels)


def test_slabs_of_all_kinds_walk_together() -> None:
    """And the one whose support reaches farthest comes back: it alone reads the ends of the margins."""
    network, slabs = DeviceLstm(ROW.load(models.RELEASED[5]), "cpu", launch.TritonSteps), slabs_of_all_kinds(5)
    predictions = equal(slabs, network)
    assert comes_back(slabs[:1], predictions[:1], network)


def test_escapes_and_levels_beyond_int16() -> None:
    random, shape = np.random.default_rng(2), (2, 4, 7)
    levels = np.where(
        random.random(shape) < 0.5, 65535 * random.integers(0, 2, shape), random.integers(0, 65536, shape)
    )
    equal(
        [slab_of(levels.astype(np.int32), 65535, 3)],
        DeviceLstm(ROW.load(models.RELEASED[3]), "cpu", launch.TritonSteps),
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (2, 6, 1), (1, 3, 2)])
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    levels = np.random.default_rng(3).integers(0, 500, shape).astype(np.int32)
    equal([slab_of(levels, 500, 5)], DeviceLstm(ROW.load(models.RELEASED[5]), "cpu", launch.TritonSteps))


def test_other_widths_than_those_of_released_models() -> None:
    """96 units, 32 at a time; weights that drive gates and heads into their limits, and a metric that does."""
    weights = some_weights(96, 4, learns=True)
    weights = replace(weights, metric=weights.metric >> 6)
    levels = (np.random.default_rng(4).normal(300, 90, (1, 6, 12)).clip(0, 999)).astype(np.int32)
    slab = slab_of(levels, 999, 4)
    equal([slab], DeviceLstm(weights, "cpu", launch.TritonSteps))


def test_widths_that_the_kernels_do_not_serve() -> None:
    """A tile of units would reach beyond them; plain torch does."""
    network = DeviceLstm(some_weights(48, 4), "cpu", launch.TritonSteps)
    slab = slab_of(np.zeros((1, 3, 3), np.int32), 9, 4)
    with pytest.raises(ValueError, match="multiple of 32 hidden units, not 48"):
        wavefront.predict_slabs([slab], network, nothing)


# ------------------------------------------------------------------------------------------------------------- `paper`


def by_kernel(weights: published.PaperWeights) -> paper.DevicePaperLstm:
    return paper.DevicePaperLstm(weights, "cpu", paper_launch.TritonPredictor)


@pytest.mark.parametrize(("size", "limit"), [(0.1, 65535), (3.0, 4095), (0.5, 0)])
def test_paper_of_any_range_and_any_network(size: float, limit: int) -> None:
    """Gates and cells at their limits, ranks beyond int16, and the only one that there is."""
    weights = made(size=size)
    check_walks(weights, slabs_of([(2, 2, 4), (1, 2, 4)], limit), by_kernel(weights))


@pytest.mark.parametrize(("neighbourhood", "shape"), [(LEFT_FREE, (2, 2, 6)), (DEEP, (2, 2, 1)), (FAR, (4, 1, 7))])
def test_paper_of_any_neighbourhood(neighbourhood: Neighbourhood, shape: tuple[int, int, int]) -> None:
    weights = made(neighbourhood)
    check_walks(weights, slabs_of([shape, (1, *shape[1:])], 900), by_kernel(weights))


def test_paper_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The released model; escapes."""
    monkeypatch.setattr(encoding, "SLAB_HEIGHT", 2)
    voxels = slabs_of([(4, 1, 3)], 65535)[0].ranks.astype("<u2")
    expected = encode(voxels, EncodeOptions("paper"), engine=by_reference)
    assert len(expected[1]) == 2
    assert encode(voxels, EncodeOptions("paper"), engine=TRITON) == expected
    assert np.array_equal(decode(*expected, engine=TRITON), voxels)


@triton.jit
def looked_up(z, table, out, N: tl.constexpr):  # type: ignore[no-untyped-def]
    i = tl.arange(0, N)
    tl.store(out + i, tl.reshape(paper_kernels._sigmoid(tl.load(z + i)[None, :], table), [N]))


def test_paper_looks_up_every_entry() -> None:
    """Of the table, and beyond both of its ends."""
    network = by_kernel(made())
    z = torch.arange(-(1 << 14), 1 << 14, dtype=torch.int32)
    found = torch.zeros_like(z)
    looked_up[(1,)](z, network.table, found, N=len(z))
    assert np.array_equal(found.numpy(), published_reference.ReferencePaperLstm(made())._sigmoid(z.numpy()))
