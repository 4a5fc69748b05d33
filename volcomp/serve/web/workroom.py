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
        # Beside the index, which is on the disk of the archives; a tree that is read-only is left alone.
        self._parent = Path(tempfile.gettempdir()) if settings.read_only else settings.own
        self._name = f"volcomp-{_NAME}-{os.getuid() if hasattr(os, 'getuid') else 0}" if settings.read_only else _NAME
        self._stack, self._lock = ExitStack(), Lock()
        self._folder: Path | None = None
        if self._parent.is_dir():
            sweep(self._parent, self._name)

    def new(self) -> Path:
        """Make a folder. Raises TargetError where nothing can be written."""
        with self._lock:
            try:
                if self._folder is None:
                    self._parent.mkdir(parents=True, exist_ok=True)
                    folder = self._stack.enter_context(scratch_folder(self._parent, self._name))
                    folder.parent.chmod(0o700)
                    self._folder = folder
                    atexit.register(self.close)
                made = self._folder / secrets.token_hex(8)
                made.mkdir(mode=0o700)
            except OSError as error:
                raise TargetError(f"the server has no place for work: {os.strerror(error.errno or 0)}") from None
        return made

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
