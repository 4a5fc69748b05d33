"""A store of DICOM files with archives beside them, and an inbox that takes nothing: what the pages are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom

import volcomp
from volcomp.errors import MissingError
from volcomp.serve.inbox.protocol import Received
from volcomp.serve.store.instance import Instance
from volcomp.serve.store.protocol import Found, Frames, Holding, Json, Picture
from volcomp.serve.store.query import Level, Query

_OF_STUDY = ("0020000D", "00080020", "00080050", "00081030", "00100010", "00100020", "00100030", "00100040")
_OF_SERIES = ("0020000E", "00080060", "0008103E", "00200011", "00180015")


class FakeStore:
    """Shows series of uncompressed files. `reads` counts the frames that were decoded."""

    def __init__(self, folders: dict[Path, Path]) -> None:
        """`folders`: of one series each, and its archive."""
        self._folders = folders
        self._files: dict[str, tuple[Path, pydicom.Dataset]] = {}
        self._all: list[Instance] = []
        self.reads: list[tuple[str, int]] = []
        for folder, archive in folders.items():
            for path in sorted(folder.iterdir()):
                header = pydicom.dcmread(path)
                frames = int(header.get("NumberOfFrames", 1)) if "PixelData" in header else 0
                one = Instance(
                    str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID),
                    str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID), path.stat().st_size, frames,
                    archive, f"{folder.name}/{path.name}",
                )  # fmt: skip
                self._files[one.sop] = path, header
                self._all.append(one)
        self._all.sort(key=lambda one: int(self._files[one.sop][1].get("InstanceNumber", 0)))

    def search(self, query: Query) -> Found:
        groups: dict[str, list[Instance]] = {}
        for one in self._all:
            groups.setdefault(one.study if query.level == Level.STUDIES else one.series, []).append(one)
        results = []
        for group in groups.values():
            header = self._files[group[0].sop][1].to_json_dict(suppress_invalid_tags=True)
            tags = _OF_STUDY if query.level == Level.STUDIES else _OF_STUDY + _OF_SERIES
            found = {tag: header[tag] for tag in tags if tag in header}
            found["00201208" if query.level == Level.STUDIES else "00201209"] = {"vr": "IS", "Value": [len(group)]}
            if query.level == Level.STUDIES:
                modalities = sorted({str(self._files[one.sop][1].Modality) for one in group})
                found["00080061"] = {"vr": "CS", "Value": modalities}
                found["00201206"] = {"vr": "IS", "Value": [len({one.series for one in group})]}
            if all(_matches(found, tag, wanted) for tag, wanted in query.match.items()):
                results.append(found)
        end = None if query.limit is None else query.offset + query.limit
        return Found(results[query.offset : end], end is not None and len(results) > end)

    def instances(self, study: str, series: str | None = None, sop: str | None = None) -> list[Instance]:
        found = [one for one in self._all if one.study == study and series in (None, one.series)]
        if not found:
            raise MissingError(f"there is no series {series} in study {study}")
        return [one for one in found if sop in (None, one.sop)]

    def metadata(self, instance: Instance, bulk: Callable[[str], str]) -> Json:
        header = pydicom.Dataset(
            {tag: value for tag, value in self._files[instance.sop][1].items() if tag < 0x7FE00000}
        )
        return header.to_json_dict(suppress_invalid_tags=True)

    def file(self, instance: Instance) -> bytes:
        return self._files[instance.sop][0].read_bytes()

    def frames(self, instance: Instance, numbers: Sequence[int]) -> Frames:
        raise NotImplementedError

    def picture(self, instance: Instance, frame: int) -> Picture:
        self.reads.append((instance.sop, frame))
        header = self._files[instance.sop][1]
        samples = header.pixel_array
        window = (float(header.WindowCenter), float(header.WindowWidth)) if "WindowCenter" in header else None
        return Picture(
            samples[frame - 1] if instance.frames > 1 else samples,
            float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0)), window,
            header.PhotometricInterpretation == "MONOCHROME1",
        )  # fmt: skip

    def bulk(self, instance: Instance, path: str) -> bytes:
        raise NotImplementedError

    def holdings(self, study: str | None = None, series: str | None = None) -> Iterator[Holding]:
        wanted = {one.archive for one in self._all if study in (None, one.study) and series in (None, one.series)}
        for archive in sorted(path for path in wanted if path):
            entries = [one for one in volcomp.list_files(archive) if one["kind"] == "file"]
            with volcomp.open(archive) as opened:
                voxels = sum(int(np.prod(volume.shape)) for volume in opened.volumes.values())
            yield Holding(
                archive, len(entries), sum(one["size"] for one in entries), archive.stat().st_size, voxels
            )  # fmt: skip

    def damaged(self) -> dict[str, str]:
        return {}

    def lost(self, study: str, series: str | None = None) -> int:
        return 0

    def refresh(self) -> None: ...

    def close(self) -> None: ...


def _matches(found: Json, tag: str, wanted: str) -> bool:
    values = found.get(tag, {}).get("Value") or [""]
    texts = [str(v.get("Alphabetic", "")) if isinstance(v, dict) else str(v) for v in values]
    if tag == "00080020" and "-" in wanted:
        since, until = wanted.split("-")
        return any((since or "0") <= text <= (until or "9") for text in texts)
    options = [wanted.upper()] if tag == "00100010" else wanted.split("\\")
    texts = [text.upper() for text in texts] if tag == "00100010" else texts
    return any(fnmatchcase(text, option) for text in texts for option in options)


class FakeInbox:
    """Takes nothing in."""

    def receive(self, file: BinaryIO, study: str | None = None) -> Received:
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return {"waiting": 0}

    def close(self) -> None: ...
