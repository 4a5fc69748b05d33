"""`volcomp serve` under load, beside Orthanc, which serves the same series uncompressed from the same disk.

    python -m benchmarks.serve                       # 20 series, 64 clients, 10,000 requests of each -> serve.csv
    python -m benchmarks.serve --series 4 --clients 8 --requests 400
    python -m benchmarks.serve --report              # the table, from serve.csv alone

Each client opens a series and scrolls through it: metadata of the series, then of each slice its frame, and of every
fourth its file; then the next series. All bytes are compared with those of the files. Servers are measured one after
the other, on the loopback address, with clients on the same processors. "Cold" is the first frame of a series after a
start, "warm" the frames of series that have been read, by one client.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pydicom

from volcomp import __version__
from volcomp.training import corpus

from . import orthanc, report
from .command import volcomp
from .machine import processor

CSV = Path(__file__).with_name("serve.csv")
COLUMNS = ("server", "phase", "kind", "requests", "errors", "p50_ms", "p99_ms", "most_ms", "per_second", "peak_mb",
           "clients", "series", "instances", "stored_mb", "memory_mb", "processor", "cores", "version")  # fmt: skip
MODEL, MEMORY = "fast", 2048  # of the archives; MB that the server may take
PROCESSES = 4  # that clients are spread over
WARM = 400  # frames
FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
FILE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ACCEPT = {"frame": FRAME, "file": FILE, "metadata": "application/dicom+json"}


class Slice(NamedTuple):
    """An instance: its UIDs, and the SHA-256 of its file and of its pixels."""

    study: str
    series: str
    sop: str
    file: str
    pixels: str


class Request(NamedTuple):
    """What a client asks for: its kind, its path below the service, the SHA-256 of the part that must come, or ""."""

    kind: str
    path: str
    expected: str


class Answer(NamedTuple):
    """What came of a request: seconds, and whether it was right."""

    kind: str
    seconds: float
    right: bool


class Service(NamedTuple):
    """A running server: the URL of its DICOMweb service, and its process."""

    name: str
    url: str
    process: int
    version: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both servers, write the CSV file and the table."""
    options = _parser().parse_args(arguments)
    if not options.report:
        if why := orthanc.missing():
            sys.exit(f"benchmarks.serve: {why}")
        chosen = series(options.series)
        tree = prepared(options.folder, [name for name, _ in chosen])
        rows = []
        for serving in (ours, theirs):
            rows += measured(serving, tree, chosen, options)
        report.write_rows(CSV, COLUMNS, rows)
    report.publish("serve", summary(report.read_rows(CSV)))


def series(count: int) -> list[tuple[str, list[Slice]]]:
    """Read the first native series of the corpus, of those with UIDs and less than 300 slices, and their digests."""
    found: list[tuple[str, list[Slice]]] = []
    for one in corpus.splits():
        if len(found) == count:
            break
        if len(files := corpus.files(one.name)) >= 300 or corpus.is_compressed(one.name):
            continue
        if "SeriesInstanceUID" in pydicom.dcmread(files[0], stop_before_pixels=True):  # which some lost with the names
            found.append((one.name, [_slice(path) for path in files]))
    return found


def _slice(path: Path) -> Slice:
    image = pydicom.dcmread(path)
    pixels = hashlib.sha256(image.PixelData).hexdigest()
    file = hashlib.sha256(path.read_bytes()).hexdigest()
    return Slice(image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID, file, pixels)


