"""What both benchmarks write: CSV rows, the machine that they were measured on, and tables between marks of a text."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volcomp.training.corpus import ROOT

from .machine import processor

README = ROOT / "README.md"
PAGES = (README, *(ROOT / "docs" / page for page in ("archives.md", "benchmarks.md")))  # with tables that are measured


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; none where the file is absent."""
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file, whole or not at all: it is replaced by a rename, so an interrupt loses no measurement."""
    beside = path.with_suffix(".part")
    with beside.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    beside.replace(path)


def write_machine(path: Path, versions: Iterable[str]) -> None:
    """Note what was measured on, and with which versions, beside a CSV file: its name with .json.

    Versions of codecs that were not measured this time stay noted.
    """
    beside = path.with_suffix(".json")
    known = json.loads(beside.read_text())["versions"] if beside.exists() else []
    packages = {line.split()[0]: line for line in [*known, *versions]}
    machine = {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": sorted(packages.values()),
    }
    beside.write_text(json.dumps(machine, indent=2) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def insert(text: str, mark: str, content: str) -> str:
    """Put content between the lines `<!-- mark:begin -->` and `<!-- mark:end -->`; text without them stays as it is.

    Doing it again gives the same text.
    """
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    if begin not in text or end not in text:
        return text
    head, rest = text.split(begin, 1)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end, 1)[1]}"


def publish(mark: str, content: str, path: Path | None = None) -> None:
    """Print a table and bring a text up to date with it; without a path, the page that has a place for it."""
    print(content)
    for page in [path] if path else PAGES:
        if page.exists() and f"<!-- {mark}:begin -->" in (text := page.read_text(encoding="utf-8")):
            page.write_text(insert(text, mark, content), encoding="utf-8")


def published(mark: str) -> str:
    """The page that has a place for a table. Raises StopIteration where none has."""
    texts = (page.read_text(encoding="utf-8") for page in PAGES)
    return next(text for text in texts if f"<!-- {mark}:begin -->" in text)
