"""Bodies of requests to files: as they come, counted as they come, and never held as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from .refusal import BAD, FORM, Refusal
from .unzip import checked

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_PIECE = 1 << 20
_FIELD = 4096  # bytes of a value that is no file
_FIELDS = 32
Count = Callable[[int, int], None]  # files, bytes; raises Refusal where it is too much


async def body_to(request: Request, path: Path, count: Count) -> int:
    """Write the body of a request to a new file; return its bytes. Raises Refusal where `count` does."""
    size, held = 0, bytearray()
    with path.open("xb") as file:
        async for piece in request.stream():
            size += len(piece)
            count(0, len(piece))
            held += piece
            if len(held) >= _PIECE:
                await run_in_threadpool(file.write, bytes(held))
                held.clear()
        if held:
            await run_in_threadpool(file.write, bytes(held))
    return size


async def form_to(request: Request, folder: Path, count: Count) -> dict[str, str]:
    """Write the files of a form (RFC 7578) to a folder, under their names, and return its other fields.

    Raises Refusal for what is no form, names that lead outside or come twice, too many fields, and what `count`
    refuses.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise Refusal("a form with files (multipart/form-data) is asked for", BAD, FORM)
    form = _Form(folder, count)
    try:
        parser = MultipartParser(boundary, form.callbacks)
        async for piece in request.stream():
            if piece:
                await run_in_threadpool(parser.write, piece)
        await run_in_threadpool(parser.finalize)
    except MultipartParseError:
        raise Refusal("the form is damaged or cut; send it again", BAD) from None
    finally:
        form.close()
    if not form.complete:
        raise Refusal("the form is cut, or empty; send it again", BAD, "" if form.begun else FORM)
    return form.fields


class _Form:
    """Takes the parts of a form."""

    def __init__(self, folder: Path, count: Count) -> None:
        self._folder, self._count = folder, count
        self.fields: dict[str, str] = {}
        self.complete = self.begun = False
        self._names: set[str] = set()
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._file: BinaryIO | None = None
        self._field = ""
        self._value = bytearray()
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, a, b: self._extend(0, data[a:b]),
            "on_header_value": lambda data, a, b: self._extend(1, data[a:b]),
            "on_header_end": self._keep,
            "on_headers_finished": self._open,
            "on_part_data": lambda data, a, b: self._write(data[a:b]),
            "on_part_end": self.close,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self.begun = True
        self._headers.clear()

    def _extend(self, k: int, data: bytes) -> None:
        self._header[k] += data

    def _keep(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        self._value.clear()
        if b"filename" not in options:
            if len(self.fields) >= _FIELDS:
                raise Refusal(f"the form has more than {_FIELDS} fields", BAD)
            return
        name = options[b"filename"].decode("utf-8", "surrogateescape")
        self._field = ""
        if not name:  # of a field for files in which none was chosen
            return
        path = new_path(self._folder, name, self._names)
        self._count(1, 0)
        self._file = path.open("xb")

    def _write(self, data: bytes) -> None:
        self._count(0, len(data))
        if self._file:
            self._file.write(data)
        elif self._field:
            if len(self._value) + len(data) > _FIELD:
                raise Refusal(f"a field of the form has more than {_FIELD} bytes", BAD)
            self._value += data

    def close(self) -> None:
        """End a part."""
        if self._file:
            self._file.close()
            self._file = None
        elif self._field:
            self.fields[self._field] = self._value.decode("utf-8", "replace")
            self._field = ""

    def _finish(self) -> None:
        self.complete = True


def new_path(folder: Path, name: str, taken: set[str]) -> Path:
    """Return where a file of a name goes, whose folders are made. Raises Refusal for a name that no file may have."""
    name = checked(name)
    if name.casefold() in taken:
        raise Refusal("two files have the same name; send them apart", BAD, file=name)
    taken.add(name.casefold())
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise Refusal("a file and a folder have the same name", BAD, file=name) from None
    if path.exists():
        raise Refusal("two files have the same name; send them apart", BAD, file=name)
    return path
