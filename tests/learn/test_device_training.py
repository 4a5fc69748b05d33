"""Training as a GPU does it, by plain torch on the CPU: the integers of the CPU's passes, its gradients but for
rounding, the same blocks, the same training. The kernels have `test_kernels.py`; `test_on_gpu.py` has a real GPU."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from volcomp.constants import INPUTS  # noqa: E402
from volcomp.encoder import linear_fit  # noqa: E402
from volcomp.learn import data, device, row_lstm  # noqa: E402
from volcomp.learn.blocks import DeviceSampler, Slabs  # noqa: E402
from volcomp.stages.lstm.weights import load  # noqa: E402
from volcomp.training import __main__ as command  # noqa: E402
from volcomp.training import model  # noqa: E402

DEVICE = "cpu:0"  # the processor as torch sees it


def slabs_of_all_kinds() -> list[data.TrainingSlab]:
    """Of several shapes and ranges: shallow, narrow, grey levels beyond int16."""
    random = np.random.default_rng(3)
    made = [
        random.integers(0, 200, (5, 9, 20)).cumsum(axis=2),
        random.integers(0, 9, (4, 6, 5)),
        random.normal(900, 2, (9, 8, 70)).round().astype(int),
    ]
    small = [slab for levels in made for slab in data.slabs_of(levels.astype("<u2"), 4)]
    wide = random.integers(0, 65536, (3, 7, 11)).astype(np.int32)
    return [*small, data.prepare(wide, linear_fit.fit_by_effort(wide, 4, 1))]


def random_pass(
    shape: tuple[int, int, int, int], hidden: int, shared: int, seed: int = 0, shifts: tuple[int, int] = (5, 8)
) -> tuple[torch.Tensor, ...]:
    """Inputs, weights, shifts, and a gradient of what the head sees."""
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randint(-127, 128, (*shape, INPUTS), dtype=torch.int8, generator=random)
    rows = INPUTS + 2 * shared + hidden
    integers = torch.randint(-64, 65, (rows, 4 * hidden), dtype=torch.int8, generator=random)
    shift = torch.randint(*shifts, (4 * hidden,), dtype=torch.int32, generator=random)
    return inputs, integers, shift, torch.randn((*shape, 2 * shared + hidden), generator=random)


def assert_same_passes(
    made: row_lstm.Passes, shape: tuple[int, int, int, int], hidden: int, shared: int, where: str = "cpu",
    tolerance: float = 0.01, shifts: tuple[int, int] = (5, 8),
) -> None:  # fmt: skip
    """Equal integers; gradients of every kind of row, from outputs and from what was passed on, within a tolerance of
    their size. Both round to bfloat16, whatever this processor prefers; the order of a sum differs."""
    inputs, integers, shift, given = random_pass(shape, hidden, shared, shifts=shifts)
    cpu, s, own = row_lstm.CpuPasses(hidden, shared, torch.bfloat16), shared, INPUTS
    expected = cpu.forward(inputs.numpy(), integers, shift)
    found = made.forward(*(part.to(where) for part in (inputs, integers, shift)))
    assert torch.equal(found.cpu(), expected)
    kinds = [slice(None), slice(2 * s, None), *([slice(s), slice(s, 2 * s)] if s else [])]
    for kind in kinds:
        of_kind = torch.zeros_like(given)
        of_kind[..., kind] = given[..., kind]
        gradient, other = cpu.backward(of_kind), made.backward(of_kind.to(where)).cpu()
        for part in (slice(own), slice(own, own + s), slice(own + s, own + 2 * s), slice(own + 2 * s, None)):
            size = gradient[part].norm()
            assert (other[part] - gradient[part]).norm() <= tolerance * size, (kind, part)
            along = (other[part] * gradient[part]).sum()  # roundings meet all, so that they hardly change the scale
            assert abs(along - size**2) <= tolerance / 2 * size**2, (kind, part)


@pytest.mark.parametrize(("hidden", "shared"), [(32, 16), (128, 32), (32, 0), (24, 8)])
@pytest.mark.parametrize("shape", [(12, 3, 4, 3), (1, 2, 3, 2), (2, 1, 3, 1), (3, 3, 1, 4), (7, 1, 1, 5)])
def test_the_passes_are_the_cpus(shape: tuple[int, int, int, int], hidden: int, shared: int) -> None:
    assert_same_passes(device.DevicePasses(hidden, shared, "cpu"), shape, hidden, shared)


def assert_same_when_saturated(
    made: row_lstm.Passes, shape: tuple[int, int, int, int], hidden: int, shared: int
) -> None:
    """Gates, cells and outputs at their limits and beyond, where hardly any gradient is left."""
    inputs, integers, shift, given = random_pass(shape, hidden, shared, shifts=(0, 3))
    cpu = row_lstm.CpuPasses(hidden, shared, torch.bfloat16)
    assert torch.equal(made.forward(inputs, integers, shift), cpu.forward(inputs.numpy(), integers, shift))
    gradient = cpu.backward(given)
    assert (made.backward(given) - gradient).norm() <= 0.03 * gradient.norm()


def test_weights_that_saturate() -> None:
    assert_same_when_saturated(device.DevicePasses(32, 16, "cpu"), (20, 2, 2, 4), 32, 16)


def test_quantised_weights_are_of_no_device() -> None:
    """Shifts are as fine as the largest weight allows, exactly so where that is a power of two or next to one."""
    powers = 2.0 ** torch.arange(-4, 9)
    largest = torch.cat([powers, torch.nextafter(powers, powers * 2), torch.nextafter(powers, powers / 2)])
    weights = torch.zeros(INPUTS + 1, len(largest))
    weights[-1] = largest
    integers, shift = row_lstm.quantise(weights)
    wanted = np.floor(np.log2(64 / largest.double().numpy())).clip(0, 7)
    assert np.array_equal(shift.numpy(), wanted)
    expected = np.rint(largest.double().numpy() * 2.0**wanted).clip(-64, 64)
    assert np.array_equal(integers[-1].numpy(), expected) and not integers[:-1].any()
    assert torch.equal(row_lstm.real(integers, shift)[-1], integers[-1] * 2.0 ** -shift.float())


def assert_same_blocks(made: Slabs, slabs: list[data.TrainingSlab], where: str, block: data.Block) -> None:
    """Blocks from everywhere in every slab, its corners as well."""
    random = np.random.default_rng(4)
    for k, slab in enumerate(slabs):
        room = np.maximum(np.subtract(slab.shape, block), 0)
        places = np.concatenate([[[0, 0, 0], room], random.integers(0, room + 1, (6, 3))])
        expected = data.blocks_of(slab, *places.T, block)
        found = made.at(torch.from_numpy(np.insert(places, 0, k, axis=1)).to(where), block)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape and np.array_equal(one.cpu().numpy(), other)


@pytest.mark.parametrize("block", [(3, 6, 16), (2, 4, 64), (1, 1, 1)])
def test_blocks_are_the_cpus(block: data.Block) -> None:
    slabs = [slab for slab in slabs_of_all_kinds() if slab.shape[0] >= block[0]]
    assert_same_blocks(Slabs(slabs, DEVICE), slabs, DEVICE, block)
    small = [slab for slab in slabs if slab.known.max() < 1 << 15]  # which is kept in 16 bits
    assert Slabs(small, DEVICE).known.dtype == torch.int16
    assert_same_blocks(Slabs(small, DEVICE), small, DEVICE, block)


def test_batches_are_the_cpus() -> None:
    """The same blocks in the same order, of several series, some of several slabs."""
    slabs = slabs_of_all_kinds()
    series, block = [slabs[:2], [slabs[2]], slabs[3:]], (2, 5, 12)
    one, other = data.Sampler(series, block, 7), DeviceSampler(series, block, 7, DEVICE)
    for count in (40, 3):
        for a, b in zip(one.batch(count), other.batch(count), strict=True):
            assert np.array_equal(a, b.numpy())


def trained(
    where: str, steps: int, name: str = "fast", start: Path | None = None
) -> tuple[model.RowTrainee, list[float]]:
    """A trainee after some steps on that device, from a checkpoint or from nothing, and its losses."""
    trainee = model.RowTrainee(name, 5, where)
    if start:
        trainee.load(start)
    slabs, seed = [slabs_of_all_kinds()], 1 + trainee.step
    block = (2, 3, 16)
    sampler = data.Sampler(slabs, block, seed) if where == "cpu" else DeviceSampler(slabs, block, seed, where)
    return trainee, [trainee.update(*sampler.batch(24), 3e-3, 1.0) for _ in range(steps)]


def assert_same_training(where: str, folder: Path, name: str = "fast") -> None:
    """Losses agree on the way, and wherever a training was begun it goes on elsewhere."""
    steps = 8
    ours, expected = trained("cpu", steps, name)
    theirs, found = trained(where, steps, name)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found == pytest.approx(expected, rel=2e-3)
    begin = model.RowTrainee(name, 5)
    for first, one, other in zip(begin.parameters(), ours.parameters(), theirs.parameters(), strict=True):
        a, b, c = (parameter.detach().cpu() for parameter in (first, one, other))
        assert 0 <= (c - b).norm() <= 0.2 * (b - a).norm() > 0
    ours.save(folder / "cpu.pt")
    theirs.save(folder / "device.pt")
    later = [trained(to, 3, name, folder / file) for to in ("cpu", where) for file in ("cpu.pt", "device.pt")]
    sampler = data.Sampler([slabs_of_all_kinds()], (2, 3, 16), 1 + ours.step)
    uninterrupted = [ours.update(*sampler.batch(24), 3e-3, 1.0) for _ in range(3)]
    squares = ours.optimiser.state[ours.lstm.weights]["exp_avg_sq"].norm()  # what Adam remembers of all steps
    for trainee, losses in later:
        assert losses == pytest.approx(uninterrupted, rel=2e-3)
        remembered = trainee.optimiser.state[trainee.lstm.weights]["exp_avg_sq"].norm()
        assert float(remembered) == pytest.approx(float(squares), rel=0.05)
    again = theirs.on_cpu()
    for one, other in zip(again.parameters(), theirs.parameters(), strict=True):
        assert one.device.type == "cpu" and torch.equal(one, other.cpu())


def test_the_training_is_the_cpus(tmp_path: Path) -> None:
    assert_same_training(DEVICE, tmp_path)


def test_the_command_goes_on_on_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps as a GPU does them, one on the CPU; the model is exported after either."""
    (tmp_path / "slabs.pickle").write_bytes(pickle.dumps([slabs_of_all_kinds()]))
    for name, value in {"EVERY": 1, "BATCHES": 1, "BLOCK": (2, 3, 8)}.items():
        monkeypatch.setattr(command, name, value)
    begin = ["training", "--model", "fast", "--start", "nothing", "--folder", str(tmp_path), "--threads", "1"]
    for steps, where in ((2, DEVICE), (3, "cpu")):
        monkeypatch.setattr(sys, "argv", [*begin, "--steps", str(steps), "--device", where, "--blocks", "5"])
        command.main()
        assert load(tmp_path / "fast.npz", "fast").shared == 16
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().split()] == ["step", "1", "2", "3"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", [*begin, "--device", "cuda"])
    with pytest.raises(SystemExit):
        command.main()
    assert "torch finds no GPU here" in capsys.readouterr().err


def test_what_is_wrong_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that gives other integers, or other gradients; where no other is left, that is said."""

    class Wrong(device.DevicePasses):
        def _forward(self, a: device.PassArrays, integers: torch.Tensor, shift: torch.Tensor) -> None:
            super()._forward(a, integers, shift)
            a.hidden[-1] += 1

    class Steep(device.DevicePasses):
        def _backward(self, a: device.PassArrays, given: torch.Tensor, recurrent: torch.Tensor) -> torch.Tensor:
            return 1.1 * super()._backward(a, given, recurrent)

    monkeypatch.setattr(device, "ways", lambda where: [Wrong, Steep, device.DevicePasses])
    with pytest.warns(RuntimeWarning, match="left aside: it does not give the CPU's"):
        assert type(device.passes(32, 16, DEVICE)) is device.DevicePasses
    monkeypatch.setattr(device, "ways", lambda where: [Steep])
    with (
        pytest.warns(RuntimeWarning, match="gradients"),
        pytest.raises(RuntimeError, match="does not give the numbers"),
    ):
        device.passes(32, 16, DEVICE)
