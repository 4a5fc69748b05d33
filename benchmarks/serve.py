"""Load: many clients of `volcomp serve`, beside Orthanc serving the same series uncompressed on this machine.

    python -m benchmarks.serve                   # 64 clients, 10,000 requests, 20 series
    python -m benchmarks.serve --clients 8 --requests 500 --series 3
    python -m benchmarks.serve --report          # measures nothing: the table, from serve.csv alone

The series are the first uncompressed ones of the corpus, whole series before runs of slices, with UIDs where the corpus
has none. Both servers listen at 127.0.0.1 and get the same requests in the same order:

    cold      the first frame of each series, one after another, right after the start
    alone     frames of one series, by one client, all of it asked for before
    frames, instances, metadata   of all series in turn, by all clients at once

A request is an error where its status is not 200, or its answer has fewer bytes than the frame or the file. Seconds are
those of a clock, from the request's first byte to the answer's last; the client runs on the same cores, and takes the
same of both. `peak_mb` is the most memory that the server had. Orthanc is that of Debian's packages, with its DICOMweb
plugin, its own database and files without compression.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from volcomp.training import corpus

from . import machine, report
from .command import volcomp
from .rivals import versioned

CSV = Path(__file__).with_name("serve.csv")
COLUMNS = (
    "server", "what", "clients", "requests", "errors", "p50_ms", "p99_ms", "worst_ms", "per_s", "peak_mb", "memory",
    "model", "processor", "versions",
)  # fmt: skip
TARGET = corpus.ROOT / "docs" / "serve.md"
OURS, ORTHANC = "volcomp serve", "Orthanc"
WHATS = COLD, ALONE, FRAMES, INSTANCES, METADATA = ("cold", "alone", "frames", "instances", "metadata")
_ACCEPT = {
    FRAMES: 'multipart/related; type="application/octet-stream"; transfer-syntax=*',
    INSTANCES: 'multipart/related; type="application/dicom"; transfer-syntax=*',
    METADATA: "application/dicom+json",
}
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START = 600.0  # seconds in which a server begins to answer

Row = dict[str, str]


class Image(NamedTuple):
    """An instance of the series: its file, its path in DICOMweb, and the bytes of its file and of its frame."""

    source: Path
    path: str
    file: int
    frame: int


class Asked(NamedTuple):
    """A request, and the bytes that its answer has at least."""

    what: str
    path: str
    least: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both servers into the CSV; then the table."""
    options = _parser().parse_args(arguments)
    if not options.report:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(Path(folder), options)
        report.write_rows(CSV, COLUMNS, rows)
        report.write_machine(CSV, [row["versions"] for row in rows])
    report.publish("serve", summary(report.read_rows(CSV)), TARGET)


