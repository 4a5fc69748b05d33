"""By what way a deflate stream comes back, in words."""

from __future__ import annotations

from volcomp.streams.deflate_model import CHECKED, FOUR, LONG, PAIRS, QUICK, Model
from volcomp.streams.deflate_side import Plan
from volcomp.streams.deflate_tables import LEVELS, Level, Settings

_OF_GZIP = 32767  # symbols of a block
_STRATEGIES = ("", ", filtered", ", Huffman codes alone", ", runs alone", ", fixed codes")


def way(plan: Plan) -> str:
    """Say which encoder the numbers of a plan are of, and whether something is corrected."""
    name = _of_zlib(plan.settings) if isinstance(plan.settings, Settings) else _of_search(plan.settings)
    corrected = plan.forced.shape[1] or plan.corrections
    blocks = plan.exceptions or plan.blocks is not None
    return name + ", symbols corrected" * bool(corrected) + ", blocks given" * bool(blocks)


def _of_zlib(settings: Settings) -> str:
    memory = f", memLevel {settings.memory}" if settings.memory != 8 else ""
    window = f", a window of {1 << settings.window}" if settings.window != 15 else ""
    return f"zlib, level {settings.level}{memory}{window}{_STRATEGIES[settings.strategy]}"


def _of_search(model: Model) -> str:
    numbers = Level(model.good, model.lazy, model.nice, model.tries)
    level = f", level {LEVELS.index(numbers)}" if numbers in LEVELS else ""
    if model.way >= PAIRS:
        return "libdeflate"
    if model.way == LONG:
        return "ISA-L"
    if model.way >= QUICK or model.hash == FOUR:
        return "zlib-ng"
    if model.hash == CHECKED:
        return f"a zlib that hashes four bytes{level}"
    return f"{'GNU gzip' if model.block == _OF_GZIP else 'zlib'}{level}"
