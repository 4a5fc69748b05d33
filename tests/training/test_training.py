"""Training: the hand-written passes, the distributions, and the door to integers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from volcomp import models  # noqa: E402
from volcomp.constants import INPUTS, RADIUS  # noqa: E402
from volcomp.encoder import linear_fit  # noqa: E402
from volcomp.learn import data, density  # noqa: E402
from volcomp.pipelines.row.pipeline import ROW  # noqa: E402
from volcomp.pipelines.row.slab import RowSlab, lay_out  # noqa: E402
from volcomp.stages import features, symbols  # noqa: E402
from volcomp.stages.grid import PaddedSlab  # noqa: E402
from volcomp.stages.lstm import learning, reference  # noqa: E402
from volcomp.stages.lstm.weights import LstmWeights  # noqa: E402
from volcomp.training import augment, evaluate, export, model  # noqa: E402


def some_rows(steps: int = 7, rows: int = 20, seed: int = 0) -> data.Batch:
    random = np.random.default_rng(seed)
    inputs = random.integers(-127, 128, (steps, 1, 1, rows, INPUTS)).astype(np.int8)
    shape = inputs.shape[:-1]
    return data.Batch(inputs, random.normal(0, 3, shape).astype(np.float32), np.full(shape, 40, np.int32))


def integers(trainee: model.RowTrainee) -> LstmWeights:
    return export.integers(trainee, export.covariance(trainee, [some_rows(20, 50, seed)[0] for seed in range(3)]))


def some_slab(shape: tuple[int, int, int] = (3, 7, 20)) -> data.TrainingSlab:
    levels = np.random.default_rng(8).integers(0, 200, shape)
    return data.slabs_of(levels.cumsum(axis=2).astype("<u2"), 0)[0]


@pytest.mark.parametrize("name", ["fast", "base"])
def test_the_forward_pass_is_the_codecs(name: str) -> None:
    """Over a whole slab: what rows pass on to each other as well."""
    trainee, random = model.RowTrainee(name, 3), torch.Generator().manual_seed(1)
    with torch.no_grad():
        trainee.lstm.weights.normal_(0, 0.2, generator=random)
        trainee.head.normal_(0, 0.1, generator=random)
    prepared = some_slab()
    depth, height, width = prepared.shape
    zero = np.zeros(1, np.int64)
    batch = data.blocks_of(prepared, zero, zero, zero, prepared.shape)
    seen = trainee.lstm.forward(batch.inputs).numpy()
    weights = integers(trainee)
    assert weights.shared == trainee.lstm.shared > 0

    r = RADIUS
    levels = prepared.known.reshape(depth, height + 2 * r, -1)[:, r : r + height, r : r + width]
    fitted = linear_fit.fit_by_effort(levels, 0, 5)
    layout = lay_out(prepared.shape, fitted)
    slab, network = RowSlab(layout, int(levels.max()), fitted, weights), reference.ReferenceLstm(weights)
    network.learn = lambda *_: None  # type: ignore[method-assign]
    for t, lo, hi in layout.fronts:
        slab.predict(network, t)
        z, y, x = np.unravel_index(slab.places(t, lo, hi), (depth, height + 2 * r, width + 2 * r))
        assert np.array_equal(slab._state.inputs[z * height + y - r], seen[x - r, z, y - r, 0])
        slab.perceive(network, t, lo, prepared.known[slab.places(t, lo, hi)], None)


@pytest.mark.parametrize("of", ["everything", "what the last row says", "what the last row is told"])
def test_the_backward_pass_is_the_gradient_of_the_smooth_network(of: str) -> None:
    """Downhill for each part of the weights, as measured on the network without its roundings. What only the last row
    says or is told depends on the others through what they pass on, which is given weight."""
    trainee = model.RowTrainee("fast", 1)
    with torch.no_grad():
        trainee.lstm.weights[INPUTS : -trainee.lstm.hidden] *= 4
    lstm, h, s = trainee.lstm, trainee.lstm.hidden, trainee.lstm.shared
    inputs = np.random.default_rng(0).integers(-90, 90, (6, 3, 4, 5, INPUTS)).astype(np.int8)
    target = torch.randn(6, 3, 4, 5, 2 * s + h, generator=torch.Generator().manual_seed(2))
    if of != "everything":
        target[:, :2] = target[:, :, :3] = 0
        target[..., slice(2 * s) if of == "what the last row says" else slice(2 * s, None)] = 0
    lstm.forward(inputs)
    lstm.backward(target)
    gradient, start, step = lstm.weights.grad, lstm.weights.detach().clone(), 1e-2
    own = INPUTS
    for part in (slice(own), slice(own, own + s), slice(own + s, own + 2 * s), slice(own + 2 * s, None)):
        direction = torch.zeros_like(start)
        direction[part] = gradient[part] / gradient[part].norm()
        totals = []
        for sign in (1, -1):
            lstm.weights = start + sign * step * direction
            totals.append(float((evaluate.run(trainee, inputs)[..., own:].double() * target).sum()))
        assert (totals[0] - totals[1]) / (2 * step) == pytest.approx(float(gradient[part].norm()), rel=0.05)


def test_a_trainee_learns_what_there_is_to_learn() -> None:
    """Errors that are half of an input: after some steps their mean is predicted and the bits drop."""
    trainee = model.RowTrainee("fast", 1)
    losses = []
    for step in range(60):
        inputs, _, scale = some_rows(8, 256, seed=step)
        error = inputs[..., 0].astype(np.float32) / 64 * 2 ** (40 / 16 - 2)
        losses.append(trainee.update(inputs, error, scale, 3e-3, 1.0))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5


def test_a_checkpoint_continues_exactly(tmp_path: Path) -> None:
    one, other = model.RowTrainee("fast", 5), model.RowTrainee("fast", 6)
    for step in range(3):
        one.update(*some_rows(6, 64, step), 3e-3, 1.0)
    one.save(tmp_path / "c.pt")
    other.load(tmp_path / "c.pt")
    assert one.update(*some_rows(6, 64, 9), 3e-3, 1.0) == other.update(*some_rows(6, 64, 9), 3e-3, 1.0)
    assert integers(one).digest() == integers(other).digest()
    with pytest.raises(ValueError, match="of fast, not of base"):
        model.RowTrainee("base", 1).load(tmp_path / "c.pt")


@pytest.mark.parametrize("log_scale", [-5.5, -1.0, 0.3, 4.0, 9.0])
def test_the_distributions_sum_to_one(log_scale: float) -> None:
    shape = density.Shape()
    reach = int(40 * 2 ** max(log_scale, 0)) + 4
    error = torch.arange(-reach, reach + 1).float() - 0.3
    p = torch.exp2(-shape.bits(error, torch.full_like(error, log_scale))).detach() - density.FLOOR
    assert abs(float(p.sum()) - 1) < 1e-3
    edges = error.numpy().astype(float)
    assert np.abs(shape.interval(edges - 0.5, edges + 0.5, log_scale) - p.numpy()).max() < 1e-3


def test_tables_follow_their_distributions() -> None:
    trainee = model.RowTrainee("fast", 1)
    weights = integers(trainee)
    for number in (0, 60, 115, symbols.TABLES - 1):
        counts = weights.tables()[number]
        assert len(counts) == 2 * symbols.REACH[symbols.CLASS_OF_TABLE[number]] + 1
        assert counts[:-1].argmax() in (symbols.REACH[symbols.CLASS_OF_TABLE[number]] - k for k in (0, 1))


def test_samples_are_what_the_codec_sees() -> None:
    """Blocks taken for training have the inputs that the codec computes; the error is that of the linear stage."""
    random = np.random.default_rng(2)
    voxels = random.integers(0, 200, (4, 20, 70)).astype("<u2")
    (slab,) = data.slabs_of(voxels, 16)
    batch = data.blocks_of(slab, np.array([0, 1]), np.array([0, 7]), np.array([0, 3]), (3, 5, 64))
    assert batch.inputs.shape == (64, 3, 5, 2, INPUTS)
    index = slab.index(np.array([1 + 1]), np.array([7 + 2]), np.array([3 + 17]))
    assert batch.error[17, 1, 2, 1] == slab.residual[index[0]] / 16
    scale, alone = np.empty(1, np.int32), np.zeros((1, INPUTS), np.int8)
    prediction = (slab.known[index] * 16 - slab.residual[index]).astype(np.int32)
    depth = np.array([2], np.uint8)
    neighbours = features.neighbours(slab.strides)
    features.observe(PaddedSlab(slab.known, slab.residual), index, depth, neighbours, prediction, scale, alone)
    assert np.array_equal(alone[0], batch.inputs[17, 1, 2, 1]) and scale[0] == batch.scale[17, 1, 2, 1]


def test_blocks_lie_within_their_slab() -> None:
    """Too shallow slabs are left out; of the others every place is taken, and none beyond slices and rows."""
    shallow, deep = some_slab((2, 9, 30)), some_slab((4, 7, 30))
    deep.residual = np.arange(deep.known.size, dtype=np.int32)  # tells where a voxel lies
    batch = data.Sampler([[shallow], [shallow, deep]], (3, 6, 16), 0).batch(400)
    r = RADIUS
    z, y, x = np.unravel_index((batch.error * 16).astype(int), (4, 7 + 2 * r, 30 + 2 * r))
    assert batch.error.shape == (16, 3, 6, 400)
    assert (z == z[:, :1] + np.arange(3)[:, None, None]).all() and (y == y[:, :, :1] + np.arange(6)[:, None]).all()
    assert (x == x[:1] + np.arange(16)[:, None, None, None]).all()
    assert [np.unique(part - r).tolist() for part in (z + r, y, x)] == [[*range(4)], [*range(7)], [*range(30)]]


@pytest.mark.parametrize("released", [1, 3])
def test_a_trainee_starts_as_a_released_model(released: int) -> None:
    """Whatever that one saw has its weights; what it did not see has zeros."""
    theirs, trainee = ROW.load(models.RELEASED[released]), model.RowTrainee("fast", 1)
    trainee.start(theirs)
    mine, own, h = integers(trainee), INPUTS, theirs.hidden
    for got, wanted in (
        (mine.weights * 2.0**-mine.shift, theirs.weights * 2.0**-theirs.shift),
        (mine.head.T, theirs.head.T),
    ):
        assert np.abs(got[-h:] - wanted[-h:]).max() < 1e-6
        assert not got[own:-h].any()
        assert np.array_equal(got[:own], wanted[:own]) if len(wanted) > h else not got[:own].any()


def test_heads_are_exported_within_their_limit() -> None:
    trainee = model.RowTrainee("fast", 1)
    with torch.no_grad():
        trainee.head[0] = 5
    weights = integers(trainee)
    assert weights.head[:, 0].tolist() == [weights.head_limit] * 2


def test_slopes_are_those_of_the_code_length() -> None:
    shape, step = density.Shape(), 1e-2
    got = export.slopes(shape)
    for c, b in ((10, 3), (30, 2), (40, 20), (60, 50)):
        width = symbols.class_log_scale(max(c, learning.FINEST))
        error, scale = (b + 0.5) / 8 * 2**width, symbols.class_log_scale(c)

        def bits(error: float, scale: float) -> float:
            return float(shape.bits(torch.tensor([error]), torch.tensor([scale])).detach())

        unit = 2**scale
        further = (bits(error + step * unit, scale) - bits(error - step * unit, scale)) / (2 * step)
        larger = (bits(error, scale + step) - bits(error, scale - step)) / (2 * step)
        assert np.abs(got[:, c, b] / 32 - [further, larger]).max() < 0.1


@pytest.mark.parametrize("kind", augment.KINDS)
def test_variations_are_volumes_of_whole_numbers(kind: Callable[..., np.ndarray]) -> None:
    random = np.random.default_rng(1)
    volume = random.integers(0, 4000, (20, 200, 240)).astype(np.int32)
    varied = kind(volume, random)
    assert np.issubdtype(varied.dtype, np.integer) and varied.ndim == 3 and min(varied.shape) > 1
    assert not np.array_equal(varied, volume) and varied.min() > -1500 and varied.max() < 12100
