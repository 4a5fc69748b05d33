"""What a run of the bench does: a TOML file of `configs/`, every field of which is said here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ..config import ConfigError, digest, read

CHOICES = ("points", "deltas", "lossless", "target")  # fields that decide which jobs there are, not what one finds


@dataclass(frozen=True)
class ImagesConfig:
    """A run.

    name          of its results: experiments/results/NAME
    source        "corpus2d", a folder with train, valid and test; or "made" for a few small images of noise
    side          of its images, which are square
    train         how many images are learned from (0: all of them),
    valid         by how many the operating points are chosen,
    test          and on how many the results are measured,
    lossless      but those without loss on so many of these
    widths        channels of the CNNs' stages,
    width         and of the other networks
    batch         images of a step,
    crop          of this side where a network takes any size
    rate          Adam's first rate, which falls to a hundredth
    epochs        of each network
    minutes       of a processor, after which a training ends early; the epochs that it had are reported
    blocks        that codebooks learn from
    fitted        images that the tables of the entropy coder are fitted to
    denoise       h of adaptive non-local means, over the noise that is estimated
    rank          of the SVD before RWNet
    points        operating points of each system: steps, sizes of codebooks, qualities, ratios, distances; a system
                  that this installation lacks is left out
    target        bits per pixel at which all are compared
    deltas        the systems of the lossless table, each with the point that it is at
    """

    name: str
    source: str
    side: int
    train: int
    valid: int
    test: int
    lossless: int
    widths: tuple[int, ...]
    width: int
    batch: int
    crop: int
    rate: float
    epochs: dict[str, int]
    minutes: float
    blocks: int
    fitted: int
    denoise: float
    rank: int
    points: dict[str, list[float]]
    target: float
    deltas: dict[str, float]

    def fingerprint(self) -> str:
        """Changes with every field but those that only choose jobs: what others found must not be mixed with it."""
        return digest({key: value for key, value in asdict(self).items() if key not in CHOICES})


def load(path: Path) -> ImagesConfig:
    """Read and check a configuration; ConfigError with a sentence where it cannot be run."""
    config = read(path, ImagesConfig)
    if config.source not in ("corpus2d", "made"):
        raise ConfigError(f"{path}: source {config.source!r} is not known; take corpus2d or made")
    if config.side % 64 or config.crop % 8 or config.side >> len(config.widths) < 1:
        raise ConfigError(f"{path}: images have a side that 64 divides, and crops one that 8 divides")
    return config
