"""A store and an inbox of pydicom's datasets in memory, for tests of what speaks to clients."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.tag import Tag

from volcomp.errors import DamagedError, MissingError, UnsupportedError
from volcomp.serve.inbox.protocol import Received
from volcomp.serve.store.instance import Instance
from volcomp.serve.store.protocol import Found, Frames, Holding, Json, Picture
from volcomp.serve.store.query import Level, Query

KEYS = {
    Level.STUDIES: ["00080020", "00100010", "00100020", "0020000D"],
    Level.SERIES: ["00080060", "0020000D", "0020000E"],
    Level.INSTANCES: ["00080016", "00080018", "0020000D", "0020000E", "00200013"],
}
UNIQUE = {Level.STUDIES: "0020000D", Level.SERIES: "0020000E", Level.INSTANCES: "00080018"}


def _text(dataset: Any, tag: str) -> str:
    """A value as text, "" of none."""
    number = Tag(int(tag, 16))
    return str(dataset[number].value) if number in dataset else ""


class Memory:
    """A store and an inbox in one. `calls` counts what was read; `damaged` are series that cannot be read."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.damaged: set[str] = set()
        self.hold: threading.Event | None = None  # reading waits for it
        self.reading = threading.Semaphore(0)  # released when reading begins
        self.closed = 0
        self._lock = threading.Lock()

    def add(self, data: bytes) -> pydicom.Dataset:
        """Take a file in."""
        dataset = pydicom.dcmread(BytesIO(data))
        self.files[dataset.SOPInstanceUID] = data
        return dataset

    def _dataset(self, sop: str) -> Any:
        return pydicom.dcmread(BytesIO(self.files[sop]))

    def search(self, query: Query) -> Found:
        for tag in query.match:
            if "." in tag:
                raise UnsupportedError(f"attribute {tag} is not searched by")
        rows: dict[str, Json] = {}
        for sop in sorted(self.files):
            dataset = self._dataset(sop)
            texts = {tag: _text(dataset, tag) for tag in query.match}
            if all(texts[tag] in value.split(",") for tag, value in query.match.items()):
                tags = [*KEYS[query.level], *query.include]
                full = {Tag(int(tag, 16)) for tag in tags if "." not in tag}
                every = dataset.to_json_dict(bulk_data_threshold=64, bulk_data_element_handler=lambda element: "x")
                kept = {tag: value for tag, value in every.items() if query.everything or int(tag, 16) in full}
                rows.setdefault(str(dataset[Tag(int(UNIQUE[query.level], 16))].value), kept)
        found = list(rows.values())[query.offset :]
        cut = found if query.limit is None else found[: query.limit]
        return Found(cut, len(cut) < len(found))

    def instances(self, study: str, series: str | None = None, sop: str | None = None) -> list[Instance]:
        found = []
        for uid, data in self.files.items():
            dataset = self._dataset(uid)
            ids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, uid)
            if all(asked in (None, own) for asked, own in zip((study, series, sop), ids, strict=True)):
                frames = int(dataset.get("NumberOfFrames") or 1) if "PixelData" in dataset else 0
                syntax = dataset.file_meta.TransferSyntaxUID
                number = int(dataset.get("InstanceNumber") or 0)
                found.append((number, Instance(*ids, dataset.SOPClassUID, syntax, len(data), frames, None, uid)))
        if not found:
            raise MissingError("there is none")
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]

    def metadata(self, instance: Instance, bulk: Callable[[str], str]) -> Json:
        self._read("metadata", instance)
        return dict(
            self._dataset(instance.sop).to_json_dict(
                bulk_data_threshold=64, bulk_data_element_handler=lambda element: bulk(f"{int(element.tag):08X}")
            )
        )

    def _read(self, what: str, instance: Instance) -> None:
        with self._lock:
            self.calls[what] += 1
        if what != "metadata":
            self.reading.release()
            if self.hold is not None and not self.hold.wait(900):
                raise AssertionError("nobody let it go on")
        if instance.series in self.damaged:
            raise DamagedError("/home/somebody/archives/x.vcz is damaged")

    def file(self, instance: Instance) -> bytes:
        self._read("file", instance)
        return self.files[instance.sop]

    def frames(self, instance: Instance, numbers: Sequence[int]) -> Frames:
        self._read("frames", instance)
        dataset = self._dataset(instance.sop)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            found = list(generate_frames(dataset.PixelData, number_of_frames=instance.frames))
        else:
            size = len(dataset.PixelData) // instance.frames
            found = [dataset.PixelData[i * size : (i + 1) * size] for i in range(instance.frames)]
        return Frames([found[number - 1] for number in numbers], instance.syntax)

    def picture(self, instance: Instance, frame: int) -> Picture:
        self._read("picture", instance)
        dataset = self._dataset(instance.sop)
        samples = dataset.pixel_array
        if instance.frames > 1:
            samples = samples[frame - 1]
        window = (float(dataset.WindowCenter), float(dataset.WindowWidth)) if "WindowCenter" in dataset else None
        slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
        inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
        return Picture(np.asarray(samples), slope, intercept, window, inverted)

    def bulk(self, instance: Instance, path: str) -> bytes:
        self._read("bulk", instance)
        dataset = self._dataset(instance.sop)
        if len(path) != 8 or int(path, 16) not in dataset:
            raise MissingError("no such value")
        return bytes(dataset[int(path, 16)].value)

    def holdings(self, study: str | None = None, series: str | None = None) -> Iterator[Holding]:
        return iter(())

    def damaged(self) -> dict[str, str]:
        return {}

    def lost(self, study: str, series: str | None = None) -> int:
        return 0

    def refresh(self) -> None:
        pass

    def receive(self, file: BinaryIO, study: str | None = None) -> Received:
        self._read("receive", Instance("", "", "", "", "", 0, 0, None, ""))
        data = file.read()
        try:
            dataset = pydicom.dcmread(BytesIO(data))
        except pydicom.errors.InvalidDicomError:
            return Received("", "", "", "", 0xC000, "it is no DICOM file")
        uids = (dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID)
        if study is not None and dataset.StudyInstanceUID != study:
            return Received(*uids, 0xA900, "it is of another study")
        with self._lock:
            self.add(data)
        return Received(*uids, 0, "")

    def state(self) -> dict[str, Any]:
        return {"waiting": 0, "packing": 0}

    def close(self) -> None:
        self.closed += 1
