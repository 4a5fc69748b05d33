"""What an archive holds, in few lines whatever its size: the series, largest first, and what is kept in another way."""

from __future__ import annotations

from typing import Any

from ..container.losses import Loss
from .output import amount, files, held, plural

_MOST = 5  # series, volumes of an array and reasons that have a line
_NAMES = 3  # of volumes of a series in a line

Facts = dict[str, Any]


def summary(found: Facts) -> list[str]:
    """Return the lines for the result of `describe`."""
    of_files = "files" in found
    what = "files" if of_files else "arrays"
    whose = "archived " if found["losses"] else ""
    back = f"all {whose}{what} come back, byte for byte"
    lines = [f"{found['file']}: {amount(found['size'])}, {found['promise']} ({back})"]
    lines += [f"  {Loss(**loss)}" for loss in found["losses"]]
    if of_files:
        where = f" under {found['root']}/" if found["root"] else ""
        ratio = f", ratio {found['raw_bytes'] / found['size']:.3f}" if found["raw_bytes"] else ""
        what = held(found["files"], found["folders"], found["links"])
        lines.append(f"  {what}{where}, {amount(found['raw_bytes'])}{ratio}")
        lines += [f"  {line}" for line in _of_series(found["volumes"])]
        lines += [f"  {line}" for line in _kept_whole(found["not_coded"])]
    else:
        volumes = found["volumes"]
        lines += [f"  volume {number}: {_coded([volume])}" for number, volume in enumerate(volumes[:_MOST])]
        lines += [f"  and {plural(len(volumes) - _MOST, 'more volume', 'more volumes')}"] if volumes[_MOST:] else []
    if parity := found["parity"]:
        lines.append(
            f"  parity for {100 * parity['share']:.2f} % of the file in one stretch, or any {parity['places']} of its "
            f"{parity['blocks']} blocks"
        )
    if len({volume["name"] for volume in found["volumes"]}) > 1:
        lines.append("  --series of decompress, extract, view and preview takes a volume's name or series")
    if len(found["volumes"]) > 1:
        lines.append("  --all shows every volume by itself, and bytes by section")
    return lines


def _of_series(volumes: list[Facts]) -> list[str]:
    """Return a line for each series, largest first, and one for those beyond the most."""
    by_series: dict[str, list[Facts]] = {}
    for volume in volumes:
        by_series.setdefault(volume.get("series") or volume["name"], []).append(volume)
    ordered = sorted(by_series.values(), key=_bytes, reverse=True)
    lines = [_series(together) for together in ordered[:_MOST]]
    if others := [volume for together in ordered[_MOST:] for volume in together]:
        lines.append(f"and {len(ordered) - _MOST} more: {files(_count(others))}, {amount(_bytes(others))}")
    return lines


def _series(volumes: list[Facts]) -> str:
    first = volumes[0]
    if "series" not in first:
        return f"{first['name']}, without a file: {_coded(volumes)}"
    kind = f"{first['modality']} {first['description']!r}" if first["description"] else first["modality"]
    names = {name: None for volume in volumes for name in (volume["name"], *volume["copies"])}
    several = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    spacings = {tuple(volume["spacing_mm"]) for volume in volumes}
    spacing = " × ".join("?" if mm is None else f"{mm:g}" for mm in first["spacing_mm"])
    spacing = f"spacing {spacing} mm" if len(spacings) == 1 else "several spacings"
    if not any(mm for volume in volumes for mm in volume["spacing_mm"]):  # as of PNG: no header states any
        spacing = ""
    facts = [kind.strip(), files(_count(volumes)), _coded(volumes), spacing]
    facts += [f"series {first['series']}"] if first["series"] else []
    return f"{', '.join(map(repr, list(names)[:_NAMES]))}{several}: " + ", ".join(filter(None, facts))


def _coded(volumes: list[Facts]) -> str:
    """Describe how volumes are coded."""
    shapes = {"×".join(map(str, volume["shape"])) + f" {volume['dtype']}": None for volume in volumes}
    sizes = " and ".join(shapes) if len(shapes) < 3 else f"{len(shapes)} sizes"
    points = sum(volume["times"] or 0 for volume in volumes if not volume.get("plane"))
    many = f"{points} time points, " if points else ""
    many += f"{len(volumes)} volumes, " if len(volumes) > 1 else ""
    voxels = sum(8 * volume["bytes"] / volume["bits_per_voxel"] for volume in volumes)
    models = " and ".join({volume["model"]: None for volume in volumes})
    slabs = plural(sum(volume["slabs"] for volume in volumes), "slab")
    bits = 8 * _bytes(volumes) / voxels
    previews = sum(volume["preview"] for volume in volumes)
    of_preview = f" with a preview of {amount(previews)}" if previews else ""
    return f"{many}{sizes}, {models}, {slabs}, {amount(_bytes(volumes))}{of_preview}, {bits:.3f} bits per voxel"


def _kept_whole(reasons: dict[str, int]) -> list[str]:
    """Return a line for each reason why files are kept whole, the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    lines = [f"{files(count)} kept whole{_because(count, reason)}" for reason, count in ordered[:_MOST]]
    if others := ordered[_MOST:]:
        lines.append(f"{files(sum(count for _, count in others))} kept whole for {len(others)} other reasons")
    return lines


def _because(count: int, reason: str) -> str:
    """Introduce a reason: those of formats are clauses about one file ("its rows are interlaced")."""
    clause = reason.startswith(("its ", "it ", "one of its "))
    return f", each because {reason}" if clause and count > 1 else f": {reason}"


def _bytes(volumes: list[Facts]) -> int:
    return sum(volume["bytes"] for volume in volumes)


def _count(volumes: list[Facts]) -> int:
    """Return the number of files; those of colours are in three volumes."""
    return sum(volume.get("files", 0) for volume in volumes if not volume.get("plane"))
