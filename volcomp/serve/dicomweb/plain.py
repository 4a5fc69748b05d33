"""Explicit little endian of what is stored in another transfer syntax.

No transfer syntax but this one is made: a client that can read nothing else can read it (PS3.18, 8.7.3.5.2). pydicom
does it, and decodes frames where it has a decoder; the store decodes those of lossless syntaxes for which it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels import decompress, get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from ...errors import UnsupportedError
from ...formats.dicom_pixels import stream_of_syntax
from ...streams.registry import BY_NUMBER
from ..store.protocol import Json

Samples = Callable[[int], np.ndarray]  # of a frame, numbered from 1: [y, x] or [y, x, 3]
# Samples per pixel, photometric interpretation, planar configuration, rows, columns, bits and sign.
_PIXELS = ("00280002", "00280004", "00280006", "00280010", "00280011", "00280100", "00280101", "00280102", "00280103")
_WORDS = {"OW": 2, "OL": 4, "OF": 4, "OV": 8, "OD": 8}  # bytes of a number in values that pydicom takes as bytes


@lru_cache(64)
def makeable(syntax: str) -> bool:
    """Return whether explicit little endian can be made of a transfer syntax."""
    return not _encapsulated(UID(syntax)) or _by_pydicom(syntax) or _by_store(syntax)


def instance(data: bytes, samples: Samples) -> bytes:
    """Return a DICOM file in explicit little endian. Raises UnsupportedError where it cannot be decoded here.

    Parameters:
        data: the file.
        samples: returns those of a frame, for syntaxes that pydicom cannot decode; what it raises is passed on.
    """
    dataset = _read(data)
    syntax = dataset.file_meta.TransferSyntaxUID
    if _encapsulated(syntax):
        _decompress(dataset, samples)
    elif syntax == ExplicitVRBigEndian:
        _swap(dataset)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = BytesIO()
    try:
        for tag in [tag for tag in dataset.keys() if tag.group < 8]:  # noqa: SIM118 # of a command; it may not be written
            del dataset[tag]
        for _ in dataset.iterall():  # what is not parsed yet would be written in the old byte order
            pass
        dcmwrite(written, dataset, enforce_file_format=True)
    except Exception as error:  # pydicom has many
        raise UnsupportedError("its header cannot be written in explicit little endian") from error
    return written.getvalue()


def frames_of_file(data: bytes, numbers: Sequence[int]) -> list[bytes]:
    """Return frames of a DICOM file in big endian, numbered from 1, in little endian. Raises UnsupportedError."""
    dataset = _read(data)
    _swap(dataset)
    pixels = memoryview(dataset.PixelData)
    size = min(len(pixels) // int(dataset.get("NumberOfFrames") or 1), _frame_bytes(dataset))
    return [bytes(pixels[(number - 1) * size : number * size]) for number in numbers]


def frames(
    attributes: Json, syntax: str, numbers: Sequence[int], stored: Callable[[], list[bytes]], samples: Samples
) -> list[bytes]:
    """Return compressed frames in explicit little endian. Raises UnsupportedError where they cannot be decoded here.

    Parameters:
        attributes: of the instance, in the DICOM JSON model.
        syntax: the UID of its transfer syntax.
        numbers: of the frames, from 1.
        stored: returns these frames as they are stored.
        samples: returns those of a frame, for syntaxes that pydicom cannot decode; what it raises is passed on.
    """
    dataset = Dataset.from_json({tag: attributes[tag] for tag in _PIXELS if tag in attributes})
    if not _by_pydicom(syntax):
        return [_stored(samples(number), dataset) for number in numbers]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.NumberOfFrames = len(numbers)
    dataset.PixelData = encapsulate(stored())
    try:
        decoder = get_decoder(UID(syntax))
        return [decoder.as_array(dataset, index=k)[0].tobytes() for k in range(len(numbers))]
    except Exception as error:  # of several decoders
        raise UnsupportedError("its frames cannot be decoded here") from error


def _encapsulated(syntax: UID) -> bool:
    """Return whether frames are compressed; deflated files are none of these, and private syntaxes are."""
    return not syntax.is_transfer_syntax or syntax.is_private or syntax.is_encapsulated


def _by_pydicom(syntax: str) -> bool:
    """Return whether pydicom has a decoder that is installed."""
    try:
        return bool(get_decoder(UID(syntax)).is_available)
    except NotImplementedError:  # it knows none
        return False


def _by_store(syntax: str) -> bool:
    """Return whether frames of a transfer syntax are streams that volcomp itself decodes."""
    return stream_of_syntax(syntax) in BY_NUMBER


def _read(data: bytes) -> FileDataset:
    """Parse a file. Raises UnsupportedError."""
    try:
        dataset = pydicom.dcmread(BytesIO(data), force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            raise UnsupportedError("its header names no transfer syntax")
    except UnsupportedError:
        raise
    except Exception as error:  # pydicom has many
        raise UnsupportedError("its header cannot be read") from error
    return dataset


def _decompress(dataset: FileDataset, samples: Samples) -> None:
    """Decode all frames in place, colours to RGB."""
    if "PixelData" not in dataset:
        return
    if not _by_pydicom(dataset.file_meta.TransferSyntaxUID):
        count = int(dataset.get("NumberOfFrames") or 1)
        pixels = b"".join(_stored(samples(number), dataset) for number in range(1, count + 1))
        dataset.add_new(0x7FE00010, "OW" if dataset.BitsAllocated > 8 else "OB", pixels + b"\0" * (len(pixels) % 2))
        if dataset.get("SamplesPerPixel") == 3:
            dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
        return
    try:
        decompress(dataset, generate_instance_uid=False)
    except Exception as error:  # of several decoders
        raise UnsupportedError("its frames cannot be decoded here") from error


def _stored(samples: np.ndarray, dataset: Dataset) -> bytes:
    """Return samples of a frame as pixel data. Raises UnsupportedError where they are colours of a palette."""
    bits, components = int(dataset.BitsAllocated), int(dataset.get("SamplesPerPixel") or 1)
    grey = samples.ndim == 2 and components == 1 and bits in (8, 16, 32) and samples.dtype.kind in "iu"
    if not grey and not (samples.ndim == 3 and components == 3 and bits == 8 and samples.dtype == np.uint8):
        raise UnsupportedError("its samples cannot be given in explicit little endian")
    return samples.astype(f"<{samples.dtype.kind}{bits // 8}").tobytes()


def _frame_bytes(dataset: Dataset) -> int:
    """Return the bytes of a frame, of which a file may have one more as padding."""
    voxels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    return -(-voxels * int(dataset.BitsAllocated) // 8)


def _swap(dataset: Dataset) -> None:
    """Turn the bytes of all numbers around that pydicom takes as bytes; it turns the others itself."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _swap(item)
        elif element.VR in _WORDS and isinstance(element.value, bytes):
            width = _WORDS[element.VR]
            if element.tag == 0x7FE00010 and int(dataset.get("BitsAllocated") or 0) > 16:
                width = int(dataset.BitsAllocated) // 8
            if len(element.value) % width == 0:
                element.value = np.frombuffer(element.value, f">u{width}").astype(f"<u{width}").tobytes()
