"""Inverse dynamics: which actions lead through the frames of a window, read from followed points.

Points of each view are followed from frame to frame (`policies.idm.points`), and read as steps of the joints, first
with the pose at the last real frame, then with the poses that came out of that. A transformer, not causal, corrects the
steps by all frames of the window, by what the arm measured up to the last real one, and by the actions that are known.
Poses are sums of steps on top of the measured pose; joint targets are these poses plus a lead, most of it a filter of
the steps around: the inverse of the servo.

    found = model.predict(frames, now=3, proprio=proprio, embodiment=embodiment)
    found.mean                                  # (B, frames after the last real one, stride, actions) [rad]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assets.errors import InputError
from policies.embodiment import Embodiment
from policies.idm.forms import Actions, IDMConfig, Reading, Sight, Told
from policies.idm.parts import Block, Place, Reader, shrink
from policies.idm.points import brightness, describe, follow
from policies.idm.servo import TAPS, inverse_servo
from policies.nn.layers import rotary

__all__ = ["IDMConfig", "InverseDynamics"]

PASSES = 2  # how often the flow is read, each time with better poses
LEAST_MOTION = 0.002  # [rad] scale of joints that hardly move
LOG_SPREAD = (-7.0, 3.0)  # limits of the logarithm of a spread over its scale


class InverseDynamics(nn.Module):
    """Reads poses and actions of several embodiments from windows of frames. B windows of W frames."""

    targets: Tensor  # (E, actions) the joint that each action is the target of; -1 for the tool's commands
    motion: Tensor  # (E, joints) [rad] spread of the steps between frames; 0 where an embodiment has no such joint
    servo: Tensor  # (E, steps there are before, and after, stride, joints, taps): an action's lead is the sum over taps
    proprio_mean: Tensor  # (E, proprio), as is its spread
    proprio_spread: Tensor
    action_mean: Tensor  # (E, actions), for the tool's commands
    action_spread: Tensor

    def __init__(self, config: IDMConfig) -> None:
        """An untrained model; `measure` tells it the embodiments' scales, which its weights then carry."""
        super().__init__()
        self.config = c = config
        width, e = c.width, c.embodiments
        self.register_buffer("targets", torch.full((e, c.actions), -1))
        self.register_buffer("motion", torch.zeros(e, c.joints))
        self.register_buffer("servo", torch.zeros(e, TAPS + 1, TAPS + 1, c.stride, c.joints, 2 * TAPS + 1))
        for name, numbers in ("proprio", c.proprio), ("action", c.actions):
            self.register_buffer(f"{name}_mean", torch.zeros(e, numbers))
            self.register_buffer(f"{name}_spread", torch.ones(e, numbers))
        self.embodiment = nn.Embedding(e, c.reader)
        nn.init.normal_(self.embodiment.weight, std=0.1)
        self.reader = Reader(len(c.views), c.joints, c.reader)
        self.seen = nn.Linear(c.reader, width)
        self.place = Place(len(c.views), c.joints)
        self.measured = nn.Linear(c.proprio + 4 * c.joints + 2, width)
        self.commanded = nn.Linear(2 * c.stride * c.actions + 1, width)
        self.blocks = nn.ModuleList([Block(width, c.heads) for _ in range(c.depth)])
        self.step = nn.Linear(width, 2 * c.joints)
        self.lead = nn.Linear(width, 2 * c.stride * c.actions)
        for head in (self.step, self.lead):
            nn.init.normal_(head.weight, std=0.1 * width**-0.5)
            nn.init.zeros_(head.bias)

    # ---- scales ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self, number: int, embodiment: Embodiment, episodes: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take the scales of the embodiment of this number from its episodes.

        Args:
            number: of the embodiment.
            embodiment: its names.
            episodes: proprioception (n, its numbers) and actions (n, stride, its numbers) of n frames each.
        """
        joints = len(embodiment.positions)
        motion = torch.cat([proprio[1:, :joints] - proprio[:-1, :joints] for proprio, _ in episodes])
        self.motion[number, :joints] = motion.std(0).clamp(min=LEAST_MOTION)
        self.targets[number, : len(embodiment.actions)] = torch.tensor(embodiment.target_of)
        self.servo[number, ..., :joints, :] = inverse_servo(embodiment, episodes, self.config.stride)
        proprio, actions = (torch.cat(part) for part in zip(*episodes, strict=True))
        for name, values in ("proprio", proprio), ("action", actions.flatten(0, 1)):
            spread, count = values.std(0), values.shape[-1]
            getattr(self, f"{name}_mean")[number, :count] = values.mean(0)
            getattr(self, f"{name}_spread")[number, :count] = torch.where(spread < 1e-4, 1.0, spread)

    @torch.no_grad()
    def adopt(self, number: int, like: int = 0) -> None:
        """Let a new embodiment begin as one that the model knows; then `measure` it, and train on data of both."""
        self.embodiment.weight[number] = self.embodiment.weight[like]

    def step_scale(self, embodiment: Tensor) -> Tensor:
        """Return the scale (B, 1, joints) of a joint's steps."""
        motion = self.motion[embodiment][:, None]
        return torch.where(motion > 0, motion, 1.0)

    def action_scale(self, embodiment: Tensor) -> Tensor:
        """Return the scale (B, 1, 1, actions) of an action's error: its joint's steps, or the command's spread."""
        joint = self.targets[embodiment]
        steps = self.step_scale(embodiment)[:, 0].gather(1, joint.clamp(min=0))
        return torch.where(joint >= 0, steps, self.action_spread[embodiment])[:, None, None]

    # ---- seeing and reading ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def see(self, frames: Mapping[str, Tensor]) -> Sight:
        """Follow the points of frames by view, (B, W, size, size, 3), uint8 or 0..1.

        Raises:
            InputError: a view is missing, or of another size.
        """
        size = self.config.size
        for view in self.config.views:
            if view not in frames or frames[view].shape[2:] != (size, size, 3):
                there = ", ".join(f"{name} {tuple(f.shape[2:])}" for name, f in frames.items())
                raise InputError(f"idm: needs view {view!r} of {size} x {size} pixels, given are {there or 'none'}")
        pictures = torch.stack([frames[view] for view in self.config.views], 2)
        pictures = pictures.float() / 255.0 if pictures.dtype == torch.uint8 else pictures.float()
        with torch.autocast(pictures.device.type, enabled=False):  # hundredths of a pixel are lost in bfloat16
            luma = brightness(pictures)
            points = describe(*follow(luma[:, :-1].flatten(0, 2), luma[:, 1:].flatten(0, 2)))
        return Sight(points.unflatten(0, luma[:, 1:].shape[:3]), shrink(pictures))

    def forward(self, sight: Sight, now: int, told: Told) -> Reading:
        """Read a window whose last real frame is `now`: poses are counted from it."""
        c = self.config
        scale = self.step_scale(told.embodiment)
        there = told.measured[..., None] & (self.motion[told.embodiment] > 0)[:, None]
        joints = torch.where(there, told.proprio[..., : c.joints], 0.0)
        base: Tensor = joints[:, now, None]
        if not bool(told.measured[:, now].all()):
            base = torch.where(told.measured[:, now, None, None], base, self._mean(told)[..., : c.joints])
        guess = torch.where(told.measured[..., None], joints, base)

        with torch.no_grad():
            flow, context = self.reader.project(sight.points), self.embodiment(told.embodiment)[:, None]
            x, step = flow, flow[..., : c.joints]
            for _ in range(PASSES):
                x, read = self.reader(flow, guess[:, 1:], context)
                step = read[..., : c.joints] * scale
                base, _ = self._base(sight, now, told, joints, _path(step, now))
                guess = torch.where(told.measured[..., None], joints, base + _path(step, now))
        base, places = self._base(sight, now, told, joints, _path(step, now))
        x = F.pad(self.seen(x), (0, 0, 1, 0)) + self._facts(told, joints, guess, step, now)
        positions = rotary(torch.arange(x.shape[1], device=x.device) - now, c.width // c.heads)
        for block in self.blocks:
            x = block(x, positions)
        mean, log = self.step(x).chunk(2, -1)
        step = mean[:, 1:] * scale + step
        path = _path(step, now)
        poses = base.detach() + path, log.clamp(*LOG_SPREAD) + scale.log()
        # The action between frames i and i + 1 is read off the token of frame i + 1.
        lead, log = self.lead(x[:, 1:]).unflatten(-1, (2, c.stride, c.actions)).unbind(2)
        size = self.action_scale(told.embodiment)
        actions = self._targets(step, poses[0], joints, told) + lead * size
        return Reading(base, places, poses, (actions, log.clamp(*LOG_SPREAD) + size.log()))

    def steps(self, sight: Sight, poses: Tensor, embodiment: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the flow alone says of the joints between frames, (B, W - 1, joints): mean, log of the spread.

        This is what the reader learns by: `forward` takes what it says as it is, and does not teach it.

        Args:
            sight: of W frames.
            poses: joint positions at the later frame of each two, (B, W - 1, joints) [rad].
            embodiment: (B,).
        """
        scale = self.step_scale(embodiment)
        flow, context = self.reader.project(sight.points, blind=self.training), self.embodiment(embodiment)[:, None]
        mean, log = self.reader(flow, poses, context)[1].chunk(2, -1)
        return mean * scale, log.clamp(*LOG_SPREAD) + scale.log()

    def locate(self, sight: Sight, embodiment: Tensor) -> tuple[Tensor, Tensor]:
        """Return where each frame alone says that the joints are (B, W, joints) [rad], and how sure it is (B, W, 1)."""
        place, sure = self.place(sight.small)
        joints = slice(place.shape[-1])
        mean, spread = self.proprio_mean[embodiment][:, None, joints], self.proprio_spread[embodiment][:, None, joints]
        return place * spread + mean, sure

    def _mean(self, told: Told) -> Tensor:
        return self.proprio_mean[told.embodiment][:, None]

    def _base(self, sight: Sight, now: int, told: Told, joints: Tensor, path: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the pose (B, 1, joints) at the last real frame: measured, or what all pictures say, led back there.

        And what each of them says (B, W, joints), in the windows that are not measured, if there are any.
        """
        measured = told.measured[:, now, None, None]
        if bool(measured.all()):
            return joints[:, now, None], None
        rows = torch.nonzero(~told.measured[:, now])[:, 0]
        found, sure = self.locate(Sight(sight.points, sight.small[rows]), told.embodiment[rows])
        places = torch.zeros_like(path).index_copy(0, rows, found)
        base = torch.zeros_like(places[:, :1])
        base = base.index_copy(0, rows, (sure.softmax(1) * (found - path[rows])).sum(1, keepdim=True))
        return torch.where(measured, joints[:, now, None], base), places

    def _facts(self, told: Told, joints: Tensor, poses: Tensor, step: Tensor, now: int) -> Tensor:
        """Return tokens (B, W, width) of what was measured and commanded; positions and targets count from frame `now`.

        With them goes what was read as `step` (B, W - 1, joints), and by how much that was wrong where both frames were
        measured, and the targets that follow from it where actions are known: cells differ a little.
        """
        scale = self.step_scale(told.embodiment)
        here, there = told.measured[..., None], told.commanded[..., None]
        known = (told.proprio - self._mean(told)) / self.proprio_spread[told.embodiment][:, None]
        both = here[:, 1:] & here[:, :-1]
        moved, off = (
            torch.where(both, value / scale, 0.0)
            for value in (joints[:, 1:] - joints[:, :-1], joints[:, 1:] - joints[:, :-1] - step)
        )
        between = F.pad(torch.cat([moved, off, step / scale], -1), (0, 0, 1, 0))
        away = torch.where(here, (joints - poses[:, now, None]) / scale, 0.0)
        flags = torch.cat([here, here[:, now, None].expand_as(here)], -1).to(away.dtype)
        numbers = [torch.where(here, known, 0.0), between, away, flags]

        joint = self.targets[told.embodiment]
        start = poses[:, now].gather(1, joint.clamp(min=0))
        start = torch.where(joint >= 0, start, self.action_mean[told.embodiment])[:, None, None]
        follow = self._targets(step, poses, joints, told)
        size = self.action_scale(told.embodiment)
        ahead = torch.cat([(told.actions - start) / size, (told.actions - follow) / size], 2).flatten(2)
        ahead = torch.cat([torch.where(there, ahead, 0.0), there.to(ahead.dtype)], -1)
        return self.measured(torch.cat(numbers, -1)) + F.pad(self.commanded(ahead), (0, 0, 1, 0))

    def _targets(self, step: Tensor, poses: Tensor, joints: Tensor, told: Told) -> Tensor:
        """Return what the steps and poses of a window tell of all actions (B, W - 1, stride, actions).

        A joint target leads the pose that it ends in by what inverts the servo; of the tool's commands, the mean.
        """
        here, count = told.measured[..., None], step.shape[1]
        taps = torch.where(here[:, 1:] & here[:, :-1], joints[:, 1:] - joints[:, :-1], step)
        taps = F.pad(taps, (0, 0, TAPS, TAPS)).unfold(1, 2 * TAPS + 1, 1)  # (B, W - 1, joints, taps)
        place = torch.arange(count, device=step.device)
        filters = self.servo[told.embodiment][:, place.clamp(max=TAPS), (count - 1 - place).clamp(max=TAPS)]
        target = torch.where(here, joints, poses)[:, 1:, None] + (filters * taps[:, :, None]).sum(-1)
        joint = self.targets[told.embodiment][:, None, None]
        target = target.gather(-1, joint.clamp(min=0).expand(*target.shape[:3], -1))
        return torch.where(joint >= 0, target, self.action_mean[told.embodiment][:, None, None])

    # ---- use -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(
        self,
        frames: Mapping[str, Tensor] | Sight,
        now: int,
        proprio: Tensor | None = None,
        known_actions: Tensor | None = None,
        known: Tensor | None = None,
        embodiment: Tensor | None = None,
        past_actions: Tensor | None = None,
    ) -> Actions:
        """Read the actions that follow the last real frame.

        An action hardly shows in the very next frame: give a frame or two more than actions are wanted.

        Args:
            frames: by view, (B, W, size, size, 3), 0..1 or uint8: real up to frame `now`, then imagined.
            now: the last real frame.
            proprio: at the last K real frames, (B, K, proprio), or (B, proprio) for K = 1; None when not measured.
            known_actions: after frame `now`, (B, W - 1 - now, stride, actions): those in flight, where `known`
                (B, W - 1 - now) holds.
            known: None for all of them.
            embodiment: (B,) int64; 0 when not given.
            past_actions: before frame `now`, (B, K, stride, actions), the last K.

        Raises:
            InputError: shapes that do not fit.
        """
        c, sight = self.config, frames if isinstance(frames, Sight) else self.see(frames)
        batch, length, device = len(sight.small), sight.small.shape[1], sight.small.device
        ahead = length - 1 - now
        if now < 0 or ahead < 1:
            raise InputError(f"idm: frame {now} of {length} is the last real one; one after it is needed at least")
        values = torch.zeros(batch, length, c.proprio, device=device)
        actions = torch.zeros(batch, length - 1, c.stride, c.actions, device=device)
        measured = torch.zeros(batch, length, dtype=torch.bool, device=device)
        commanded = measured[:, 1:].clone()
        if proprio is not None:
            proprio = (proprio[:, None] if proprio.dim() == 2 else proprio)[:, -(now + 1) :]
            _check("proprio", proprio, (batch, proprio.shape[1], c.proprio))
            values[:, now + 1 - proprio.shape[1] : now + 1] = proprio
            measured[:, now + 1 - proprio.shape[1] : now + 1] = True
        if past_actions is not None and now:
            past_actions = past_actions[:, -now:]
            _check("past_actions", past_actions, (batch, past_actions.shape[1], c.stride, c.actions))
            actions[:, now - past_actions.shape[1] : now] = past_actions
            commanded[:, now - past_actions.shape[1] : now] = True
        if known_actions is not None:
            _check("known_actions", known_actions, (batch, ahead, c.stride, c.actions))
            actions[:, now:] = known_actions
            commanded[:, now:] = True if known is None else known
        if embodiment is None:
            embodiment = torch.zeros(batch, dtype=torch.long, device=device)
        mean, log = self(sight, now, Told(embodiment, values, measured, actions, commanded)).actions
        there = commanded[:, now:, None, None]
        return Actions(torch.where(there, actions[:, now:], mean[:, now:]), torch.where(there, 0.0, log[:, now:].exp()))


def _path(step: Tensor, now: int) -> Tensor:
    """Return the sums of steps (B, W - 1, joints) from frame `now` to each frame, (B, W, joints)."""
    path = F.pad(step, (0, 0, 1, 0)).cumsum(1)
    return path - path[:, now, None]


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise InputError(f"idm: {name} has the shape {tuple(tensor.shape)}, {shape} was expected")
