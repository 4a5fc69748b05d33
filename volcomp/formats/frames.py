"""What DICOM headers say about the slices of a volume: place in the patient, spacing, rescaling.

An enhanced multi-frame file (PS3.3, C.7.6.16) says it in functional groups, shared or of each frame; all other files
say it in the data set itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import pydicom
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRBigEndian

from .dicom import data_start, quiet
from .dicom_pixels import PIXEL_TAGS

Vector = tuple[float, ...]
_NEEDED = (
    "SpecificCharacterSet", "SeriesInstanceUID", "Modality", "SeriesDescription", "PatientID", "StudyInstanceUID",
    "PhotometricInterpretation", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "NumberOfFrames", "GridFrameOffsetVector",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """One slice, as its header describes it; None for what the header lacks. Lengths are in mm, vectors in LPS."""

    position: Vector | None = None  # of the centre of the first voxel
    orientation: Vector | None = None  # direction cosines along a row, then down a column
    spacing: Vector | None = None  # of rows (y), then of columns (x)
    thickness: float | None = None
    gap: float | None = None  # between the centres of neighbouring slices, as stated
    slope: float = 1.0
    intercept: float = 0.0
    curved: bool = False  # a table, not slope and intercept, makes values of samples

    @property
    def height(self) -> float:
        """Return the distance to the next slice, as far as one header tells, in mm: 1 where it does not."""
        return next((abs(size) for size in (self.gap, self.thickness) if size), 1.0)


@dataclass(frozen=True)
class Header:
    """The header of one image."""

    frames: list[Frame]  # at least one
    series: str = ""
    modality: str = ""
    description: str = ""
    photometric: str = ""
    bits: int = 16  # that are allocated
    stored: int = 16
    signed: bool = False


def read_header(before: bytes, frames: int) -> Header | None:
    """Return what the bytes before the voxels of an image say of its slices; None where they are no DICOM header.

    Parameters:
        before: the file up to its voxels, its data set inflated.
        frames: slices that the image has.
    """
    with quiet():
        try:
            dataset = parse(before, _NEEDED)
            return _header(dataset, frames) if "BitsAllocated" in dataset else None
        except Exception:  # pydicom answers broken files with almost any exception
            return None


def parse(before: bytes, names: tuple[str, ...] | None = None) -> pydicom.Dataset:
    """Return the elements before the pixels, or only some; raises whatever pydicom does."""
    file = BytesIO(before)
    file.seek(data_start(before[:134]))
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: int(tag) >> 16 != 2)
    start, syntax = file.tell(), meta.get("TransferSyntaxUID")
    head = before[start : start + 6]
    big = syntax == ExplicitVRBigEndian or (syntax is None and head[:1] == b"\0" and head[1:2] != b"\0")
    implicit = not (head[4:6].isalpha() and head[4:6].isupper())
    tags: list[BaseTag | int] | None = [Tag(name) for name in names] if names else None
    found = read_dataset(
        file, implicit, not big, stop_when=lambda tag, vr, length: int(tag) in PIXEL_TAGS, specific_tags=tags
    )
    found.file_meta = pydicom.dataset.FileMetaDataset(meta) if meta else pydicom.dataset.FileMetaDataset()
    return pydicom.Dataset(found) if not isinstance(found, pydicom.Dataset) else found


def _header(dataset: pydicom.Dataset, count: int) -> Header:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    each = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    frames = [_frame(_Groups(dataset, shared, each[i] if i < len(each) else None)) for i in range(count if each else 1)]
    if len(frames) < count:  # all frames of one header
        offsets = _numbers(dataset.get("GridFrameOffsetVector"), count)
        frames = [_moved(frames[0], i, offsets) for i in range(count)]
    bits = int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or bits)
    return Header(
        frames,
        str(dataset.get("SeriesInstanceUID", "")),
        str(dataset.get("Modality", "")),
        str(dataset.get("SeriesDescription", "")),
        str(dataset.get("PhotometricInterpretation", "")).strip().upper(),
        bits,
        stored if 0 < stored <= bits else bits,
        int(dataset.get("PixelRepresentation") or 0) == 1,
    )


class _Groups:
    """The elements of a frame: of its own functional groups, of the shared ones, of the data set."""

    def __init__(self, dataset: Any, shared: Any, own: Any) -> None:
        self._dataset, self._groups = dataset, [group for group in (own, shared) if group is not None]

    def get(self, sequence: str, name: str) -> Any:
        """Return the value of an element, None where there is none."""
        for group in self._groups:
            items = group.get(sequence)
            if items and items[0].get(name) is not None:
                return items[0].get(name)
        return self._dataset.get(name)


def _frame(groups: _Groups) -> Frame:
    measures, rescale = "PixelMeasuresSequence", "PixelValueTransformationSequence"
    slope = _number(groups.get(rescale, "RescaleSlope"))
    return Frame(
        _numbers(groups.get("PlanePositionSequence", "ImagePositionPatient"), 3),
        _unit(_numbers(groups.get("PlaneOrientationSequence", "ImageOrientationPatient"), 6)),
        _positive(_numbers(groups.get(measures, "PixelSpacing"), 2)),
        _number(groups.get(measures, "SliceThickness")),
        _number(groups.get(measures, "SpacingBetweenSlices")),
        slope or 1.0,  # a slope of 0 would make no picture
        _number(groups.get(rescale, "RescaleIntercept")) or 0.0,
        bool(groups.get(rescale, "ModalityLUTSequence")),
    )


def _moved(frame: Frame, number: int, offsets: Vector | None) -> Frame:
    """Return the frame of this number, of a file that states the place of its first one.

    The others follow along the normal, by the offsets that a file of doses has, or as high as slices are.
    """
    if not frame.position or not frame.orientation:
        return frame
    along = number * frame.height if offsets is None else offsets[number]
    place = tuple(p + along * n for p, n in zip(frame.position, cross(frame.orientation), strict=True))
    return replace(frame, position=place)


def cross(orientation: Vector) -> Vector:
    """Return the normal of rows and columns, of direction cosines along a row, then down a column."""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    return (b * f - c * e, c * d - a * f, a * e - b * d)


def _unit(cosines: Vector | None) -> Vector | None:
    """Return two unit vectors; None where they are not nearly that, and at a right angle."""
    if cosines is None:
        return None
    rows, columns = cosines[:3], cosines[3:]
    lengths = [math.hypot(*one) for one in (rows, columns)]
    across = sum(a * b for a, b in zip(rows, columns, strict=True))
    if any(abs(length - 1) > 0.01 for length in lengths) or abs(across) > 0.01:
        return None
    return tuple(a / length for one, length in zip((rows, columns), lengths, strict=True) for a in one)


def _positive(numbers: Vector | None) -> Vector | None:
    return numbers if numbers and min(numbers) > 0 else None


def _numbers(value: Any, count: int) -> Vector | None:
    """Return the `count` numbers of an element, or None unless it has just these, all finite."""
    try:
        numbers = tuple(float(one) for one in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(abs(one) < 1e9 for one in numbers) else None


def _number(value: Any) -> float | None:
    found = _numbers([value], 1)
    return found[0] if found else None
