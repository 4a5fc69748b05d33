"""The tables of a run, from its CSV files alone: into results/NAME/report.md, and between the marks of README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import insert, read_rows, table

from . import rivals
from .config import Config
from .statistics import Interval, Row, by_series, interval, paired

README = Path(__file__).with_name("README.md")
OURS = ("fast", "base")
STEPS = {
    "paper": "`paper`, its file",
    "paper, order-0": "`paper`'s residuals alone, one table",
    "paper in floats": "… of the same network in floats, with the integers' weights",
    "paper in floats, weights too": "… and with weights that were never rounded",
    "paper, by class": "`paper`'s residuals, a table for each class of local activity",
    "linear": "linear stage alone, one table",
    "linear, by class": "linear stage alone, by class",
    "base, order-0": "linear stage and network: its rounded mean, one table",
    "base without recurrence": "linear stage and network that says a scale, no state along the row: its file",
    "base": "and state along the row: `base`, its file",
}
BEST = "pyramid:13,9,5,1"  # as published
PAPERS = {"left": 0.2, "CT": -17.0, "MR": -12.0}  # bits per voxel; per cent to JPEG-LS and its like


def publish(config: Config, folder: Path) -> None:
    """Write all tables."""
    write(config.name, tables(config, folder), folder)


def write(run: str, parts: dict[str, str], folder: Path) -> None:
    """Write report.md, and bring README.md up to date where it has marks for the tables of this run."""
    text = "\n\n".join(f"## {name}\n\n{content}" for name, content in parts.items())
    (folder / "report.md").write_text(f"# {run}\n\n{text}\n", encoding="utf-8")
    if README.exists():
        readme = before = README.read_text(encoding="utf-8")
        for name, content in parts.items():
            readme = insert(readme, f"{run}:{name}", content)
        if readme != before:
            README.write_text(readme, encoding="utf-8")


def publish_decoders(folder: Path) -> None:
    """The table of the decoders alone, for README.md."""
    content = decoders(read_rows(folder / "decoders.csv"))
    README.write_text(insert(README.read_text(encoding="utf-8"), "released:decoders", content), encoding="utf-8")


def tables(config: Config, folder: Path) -> dict[str, str]:
    """All tables by name."""
    sizes = read_rows(folder / "sizes.csv")
    best = best_shape(config, sizes)
    return {
        "answers": answers(config, sizes, best),
        "neighbourhoods": neighbourhoods(config, sizes),
        "codecs": codecs(config, sizes, best) + "\n\n" + absent(read_rows(folder / "absent.csv")),
        "ablation": ablation(config, sizes),
        "decoders": decoders(read_rows(folder / "decoders.csv")),
        "training": training(read_rows(folder / "training.csv")),
    }


def best_shape(config: Config, sizes: Sequence[Row]) -> str:
    """The neighbourhood of the smallest mean on the CT series, of those that all folds have finished."""
    found = {shape: by_series(sizes, "paper", shape, "CT") for shape in config.shapes}
    most = max(map(len, found.values()), default=0)
    whole = {shape: sum(bpv.values()) for shape, bpv in found.items() if len(bpv) == most and most}
    return min(whole, key=lambda shape: whole[shape]) if whole else config.ablation


def left_free(shape: str) -> str:
    """The same neighbourhood without the voxels to the left."""
    return f"{shape}/left-free"


def _text(values: dict[str, float], digits: int = 3) -> str:
    return interval(list(values.values())).text(digits) if values else ""


def _said(found: Interval | None, digits: int = 3, unit: str = "") -> str:
    return found.text(digits, sign=True) + unit if found else ""


def neighbourhoods(config: Config, sizes: Sequence[Row]) -> str:
    """Every neighbourhood with and without the voxels to the left, smallest on CT first."""
    lengths = {row["shape"]: row["length"] for row in sizes if row["method"] == "paper"}
    whole = [shape for shape in config.shapes if shape in lengths and not shape.endswith("/left-free")]
    ct = {shape: by_series(sizes, "paper", shape, "CT") for shape in lengths}
    mr = {shape: by_series(sizes, "paper", shape, "MR") for shape in lengths}
    whole.sort(key=lambda shape: sum(ct[shape].values()) / max(len(ct[shape]), 1))
    lines = []
    for shape in whole:
        free = left_free(shape)
        price = paired(ct.get(free, {}), ct[shape])
        lines.append([
            f"`{shape}`", lengths[shape], _text(ct[shape]), _text(mr[shape]), lengths.get(free, "–"),
            _text(ct.get(free, {})), _said(price), _said(paired(mr.get(free, {}), mr[shape])),
        ])  # fmt: skip
    head = ["", "voxels", "CT, bpv", "MR, bpv", "left-free: voxels", "CT, bpv", "price on CT", "price on MR"]
    return table(head, lines)


def codecs(config: Config, sizes: Sequence[Row], best: str) -> str:
    """All codecs on the same crops: bits per voxel, ratio, seconds, and how `paper` at its best compares."""
    methods = [("base", ""), ("fast", ""), ("paper", best), *((name, "") for name in config.rivals)]
    titles = {"paper": f"`paper`, {best}", "base": "**volcomp base**, trained on the fold"}
    titles |= {"fast": "**volcomp fast**, trained on the fold"}
    reference = {m: by_series(sizes, "paper", best, m) for m in ("CT", "MR")}
    lines = []
    for method, shape in methods:
        bpv = {m: by_series(sizes, method, shape, m) for m in ("CT", "MR")}
        if not bpv["CT"]:
            continue
        ratio = {m: by_series(sizes, method, shape, m, "ratio") for m in ("CT", "MR")}
        seconds = [speed(sizes, method, shape, field) for field in ("encode_s", "decode_s")]
        title = titles.get(method) or rivals.CODECS[method].title
        against = [_said(paired(reference[m], bpv[m], relative=True), 1, " %") for m in ("CT", "MR")]
        against = ["", ""] if method == "paper" else against
        lines.append(
            [title, *(part for m in ("CT", "MR") for part in (_text(bpv[m]), _text(ratio[m], 2))), *seconds, *against]
        )
    head = ["", "CT, bpv", "ratio", "MR, bpv", "ratio", "encoding MB/s", "decoding MB/s"]
    return table([*head, "`paper` to it, CT", "`paper` to it, MR"], lines)


def speed(sizes: Sequence[Row], method: str, shape: str, field: str) -> str:
    """MB of 16-bit voxels a second over all series."""
    rows = [row for row in sizes if (row["method"], row["shape"]) == (method, shape) and row[field]]
    seconds = sum(float(row[field]) for row in rows)
    return f"{sum(2 * int(row['voxels']) for row in rows) / seconds / 1e6:.3g}" if seconds else ""


def absent(rows: Sequence[Row]) -> str:
    """Which codecs are missing, and why."""
    if not rows:
        return "No codec is missing."
    return "Missing: " + "; ".join(f"{row['codec']} ({row['why']})" for row in rows) + "."


def ablation(config: Config, sizes: Sequence[Row]) -> str:
    """The steps from `paper` to `base` on the same crops."""
    lines, first = [], {m: by_series(sizes, "paper", config.ablation, m) for m in ("CT", "MR")}
    for method, title in STEPS.items():
        shape = config.ablation if method.startswith("paper") else ""
        bpv = {m: by_series(sizes, method, shape, m) for m in ("CT", "MR")}
        if bpv["CT"]:
            change = [_said(paired(bpv[m], first[m], relative=True), 1, " %") if method != "paper" else "" for m in bpv]
            lines.append([title, _text(bpv["CT"]), change[0], _text(bpv["MR"]), change[1]])
    return table([f"`paper` with {config.ablation}", "CT, bpv", "to `paper`", "MR, bpv", "to `paper`"], lines)


def decoders(rows: Sequence[Row]) -> str:
    """Speeds of the three decoders, and how much faster than one voxel after the other."""
    slow = {row["shape"]: float(row["voxels_per_s"]) for row in rows if row["decoder"] == "one after the other"}
    lines = []
    for row in rows:
        times = float(row["voxels_per_s"]) / slow[row["shape"]]
        fields = [row[name] for name in ("length", "size", "fronts", "voxels_per_front", "voxels_per_s")]
        lines.append([f"`{row['shape']}`, {row['decoder']}", *fields, f"{times:.0f}×"])
    head = ["", "voxels read", "volume", "fronts", "voxels per front", "voxels per second", "to one after the other"]
    return table(head, lines)


def training(rows: Sequence[Row]) -> str:
    """What every model learned from, summed over the folds."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["method"], row["shape"]), []).append(row)
    lines = [
        [f"{method} {shape}".strip(), str(len(mine)), mine[0]["voxels"], "/".join(row["series"] for row in mine)]
        for (method, shape), mine in found.items()
    ]
    return table(["", "folds", "voxels seen in each", "series learned from, by fold"], lines)


