"""Training of a network, which may be stopped at any time and goes on from its last epoch."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from .config import ImagesConfig
from .networks import edges, save

WARM = 100  # steps over which the rate rises to the first one
SHIFT = 8  # pixels that whole images are shifted by, at most: the only augmentation
Step = Callable[[Tensor], Tensor]  # from images [n, 1, y, x] to the loss


def train(
    config: ImagesConfig, name: str, images: Tensor, step: Step, modules: dict[str, nn.Module], path: Path, *,
    crop: int = 0, tell: Callable[[float], None] = lambda share: None,
) -> dict[str, float]:  # fmt: skip
    """Train modules until their epochs, or their minutes, are over, and write their weights to `path`.

    images   float32 [n, 1, y, x], of which each epoch sees crops of a side, or all of each where `crop` is 0
    step     returns the loss of a batch

    Returns the epochs, the seconds of a processor that they took, and the mean loss of the last one. The weights are
    then at `path`; see `finished`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = [p for module in modules.values() for p in module.parameters()]
    for module in modules.values():
        # In which torch convolves few channels faster. Its stubs know the format for tensors only.
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    whole = nn.ModuleDict(modules)
    optimiser = torch.optim.Adam(parameters, config.rate)
    checkpoint = path.with_suffix(".pt")
    begin, spent, loss = 0, 0.0, math.nan
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        whole.load_state_dict(state["modules"])
        optimiser.load_state_dict(state["optimiser"])
        begin, spent, loss = state["epoch"], state["spent"], state["loss"]
    epochs = config.epochs[name]
    done = begin
    for epoch in range(begin, epochs):
        if spent > 60 * config.minutes:
            break
        started = time.process_time()
        random = torch.Generator().manual_seed(zlib.crc32(f"{name} {epoch}".encode()))
        torch.manual_seed(epoch)  # of noise
        # The rate falls with the epochs, or with the minutes where these are over first.
        progress = max(epoch / epochs, spent / (60 * config.minutes))
        rate = config.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)
        whole.train()
        total, count = 0.0, 0
        parts = torch.randperm(len(images), generator=random).split(config.batch)
        for k, indices in enumerate(parts):
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (1 + k + epoch * len(parts)) / WARM)
            batch = _batch(images[indices], crop, random)
            optimiser.zero_grad()
            value = step(batch)
            value.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            total, count = total + value.item() * len(batch), count + len(batch)
        loss, done = total / count, epoch + 1
        spent += time.process_time() - started
        _keep(checkpoint, {"modules": whole.state_dict(), "optimiser": optimiser.state_dict(),
                           "epoch": done, "spent": spent, "loss": loss})  # fmt: skip
        tell(1 / epochs)
    report = {"epochs": done, "seconds": round(spent, 1), "loss": loss}
    finish(path, modules, report)
    checkpoint.unlink(missing_ok=True)
    return report


def finish(path: Path, modules: dict[str, nn.Module], report: dict[str, float]) -> None:
    """Write the weights of a training that is over, and what is said of it."""
    save(path, **modules)
    path.with_suffix(".json").write_text(json.dumps(report))


def finished(path: Path) -> dict[str, float] | None:
    """Return what is said of a training that is over; None if it is not."""
    noted = path.with_suffix(".json")
    if not path.exists() or not noted.exists():
        return None
    found: dict[str, float] = json.loads(noted.read_text())
    return found


def _batch(images: Tensor, crop: int, random: torch.Generator) -> Tensor:
    """Cut a crop out of each image; without a crop, shift each by up to SHIFT pixels, with edges repeated."""
    if not crop:
        images, crop = edges(images, SHIFT), images.shape[-1]
    crop = min(crop, images.shape[-1])
    places = torch.randint(0, images.shape[-1] - crop + 1, (len(images), 2), generator=random).tolist()
    return torch.stack([image[:, y : y + crop, x : x + crop] for image, (y, x) in zip(images, places, strict=True)])


def _keep(path: Path, state: dict[str, object]) -> None:
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)
