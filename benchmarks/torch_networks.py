"""The same networks in plain PyTorch, as a peer to measure against."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Fire(nn.Module):
    def __init__(self, rank: int, inputs: int, config: dict[str, int]) -> None:
        super().__init__()
        conv = nn.Conv3d if rank == 3 else nn.Conv2d
        self.squeeze = conv(inputs, config["s1x1"], 1)
        self.expand3x3 = conv(config["s1x1"], config["e3x3"], 3, padding=1)
        self.expand1x1 = conv(config["s1x1"], config["e1x1"], 1) if "e1x1" in config else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu_(self.squeeze(x))
        wide = torch.relu_(self.expand3x3(x))
        if self.expand1x1 is None:
            return wide
        return torch.cat([torch.relu_(self.expand1x1(x)), wide], 1)


class SqueezeNetwork(nn.Module):
    """Logits of a variant; channels first, with the weights in channels-last memory."""

    def __init__(self, config: dict[str, Any], channels: int, classes: int) -> None:
        super().__init__()
        rank = 3 if config["use_3d"] else 2
        conv, pool = (nn.Conv3d, nn.MaxPool3d) if rank == 3 else (nn.Conv2d, nn.MaxPool2d)
        width = config["conv1_filters"]
        self.stem = conv(channels, width, config["conv1_kernel"], stride=config["conv1_stride"])
        self.pool = pool(3, stride=2, ceil_mode=True)
        self.pools = set(config["pool_indices"])
        self.fires = nn.ModuleList()
        self.adds = []
        for fire in config["fire_configs"]:
            self.fires.append(Fire(rank, width, fire))
            wider = fire.get("e1x1", 0) + fire["e3x3"]
            self.adds.append(config.get("use_bypass") == "simple" and wider == width)
            width = wider
        self.dropout = nn.Dropout(0.5)
        self.head = conv(width, classes, 1)
        layout = torch.channels_last_3d if rank == 3 else torch.channels_last
        self.to(memory_format=layout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu_(self.stem(x))
        if 1 in self.pools:
            x = self.pool(x)
        for number, (fire, add) in enumerate(zip(self.fires, self.adds, strict=True), start=2):
            x = fire(x) + x if add else fire(x)
            if number in self.pools:
                x = self.pool(x)
        return self.head(self.dropout(x)).flatten(2).mean(2)
