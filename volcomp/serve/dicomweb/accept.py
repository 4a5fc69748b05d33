"""What a client accepts: the header Accept, as real clients write it, and what of it an instance or a frame can be.

PS3.18, 8.7. A media type comes quoted or not, with or without a transfer syntax, alone or in `multipart/related`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom.uid import UID
from starlette.exceptions import HTTPException
from starlette.requests import Request

from .plain import makeable

DICOM, OCTETS, RELATED, ANY = "application/dicom", "application/octet-stream", "multipart/related", "*/*"
_MULTIPART = (RELATED, "multipart/*")
PLAIN = "1.2.840.10008.1.2.1"  # explicit VR little endian
BIG = "1.2.840.10008.1.2.2"  # explicit VR big endian
# Of frames: implicit, explicit and deflated little endian differ in the header alone.
LITTLE = frozenset(("1.2.840.10008.1.2", PLAIN, "1.2.840.10008.1.2.1.99"))
_NATIVE = LITTLE | {BIG}
_JPEG = "1.2.840.10008.1.2.4."
# The media type of a frame that is compressed (PS3.18, table 8.7.3-5).
_OF_FRAMES = {
    **dict.fromkeys((_JPEG + end for end in ("50", "51", "57", "70")), "image/jpeg"),
    **dict.fromkeys((_JPEG + end for end in ("80", "81")), "image/jls"),
    **dict.fromkeys((_JPEG + end for end in ("90", "91")), "image/jp2"),
    **dict.fromkeys((_JPEG + end for end in ("92", "93")), "image/jpx"),
    **dict.fromkeys((_JPEG + end for end in ("110", "111", "112")), "image/jxl"),
    **dict.fromkeys((_JPEG + end for end in ("201", "202", "203")), "image/jphc"),
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
_MOST = 4096  # characters of the header


@dataclass(frozen=True)
class Media:
    """A media type that is accepted: type and subtype in small letters, parameters, quality from 0 to 1."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def inner(self) -> str:
        """The type of the parts, or the type itself."""
        return self.parameters.get("type", ANY).lower() if self.name in _MULTIPART else self.name

    @property
    def parts(self) -> bool:
        """Whether the answer may come in parts."""
        return self.name == ANY or self.name in _MULTIPART

    @property
    def syntax(self) -> str | None:
        """The transfer syntax that is asked for: its UID, "*" for the stored one, None if none is."""
        return self.parameters.get("transfer-syntax") or None


@dataclass(frozen=True)
class Answer:
    """How something goes out: the type of a part, its transfer syntax, and whether it comes in `multipart/related`."""

    name: str
    syntax: str
    parts: bool
    asked: bool = True  # whether the client named the transfer syntax

    @property
    def kind(self) -> str:
        """The header Content-Type of a part."""
        return f"{self.name}; transfer-syntax={self.syntax}"


def accepted(request: Request) -> list[Media]:
    """Return what a request accepts, what is liked best first; nothing said means everything.

    The parameter `accept` of the query comes before the header (PS3.18, 8.3.3.1); a "+" in it, which decodes as a
    space, is understood. Raises HTTPException for a header that is too long to be one.
    """
    header = request.query_params.get("accept")
    if header is not None:
        header = re.sub(r"(?<=dicom) (?=json|xml)", "+", header)
    else:
        header = ",".join(request.headers.getlist("accept"))
    if len(header) > _MOST:
        raise HTTPException(400, f"the header Accept has {len(header)} characters; at most {_MOST} are read")
    return list(_parsed(header))


@lru_cache(256)
def _parsed(header: str) -> tuple[Media, ...]:
    found = [_media(entry) for entry in _split(header, ",") if entry.strip()] or [Media(ANY)]
    return tuple(sorted((media for media in found if media.quality > 0), key=lambda media: -media.quality))