def measure(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Archive the series, start one server after the other, and ask each the same."""
    tree = folder / "tree"
    tree.mkdir()
    images = {}
    for name in chosen(options.series):
        images[name] = [_image(path, folder / "series" / name) for path in corpus.files(name)]
        print(f"archiving {name}", file=sys.stderr)
        target = tree / f"{name}.vcz"
        volcomp("compress", folder / "series" / name, "-o", target, "--model", options.model, "--no-verify")
    rows = []
    with served(tree, options.memory) as (process, url):
        rows += _rows(OURS, process, url, images, options, versioned("volcomp"))
    shutil.rmtree(tree)
    if not _PLUGIN.exists() or shutil.which("Orthanc") is None:
        print("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb", file=sys.stderr)
        return rows
    with orthanc(folder, [image.source for of_series in images.values() for image in of_series]) as (
        process,
        url,
        version,
    ):
        rows += _rows(ORTHANC, process, url, images, options, f"Orthanc {version}")
    return rows


def chosen(count: int) -> list[str]:
    """Return the names of the series."""
    whole_first = sorted(corpus.splits(), key=lambda series: series.extent != "series")
    return list(islice((series.name for series in whole_first if not corpus.is_compressed(series.name)), count))


def _image(path: Path, folder: Path) -> Image:
    """Copy an instance, with UIDs of its own where it lacks some."""
    made = pydicom.dcmread(path)
    for keyword, names in ("StudyInstanceUID", [folder.name]), ("SeriesInstanceUID", [folder.name, "series"]):
        if not made.get(keyword):
            setattr(made, keyword, generate_uid(entropy_srcs=names))
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / path.name
    made.save_as(copy)
    place = f"/studies/{made.StudyInstanceUID}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}"
    return Image(copy, place, copy.stat().st_size, len(made.PixelData) // int(made.get("NumberOfFrames") or 1))


def _rows(
    server: str, process: int, url: str, images: dict[str, list[Image]], options: argparse.Namespace, version: str
) -> list[Row]:
    """Ask a server everything."""
    facts = {"server": server, "processor": machine.processor(), "versions": version}
    facts |= {"memory": options.memory, "model": options.model} if server == OURS else {"memory": "", "model": ""}
    rows = []
    for what, clients, asked in plan(images, options.clients, options.requests):
        print(f"{server}: {what}, {len(asked)} requests of {clients} clients", file=sys.stderr)
        begin = time.perf_counter()
        answers = asyncio.run(ask(url, asked, clients))
        took = time.perf_counter() - begin
        for kind in sorted({one.what for one in asked}) if what == "all" else [what]:
            seconds = [s for one, s in zip(asked, answers, strict=True) if what != "all" or one.what == kind]
            rows.append(facts | _numbers(kind, clients, seconds, len(asked) / took, _peak(process)))
    return rows


def plan(images: dict[str, list[Image]], clients: int, requests: int) -> Iterator[tuple[str, int, list[Asked]]]:
    """Yield what is asked: a name, by how many clients, and the requests in their order."""
    yield COLD, 1, [_asked(FRAMES, of_series[len(of_series) // 2]) for of_series in images.values()]
    one = max(images.values(), key=lambda of_series: (of_series[0].frame, len(of_series)))
    warm = [_asked(FRAMES, image) for image in one]
    yield "warming", 1, warm
    yield ALONE, 1, (warm * (500 // len(warm) + 1))[:500]
    chance = random.Random(0)
    everything = [image for of_series in images.values() for image in of_series]
    kinds = (FRAMES, INSTANCES, METADATA)
    yield "all", clients, [_asked(kinds[n % 3], chance.choice(everything)) for n in range(requests)]


def _asked(what: str, image: Image) -> Asked:
    least = {FRAMES: image.frame, INSTANCES: image.file, METADATA: 100}[what]
    return Asked(what, image.path + {FRAMES: "/frames/1", INSTANCES: "", METADATA: "/metadata"}[what], least)


def _numbers(what: str, clients: int, seconds: Sequence[float | None], per_second: float, peak: float) -> Row:
    """Sum up: None is an error."""
    good = np.array([one for one in seconds if one is not None]) * 1000
    p50, p99, worst = np.percentile(good, [50, 99, 100]) if good.size else (np.nan,) * 3
    return {
        "what": what, "clients": str(clients), "requests": str(len(seconds)), "errors": str(len(seconds) - good.size),
        "p50_ms": f"{p50:.2f}", "p99_ms": f"{p99:.2f}", "worst_ms": f"{worst:.2f}", "per_s": f"{per_second:.1f}",
        "peak_mb": f"{peak:.0f}",
    }  # fmt: skip


async def ask(url: str, asked: Sequence[Asked], clients: int) -> list[float | None]:
    """Ask with so many connections at once; return the seconds of each request, None of an error."""
    host, port = url.split("/")[2].split(":")
    prefix = "/" + url.split("/", 3)[3]
    answers: list[float | None] = [None] * len(asked)
    numbers = iter(range(len(asked)))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in numbers:
            one = asked[number]
            begin = time.perf_counter()
            try:
                head = f"GET {prefix}{one.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: {_ACCEPT[one.what]}\r\n\r\n"
                writer.write(head.encode())
                status, size, kept = await _answer(reader)
            except (OSError, EOFError, ValueError):
                status, size, kept = 0, 0, False
            if status == 200 and size >= one.least:
                answers[number] = time.perf_counter() - begin
            if not kept:
                writer.close()
                reader, writer = await asyncio.open_connection(host, int(port))
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def _answer(reader: asyncio.StreamReader) -> tuple[int, int, bool]:
    """Read an answer of HTTP/1.1; return its status, the bytes of its body, and whether the connection is kept."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    size = 0
    if headers.get("transfer-encoding") == "chunked":
        while piece := int(await reader.readline(), 16):
            await reader.readexactly(piece + 2)
            size += piece
        await reader.readline()
    else:
        size = int(headers["content-length"])
        left = size
        while left:
            data = await reader.read(min(left, 1 << 20))
            if not data:
                raise EOFError
            left -= len(data)
    return int(lines[0].split()[1]), size, headers.get("connection") != "close"


def _peak(process: int) -> float:
    """The most memory that a process had, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


@contextmanager
def served(tree: Path, memory: str) -> Iterator[tuple[int, str]]:
    """Serve archives; the process and the URL of its DICOMweb."""
    command = [sys.executable, "-m", "volcomp", "serve", str(tree), "--port", "0", "--memory", memory, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            url = json.loads(process.stdout.readline())["dicomweb"]
            _wait_for(f"{url}/series?limit=1000", len(list(tree.iterdir())) - 1)
            yield process.pid, url
        finally:
            process.terminate()


@contextmanager
def orthanc(folder: Path, files: Sequence[Path]) -> Iterator[tuple[int, str, str]]:
    """Serve files by Orthanc; the process, the URL of its DICOMweb, and its version."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        http, dicom = one.getsockname()[1], other.getsockname()[1]
    configured = {
        "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"), "HttpPort": http,
        "DicomPort": dicom, "RemoteAccessAllowed": False, "Plugins": [str(_PLUGIN)], "StorageCompression": False,
        "HttpThreadsCount": 64, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(configured))
    with subprocess.Popen(["Orthanc", folder / "orthanc.json"], stderr=subprocess.DEVNULL) as process:
        try:
            base = f"http://127.0.0.1:{http}"
            version = _wait_for(f"{base}/system")["Version"]
            for path in files:
                urllib.request.urlopen(f"{base}/instances", path.read_bytes()).close()
            yield process.pid, f"{base}/dicom-web", version
        finally:
            process.terminate()


