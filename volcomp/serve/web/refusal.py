"""What is refused of what people hand in: a sentence, an HTTP status (RFC 9110, 15.5), and a case of the service."""

from __future__ import annotations

from typing import Any

from ...errors import VolcompError

EMPTY, FORMAT, NO_IMAGE, SIZE, COLOUR, PATH, FORM = "T01", "T02", "T03", "T04", "T05", "T06", "T07"
BAD, MISSING, LARGE, TYPE, CONTENT, BUSY = 400, 404, 413, 415, 422, 503


class Refusal(VolcompError):
    """What is refused, and of which file."""

    def __init__(self, sentence: str, status: int = BAD, case: str = "", file: str = "") -> None:
        super().__init__(sentence)
        self.status, self.case, self.file = status, case, shown(file)

    def facts(self) -> dict[str, Any]:
        """Return it as a worker sends it to the server."""
        return {"sentence": str(self), "status": self.status, "case": self.case, "file": self.file}


def shown(name: str) -> str:
    """Return a name that came with a request as it may stand on a page: on one line, not too long."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return plain if len(plain) <= 200 else plain[:199] + "…"
