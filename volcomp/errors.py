"""The errors of volcomp. Each message is one sentence: what was found, what is allowed, what to do."""


class VolcompError(Exception):
    """Base of all errors meant for users; the command line prints the message as one line and exits with 1."""


class DamagedError(VolcompError):
    """The archive is cut, altered or not a volcomp archive; nothing decoded from it can be trusted."""


class UnsupportedError(VolcompError):
    """The input is sound, but outside what this version reads or writes (newer format, other pixel type, …)."""


class TargetError(VolcompError):
    """The output exists, cannot be written, or the disk is full; existing files are unchanged."""


class VerificationError(VolcompError):
    """The output does not decode to the input; it was removed."""


class UnkeptWarning(RuntimeWarning):
    """Compiled code could not be kept on disk: volcomp works, but compiles it again at every start."""
