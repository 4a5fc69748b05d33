"""A tree of archives, made once for the tests that only read it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serve.makers import packed, study
from volcomp.serve.settings import Settings
from volcomp.serve.store import TreeStore, open_store


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three studies: two series of CT, one of MR, one with a name of other letters."""
    place = tmp_path_factory.mktemp("tree")
    study(place / "in" / "a", "Alpha", series=2)
    study(place / "in" / "b", "Beta", StudyDate="20210505", StudyTime="23", Modality="MR", PatientName="Beta^Ann Lee")
    names = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jörg=山田^太郎"}
    study(place / "in" / "c", "Gamma", slices=3, StudyDate="20191224", BodyPartExamined="HEAD", **names)
    for name, archive in (("a", "ward/alpha.vcz"), ("b", "beta.vcz"), ("c", "gamma.vcz")):
        packed(place / "in" / name, place / "root" / archive)
    return place


@pytest.fixture(scope="session")
def store(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreeStore]:
    """A store of the tree, for tests that only read it."""
    found = open_store(Settings(tree / "root"), follow=False)
    found.refresh()
    yield found
    found.close()


@pytest.fixture
def open_tree(tmp_path: Path) -> Iterator[Callable[..., TreeStore]]:
    """Opens stores of `tmp_path / "root"`, looked at once, and closes them in the end."""
    (tmp_path / "root").mkdir()
    found: list[TreeStore] = []

    def opened(**options: object) -> TreeStore:
        found.append(open_store(Settings(tmp_path / "root", **options), follow=False))  # type: ignore[arg-type]
        found[-1].refresh()
        return found[-1]

    yield opened
    for one in found:
        one.close()
