"""Training: the hand-written passes, the distributions, and the door to integers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from volcomp import features, models, residual  # noqa: E402
from volcomp.lstm import learning, reference  # noqa: E402
from volcomp.lstm.state import State  # noqa: E402
from volcomp.lstm.weights import Weights  # noqa: E402
from volcomp.training import augment, data, density, evaluate, export, model, network  # noqa: E402


def some_rows(steps: int = 7, rows: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = random.integers(-127, 128, (steps, rows, features.INPUTS)).astype(np.int8)
    return inputs, random.normal(0, 3, (steps, rows)).astype(np.float32), np.full((steps, rows), 40, np.int32)


def integers(trainee: model.Trainee) -> Weights:
    return export.integers(trainee, export.covariance(trainee, [some_rows(20, 50, seed)[0] for seed in range(3)]))


def test_the_forward_pass_is_the_codecs() -> None:
    trainee = model.Trainee("fast", 3)
    with torch.no_grad():
        trainee.head.normal_().clamp_(-2, 2)
    inputs, _, _ = some_rows()
    seen = trainee.lstm.forward(inputs).numpy()
    weights = integers(trainee)
    state, definition = State(weights, inputs.shape[1]), reference.Network(weights)
    for t in range(len(inputs)):
        state.inputs[:, : features.INPUTS] = inputs[t]
        definition.step(state, 0, inputs.shape[1])
        assert np.array_equal(state.inputs, seen[t])


def test_the_backward_pass_is_the_gradient_of_the_smooth_network() -> None:
    """Against autograd through the same network without its roundings."""
    h, (inputs, _, _) = 16, some_rows(5, 12)
    lstm = network.RowLstm(h, torch.Generator().manual_seed(1))
    target = torch.randn(5, 12, h, generator=torch.Generator().manual_seed(2))
    lstm.forward(inputs)
    lstm.backward(target)
    got = lstm.weights.grad
    weights = lstm.weights.detach().clone().requires_grad_()

    cell, hidden, total = torch.zeros(12, h), torch.zeros(12, h), torch.zeros(())
    for t in range(5):
        x = torch.cat([torch.from_numpy(inputs[t]).float() / 64, hidden], 1)
        i, f, o, g = (x @ weights).chunk(4, 1)
        cell = evaluate.sigmoid(f) * cell + evaluate.sigmoid(i) * evaluate.tanh(g)
        hidden = evaluate.sigmoid(o) * evaluate.tanh(cell)
        total = total + (hidden * target[t]).sum()
    total.backward()
    expected = weights.grad
    assert torch.nn.functional.cosine_similarity(got.ravel(), expected.ravel(), dim=0) > 0.99
    assert abs(float(got.norm() / expected.norm()) - 1) < 0.05


def test_a_trainee_learns_what_there_is_to_learn() -> None:
    """Errors that are half of an input: after some steps their mean is predicted and the bits drop."""
    trainee = model.Trainee("fast", 1)
    losses = []
    for step in range(60):
        inputs, _, scale = some_rows(8, 256, seed=step)
        error = inputs[:, :, 0].astype(np.float32) / 64 * 2 ** (40 / 16 - 2)
        losses.append(trainee.update(inputs, error, scale, 3e-3, 1.0))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5


def test_a_checkpoint_continues_exactly(tmp_path: Path) -> None:
    one, other = model.Trainee("fast", 5), model.Trainee("fast", 6)
    for step in range(3):
        one.update(*some_rows(6, 64, step), 3e-3, 1.0)
    one.save(tmp_path / "c.pt")
    other.load(tmp_path / "c.pt")
    assert one.update(*some_rows(6, 64, 9), 3e-3, 1.0) == other.update(*some_rows(6, 64, 9), 3e-3, 1.0)
    assert integers(one).digest() == integers(other).digest()
    with pytest.raises(ValueError, match="of fast, not of base"):
        model.Trainee("base", 1).load(tmp_path / "c.pt")


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
    trainee = model.Trainee("fast", 1)
    weights = integers(trainee)
    for number in (0, 60, 115, residual.TABLES - 1):
        counts = weights.tables()[number]
        assert len(counts) == 2 * residual.REACH[residual.CLASS_OF_TABLE[number]] + 1
        assert counts[:-1].argmax() in (residual.REACH[residual.CLASS_OF_TABLE[number]] - k for k in (0, 1))


def test_samples_are_what_the_codec_sees() -> None:
    """Rows taken for training have the inputs that the codec computes; the error is that of the linear stage."""
    random = np.random.default_rng(2)
    voxels = random.integers(0, 200, (4, 20, 70)).astype("<u2")
    (slab,) = data.slabs_of(voxels, "wide")
    inputs, error, _ = data.rows_of(slab, np.array([2]), np.array([9]), np.array([3]), 64)
    index = slab.index(np.array([2]), np.array([9]), np.array([3 + 17]))
    assert error[17, 0] == slab.residual[index[0]] / 16
    scale, alone = np.empty(1, np.int32), np.zeros((1, features.INPUTS), np.int8)
    prediction = (slab.known[index] * 16 - slab.residual[index]).astype(np.int32)
    depth = np.array([2], np.uint8)
    neighbours = features.neighbours(slab.strides)
    features.observe(slab.known, slab.residual, index, depth, neighbours, prediction, scale, alone)
    assert np.array_equal(alone[0], inputs[17, 0])


def test_a_trainee_starts_as_a_released_model() -> None:
    released = models.weights(models.CURRENT["fast"])
    trainee = model.Trainee("fast", 1)
    trainee.start(released)
    weights = integers(trainee)
    real = released.weights * 2.0**-released.shift
    assert np.abs(weights.weights * 2.0**-weights.shift - real).max() < 1e-6
    n = released.head.shape[1]
    assert np.array_equal(weights.head[:, -n:], released.head) and not weights.head[:, :-n].any()


def test_slopes_are_those_of_the_code_length() -> None:
    shape, step = density.Shape(), 1e-2
    got = export.slopes(shape)
    for c, b in ((10, 3), (30, 2), (40, 20), (60, 50)):
        width = residual.class_log_scale(max(c, learning.FINEST))
        error, scale = (b + 0.5) / 8 * 2**width, residual.class_log_scale(c)

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
