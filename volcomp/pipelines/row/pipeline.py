"""The pipeline `row`: a linear stage fitted to the slab, an LSTM that runs along the row, and symbols around its means.

    levels ─linear─▶ prediction ─features, lstm─▶ mean, class ─symbols─▶ ANS

`wavefront.py` predicts and decodes a slab.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ...constants import EFFORT
from ...errors import DamagedError, UnsupportedError
from ...models import Model, weights_of
from ...runtime.team import Team
from ...stages import features, linear, payload, peak, weight_delta
from ...stages.ans import Tables
from ...stages.lstm import cpu, reference
from ...stages.lstm.weights import LstmWeights, load
from ...stages.near_factors import Walk
from ...wire.cursor import Cursor
from ..protocol import Done, Fit, Levels, Reference, Shape
from . import wavefront
from .slab import Layout, lay_out
from .wavefront import RowInput, RowStream

_NO_LEVELS = np.empty((0, 0, 0), np.int16)


def _walk(layout: Layout) -> Walk | None:
    """Return the order of coding of a slab of one slice; None for one of several."""
    depth, height, width = layout.shape
    return Walk((height, width), layout.lags[0], np.array(layout.fronts, np.int64)) if depth == 1 else None


class RowCoder:
    """The `protocol.Coder` of this pipeline."""

    def __init__(self, model: Model, weights: LstmWeights) -> None:
        self._model, self._weights = model, weights

    @cached_property
    def _tables(self) -> Tables:
        return Tables(self._weights.tables())

    def choose(
        self, levels: Levels, limit: int, effort: int, fit: Fit, reference: Levels | None = None
    ) -> linear.LinearWeights:
        """Fit the linear stage."""
        search = self._model.search
        haste = search.haste if effort <= EFFORT else 0
        return fit(levels, search.runs, max(1, effort - haste), reference)

    def take(
        self, levels: Levels, limit: int, choice: linear.LinearWeights, reference: Levels | None = None
    ) -> RowInput:
        """Add the layout, and the grey level that may be a peak."""
        candidate = peak.candidate(levels, limit)
        # Flags may code this level instead of the network's distribution, so the head does not learn from it.
        excluded = candidate if self._weights.learns else None
        layout = lay_out(levels.shape, choice)
        used = reference if self._model.sees or choice.support.discs else None
        return RowInput(layout, levels, limit, choice, candidate, excluded, used, self._model.sees)

    def without_levels(self, slab: RowInput) -> RowInput:
        """Drop the levels, since the predictions hold them as well."""
        return slab._replace(levels=_NO_LEVELS, reference=None)

    def pack(self, slab: RowInput, predictions: payload.Predictions) -> bytes:
        """Write the linear stage, then the symbols."""
        search = self._model.search
        return linear.to_bytes(slab.stage) + payload.write(
            self._tables, predictions, slab.limit, slab.candidate, slab.excluded is not None,
            search.minimum_saving, search.sample, _walk(slab.layout) if search.near else None,
        )  # fmt: skip

    def open(self, payload_of: Cursor, shape: Shape, limit: int, reference: Reference | None = None) -> RowStream:
        """Read the linear stage, and open a reader of the symbols."""
        stage = linear.from_bytes(payload_of, shape[0])
        if self._model.sees and reference is None:
            raise DamagedError("it is coded with a model for volumes with previews, and its volume has none")
        if stage.support.discs and reference is None:
            raise DamagedError("it refers to another time point, and its volume to none")
        layout = lay_out(shape, stage)
        longest = max(hi - lo for _, lo, hi in layout.fronts)
        symbols = payload.SymbolReader(self._tables, payload_of, limit, longest, _walk(layout))
        levels = reference() if reference and (self._model.sees or stage.support.discs) else None
        return RowStream(layout, symbols, limit, stage, levels, self._model.sees)


class RowNetwork:
    """The `protocol.Network` of this pipeline."""

    def __init__(self, network: wavefront.Lstm) -> None:
        self._network = network

    def predict(self, slab: RowInput, team: Team, done: Done) -> payload.Predictions:
        """Predict a slab; see `wavefront.predict_slab`."""
        return wavefront.predict_slab(slab, self._network, team, done)

    def decode(self, stream: RowStream, team: Team, done: Done) -> Levels:
        """Decode a slab; see `wavefront.decode_slab`."""
        return wavefront.decode_slab(stream, self._network, team, done)


class RowPipeline:
    """The `protocol.Pipeline` of this folder."""

    work = 1
    refers = True

    def load(self, model: Model, delta: bytes = b"") -> LstmWeights:
        """Load the weights of a released model, or use those of a trial."""
        weights = weights_of(model, LstmWeights, load)
        if not delta:
            return weights
        return weight_delta.apply(weights, weight_delta.from_bytes(delta, weights))

    def coder(self, model: Model, weights: LstmWeights) -> RowCoder:
        """Make the coder of a model, released or fine-tuned."""
        return RowCoder(model, weights)

    def network(self, weights: LstmWeights, backend: str) -> RowNetwork:
        """Make the network. The `cpu` backend drops the inputs that the model does not use."""
        if backend == "reference":
            return RowNetwork(reference.ReferenceLstm(weights))
        if backend != "cpu":
            raise UnsupportedError(f"backend {backend!r} is not known; take cpu or reference")
        return RowNetwork(cpu.CpuLstm(weights.without(features.SPARED)))


ROW = RowPipeline()
