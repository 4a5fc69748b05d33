"""How sentences name what their reader may do: in Python by arguments and functions, for commands by their options.

A sentence of the library says `spelled("force=True")`. While a command runs, that is "--force".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

CPU = 'device="cpu"'
SALVAGE = "volcomp.decompress_files(…, salvage=True)"
# What a command has for what Python has. A sentence cannot name what is missing here.
_OF_COMMANDS = {
    "force=True": "--force",
    "lossy=True": "--lossy",
    "max_error=": "--max-error",
    "output=": "-o",
    "target=": "-o",
    "archive[name]": "--series NAME",
    "parity=0.02": "--parity 2%",
    CPU: "--device cpu",
    "volcomp.append": "volcomp append",
    "volcomp.compress_files": "volcomp compress",
    "volcomp.decompress_files": "volcomp decompress",
    SALVAGE: "decompress --salvage",
    "volcomp.info": "volcomp info",
    "volcomp.list_files": "volcomp list",
    "volcomp.protect": "volcomp protect",
    "volcomp.protect(…, 0)": "volcomp protect --parity 0",
    "volcomp.repair": "volcomp repair",
}
_lock = Lock()
_commands = 0  # that run now


def spelled(python: str) -> str:
    """Return how a sentence names an argument or a function: as Python does, or while a command runs, as it does."""
    of_command = _OF_COMMANDS[python]
    return of_command if _commands else python


@contextmanager
def for_commands() -> Iterator[None]:
    """Spell as commands do, in this process, while the block runs; blocks may overlap."""
    global _commands
    with _lock:
        _commands += 1
    try:
        yield
    finally:
        with _lock:
            _commands -= 1
