"""Who may ask: tokens, one a line of a file; or names and passwords, in a file of htpasswd.

Of htpasswd's hashes, those are taken that withstand guessing: bcrypt (`htpasswd -B`), where the package bcrypt is
installed, and SHA-256 and SHA-512 with many rounds (`htpasswd -5`, `openssl passwd -6`). MD5, SHA-1, DES and plain
text are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import importlib.util
import re
from collections import OrderedDict
from hmac import compare_digest
from pathlib import Path
from secrets import token_bytes
from typing import Any

from ...errors import UnsupportedError
from ..settings import Settings
from . import sha_crypt

_SHORTEST = 16  # characters of a token
_LONGEST = 4096  # characters of the header Authorization
_LARGEST = 1 << 20  # bytes of a file
_PASSWORD = 72  # bytes, as bcrypt reads
_KEPT = 1024  # logins that are known to be right
_BCRYPT = re.compile(r"\$2[aby]\$[0-9]{2}\$[./0-9A-Za-z]{53}")


class Keys:
    """The tokens and passwords that are taken. They are read once, when the server starts.

    Raises:
        UnsupportedError: a file cannot be read, or has a line that is neither.
    """

    def __init__(self, settings: Settings) -> None:
        self._tokens = _tokens(settings.token_file) if settings.token_file else []
        self._users = _users(settings.htpasswd) if settings.htpasswd else {}
        self.open = settings.token_file is None and settings.htpasswd is None
        # What was compared once is known by a digest with a key of this process: hashes of passwords take long.
        self._key = token_bytes(32)
        self._right: OrderedDict[bytes, str] = OrderedDict()

    def known(self, header: str) -> str | None:
        """Return who a header Authorization was found to be before; None of one that is new."""
        return self._right.get(self._digest(header))

    def check(self, header: str) -> str | None:
        """Return who a header Authorization is, "token" for one without a name; None of a wrong one. It takes long."""
        if len(header) > _LONGEST:
            return None
        scheme, _, value = header.strip().partition(" ")
        who = None
        if scheme.lower() == "bearer":
            who = self._of_token(value.strip())
        elif scheme.lower() == "basic":
            name, password = _basic(value)
            who = self._of_token(password) if self._tokens else None
            who = who or (self._of_user(name, password) if self._users else None)
        if who is not None:
            self._right[self._digest(header)] = who
            if len(self._right) > _KEPT:
                self._right.popitem(last=False)
        return who

    def _digest(self, header: str) -> bytes:
        return hashlib.blake2b(header.encode(), key=self._key, digest_size=32).digest()

    def _of_token(self, token: str) -> str | None:
        """Compare with all tokens, so that the time says nothing."""
        digest, found = hashlib.sha256(token.encode()).digest(), None
        for name, right in self._tokens:
            if compare_digest(digest, right):
                found = name
        return found

    def _of_user(self, name: str, password: str) -> str | None:
        """Compare a password; of a name that there is not, with another's hash, so that the time says nothing."""
        there = name in self._users
        right = self._users[name] if there else next(iter(self._users.values()))
        return name if _matches(password.encode()[:_PASSWORD], right) and there else None


def _matches(password: bytes, right: str) -> bool:
    """Compare a password with a hash."""
    if _BCRYPT.fullmatch(right):
        bcrypt: Any = importlib.import_module("bcrypt")
        return bool(bcrypt.checkpw(password, right.encode()))
    return sha_crypt.matches(password, right)


def _basic(value: str) -> tuple[str, str]:
    """Return name and password of the scheme Basic (RFC 7617)."""
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return "", ""
    name, _, password = text.partition(":")
    return name, password


def _lines(path: Path, what: str) -> list[tuple[int, str]]:
    """Return the lines of a file, with their numbers, that are neither empty nor comments. Raises UnsupportedError."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UnsupportedError(f"{path} has more than a megabyte; give a file of {what}")
        text = path.read_text("utf-8")
    except OSError as error:
        raise UnsupportedError(f"{path} cannot be read: {error.strerror}; give a file of {what}") from None
    except UnicodeDecodeError:
        raise UnsupportedError(f"{path} is no text; give a file of {what}") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    found = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not found:
        raise UnsupportedError(f"{path} is empty; give a file of {what}")
    return found


def _tokens(path: Path) -> list[tuple[str, bytes]]:
    """Read tokens: "TOKEN" or "NAME TOKEN" on a line."""
    found = []
    for number, line in _lines(path, "tokens, one a line"):
        words = line.split()
        if len(words) > 2 or len(words[-1]) < _SHORTEST:
            raise UnsupportedError(
                f"line {number} of {path} is no token of {_SHORTEST} characters or more, alone or after a name and a "
                "space; openssl rand -hex 32 makes one"
            )
        found.append((words[0] if len(words) == 2 else "token", hashlib.sha256(words[-1].encode()).digest()))
    return found


def _users(path: Path) -> dict[str, str]:
    """Read names and hashes of passwords: "NAME:HASH" on a line."""
    found = {}
    for number, line in _lines(path, "htpasswd"):
        name, _, right = line.partition(":")
        if _BCRYPT.fullmatch(right) and importlib.util.find_spec("bcrypt") is None:
            raise UnsupportedError(
                f"line {number} of {path} has a password by bcrypt, which needs the package bcrypt: pip install "
                "'volcomp[serve]'"
            )
        if not name or not (_BCRYPT.fullmatch(right) or sha_crypt.is_one(right)):
            raise UnsupportedError(
                f"line {number} of {path} is no NAME:HASH by bcrypt (htpasswd -B), SHA-256 or SHA-512 (openssl passwd "
                "-6); MD5, SHA-1, DES and plain text are not taken"
            )
        found[name] = right
    return found