def prepared(folder: Path, names: list[str]) -> Path:
    """Return a tree of archives of series; what is there is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        target = folder / f"{name}.vcz"
        if not target.exists():
            volcomp("compress", corpus.unpack(name), "-o", target, "--model", MODEL)
    return folder


@contextmanager
def ours(tree: Path, names: list[str], threads: int) -> Iterator[Service]:
    """Start `volcomp serve` on a tree."""
    line = [sys.executable, "-m", "volcomp", "serve", str(tree), "--port", "0", "--memory", f"{MEMORY}M", "--json"]
    environment = os.environ | {"PYTHONPATH": str(corpus.ROOT)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        try:
            url = json.loads(process.stdout.readline())["url"]
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield Service("volcomp", f"{url.rstrip('/')}/dicom-web", process.pid, __version__)
        finally:
            process.terminate()


@contextmanager
def theirs(tree: Path, names: list[str], threads: int) -> Iterator[Service]:
    """Start Orthanc on a folder that has the same series, handing them in where they are not there yet."""
    folder = tree / ".orthanc"
    with orthanc.running(folder, threads=threads) as server:
        if not (folder / "complete").exists():
            for name in names:
                server.take(corpus.files(name))
            (folder / "complete").touch()
        yield Service("Orthanc", server.dicomweb, server.process, str(server.ask("/system")["Version"]))


def measured(
    serving: object, tree: Path, chosen: list[tuple[str, list[Slice]]], options: argparse.Namespace
) -> list[dict[str, str]]:
    """Measure a server: the first frame of each series after a start, the load, and then warm frames."""
    names, slices = [name for name, _ in chosen], [found for _, found in chosen]
    with serving(tree, names, options.clients) as service:  # type: ignore[operator]
        _ready(service, slices)
    with serving(tree, names, options.clients) as service:  # type: ignore[operator]
        _ready(service, slices)
        cold = _asked(service.url, [_frame(found[len(found) // 2]) for found in slices])
        begin = time.perf_counter()
        loaded = _load(service.url, slices, options.clients, options.requests)
        took = time.perf_counter() - begin
        warm = _asked(service.url, [_frame(one) for one in slices[0]] * (WARM // len(slices[0]) + 1))[:WARM]
        peak = _peak(service.process)
    print(f"{service.name}: {len(loaded)} requests in {took:.1f} s", file=sys.stderr)
    shared = {
        "server": service.name, "version": service.version, "peak_mb": f"{peak / 1e6:.0f}",
        "series": str(len(slices)), "instances": str(sum(map(len, slices))),
        "stored_mb": f"{_stored(service, tree):.0f}",
        "memory_mb": str(MEMORY) if service.name == "volcomp" else "", "processor": processor(),
        "cores": str(os.cpu_count()),
    }  # fmt: skip
    rows = [_row("cold", "frame", cold, 1, 0.0), _row("warm", "frame", warm, 1, 0.0)]
    for kind in ACCEPT:
        rows.append(_row("load", kind, [a for a in loaded if a.kind == kind], options.clients, took))
    return [shared | row for row in rows]


def _row(phase: str, kind: str, answers: list[Answer], clients: int, took: float) -> dict[str, str]:
    milliseconds = np.array([1000 * answer.seconds for answer in answers])
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {
        "phase": phase, "kind": kind, "requests": str(len(answers)), "clients": str(clients),
        "errors": str(sum(not answer.right for answer in answers)), "p50_ms": f"{p50:.2f}", "p99_ms": f"{p99:.2f}",
        "most_ms": f"{milliseconds.max():.2f}", "per_second": f"{len(answers) / took:.1f}" if took else "",
    }  # fmt: skip


def _ready(service: Service, slices: list[list[Slice]]) -> None:
    """Wait until a server has read its tree: until it finds the last instance of each series."""
    end = time.monotonic() + 900
    for one in (found[-1] for found in slices):
        request = Request("metadata", f"/studies/{one.study}/series/{one.series}/instances/{one.sop}/metadata", "")
        while not _asked(service.url, [request])[0].right:
            if time.monotonic() > end:
                raise RuntimeError(f"{service.name} does not have {request.path}")
            time.sleep(0.2)


def _stored(service: Service, tree: Path) -> float:
    """MB of what a server keeps on disk."""
    found = tree.glob("*.vcz") if service.name == "volcomp" else (tree / ".orthanc" / "files").rglob("*")
    return sum(path.stat().st_size for path in found if path.is_file()) / 1e6


def _peak(process: int) -> float:
    """Return the most bytes of memory that a process has had, with its children."""
    total = 0.0
    for folder in Path("/proc").iterdir():
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if folder.name == str(process) or status.get("PPid", "").strip() == str(process):
            total += 1024 * float(status.get("VmHWM", "0 kB").split()[0])
    return total


def _frame(one: Slice) -> Request:
    return Request("frame", f"/studies/{one.study}/series/{one.series}/instances/{one.sop}/frames/1", one.pixels)


def _visits(slices: list[list[Slice]], seed: int) -> Iterator[Request]:
    """Yield what a client asks for, without end."""
    chance = random.Random(seed)
    while True:
        found = chance.choice(slices)
        yield Request("metadata", f"/studies/{found[0].study}/series/{found[0].series}/metadata", "")
        for k, one in enumerate(found):
            yield _frame(one)
            if k % 4 == 0:
                yield Request("file", f"/studies/{one.study}/series/{one.series}/instances/{one.sop}", one.file)


def _load(url: str, slices: list[list[Slice]], clients: int, requests: int) -> list[Answer]:
    """Let clients ask at once; each has its share of the requests."""
    processes = min(PROCESSES, clients)
    shares = [range(k, clients, processes) for k in range(processes)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        work = [pool.submit(_clients, url, slices, list(share), requests // clients) for share in shares]
        return [answer for done in work for answer in done.result()]


def _clients(url: str, slices: list[list[Slice]], seeds: list[int], each: int) -> list[Answer]:
    with ThreadPoolExecutor(len(seeds)) as pool:
        visits = [_visits(slices, seed) for seed in seeds]
        work = [pool.submit(_asked, url, [next(visit) for _ in range(each)]) for visit in visits]
        return [answer for done in work for answer in done.result()]


def _asked(url: str, requests: list[Request]) -> list[Answer]:
    """Ask one request after the other by one connection."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=600)
    answers = []
    for request in requests:
        begin = time.perf_counter()
        try:
            connection.request("GET", parts.path + request.path, headers={"Accept": ACCEPT[request.kind]})
            answer = connection.getresponse()
            content = answer.read()
            seconds = time.perf_counter() - begin
            right = answer.status == 200 and _is_right(request, answer.headers.get("Content-Type", ""), content)
        except (OSError, http.client.HTTPException):
            seconds, right = time.perf_counter() - begin, False
            connection.close()
        answers.append(Answer(request.kind, seconds, right))
    connection.close()
    return answers


