"""A new kind of predictor is one object and a model's record: no other part of the package is touched for it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import volcomp
from tests.codec.test_codec import scan
from tests.helpers import compress, series
from volcomp import DamagedError, UnsupportedError, VerificationError, models
from volcomp.archive.restore import restore
from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import encode
from volcomp.codec.engines import by_reference
from volcomp.container.inspection import opened
from volcomp.container.sections import SLAB, SectionId
from volcomp.container.volume import read_volume
from volcomp.models import Model
from volcomp.options import DecodeOptions, EncodeOptions
from volcomp.pipelines.protocol import Done, Fit, Levels, Reference, Shape
from volcomp.pipelines.registry import PIPELINES
from volcomp.runtime.team import Team
from volcomp.wire.cursor import Cursor, varint

# ------------------------------------------------------------------------------------- a pipeline: the voxel before


class Start(NamedTuple):
    """What a model of this kind is: what the voxel before a slab's first one is said to have been."""

    level: int


class Known(NamedTuple):
    """A slab whose voxels are known."""

    levels: Levels
    limit: int


class Coded(NamedTuple):
    """A slab whose voxels are residuals."""

    residuals: list[int]
    shape: Shape
    limit: int


class Coder:
    """Residuals as varints, the sign in the lowest bit."""

    def choose(self, levels: Levels, limit: int, effort: int, fit: Fit, reference: Levels | None = None) -> None:
        """Nothing."""

    def take(self, levels: Levels, limit: int, choice: None, reference: Levels | None = None) -> Known:
        return Known(levels, limit)

    def without_levels(self, slab: Known) -> Known:
        return slab

    def pack(self, slab: Known, predictions: np.ndarray) -> bytes:
        residuals = slab.levels.ravel() - predictions
        return b"".join(varint(2 * r if r >= 0 else -2 * r - 1) for r in residuals.tolist())

    def open(self, payload: Cursor, shape: Shape, limit: int, reference: Reference | None = None) -> Coded:
        coded = [payload.varint() for _ in range(int(np.prod(shape)))]
        payload.end()
        return Coded([-(c + 1) // 2 if c & 1 else c // 2 for c in coded], shape, limit)


class Network:
    """Every voxel is as the one before, in the order of rows and slices."""

    def __init__(self, start: Start) -> None:
        self._start = start

    def predict(self, slab: Known, team: Team, done: Done) -> np.ndarray:
        levels = slab.levels.ravel().astype(np.int64)
        done(levels.size)
        return np.concatenate([[self._start.level], levels[:-1]])

    def decode(self, stream: Coded, team: Team, done: Done) -> Levels:
        levels = self._start.level + np.cumsum(np.array(stream.residuals, np.int64))
        if levels.min() < 0 or levels.max() > stream.limit:
            raise DamagedError("it decodes to voxels that the volume cannot have")
        done(levels.size)
        return levels.astype(np.int32).reshape(stream.shape)


class Before:
    """The pipeline."""

    work = 1

    def load(self, model: Model, differences: bytes = b"") -> Start:
        if differences:
            raise DamagedError("there are no differences of such a model")
        assert isinstance(model.weights, Start)
        return model.weights

    def coder(self, model: Model, weights: Start) -> Coder:
        return Coder()

    def network(self, weights: Start, backend: str) -> Network:
        return Network(weights)


RECORD = Model("before-1", 100, "before", "0f" * 32, tunable=False, weights=Start(3))


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model of the pipeline, which is registered meanwhile."""
    monkeypatch.setitem(PIPELINES, "before", Before())
    return RECORD


def slabs_of(data: bytes) -> tuple[bytes, dict[int, bytes]]:
    """The header of a file's volume, and the payloads of its slabs."""
    with opened(data) as reader:
        volume = read_volume(reader, 0, {RECORD.number: RECORD})
        count = len(volume.layout.slabs)
        return volume.section, {k: reader.read(SectionId(SLAB, 0, k)) for k in range(count)}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_pipeline_of_ones_own_there_and_back(record: Model, low_slabs: None, threads: int) -> None:
    voxels = scan((50, 12, 14))
    data = volcomp.compress(voxels, model=record, threads=threads)  # which verifies it
    section, payloads = slabs_of(data)
    assert sorted(payloads) == [0, 1, 2] and section[0] == record.number
    done: list[int] = []
    found = dict(decode_slabs(section, payloads, DecodeOptions(threads), progress=done.append, trial=record))
    assert np.array_equal(np.concatenate([found[k] for k in sorted(found)]), voxels)
    assert sum(done) == voxels.size
    assert (section, [*payloads.values()]) == encode(voxels, EncodeOptions(record), engine=by_reference)
    ((number, middle),) = decode_slabs(section, {1: payloads[1]}, trial=record)
    assert number == 1 and np.array_equal(middle, voxels[16:33])


def test_what_it_wrote_needs_its_model(record: Model) -> None:
    """Which is a trial's: no version of the package has it, and another model of that number is another."""
    data = volcomp.compress(scan((3, 9, 10)), model=record)
    with pytest.raises(UnsupportedError, match="the file needs model 100"):
        volcomp.decompress(data)
    section, payloads = slabs_of(data)
    with pytest.raises(DamagedError, match="not the one that the file was made with"):
        next(decode_slabs(section, payloads, trial=replace(record, digest="1f" * 32)))


def test_damage_to_what_it_wrote_is_noticed(record: Model) -> None:
    voxels = scan((3, 9, 10))
    section, payloads = slabs_of(volcomp.compress(voxels, model=record))
    for k in range(len(payloads[0])):
        for hurt in (payloads[0][:k], payloads[0][:k] + bytes([payloads[0][k] ^ 1]) + payloads[0][k + 1 :]):
            ((_, found),) = decode_slabs(section, {0: hurt}, trial=record)
            assert isinstance(found, DamagedError) and str(found).startswith("slab 0 (slices 0 to 2) is damaged")


def test_a_pipeline_that_errs_is_noticed(record: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it makes of the voxels: what was coded is decoded and compared."""
    genuine = Network.decode
    monkeypatch.setattr(Network, "decode", lambda *arguments: genuine(*arguments)[:, ::-1])
    with pytest.raises(VerificationError, match=r"slab 0 .* is damaged: its voxels do not have the checksum"):
        volcomp.compress(scan((3, 9, 10)), model=record)


def test_what_it_lacks_is_said(record: Model, pretended: None) -> None:
    """On a machine with a GPU, which takes what it can do: another pipeline stays on the CPU."""
    voxels = scan((3, 9, 10))
    with pytest.raises(UnsupportedError, match="before-1 cannot be fine-tuned to a volume"):
        volcomp.compress(voxels, model=record, effort=9)
    with pytest.raises(UnsupportedError, match="models of the pipeline 'before' run on the CPU alone"):
        volcomp.compress(voxels, model=record, device="cuda")
    assert volcomp.compress(voxels, model=record) == volcomp.compress(voxels, model=record, device="cpu")


def test_an_archive_of_files_takes_it_as_well(record: Model, tmp_path: Path) -> None:
    compress([series(tmp_path / "in", 5)], tmp_path / "x.vcz", model=record)
    with pytest.raises(UnsupportedError, match="the file needs model 100"):
        restore(tmp_path / "x.vcz", tmp_path / "out")


def test_every_released_model_has_its_pipeline() -> None:
    assert {model.pipeline for model in models.RELEASED.values()} <= PIPELINES.keys()


# --------------------------------------------------------------------------------------- what needs no pipeline at all

LOOKING = """
import sys
import volcomp
from volcomp.cli import main
path = sys.argv[1]
try:
    {}
finally:
    print(*sorted({{name.split(".")[0] for name in sys.modules}}), file=sys.stderr)
"""


@pytest.mark.parametrize("holds", ["an array", "files"])
@pytest.mark.parametrize("looking", ["main(['info', path])", "volcomp.inspect(path)", "main(['--help'])"])
def test_looking_at_a_file_imports_nothing_that_decodes_it(tmp_path: Path, looking: str, holds: str) -> None:
    path = tmp_path / "x.vcz"
    if holds == "files":
        compress([series(tmp_path / "in", 3)], path)
    else:
        path.write_bytes(volcomp.compress(scan((3, 9, 10)), threads=1))
    command = [sys.executable, "-c", LOOKING.format(looking), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = set(done.stderr.splitlines()[-1].split())
    assert "volcomp" in imported and ("numpy" in imported) == ("help" not in looking)
    assert not imported & {"constriction", "llvmlite", "numba", "torch"}
