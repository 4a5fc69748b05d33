"""All that is trained for a model: the row LSTM, its head and the shape of the distributions, by Adam."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import torch

from ..constants import INPUTS
from ..errors import UnsupportedError
from ..learn.density import Shape
from ..learn.device import passes
from ..learn.head import HEAD_UNIT, ideal_bits
from ..learn.row_lstm import CpuPasses, RowLstm
from ..models import chosen
from ..stages.lstm.weights import LstmWeights

BETAS = (0.9, 0.999)


class RowTrainee:
    """The parameters of a model in training, on the CPU or on a device, in torch's spelling.

    Initial values do not depend on the device, nor do checkpoints.
    """

    def __init__(self, name: str, seed: int, device: str = "cpu") -> None:
        """Draw the initial parameters. `name` is that of `--model`, `device` that of `learn.device.passes`.

        Raises UnsupportedError for a model that is not of the pipeline `row`.
        """
        network = chosen(name).network
        if network is None:
            raise UnsupportedError(f"model {name!r} is not trained here")
        self.name, self.seed, self.step, self.seconds = name, seed, 0, 0.0
        generator = torch.Generator().manual_seed(seed)
        units, shared = network.units, network.shared
        self.lstm = RowLstm(units, shared, generator, passes(units, shared, device))
        # From what the network sees and outputs, in 1/128, to the offset in scales and log2 of the scale's correction.
        self.head = torch.zeros(len(self.lstm.weights), 2, requires_grad=True)
        self.blind = slice(*network.spared)
        self.lstm.weights.data[self.blind] = 0
        self.bias = torch.tensor([0.0, -0.5], requires_grad=True)
        self.shape = Shape()
        for parameter in self.parameters():
            parameter.data = parameter.data.to(device)
        self.optimiser = torch.optim.Adam(self.parameters(), betas=BETAS)

    def parameters(self) -> list[torch.Tensor]:
        """Return all parameters in a fixed order."""
        return [self.lstm.weights, self.head, self.bias, *self.shape.parameters()]

    def start(self, released: LstmWeights) -> None:
        """Set the weights to those of a released model, whose head need not see the inputs."""
        doubled = torch.from_numpy(released.weights).float() * torch.exp2(-torch.from_numpy(released.shift).float())
        doubled[:INPUTS] /= 2
        head = torch.from_numpy(released.head.T.astype(np.float32)) / HEAD_UNIT
        own, h = INPUTS + 2 * self.lstm.shared, self.lstm.hidden
        with torch.no_grad():
            for mine, theirs in ((self.lstm.weights, doubled), (self.head, head)):
                mine.zero_()
                mine[own:] = theirs[-h:]
                if len(theirs) > h:
                    mine[:INPUTS] = theirs[:INPUTS]
                if len(theirs) == len(mine):
                    mine[INPUTS:own] = theirs[INPUTS:own]
            self.bias.copy_(torch.from_numpy(released.bias.astype(np.float32)) / (HEAD_UNIT * 128))

    def forward(self, inputs: Any) -> torch.Tensor:
        """Run `RowLstm.forward`; sets the inputs that this network does not see to 0 in place."""
        inputs[..., self.blind] = 0
        return self.lstm.forward(inputs)

    def bits(self, seen: torch.Tensor, error: Any, scale: Any) -> torch.Tensor:
        """Return `ideal_bits` with the present head and distributions."""
        return ideal_bits(self.shape, seen @ self.head + self.bias, error, scale)

    def update(self, inputs: Any, error: Any, scale: Any, rate: float, clip: float) -> float:
        """Do one step of Adam on a batch; returns its bits per voxel."""
        seen = (self.forward(inputs).float() / 128).requires_grad_()
        self.optimiser.zero_grad()
        loss = self.bits(seen, error, scale)
        loss.backward()
        assert seen.grad is not None
        self.lstm.backward(seen.grad[..., INPUTS:])
        torch.nn.utils.clip_grad_norm_(self.parameters(), clip)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """Return everything, for a checkpoint or for a trainee on another device."""
        return {
            "name": self.name, "seed": self.seed, "step": self.step, "seconds": self.seconds,
            "parameters": [p.detach() for p in self.parameters()], "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state`."""
        self.seed, self.step, self.seconds = state["seed"], state["step"], state["seconds"]
        with torch.no_grad():
            for parameter, saved in zip(self.parameters(), state["parameters"], strict=True):
                parameter.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])

    def on_cpu(self) -> RowTrainee:
        """Return the trainee on the CPU, where models are exported."""
        if isinstance(self.lstm.passes, CpuPasses):
            return self
        other = RowTrainee(self.name, self.seed)
        other.restore(self.state())
        return other

    def save(self, path: pathlib.Path) -> None:
        """Write a checkpoint to a temporary file and rename it, so that an interrupt leaves a complete one."""
        temporary = path.with_suffix(".part")
        torch.save(self.state(), temporary)
        temporary.replace(path)

    def load(self, path: pathlib.Path) -> None:
        """Continue from a checkpoint of the same model, of any device."""
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["name"] != self.name:
            raise ValueError(f"{path} is a checkpoint of {state['name']}, not of {self.name}")
        self.restore(state)
