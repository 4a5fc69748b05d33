"""The errors of volcomp. Each message is one sentence: what was found, what is allowed, what to do."""

from __future__ import annotations

from pathlib import Path


class VolcompError(Exception):
    """Base of all errors meant for users; the command line prints the message as one line and exits with 1."""


class DamagedError(VolcompError):
    """The archive is cut, altered or not a volcomp archive; nothing decoded from it can be trusted."""


class UnsupportedError(VolcompError):
    """The input is sound, but outside what this version reads or writes (newer format, other pixel type, …)."""


class NewerError(UnsupportedError):
    """The archive, or a part of it, was written by a newer version of volcomp than this one."""


class ArgumentError(UnsupportedError, TypeError):
    """An argument has a type that is not allowed, as a string where a number belongs; also a TypeError."""


class SourceError(UnsupportedError):
    """A file that cannot be read, or that changed; `path` is its place."""

    def __init__(self, sentence: str, path: Path) -> None:
        super().__init__(sentence)
        self.path = path

    def __reduce__(self) -> tuple[type[SourceError], tuple[str, Path]]:
        return SourceError, (str(self), self.path)


class MissingError(UnsupportedError, KeyError, AttributeError):
    """An archive has no volume of a name, or several where one was asked for; also a KeyError and AttributeError."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show quotes


class TargetError(VolcompError):
    """The output exists, cannot be written, or the disk is full; existing files are unchanged."""


class VerificationError(VolcompError):
    """The output does not decode to the input; it was removed."""


class UnkeptWarning(RuntimeWarning):
    """Compiled code could not be kept on disk: volcomp works, but compiles it again at every start."""
