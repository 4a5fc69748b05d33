"""Released models, as records. They are only ever added: a file names its model by number and digest, and must decode
for ever.

A record says all that others need to know of a model without reading its weights, so nothing here needs numpy. The
weights lie beside it, as does a card that says what a model learned from, how, and how well it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import DamagedError, UnsupportedError

TRIAL = 127  # the number of models that are never released
FITTED = 128  # added to the number of a model where differences to it follow


@dataclass(frozen=True)
class Search:
    """How long an encoder looks for what it may choose. A decoder does not know it.

    runs             the most runs of a support of the linear stage: each costs time, in decoding too
    haste            how many efforts less than asked for its search takes, where it would take longer than all else
    minimum_saving   the share of a slab that level factors must save, since they cost some 80 ns a voxel
    sample           how many voxels of a slab tell whether there are level factors
    """

    runs: int = 24
    haste: int = 0
    minimum_saving: float = 1 / 1024
    sample: int = 1 << 19


@dataclass(frozen=True)
class Network:
    """The shape of a network of the pipeline `row`, for training.

    units    of the LSTM
    shared   how many hidden outputs a row passes on to the row below, and as many to the next slice
    spared   inputs, from one up to another, that the network does without: their weights are 0
    """

    units: int
    shared: int = 0
    spared: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Model:
    """A model that a file can name.

    name       "fast-3"
    number     in the file
    pipeline   which kind of predictor reads the weights (`pipelines.registry`)
    digest     SHA-256 of its arrays, in hexadecimal
    choice     what `--model` calls it; "" for one that only old files name
    search     what an encoder spends on it
    network    its shape, where it can be trained here
    weights    of a model that was never released: what its pipeline takes for weights, instead of a file
    """

    name: str
    number: int
    pipeline: str
    digest: str
    choice: str = ""
    search: Search = Search()
    network: Network | None = None
    weights: object = field(default=None, compare=False, repr=False)

    @property
    def file(self) -> Path:
        """The weights of a released model."""
        return Path(__file__).parent / f"{self.name}.npz"

    def trial(self, weights: object, digest: bytes, name: str = "trial") -> Model:
        """A model that was never released, which an encoder treats as this one."""
        return replace(self, name=name, number=TRIAL, digest=digest.hex(), choice="", weights=weights)


Catalogue = Mapping[int, Model]  # by number

_ALL = (
    Model("fast-1", 1, "row", "024e8ccd3ede9b2f9ddc902e2e9d2f0a6693fa72ce292ccae69a509d7695d4e8"),
    Model("base-1", 2, "row", "faee59cac0167a9cee22ab8195992a5fabe864b2c3e25b65595f8352b020a3f2"),
    Model("fast-2", 3, "row", "e692a9a1bcaa862b08d9a26e9d01c8ee762a46f13cf7dae65ec05e4343115cf0"),
    Model("base-2", 4, "row", "5de3bf3018bf07c42840752a0a298cf9425ce763007da48dba755e49cfb51036"),
    Model(
        "fast-3", 5, "row", "7a15e9e64f1732f4a0e5adf5da6107b6706a5057a0386a11933042acfcbb205f",
        "fast", Search(runs=16, minimum_saving=1 / 128), Network(units=32, shared=16),
    ),
    Model("base-3", 6, "row", "443af81dfd7589a4c64630620cea1136e1903436ca23d881b378b416984da928"),
    Model(
        "base-4", 7, "row", "0a29bc5ad50032c4a89defc02e08ddc7b08c4d66e6507bec3c2e9461ff6c1a11",
        "base", Search(runs=24, minimum_saving=1 / 1024), Network(units=128, shared=32),
    ),
    Model(
        "turbo-1", 8, "row", "7437245dab2cea65853d93cd33ff31d589a37a2e8d8788135de104edb2737aac",
        "turbo", Search(runs=12, haste=2, minimum_saving=1 / 64, sample=1 << 16),
        Network(units=16, shared=8, spared=(16, 40)),
    ),
    Model("paper-1", 16, "paper", "0231214b647f8a526f0cbc25e91d299ebc6eceec317477731da660e72d35fd49", "paper"),
)  # fmt: skip
RELEASED: Catalogue = {model.number: model for model in _ALL}
# What `--model` takes, the fastest first. `fast` takes a half to a quarter of the time of `base` and gives up 1.3 % of
# the size (docs/decisions/speed.md).
CHOICES = ("turbo", "fast", "base", "paper")
DEFAULT = "fast"


def chosen(choice: str) -> Model:
    """The model that a user means; UnsupportedError for a name that is not among CHOICES."""
    for model in _ALL:
        if choice and model.choice == choice:
            return model
    raise UnsupportedError(f"model {choice!r} is not known; take one of {', '.join(CHOICES)}")


def named(name: str) -> Model:
    """The released model "fast-3"; UnsupportedError where there is none."""
    for model in _ALL:
        if model.name == name:
            return model
    raise UnsupportedError(f"no model was released as {name!r}: there are {', '.join(m.name for m in _ALL)}")


def of_file(number: int, digest: bytes, catalogue: Catalogue = RELEASED) -> Model:
    """The model that a file names by number and the first bytes of its digest.

    UnsupportedError for a number that this version does not know, DamagedError where its digest is another.
    """
    if number not in catalogue:
        raise UnsupportedError(f"the file needs model {number}, this version has {sorted(catalogue)}; upgrade volcomp")
    model = catalogue[number]
    if not bytes.fromhex(model.digest).startswith(digest):
        raise DamagedError(
            f"model {model.name} is not the one that the file was made with; reinstall volcomp, or fetch the file again"
        )
    return model
