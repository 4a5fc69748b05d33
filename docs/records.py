"""An extension of griffe, which reads docstrings for the API reference: fields and parameters become entries.

A record's docstring names a field at the start of a line, then two spaces or more, then what it is. As Markdown that
would be one paragraph. A function's docstring may describe several parameters at once; griffe looks for each name.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

FIELD = re.compile(r"(\w+(?:, \w+)*)\s{2,}(\S.*)")
TOGETHER = re.compile(r"^( +)(\w+(?:, \w+)+): (.*)$", re.MULTILINE)


class Records(griffe.Extension):
    """Rewrites the docstrings of classes and functions, and makes one of the comment beside a field."""

    def on_attribute(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Take the comment beside the field of a record."""
        _, mark, comment = attr.source.partition("#")
        if mark and not attr.docstring and attr.parent and attr.parent.is_class:
            attr.docstring = griffe.Docstring(comment.strip(), parent=attr)

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Rewrite that of a record."""
        if cls.docstring:
            cls.docstring.value = as_list(cls.docstring.value)

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Rewrite that of a function."""
        if func.docstring:
            func.docstring.value = TOGETHER.sub(apart, func.docstring.value)


def apart(line: re.Match[str]) -> str:
    """Make a line for each of several parameters."""
    indent, names, text = line.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in names.split(", "))


def as_list(text: str) -> str:
    """Make a list item of every field; lines that are indented go on with it."""
    lines: list[str] = []
    within = False
    for line in text.splitlines():
        field = FIELD.fullmatch(line)
        if field:
            lines += ([] if within else [""]) + [f"- `{field[1]}`: {field[2]}"]
        elif within and line.startswith(" "):
            lines.append("  " + line.strip())
        else:
            lines.append(line)
        within = bool(field) or (within and line.startswith(" "))
    return "\n".join(lines)
