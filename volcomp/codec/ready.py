"""Models that are loaded, and kept while they are in use."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Generic

from ..models import Model
from ..pipelines.protocol import Choice, Coder, Input, Network, Predictions, Stream
from ..pipelines.registry import PIPELINES, AnyPipeline


class Ready(Generic[Choice, Input, Predictions, Stream]):
    """A model, or what differences make of it, with the pipeline that reads its weights."""

    def __init__(self, model: Model, differences: bytes, pipeline: AnyPipeline) -> None:
        self.model, self.pipeline = model, pipeline
        self.weights = pipeline.load(model, differences)
        self.coder: Coder[Choice, Input, Predictions, Stream] = pipeline.coder(model, self.weights)

    @cached_property
    def network(self) -> Network[Input, Predictions, Stream]:
        """On the CPU."""
        return self.pipeline.network(self.weights, "cpu")

    @cached_property
    def reference(self) -> Network[Input, Predictions, Stream]:
        """As it is defined."""
        return self.pipeline.network(self.weights, "reference")


@lru_cache(maxsize=8)
def ready(model: Model, differences: bytes = b"") -> Ready[Any, Any, Any, Any]:
    """Load a model. DamagedError where its weights or the differences are not sound."""
    return Ready(model, differences, PIPELINES[model.pipeline])
