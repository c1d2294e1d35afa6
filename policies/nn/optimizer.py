"""The optimizer: Muon for the matrices inside, AdamW for everything else, behind one `step`.

Muon makes every update of a matrix orthogonal (Jordan et al., kellerjordan.github.io/posts/muon); scaled to AdamW's
usual size (Liu et al., arXiv 2502.16982), so that both share one learning rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer


class Both(Optimizer):
    """Two optimizers as one. `param_groups` are those of both: a schedule sets `lr` in each, from its `initial_lr`."""

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts
        for group in (group for part in parts for group in part.param_groups):
            group.setdefault("initial_lr", group["lr"])
        super().__init__([p for part in parts for group in part.param_groups for p in group["params"]], {})
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update all parameters that have a gradient."""
        loss = closure() if closure is not None else None
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of both."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def is_inside(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a matrix inside a network, which Muon is made for: of a transformer's block, or a kernel.

    Projections into and out of a network are not, nor are embeddings.
    """
    return parameter.ndim == 2 and (("blocks." in name and name.endswith("weight")) or name.endswith("kernel"))


def make_optimizer(module: nn.Module, lr: float, weight_decay: float = 0.05) -> Both:
    """Return the optimizer of a module whose transformer blocks are in a list called `blocks`; see `is_inside`.

    Args:
        module: parameters that do not require a gradient are left out.
        lr: learning rate of both parts, per step.
        weight_decay: of matrices (relative to lr); vectors, embeddings and kernels are not decayed.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if is_inside(name, p)]
    others = [p for name, p in named if not is_inside(name, p)]
    parts: list[Optimizer] = []
    if matrices:
        parts.append(Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    if others:
        parts.append(AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0))
    return Both(parts)
