"""Who fetched which UID: one object of JSON on a line for each answer with something of a study.

A line is given to the system before the first byte of the answer goes out; an answer whose line cannot be written is
refused. Lines are made durable (fsync) once a second while there are new ones, and at the end: after a crash of the
process none is missing, after one of the machine those of the last second may be.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import TargetError

_SECONDS = 1.0


class Audit:
    """An audit log. Lines are added to what the file has. Raises TargetError where it cannot be written."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise TargetError(f"{path} cannot be written: {error.strerror}; give another file to --audit") from None
        self._new = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="volcomp-audit", daemon=True)
        self._thread.start()

    def note(self, who: str, address: str, method: str, resource: str, uids: dict[str, str], status: int) -> None:
        """Add a line. Raises OSError where it cannot be written whole.

        Parameters:
            who: the name of the login, "" without one.
            address: of the client.
            method: of the request.
            resource: the path that was asked for, without its query.
            uids: those of the path, by "study", "series" and "sop".
            status: of the answer.
        """
        facts: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "who": who}
        facts |= {"address": address, "method": method, "resource": resource, **uids, "status": status}
        line = (json.dumps(facts, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        if os.write(self._file, line) != len(line):
            raise OSError("the audit log took a part of a line")
        self._new.set()

    def close(self) -> None:
        """Make all lines durable, and close the file."""
        self._end.set()
        self._new.set()
        self._thread.join()
        os.close(self._file)

    def _keep(self) -> None:
        """Make new lines durable."""
        while True:
            self._new.wait()
            self._new.clear()
            os.fsync(self._file)
            if self._end.wait(_SECONDS):
                os.fsync(self._file)
                return
