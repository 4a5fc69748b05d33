"""A folder of many kinds of entries, and its archive."""

from pathlib import Path

import pytest

from tests.helpers import compress, image, noise, series


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, low_slabs: None) -> Path:
    """A folder with `ct`, two slabs of one series, another series, a text, its copy, a link, an empty folder."""
    folder = tmp_path_factory.mktemp("paths")
    series(folder / "ct" / "a", 40, size=6)
    for z in range(3):
        image(folder / "ct" / "b" / f"{z}.dcm", noise((6, 6), seed=z), z=z, series="9.8.7")
    (folder / "ct" / "note[1].txt").write_text("note " * 100)
    (folder / "ct" / "same").write_text("note " * 100)
    (folder / "ct" / "link").symlink_to("same")
    (folder / "ct" / "hollow").mkdir()
    compress([folder / "ct"], folder / "ct.vcz")
    return folder
