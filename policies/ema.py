"""The exponential moving average of weights: what is kept, tested and shown, steadier than the last step's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Average:
    """Averaged parameters of a module; buffers are taken as they are.

    `values` are the averages by name; there is none with a `decay` of 0, which stands for the weights themselves.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Begin with the weights as they are; each step keeps the share `decay` of the average, less at first."""
        self.decay = decay
        self.values: dict[str, Tensor] = {}
        if decay:
            self.values = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps."""
        if self.values:
            decay = min(self.decay, (1 + step) / (10 + step))
            parameters = dict(module.named_parameters())
            for name, value in self.values.items():
                value.lerp_(parameters[name], 1 - decay)

    @contextlib.contextmanager
    def in_place_of(self, module: nn.Module) -> Iterator[None]:
        """Let the module have the averaged weights while within."""
        parameters = dict(module.named_parameters())
        own = {name: parameters[name].data for name in self.values}
        for name, value in self.values.items():
            parameters[name].data = value
        try:
            yield
        finally:
            for name, value in own.items():
                parameters[name].data = value
