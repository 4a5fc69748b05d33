"""The interface of a pipeline, which is one kind of predictor: one object with few methods. A new kind is a new folder
beside this file.

To encode a slab, call `choose`, `take`, `predict` and `pack`; to decode it, `open` and `decode`. The values that pass
from one call to the next are private to the pipeline: a caller passes them on and does not look inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from ..dtypes import Levels as Levels
from ..models import Model
from ..runtime.team import Team
from ..stages import linear
from ..wire.cursor import Cursor

Shape = tuple[int, int, int]  # Z, Y, X
Done = Callable[[int], None]  # called with the number of voxels done since the last call; may raise to end the work

Weights = TypeVar("Weights")
Choice = TypeVar("Choice")  # what an encoder has chosen for a slab; None if there is nothing to choose
Input = TypeVar("Input")  # a slab whose voxels are known
Predictions = TypeVar("Predictions")  # for all voxels of a slab
Stream = TypeVar("Stream")  # a slab whose voxels are still symbols
# The same types where a protocol only reads or only returns them.
InputIn = TypeVar("InputIn", contravariant=True)
PredictionsIn = TypeVar("PredictionsIn", contravariant=True)
PredictionsOut = TypeVar("PredictionsOut", covariant=True)
StreamIn = TypeVar("StreamIn", contravariant=True)
StreamOut = TypeVar("StreamOut", covariant=True)
# Fits a linear stage to levels [Z, Y, X], given the most runs of its support, the effort, and a reference or None.
Fit = Callable[[Levels, int, int, Levels | None], linear.LinearWeights]
# Returns the levels [Z, Y, X] of the reference of a slab: those of the same slab at another time point, in the packing
# of this one. Raises DamagedError where there is none.
Reference = Callable[[], Levels]


class Stopped(Exception):
    """Ends the work on a slab whose result is no longer needed."""


class Coder(Protocol[Choice, Input, PredictionsIn, StreamOut]):
    """All of a model that packing and opening slabs needs: everything but its network."""

    def choose(self, levels: Levels, limit: int, effort: int, fit: Fit, reference: Levels | None = None) -> Choice:
        """Make the encoder's choices for a slab [Z, Y, X]. `fit` fits a linear stage, on the CPU or on a GPU. The slab
        may refer to a `reference`, if there is one."""
        ...

    def take(self, levels: Levels, limit: int, choice: Choice, reference: Levels | None = None) -> Input:
        """Prepare a slab for the network."""
        ...

    def without_levels(self, slab: Input) -> Input:
        """Return a copy of the input that has only what `pack` needs, to save memory."""
        ...

    def pack(self, slab: Input, predictions: PredictionsIn) -> bytes:
        """Encode a slab as its payload."""
        ...

    def open(self, payload: Cursor, shape: Shape, limit: int, reference: Reference | None = None) -> StreamOut:
        """Open a payload, and read all of it. `reference` is called if the slab refers to one. Raises DamagedError
        where `pack` cannot have written it."""
        ...


class Network(Protocol[InputIn, PredictionsOut, StreamIn]):
    """The network of a model, on the CPU."""

    def predict(self, slab: InputIn, team: Team, done: Done) -> PredictionsOut:
        """Predict all voxels of a slab, each from those that a decoder knows by then."""
        ...

    def decode(self, stream: StreamIn, team: Team, done: Done) -> Levels:
        """Decode the levels [Z, Y, X] of a slab. Raises DamagedError for symbols that no encoder writes."""
        ...


class Pipeline(Protocol[Weights, Choice, Input, Predictions, Stream]):
    """A kind of predictor.

    work     the cost of a voxel, in voxels of `row`: the higher it is, the smaller the volumes that go to a GPU
    refers   whether slabs can refer to those of another time point
    """

    work: int
    refers: bool

    def load(self, model: Model, delta: bytes = b"") -> Weights:
        """Load a model's weights, and apply a weight delta if there is one. Raises DamagedError if one is invalid."""
        ...

    def coder(self, model: Model, weights: Weights) -> Coder[Choice, Input, Predictions, Stream]:
        """Make the coder, which packs and opens slabs."""
        ...

    def network(self, weights: Weights, backend: str) -> Network[Input, Predictions, Stream]:
        """Make the network, as "cpu", or as the "reference" that defines it."""
        ...
