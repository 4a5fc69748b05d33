"""New instances of DICOM images whose voxels differ: what PS3.3, C.7.6.1.1.3 and C.7.6.1.1.5 ask of them.

A new instance has a new SOP Instance UID, states that it is derived, from which instance and how, and that its
compression was lossy; ratio and method are appended to those of earlier compressions. It stays in its series.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..dtypes import Bools, Integers
from ..errors import UnsupportedError
from ..formats.dicom import quiet

METHOD = "VOLCOMP_BOUND"  # a term of our own: PS3.3 defines none for this method, and allows others
_LOSSY, _PREDECESSOR = ("113040", "Lossy Compression"), ("121320", "Uncompressed predecessor")  # CID 7203, CID 7202
_LONGEST_TEXT = 1024  # characters of an ST
_COLOURS = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_RCT", "YBR_ICT")
# Groups of a message and of file meta information that some writers left in data sets, where pydicom writes none.
_NOT_IN_DATA_SETS = (0x0000, 0x0002)
_DECODED_AS_RGB = ("YBR_RCT", "YBR_ICT")
# Signatures over the bytes of the original, which are those of no new instance.
_SIGNATURES = ("DigitalSignaturesSequence", "MACParametersSequence")
# The compression ratios up to which lossy compression is agreed to keep diagnostic quality, by modality.
_AGREED = {"CT": 8.0, "MR": 7.0, "CR": 10.0, "DX": 10.0, "MG": 15.0, "RF": 6.0, "XA": 6.0}
_AGREED_HEAD_CT = 5.0
_HEAD = ("HEAD", "BRAIN", "SKULL")
CONSENSUS = "the German consensus of 2009 on lossy compression"


class Change(NamedTuple):
    """What was done to voxels."""

    error: int  # grey levels
    region: str  # that is exact; empty where there is none
    ratio: float  # bytes of the pixels to those that they are coded in


def can_derive(dataset: Dataset) -> bool:
    """Return whether a new instance can be made of an image: grey or colour, of 8 or 16 bits, with an identity.

    pydicom does not swap the words of tables and overlays of big-endian data sets.
    """
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    return (
        syntax != ExplicitVRBigEndian
        and dataset.original_encoding[1] is not False
        and dataset.get("BitsAllocated") in (8, 16)
        and str(dataset.get("PhotometricInterpretation", "")) in _COLOURS
        and all(dataset.get(name) for name in ("SOPInstanceUID", "SOPClassUID"))
    )


def read(path: Path) -> Dataset | None:
    """Read a file; None where pydicom cannot, or nothing can be derived from it."""
    with quiet():
        try:
            dataset = pydicom.dcmread(path, force=True)
            return dataset if can_derive(dataset) else None
        except Exception:  # pydicom answers broken files with almost any exception
            return None


def padding(dataset: Dataset, voxels: Integers) -> Bools | None:
    """Return which voxels are padding (PS3.3, C.7.5.1.1.2), which has a meaning of its own and stays exact."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return (voxels >= low) & (voxels <= high)


def agreed_ratio(dataset: Dataset) -> float | None:
    """Return the ratio up to which `CONSENSUS` finds lossy compression of such an image acceptable; None without one.

    Loose et al. 2009, Kompression digitaler Bilddaten in der Radiologie, RöFo 181.
    """
    modality, part = str(dataset.get("Modality", "")), str(dataset.get("BodyPartExamined", "")).upper()
    if modality == "CT" and any(name in part for name in _HEAD):
        return _AGREED_HEAD_CT
    return _AGREED.get(modality)


def write(dataset: Dataset, voxels: Integers, change: Change, target: Path) -> None:
    """Write a new instance with other voxels [z, Y, X] or [z, Y, X, components]. Changes the data set.

    Raises:
        UnsupportedError: where pydicom cannot write the data set.
    """
    old = str(dataset.SOPInstanceUID)
    _state_derivation(dataset, change)
    _set_pixels(dataset, voxels)
    new = _uid(old, change)
    dataset.SOPInstanceUID = new
    for element in [one for group in _NOT_IN_DATA_SETS for one in dataset.group_dataset(group)]:
        del dataset[element.tag]
    with quiet():
        try:
            if not getattr(dataset, "file_meta", None):
                dataset.file_meta = pydicom.dataset.FileMetaDataset()
            meta = dataset.file_meta
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, new
            if meta.get("TransferSyntaxUID") != ImplicitVRLittleEndian:
                meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.save_as(target, enforce_file_format=True)
        except Exception as error:  # as in `read`
            raise UnsupportedError(f"the instance {old} cannot be written with other voxels: {error}") from error


def _uid(old: str, change: Change) -> UID:
    """Return a UID that the same change of the same instance always gets (PS3.5, B.2: of a UUID)."""
    named = hashlib.sha256(f"{old} {change.error} {change.region}".encode()).hexdigest()
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, named).int}")


def _state_derivation(dataset: Dataset, change: Change) -> None:
    kinds = [str(kind) for kind in dataset.get("ImageType") or ["ORIGINAL", "PRIMARY"]]
    dataset.ImageType = ["DERIVED", *kinds[1:]] if len(kinds) > 1 else ["DERIVED", "PRIMARY"]
    inside = f" outside {change.region}" if change.region else ""
    text = f"voxels changed by at most {change.error}{inside} to compress them"
    earlier = str(dataset.get("DerivationDescription", "") or "")
    dataset.DerivationDescription = f"{earlier}; {text}"[-_LONGEST_TEXT:] if earlier else text
    dataset.DerivationCodeSequence = Sequence([*dataset.get("DerivationCodeSequence", []), _code(*_LOSSY)])
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = Sequence([_code(*_PREDECESSOR)])
    dataset.SourceImageSequence = Sequence([*dataset.get("SourceImageSequence", []), source])
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = [*_listed(dataset, "LossyImageCompressionRatio"), f"{change.ratio:.2f}"]
    dataset.LossyImageCompressionMethod = [*_listed(dataset, "LossyImageCompressionMethod"), METHOD]
    for name in _SIGNATURES:
        if name in dataset:
            delattr(dataset, name)


def _set_pixels(dataset: Dataset, voxels: Integers) -> None:
    data = np.ascontiguousarray(voxels).astype(voxels.dtype.newbyteorder("<"), copy=False).tobytes()
    if "PixelData" in dataset:
        del dataset.PixelData  # with what it says of its own encoding
    dataset.add_new("PixelData", "OB" if voxels.itemsize == 1 else "OW", data + bytes(len(data) % 2))
    if int(dataset.get("SamplesPerPixel", 1) or 1) > 1:
        dataset.PlanarConfiguration = 0
    if str(dataset.PhotometricInterpretation) in _DECODED_AS_RGB:
        dataset.PhotometricInterpretation = "RGB"
    for name, value in (("SmallestImagePixelValue", voxels.min()), ("LargestImagePixelValue", voxels.max())):
        if name in dataset:
            dataset.add_new(name, "SS" if voxels.dtype.kind == "i" else "US", int(value))


def _code(value: str, meaning: str) -> Dataset:
    """Return an item of a code sequence, of the dictionary DCM (PS3.16, D)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _listed(dataset: Dataset, name: str) -> list[str]:
    """Return the values of an element that may be missing, or have one or several."""
    value = dataset.get(name)
    if value is None or value == "":
        return []
    return [str(one) for one in value] if isinstance(value, pydicom.multival.MultiValue | list) else [str(value)]
