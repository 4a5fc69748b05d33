"""Records of the released models. None is ever removed: a file names its model by number and digest, and must always
decode.

A record has all facts about a model that other modules need besides its weights, so this module does not need numpy.
The weights are in a file beside it. A card, also beside it, states the training data, the method and the results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from ..errors import DamagedError, NewerError, UnsupportedError

TRIAL = 127  # the number of unreleased models
FINE_TUNED = 128  # added to the number of a model if a weight delta follows


@dataclass(frozen=True)
class Search:
    """How much time an encoder spends on its choices. Decoders do not need it.

    runs             most runs of a support of the linear stage; each costs time, in decoding too
    haste            how many efforts to lower the search by, where it would take longer than all other work
    minimum_saving   the share of a slab that level factors must save, since they cost about 80 ns a voxel
    sample           voxels of a slab that the decision on level factors is based on
    near             whether slabs of one slice may have near factors, which releases up to 0.12.0 do not read
    """

    runs: int = 24
    haste: int = 0
    minimum_saving: float = 1 / 1024
    sample: int = 1 << 19
    near: bool = False


@dataclass(frozen=True)
class NetworkShape:
    """The shape of a network of the pipeline `row`, for training.

    units    of the LSTM
    shared   how many hidden outputs a row passes on to the row below, and to the same row in the next slice
    spared   range [first, past) of inputs that the network does not use: their weights are 0
    """

    units: int
    shared: int = 0
    spared: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Model:
    """The record of a model that a file can name.

    name       "fast-3"
    number     in the file
    pipeline   name of the pipeline that reads the weights (`pipelines.registry`)
    digest     SHA-256 of its arrays, in hexadecimal
    choice     its name for `--model`; "" for a model that only old files use
    search     what an encoder spends on its choices
    network    its shape; None if it cannot be trained here
    tunable    whether efforts above 5 fine-tune it (`learn.fine_tuning`)
    flat       name of the model that encoders take in its place for single slices; "" where it takes these itself
    layered    name of the model that encoders take in its place over a preview; "" where it has none
    sees       whether the network sees the reference of a slab, which each slab then must have
    weights    of an unreleased model, in the form that its pipeline loads from a file
    """

    name: str
    number: int
    pipeline: str
    digest: str
    choice: str = ""
    search: Search = Search()
    network: NetworkShape | None = None
    tunable: bool = True
    flat: str = ""
    layered: str = ""
    sees: bool = False
    weights: object = field(default=None, compare=False, repr=False)

    @property
    def file(self) -> Path:
        """File with the weights of a released model."""
        return Path(__file__).parent / f"{self.name}.npz"

    @property
    def for_slices(self) -> Model:
        """The record that encoders take for slices that have no slice before them."""
        return named(self.flat) if self.flat else self

    @property
    def over_preview(self) -> Model:
        """The record that encoders take for slabs that have a preview as their reference."""
        return named(self.layered) if self.layered else self

    def trial(self, weights: object, digest: bytes, name: str = "trial") -> Model:
        """Make the record of an unreleased model, which encoders treat like this one."""
        return replace(
            self, name=name, number=TRIAL, digest=digest.hex(), choice="", flat="", layered="", weights=weights
        )


@dataclass(frozen=True)
class ImageModel:
    """The record of a model of the lossy layer (`volcomp.lossy`), which a payload names by its version.

    name      "lossy-1"
    version   of the payload
    digest    SHA-256 of its arrays, in hexadecimal (`lossy.weights.digest`)
    """

    name: str
    version: int
    digest: str

    @property
    def file(self) -> Path:
        """File with the weights."""
        return Path(__file__).parent / f"{self.name}.npz"


Catalogue = Mapping[int, Model]  # by number


class Weights(Protocol):
    """The weights of a model, in the form of its pipeline."""

    def digest(self) -> bytes:
        """Return the SHA-256 of the arrays."""
        ...


OfPipeline = TypeVar("OfPipeline", bound=Weights)


def weights_of(model: Model, kind: type[OfPipeline], load: Callable[[Path, str], OfPipeline]) -> OfPipeline:
    """Return the weights of a model: those in the record of an unreleased one, else those that `load` reads.

    Parameters:
        model: the record.
        kind: the class that the pipeline has for weights.
        load: reads them from a file, given also the name of the model.

    Raises:
        DamagedError: their digest is not that of the record.
    """
    weights = model.weights if isinstance(model.weights, kind) else load(model.file, model.name)
    if weights.digest().hex() != model.digest:
        raise DamagedError(f"model {model.name} at {model.file.name} is not the released one; reinstall volcomp")
    return weights


_ALL = (
    Model("fast-1", 1, "row", "024e8ccd3ede9b2f9ddc902e2e9d2f0a6693fa72ce292ccae69a509d7695d4e8"),
    Model("base-1", 2, "row", "faee59cac0167a9cee22ab8195992a5fabe864b2c3e25b65595f8352b020a3f2"),
    Model("fast-2", 3, "row", "e692a9a1bcaa862b08d9a26e9d01c8ee762a46f13cf7dae65ec05e4343115cf0"),
    Model("base-2", 4, "row", "5de3bf3018bf07c42840752a0a298cf9425ce763007da48dba755e49cfb51036"),
    Model(
        "fast-3", 5, "row", "7a15e9e64f1732f4a0e5adf5da6107b6706a5057a0386a11933042acfcbb205f",
        "fast", Search(runs=16, minimum_saving=1 / 128), NetworkShape(units=32, shared=16), flat="fast-flat-2",
    ),
    Model("base-3", 6, "row", "443af81dfd7589a4c64630620cea1136e1903436ca23d881b378b416984da928"),
    Model(
        "base-4", 7, "row", "0a29bc5ad50032c4a89defc02e08ddc7b08c4d66e6507bec3c2e9461ff6c1a11",
        "base", Search(runs=24, minimum_saving=1 / 1024), NetworkShape(units=128, shared=32),
        flat="base-flat-1",
    ),
    Model(
        "turbo-1", 8, "row", "7437245dab2cea65853d93cd33ff31d589a37a2e8d8788135de104edb2737aac",
        "turbo", Search(runs=12, haste=2, minimum_saving=1 / 64, sample=1 << 16),
        NetworkShape(units=16, shared=8, spared=(16, 40)),
    ),
    Model(
        "fast-flat-1", 9, "row", "fdac48c6e81bdf6b7b688b5640757bc05fa91739219ee3bcd5323891999f5782",
        "", Search(runs=16, minimum_saving=1 / 128), NetworkShape(units=32, shared=16),
    ),
    Model(
        "fast-layered-1", 10, "row", "87880d6ebfa38909fba610caa43b45a0c9e39de591d3b8c397f7b7ea264944c2",
        "", Search(runs=16, minimum_saving=1 / 128, near=True), NetworkShape(units=32, shared=16), tunable=False,
        sees=True,
    ),
    Model(
        "base-flat-1", 11, "row", "42258eaa2b1e0492b54361a57c7d5660cd0482bf9e4a3aa3b43473734c1b0bce",
        "", Search(runs=24, minimum_saving=1 / 1024, near=True), NetworkShape(units=128, shared=32),
    ),
    Model(
        "fast-flat-2", 12, "row", "977d6ea771a683a9ceaff9d35f8900c586293c1c648eb839e74289e930620f6d",
        "", Search(runs=16, minimum_saving=1 / 128, near=True), NetworkShape(units=32, shared=16),
        layered="fast-layered-1",
    ),
    Model(
        "paper-1", 16, "paper", "0231214b647f8a526f0cbc25e91d299ebc6eceec317477731da660e72d35fd49", "paper",
        tunable=False,
    ),
)  # fmt: skip
RELEASED: Catalogue = {model.number: model for model in _ALL}
LOSSY = ImageModel("lossy-1", 1, "76bc9a56aea15dd1224649eec74874063424231e75fb48abdf20d925e246f51a")
# Values of `--model`, the fastest first; `paper` is for comparison. The README has their sizes and speeds.
CHOICES = ("turbo", "fast", "base", "paper")
DEFAULT = "fast"


def chosen(choice: str) -> Model:
    """Return the model of a user's choice. Raises UnsupportedError for a name that is not among CHOICES."""
    for model in _ALL:
        if choice and model.choice == choice:
            return model
    raise UnsupportedError(f"model {choice!r} is not known; take one of {', '.join(CHOICES)}")


def named(name: str) -> Model:
    """Return a released model by its name, as "fast-3". Raises UnsupportedError if there is none."""
    for model in _ALL:
        if model.name == name:
            return model
    raise UnsupportedError(f"no model was released as {name!r}: there are {', '.join(m.name for m in _ALL)}")


def of_file(number: int, digest: bytes, catalogue: Catalogue = RELEASED) -> Model:
    """Return the model that a file names by number and the first bytes of its digest.

    Raises UnsupportedError for a number that this version does not know, DamagedError if the digest differs.
    """
    if number not in catalogue:
        raise NewerError(f"the file needs model {number}, this version has {sorted(catalogue)}; upgrade volcomp")
    model = catalogue[number]
    if not bytes.fromhex(model.digest).startswith(digest):
        raise DamagedError(
            f"model {model.name} is not the one that the file was made with; reinstall volcomp, or fetch the file again"
        )
    return model
