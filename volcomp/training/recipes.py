"""How the released models were trained."""

from __future__ import annotations

from typing import NamedTuple


class Recipe(NamedTuple):
    """The training of a released model.

    steps
    start        the model whose training it continued, "nothing" for none
    rate         the highest learning rate
    variations   of every series of the corpus (`augment`)
    blocks       of a step
    """

    steps: int
    start: str
    rate: float
    variations: int = 2
    blocks: int = 57


RECIPES = {
    "turbo": Recipe(9000, "nothing", 3e-3),
    "fast": Recipe(3000, "fast-2", 2e-3),
    "base": Recipe(2400, "base-3", 1.5e-3),
}
# Of models for single slices (`radiographs`), which continue from models that know noise.
FLAT_RECIPES = {
    "fast": Recipe(6000, "fast-flat-1", 2e-3, blocks=40),
    "base": Recipe(4000, "base-4", 1.5e-3, blocks=40),
}
# Of models that see a preview (`layered`).
LAYERED_RECIPES = {"fast": Recipe(4500, "fast-flat-2", 1.5e-3, blocks=40)}
