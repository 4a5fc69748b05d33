"""A server with images in several transfer syntaxes, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000MCLossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.serve.memory import Memory
from tests.serve.running import dataset, served, settings, written

STUDY = "1.2.3"
CT, MULTI, COLOURS, MIXED, REPORT, MONO1, ODD, BIG, IMPLICIT, DEFLATED, RLE, JPEG, MC = (
    f"1.2.3.{number}" for number in range(1, 14)
)


def samples(*shape: int, kind: str = "u2", top: int = 4000, seed: int = 0) -> np.ndarray:
    """Random samples."""
    return np.random.default_rng(seed).integers(0, top, shape).astype(kind)


def in_big_endian(number: int = 1) -> bytes:
    """An image in big endian, with a table and 32-bit numbers, that pydicom does not turn by itself."""
    made = dataset(None, series=BIG, number=number)
    pixels = samples(8, 6)
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns, made.BitsAllocated, made.BitsStored, made.HighBit = 8, 6, 16, 16, 15
    made.PixelRepresentation = 0
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [3, 0, 16], "US"
    item.add_new("LUTData", "OW", np.array([1, 2, 770], ">u2").tobytes())
    made.ModalityLUTSequence = [item]
    made.add_new("PixelData", "OW", pixels.astype(">u2").tobytes())
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    return written(made)


def compressed(syntax: str, frames: list[bytes], pixels: np.ndarray, series: str) -> bytes:
    """An image whose frames are compressed."""
    made = dataset(pixels, series=series)
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    return written(made)


def filled() -> Memory:
    """A store with all kinds of images."""
    store = Memory()
    for number in range(1, 6):
        made = dataset(samples(16, 16, seed=number), series=CT, number=number, WindowCenter=1000, WindowWidth=1500)
        made.RescaleSlope, made.RescaleIntercept = 2, -1000
        store.add(written(made))
    store.add(written(dataset(samples(6, 10, 12), series=MULTI)))
    store.add(written(dataset(samples(8, 8, 3, kind="u1", top=256), series=COLOURS)))
    store.add(written(dataset(None, series=REPORT)))
    store.add(written(dataset(samples(8, 8, top=100), series=MONO1, PhotometricInterpretation="MONOCHROME1")))
    store.add(written(dataset(samples(3, 3, kind="u1", top=200), series=ODD)))
    store.add(in_big_endian())
    for series, syntax in (IMPLICIT, ImplicitVRLittleEndian), (DEFLATED, DeflatedExplicitVRLittleEndian):
        made = dataset(samples(8, 6), series=series)
        made.file_meta.TransferSyntaxUID = syntax
        store.add(written(made))
    made = dataset(samples(3, 8, 6), series=RLE)
    made.compress(RLELossless, generate_instance_uid=False)
    store.add(written(made))
    grey = samples(16, 16, kind="u1", top=256)
    file = BytesIO()
    Image.fromarray(grey).save(file, "JPEG")
    store.add(compressed(JPEGBaseline8Bit, [file.getvalue() + b"\0" * (file.tell() % 2)], grey, JPEG))
    store.add(compressed(JPEG2000MCLossless, [b"nobody decodes this "], grey, MC))
    return store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server: its `url`, its `store`, its `settings`."""
    store = filled()
    told = settings(tmp_path_factory.mktemp("tree"))
    with served(store, store, told) as url:
        yield SimpleNamespace(url=f"{url}/dicom-web", page=url, store=store, settings=told)


def one(store: Memory, series: str, number: int = 0) -> Any:
    """An instance of a series, as the store has it, its file, and its path."""
    instance = store.instances(STUDY, series)[number]
    path = f"/studies/{STUDY}/series/{series}/instances/{instance.sop}"
    data = store.files[instance.sop]
    return SimpleNamespace(instance=instance, data=data, path=path, dataset=pydicom.dcmread(BytesIO(data)))
