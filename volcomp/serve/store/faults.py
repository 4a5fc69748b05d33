"""What can be wrong with a source of the index, and with an instance that is read where the index has it."""

from __future__ import annotations

from ...errors import DamagedError, MissingError, NewerError, UnsupportedError, VolcompError

SOUND, DAMAGED, NEWER, UNREADABLE = range(4)  # faults of a source, as the index has them


class UnreadableError(UnsupportedError):
    """The system does not let the server read an archive, or a file of the inbox."""


class GoneError(MissingError):
    """An archive or a file of the inbox is no longer what the index has: it is gone, or another one has its place."""


class ChangedError(MissingError):
    """Another instance has taken the place of one, under the same UIDs; what is known of the old one is void."""


def fault_of(error: VolcompError) -> int:
    """Return the fault of a source that an error is about."""
    if isinstance(error, UnreadableError) or by_system(error):
        return UNREADABLE
    return NEWER if isinstance(error, NewerError) else DAMAGED


def error_of(fault: int, sentence: str) -> VolcompError:
    """Return the error of a fault, with a sentence about it."""
    return {NEWER: NewerError, UNREADABLE: UnreadableError}.get(fault, DamagedError)(sentence)


def by_system(error: BaseException) -> bool:
    """Return whether the system refused to read: on that no archive may be called damaged."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
