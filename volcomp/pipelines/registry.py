"""All pipelines, by the name in the records of their models; and loaded models, with a cache of those in use."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import NewType, cast

from ..models import Model
from ..models import Weights as SomeWeights
from .paper.pipeline import PAPER
from .protocol import Choice, Coder, Input, Network, Pipeline, Predictions, Stream, Weights
from .row.pipeline import ROW

# The values that pass between the methods of a pipeline, where the pipeline is not known. A caller can only pass them
# on, and mypy tells them apart.
SomeChoice = NewType("SomeChoice", object)
SomeInput = NewType("SomeInput", object)
SomePredictions = NewType("SomePredictions", object)
SomeStream = NewType("SomeStream", object)
SomePipeline = Pipeline[SomeWeights, SomeChoice, SomeInput, SomePredictions, SomeStream]
SomeCoder = Coder[SomeChoice, SomeInput, SomePredictions, SomeStream]
SomeNetwork = Network[SomeInput, SomePredictions, SomeStream]


def some(pipeline: Pipeline[Weights, Choice, Input, Predictions, Stream]) -> SomePipeline:
    """Return a pipeline as one whose types are not known."""
    return cast(SomePipeline, pipeline)


PIPELINES: dict[str, SomePipeline] = {"row": some(ROW), "paper": some(PAPER)}


class Ready:
    """A loaded model, changed by a weight delta if there is one, with the pipeline that reads its weights."""

    def __init__(self, model: Model, weight_delta: bytes) -> None:
        self.model, self.weight_delta = model, weight_delta
        self.pipeline = PIPELINES[model.pipeline]
        self.weights = self.pipeline.load(model, weight_delta)
        self.coder: SomeCoder = self.pipeline.coder(model, self.weights)

    @cached_property
    def network(self) -> SomeNetwork:
        """The network on the CPU."""
        return self.pipeline.network(self.weights, "cpu")

    @cached_property
    def reference(self) -> SomeNetwork:
        """The network in the slow code that defines it."""
        return self.pipeline.network(self.weights, "reference")


@lru_cache(maxsize=8)
def ready(model: Model, weight_delta: bytes = b"") -> Ready:
    """Load a model. Raises DamagedError where its weights or the weight delta are not valid."""
    return Ready(model, weight_delta)
