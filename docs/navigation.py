"""A hook of mkdocs: an entry of the navigation that ends with "/" stands for all pages of that folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Put the pages of a folder in its place, README.md first."""
    config.nav = [
        {title: pages(Path(config.docs_dir), page) if page.endswith("/") else page}
        for entry in config.nav
        for title, page in entry.items()
    ]
    return config


def pages(docs: Path, folder: str) -> list[str]:
    """The pages of a folder, as paths relative to the documentation."""
    found = sorted((docs / folder).glob("*.md"), key=lambda path: (path.name != "README.md", path.name))
    return [path.relative_to(docs).as_posix() for path in found]
