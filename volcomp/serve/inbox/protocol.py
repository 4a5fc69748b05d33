"""What the speaking rooms call of the inbox. All methods block, and any number of threads may call them."""

from __future__ import annotations

from typing import Any, BinaryIO, NamedTuple, Protocol


class Received(NamedTuple):
    """What became of one instance that was handed in: its UIDs, and why it was refused, or "" (PS3.18, 10.5.3).

    `failure` is the number of the Failure Reason (0008,1197), 0 where it was taken.
    """

    sop_class: str
    sop: str
    study: str
    series: str
    failure: int
    sentence: str


class Inbox(Protocol):
    """Where new instances come in, and are packed from."""

    def receive(self, file: BinaryIO, study: str | None = None) -> Received:
        """Take an instance in: it is durably on disk, and readable by the store, when this returns.

        Parameters:
            file: a DICOM file (PS3.10).
            study: the only study that it may be of; None for any.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return what waits and what is being packed, for `--json` and the page."""
        ...

    def close(self) -> None:
        """Stop packing; what was taken in stays where it is."""
        ...
