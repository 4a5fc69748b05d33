"""The command `volcomp serve`."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

from ..errors import UnsupportedError
from ..progress import printable
from .arguments import Commands, as_json, place, size
from .output import finish
from .usage import UsageError

INSTALL = "pip install 'volcomp[serve]'"
_PACKAGES = ("jinja2", "PIL", "python_multipart", "starlette", "uvicorn")


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "serve",
        usage="volcomp serve ARCHIVE_DIR [options]",
        parents=[as_json()],
        help="serve a tree of archives: DICOMweb, and a page",
        description="Serve a tree of archives, as volcomp batch writes it, to programs that speak DICOMweb (below "
        "/dicom-web) and to browsers, and take new images in. It answers this machine alone; beyond, it demands "
        "--token-file, --htpasswd or --i-know. It serves until Ctrl-C or SIGTERM, and then finishes the requests that "
        "run.",
        example="volcomp serve ARCHIVES",
    )
    parser.add_argument("root", type=place, metavar="ARCHIVE_DIR", help="the folder with the archives")
    parser.add_argument("--host", default="127.0.0.1", metavar="HOST", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=port, default=8080, metavar="PORT", help="0 is a free one (default: 8080)")
    parser.add_argument("--inbox", type=place, metavar="DIR", help="where new images wait (default: in ARCHIVE_DIR)")
    parser.add_argument(
        "--memory", type=size, default=2 * 10**9, metavar="SIZE", help="for decoded slabs (default: 2G)"
    )
    parser.add_argument("--token-file", type=place, metavar="FILE", help="tokens, one a line, of who may ask")
    parser.add_argument("--htpasswd", type=place, metavar="FILE", help="names and passwords of who may ask")
    parser.add_argument("--max-upload", type=size, default=2 * 10**9, metavar="SIZE", help="of a request (default: 2G)")
    parser.add_argument(
        "--quiet", type=seconds, default=60.0, metavar="S", help="pack a series after S s (default: 60)"
    )
    parser.add_argument("--read-only", action="store_true", help="take nothing in")
    parser.add_argument("--audit", type=place, metavar="FILE", help="note who fetched which UID in FILE")
    parser.add_argument("--allow-origin", type=origin, action="append", metavar="URL", help="a viewer's page elsewhere")
    parser.add_argument("--allow-host", action="append", metavar="NAME", help="a name of this server behind a proxy")
    parser.add_argument("--i-know", action="store_true", help="answer everybody, off this machine too")
    parser.set_defaults(run=run)


def port(text: str) -> int:
    """Parse a port, 0 to 65535."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Parse a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 10**7:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds such as 60")
    return value


def origin(text: str) -> str:
    """Parse the origin of a page: scheme, host and port."""
    if not re.fullmatch(r"https?://[^\s/?#]+/?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no origin such as https://viewer.example.org")
    return text.rstrip("/")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    serve, is_loopback, Settings = _library()
    if options.token_file and options.htpasswd:
        raise UsageError("--token-file and --htpasswd are two ways for one thing; give one of them")
    if options.inbox and options.read_only:
        raise UsageError("--read-only takes nothing in, and --inbox says where new images wait; give one of them")
    if not (is_loopback(options.host) or options.token_file or options.htpasswd or options.i_know):
        raise UsageError(
            f"--host {options.host} can be reached from other machines: say who may ask with --token-file or "
            "--htpasswd, or that everybody may with --i-know"
        )
    settings = Settings(
        root=options.root.absolute(),
        host=options.host,
        port=options.port,
        inbox=_absolute(options.inbox),
        memory=options.memory,
        max_upload=options.max_upload,
        quiet=options.quiet,
        token_file=_absolute(options.token_file),
        htpasswd=_absolute(options.htpasswd),
        audit=_absolute(options.audit),
        origins=tuple(options.allow_origin or ()),
        hosts=tuple(options.allow_host or ()),
        read_only=options.read_only,
    )

    def listening(url: str) -> None:
        facts = {"url": url, "dicomweb": f"{url}dicom-web", "root": str(options.root)}
        finish(options, facts, printable(f"{options.root}: {url} for people, {url}dicom-web for programs"))
        if sys.stdout:
            sys.stdout.flush()

    if serve(settings, listening):  # by Ctrl-C
        raise KeyboardInterrupt
    return 0


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None


def _library() -> tuple[Any, Any, Any]:
    """Return what serves. Raises UnsupportedError where its libraries are not installed."""
    try:
        from ..serve.app import is_loopback, serve
        from ..serve.settings import Settings
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise UnsupportedError(f"serve needs {error.name}, which is not installed: {INSTALL}") from error
    return serve, is_loopback, Settings
