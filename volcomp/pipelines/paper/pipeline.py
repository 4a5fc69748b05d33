"""The pipeline `paper`: the published predictor (Nagoor et al. 2022), an LSTM that reads every voxel's neighbourhood one
voxel a step. The way of a slab stands in `slab.py`."""

from __future__ import annotations

from ...errors import DamagedError, UnsupportedError
from ...models import Model
from ...runtime.team import Team
from ...wire.cursor import Cursor
from ..protocol import Done, Fit, Levels, Shape
from . import cpu, reference, slab
from .slab import Predicted, SlabInput, SlabStream
from .weights import Weights, load


class Coder:
    """As `protocol.Coder` says."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def choose(self, levels: Levels, limit: int, effort: int, fit: Fit[None]) -> None:
        """Nothing: all is in the model."""

    def take(self, levels: Levels, limit: int, choice: None) -> SlabInput:
        """The levels are all that the network takes."""
        return SlabInput(levels, limit)

    def without_levels(self, slab_: SlabInput) -> SlabInput:
        """The whole of it: residuals are made of levels."""
        return slab_

    def pack(self, slab_: SlabInput, predictions: Predicted) -> bytes:
        """Residuals under an adaptive table."""
        return slab.write(slab_, predictions, slab.schedule_of(self._weights))

    def open(self, payload: Cursor, shape: Shape, limit: int) -> SlabStream:
        """A reader of its residuals."""
        return SlabStream(shape, slab.Reader(payload, limit), limit)


class Network:
    """As `protocol.Network` says."""

    def __init__(self, network: reference.Network) -> None:
        self._network = network

    def predict(self, slab_: SlabInput, team: Team, done: Done) -> Predicted:
        """All voxels at once, since all neighbours are known."""
        return slab.predict_slab(slab_, self._network, team, done)

    def decode(self, stream: SlabStream, team: Team, done: Done) -> Levels:
        """One front after the other."""
        return slab.decode_slab(stream, self._network, team, done)


class Paper:
    """As `protocol.Pipeline` says."""

    work = 32  # a step of its network for every neighbour

    def load(self, model: Model, differences: bytes = b"") -> Weights:
        """A released model's, or those of a trial; there are no differences."""
        if differences:
            raise DamagedError(f"the file asks for changes of {model.name}, which has none")
        weights = model.weights if isinstance(model.weights, Weights) else load(model.file, model.name)
        if weights.digest().hex() != model.digest:
            raise DamagedError(f"model {model.name} at {model.file.name} is not the released one; reinstall volcomp")
        return weights

    def coder(self, model: Model, weights: Weights) -> Coder:
        """For a model."""
        return Coder(weights)

    def network(self, weights: Weights, backend: str) -> Network:
        """On the CPU."""
        if backend not in ("cpu", "reference"):
            raise UnsupportedError(f"backend {backend!r} is not known; take cpu or reference")
        return Network(reference.Network(weights) if backend == "reference" else cpu.Network(weights))


PAPER = Paper()
