"""The inverse dynamics model in a dream: what is imagined is read as actions, as it is when a robot is driven.

In a dream nothing is measured. The arm's pose is counted on from the one at the start, by what the pictures say that
the joints did; slowly it is drawn to where each picture by itself says that they are, so that errors do not add up.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from assets.errors import InputError
from policies.idm.forms import Told
from policies.idm.model import InverseDynamics
from policies.video.network import Meaning, VideoNetwork

DRAWN = 0.05  # share of the way to what the pictures say, in a chunk


class Translation:
    """Translates the chunks of B dreams, in turn; fits `policies.video.dream.Translate`."""

    def __init__(self, network: VideoNetwork, idm: InverseDynamics, known: Meaning, pose: Tensor, body: Tensor) -> None:
        """Begin.

        Args:
            network: that dreams.
            idm: that translates.
            known: what the numbers of `idm` mean.
            pose: (B, joints) at the last real frame [rad]; NaN where it is not known.
            body: (B,) index of the arm and tool among those of the network.

        Raises:
            InputError: the two models see other views, or `idm` does not know the arm.
        """
        meaning = network.meaning
        if (known.views, known.rate, known.stride) != (meaning.views, meaning.rate, meaning.stride):
            names = [[view.name for view in m.views] for m in (meaning, known)]
            raise InputError(f"the video model sees {names[0]} at {meaning.rate:g} Hz, the inverse model {names[1]}")
        if bool((body < 0).any()):
            raise InputError("the inverse model cannot act in video without a robot")
        bodies = [meaning.embodiments[i] for i in body.tolist()]
        strange = [one.name for one in bodies if one not in known.embodiments]
        if strange:
            raise InputError(f"the inverse model does not know {strange[0]}")
        self.network, self.idm, self.body = network, idm, body
        self.number = torch.tensor([known.embodiments.index(one) for one in bodies], device=body.device)
        self.pose = F.pad(pose.to(body.device), (0, idm.config.joints - pose.shape[1]))
        self.chunk = network.model.config.chunk
        self._begun = False

    @property
    def history(self) -> int:
        """Frames before a chunk that are needed: the chunk before it, and the frame that it began with."""
        return self.chunk + 1

    @torch.no_grad()
    def __call__(self, frames: Tensor, past: int) -> Tensor:
        """Return normalized actions (B, n - past, stride * A): those that lead to the frames (B, n) after the past."""
        c, now = self.idm.config, past - 1
        rows, length = frames.shape[:2]
        nothing = torch.zeros(rows, length, dtype=torch.bool, device=frames.device)
        told = Told(
            self.number,
            torch.zeros(rows, length, c.proprio, device=frames.device),
            nothing,
            torch.zeros(rows, length - 1, c.stride, c.actions, device=frames.device),
            nothing[:, 1:],
        )
        reading = self.idm(self.idm.see(self.network.decode(frames)), now, told)
        base = reading.base[:, 0]
        self.pose = torch.where(torch.isfinite(self.pose), self.pose, base)
        if self._begun:
            before = max(0, now - self.chunk)
            self.pose = self.pose + reading.poses[0][:, now] - reading.poses[0][:, before]
            self.pose = self.pose + DRAWN * (base - self.pose)
        self._begun = True
        joint = self.idm.targets[self.number][:, None, None]
        off = (self.pose - base)[:, None, None].expand(-1, 1, 1, -1)
        shift = torch.where(joint >= 0, off.gather(-1, joint.clamp(min=0)), 0.0)
        actions = (reading.actions[0] + shift)[:, now:]
        scale = self.network.meaning.statistics.actions
        width = scale.mean.shape[-1]
        actions = F.pad(actions, (0, max(0, width - actions.shape[-1])))[..., :width]
        flat = scale.normalize(actions, self.body).flatten(2)
        return F.pad(flat, (0, self.network.model.config.actions - flat.shape[-1]))
