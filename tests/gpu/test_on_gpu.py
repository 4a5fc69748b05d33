"""On a GPU: what it codes the CPU decodes and the other way round, and up to effort 5 the bytes are the same.

`make test-gpu` runs these; everywhere else they are skipped, and `test_gpu.py` and `test_kernels.py` say what can be
said without one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import volcomp
from neighbourhoods import Neighbourhood
from tests.batch.test_batch import check as check_batch
from tests.batch.test_batch import tree
from tests.codec.test_codec import decode, scan, volumes
from tests.conformance.golden import of_any_device
from tests.gpu.test_batcher import check_together
from tests.gpu.test_gpu import ROWS, nothing, same_predictions
from tests.gpu.test_gpu import slabs_of_all_kinds as given_of_all_kinds
from tests.gpu.test_gpu_paper import DEEP, FAR, check_walks, slabs_of
from tests.helpers import contents, series
from tests.learn.test_device_training import (
    assert_same_blocks,
    assert_same_passes,
    assert_same_training,
    slabs_of_all_kinds,
)
from tests.learn.test_fine_tuning import scan as unseen
from tests.pipelines.test_paper import LEFT_FREE, SMALL, made
from volcomp import cli, models
from volcomp.batch.run import run as run_batch
from volcomp.codec import encode as encoding
from volcomp.codec import engines
from volcomp.codec.encode import encode
from volcomp.container.sections import SLAB, Reader, SectionId
from volcomp.container.volume import read_volume, volume_numbers
from volcomp.errors import UnsupportedError
from volcomp.gpu import device
from volcomp.gpu.paper import device as paper_device
from volcomp.gpu.row import device as row_device
from volcomp.learn import device as training
from volcomp.learn import fine_tuning
from volcomp.learn.blocks import Slabs
from volcomp.learn.row_lstm import Passes
from volcomp.models import Model
from volcomp.options import EncodeOptions
from volcomp.pipelines.paper.pipeline import PAPER
from volcomp.pipelines.row.pipeline import ROW
from volcomp.pipelines.row.wavefront import predict_slab
from volcomp.runtime.team import Team
from volcomp.stages.lstm import cpu
from volcomp.training import corpus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(device.missing() is not None, reason=f"there is no GPU to test on: {device.missing()}"),
]


def ways() -> list[Callable[..., object]]:
    """Those of a machine with a GPU, if this is one."""
    return row_device.ways("cuda") if device.missing() is None else []


def ways_of_paper() -> list[Callable[..., object]]:
    """As `ways`, of `paper`."""
    return paper_device.ways("cuda") if device.missing() is None else []


def both_ways(voxels: np.ndarray, model: str | Model, **options: Any) -> None:
    """Here and there, there and here."""
    ours = encode(voxels, EncodeOptions(model, device="cuda", **options))
    assert ours == encode(voxels, EncodeOptions(model, device="cpu", **options))
    assert np.array_equal(decode(*ours, device="cuda"), voxels)
    assert np.array_equal(decode(*ours, device="cpu"), voxels)


@pytest.mark.parametrize(
    "number", [n for n, model in sorted(models.RELEASED.items()) if model.pipeline == "row" and not model.sees]
)
@pytest.mark.parametrize("way", ways(), ids=lambda way: f"{way.__module__.rpartition('.')[2]}.{way.__name__}")
def test_every_way_equals_the_cpu(way: Callable[..., object], number: int) -> None:
    """Also those that another is preferred to. With recorded fronts, without, and in plain torch."""
    from volcomp.gpu.row.network import DeviceLstm
    from volcomp.gpu.row.wavefront import predict_slabs

    network = DeviceLstm(ROW.load(models.RELEASED[number]), "cuda", way)  # type: ignore[arg-type]
    row_device.check(network)
    slabs, backend = given_of_all_kinds(number), cpu.CpuLstm(ROW.load(models.RELEASED[number]))
    for slab, found in zip(slabs, predict_slabs(slabs, network, nothing), strict=True):
        assert same_predictions(found, predict_slab(slab, backend, Team(), nothing))


def test_the_fastest_way_is_taken() -> None:
    """That it is left aside would be a warning, and so an error here."""
    assert device.network("row", ROW.load(models.RELEASED[4])).steps is ways()[0]


@pytest.mark.parametrize("neighbourhood", [SMALL, LEFT_FREE, DEEP, FAR])
@pytest.mark.parametrize("way", ways_of_paper(), ids=lambda way: way.__module__.rpartition(".")[2])
def test_every_way_of_paper_equals_the_reference(way: Callable[..., object], neighbourhood: Neighbourhood) -> None:
    """Gates at their limits and not, ranks beyond int16; slabs of several programs and of a part of one."""
    from volcomp.gpu.paper.network import DevicePaperLstm

    for size, limit in ((0.1, 4095), (3.0, 65535)):
        weights = made(neighbourhood, size)
        shapes = [(4, 13, 11), (1, 13, 11), (5, 13, 11)]
        check_walks(weights, slabs_of(shapes, limit), DevicePaperLstm(weights, "cuda", way))  # type: ignore[arg-type]


def test_the_fastest_way_of_paper_is_taken() -> None:
    assert device.network("paper", PAPER.load(models.chosen("paper"))).make is ways_of_paper()[0]


@settings(max_examples=25)
@given(voxels=volumes)
def test_any_volume_with_paper(voxels: np.ndarray) -> None:
    both_ways(voxels, model="paper")


@pytest.mark.parametrize("shape", [(1, 1, 300), (130, 1, 1), (67, 33, 65)])
def test_odd_shapes_with_paper(shape: tuple[int, int, int]) -> None:
    both_ways(scan(shape), model="paper")


@pytest.mark.parametrize("model", ROWS)
@settings(max_examples=25)
@given(voxels=volumes)
def test_any_volume(model: str, voxels: np.ndarray) -> None:
    both_ways(voxels, model=model)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 300), (1, 300, 1), (130, 1, 1), (67, 33, 65), (33, 200, 129)])
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    both_ways(scan(shape), model="fast")


@pytest.mark.parametrize("path", of_any_device(), ids=lambda path: path.stem)
def test_golden_files(path: Path) -> None:
    with path.open("rb") as file:
        reader = Reader(file)
        volume = next(one for one in (read_volume(reader, n) for n in volume_numbers(reader)) if not one.refers)
        payloads = [reader.read(SectionId(SLAB, volume.number, k)) for k in range(len(volume.layout.slabs))]
    expected = decode(volume.section, payloads, device="cpu")
    assert np.array_equal(decode(volume.section, payloads, device="cuda"), expected)


@pytest.mark.parametrize("model", ROWS)
def test_volumes_together(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Eight threads, four in each direction."""
    check_together(monkeypatch, model, 20, where="cuda")


