"""Access to volcomp beyond its public names, so that today's benchmarks also measure earlier versions: copied beside
the package of a version, in place of its own benchmarks, they find what they need where that version has it."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def choices() -> tuple[str, ...]:
    """What `--model` takes."""
    return tuple(_first(("volcomp.models", "CHOICES"), ("volcomp.codec", "MODELS")))


def give_back_at_once() -> None:
    """Have large arrays given back to the system when they are freed, as the command does; where a version does not,
    neither is this one's."""
    found = _first(("volcomp.runtime.heap", "give_back_at_once"), ("volcomp.heap", "give_back_at_once"))
    if found:
        found()


def _first(*places: tuple[str, str]) -> Any:
    """The first of some names of modules that there is; an empty tuple where there is none of them."""
    for module, name in places:
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            pass
    return ()
