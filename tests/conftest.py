"""Profiles for hypothesis: the usual one, and the many examples of `make fuzz`."""

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
