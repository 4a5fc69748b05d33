"""Every command with every kind of bad path: one sentence that names it, exit code 1, nothing written, no waiting."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import compress
from volcomp import cli

LONG = "x" * 300
DEEP = "/".join(["d" * 50] * 120)  # beyond PATH_MAX
NOBODY = 65534

# Paths of things that cannot be read, or not as a file; and what the sentence must name, by default the path itself.
UNREADABLE = [
    "gone",
    LONG,
    "loop",
    "good.vcz/x",
    "gone/x",
    "socket",
    "/dev/zero",
    "fifo",
    "locked/x",
    "sealed",
    "hanging",
]
READERS = [
    ["info", "PATH"],
    ["list", "PATH"],
    ["verify", "PATH"],
    ["decompress", "PATH", "-o", "out"],
    ["extract", "PATH", "note", "-o", "out"],
    ["extract", "PATH", "note", "-o", "-"],
    ["append", "PATH", "in/note"],
    ["protect", "PATH"],
    ["repair", "PATH"],
    ["repair", "PATH", "-o", "out.vcz"],
    ["compress", "PATH", "-o", "out.vcz"],
    ["compress", "in", "PATH", "-o", "out.vcz"],
    ["append", "good.vcz", "PATH"],
    ["batch", "PATH", "out", "--jobs", "1"],
]
# Targets that must stay as they are, with --force too.
UNWRITABLE = [LONG, "loop", "good.vcz/x", "socket", "/dev/zero", "fifo", "locked/x", "shut/x", DEEP]
WRITERS = [
    ["compress", "in", "-o", "PATH", "--force"],
    ["compress", "in", "-o", "PATH"],
    ["decompress", "good.vcz", "-o", "PATH", "--force"],
    ["decompress", "good.vcz", "-o", "PATH"],
    ["extract", "good.vcz", "note", "-o", "PATH", "--force"],
    ["batch", "in", "PATH", "--jobs", "1"],
]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder with all kinds of paths in it, in which the test user is not root."""
    here, folder = os.getcwd(), Path(tempfile.mkdtemp())
    os.chdir(folder)
    (folder / "in").mkdir()
    (folder / "in" / "note").write_text("note")
    compress([folder / "in"], folder / "good.vcz")
    (folder / "loop").symlink_to("loop")
    (folder / "hanging").symlink_to("gone")
    os.mkfifo("fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    (folder / "sealed").write_text("")
    (folder / "locked").mkdir()
    (folder / "locked" / "x").write_text("")
    (folder / "shut").mkdir()
    for name, mode in ("sealed", 0), ("locked", 0), ("shut", 0o500):
        os.chmod(name, mode)
    for arguments in (["info"], ["verify"]):  # imports what may be out of reach for others
        assert cli.main([*arguments, "good.vcz"]) == 0
    assert cli.main(["compress", "in", "-o", "x.vcz"]) == cli.main(["append", "x.vcz", "good.vcz"]) == 0
    assert cli.main(["extract", "x.vcz", "note", "-o", "y"]) == cli.main(["decompress", "x.vcz", "-o", "z"]) == 0
    assert cli.main(["list", "x.vcz"]) == cli.main(["batch", "in", "b", "--jobs", "1"]) == 0
    for name in "y", "z", "b":
        shutil.rmtree(name)
    os.unlink("x.vcz")
    is_root = os.geteuid() == 0
    if is_root:
        for name in (".", "in", "in/note", "good.vcz", "sealed", "locked", "shut"):
            os.chown(name, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    if is_root:
        os.seteuid(0)
    os.chdir(here)
    server.close()
    shutil.rmtree(folder)


def there() -> list[str]:
    return sorted(str(path) for path in Path(".").rglob("*"))


def refused(arguments: list[str], path: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail at once, and change nothing; return its sentence."""
    capsys.readouterr()
    handlers = signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGALRM, _hangs)
    before, data = there(), Path("good.vcz").read_bytes()
    signal.alarm(30)
    try:
        code = cli.main([path if argument == "PATH" else argument for argument in arguments])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGTERM, handlers[0])
        signal.signal(signal.SIGALRM, handlers[1])
    out, error = capsys.readouterr()
    assert code == 1 and not out, (code, out)
    assert error.startswith("volcomp: ") and error.count("\n") == 1 and "Traceback" not in error, error
    assert there() == before and Path("good.vcz").read_bytes() == data
    return error


def _hangs(number: int, frame: object) -> None:
    raise AssertionError("it waits")


@pytest.mark.parametrize("path", UNREADABLE, ids=lambda path: path[:20])
@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_what_cannot_be_read(arguments: list[str], path: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(arguments, path, capsys)
    assert path in error and "cannot be written" not in error


@pytest.mark.parametrize("path", UNWRITABLE, ids=lambda path: path[:20])
@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
def test_what_cannot_be_written(
    arguments: list[str], path: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(arguments, path, capsys)
    assert path[:100] in error or path.split("/")[0] in error  # the folder that is in the way
    assert "good.vcz" not in error or path.startswith("good.vcz")
