"""A tree with an inbox, whose series are packed in the thread that looks, in the quickest way."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.makers import QUICK
from volcomp.serve.inbox import FolderInbox, open_inbox
from volcomp.serve.inbox.packing import Pack, pack
from volcomp.serve.settings import Settings
from volcomp.serve.store import TreeStore, open_store

NEVER = 1e9  # seconds


class Served:
    """A store and its inbox."""

    def __init__(self, root: Path, packer: Pack | None = pack, **options: Any) -> None:
        root.mkdir(exist_ok=True)
        self.settings = Settings(root, **{"quiet": NEVER, "options": QUICK, **options})
        self.store: TreeStore = open_store(self.settings, follow=False)
        self.inbox: FolderInbox = open_inbox(self.store, self.settings, packer)

    def receive(self, path: Path, study: str | None = None) -> int:
        """Hand a file in; return the failure."""
        with path.open("rb") as file:
            return self.inbox.receive(file, study).failure

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the state of the inbox is so; return it."""
        waited = threading.Event()
        for _ in range(60_000):
            state = self.inbox.state()
            if holds(state):
                return state
            waited.wait(0.02)
        raise AssertionError(self.inbox.state())

    def close(self) -> None:
        self.inbox.close()
        self.store.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Opens `tmp_path / "root"` with options of `Settings`; closes all in the end."""
    found: list[Served] = []

    def opened(packer: Pack | None = pack, **options: Any) -> Served:
        found.append(Served(tmp_path / "root", packer, **options))
        return found[-1]

    yield opened
    for one in found:
        one.close()