def test_a_batch_on_one_gpu(tmp_path: Path) -> None:
    """Forty small series, four at a time in one process, there and back."""
    source = tree(tmp_path / "in", 40)
    on_gpu = EncodeOptions("fast", device="cuda")
    there = run_batch(source, tmp_path / "out", on_gpu, jobs=4)
    assert (there.series, there.done, there.failed) == (40, 40, 0)
    check_batch(source, tmp_path / "out", {f"p{i // 2}/s{i}" for i in range(40)})
    back = run_batch(tmp_path / "out", tmp_path / "back", on_gpu, decompress=True, jobs=4)
    assert (back.done, back.failed) == (40, 0)
    (tmp_path / "back" / "batch.csv").unlink()
    assert contents(tmp_path / "back") == contents(source)


def test_a_fitted_model() -> None:
    voxels = scan((6, 40, 40))
    coded = encode(voxels, EncodeOptions("fast", device="cuda", effort=6))
    assert np.array_equal(decode(*coded, device="cpu"), voxels)
    assert np.array_equal(decode(*coded, device="cuda"), voxels)


# -------------------------------------------------------------------------------------------------------- training


def ways_of_training() -> list[Callable[..., object]]:
    """Those of a machine with a GPU, if this is one."""
    return training.ways("cuda") if device.missing() is None else []


@pytest.mark.parametrize(("hidden", "shared"), [(32, 16), (128, 32), (32, 0)])
@pytest.mark.parametrize("shape", [(64, 3, 6, 57), (64, 2, 4, 32), (70, 4, 16, 3), (1, 2, 3, 2), (3, 3, 1, 400)])
@pytest.mark.parametrize("way", ways_of_training(), ids=lambda way: way.__name__)
def test_every_way_of_training_has_the_cpus_passes(
    way: Callable[..., Passes], shape: tuple[int, int, int, int], hidden: int, shared: int
) -> None:
    assert_same_passes(way(hidden, shared, "cuda"), shape, hidden, shared, where="cuda", tolerance=0.02)


