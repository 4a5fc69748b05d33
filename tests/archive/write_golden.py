"""Write a golden archive of all that one can hold, and lists of it: python -m tests.archive.write_golden NAME."""

import hashlib
import json
import stat
import sys
import tempfile
from pathlib import Path

from tests.archive.everything import everything
from tests.helpers import compress, contents

GOLDEN = Path(__file__).parent / "golden"


def digests(folder: Path) -> dict[str, str | None]:
    """The SHA-256 of every file by its name, the target of every link, None for folders."""
    found = contents(folder)
    return {name: hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else data for name, data in found.items()}


def facts(folder: Path) -> dict[str, list[int | None]]:
    """Time in nanoseconds and permissions of all entries and of the folder itself; links have none of their own."""
    found = {str(path.relative_to(folder)): path.lstat() for path in (folder, *folder.rglob("*"))}
    return {
        name: [status.st_mtime_ns, None if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)]
        for name, status in found.items()
    }


def write(name: str, folder: Path = GOLDEN) -> None:
    """Write the files."""
    with tempfile.TemporaryDirectory() as place:
        made = everything(Path(place) / "everything")
        compress([made], folder / f"{name}.vcz", force=True)
        for suffix, found in ((".json", digests(made)), (".facts.json", facts(made))):
            (folder / name).with_name(name + suffix).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write(sys.argv[1])
