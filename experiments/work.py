"""The jobs: train on a fold, measure on what it holds out, return rows of CSV. Each can be stopped and goes on."""

from __future__ import annotations

import json
import math
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from volcomp import models
from volcomp.constants import INPUTS
from volcomp.learn import data as row_data
from volcomp.stages.lstm.weights import LstmWeights
from volcomp.training import export
from volcomp.training import model as row_model
from volcomp.training import paper as published

from . import ablation, decoders, orderzero, trial
from .config import Config
from .data import Series, middle, series_of, split, test_volume, training_volumes
from .jobs import Job
from .rivals import CODECS, from_zero

Row = dict[str, Any]
Tables = dict[str, list[Row]]  # rows by the name of their CSV file
Tell = Callable[[float], None]  # called with the share of the job done since the last call

# Of row models: slices, rows and voxels of a block, and blocks of a step, as they are trained.
BLOCK, BLOCKS, ROW_RATE, BATCHES = (3, 6, 64), 57, 3e-3, 4
VOXELS = BLOCKS * math.prod(BLOCK)  # of a step
APART = "base without recurrence"
STORED = 16  # bits of a voxel that is not compressed, for ratios


class Desk:
    """What a job works with: the run's configuration, folders, threads, device."""

    def __init__(self, config: Config, cache: Path, threads: int, device: str) -> None:
        self.config, self.threads, self.device = config, threads, device
        self.volumes, self.cache = cache / "volumes", cache
        torch.set_num_threads(threads)

    def folder(self, job: Job) -> Path:
        """What a job keeps between interrupts."""
        folder = self.cache / "work" / job.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def run(desk: Desk, job: Job, tell: Tell) -> Tables:
    """Do a job."""
    kinds: dict[str, Callable[[Desk, Job, Tell], Tables]] = {
        "paper": paper, "rows": rows, "rivals": rivals, "decoders": decoders_of, "views": views,
    }  # fmt: skip
    with threadpool_limits(desk.threads, user_api="blas"):
        return kinds[job.kind](desk, job, tell)


