"""Loaded models, with a cache of those in use."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Generic

from ..models import Model
from ..pipelines.protocol import Choice, Coder, Input, Network, Predictions, Stream
from ..pipelines.registry import PIPELINES, AnyPipeline


class Ready(Generic[Choice, Input, Predictions, Stream]):
    """A loaded model, changed by a weight delta if there is one, with the pipeline that reads its weights."""

    def __init__(self, model: Model, weight_delta: bytes, pipeline: AnyPipeline) -> None:
        self.model, self.pipeline = model, pipeline
        self.weights = pipeline.load(model, weight_delta)
        self.coder: Coder[Choice, Input, Predictions, Stream] = pipeline.coder(model, self.weights)

    @cached_property
    def network(self) -> Network[Input, Predictions, Stream]:
        """The network on the CPU."""
        return self.pipeline.network(self.weights, "cpu")

    @cached_property
    def reference(self) -> Network[Input, Predictions, Stream]:
        """The network in the slow code that defines it."""
        return self.pipeline.network(self.weights, "reference")


@lru_cache(maxsize=8)
def ready(model: Model, weight_delta: bytes = b"") -> Ready[Any, Any, Any, Any]:
    """Load a model. Raises DamagedError where its weights or the weight delta are not valid."""
    return Ready(model, weight_delta, PIPELINES[model.pipeline])
