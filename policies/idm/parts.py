"""What the inverse dynamics model is built of: reading flow at a pose, poses from pictures, blocks over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.idm.points import GRID, NUMBERS
from policies.nn.layers import Attention, Feedforward, norm

SMALL = 32  # [pixels] pictures from which poses are told
BLIND = 0.1  # share of the points that are hidden in training


class Reader(nn.Module):
    """Reads the flow between two frames at a pose: what the joints did.

    What a flow says depends on the pose, nearly linearly in the flow: the pose gates what is made of it. Pictures
    themselves are no input: from a few hundred episodes a network would learn which episode it sees, and recite it.
    """

    def __init__(self, views: int, joints: int, width: int) -> None:
        super().__init__()
        self.flow = nn.Linear(views * GRID * GRID * NUMBERS, width)
        self.pose = nn.Sequential(nn.Linear(2 * joints, width), nn.SiLU(), nn.Linear(width, width))
        self.gate = nn.Sequential(nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList([Gated(width) for _ in range(2)])
        self.step = nn.Linear(width, 2 * joints)

    def forward(self, flow: Tensor, pose: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (..., width), and mean and logarithm of the spread of the joints' step, (..., 2 * joints).

        Args:
            flow: (..., width), the projected points, see `project`.
            pose: joint positions at the later frame (..., joints) [rad].
            context: (..., width), of the embodiment.
        """
        here = context + self.pose(torch.cat([pose.sin(), pose.cos()], -1))
        x = flow * (1.0 + self.gate(here)) + here
        for layer in self.layers:
            x = layer(x)
        return x, self.step(x)

    def project(self, points: Tensor, blind: bool = False) -> Tensor:
        """Project what is told of the points, (..., views, points, NUMBERS), the same for every pose.

        With `blind`, some of them are hidden, as a training against reciting what was seen.
        """
        if blind:
            points = points * (torch.rand(points.shape[:-1], device=points.device) >= BLIND)[..., None]
        return self.flow(points.flatten(-3))


class Gated(nn.Module):
    """A residual layer in which half of the numbers gate the other half."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width) for x (..., width)."""
        value, gate = self.inward(x).chunk(2, -1)
        return x + self.outward(value * gate.sigmoid())


class Place(nn.Module):
    """Tells joint positions from one picture of each view, for when nothing measures them."""

    def __init__(self, views: int, joints: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3 * views, 24, 5, 2, 2),
            nn.SiLU(),
            nn.Conv2d(24, 32, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(32, 48, 3, 2, 1),
        )
        self.joints = nn.Sequential(
            nn.SiLU(), nn.Linear(48 * (SMALL // 8) ** 2, 96), nn.SiLU(), nn.Linear(96, joints + 1)
        )

    def forward(self, small: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions (B, W, joints) over their spread, and how sure each frame is (B, W, 1).

        Args:
            small: pictures (B, W, views * 3, SMALL, SMALL) around 0.
        """
        found = self.joints(self.convolutions(small.flatten(0, 1)).flatten(1)).unflatten(0, small.shape[:2])
        return found[..., :-1], found[..., -1:]


class Block(nn.Module):
    """Attention among the frames of a window, then a feedforward, both on normalized tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.feedforward = Attention(width, heads), Feedforward(width, 3 * width)

    def forward(self, x: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
        """Return tokens (B, W, width)."""
        x = x + self.attention(norm(x), positions=positions)
        return x + self.feedforward(norm(x))


def shrink(pictures: Tensor) -> Tensor:
    """Return pictures (B, W, views, size, size, 3), 0..1, as `Place` sees them."""
    planes = pictures.flatten(0, 2).movedim(-1, 1)
    small = F.interpolate(planes, size=(SMALL, SMALL), mode="area")
    return small.unflatten(0, pictures.shape[:3]).flatten(2, 3) - 0.4
