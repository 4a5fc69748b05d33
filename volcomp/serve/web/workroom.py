"""A folder of this process for work: only its user may read it, it goes when the process ends, and what a killed
process left is removed when the next one begins."""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock

from ...archive.scratch import remove_tree, scratch_folder, sweep
from ...errors import TargetError
from ..settings import Settings

_NAME = "work"


class Workroom:
    """Hands out folders. The first one makes the room itself, so a server that only shows writes nothing."""

    def __init__(self, settings: Settings) -> None:
        # Beside the index, which is on the disk of the archives; elsewhere where nothing may be written there.
        user = os.getuid() if hasattr(os, "getuid") else 0
        elsewhere = (Path(tempfile.gettempdir()), f"volcomp-{_NAME}-{user}")
        self._places = [elsewhere] if settings.read_only else [(settings.own, _NAME), elsewhere]
        self._stack, self._lock = ExitStack(), Lock()
        self._folder: Path | None = None
        for parent, name in self._places:
            if parent.is_dir():
                sweep(parent, name)

    def new(self) -> Path:
        """Make a folder. Raises TargetError where nothing can be written."""
        with self._lock:
            try:
                if self._folder is None:
                    self._folder = self._made()
                    atexit.register(self.close)
                made = self._folder / secrets.token_hex(8)
                made.mkdir(mode=0o700)
            except OSError as error:
                raise TargetError(f"the server has no place for work: {os.strerror(error.errno or 0)}") from None
        return made

    def _made(self) -> Path:
        """Make the room itself, in the first place where that is possible."""
        for parent, name in self._places[:-1]:
            with suppress(PermissionError, FileNotFoundError):
                parent.mkdir(parents=True, exist_ok=True)
                return self._private(parent, name)
        return self._private(*self._places[-1])

    def _private(self, parent: Path, name: str) -> Path:
        folder = self._stack.enter_context(scratch_folder(parent, name))
        folder.parent.chmod(0o700)
        return folder

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield a folder that is removed in the end."""
        made = self.new()
        try:
            yield made
        finally:
            remove(made)

    def close(self) -> None:
        """Remove all."""
        with self._lock:
            self._folder = None
            self._stack.close()
            atexit.unregister(self.close)


def remove(folder: Path) -> None:
    """Remove a folder that may be gone already."""
    with suppress(OSError):
        remove_tree(folder)
