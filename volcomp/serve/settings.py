"""What a server is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..options import EncodeOptions

OWN = ".volcomp"  # the folder of a tree that is the server's: index, inbox


@dataclass(frozen=True)
class Settings:
    """What a server is told.

    root        the tree of archives
    host, port  where it listens; port 0 takes a free one
    inbox       where new instances lie until they are packed; by default a folder of its own in the tree
    memory      bytes that decoded slabs and open archives may take
    max_upload  bytes of one request, and of what it unpacks to
    quiet       seconds without a new instance after which a series is packed
    token_file, htpasswd  who may ask; None for everybody
    audit       a file that notes who fetched which UID; None for none
    origins     pages of other servers that may ask from a browser, as "https://viewer.example.org"
    hosts       names of this server beside those of the machine itself, as behind a proxy
    read_only   take nothing in
    options     how series are packed
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 8080
    inbox: Path | None = None
    memory: int = 2 << 30
    max_upload: int = 2 << 30
    quiet: float = 60.0
    token_file: Path | None = None
    htpasswd: Path | None = None
    audit: Path | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    read_only: bool = False
    options: EncodeOptions = field(default_factory=EncodeOptions)

    @property
    def own(self) -> Path:
        """The folder with the index; no archive in it is served."""
        return self.root / OWN

    @property
    def landing(self) -> Path:
        """The folder of new instances."""
        return self.inbox or self.own / "inbox"
