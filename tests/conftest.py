"""Profiles for hypothesis, the usual one and the many examples of `make fuzz`; and what several test files share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from volcomp import codec

# No deadline: the first example of a test may wait for numba to compile.
settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=3000)
settings.load_profile("default")


@pytest.fixture(scope="module")
def low_slabs() -> Iterator[None]:
    """What is compressed meanwhile has a slab for every twenty slices, so that forty are enough for two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "SLAB_HEIGHT", 20)
        yield


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if torch's CPU were a GPU, and nothing too small for it."""
    from volcomp.gpu import device

    genuine = device.network
    monkeypatch.setattr(device, "missing", lambda: None)
    monkeypatch.setattr(device, "network", lambda weights, where, way: genuine(weights, "cpu", "torch"))
    monkeypatch.setattr(codec, "LARGE", 0)
    codec._on_device.cache_clear()
    yield
    codec._on_device.cache_clear()
