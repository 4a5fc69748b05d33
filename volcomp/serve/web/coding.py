"""The work of the service for X-rays: a zip of images becomes a zip of compressed ones, and the reverse.

Without loss an image becomes a `.vcz` of its own, and comes back byte for byte. With loss it becomes the payload of the
image codec (`volcomp.lossy`, model `lossy-1`) in a file `.vcl`, and comes back as an image of the same kind and size.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ... import files as archives
from ...dtypes import Integers
from ...errors import DamagedError, UnsupportedError, VolcompError
from ...reading.view import pillow
from .downloads import safe_name
from .refusal import COLOUR, CONTENT, EMPTY, FORMAT, LARGE, NO_IMAGE, SIZE, TYPE, Refusal
from .unzip import Limits, extract

Report = Callable[[str, int, int], None]
LOSSLESS, LOSSY = ".vcz", ".vcl"
MODES = ("lossless", "lossy")
LEAST_RATIO, MOST_RATIO, RATIO = 2.0, 200.0, 16.0
MOST_PIXELS = 1 << 26  # of an image with loss
_PNG, _MOMENT = b"\x89PNG\r\n\x1a\n", (1980, 1, 1, 0, 0, 0)
# Pictures that are told by how they begin, and are not taken.
_OTHERS = {
    b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"P1": "PBM",
    b"P4": "PBM", b"P3": "PPM", b"P6": "PPM", b"\0\0\0\x0cjP": "JPEG 2000", b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL": "JPEG XL", b"8BPS": "PSD",
}  # fmt: skip


def encode(
    source: Path, room: Path, target: Path, limits: Limits, report: Report, *, mode: str = "lossless",
    ratio: float = RATIO, size: tuple[int, int] | None = None, model: str = "fast",
) -> dict[str, int]:  # fmt: skip
    """Compress the images in a zip.

    Parameters:
        source: the zip.
        room: an empty folder for work.
        target: the zip to write.
        limits: of what comes out of the zip.
        report: is called with what is done, how much of it, and of how much.
        mode: one of MODES.
        ratio: of the bytes of the pixels to those of the payload, with loss.
        size: width and height that every image must have; None for any.
        model: of archives.

    Returns:
        How many files, their bytes, and the bytes that they became.

    Raises Refusal: one of the cases T01 to T05, or what `extract` raises.
    """
    size = None if size is None else (size[0], size[1])
    found = _unpacked(source, room, limits, report)
    kinds = [_kind(path, name) for name, path in found]
    for (name, path), kind in zip(found, kinds, strict=True):
        if mode == "lossy" or size:
            _check(path, name, kind, mode, size)
    before = after = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
        for k, ((name, path), kind) in enumerate(zip(found, kinds, strict=True)):
            report("compressing", k, len(found))
            before += path.stat().st_size
            if mode == "lossy":
                data = _lossy(_grey(path, name, kind), ratio, name)
            else:
                packed = room / "packed.vcz"
                archives.compress_files(path, packed, model, threads=1, force=True, times=False)
                data = packed.read_bytes()
            after += len(data)
            out.writestr(_entry(name + (LOSSY if mode == "lossy" else LOSSLESS)), data)
        report("compressing", len(found), len(found))
    return {"files": len(found), "before": before, "after": after}


def decode(source: Path, room: Path, target: Path, limits: Limits, report: Report) -> dict[str, int]:
    """Restore the images in a zip that `encode` made; see there."""
    found = _unpacked(source, room, limits, report)
    before = after = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
        taken: set[str] = set()
        for k, (name, path) in enumerate(found):
            report("restoring", k, len(found))
            before += path.stat().st_size
            for made, data in _restored(path, name, room, limits.bytes - after):
                after += len(data)
                if made.casefold() in taken:
                    raise Refusal("two files restore one of the same name; send them apart", CONTENT, file=name)
                taken.add(made.casefold())
                out.writestr(_entry(made), data)
        report("restoring", len(found), len(found))
    return {"files": len(found), "before": before, "after": after}


def _unpacked(source: Path, room: Path, limits: Limits, report: Report) -> list[tuple[str, Path]]:
    folder = room / "in"
    folder.mkdir()
    found = extract(source, folder, limits, lambda done, total: report("unpacking", done, total))
    if not found:
        raise Refusal("the zip is empty; put images into it", case=EMPTY)
    return found


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.external_attr = 0o600 << 16
    return entry


def _kind(path: Path, name: str) -> str:
    """Return "png", "pgm" or "dicom", by how a file begins. Raises Refusal (T02, T03)."""
    with path.open("rb") as file:
        head = file.read(264)
    if head.startswith(_PNG) and _png_facts(head):
        return "png"
    if head[:2] in (b"P2", b"P5") and head[2:3].isspace():
        return "pgm"
    if head[128:132] == b"DICM":
        return "dicom"
    for magic, other in _OTHERS.items():
        if head.startswith(magic):
            raise Refusal(f"{other} is another format than those that are taken: PNG, PGM, DICOM", TYPE, FORMAT, name)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        raise Refusal("WebP is another format than those that are taken: PNG, PGM, DICOM", TYPE, FORMAT, name)
    raise Refusal("the file is no image, or a damaged one; PNG, PGM and DICOM are taken", TYPE, NO_IMAGE, name)


def _png_facts(head: bytes) -> tuple[int, int, int, int] | None:
    """Return width, height, bits and type of colour of a PNG (third edition, 11.2.1); None where it has no header."""
    if len(head) < 33 or head[12:16] != b"IHDR":
        return None
    width, height, bits, colour = struct.unpack(">LLBB", head[16:26])
    return (width, height, bits, colour) if 0 < width < 1 << 31 and 0 < height < 1 << 31 else None


def _check(path: Path, name: str, kind: str, mode: str, size: tuple[int, int] | None) -> None:
    """Raise Refusal for an image that cannot be coded with loss (T02, T05), or has another size (T04)."""
    with path.open("rb") as file:
        head = file.read(1024)
    if kind == "dicom":
        if mode == "lossy":
            raise Refusal("DICOM is taken without loss only; send PNG or PGM, or ask for lossless", TYPE, FORMAT, name)
        raise Refusal("a size is asked of PNG and PGM alone; leave it out for DICOM", TYPE, FORMAT, name)
    facts = _png_facts(head) if kind == "png" else _pgm_facts(head)
    if facts is None:
        raise Refusal("the file is a damaged image", TYPE, NO_IMAGE, name)
    width, height, bits, colour = facts
    if mode == "lossy" and colour != 0:
        raise Refusal("the image has colours or transparency, and the model takes grey alone", CONTENT, COLOUR, name)
    if mode == "lossy" and (bits not in (8, 16) or head[:2] == b"P2"):
        raise Refusal("the model takes grey images of 8 or 16 bits, PNG or binary PGM", TYPE, FORMAT, name)
    if size and (width, height) != size:
        asked = f"{size[0]}×{size[1]}"
        raise Refusal(f"the image has {width}×{height} pixels, and {asked} were asked for", CONTENT, SIZE, name)
    if width * height > MOST_PIXELS:
        sentence = f"the image has {width}×{height} pixels, and the model takes up to {MOST_PIXELS}"
        raise Refusal(sentence, CONTENT, SIZE, name)


def _pgm_facts(head: bytes) -> tuple[int, int, int, int] | None:
    """Return width, height, bits and 0 of a PGM; None where its header is damaged."""
    words, _ = _pgm_header(head)
    if len(words) < 3:
        return None
    width, height, most = words
    return (width, height, 8 if most < 256 else 16, 0) if width and height and 0 < most < 65536 else None


def _pgm_header(head: bytes) -> tuple[list[int], int]:
    """Return up to three numbers after the magic, comments left out, and where the pixels begin."""
    words: list[int] = []
    at = 2
    while len(words) < 3 and at < len(head):
        if head[at : at + 1] == b"#":
            end = head.find(b"\n", at)
            at = len(head) if end < 0 else end + 1
        elif head[at : at + 1].isspace():
            at += 1
        else:
            end = at
            while end < len(head) and head[end : end + 1].isdigit():
                end += 1
            if end == at or end - at > 10:
                return words, at
            words.append(int(head[at:end]))
            at = end
    return words, at + 1


def _grey(path: Path, name: str, kind: str) -> Integers:
    """Return the pixels of an image uint8 or uint16 [y, x]. Raises Refusal for a damaged one."""
    damaged = Refusal("the file is a damaged image", TYPE, NO_IMAGE, name)
    if kind == "pgm":
        data = path.read_bytes()
        facts, (_, start) = _pgm_facts(data[:1024]), _pgm_header(data[:1024])
        if facts is None:
            raise damaged
        width, height, bits, _ = facts
        if len(data) - start < width * height * bits // 8:
            raise damaged
        kinds = np.dtype(np.uint8) if bits == 8 else np.dtype(">u2")
        found = np.frombuffer(data, kinds, width * height, start).reshape(height, width)
        return found.astype(kinds.newbyteorder("="))
    image_of, _, _ = pillow()
    try:
        with path.open("rb") as file:
            image = image_of.open(file, formats=["PNG"])
            found = np.asarray(image)
    except (OSError, SyntaxError, ValueError, image_of.DecompressionBombError):
        raise damaged from None
    if found.ndim != 2 or found.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise Refusal("the model takes grey images of 8 or 16 bits", TYPE, FORMAT, name)
    return np.ascontiguousarray(found)


def _lossy(image: Integers, ratio: float, name: str) -> bytes:
    from ... import lossy

    try:
        return lossy.encode(image, ratio=ratio)
    except UnsupportedError as error:
        raise Refusal(f"{error}; ask for a smaller ratio", CONTENT, SIZE, name) from None


def _restored(path: Path, name: str, room: Path, left: int) -> list[tuple[str, bytes]]:
    """Return the files that one file restores, with their names. Raises Refusal."""
    folder = name.rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    if name.lower().endswith(LOSSY):
        return [_shown(path, name, prefix, left)]
    if not name.lower().endswith(LOSSLESS):
        raise Refusal("the file is none that /encode makes; .vcz and .vcl are taken", TYPE, NO_IMAGE, name)
    target = room / "out"
    target.mkdir(exist_ok=True)
    try:
        entries = [one for one in archives.list_files(path) if one["kind"] == "file"]
        _check_room(sum(one["size"] for one in entries), left, name)
        archives.decompress_files(path, target, threads=1, times=False)
    except Refusal:
        raise
    except VolcompError as error:
        raise _unread(error, name) from None
    found = []
    for one in entries:
        made = target / one["name"]
        found.append((prefix + one["name"], made.read_bytes()))
        made.unlink()
    return found


def _shown(path: Path, name: str, prefix: str, left: int) -> tuple[str, bytes]:
    """Return an image that was coded with loss, as a file of the kind that it was."""
    from ... import lossy

    _check_room(0, left, name)
    try:
        image = lossy.decode(path.read_bytes(), most_pixels=min(MOST_PIXELS, left))
    except VolcompError as error:
        raise _unread(error, name) from None
    if image.dtype.kind != "u":
        raise Refusal("the image has negative numbers, which PNG has not", TYPE, NO_IMAGE, name)
    plain = safe_name(name.rpartition("/")[2][: -len(LOSSY)], "image.png")
    if plain.lower().endswith(".pgm"):
        header = f"P5\n{image.shape[1]} {image.shape[0]}\n{np.iinfo(image.dtype).max}\n".encode()
        return prefix + plain, header + image.astype(image.dtype.newbyteorder(">")).tobytes()
    image_of, _, _ = pillow()
    file = io.BytesIO()
    image_of.fromarray(image).save(file, "PNG")
    return prefix + (plain if plain.lower().endswith(".png") else f"{plain}.png"), file.getvalue()


def _check_room(need: int, left: int, name: str) -> None:
    if need > left or left <= 0:
        raise Refusal("what is restored is larger than is allowed at once; send fewer", LARGE, file=name)


def _unread(error: VolcompError, name: str) -> Refusal:
    what = "is damaged" if isinstance(error, DamagedError) else "cannot be read by this version"
    return Refusal(f"the file {what}; send one that /encode made", TYPE, NO_IMAGE, name)
