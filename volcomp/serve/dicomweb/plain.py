"""Explicit little endian of what is stored in another transfer syntax, by pydicom.

No transfer syntax but this one is made: a client that can read nothing else can read it (PS3.18, 8.7.3.5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import dcmwrite
from pydicom.pixels import decompress, get_decoder
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from ...errors import UnsupportedError

_WORDS = {"OW": 2, "OL": 4, "OF": 4, "OV": 8, "OD": 8}  # bytes of a number in values that pydicom takes as bytes


def instance(data: bytes) -> bytes:
    """Return a DICOM file in explicit little endian. Raises UnsupportedError where it cannot be decoded here."""
    dataset = _read(data)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not syntax.is_deflated:
        _decompress(dataset)
    elif syntax == ExplicitVRBigEndian:
        _swap(dataset)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = BytesIO()
    try:
        for _ in dataset.iterall():  # what is not parsed yet would be written in the old byte order
            pass
        dcmwrite(written, dataset, enforce_file_format=True)
    except Exception as error:  # pydicom has many
        raise UnsupportedError("its header cannot be written in explicit little endian") from error
    return written.getvalue()


def frames(data: bytes, numbers: Sequence[int]) -> list[bytes]:
    """Return frames of a DICOM file, numbered from 1, in explicit little endian. Raises UnsupportedError."""
    dataset = _read(data)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not syntax.is_deflated:
        found = _decoded(dataset, numbers)
    else:
        if syntax == ExplicitVRBigEndian:
            _swap(dataset)
        pixels = memoryview(dataset.PixelData)
        size = len(pixels) // int(dataset.get("NumberOfFrames") or 1)
        size = min(size, _frame_bytes(dataset))
        found = [bytes(pixels[(number - 1) * size : number * size]) for number in numbers]
    return found


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


def _decompress(dataset: FileDataset) -> None:
    """Decode all frames in place, colours to RGB."""
    if "PixelData" not in dataset:
        return
    try:
        decompress(dataset, generate_instance_uid=False)
    except Exception as error:  # of several decoders
        raise UnsupportedError("its frames cannot be decoded here") from error


def _decoded(dataset: FileDataset, numbers: Sequence[int]) -> list[bytes]:
    """Decode frames, colours to RGB."""
    try:
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        return [decoder.as_array(dataset, index=number - 1)[0].tobytes() for number in numbers]
    except Exception as error:
        raise UnsupportedError("its frames cannot be decoded here") from error


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
