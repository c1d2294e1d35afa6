"""What goes into the inverse dynamics model and comes out, and its size. B windows of W frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from assets.errors import InputError
from policies.data.view import View
from policies.embodiment import Embodiment

ROOM = (4, 16, 8)  # embodiments, proprioception and actions that a model has room for at least


@dataclasses.dataclass(frozen=True)
class IDMConfig:
    """The network's size, and the widest numbers among its embodiments.

    Attributes:
        views: names of the views, in order.
        joints, proprio, actions: numbers at most of an embodiment.
        stride: actions between two frames.
        embodiments: how many.
        size: [pixels] of a view.
        width, depth, heads: of the transformer.
        reader: width of what reads the flow.
    """

    views: tuple[str, ...]
    joints: int
    proprio: int
    actions: int
    stride: int = 1
    embodiments: int = 1
    size: int = 64
    width: int = 160
    depth: int = 2
    heads: int = 5
    reader: int = 256

    def __post_init__(self) -> None:
        """Take lists, as they come from YAML; refuse what cannot be built."""
        object.__setattr__(self, "views", tuple(self.views))
        if not self.views or self.size % 16:
            raise InputError(f"idm: views {self.views} of {self.size} pixels; wanted is a view and a multiple of 16")
        if self.width % (2 * self.heads):
            raise InputError(f"idm: width = {self.width} must be a multiple of twice heads = {self.heads}")

    @staticmethod
    def of(views: Sequence[View], embodiments: Sequence[Embodiment], stride: int, **network: int) -> IDMConfig:
        """Return the configuration for these embodiments, with room for others that may come later (`adopt`).

        Raises:
            InputError: no views, or views of several sizes.
        """
        if len({view.size for view in views}) != 1:
            raise InputError(f"idm: views of sizes {[view.size for view in views]}; one size for all is needed")
        return IDMConfig(
            tuple(view.name for view in views),
            max(len(e.positions) for e in embodiments),
            max(ROOM[1], *(len(e.proprio) for e in embodiments)),
            max(ROOM[2], *(len(e.actions) for e in embodiments)),
            stride,
            max(ROOM[0], len(embodiments)),
            views[0].size,
            **network,
        )


@dataclasses.dataclass(frozen=True)
class Sight:
    """What is seen in a window: points (B, W - 1, views, points, NUMBERS), small pictures (B, W, views * 3, 32, 32)."""

    points: Tensor
    small: Tensor


@dataclasses.dataclass(frozen=True)
class Told:
    """What is known of a window of W frames beside the pictures; values are read only where they are known.

    Attributes:
        embodiment: (B,).
        proprio, measured: (B, W, proprio) and (B, W) bool.
        actions, commanded: (B, W - 1, stride, actions), those between a frame and the next, and (B, W - 1) bool.
    """

    embodiment: Tensor
    proprio: Tensor
    measured: Tensor
    actions: Tensor
    commanded: Tensor


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a window says; the mean and the logarithm of the spread of each number, SI units.

    Attributes:
        base: (B, 1, joints), the pose at the last real frame: measured, or told from the pictures.
        places: (B, W, joints), the poses that each picture alone tells, in windows that are not measured; None without.
        poses: (B, W, joints), joint positions at each frame, on top of the base; of the spread, that of the step to it.
        actions: (B, W - 1, stride, actions).
    """

    base: Tensor
    places: Tensor | None
    poses: tuple[Tensor, Tensor]
    actions: tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Actions:
    """Actions from the last real frame on: mean and spread (one standard deviation), (B, F, stride, actions)."""

    mean: Tensor
    spread: Tensor
