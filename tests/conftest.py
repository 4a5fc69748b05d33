"""Profiles for hypothesis: the usual one, and the many examples of `make fuzz`."""

from hypothesis import settings

# No deadline: the first example of a test may wait for numba to compile.
settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=3000)
settings.load_profile("default")
