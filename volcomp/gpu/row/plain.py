"""Both steps of a front in plain torch, on any device.

They serve where Triton is missing, and are a second definition of what its kernels do.

All numbers are integers, except in two matrix products, which torch does not have for integers on every device. Both
are exact: the network's sums stay below 2^24 (`lstm/weights.py`), those of learning below 2^53.
"""

from __future__ import annotations

import torch

from ...constants import CLASSES, FRACTION_BITS, RADIUS
from ...stages import linear, peak, symbols
from ...stages.lstm import learning
from ...stages.lstm.state import AHEAD
from ...torchops.lanes import ACTIVITY, BASE, PEAK
from ...torchops.plain import REST, clip, observe, step
from . import plan
from .group import RowGroup

Tensor = torch.Tensor


class PlainSteps:
    """`network.RowSteps` in plain torch."""

    def __init__(self, group: RowGroup) -> None:
        self._g, self._n = group, group.network
        self._front = 0
        self._quarters = self._n.put(peak.QUARTERS)
        self._steps = self._n.put(peak.STEPS)
        self._back, self._dy, self._dx, self._role = self._n.seen.to(torch.int64)
        self._matrix = self._n.matrix.to(torch.float32)
        self._metric = self._n.metric.to(torch.float64)

    def run(self) -> None:
        """Do both steps for all fronts of a group whose voxels are known."""
        for _ in range(len(self._g.plan.fronts)):
            self.predict()
            self.perceive()

    def predict(self) -> None:
        """Write means, classes and contexts of the next front to the trace."""
        g = self._g
        self._look_up()
        n = self._near(self._back, self._dy, self._dx)  # [v, LANES], of which LEVELS are grey levels
        known, error = g.known[n].to(torch.int64), g.error[n[:, :REST]].to(torch.int64)
        self._linear(known)
        back, dy, dx, _, _ = self._n.active.to(torch.int64)
        nearby = g.error[self._near(back, dy, dx)].to(torch.int64)
        inputs, k = observe(known, error, nearby, self._prediction, self._later, self._n.active, self._n.scales)
        offset, octaves = self._network(inputs)
        mean = self._prediction + ((offset * self._n.scales[0, k].to(torch.int64) + (1 << 13)) >> 14)
        mean = mean.clamp(min=0).minimum(self._of[plan.LIMIT] << FRACTION_BITS)
        classes = ((k + octaves + symbols.CLASS_ORIGIN) >> 2).clamp(0, CLASSES - 1)
        g.trace.mean[self._places] = mean.to(torch.int32)
        g.trace.classes[self._places] = classes.to(torch.uint8)
        g.trace.context[self._places] = self._contexts(known, mean, classes).to(torch.uint8)

    def perceive(self) -> None:
        """Read the front's voxels, in encoding from the group, else from the trace; update state and heads."""
        g, at = self._g, self._at
        if g.encodes:
            voxel = g.known[at]
            g.trace.voxel[self._places] = voxel
        else:
            voxel = g.trace.voxel[self._places]
        value = voxel.to(torch.int64)
        error = (value << 4) - self._prediction
        x = self._time - g.start[self._rows]
        margin = torch.arange(RADIUS, device=at.device)
        begins = (x == 0) & (g.last[self._rows] == 0)
        ends = x == self._of[plan.WIDTH] - 1
        next_row = (at + self._of[plan.ROW] - RADIUS)[:, None] + margin
        for where, what in ((at[:, None], at == at), (next_row, begins), (at[:, None] + 1 + margin, ends)):
            g.known[where[what]] = voxel[what, None]
            g.error[where[what]] = error[what, None].to(torch.int32)
        if self._n.weights.learns:
            self._collect(value)
            self._learn()
        self._front += 1

    def _look_up(self) -> None:
        """Find the rows, slabs and places of the front's voxels."""
        g = self._g
        fronts = g.plan.fronts[self._front]
        sizes = fronts[:, plan.HIGH] - fronts[:, plan.LOW]
        spans = [torch.arange(lo, hi) for lo, hi in fronts[:, plan.LOW : plan.HIGH + 1].tolist()]
        self._rows = torch.cat(spans).to(g.base.device)
        slab = torch.arange(len(sizes)).repeat_interleave(torch.from_numpy(sizes))
        self._slab = slab.to(g.base.device)
        first = int(g.plan.first[self._front]) if g.encodes else 0
        self._places = slice(first, first + int(sizes.sum()))
        self._of = g.slabs[self._slab].T  # [FIELDS, v]
        self._time = torch.from_numpy(fronts[:, plan.TIME])[slab].to(g.base.device)
        self._at = g.base[self._rows] + self._time
        self._depth = g.depth[self._rows].to(torch.int64)
        self._later = self._depth > 0

    def _near(self, back: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
        """Return the places [v, n] of the neighbours [n] of each voxel."""
        back = torch.minimum(back, self._depth[:, None])
        return self._at[:, None] - back * self._of[plan.PLANE, :, None] + dy * self._of[plan.ROW, :, None] + dx

    def _linear(self, known: Tensor) -> None:
        """Compute the prediction. `known` [v, LANES] has the neighbours of base and activity."""
        g, later = self._g, self._later
        base = (known[:, (self._role & BASE) > 0].sum(dim=1) + 2) >> 2
        counts = ((self._role & ACTIVITY) > 0) & ((self._back == 0) | later[:, None])
        activity = ((known - base[:, None]).abs() * counts).sum(dim=1)
        activity = torch.where(later, activity, activity * 19 // 10)
        sets = g.sets[self._rows].to(torch.int64)
        classes = (activity[:, None] >= g.bounds[self._slab, sets]).sum(dim=1)
        back, flat = g.back[self._slab].to(torch.int64), g.flat[self._slab]  # [v, n]
        used = (back == 0) | later[:, None]
        where = self._at[:, None] - torch.minimum(back, self._depth[:, None]) * self._of[plan.PLANE, :, None] + flat
        near = g.known[torch.where(used, where, self._at[:, None])].to(torch.int64) - base[:, None]
        total = (near * g.weights[self._slab, sets, classes] * used).sum(dim=1)
        value = (base << FRACTION_BITS) + ((total + 128) >> (linear.WEIGHT_BITS - FRACTION_BITS))
        limit = self._of[plan.LIMIT] << FRACTION_BITS
        self._prediction = torch.minimum(value.clamp(min=0), limit)

    def _network(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return offset and octaves int64 [v] (`lstm.reference.ReferenceLstm.step`) and update the state."""
        g, n = self._g, self._n
        inputs = torch.cat([inputs, self._passed()], dim=1)
        seen = torch.cat([inputs, g.hidden[0, self._rows]], dim=1)
        accumulator = (seen.to(torch.float32) @ self._matrix).to(torch.int64)
        c, hidden = step((accumulator * 8) >> n.shift, g.cell[self._rows])
        hidden = hidden.to(torch.int8)
        g.cell[self._rows] = c.to(torch.int16)
        g.hidden[0, self._rows] = hidden
        g.passed[self._time % g.plan.span, self._rows] = hidden[:, : n.shared]
        self._seen = torch.cat([inputs, hidden], dim=1).to(torch.int64)
        sums = (self._seen[:, None, :] * g.head[self._slab]).sum(dim=2)
        return clip((sums[:, 0] + n.bias[0]) >> 5, 8192), (sums[:, 1] + n.bias[1]) >> 11

    def _passed(self) -> Tensor:
        """Return the outputs that neighbouring rows pass on, int8 [v, 2·shared]."""
        g = self._g
        x = (self._time - g.start[self._rows] + AHEAD).minimum(self._of[plan.WIDTH] - 1)
        source = g.sources[:, self._rows].to(torch.int64)  # [2, v]
        exists = (source >= 0)[:, :, None]
        source = source.clamp(min=0)
        passed = g.passed[(g.start[source] + x) % g.plan.span, source] * exists  # [2, v, shared]
        return passed.transpose(0, 1).flatten(1)

    def _contexts(self, known: Tensor, mean: Tensor, classes: Tensor) -> Tensor:
        """Return the contexts of `peak.contexts`, 0 in slabs without a candidate."""
        value = self._of[plan.CANDIDATE]
        counts = ((self._role & PEAK) > 0) & ((self._back == 0) | self._later[:, None])
        same = ((known == value[:, None]) & counts).sum(dim=1)
        scale = self._quarters[classes & 3] << (classes >> 2)
        distance = (mean - 16 * value).abs() << 14
        step = (distance[:, None] >= self._steps * scale[:, None]).sum(dim=1)
        return (same * (len(self._steps) + 1) + step) * (value >= 0)

    def _collect(self, value: Tensor) -> None:
        """Add up slopes for every slab; see `learning.collect`."""
        g, n = self._g, self._n
        classes = g.trace.classes[self._places].to(torch.int64)
        error = (value << 4) - g.trace.mean[self._places]
        distance = (error.abs() * n.reciprocals[classes.clamp(min=learning.FINEST)]) >> 24
        slope = n.slopes[:, classes, distance.clamp(max=learning.BINS - 1)].to(torch.int64)  # [2, v]
        slope[0] = torch.where(error > 0, -slope[0], slope[0])
        learned = value != self._of[plan.EXCLUDED]
        own = (self._slab == torch.arange(len(g.count), device=learned.device)[:, None]) & learned  # [s, v]
        summed = (slope * own[:, None]).to(torch.float64) @ self._seen.to(torch.float64)  # [s, 2, n]
        g.slope += summed.to(torch.int64)
        g.count += own.sum(dim=1)

    def _learn(self) -> None:
        """Update the heads of the slabs with enough voxels; see `learning.step`."""
        g = self._g
        due = (g.count >= learning.ENOUGH)[:, None, None]
        count = g.count.clamp(min=1)[:, None, None]
        mean = torch.div(g.slope << learning.MEAN_BITS, count, rounding_mode="floor")
        total = (mean.to(torch.float64) @ self._metric.T).to(torch.int64)
        limit = self._n.weights.head_limit << learning.EXACT_BITS
        moved = clip(g.exact - (total >> learning.STEP_SHIFT), limit)
        g.exact[:] = torch.where(due, moved, g.exact)
        g.head[:] = ((g.exact + (1 << (learning.EXACT_BITS - 1))) >> learning.EXACT_BITS).to(torch.int32)
        g.slope[:] = torch.where(due, 0, g.slope)
        g.count[:] = torch.where(due[:, 0, 0], 0, g.count)
