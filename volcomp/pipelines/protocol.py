"""What a kind of predictor is to the rest: one object with few methods. A new kind is a new folder beside this file.

A slab goes `choose`, `take`, `predict`, `pack` on its way into a file, and `open`, `decode` on its way out. What lies
between two of these is the pipeline's own: whoever calls them hands it on without looking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..models import Model
from ..runtime.team import Team
from ..wire.cursor import Cursor

Shape = tuple[int, int, int]  # Z, Y, X
Levels = NDArray[np.signedinteger]  # grey levels 0 … limit, int16 or int32
Done = Callable[[int], None]  # called with the number of voxels done since the last call; may raise to end the work

Weights = TypeVar("Weights")
Choice = TypeVar("Choice")  # what an encoder has chosen for a slab; None where there is nothing to choose
Input = TypeVar("Input")  # a slab whose voxels are known
Predictions = TypeVar("Predictions")  # of all its voxels
Stream = TypeVar("Stream")  # a slab whose voxels are still symbols
# The same where a protocol only takes or only gives them.
InputIn = TypeVar("InputIn", contravariant=True)
PredictionsIn = TypeVar("PredictionsIn", contravariant=True)
PredictionsOut = TypeVar("PredictionsOut", covariant=True)
StreamIn = TypeVar("StreamIn", contravariant=True)
StreamOut = TypeVar("StreamOut", covariant=True)
Stage = TypeVar("Stage", covariant=True)  # a linear stage that was fitted to a slab
Fit = Callable[[Levels, int, int], Stage]  # from levels [Z, Y, X], the most runs of a support, and the effort


class Stopped(Exception):
    """Raised within a slab when nobody waits for it any more."""


class Coder(Protocol[Choice, Input, PredictionsIn, StreamOut]):
    """A model with all that packing and opening slabs needs, but for its network."""

    def choose(self, levels: Levels, limit: int, effort: int, fit: Fit[Choice]) -> Choice:
        """What the encoder chooses for a slab [Z, Y, X]; `fit` fits a linear stage, on whatever device."""
        ...

    def take(self, levels: Levels, limit: int, choice: Choice) -> Input:
        """The slab as the network takes it."""
        ...

    def without_levels(self, slab: Input) -> Input:
        """What `pack` needs of it."""
        ...

    def pack(self, slab: Input, predictions: PredictionsIn) -> bytes:
        """The payload of a slab."""
        ...

    def open(self, payload: Cursor, shape: Shape, limit: int) -> StreamOut:
        """The slab of a payload, all of which is read. DamagedError where `pack` cannot have written it."""
        ...


class Network(Protocol[InputIn, PredictionsOut, StreamIn]):
    """A model's network on the CPU."""

    def predict(self, slab: InputIn, team: Team, done: Done) -> PredictionsOut:
        """Of all voxels of a slab, each before it is known."""
        ...

    def decode(self, stream: StreamIn, team: Team, done: Done) -> Levels:
        """The levels [Z, Y, X] of a slab; DamagedError where its symbols cannot be."""
        ...


class Pipeline(Protocol[Weights, Choice, Input, Predictions, Stream]):
    """A kind of predictor.

    work   what a voxel costs, in voxels of `row`: a GPU pays for the sooner
    """

    work: int

    def load(self, model: Model, differences: bytes = b"") -> Weights:
        """The integers of a model, or what differences make of them. DamagedError where either is not sound."""
        ...

    def coder(self, model: Model, weights: Weights) -> Coder[Choice, Input, Predictions, Stream]:
        """What packs and opens slabs."""
        ...

    def network(self, weights: Weights, backend: str) -> Network[Input, Predictions, Stream]:
        """The network, as "cpu" or as the "reference" that defines it."""
        ...
