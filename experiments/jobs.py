"""What a run consists of: jobs that know nothing of each other, each with an estimate of its time."""

from __future__ import annotations

from dataclasses import dataclass

from volcomp.training.paper import neighbourhood_of

from .config import Config
from .data import series_of, split

# CPU time on one core of the machine that `cpu.toml` was planned on, measured while it was busy: to weigh jobs against
# each other and to say how long is left. Steps are of the LSTM for one voxel, in microseconds: sequences from some
# sixty voxels on keep more for the backward pass than caches hold.
SHORT, SHORT_STEP, LONG_STEP = 40, 4.3, 6.2
CODING_STEP, SEQUENTIAL_STEP = 1.2, 12.2
# In seconds.
ROW_STEP = {"fast": 0.35, "base": 0.85, "base without recurrence": 0.85}
PER_CROP, PER_RIVAL, PER_SERIES, PER_ROW_FILE = 1.2, 8.0, 0.15, 3.0


@dataclass(frozen=True)
class Job:
    """One thing to do.

    kind      a function of `work`
    fold      whose series are tested; 0 where nothing is trained
    subject   the neighbourhood, model or series that it is about
    seconds   an estimate
    alone     nothing else may run beside it, for it measures speed
    """

    kind: str
    fold: int
    subject: str
    seconds: float
    alone: bool = False

    @property
    def name(self) -> str:
        """Unique in a run, and fit for a file."""
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.subject)
        return f"{self.kind}-{self.fold}-{safe}"


def plan(config: Config) -> list[Job]:
    """All jobs: those that run beside each other first, the longest of them first, so that cores end together."""
    series = series_of(config)
    voxels = {"CT": _size(config.test_crop_ct), "MR": _size(config.test_crop_mr)}
    jobs = []
    for fold in config.folds:
        teachers, tested = split(series, fold)
        coded = sum(voxels[s.modality] for s in tested)
        for shape in config.shapes:
            length = len(neighbourhood_of(shape))
            checks = len(config.checkpoints) if shape in config.checkpoint_shapes else 0
            share = config.checkpoint_slices / max(config.test_crop_ct[0], 1)
            checked = checks * share * voxels["CT"] * sum(s.modality == "CT" for s in tested)
            learned = (SHORT_STEP if length <= SHORT else LONG_STEP) * config.epochs * config.voxels_per_epoch
            microseconds = length * (learned + CODING_STEP * (2 * coded + checked))
            jobs.append(Job("paper", fold, shape, microseconds / 1e6 + PER_SERIES * len(teachers)))
        crops = PER_CROP * len(teachers) * config.train_crops
        for model, steps in config.row_steps.items():
            fitted = crops if model != "base without recurrence" and fold == config.folds[0] else 0.0  # then kept
            jobs.append(Job("rows", fold, model, steps * ROW_STEP[model] + fitted + PER_ROW_FILE * len(tested)))
    for one in series:
        jobs.append(Job("rivals", one.fold, one.name, PER_RIVAL))
    jobs.sort(key=lambda job: -job.seconds)
    for shape in config.decoder_shapes:
        length = len(neighbourhood_of(shape))
        small, large = _size(config.decoder_small), _size(config.decoder_large)
        microseconds = length * (SEQUENTIAL_STEP * small + 4 * CODING_STEP * large)
        jobs.append(Job("decoders", 0, shape, microseconds / 1e6, alone=True))
    return [*jobs, Job("views", 0, "phantom", 10.0, alone=True)]


def _size(crop: tuple[int, int, int]) -> int:
    return crop[0] * crop[1] * crop[2]