def _media(entry: str) -> Media:
    """Parse one media type with its parameters."""
    name, *others = [piece.strip() for piece in _split(entry, ";")] or [""]
    parameters = {}
    for other in others:
        key, _, value = other.partition("=")
        parameters[key.strip().lower()] = value.strip().strip('"').strip()
    try:
        quality = min(max(float(parameters.pop("q", "1")), 0.0), 1.0)
    except ValueError:
        quality = 1.0
    return Media(name.strip('"').lower(), parameters, quality)


def _split(text: str, mark: str) -> list[str]:
    """Split at a mark that is not in quotes."""
    return re.findall(rf'(?:[^{mark}"]|"[^"]*"?)+', text)


def _syntax(stored: str, wanted: str | None) -> str | None:
    """Return the transfer syntax that goes out; None where what is wanted is neither stored nor can be made."""
    if wanted in ("*", stored) or (wanted is None and stored == PLAIN):
        return stored
    return PLAIN if wanted in (None, PLAIN) and makeable(stored) else None


def of_instance(media: list[Media], stored: str, *, single: bool) -> Answer | None:
    """Return how an instance goes out; None where it is nothing that is accepted.

    Parameters:
        media: what is accepted.
        stored: the transfer syntax of the stored file.
        single: whether the answer has one instance, and may come without parts.
    """
    for one in media:
        if one.inner in (DICOM, ANY, "application/*") and (one.parts or single):
            syntax = _syntax(stored, one.syntax)
            if syntax:
                return Answer(DICOM, syntax, one.parts, one.syntax is not None)
    return None


def of_frames(media: list[Media], stored: str, *, single: bool) -> Answer | None:
    """Return how frames go out; None where they are nothing that is accepted. See `of_instance`."""
    compressed = None if stored in _NATIVE else _OF_FRAMES.get(stored, OCTETS)
    for one in media:
        if not (one.parts or single):
            continue
        wanted, kind = one.syntax, one.inner
        if kind in (OCTETS, ANY, "application/*"):
            syntax = _syntax(stored, wanted)
            if syntax is None and kind == ANY and wanted is None:
                syntax = stored  # what cannot be decoded here is still something
            if syntax:
                syntax = PLAIN if syntax in LITTLE else syntax
                as_stored = compressed if kind == ANY and syntax == stored else None
                return Answer(as_stored or OCTETS, syntax, one.parts)
        elif compressed and kind in (compressed, "image/*") and wanted in (None, "*", stored):
            return Answer(compressed, stored, one.parts)
    return None


def of_bytes(media: list[Media]) -> Answer | None:
    """Return how bulk data goes out, whose bytes have one form. What accepts everything gets them without parts."""
    for one in media:
        if one.inner in (OCTETS, ANY, "application/*") and one.syntax in (None, "*", PLAIN):
            return Answer(OCTETS, PLAIN, one.name in _MULTIPART)
    return None


def of_json(media: list[Media]) -> str | None:
    """Return the media type of JSON that is accepted; None if none is."""
    for one in media:
        if one.name in ("application/dicom+json", ANY, "application/*"):
            return "application/dicom+json"
        if one.name in ("application/json", "text/json"):
            return "application/json"
    return None


def demand_json(request: Request) -> str:
    """Return the media type of JSON to answer with. Raises HTTPException (406) where only others are accepted."""
    kind = of_json(accepted(request))
    if kind is None:
        raise HTTPException(406, "this is answered as application/dicom+json alone; accept that")
    return kind


def refused(stored: str) -> HTTPException:
    """Return the answer (406) to a request for a form that there is not, which says what there is."""
    made = f"{PLAIN} can be made of it" if makeable(stored) else "no decoder for it is installed here"
    name = UID(stored).name
    return HTTPException(
        406,
        f"what is asked for is neither stored nor can be made: stored is transfer syntax {stored}"
        f"{f' ({name})' if name != stored else ''}, and {made}; ask for transfer-syntax=* to get what is stored",
    )
