"""Sizes by transfer syntax: series of the corpus under every lossless one, as files and in an archive.

    python -m benchmarks.syntaxes                     # measures what syntaxes.csv lacks
    python -m benchmarks.syntaxes --redo "JPEG-LS"    # these once more

Each series is written as a PACS would hold it, one compressed frame in each file, and archived by the command line; the
files that it restores are compared. `xz` is `tar | xz -9` of the same files. The sizes without compression are beside
them, so that one sees what an archive takes of the same pictures.
"""

from __future__ import annotations

import argparse
import io
import lzma
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

from volcomp.training import corpus

from . import report
from .command import same_files, volcomp
from .rivals import versioned

CSV = Path(__file__).with_name("syntaxes.csv")
COLUMNS = ("series", "syntax", "uid", "bytes", "xz", "archive", "coded", "verified")
MODEL = "base"

Encode = Callable[[np.ndarray, int], bytes]  # of a frame of uint16 [Y, X], and its bits


def _codecs() -> Any:
    import imagecodecs

    return imagecodecs


def _jpeg_lossless(frame: np.ndarray, bits: int) -> bytes:
    return bytes(_codecs().ljpeg_encode(frame, bitspersample=bits))


def _jpeg_ls(frame: np.ndarray, bits: int) -> bytes:
    return bytes(_codecs().jpegls_encode(frame))


def _jpeg_2000(frame: np.ndarray, bits: int) -> bytes:
    return bytes(_codecs().jpeg2k_encode(frame, reversible=True, level=0, codecformat="j2k", bitspersample=bits))


def _htj2k(frame: np.ndarray, bits: int) -> bytes:
    return bytes(_codecs().htj2k_encode(frame, reversible=True))


def _deflate(frame: np.ndarray, bits: int) -> bytes:
    machine = zlib.compressobj(6, zlib.DEFLATED, -15)
    return machine.compress(frame.tobytes()) + machine.flush()


# pydicom 3.0 writes no file with this syntax: another one of the same length stands in for it.
_DEFLATED_FRAMES, _STAND_IN = "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.4.90"
# Name, UID, and how a frame is encoded; None: by pydicom (RLE), or as it is.
SYNTAXES: dict[str, tuple[str, Encode | None]] = {
    "none": (ExplicitVRLittleEndian, None),
    "deflated": ("1.2.840.10008.1.2.1.99", None),
    "RLE": ("1.2.840.10008.1.2.5", None),
    "JPEG Lossless": ("1.2.840.10008.1.2.4.70", _jpeg_lossless),
    "JPEG-LS": ("1.2.840.10008.1.2.4.80", _jpeg_ls),
    "JPEG 2000": ("1.2.840.10008.1.2.4.90", _jpeg_2000),
    "HTJ2K": ("1.2.840.10008.1.2.4.201", _htj2k),
    "deflated frames": (_DEFLATED_FRAMES, _deflate),
}
SERIES = ("ct_head_ge_tilt", "mr_pd_ge_signa", "mr_haste_liver_avanto")
REAL = {"ct_totalseg_siemens": "JPEG 2000, as it came", "mr_t1tfl_prisma_2mm": "JPEG Lossless, as it came"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, row by row into the CSV."""
    parser = argparse.ArgumentParser(description="sizes by transfer syntax")
    parser.add_argument("--redo", nargs="*", default=[], metavar="SYNTAX")
    options = parser.parse_args(arguments)
    rows = {(row["series"], row["syntax"]): row for row in report.read_rows(CSV)}
    wanted = [(series, syntax) for series in SERIES for syntax in SYNTAXES]
    wanted += list(REAL.items())
    for series, syntax in wanted:
        if (series, syntax) in rows and syntax not in options.redo:
            continue
        print(f"{series}: {syntax}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows[series, syntax] = measure(Path(folder), series, syntax)
        ordered = [rows[key] for key in wanted if key in rows]
        report.write_rows(CSV, COLUMNS, ordered)
        report.write_machine(CSV, [versioned(name) for name in ("imagecodecs", "pydicom", "volcomp")])
    report.publish("syntaxes", table(list(rows.values())))


def measure(folder: Path, series: str, syntax: str) -> dict[str, str]:
    """One row of the CSV. Raises RuntimeError where the files do not come back."""
    source = folder / "files"
    uid = write(series, syntax, source)
    archive, restored = folder / "x.vcz", folder / "restored"
    volcomp("compress", source, "-o", archive, "--model", MODEL)
    volcomp("decompress", archive, "-o", restored)
    if not same_files(source, restored):
        raise RuntimeError(f"{series} under {syntax} does not come back")
    from volcomp.archive.describe import describe

    contents = describe(archive)
    return {
        "series": series,
        "syntax": syntax,
        "uid": uid,
        "bytes": str(sum(path.stat().st_size for path in source.iterdir())),
        "xz": str(_xz(source)),
        "archive": str(archive.stat().st_size),
        "coded": str(contents["files"] - contents["kept_whole"]),
        "verified": "yes",
    }


def write(series: str, syntax: str, target: Path) -> str:
    """Write a series under a syntax; return its UID."""
    target.mkdir()
    files = corpus.files(series)
    if syntax not in SYNTAXES:
        for path in files:
            shutil.copy2(path, target / path.name)
        return str(pydicom.dcmread(files[0], stop_before_pixels=True).file_meta.TransferSyntaxUID)
    uid, encode = str(SYNTAXES[syntax][0]), SYNTAXES[syntax][1]
    for path in files:
        dataset = pydicom.dcmread(path)
        # pydicom reads elements of group 0, and writes none.
        for tag in [element.tag for element in dataset if element.tag.group == 0]:
            del dataset[tag]
        frame, bits = _words(dataset)
        if encode:
            dataset.PixelData = encapsulate([encode(frame, bits)])
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        elif syntax == "RLE":
            dataset.compress(uid, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = UID(_STAND_IN if uid == _DEFLATED_FRAMES else uid)
        dataset.save_as(target / path.name, implicit_vr=False, little_endian=True)
        if uid == _DEFLATED_FRAMES:
            made = (target / path.name).read_bytes()
            (target / path.name).write_bytes(made.replace(_STAND_IN.encode(), uid.encode() + b"\0", 1))
    return uid


def _words(dataset: pydicom.Dataset) -> tuple[np.ndarray, int]:
    """The words of a frame, uint16 [Y, X], and how many bits the largest needs."""
    frame = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    return frame, max(int(frame.max()).bit_length(), 8)


def _xz(folder: Path) -> int:
    """The bytes of `tar | xz -9`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, folder.name)
    return len(lzma.compress(buffer.getvalue(), preset=9))


def table(rows: list[dict[str, str]]) -> str:
    """Each syntax: bytes of the files, of `tar | xz -9`, of the archive, and what it takes off the files."""
    lines = []
    for syntax in [*SYNTAXES, *REAL.values()]:
        of_syntax = [row for row in rows if row["syntax"] == syntax]
        if of_syntax:
            files, xz, archive = (sum(int(row[name]) for row in of_syntax) for name in ("bytes", "xz", "archive"))
            lines.append((syntax, f"{files:,}", f"{xz:,}", f"{archive:,}", f"−{100 * (1 - archive / files):.0f} %"))
    return report.table(("transfer syntax", "files", "`tar`, `xz -9`", "archive", "saved"), lines)


if __name__ == "__main__":
    main()
