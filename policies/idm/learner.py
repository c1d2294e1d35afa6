"""What `policies.training` trains here: the inverse dynamics model, on real frames and on frames of a video model.

In every window the last real frame is drawn anew, and what is known beside the pictures: measurements of that frame
alone, of those before it, or none (as when video is labelled); actions of the past, and of some frames in flight.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from assets.errors import InputError
from policies.data.windows import Batch
from policies.idm.errors import target_errors, with_room
from policies.idm.forms import Reading, Sight, Told
from policies.idm.model import InverseDynamics
from policies.idm.sights import see
from policies.nn.optimizer import make_optimizer
from policies.video.flow import at_level
from policies.video.learner import condition_of, latents_in
from policies.video.network import Meaning, VideoNetwork

HISTORY, AHEAD = 5, 3  # last real frames at most, and frames after them at least
LONE, UNMEASURED, WHOLE, FORGOTTEN, FLYING = 0.2, 0.1, 0.1, 0.15, 0.5  # shares of windows: see `draw_told`
IMAGINED = 0.4  # share of batches whose future a video model paints, where there is one
STEPS = 2  # by which it denoises
ASTRAY = 0.015  # [rad] how wrong the poses are at which the flow is read
BETA = 0.5  # spreads weigh errors less than a likelihood would (Seitzer et al., arXiv 2203.09168)


class IDMLearner:
    """Trains an `InverseDynamics` on windows of pictures, of `HISTORY` + `AHEAD` frames at least."""

    def __init__(self, module: InverseDynamics, meaning: Meaning, video: VideoNetwork | None = None) -> None:
        """Train with what a `video` model makes of the frames too, if there is one.

        Raises:
            InputError: the video model sees other views.
        """
        self.module, self.meaning, self.video = module, meaning, video
        if video is not None and video.meaning.views != meaning.views:
            views = [[view.name for view in m.views] for m in (video.meaning, meaning)]
            raise InputError(f"the video model sees {views[0]}, the inverse model {views[1]}: they must see the same")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch: likelihoods of actions, poses, and what the flow alone says of steps.

        Raises:
            InputError: a window without actions, or too short.
        """
        length = batch.proprio.shape[1]
        if not bool(batch.known.all()):
            raise InputError("an inverse dynamics model learns from actions: give it no video without")
        if length < HISTORY + AHEAD:
            raise InputError(f"windows of {length} frames; the inverse dynamics model wants {HISTORY + AHEAD} or more")
        now = int(torch.randint(HISTORY, ()))
        sight = self._see(batch, now)
        batch = with_room(batch, self.module.config)
        told = draw_told(batch, now)
        with torch.autocast(batch.proprio.device.type, enabled=False):  # bfloat16 rounds targets by milliradians
            joints = batch.proprio[:, 1:, : self.module.config.joints]
            astray = joints + ASTRAY * torch.randn_like(joints[:, :1]) * torch.rand_like(joints[:, :1, :1])
            steps = self.module.steps(sight, astray, batch.embodiment)
            return self._losses(steps, self.module(sight, now, told), batch, told, now)

    def _see(self, batch: Batch, now: int) -> Sight:
        """See a batch's pictures, or recall what was seen of them (`policies.idm.sights`)."""
        if next(iter(batch.frames.values())).dim() == 3:
            return see(self.module, batch.frames)
        frames = {view: pictures.float() / 255 for view, pictures in batch.frames.items()}
        if self.video is not None and float(torch.rand(())) < IMAGINED:
            frames = painted(self.video, batch, now, float(torch.rand(())))
        return self.module.see({view: _varied(pictures) for view, pictures in frames.items()})

    def _losses(
        self, steps: tuple[Tensor, Tensor], reading: Reading, batch: Batch, told: Told, now: int
    ) -> dict[str, Tensor]:
        module, c = self.module, self.module.config
        joints = batch.proprio[..., : c.joints]
        real = (module.motion[batch.embodiment] > 0)[:, None]
        widths = torch.tensor([len(e.actions) for e in self.meaning.embodiments], device=joints.device)
        named = (torch.arange(c.actions, device=joints.device) < widths[batch.embodiment, None])[:, None, None]
        step, action = module.step_scale(batch.embodiment), module.action_scale(batch.embodiment)
        # Poses that pictures tell are rough: motion is judged on top of the true pose, and they by themselves.
        off = joints[:, now, None] - reading.base.detach()
        joint = module.targets[batch.embodiment][:, None]
        moved = joints[:, 1:] - joints[:, :-1]
        targets = batch.actions[:, :-1] - torch.where(joint >= 0, off.gather(2, joint.clamp(min=0)), 0.0)[:, :, None]
        parts = {
            "actions": _likelihood(reading.actions, targets, action, named & ~told.commanded[..., None, None]),
            "poses": _likelihood(reading.poses, joints - off, step, real & ~told.measured[..., None]),
            "steps": _likelihood(steps, moved, step, real),
        }
        loss = parts["actions"] + parts["poses"] + parts["steps"]
        if reading.places is not None:
            spread = module.proprio_spread[batch.embodiment][:, None, : c.joints]
            unmeasured = real & ~told.measured[:, now, None, None]
            wrong = [(reading.places - joints) / spread, (reading.base - joints[:, now, None]) / spread]
            parts["places"] = torch.stack([(w.square() * unmeasured).mean() for w in wrong]).sum() / UNMEASURED
            loss = loss + parts["places"]
        return {"loss": loss, **parts}

    def optimizer(self, lr: float) -> Optimizer:
        """Return the optimizer."""
        return make_optimizer(self.module, lr)

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint says of the model."""
        return {"kind": "idm", "config": dataclasses.asdict(self.module.config), **self.meaning.about}

    @torch.no_grad()
    def sample(self, batch: Batch, writer: SummaryWriter, step: int) -> None:
        """Tell how wrong joint targets are [mrad], by how far ahead, on real frames and on imagined ones."""
        now = min(HISTORY - 1, batch.proprio.shape[1] - 1 - AHEAD)
        seen = {"real": batch.frames}
        if self.video is not None and batch.frames[self.module.config.views[0]].dim() == 5:
            seen["imagined"] = painted(self.video, batch, now, 1.0)
        for kind, frames in seen.items():
            errors = target_errors(self.module, batch, now, frames=frames)
            for ahead, error in enumerate(errors.square().mean(-1).sqrt().tolist(), 1):
                writer.add_scalar(f"sample/{kind}_mrad_{ahead}", 1000 * error, step)


def draw_told(batch: Batch, now: int) -> Told:
    """Draw what is known of a batch's windows whose last real frame is `now`.

    Some windows have measurements of that frame alone (`LONE`), some none (`UNMEASURED`), some of all frames (`WHOLE`,
    as a recorded state that is to be labelled); some do not know the actions of the past (`FORGOTTEN`, as have those);
    in some of the others, the actions of a few frames are in flight (`FLYING`).
    """
    rows, length = batch.proprio.shape[:2]
    device = batch.proprio.device
    lone, unmeasured, whole, forgotten, flying = (
        torch.rand(rows, 1, device=device) < share for share in (LONE, UNMEASURED, WHOLE, FORGOTTEN, FLYING)
    )
    frame = torch.arange(length, device=device)
    measured = (frame == now) | ((frame < now) & ~lone) | whole
    flight = torch.randint(length - now, (rows, 1), device=device)
    interval = frame[:-1]
    commanded = (interval < now) | ((interval < now + flight) & flying)
    return Told(
        batch.embodiment,
        batch.proprio,
        measured & (~unmeasured | whole),
        batch.actions[:, :-1],
        commanded & ~forgotten & ~unmeasured & ~whole,
    )


@torch.no_grad()
def painted(video: VideoNetwork, batch: Batch, now: int, level: float) -> dict[str, Tensor]:
    """Return a batch's pictures by view, (B, T, size, size, 3) in 0..1, those after frame `now` by a video model.

    Level 0: as its tokenizer renders them. Above: noised up to that level, 0..1, and denoised one after the other, so
    that they hold less of the truth and more of the model's imagination.
    """
    truth, condition = latents_in(video, batch), condition_of(video, batch)
    model, future = video.model, truth[:, now + 1 :].clone()
    if level > 0:
        cache = model.cache(len(truth), truth.shape[1])
        for t in range(truth.shape[1]):
            here, frame = condition.frames(slice(t, t + 1)), truth[:, t : t + 1]
            if t > now:
                frame = at_level(frame, frame.new_full(frame.shape[:2], level))
                for k in range(STEPS):
                    high, low = (level * (1 - j / STEPS) for j in (k, k + 1))
                    clean = model.step(frame, frame.new_full(frame.shape[:1], high), here, cache)
                    frame = torch.lerp(clean, frame, low / high)
                future[:, t - now - 1 : t - now] = frame
            model.step(frame, frame.new_zeros(frame.shape[:1]), here, cache, write=True)
    real = {view: batch.frames[view][:, : now + 1].float() / 255 for view in batch.frames}
    return {view: torch.cat([real[view], seen.float()], 1) for view, seen in video.decode(future).items()}


def _varied(pictures: Tensor) -> Tensor:
    """Return windows (B, T, size, size, 3) with contrast, brightness and noise of their own."""
    draw = torch.rand(3, len(pictures), 1, 1, 1, 1, device=pictures.device)
    noise = torch.randn_like(pictures) * (0.015 * draw[2])
    return pictures * (0.8 + 0.4 * draw[0]) + 0.1 * (draw[1] - 0.5) + noise


def _likelihood(found: tuple[Tensor, Tensor], truth: Tensor, scale: Tensor, where: Tensor) -> Tensor:
    """Return the mean negative log-likelihood, weighted by spreads (`BETA`), in units of `scale`."""
    log = found[1] - scale.log()
    off = (found[0] - truth) / scale
    value = (0.5 * (off / log.exp()).square() + log) * log.detach().exp() ** (2 * BETA)
    where = where.expand_as(value)
    return (value * where).sum() / where.sum().clamp(min=1)
