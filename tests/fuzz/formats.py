"""Files of whole volumes, changed in their headers and anywhere: whatever the files, they come back byte for byte.

An input is the names and the bytes of the files of one folder, in turn.
"""

from __future__ import annotations

import re
import tempfile
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np

from tests.formats.test_png_and_netpbm import CODED
from tests.formats.test_volumes import SOUND
from tests.formats.volumes import meta, nifti, npy, nrrd, picture, tiff
from tests.helpers import ONE, compress, contents
from volcomp.archive.manifest import read_manifest
from volcomp.archive.restore import restore
from volcomp.container.sections import Reader
from volcomp.errors import VolcompError
from volcomp.formats.protocol import HEAD_BYTES
from volcomp.formats.registry import FORMATS

from . import mutations
from .target import Target, WrongError, expect, join, split

_PICTURES = ("grey.png", "rgb16.png", "twelve.pgm", "several.pgm")
_MOST_HEADER = 700  # bytes, in which most changes are made
_WORDS = (b"LOCAL", b"LIST", b"a.raw", b"-1", b"0", b"True", b"False", b"raw", b"gzip", b"big", b"little", b"short",
          b"float", b"double", b"MET_FLOAT", b"MET_DOUBLE", b"MET_SHORT", b"<f4", b">f8", b"<i2", b"|u1", b"<c8",
          b"images=3", b"9999999999", b"1e9", b"nan", b"%d", b"domain", b"vector", b"list", b"\r\n")  # fmt: skip


@lru_cache(maxsize=1)
def _seeds() -> list[bytes]:
    """Return small files of every format and of types that have codes of their own."""
    floats = picture((6, 12, 10), "f4")
    vectors = np.stack([picture((6, 12, 10), "f8", seed=seed) for seed in range(3)], -1)
    alone = [
        nifti(floats),
        nifti(floats, ">", version=2),
        nifti(picture((3, 6, 12, 10), "f8"), after=b"tail"),
        nifti(picture((6, 12, 10), "c8")),
        nifti(picture((6, 12, 10), "i2").astype("f8") * 0.25),
        nifti((picture((6, 12, 10), "f8") * 100000).astype("i4")),
        meta(vectors, channels=3),
        nrrd(np.stack([floats] * 6, -1), kinds="list domain domain domain"),
        npy(floats.astype(">f4")),
        tiff(floats, strips=2),
    ]
    sound = [
        join(*(part for name, data in files.items() for part in (name.encode(), data))) for files in SOUND.values()
    ]
    return [*sound, *(join(b"a.nii", data) for data in alone), *(join(b"a.png", CODED[name]) for name in _PICTURES)]


def _changed(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change the header of a file, mostly; or any bytes of one."""
    parts = split(data)
    at = random.randrange(1, len(parts), 2)
    part = parts[at]
    what = random.random()
    if what < 0.15:
        parts[at] = mutations.changed(random, part, [split(other)[1] for other in others])
    elif what < 0.4 and b"\n" in part[:_MOST_HEADER]:
        head = part[:_MOST_HEADER]
        words = list(re.finditer(rb"[-\w.+]+", head))
        word = random.choice(words)
        parts[at] = part[: word.start()] + random.choice(_WORDS) + part[word.end() :]
    else:
        head = mutations.changed(random, part[:_MOST_HEADER], [split(other)[1][:_MOST_HEADER] for other in others])
        parts[at] = head + part[_MOST_HEADER:]
    return join(*parts)


def _check(data: bytes) -> object:
    """Archive the files, restore them, compare."""
    parts = split(data)
    for header in parts[1::2]:
        for file_format in FORMATS:
            if file_format.sniff(header[:HEAD_BYTES]):
                file_format.describe([header])
                file_format.describe([header[: len(header) // 3]])
    with tempfile.TemporaryDirectory() as name:
        folder, archive = Path(name) / "in", Path(name) / "a.vcz"
        folder.mkdir()
        for file, contained in zip(parts[::2], parts[1::2], strict=True):
            (folder / file.decode("ascii")).write_bytes(contained)
        try:
            compress([folder], archive, model="turbo", effort=1)
            restore(archive, Path(name) / "out", ONE)
        except VolcompError as error:  # of any file, as any file can be archived
            raise WrongError(f"a file is not archived or not restored: {error}") from error
        expect(contents(Path(name) / "out") == contents(folder), "a file comes back with other bytes")
        with archive.open("rb") as file_of_archive:
            entries = read_manifest(Reader(file_of_archive)).files
    found = [entry.note or getattr(entry.place, "body", "kept whole") for entry in entries]
    return re.sub(r"\d{2,}", "#", str(found))


TARGETS = (Target("formats", _seeds, _changed, _check),)
