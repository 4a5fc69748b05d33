"""Where `base` gains over `paper`: the steps between the two, on the same voxels, each measured as far as it goes.

    paper                          a whole file
    paper, order-0                 the same without header and container
    paper, by class                the same residuals, a table for each class of local activity
    linear                         the linear stage's residuals, order-0
    linear, by class
    base, order-0                  linear stage and network; its mean rounded, its scale ignored
    base without recurrence        a whole file; no state goes from voxel to voxel
    base                           a whole file

`base` and `base without recurrence` are trained alike, on the fold.
"""

from __future__ import annotations

import numpy as np

from neighbourhoods import pad
from volcomp import models
from volcomp.constants import RADIUS
from volcomp.encoder import linear_fit
from volcomp.pipelines.paper import cpu as paper_cpu
from volcomp.pipelines.paper import slab as paper_slab
from volcomp.pipelines.paper import weights as published
from volcomp.pipelines.row import slab
from volcomp.runtime.team import Team
from volcomp.stages import histogram_packing, linear
from volcomp.stages.lstm import cpu
from volcomp.stages.lstm.weights import LstmWeights

from . import orderzero


def ranks_of(voxels: np.ndarray) -> tuple[np.ndarray, int]:
    """Ranks int32 [Z, Y, X] of a volume, and the largest that may occur."""
    found = histogram_packing.find(voxels)
    return found.forward(voxels), found.limit


def of_paper(voxels: np.ndarray, weights: published.PaperWeights) -> dict[str, float]:
    """Bits per voxel of the residuals of a `paper` model."""
    ranks, limit = ranks_of(voxels)
    network = paper_cpu.CpuPaperLstm(weights)
    predicted = paper_slab.predict_slab(paper_slab.PaperInput(ranks, limit), network, Team(), lambda count: None)
    residual = ranks - predicted.reshape(ranks.shape)
    return {
        "paper, order-0": orderzero.bits(residual.reshape(-1), limit) / ranks.size,
        "paper, by class": orderzero.bits_by_class(residual, limit) / ranks.size,
    }


def of_linear(voxels: np.ndarray) -> dict[str, float]:
    """Bits per voxel of the residuals of the linear stage, what is sent for it included."""
    from volcomp.learn import data

    ranks, limit = ranks_of(voxels)
    fitted = linear_fit.fit_by_effort(ranks, models.chosen("base").search.runs, 5)
    stage = data.prepare(ranks, fitted)
    edge = RADIUS
    sixteenths = stage.residual.reshape(ranks.shape[0], ranks.shape[1] + 2 * edge, -1)[:, edge:-edge, edge:-edge]
    residual = (sixteenths + 8) >> 4  # of the rounded prediction
    side = 8 * len(linear.to_bytes(fitted))
    return {
        "linear": (orderzero.bits(residual.reshape(-1), limit) + side) / ranks.size,
        "linear, by class": (orderzero.bits_by_class(residual, limit) + side) / ranks.size,
    }


def of_means(voxels: np.ndarray, weights: LstmWeights) -> dict[str, float]:
    """Bits per voxel of what the rounded means of a row model miss, under one table; linear stage included."""
    ranks, limit = ranks_of(voxels)
    shape = (int(ranks.shape[0]), int(ranks.shape[1]), int(ranks.shape[2]))
    fitted = linear_fit.fit_by_effort(ranks, models.chosen("base").search.runs, 5)
    known = pad(ranks, 0, RADIUS).reshape(-1)
    layout = slab.lay_out(shape, fitted)
    work, network = slab.RowSlab(layout, limit, fitted, weights), cpu.CpuLstm(weights)
    residual = []
    for t, lo, hi in layout.fronts:
        work.predict(network, t)
        voxel = known[work.places(t, lo, hi)]
        residual.append(voxel - ((work.mean[lo:hi] + 8) >> 4))
        work.perceive(network, t, lo, voxel, None)
    side = 8 * len(linear.to_bytes(fitted))
    return {"base, order-0": (orderzero.bits(np.concatenate(residual), limit) + side) / ranks.size}
