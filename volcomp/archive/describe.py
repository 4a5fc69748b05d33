"""The contents of an archive, as text and for `--json`, from headers and kept bytes. No voxel is decoded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..container.inspection import report
from ..container.sections import MANIFEST, Reader, SectionId
from ..formats import registry
from .header_reader import Records
from .manifest import Manifest
from .opening import manifest_of, opened

_HEADERS = 256  # of a volume that are read; if all have one position, the spacing stays unknown


def describe(path: Path) -> dict[str, Any]:
    """Return shapes, types, models, sizes by section, promise; of an archive of files also files, folders, series."""
    with opened(path) as reader:
        contents: dict[str, Any] = {"file": str(path), **asdict(report(reader))}
        if SectionId(MANIFEST) in reader.places:
            manifest = manifest_of(reader)
            contents["root"] = manifest.root
            contents["files"] = len(manifest.files)
            contents["raw_bytes"] = sum(entry.size for entry in manifest.files)
            contents["kept_whole"] = len(manifest.whole)
            contents["empty_folders"] = len(manifest.folders)
            for volume, series in zip(contents["volumes"], _series(reader, manifest), strict=True):
                volume.update(series)
        return contents


def _series(reader: Reader, manifest: Manifest) -> list[dict[str, Any]]:
    """Return for each volume the number of files, and its description by the format of its first images."""
    records = Records(reader, manifest.tables)
    found = []
    first = 0
    for entries in manifest.volumes:
        headers = [records.get(first + i)[: entry.before] for i, entry in enumerate(entries[:_HEADERS])]
        found.append({"files": len(entries), **registry.describe(headers)._asdict()})
        first += len(entries)
    return found


def as_text(contents: dict[str, Any]) -> str:
    """Format the result of `describe` as text."""
    lines = [f"{contents['file']}: {contents['size']} bytes, {contents['promise']}"]
    if "files" in contents:
        lines.append(
            f"  {contents['files']} files of {contents['raw_bytes']} bytes under {contents['root'] or '.'}/, "
            f"{contents['kept_whole']} of them kept whole, {contents['empty_folders']} empty folders"
        )
    for number, volume in enumerate(contents["volumes"]):
        shape, slabs = "×".join(map(str, volume["shape"])), "slab" if volume["slabs"] == 1 else "slabs"
        lines.append(
            f"  volume {number}: {shape} {volume['dtype']}, {volume['model']}, {volume['slabs']} {slabs}, "
            f"{volume['bytes']} bytes, {volume['bits_per_voxel']:.3f} bits per voxel"
        )
        if "series" in volume:
            spacing = " × ".join("?" if mm is None else f"{mm:g}" for mm in volume["spacing_mm"])
            lines.append(
                f"    {volume['files']} files, {volume['modality'] or 'unknown modality'} "
                f"{volume['description']!r}, spacing {spacing} mm (z × y × x), series {volume['series']}"
            )
    if parity := contents["parity"]:
        lines.append(
            f"  parity for {100 * parity['share']:.2f} % of the file in one stretch, or any {parity['places']} of its "
            f"{parity['blocks']} blocks"
        )
    sizes = ", ".join(f"{tag} {size}" for tag, size in contents["sections"].items())
    return "\n".join([*lines, f"  bytes by section: {sizes}"])
