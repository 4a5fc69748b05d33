"""The few ways in which volcomp can fail. Each message is one sentence: what was found, what is allowed, what to do."""


class VolcompError(Exception):
    """Base of all errors that a user can meet; the command line prints it as one line and exits with 1."""


class DamagedError(VolcompError):
    """The archive is cut, altered or no volcomp archive at all; nothing that was decoded from it may be trusted."""


class UnsupportedError(VolcompError):
    """The input is sound, but outside what this version reads or writes (newer format, other pixel type, …)."""


class TargetError(VolcompError):
    """The output exists, cannot be written, or the disk is full; what was there before is untouched."""


class VerificationError(VolcompError):
    """What was written does not decode to what was read; the output was removed."""


class UnkeptWarning(RuntimeWarning):
    """Compiled code could not be kept on disk: all works, but every start compiles it again."""
