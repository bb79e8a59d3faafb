"""An independent torch implementation of the networks, and weights that let differences show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

# Written out here and not imported: the oracle must not share a table with what it judges.
STEMS = {"1.0": (96, 7, (1, 4, 8)), "1.1": (64, 3, (1, 3, 5))}
SQUEEZES = {
    "squeezenet": (16, 16, 32, 32, 48, 48, 64, 64),
    "squeezenodule_v1": (16, 16, 32, 32, 48, 48, 64, 64),
    "squeezenodule_v2": (32, 32, 64, 64, 96, 96, 64, 64),
}
EXPANDS = (64, 64, 128, 128, 192, 192, 256, 256)


class TorchFire(nn.Module):
    """torchvision's names: squeeze, expand1x1 (SqueezeNet only), expand3x3."""

    def __init__(self, rank: int, inputs: int, squeeze: int, expand: int, both: bool) -> None:
        super().__init__()
        conv = nn.Conv3d if rank == 3 else nn.Conv2d
        self.squeeze = conv(inputs, squeeze, 1)
        if both:
            self.expand1x1 = conv(squeeze, expand, 1)
        self.expand3x3 = conv(squeeze, expand, 3, padding=1)
        self.both = both

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.squeeze(x))
        wide = torch.relu(self.expand3x3(x))
        return torch.cat([torch.relu(self.expand1x1(x)), wide], 1) if self.both else wide


class TorchSqueezeNet(nn.Module):
    """The published networks; ``features`` and ``classifier`` are numbered as in torchvision.

    ``forward`` returns the logits and a dictionary of every stage's features.
    """

    def __init__(
        self,
        family: str = "squeezenet",
        stem: str = "1.0",
        rank: int = 2,
        channels: int = 3,
        classes: int = 1000,
        bypass: bool = False,
        head_relu: bool = True,
    ) -> None:
        super().__init__()
        conv, pool = (nn.Conv3d, nn.MaxPool3d) if rank == 3 else (nn.Conv2d, nn.MaxPool2d)
        filters, kernel, pools = STEMS[stem]
        layers: list[nn.Module] = [conv(channels, filters, kernel, stride=2), nn.ReLU()]
        self.stage_at = {1: "conv1"}
        width = filters
        both = family == "squeezenet"
        for number in range(1, 10):
            if number > 1:
                squeeze, expand = SQUEEZES[family][number - 2], EXPANDS[number - 2]
                layers.append(TorchFire(rank, width, squeeze, expand, both))
                width = 2 * expand if both else expand
                self.stage_at[len(layers) - 1] = f"fire{number}"
            if number in pools:
                layers.append(pool(3, stride=2, ceil_mode=True))
                self.stage_at[len(layers) - 1] = f"pool{number}"
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.5), conv(width, classes, 1))
        self.bypass = bypass
        self.head_relu = head_relu

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        stages = {}
        for index, layer in enumerate(self.features):
            y = layer(x)
            stage = self.stage_at.get(index)
            if self.bypass and stage in ("fire3", "fire5", "fire7", "fire9"):
                y = y + x
            x = y
            if stage:
                stages[stage] = x
        x = self.classifier(x)
        if self.head_relu:
            x = torch.relu(x)
        return x.flatten(2).mean(2), stages


def _he_initialise_torch(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
            else:
                # Biases count too, so they are not left at zero.
                parameter.normal_(0.0, 0.1, generator=generator)


def _copy_to_keras(net: nn.Module, model: Any) -> None:
    parameters = [p.detach().numpy() for p in net.parameters()]
    assert len(parameters) == len(model.weights)
    model.set_weights([p if p.ndim == 1 else np.moveaxis(p, (0, 1), (-1, -2)) for p in parameters])


def _he_initialise(model: Any, seed: int = 0) -> Any:
    """He-normal kernels and small biases from NumPy; other weights (normalization) stay."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        shape = tuple(weight.shape)
        if weight.name == "kernel":
            scale = (2.0 / np.prod(shape[:-1])) ** 0.5
            weight.assign(rng.normal(0.0, scale, shape).astype("float32"))
        elif weight.name == "bias":
            weight.assign(rng.normal(0.0, 0.1, shape).astype("float32"))
    return model


@pytest.fixture(scope="session")
def he_initialise() -> Callable[..., Any]:
    return _he_initialise


@pytest.fixture(scope="session")
def he_torch() -> Callable[..., TorchSqueezeNet]:
    """``he_torch(seed=0, family=..., stem=..., ...)``: a He-initialised torch network."""

    def build(seed: int = 0, **options: Any) -> TorchSqueezeNet:
        net = TorchSqueezeNet(**options)
        _he_initialise_torch(net, seed)
        return net.eval()

    return build


@pytest.fixture(scope="session")
def copy_to_keras() -> Callable[[nn.Module, Any], None]:
    return _copy_to_keras
