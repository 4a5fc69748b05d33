"""What tests of parts of archives and of additions share; `conftest.py` has the folder that they use."""

from pathlib import Path

from volcomp.options import EncodeOptions

GOLDEN = Path(__file__).parent / "golden" / "0.9.0-archive.vcz"
THREAD = EncodeOptions(threads=1)


def names_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
