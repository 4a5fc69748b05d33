"""Orthanc, a DICOM server of Debian (packages orthanc, orthanc-dicomweb), beside which `volcomp serve` is measured and
tested: on the loopback address, with its DICOMweb plugin, on a folder of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
WAIT = 300.0  # seconds that a busy machine may take to start it
THREADS = 50  # that answer; its default


class Orthanc(NamedTuple):
    """A running Orthanc: its URL, without a slash at its end, and the number of its process."""

    url: str
    process: int

    @property
    def dicomweb(self) -> str:
        """The URL of its DICOMweb service."""
        return f"{self.url}/dicom-web"

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask its own interface, by GET or, with a body, by POST; what JSON it answers. Raises HTTPError."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=WAIT) as answer:
            return json.loads(answer.read() or b"null")

    def take(self, files: Iterable[Path]) -> None:
        """Hand files in, one at a time."""
        for file in files:
            self.ask("/instances", file.read_bytes())


def opened(url: str) -> Any:
    """Open what is at a URL, to be read and closed."""
    return urllib.request.urlopen(url, timeout=WAIT)


def missing() -> str:
    """Why it cannot be started here, in a sentence; empty where it can."""
    absent = [str(path) for path in (Path(PROGRAM), PLUGIN) if not path.exists()]
    return f"{' and '.join(absent)} not found; apt-get install orthanc orthanc-dicomweb" if absent else ""


@contextmanager
def running(folder: Path, peers: Mapping[str, str] | None = None, threads: int = THREADS) -> Iterator[Orthanc]:
    """Start Orthanc at a free port; it is stopped when the context ends.

    Parameters:
        folder: for its database, its files and its log.
        peers: URLs of other DICOMweb services by name, which it can then be asked to talk to.
        threads: that answer requests.
    """
    port = _free_port()
    settings = {
        "Name": "beside volcomp",
        "StorageDirectory": str(folder / "files"),
        "IndexDirectory": str(folder / "files"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": port,
        "HttpThreadsCount": threads,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "StorageCompression": False,
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "Servers": {n: {"Url": u} for n, u in (peers or {}).items()},
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
    try:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + WAIT
        while not _answers(f"{url}/system"):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Orthanc did not start: {(folder / 'orthanc.log').read_text()[-500:]}")
            time.sleep(0.05)
        yield Orthanc(url, process.pid)
    finally:
        process.terminate()
        process.wait(WAIT)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
