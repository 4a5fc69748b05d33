"""What a search asks for: the query of QIDO-RS (PS3.18, 8.3.4), taken apart and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Level(Enum):
    """What is searched for."""

    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"


@dataclass(frozen=True)
class Query:
    """What a search asks for.

    level     what is searched for
    match     values by tag of eight hexadecimal digits ("00100020"): as given, with wildcards, ranges and lists
    include   tags to return beside the required ones
    everything  whether `includefield=all` was given
    limit, offset  of the results
    fuzzy     whether names of persons match by their parts
    """

    level: Level
    match: dict[str, str] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    everything: bool = False
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
