"""How wrong the joint targets are that the model reads, by how far ahead and by joint; and what no picture would do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from policies.data.windows import Batch
from policies.idm.forms import IDMConfig
from policies.idm.model import InverseDynamics
from policies.idm.sights import see


@torch.no_grad()
def target_errors(
    module: InverseDynamics,
    batch: Batch,
    now: int,
    flight: int = 0,
    measured: bool = True,
    frames: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return root mean square errors of joint targets (F, joints) [rad], by frames ahead of frame `now`.

    Those of an action that was in flight are 0.

    Args:
        module: the model.
        batch: windows.
        now: the last real frame; what was measured and commanded up to it is known.
        flight: frames after it whose actions are in flight, and known.
        measured: without, neither is known: poses are read from the pictures.
        frames: pictures in place of the batch's, e.g. imagined ones.
    """
    c = module.config
    batch = with_room(batch, c)
    ahead = batch.proprio.shape[1] - 1 - now
    found = module.predict(
        see(module, batch.frames if frames is None else frames),
        now,
        batch.proprio[:, : now + 1] if measured else None,
        batch.actions[:, now:-1],
        (torch.arange(ahead) < flight).expand(len(batch), -1),
        batch.embodiment,
        batch.actions[:, :now] if measured else None,
    )
    return _by_joint(module, batch, found.mean - batch.actions[:, now:-1])


def extrapolation_errors(module: InverseDynamics, batch: Batch, now: int) -> dict[str, Tensor]:
    """Return the same, (F, joints), for going on blindly: "hold" the last target, or go on as "linear" as it went."""
    batch = with_room(batch, module.config)
    truth, last = batch.actions[:, now:-1], batch.actions[:, now - 1, -1]
    speed = last - batch.actions[:, now - 2, -1]
    frames, stride = truth.shape[1:3]
    ahead = torch.arange(1, frames * stride + 1, device=truth.device).view(frames, stride, 1) / stride
    still = last[:, None, None].expand_as(truth)
    guesses = {"hold": still, "linear": still + speed[:, None, None] * ahead}
    return {name: _by_joint(module, batch, guess - truth) for name, guess in guesses.items()}


def with_room(batch: Batch, config: IDMConfig) -> Batch:
    """Return a batch whose numbers are as many as the model has room for."""
    proprio = F.pad(batch.proprio, (0, config.proprio - batch.proprio.shape[-1]))
    return dataclasses.replace(
        batch, proprio=proprio, actions=F.pad(batch.actions, (0, config.actions - batch.actions.shape[-1]))
    )


def _by_joint(module: InverseDynamics, batch: Batch, off: Tensor) -> Tensor:
    """Return the root mean square (F, joints) of errors (B, F, stride, actions) of joint targets."""
    joint = module.targets[batch.embodiment]
    place = F.one_hot(joint.clamp(min=0), module.config.joints).float() * (joint >= 0)[..., None]
    total = torch.einsum("bfa,baj->fj", off.square().mean(2), place)
    return (total / place.sum((0, 1)).clamp(min=1)).sqrt()
