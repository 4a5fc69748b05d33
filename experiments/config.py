"""What a run does and at which scale: a TOML file of `configs/`, every field of which is said here."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from volcomp.errors import VolcompError
from volcomp.training.paper import neighbourhood_of

Crop = tuple[int, int, int]  # Z, Y, X; 0 for all of a side


class ConfigError(VolcompError):
    """The configuration cannot be run; the message says what to change."""


@dataclass(frozen=True)
class Config:
    """A run.

    name                  of its results: experiments/results/NAME
    source                "corpus", or "made" for small volumes of noise that need no corpus
    folds                 of 1 to 4, each tested by models that have not seen it
    shapes                neighbourhoods, as `volcomp.training.paper.neighbourhood_of` has them, each to be trained
    checkpoint_shapes     those of them whose size is followed over the epochs
    epochs                of the `paper` models,
    voxels_per_epoch      each of so many voxels, drawn evenly from the training crops,
    first_rate            at a rate that falls from this one to the published 1e-4
    checkpoints           epochs after which the size on the test crops is measured
    train_crops           crops of each training series, wherever they fall,
    train_crop            of this size
    test_crop_ct          the middle of every test series, of this size
    test_crop_mr          and of every MR series, which nothing learns from
    checkpoint_slices     how many slices of the test crops serve at checkpoints
    mr                    the MR series; ["all"] for all of them
    rivals                codecs of `rivals.py`
    row_steps             of 65,536 voxels, by model: fold-trained `fast`, `base`, and `base` without recurrence
    ablation              the shape whose `paper` model the ablation begins with
    decoder_shapes        neighbourhoods whose three decoders are timed
    decoder_small         the volume on which all three are, one voxel after the other among them
    decoder_large         and the one for the two that work on many voxels at a time
    """

    name: str
    source: str
    folds: tuple[int, ...]
    shapes: tuple[str, ...]
    checkpoint_shapes: tuple[str, ...]
    epochs: int
    voxels_per_epoch: int
    first_rate: float
    checkpoints: tuple[int, ...]
    train_crops: int
    train_crop: Crop
    test_crop_ct: Crop
    test_crop_mr: Crop
    checkpoint_slices: int
    mr: tuple[str, ...]
    rivals: tuple[str, ...]
    row_steps: dict[str, int]
    ablation: str
    decoder_shapes: tuple[str, ...]
    decoder_small: Crop
    decoder_large: Crop

    def fingerprint(self) -> str:
        """Changes with every field: results of different configurations must not be mixed."""
        return digest(asdict(self))


def digest(fields: dict[str, Any]) -> str:
    """Return a short digest of the fields of a configuration."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


T = TypeVar("T")


def read(path: Path, kind: Callable[..., T]) -> T:
    """Read a configuration of a kind, whose fields are those of a TOML file; ConfigError where it is another one."""
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a configuration: {error}") from error
    try:
        return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()})
    except TypeError as error:
        raise ConfigError(f"{path} is no configuration of this version: {error}") from error


def load(path: Path) -> Config:
    """Read and check a configuration; ConfigError with a sentence where it cannot be run."""
    config = read(path, Config)
    try:
        for shape in config.shapes:
            neighbourhood_of(shape)
    except ValueError as error:
        raise ConfigError(f"{path} is no configuration of this version: {error}") from error
    if config.source not in ("corpus", "made"):
        raise ConfigError(f"{path}: source {config.source!r} is not known; take corpus or made")
    for shape in {config.ablation, *config.checkpoint_shapes}:
        if shape not in config.shapes:
            raise ConfigError(f"{path}: {shape} is asked for, but is not among the shapes that are trained")
    return config