def _is_right(request: Request, kind: str, content: bytes) -> bool:
    """Tell whether the only part of an answer has the bytes that must come."""
    if not request.expected:
        return bool(json.loads(content))
    if kind.startswith("multipart/"):
        begin = content.index(b"\r\n\r\n") + 4
        content = content[begin : content.rindex(b"\r\n--")]
    return hashlib.sha256(content).hexdigest() == request.expected


def summary(rows: list[dict[str, str]]) -> str:
    """The table: for each phase and kind, both servers."""
    if not rows:
        return ""
    first, *_ = [row for row in rows if row["server"] == "volcomp"]
    by = {(row["server"], row["phase"], row["kind"]): row for row in rows}
    servers = list(dict.fromkeys(row["server"] for row in rows))
    lines = []
    for phase, kind in dict.fromkeys((row["phase"], row["kind"]) for row in rows):
        cells = [f"{phase}, {kind}"]
        for server in servers:
            row = by[server, phase, kind]
            cells += [row["p50_ms"], row["p99_ms"], row["errors"]]
        lines.append([*cells[:1], by[servers[0], phase, kind]["requests"], *cells[1:]])
    columns = [
        "",
        "requests",
        *(f"{server}: {what}" for server in servers for what in ("p50, ms", "p99, ms", "errors")),
    ]
    peaks = ", ".join(f"{server} {next(r['peak_mb'] for r in rows if r['server'] == server)}" for server in servers)
    stored = ", ".join(f"{server} {next(r['stored_mb'] for r in rows if r['server'] == server)}" for server in servers)
    versions = ", ".join(dict.fromkeys(f"{row['server']} {row['version']}" for row in rows))
    clients = max(int(row["clients"]) for row in rows)
    said = (
        f"{first['series']} series, {first['instances']} instances, {clients} clients on the machine of the servers: "
        f"{first['processor']}, {first['cores']} cores. {versions}. Peak memory, MB: {peaks}. On disk, MB: {stored}."
    )
    return said + "\n\n" + report.table(columns, lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--series", type=int, default=20, help="how many series of the corpus")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument(
        "--folder", type=Path, default=corpus.ROOT / ".cache" / "serve", help="for archives and Orthanc's files"
    )
    parser.add_argument("--report", action="store_true", help="the table alone, from serve.csv")
    return parser


if __name__ == "__main__":
    main()
