"""All pipelines, by the name in the records of their models."""

from __future__ import annotations

from typing import Any

from .paper.pipeline import PAPER
from .protocol import Pipeline
from .row.pipeline import ROW

# The values between two methods are private to a pipeline, so their types end here; in the codec they are variables.
AnyPipeline = Pipeline[Any, Any, Any, Any, Any]
PIPELINES: dict[str, AnyPipeline] = {"row": ROW, "paper": PAPER}
