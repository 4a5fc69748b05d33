"""The configuration of a codec: what its chunks are encoded with, and nothing that a decoder needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .. import models
from ..constants import EFFORT
from ..errors import UnsupportedError
from ..models import DEFAULT

NAME = "volcomp"  # of the codec, in the metadata of arrays of either format


@dataclass(frozen=True)
class Settings:
    """How chunks are encoded; see `options.EncodeOptions`. Raises UnsupportedError for what no version writes.

    That an effort above 5 needs torch is checked when a chunk is encoded: whoever only reads does without.
    """

    model: str = DEFAULT
    effort: int = EFFORT
    verify: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.model, str):
            raise UnsupportedError(f"the codec's model is {self.model!r}; take one of {', '.join(models.CHOICES)}")
        record = models.chosen(self.model)
        if type(self.effort) is not int or self.effort not in range(1, 10):
            raise UnsupportedError(f"the codec's effort is {self.effort!r}; take a whole number from 1 to 9")
        if self.effort > EFFORT and not record.tunable:
            raise UnsupportedError(f"model {self.model} cannot be fine-tuned to a chunk: take an effort up to {EFFORT}")
        if not isinstance(self.verify, bool):
            raise UnsupportedError(f"the codec's verify is {self.verify!r}; take true or false")

    def to_json(self) -> dict[str, Any]:
        """Return all fields, for the metadata of an array."""
        return asdict(self)


def from_json(configuration: object) -> Settings:
    """Read the configuration that an array's metadata state; a field that is missing has its default. Raises
    UnsupportedError for a field that is not known, or a value that is not allowed."""
    if not isinstance(configuration, Mapping):
        raise UnsupportedError(f"the configuration of the codec {NAME} is {configuration!r}; it must be an object")
    known = [field.name for field in fields(Settings)]
    unknown = [str(name) for name in configuration if name not in known]
    if unknown:
        raise UnsupportedError(
            f"the codec {NAME} is configured with {', '.join(unknown)}; known are {', '.join(known)}: upgrade volcomp"
        )
    return Settings(**configuration)