def paper(desk: Desk, job: Job, tell: Tell) -> Tables:
    """Train a `paper` model with one neighbourhood, follow it over the epochs, measure it on the fold."""
    config, folder = desk.config, desk.folder(job)
    neighbourhood = published.neighbourhood_of(job.subject)
    teachers, tested = split(series_of(config), job.fold)
    batches = max(1, config.voxels_per_epoch // published.BATCH)
    trainee = published.PaperTrainee(job.fold, batches * config.epochs, desk.device, config.first_rate)
    checkpoint, followed = folder / "checkpoint.pt", folder / "epochs.json"
    history: dict[str, list[Row]] = json.loads(followed.read_text()) if followed.exists() else {}
    if checkpoint.exists():
        trainee.load(checkpoint)
        tell(0.8 * trainee.step / trainee.steps)
    if trainee.step < trainee.steps:
        volumes = [v for s in teachers for v in training_volumes(config, s, desk.volumes)]
        sources = [published.source_of(v, neighbourhood) for v in volumes]
    while trainee.step < trainee.steps:
        trainee.train(sources, neighbourhood, trainee.step + batches)
        epoch = trainee.step // batches
        if job.subject in config.checkpoint_shapes and epoch in config.checkpoints:
            history[str(epoch)] = _followed(desk, job, trainee, epoch, [s for s in tested if s.modality == "CT"])
            _write(followed, json.dumps(history))
        trainee.save(checkpoint)  # after what belongs to it
        tell(0.8 * batches / trainee.steps)
    weights = trainee.predictor.integers("trial", neighbourhood)
    about = {"shape": job.subject, "length": len(neighbourhood), "fold": job.fold}
    taught = {"series": len(teachers), "voxels": trainee.steps * published.BATCH, "seconds": f"{trainee.seconds:.0f}"}
    tables: Tables = {"sizes": [], "training": [{"method": "paper", **about, **taught}]}
    model = trial.trial(weights)
    for one in tested:
        volume = test_volume(config, one, desk.volumes)
        tables["sizes"].append(_row("paper", about, one, volume, trial.measured(volume, model, desk.threads)))
        if job.subject == config.ablation:
            lengths = ablation.of_paper(volume, weights) | unrounded(volume, trainee, neighbourhood)
            tables["sizes"] += _lengths(lengths, about, one, volume)
        tell(0.2 / len(tested))
    tables["epochs"] = [row for epoch in sorted(history, key=int) for row in history[epoch]]
    return tables


def _followed(desk: Desk, job: Job, trainee: published.PaperTrainee, epoch: int, tested: list[Series]) -> list[Row]:
    """Bits per voxel of some slices of the held-out CT series after an epoch."""
    neighbourhood = published.neighbourhood_of(job.subject)
    found = []
    model = trial.trial(trainee.predictor.integers("trial", neighbourhood))
    for one in tested:
        volume = middle(test_volume(desk.config, one, desk.volumes), (desk.config.checkpoint_slices, 0, 0))
        bpv = trial.payload_bits(volume, model, desk.threads)
        row = {"shape": job.subject, "fold": job.fold, "series": one.name, "epoch": epoch, "bpv": f"{bpv:.4f}"}
        found.append(row)
    return found


def unrounded(volume: np.ndarray, trainee: published.PaperTrainee, neighbourhood: Any) -> dict[str, float]:
    """Code lengths under one table of what the network misses in floats, as it was trained and with weights that were
    never rounded: what the integers cost."""
    source = published.source_of(volume, neighbourhood)
    z, y, x = (part.ravel() for part in np.indices(volume.shape))
    sampler = published.PaperSampler([source], neighbourhood, 0)
    found: dict[str, list[np.ndarray]] = {"paper in floats": [], "paper in floats, weights too": []}
    with torch.no_grad():
        for begin in range(0, z.size, 4096):
            part = slice(begin, begin + 4096)
            sequence, voxel = sampler.at(source, (z[part], y[part], x[part]))
            tensor = torch.from_numpy(sequence).to(trainee.device)
            for (_, residual), real in zip(found.items(), (False, True), strict=True):
                predicted = trainee.predictor(tensor, real).cpu().double().numpy()
                ranks = [np.rint((v.clip(-1, 1) + 1) * (source.limit / 2)) for v in (voxel.astype(float), predicted)]
                residual.append((ranks[0] - ranks[1]).astype(np.int64))
    return {k: orderzero.bits(np.concatenate(v), source.limit) / z.size for k, v in found.items()}


def rows(desk: Desk, job: Job, tell: Tell) -> Tables:
    """Train `fast`, `base`, or `base` without recurrence on a fold, from nothing, and measure it."""
    config, checkpoint = desk.config, desk.folder(job) / "checkpoint.pt"
    teachers, tested = split(series_of(config), job.fold)
    kind, steps = job.subject.split()[0], config.row_steps[job.subject]
    trainee = row_model.RowTrainee(kind, job.fold)
    if checkpoint.exists():
        trainee.load(checkpoint)
    slabs = [_slabs(desk, one, kind) for one in teachers]
    block, blocks = ((1, 1, 1), VOXELS) if job.subject == APART else (BLOCK, BLOCKS)
    sampler = row_data.Sampler(slabs, block, job.fold * 1_000_003 + trainee.step)
    while trainee.step < steps:
        if job.subject == APART:
            isolate(trainee)
        rate = ROW_RATE * min(1.0, (trainee.step + 1) / (1 + steps // 10))
        trainee.update(*sampler.batch(blocks), rate * 0.5 * (1.02 + math.cos(math.pi * trainee.step / steps)), 1.0)
        tell(0.8 / steps)
        if trainee.step % 50 == 0:
            trainee.save(checkpoint)
    if job.subject == APART:
        isolate(trainee)
    trainee.save(checkpoint)
    seen = (sampler.batch(blocks).inputs for _ in range(BATCHES))
    weights = export.integers(trainee, export.covariance(trainee, seen))
    if job.subject == APART:
        weights = deaf(weights)
    about: Row = {"shape": "", "length": "", "fold": job.fold}
    taught = {"series": len(teachers), "voxels": steps * VOXELS, "seconds": ""}
    tables: Tables = {"sizes": [], "training": [{"method": job.subject, **about, **taught}]}
    model = trial.trial(weights, kind)
    for one in tested:
        volume = test_volume(config, one, desk.volumes)
        tables["sizes"].append(_row(job.subject, about, one, volume, trial.measured(volume, model, desk.threads)))
        if job.subject == "base":
            lengths = ablation.of_means(volume, weights) | ablation.of_linear(volume)
            tables["sizes"] += _lengths(lengths, about, one, volume)
        tell(0.2 / len(tested))
    return tables


def isolate(trainee: row_model.RowTrainee) -> None:
    """No state goes from voxel to voxel: the hidden outputs of others have no weight, and the forget gates are shut,
    exactly, by −64 from the input that is always 64."""
    h = trainee.lstm.hidden
    with torch.no_grad():
        trainee.head[INPUTS:-h] = 0
        trainee.lstm.weights[INPUTS:] = 0
        trainee.lstm.weights[:INPUTS, h : 2 * h] = 0
        trainee.lstm.weights[INPUTS - 2, h : 2 * h] = -32  # of an input's integer, which is in 1/64


def is_apart(weights: LstmWeights) -> bool:
    """Whether the integers carry no state: what `isolate` promises."""
    h = weights.hidden
    forget = weights.weights[:INPUTS, h : 2 * h].astype(int)
    shut = (forget[INPUTS - 2] * 64 * 8 >> weights.shift[h : 2 * h] <= -4096) & (np.abs(forget).sum(axis=0) == 64)
    told = weights.head[:, INPUTS:-h], weights.metric[INPUTS:-h], weights.metric[:, INPUTS:-h]
    return bool(shut.all() and not any(part.any() for part in (weights.weights[INPUTS:], *told)))


def deaf(weights: LstmWeights) -> LstmWeights:
    """The same, but the head does not learn from what other rows pass on."""
    metric = weights.metric.copy()
    metric[INPUTS : -weights.hidden] = metric[:, INPUTS : -weights.hidden] = 0
    return replace(weights, metric=metric)


def _slabs(desk: Desk, one: Series, kind: str) -> list[row_data.TrainingSlab]:
    """The training crops of a series with their linear stages, which are fitted once."""
    path = desk.cache / "slabs" / f"{one.name}-{models.chosen(kind).search.runs}.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())
    crops = training_volumes(desk.config, one, desk.volumes)
    slabs = [slab for crop in crops for slab in row_data.slabs_of(crop, models.chosen(kind).search.runs)]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, pickle.dumps(slabs, protocol=5))
    return slabs


def rivals(desk: Desk, job: Job, tell: Tell) -> Tables:
    """All other codecs on one series, each decoded and compared."""
    one = next(s for s in series_of(desk.config) if s.name == job.subject)
    volume = from_zero(test_volume(desk.config, one, desk.volumes))
    tables: Tables = {"sizes": [], "absent": []}
    for name in desk.config.rivals:
        codec = CODECS[name]
        if not codec.installed:
            tables["absent"].append({"codec": name, "why": f"{' and '.join(codec.packages)} is not installed"})
            continue
        try:
            found = trial.timed_codec(codec, volume, desk.threads)
        except ValueError as error:
            tables["absent"].append({"codec": name, "why": f"{one.name}: {error}"})
            continue
        about: Row = {"shape": "", "length": "", "fold": one.fold or ""}
        tables["sizes"].append(_row(name, about, one, volume, found))
        tell(1 / len(desk.config.rivals))
    return tables


def decoders_of(desk: Desk, job: Job, tell: Tell) -> Tables:
    """The three decoders of one neighbourhood."""
    return {"decoders": decoders.measure(desk.config, job.subject)}


def views(desk: Desk, job: Job, tell: Tell) -> Tables:
    """Three views through a volume and through what the released `paper` misses of it; of a made scan, for nobody's."""
    return {"views": decoders.views()}


def _row(method: str, about: Row, one: Series, volume: np.ndarray, found: trial.Measured) -> Row:
    bpv = 8 * found.size / volume.size
    times = {"encode_s": f"{found.encode_s:.6f}", "decode_s": f"{found.decode_s:.6f}"}
    size = {"voxels": volume.size, "bytes": found.size, "bpv": f"{bpv:.4f}", "ratio": f"{STORED / bpv:.4f}"}
    return {"method": method, **about, "series": one.name, "modality": one.modality, **size, **times}


def _lengths(lengths: dict[str, float], about: Row, one: Series, volume: np.ndarray) -> list[Row]:
    """Rows of code lengths, which are no files."""
    rest = {"series": one.name, "modality": one.modality, "voxels": volume.size}
    return [
        {"method": method, **about, **rest, "bpv": f"{bpv:.4f}", "ratio": f"{STORED / bpv:.4f}"}
        for method, bpv in lengths.items()
    ]


def _write(path: Path, content: str | bytes) -> None:
    """Whole or not at all; other processes may write the same at the same time."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)
