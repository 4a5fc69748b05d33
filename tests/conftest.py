"""Profiles for hypothesis, the usual one and the many examples of `make properties`; and what test files share."""

import os
from collections.abc import Iterator

# Before anything imports torch, and for the processes that tests begin. Threads of OpenMP wait for each other in loops,
# which takes ten times as long as the work itself where something else has the second core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from volcomp.codec import encode, engines

# No deadline: the first example of a test may wait for numba to compile.
settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=3000)
settings.load_profile("default")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, one has all that read the corpus: it is unpacked when it is first read."""
    for item in items:
        if item.get_closest_marker("corpus"):
            item.add_marker(pytest.mark.xdist_group("corpus"))


@pytest.fixture(scope="module")
def low_slabs() -> Iterator[None]:
    """What is compressed meanwhile has a slab for every twenty slices, so that forty are enough for two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "SLAB_HEIGHT", 20)
        yield


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if torch's CPU were a GPU, and nothing too small for it."""
    from volcomp.gpu import device

    genuine = device.network
    monkeypatch.setattr(device, "may_be_there", lambda: True)
    monkeypatch.setattr(device, "missing", lambda: None)
    monkeypatch.setattr(device, "network", lambda kind, weights, where, way: genuine(kind, weights, "cpu", "torch"))
    monkeypatch.setattr(engines, "LARGE", 0)
    engines._on_device.cache_clear()
    yield
    engines._on_device.cache_clear()
