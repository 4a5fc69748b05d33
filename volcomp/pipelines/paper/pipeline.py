"""The pipeline `paper`: the published predictor (Nagoor et al. 2022), an LSTM that reads the neighbourhood of every
voxel, one voxel a step. `slab.py` encodes and decodes a slab."""

from __future__ import annotations

from ...errors import DamagedError, UnsupportedError
from ...models import Model, weights_of
from ...runtime.team import Team
from ...wire.cursor import Cursor
from ..protocol import Done, Fit, Levels, Reference, Shape
from . import cpu, reference, slab
from .slab import PaperInput, PaperStream, Predicted
from .weights import PaperWeights, load


class PaperCoder:
    """The `protocol.Coder` of this pipeline."""

    def __init__(self, weights: PaperWeights) -> None:
        self._weights = weights

    def choose(self, levels: Levels, limit: int, effort: int, fit: Fit, reference: Levels | None = None) -> None:
        """Return None: there is nothing to choose, and no slab refers to another."""

    def take(self, levels: Levels, limit: int, choice: None, reference: Levels | None = None) -> PaperInput:
        """Wrap the levels, which are all that the network reads."""
        return PaperInput(levels, limit)

    def without_levels(self, slab_input: PaperInput) -> PaperInput:
        """Return all of it, since residuals are computed from levels."""
        return slab_input

    def pack(self, slab_input: PaperInput, predictions: Predicted) -> bytes:
        """Write the residuals under an adaptive table."""
        return slab.write(slab_input, predictions, slab.schedule_of(self._weights))

    def open(self, payload: Cursor, shape: Shape, limit: int, reference: Reference | None = None) -> PaperStream:
        """Open a reader of the residuals."""
        return PaperStream(shape, slab.PaperReader(payload, limit), limit)


class PaperNetwork:
    """The `protocol.Network` of this pipeline."""

    def __init__(self, network: reference.ReferencePaperLstm) -> None:
        self._network = network

    def predict(self, slab_input: PaperInput, team: Team, done: Done) -> Predicted:
        """Predict all voxels at once, since all neighbours are known."""
        return slab.predict_slab(slab_input, self._network, team, done)

    def decode(self, stream: PaperStream, team: Team, done: Done) -> Levels:
        """Decode one front after the other."""
        return slab.decode_slab(stream, self._network, team, done)


class PaperPipeline:
    """The `protocol.Pipeline` of this folder."""

    work = 32  # for every neighbour, one step of the network
    refers = False

    def load(self, model: Model, delta: bytes = b"") -> PaperWeights:
        """Load the weights of a released model, or use those of a trial. There is no weight delta for this pipeline."""
        if delta:
            raise DamagedError(f"the file asks for changes of {model.name}, which has none")
        return weights_of(model, PaperWeights, load)

    def coder(self, model: Model, weights: PaperWeights) -> PaperCoder:
        """Make the coder of a model."""
        return PaperCoder(weights)

    def network(self, weights: PaperWeights, backend: str) -> PaperNetwork:
        """Make the network, on the CPU."""
        if backend not in ("cpu", "reference"):
            raise UnsupportedError(f"backend {backend!r} is not known; take cpu or reference")
        return PaperNetwork(
            reference.ReferencePaperLstm(weights) if backend == "reference" else cpu.CpuPaperLstm(weights)
        )


PAPER = PaperPipeline()
