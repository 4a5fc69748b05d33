"""The tables of `benchmarks.nifti`: sizes by kind of file, of single files, and by what ways gzip streams came back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from volcomp.training.corpus import ROOT

from . import report
from .nifti_files import GROUPS, INTEGERS

TINY = 90_000  # bytes of a file as it came; smaller ones are apart
LEAST = 5_000  # bytes; of smaller ones the archive's own are a part that counts
CLASSES = (("from 90 kB", TINY, 1 << 60), ("5 to 90 kB", LEAST, TINY), ("below 5 kB", 0, LEAST))
SIZES = ("fast", "base", "zstd-19", "xz-6")  # what a file must have to count
VOLUMES, ARCHIVE = ROOT / "docs" / "decisions" / "volumes.md", ROOT / "docs" / "decisions" / "archive.md"

Row = Mapping[str, str]


@dataclass(frozen=True)
class File:
    """A file, and what became of it.

    `sizes`: bytes, by codec; `hows`: what else is said of a codec.
    """

    name: str
    package: str
    group: str
    numbers: str
    came: int
    gzipped: bool
    sizes: dict[str, int]
    hows: dict[str, str]

    @property
    def gz(self) -> int:
        """Return the bytes of the `.nii.gz`: of the file, or of gzip -9 where it came without."""
        return self.came if self.gzipped else self.sizes["gzip-9"]

    @property
    def measured(self) -> bool:
        """Tell whether it has all sizes."""
        return all(codec in self.sizes for codec in SIZES) and (self.gzipped or "gzip-9" in self.sizes)


def publish(files: Sequence[Row], rows: Sequence[Row]) -> None:
    """Bring the pages up to date."""
    known = joined(files, rows)
    report.publish("nifti", sizes(known))
    report.publish("nifti_integers", integers(known), VOLUMES)
    report.publish("nifti_larger", larger(known), VOLUMES)
    report.publish("nifti_streams", streams(files, rows), ARCHIVE)


def joined(files: Sequence[Row], rows: Sequence[Row]) -> list[File]:
    """Return the files with what was measured of each."""
    of_file: dict[str, list[Row]] = {}
    for row in rows:
        of_file.setdefault(row["file"], []).append(row)
    found = []
    for file in files:
        own = of_file.get(file["file"], [])
        found.append(
            File(
                file["file"],
                file["package"],
                file["group"],
                f"{file['dtype']}, {file['shape']}",
                int(file["bytes"]),
                file["path"].lower().endswith(("gz", "mgz")),
                {row["codec"]: int(row["bytes"]) for row in own},
                {row["codec"]: row["how"] for row in own},
            )
        )
    return found


def sizes(files: Sequence[File]) -> str:
    """Return the table by kind and size of files: means of ratios, and in brackets the ratio of totals."""
    lines = []
    for group in GROUPS:
        for size, least, most in CLASSES:
            chosen = [file for file in files if file.group == group and least <= file.came < most]
            done = [file for file in chosen if file.measured]
            if not done:
                continue
            counted = f"{len(done)}" if len(done) == len(chosen) else f"{len(done)} of {len(chosen)}"
            over = sum(file.sizes["base"] > file.sizes["zstd-19"] for file in done)
            pairs = [("base", ".nii.gz"), ("fast", ".nii.gz"), ("base", "zstd-19"), ("base", "xz-6"), ("base", "tomoz")]
            cells = [ratio(done, *pair) for pair in pairs]
            lines.append([f"{group}, {size}", counted, f"{sum(file.gz for file in done) / 1e6:.3f}", *cells, str(over)])
    heads = ["", "files", "`.nii.gz`, MB", "`base` to `.nii.gz`", "`fast` to `.nii.gz`"]
    heads += ["`base` to zstd -19", "`base` to xz -6", "`base` to Tomoz", "larger than zstd -19"]
    packages = len({file.package for file in files})
    return (
        f"{len(files)} files of {packages} packages, {sum(file.measured for file in files)} of them measured:\n\n"
        f"{report.table(heads, lines)}"
    )


def ratio(files: Sequence[File], codec: str, other: str) -> str:
    """Return how much smaller a codec is: the mean of ratios, and in brackets the ratio of totals.

    `other`: another codec, or ".nii.gz". Files that it was not measured on are left out.
    """
    pairs = [(file.sizes[codec], file.gz if other == ".nii.gz" else file.sizes.get(other, 0)) for file in files]
    pairs = [(own, its) for own, its in pairs if its]
    if not pairs:
        return ""
    total = sum(own for own, _ in pairs) / sum(its for _, its in pairs) - 1
    return f"{100 * (mean(own / its for own, its in pairs) - 1):+.1f} % ({100 * total:+.1f} %)"


def integers(files: Sequence[File]) -> str:
    """Return the table of single volumes of integers, the largest first."""
    chosen = [file for file in files if file.group == INTEGERS and file.came >= TINY and file.measured]
    lines = []
    for file in sorted(chosen, key=lambda file: -file.gz):
        numbers = [file.gz, *(file.sizes.get(name, 0) for name in ("zstd-19", "xz-6", "tomoz", "fast", "base"))]
        base, to_tomoz = file.sizes["base"], ""
        if "tomoz" in file.sizes:
            to_tomoz = f"{100 * (base / file.sizes['tomoz'] - 1):+.1f} %"
        cells = [f"{number:,}" if number else "" for number in numbers]
        lines.append([_label(file), file.numbers, *cells, f"{100 * (base / file.gz - 1):+.1f} %", to_tomoz])
    heads = ["file", "numbers", "`.nii.gz`", "zstd -19", "xz -6", "Tomoz", "`fast`", "`base`", "to `.nii.gz`"]
    return report.table([*heads, "to Tomoz"], lines)


def larger(files: Sequence[File]) -> str:
    """Return what archives with `base` are larger than under zstd -19: a table, and small files in a sentence."""
    measured = [file for file in files if file.measured]
    chosen = [file for file in measured if _more(file) > 0]
    chosen.sort(key=lambda file: (-_more(file), file.name))
    lines = [
        [
            _label(file),
            file.numbers,
            *(f"{size:,}" for size in (file.came, file.sizes["zstd-19"], file.sizes["base"])),
            f"{100 * _more(file) / file.sizes['zstd-19']:+.1f} %",
            file.hows["base"],
        ]
        for file in chosen
        if file.came >= TINY
    ]
    heads = ["file", "numbers", "as it came", "zstd -19", "`base`", "more", "kept as"]
    text = f"{len(chosen)} of {len(measured)} files:\n\n{report.table(heads, lines)}"
    if tiny := [file for file in chosen if file.came < TINY]:
        named = ", ".join(f"{_label(file)} {_more(file):+,}" for file in tiny)
        whole = sum(file.hows["base"] != "volume" for file in tiny)
        text += f"\n\nBelow {TINY // 1000} kB {len(tiny)}, {whole} of them kept whole, by so many bytes: {named}."
    kept = [file for file in measured if file.gzipped and file.came >= LEAST and file.hows["base"] != "volume"]
    best = sum(min(file.sizes["zstd-19"], file.sizes["xz-6"]) for file in kept)
    return (
        f"{text}\n\nGzipped files from {LEAST // 1000} kB on that are kept whole, as they came: {len(kept)}, of "
        f"{sum(file.came for file in kept):,} bytes; their archives have {sum(file.sizes['base'] for file in kept):,}, "
        f"and what they inflate to {best:,} under the smaller of zstd -19 and xz -6."
    )


def _more(file: File) -> int:
    return file.sizes["base"] - file.sizes["zstd-19"]


def streams(files: Sequence[Row], rows: Sequence[Row]) -> str:
    """Return the table of gzip streams by the way that they came back: what is kept, and what it costs."""
    inflated = {file["file"]: int(file["inflated"]) for file in files}
    came = {file["file"]: int(file["bytes"]) for file in files}
    chosen = [row for row in rows if row["codec"] == "stream" and row["file"] in came]
    ways: dict[str, list[Row]] = {}
    for row in chosen:
        ways.setdefault(row["how"], []).append(row)
    lines = []
    for name, own in sorted(ways.items(), key=lambda item: (item[0].startswith("kept"), -len(item[1]))):
        total = sum(inflated[row["file"]] for row in own)
        kept = [int(row["bytes"]) for row in own]
        size = sum(came[row["file"]] for row in own)
        lines.append(
            [
                name,
                str(len(own)),
                f"{size:,}",
                f"{total:,}",
                str(kept[0]) if len(set(kept)) == 1 else f"{min(kept)} to {max(kept):,}",
                *_speeds(own, total),
            ]
        )
    back = sum(not row["how"].startswith("kept") for row in chosen)
    heads = ["made by", "files", "bytes", "inflated", "kept bytes a file", "taken apart, MB/s", "made again, MB/s"]
    return f"{back} of {len(chosen)} gzipped files come back:\n\n{report.table(heads, lines)}"


def _speeds(rows: Sequence[Row], size: int) -> Iterator[str]:
    """Yield MB of inflated bytes a second, of those that take a tenth of a second or more."""
    for column in ("encode_s", "decode_s"):
        seconds = sum(float(row[column]) for row in rows)
        yield f"{size / 1e6 / seconds:.1f}" if seconds >= 0.1 else ""


def _label(file: File) -> str:
    return f"{file.name.split(' ')[0]} ({file.package})"