def answers(config: Config, sizes: Sequence[Row], best: str) -> str:
    """What the publications say, what was found, and whether it is the same."""
    lines = []
    ct = {shape: by_series(sizes, "paper", shape, "CT") for shape in config.shapes}
    whole = [shape for shape in ct if ct[shape] and not shape.endswith("/left-free")]
    ranked = sorted(whole, key=lambda shape: sum(ct[shape].values()))
    if ranked:
        lines.append(["the best neighbourhood", "pyramid 13²/9²/5²/1²", f"`{ranked[0]}`", ""])
    if len(ranked) > 1:
        gap = paired(ct[ranked[1]], ct[ranked[0]])
        lines.append(["the second, to the best", "", f"`{ranked[1]}` {_said(gap)} bpv", _apart(gap)])
    pyramids, cubes = ([shape for shape in ranked if shape.startswith(kind)] for kind in ("pyramid", "cube"))
    if pyramids and cubes:
        gap = paired(ct[pyramids[0]], ct[cubes[0]])
        said = f"`{pyramids[0]}` to `{cubes[0]}` {_said(gap)} bpv"
        lines.append(["the best pyramid, to the best cube", "smaller", said, _smaller(gap) if gap else ""])
    for shape in dict.fromkeys((BEST, best)):
        price = paired(ct.get(left_free(shape), {}), ct.get(shape, {}))
        if price:
            priced = [_said(price) + " bpv", _verdict(price, PAPERS["left"])]
            lines.append([f"left-free sequences cost, `{shape}`", "+0.2 bpv", *priced])
    for modality in ("CT", "MR"):
        gain = paired(
            by_series(sizes, "paper", best, modality), by_series(sizes, "jpegls", "", modality), relative=True
        )
        if gain:
            stated = PAPERS[modality]
            found = [_said(gain, 1, " %"), _verdict(gain, stated)]
            lines.append([f"to JPEG-LS, {modality}", f"{stated:.0f} %", *found])
    return table(["", "publications", "here, mean [95 % interval]", ""], lines)


def _smaller(found: Interval) -> str:
    if found.holds(0):
        return "undecided: the interval holds 0"
    return "confirmed" if found.mean < 0 else "contradicted: the other way round"


def _apart(found: Interval | None) -> str:
    return "apart" if found and not found.holds(0) else "not apart: the interval holds 0"


def _verdict(found: Interval, stated: float) -> str:
    """Confirmed where the interval holds what is stated and not 0; else whether at least the sign is the same."""
    if found.holds(0):
        return "undecided: the interval holds both" if found.holds(stated) else "contradicted: not apart from 0"
    if found.holds(stated):
        return "confirmed"
    if (found.mean > 0) != (stated > 0):
        return "contradicted: the other way round"
    return "confirmed in sign, more" if abs(found.mean) > abs(stated) else "confirmed in sign, less"
