"""The kinds of predictors that there are, by the name that a model's record has for its kind."""

from __future__ import annotations

from typing import Any

from .paper.pipeline import PAPER
from .protocol import Pipeline
from .row.pipeline import ROW

# What lies between two methods of a pipeline is its own, so the types end here; within the codec they are variables.
AnyPipeline = Pipeline[Any, Any, Any, Any, Any]
PIPELINES: dict[str, AnyPipeline] = {"row": ROW, "paper": PAPER}
