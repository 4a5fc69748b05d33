"""What comes before the network, in vector instructions: equal to `linear.predict` and `features.observe`."""

import numpy as np
import pytest

from volcomp import models
from volcomp.constants import DEPTHS, INPUTS
from volcomp.encoder import linear_fit
from volcomp.encoder.normal_equations import on_cpu
from volcomp.pipelines.row import fronts, slab
from volcomp.pipelines.row.pipeline import ROW
from volcomp.pipelines.row.slab import RowSlab, lay_out
from volcomp.stages import features, grid, linear
from volcomp.stages.grid import padded
from volcomp.stages.lstm.weights import LstmWeights
from volcomp.stages.supports import of_runs

RUNS = [*linear_fit.FIRST, (-1, -5, -4), (-2, 1, -4), (-3, -3, -4)]  # an odd number in the slice, and altogether


def fitted_to(
    levels: np.ndarray, classes: int, reference: np.ndarray | None = None, discs: tuple[int, ...] = ()
) -> linear.LinearWeights:
    known, index, strides = padded(levels)
    size = known.size
    if reference is not None:
        known = np.concatenate([known, grid.beside(reference)])
    support = of_runs(RUNS).referring(discs)
    return linear_fit._fitted(known, on_cpu(known), index, strides, support, classes, 1 << 12, size)


def network_of(width: int) -> LstmWeights:
    return ROW.load(models.chosen("turbo" if width < INPUTS else "fast")).without(features.SPARED)


@pytest.mark.parametrize("classes", [1, 4, 16])
@pytest.mark.parametrize("limit", [40, 32_767, 60_000])
@pytest.mark.parametrize(
    ("width", "discs", "sees"),
    [
        *((width, discs, False) for width in (64, 40) for discs in ((), (1, -1), (5, 2))),
        *((64, discs, True) for discs in ((), (1, -1))),
    ],
)
def test_it_equals_its_definition(width: int, discs: tuple[int, ...], sees: bool, limit: int, classes: int) -> None:
    random = np.random.default_rng(limit)
    levels = random.integers(0, limit + 1, (10, 14, 19))
    levels[:, 5:] //= 50
    reference = (levels // 2 + random.integers(0, limit // 2 + 1, levels.shape)) if discs or sees else None
    fitted, model = fitted_to(levels, classes, reference, discs), network_of(width)
    beside = fitted.weights[:, :, fitted.support.in_slice : fitted.support.leading]
    assert model.observed == width and bool(discs) == beside.any()
    layout = lay_out(levels.shape, fitted)
    work = RowSlab(layout, limit, fitted, model, None, reference, sees)
    # Voxels that are not known yet hold what they may never be read for.
    work.known[:] = random.integers(0, limit + 1, work.known.size)
    padded_slab, fitted_to_slab = work._arrays.padded, work._stages.before.fitted
    padded_slab.error[:] = random.integers(-16 * limit, 16 * limit + 1, padded_slab.error.size)
    origin, neighbours = slab.geometry(levels.shape)[1], features.neighbours(work.strides, layout.size if sees else 0)
    group = linear.groups_of(levels.shape[0], fitted.height, fitted.support)
    for t, lo, hi in layout.fronts[:: len(layout.fronts) // 40]:
        rows = np.flatnonzero((layout.order.ravel() >= lo) & (layout.order.ravel() < hi))
        scratch = np.empty(work._scratch, np.int64)
        fronts.look_at(t, work._arrays, work._stages, work._state.arrays, scratch)
        z, y = np.divmod(rows, levels.shape[1])
        x = t - z * layout.lags[1] - y * layout.lags[0]
        place = origin + z * work.strides[0] + y * work.strides[1] + x
        depth = np.minimum(z, DEPTHS - 1).astype(np.uint8)
        prediction, scale = np.empty(rows.size, np.int32), np.empty(rows.size, np.int32)
        seen = np.empty((rows.size, INPUTS), np.int8)
        linear.predict(work.known, place, depth, group[z], fitted_to_slab, prediction)
        features.observe(padded_slab, place, depth, neighbours, prediction, scale, seen)
        assert np.array_equal(work._arrays.scratch.prediction[rows], prediction)
        assert np.array_equal(work._arrays.scratch.scale[rows], scale)
        expected = seen if width == INPUTS else np.delete(seen, features.SPARED, axis=1)
        assert np.array_equal(work._state.inputs[rows, :width], expected)


def test_rows_of_a_front_are_those_of_the_schedule() -> None:
    levels = np.random.default_rng(0).integers(0, 99, (5, 9, 7))
    fitted = fitted_to(levels, 1)
    layout = lay_out(levels.shape, fitted)
    work = RowSlab(layout, 98, fitted, network_of(64))
    for t, lo, hi in layout.fronts:
        ranges = [np.arange(a, b) for a, b in work._ranges(t)]
        assert sorted(layout.order.ravel()[np.concatenate(ranges)].tolist()) == [*range(lo, hi)]