def test_the_fastest_way_of_training_is_taken() -> None:
    assert type(training.passes(128, 32, "cuda")) is ways_of_training()[0]


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("block", [(3, 6, 16), (2, 4, 64), (1, 1, 1)])
def test_blocks_are_the_cpus(block: tuple[int, int, int], kernels: bool) -> None:
    slabs = [slab for slab in slabs_of_all_kinds() if slab.shape[0] >= block[0]]
    held = Slabs(slabs, "cuda")
    held.kernels = kernels
    assert_same_blocks(held, slabs, "cuda", block)


@pytest.mark.parametrize("model", ROWS)
def test_the_training_is_the_cpus(model: str, tmp_path: Path) -> None:
    """And goes on on the other, from either's checkpoint."""
    assert_same_training("cuda", tmp_path, model)


@pytest.mark.parametrize("model", ROWS)
def test_a_fit_pays(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device alone, recorded or not (that it failed there would be a warning, and so an error here)."""
    voxels = unseen((16, 128, 128))
    plain = encode(voxels, EncodeOptions(model, device="cpu"))
    ours = encode(voxels, EncodeOptions(model, device="cpu", effort=9))
    theirs = encode(voxels, EncodeOptions(model, device="cuda", effort=9))
    assert encoding._size(theirs) < encoding._size(plain)
    assert encoding._size(theirs) == pytest.approx(encoding._size(ours), rel=0.01)
    assert np.array_equal(decode(*theirs, device="cpu"), voxels)
    monkeypatch.setattr(fine_tuning, "UNRECORDED", 1 << 30)
    unrecorded = encode(voxels, EncodeOptions(model, device="cuda", effort=9))
    assert encoding._size(theirs) == pytest.approx(encoding._size(unrecorded), rel=0.002)


def valid_series() -> list[str]:
    """Names of the corpus' valid split, where there is a corpus."""
    try:
        return [one.name for one in corpus.splits() if one.split == "valid"]
    except FileNotFoundError:
        return []


@pytest.mark.corpus
@pytest.mark.parametrize(
    "number", [n for n, model in sorted(models.RELEASED.items()) if model.pipeline == "row" and not model.sees]
)
@pytest.mark.parametrize("name", valid_series())
def test_real_series(name: str, number: int) -> None:
    for volume in corpus.volumes(name):
        both_ways(volume.astype(volume.dtype.newbyteorder("<")), models.RELEASED[number], effort=1)


@pytest.fixture
def little_memory() -> Iterator[Callable[[float], None]]:
    """Leaves torch so many bytes of the card."""
    import torch

    def leave(size: float) -> None:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(size / torch.cuda.mem_get_info()[1])

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_little_memory(little_memory: Callable[[float], None]) -> None:
    voxels = scan((128, 128, 128))  # four slabs, of about ten megabytes each
    expected = encode(voxels, EncodeOptions("fast", device="cuda"))
    little_memory(48e6)
    assert encode(voxels, EncodeOptions("fast", device="cuda")) == expected
    assert np.array_equal(decode(*expected, device="cuda"), voxels)
    little_memory(4e6)
    with pytest.raises(UnsupportedError, match='use device="cpu"'):
        encode(voxels, EncodeOptions("fast", device="cuda"))


def test_the_command(tmp_path: Path) -> None:
    folder, archive = series(tmp_path / "ct", 5, 24), tmp_path / "ct.vcz"
    assert cli.main(["compress", str(folder), "-o", str(archive), "--device", "cuda"]) == 0
    assert cli.main(["verify", str(archive), "--device", "cpu"]) == 0
    assert cli.main(["decompress", str(archive), "-o", str(tmp_path / "back"), "--device", "cuda"]) == 0
    assert contents(tmp_path / "back") == contents(folder)
    assert cli.main(["batch", str(tmp_path / "ct"), str(tmp_path / "out"), "--device", "cuda"]) == 0
    assert (tmp_path / "out" / "ct.vcz").read_bytes() == archive.read_bytes()


def test_auto_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LARGE", 0)
    monkeypatch.setattr(engines, "OnThreads", None)
    array = scan((3, 9, 11))
    assert np.array_equal(volcomp.decompress(volcomp.compress(array)), array)
