"""Both steps of a front by kernels: three launches per front, all with the same arguments.

A clock on the device counts the fronts. So several fronts are recorded once, as a CUDA graph, and replayed by one call.
"""

from __future__ import annotations

from typing import Any

import torch
import triton

from ...torchops import kernels as parts
from ...torchops.graphs import recorded
from . import kernels
from .group import RowGroup

RECORDED = 16  # fronts in a graph, which share the cost in Python of a replay


class TritonSteps:
    """`network.RowSteps` with one launch per kernel."""

    def __init__(self, group: RowGroup) -> None:
        g, n = group, group.network
        if n.hidden % kernels.UNITS:
            raise ValueError(f"the kernels serve models of a multiple of {kernels.UNITS} hidden units, not {n.hidden}")
        if n.shared not in (0, 16, 32):
            raise ValueError(f"the kernels serve models that pass on 0, 16 or 32 of their outputs, not {n.shared}")
        slabs, longest = len(g.count), g.plan.longest
        self._fronts = len(g.plan.fronts)
        self.clock = torch.zeros(1, dtype=torch.int32, device=n.device)
        # Empty fronts past the last, into which the last replay may run.
        self._table = torch.cat([g.fronts, g.fronts.new_zeros((RECORDED, slabs, 4))])
        self._transposed = n.matrix.T.contiguous()
        self._bias = torch.tensor(n.bias, dtype=torch.int32, device=n.device)
        self._group = g
        self._grid = (triton.cdiv(longest, kernels.BLOCK), slabs)
        blocks = {"BLOCK": kernels.BLOCK, "UNITS": kernels.UNITS}
        self._constants: dict[str, Any] = {"H": n.hidden, "P": 2 * n.shared, **blocks}

    def predict(self) -> None:
        """Predict the next front by one launch."""
        g, n, t = self._group, self._group.network, self._group.trace
        kernels.predict[self._grid](
            self.clock, self._table, g.slabs, g.base, g.depth, g.sets, g.back, g.flat, g.weights, g.bounds, n.seen,
            n.active, n.scales, self._transposed, n.shift, g.head, self._bias, g.known, g.error, g.prediction, g.inputs,
            g.start, g.sources, g.passed, g.along, g.hidden, g.cell, t.mean, t.classes, t.context, len(g.count),
            len(g.base), g.back.shape[1], g.weights.shape[1], g.weights.shape[2], g.plan.span,
            **self._constants, K=parts.depth_of(n.hidden), **kernels.OPTIONS,
        )  # fmt: skip

    def perceive(self) -> None:
        """Perceive the front by two launches: the rows, then the heads."""
        g, n, t = self._group, self._group.network, self._group.trace
        learns = n.weights.learns
        kernels.perceive[self._grid](
            self.clock, self._table, g.slabs, g.base, g.start, g.last, g.known, g.error, g.prediction, g.inputs,
            g.along, g.passed, g.hidden, t.voxel, t.mean, t.classes, n.slopes, n.reciprocals, g.slope, g.count,
            len(g.count), len(g.base), g.plan.span, **self._constants, ENCODES=g.encodes, LEARNS=learns,
            **kernels.OPTIONS,
        )  # fmt: skip
        kernels.learn[(len(g.count),)](
            self.clock, n.metric, g.slope, g.count, g.exact, g.head, n.weights.head_limit, N=n.width,
            PADDED=triton.next_power_of_2(n.width), ROWS=kernels.ROWS, LEARNS=learns, **kernels.OPTIONS,
        )  # fmt: skip

    def run(self) -> None:
        """Compute all fronts, one by one."""
        for _ in range(self._fronts):
            self.predict()
            self.perceive()


class Graphs(TritonSteps):
    """`TritonSteps` as CUDA graphs, since a launch takes longer in Python than a small front does on the device."""

    def __init__(self, group: RowGroup) -> None:
        super().__init__(group)
        self.clock.fill_(self._fronts)  # compile and load the kernels on a front without voxels: a
        super().predict()  # recording cannot do that
        super().perceive()
        self.clock.zero_()
        if group.encodes:
            self._graph = recorded(lambda: (super(Graphs, self).predict(), super(Graphs, self).perceive()), RECORDED)
        else:
            self.predict = recorded(super().predict).replay  # type: ignore[method-assign]
            self.perceive = recorded(super().perceive).replay  # type: ignore[method-assign]

    def run(self) -> None:
        """Compute all fronts, RECORDED by each replay."""
        for _ in range(0, self._fronts, RECORDED):
            self._graph.replay()
