"""What a frame is predicted from besides the frames before it: the body, the actions, the task, the embodiment.

Everything can be unknown, frame by frame: the body of a frame that is yet to come, the actions of a chunk that is not
decided, both in video without a robot. A known number is embedded, an unknown one replaced by a learned vector.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.nn.layers import waves

WAVES = 32


@dataclasses.dataclass
class Condition:
    """Conditions of T frames in B rows; numbers normalized.

    Attributes:
        task: (B,) int64 index of the task, -1 where unknown.
        embodiment: (B,) int64 index of arm and tool, -1 where unknown.
        proprio: (B, T, P) joint positions, torques and tool as each frame is seen; None if never known.
        proprio_known: (B, T) bool; None for wherever `proprio` is.
        actions: (B, T, stride * A) the actions that LEAD TO each frame; None if never known.
        actions_known: (B, T) bool; None for wherever `actions` are.
        text: (B, text) features of the task's text from a larger encoder, used instead of `task`; None without one.
    """

    task: Tensor
    embodiment: Tensor
    proprio: Tensor | None = None
    proprio_known: Tensor | None = None
    actions: Tensor | None = None
    actions_known: Tensor | None = None
    text: Tensor | None = None

    def frames(self, which: slice) -> Condition:
        """Return the conditions of some of the frames."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[:, which]

        return dataclasses.replace(
            self,
            proprio=cut(self.proprio),
            proprio_known=cut(self.proprio_known),
            actions=cut(self.actions),
            actions_known=cut(self.actions_known),
        )

    def ahead(self, actions: Tensor | None, known: Tensor | None = None) -> Condition:
        """Return the conditions of T frames to come: no body, actions (B, T, stride * A) as far as `known` (B, T)."""
        return Condition(self.task, self.embodiment, actions=actions, actions_known=known, text=self.text)

    def rows(self, which: Tensor) -> Condition:
        """Return the conditions of some of the rows."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: x[which] for name, x in given.items() if x is not None})

    def hidden(self, body: Tensor, actions: Tensor) -> Condition:
        """Return the same with less known: the body only where `body` (B, T), the actions only where `actions`."""
        return dataclasses.replace(
            self,
            proprio_known=body if self.proprio_known is None else body & self.proprio_known,
            actions_known=actions if self.actions_known is None else actions & self.actions_known,
        )


class ConditionEmbedding(nn.Module):
    """Conditions and a noise level to one vector for each frame."""

    def __init__(self, width: int, proprio: int, actions: int, tasks: int, embodiments: int, text: int = 0) -> None:
        """Make it for so many numbers of body and actions, so many tasks and embodiments, text features if any."""
        super().__init__()
        self.proprio = nn.Linear(proprio, width) if proprio else None
        self.actions = nn.Linear(actions, width) if actions else None
        self.level = nn.Linear(WAVES, width)
        self.task = nn.Embedding(tasks + 1, width)
        self.embodiment = nn.Embedding(embodiments + 1, width)
        self.text = nn.Linear(text, width) if text else None
        self.no_proprio = nn.Parameter(0.1 * torch.randn(width))
        self.no_actions = nn.Parameter(0.1 * torch.randn(width))
        self.outward = nn.Linear(width, width)
        nn.init.normal_(self.task.weight, std=0.3)
        nn.init.normal_(self.embodiment.weight, std=0.3)

    def forward(self, level: Tensor, condition: Condition) -> Tensor:
        """Return (B, T, width) for noise levels (B, T) and the conditions of these frames."""
        dtype = self.outward.weight.dtype
        proprio = _known(self.proprio, self.no_proprio, condition.proprio, condition.proprio_known, level)
        actions = _known(self.actions, self.no_actions, condition.actions, condition.actions_known, level)
        if self.text is not None and condition.text is not None:
            task = self.text(condition.text.to(dtype))
        else:
            task = self.task(condition.task + 1)
        row = task + self.embodiment(condition.embodiment + 1)
        return self.outward(F.silu(proprio + actions + row[:, None] + self.level(waves(level, WAVES).to(dtype))))


def _known(project: nn.Linear | None, unknown: Tensor, x: Tensor | None, known: Tensor | None, like: Tensor) -> Tensor:
    """Return the embedding (B, T, width) of numbers where they are known, and `unknown` elsewhere."""
    if project is None or x is None:
        return unknown.expand(*like.shape, -1)
    if known is None:
        return project(x.to(project.weight.dtype))
    # What is unknown may be anything, even not a number: it is blanked before it is touched.
    there = known[..., None]
    embedded = project(x.masked_fill(~there, 0.0).to(project.weight.dtype))
    return torch.where(there, embedded, unknown.to(embedded.dtype))