def _wait_for(url: str, count: int = 0) -> Any:
    """Return the JSON at a URL, when it answers and has so many entries."""
    end = time.monotonic() + _START
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url) as answer:
                data = answer.read()
                if not count or (data and len(json.loads(data)) >= count):
                    return json.loads(data)
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")


def summary(rows: Sequence[Row]) -> str:
    """The table of both servers."""
    by_key = {(row["server"], row["what"]): row for row in rows}
    lines = []
    for what in WHATS:
        for server in (OURS, ORTHANC):
            if (server, what) in by_key:
                row = by_key[server, what]
                cells = ("clients", "requests", "errors", "p50_ms", "p99_ms", "worst_ms", "peak_mb")
                lines.append([f"{what}, {server}", *(row[name] for name in cells)])
    names = ["what, server", "clients", "requests", "errors", "p50, ms", "p99, ms", "worst, ms", "peak, MB"]
    measured = "\n".join(sorted({f"{row['versions']}, {row['processor']}" for row in rows}))
    return f"{report.table(names, lines)}\n\n{measured}"


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--clients", type=int, default=64)
    made.add_argument("--requests", type=int, default=10_000)
    made.add_argument("--series", type=int, default=20)
    made.add_argument("--memory", default="2G")
    made.add_argument("--model", default="fast")
    made.add_argument("--report", action="store_true", help="measure nothing")
    return made


if __name__ == "__main__":
    main()
