"""The contents of an archive, as text and for `--json`, from headers and kept bytes. No voxel is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import asdict
from typing import Any

from ..container.inspection import report
from ..container.losses import Loss
from ..container.sections import Reader
from ..container.volume import Order, volume_numbers
from ..errors import DamagedError
from ..formats import registry
from ..formats.frames import Frame, read_header
from ..formats.geometry import Spacing, spacing_of
from .beside import Headers
from .entry import Entry, Voxels
from .header_reader import Records
from .manifest import Manifest, has_manifest
from .naming import named_volumes, of_array
from .opening import Source, manifest_of, name_of, opened
from .run import Run

NO_IMAGE = "no image of a known format"  # why a file without a note is kept whole
_UNKNOWN: Spacing = (None, None, None)


def describe(path: Source) -> dict[str, Any]:
    """Return shapes, types, models, sizes by section, promise; of an archive of files also files, folders, series."""
    with opened(path) as reader:
        contents: dict[str, Any] = {"file": name_of(path), **asdict(report(reader))}
        contents["losses"] = list(contents["losses"])
        if has_manifest(reader):
            manifest = manifest_of(reader)
            contents["root"] = manifest.root
            contents["files"] = len(manifest.files)
            contents["raw_bytes"] = sum(entry.size for entry in manifest.files)
            contents["kept_whole"] = len(manifest.whole)
            contents["not_coded"] = _reasons(manifest)
            contents["folders"], contents["links"] = len(manifest.folders), len(manifest.links)
            places = {number: place for place, number in enumerate(volume_numbers(reader))}
            for number, series in _series(reader, manifest, places):
                if number not in places:
                    raise DamagedError(f"the manifest is damaged: it has files of volume {number}, which is missing")
                contents["volumes"][places[number]].update(series)
        for number, volume in enumerate(contents["volumes"]):
            volume.setdefault("name", of_array(number))
        return contents


def _reasons(manifest: Manifest) -> dict[str, int]:
    """Return why files are not coded as volumes, and how many for each reason."""
    return dict(Counter(entry.note or NO_IMAGE for entry in manifest.whole).most_common())


def _series(reader: Reader, manifest: Manifest, volumes: Container[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield volumes by number, each with the number of its files, and its description by the format of the first."""
    records, headers = Records(reader), Headers(reader, manifest)
    names: dict[int, list[str]] = {}
    for number, name, images, times in named_volumes(reader, manifest):
        apart = times.points if times and times.order == Order.APART else 1
        place = images[0].place
        for t in range(apart):
            names.setdefault(number + t * (place.planes if isinstance(place, Voxels) else 1), []).append(name)
    for number, entries in manifest.images.items():
        first = entries[0].place
        assert isinstance(first, Voxels)
        end = max(entry.place.end for entry in entries if isinstance(entry.place, Voxels))
        # Before any header is read: the volumes bound how many frames a file may claim.
        count = Run(reader, number, first.planes, end).volumes if number in volumes else 1
        before = records.get(first).before
        facts = headers.facts(entries[0], before)
        description = registry.describe([before])
        spacing = (facts.spacing or _UNKNOWN) if facts else None
        if not facts and number in volumes:
            spacing = _of_frames(records, entries)
        description = description._replace(spacing_mm=spacing or description.spacing_mm)
        of_number = names.get(number, [])
        found = {
            "name": next(iter(of_number), None),
            "copies": of_number[1:],
            "files": len(entries),
            **description._asdict(),
        }
        for t in range(count):
            for plane in range(first.planes):
                facts_of = found | ({"plane": plane} if first.planes > 1 else {})
                yield number + t * first.planes + plane, facts_of | ({"files": 0} if t else {})


def _of_frames(records: Records, entries: list[Entry]) -> Spacing | None:
    """Return the spacing of DICOM files, of which those that come again are left out; None where they are none."""
    frames: list[Frame] = []
    for entry in entries:
        assert isinstance(entry.place, Voxels)
        if entry.place.first < len(frames):
            continue
        header = read_header(records.get(entry.place).before, entry.place.frames)
        if header is None:
            break
        frames += header.frames
    return spacing_of(frames) if frames else None


def as_text(contents: dict[str, Any]) -> str:
    """Format the result of `describe` as text."""
    lines = [f"{contents['file']}: {contents['size']} bytes, {contents['promise']}"]
    if "files" in contents:
        lines.append(
            f"  {_number(contents['files'], 'file')} of {contents['raw_bytes']} bytes "
            f"under {contents['root'] or '.'}/, {contents['kept_whole']} of them kept whole, "
            f"{_number(contents['folders'], 'folder')}, {_number(contents['links'], 'link')}"
        )
        lines += [f"    {count} kept whole: {reason}" for reason, count in contents["not_coded"].items()]
    lines += [f"  {Loss(**loss)}" for loss in contents["losses"]]
    for number, volume in enumerate(contents["volumes"]):
        shape = "×".join(map(str, volume["shape"]))
        lines.append(
            f"  volume {number}{_named(volume)}: {shape} {volume['dtype']}, {volume['model']}, "
            f"{_number(volume['slabs'], 'slab')}, {volume['bytes']} bytes, "
            f"{volume['bits_per_voxel']:.3f} bits per voxel{_preview(volume)}{_times(volume)}"
        )
        if "series" in volume:
            spacing = " × ".join("?" if mm is None else f"{mm:g}" for mm in volume["spacing_mm"])
            facts = [_number(volume["files"], "file"), volume["modality"]]
            facts += [repr(volume["description"])] if volume["description"] else []
            facts += [f"spacing {spacing} mm (z × y × x)"] if any(volume["spacing_mm"]) else []
            facts += [f"series {volume['series']}"] if volume["series"] else []
            lines.append("    " + ", ".join(filter(None, facts)))
            lines += [f"    the same voxels are those of {copy!r}" for copy in volume["copies"]]
    if parity := contents["parity"]:
        lines.append(
            f"  parity for {100 * parity['share']:.2f} % of the file in one stretch, or any {parity['places']} of its "
            f"{parity['blocks']} blocks"
        )
    sizes = ", ".join(f"{tag} {size}" for tag, size in contents["sections"].items())
    return "\n".join([*lines, f"  bytes by section: {sizes}"])


def _named(volume: dict[str, Any]) -> str:
    """Return the name of a volume, if it has one beside its number."""
    return f", {volume['name']!r}" if volume.get("name") else ""


def _preview(volume: dict[str, Any]) -> str:
    """Return what the preview of a volume takes."""
    return f", {volume['preview']} bytes of them for the preview" if volume["preview"] else ""


def _times(volume: dict[str, Any]) -> str:
    """Return what a volume is of a series in time."""
    refers = "" if volume["key"] is None else f", refers to volume {volume['key']}"
    if volume["times"] is None:
        return refers
    where = {"apart": "in volumes from this one on", "after": "one after another"}.get(
        volume["order"], "side by side at each slice"
    )
    return f"{refers}, {volume['times']} time points {where}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
