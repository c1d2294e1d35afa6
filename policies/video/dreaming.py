"""Dreaming in bulk: hundreds of dreams, some at a time, looked at while they are dreamed.

drift = dream_all(footage, Plan(count=200, frames=24, compared=24), judges_of(footage))
margins(drift)                                          # dB over the better of copy-last and linear motion
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from assets.errors import InputError
from policies.idm.model import InverseDynamics
from policies.video.dream import CHANGED, copy_last, dream, linear_motion
from policies.video.drift import Drift, Plan
from policies.video.footage import Footage, Part
from policies.video.manifold import Manifold, detail
from policies.video.network import Meaning, VideoNetwork
from policies.video.perceptual import Perceptual, load_perceptual
from policies.video.probe import STEPS, Grid, Probe, errors, fit
from policies.video.translation import Translation

LOOKED = 5  # [frames] between two that are looked at where there is no truth to compare with
SAMPLE = 1024  # recorded pictures whose detail is looked at


@dataclasses.dataclass(frozen=True)
class Judges:
    """What looks at dreams beside the plain difference of pictures; each may be missing.

    Attributes:
        probe: reads positions.
        manifold: tells whether a frame is like the data's.
        perceptual: a distance between pictures.
        errors: by name, how wrong the probe is on episodes that it was not trained on [rad, m].
        real: share of the frames of such episodes that are like the data's.
    """

    probe: Probe | None = None
    manifold: Manifold | None = None
    perceptual: Perceptual | None = None
    errors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    real: float = float("nan")


def judges_of(
    footage: Footage, steps: int = STEPS, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Judges:
    """Return what looks at dreams: fitted on the episodes that were learned from, tested on the others.

    Args:
        footage: the episodes.
        steps: of the probe's training; 0 for no probe. There is none either where no positions are recorded.
        seed: of that training.
        progress: is told its steps.
    """
    device = next(footage.network.model.parameters()).device
    train, test = (torch.from_numpy(footage.numbers(which)) for which in (False, True))
    details = {which: _details(footage, numbers[_few(len(numbers))]) for which, numbers in enumerate((train, test))}
    episodes = torch.from_numpy(footage.episodes)
    manifold = Manifold(footage.latents[train].to(device), episodes[train], details[0])
    some = test[_few(len(test))]
    real = float(manifold.holds(footage.latents[some].to(device), details[1].to(device)).float().mean())
    probe, wrong = None, {}
    positions = torch.from_numpy(footage.positions)
    if steps and footage.names and bool(torch.isfinite(positions).all()):
        grid = Grid.of(footage.network.tokenizer, len(footage.network.meaning.views))
        probe = fit(grid, footage.latents[train].to(device), positions[train].to(device), steps, seed, progress)
        wrong = errors(probe, footage.latents[test].to(device), positions[test].to(device), footage.names)
    perceptual = load_perceptual()
    return Judges(probe, manifold, None if perceptual is None else perceptual.to(device), wrong, real)


def dream_all(
    footage: Footage,
    plan: Plan,
    judges: Judges | None = None,
    network: VideoNetwork | None = None,
    idm: tuple[InverseDynamics, Meaning] | None = None,
    keep: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Drift:
    """Dream and measure.

    Args:
        footage: where dreams begin.
        plan: what is dreamed.
        judges: what looks at it.
        network: dreams; by default the footage's. Its tokenizer must be the same.
        idm: an inverse model and what its numbers mean, for "idm".
        keep: dreams whose pictures are kept.
        progress: is told the frames dreamed so far, and in all.

    Raises:
        InputError: no episode is long enough, actions that are to be told are not recorded, or no inverse model.
    """
    judges, network = judges or Judges(), network or footage.network
    if plan.acts == "idm" and idm is None:
        raise InputError("acts = idm wants an inverse model: a checkpoint with video and idm in it, or idm=FOLDER")
    starts = footage.starts(plan.count, plan.length, plan.seed)
    scribe = _Scribe(footage, plan, judges, keep)
    spent, total = 0.0, plan.count * plan.frames
    for begin in range(0, plan.count, plan.batch):
        rows = np.arange(begin, min(begin + plan.batch, plan.count))
        part = footage.part(starts[rows], plan.length, plan.shown)
        scribe.begin(rows, part)
        draws = [torch.Generator().manual_seed(_seed(plan.seed, int(row))) for row in rows]
        led = _led(part) if plan.acts == "told" else None
        translate = None
        if plan.acts == "idm" and idm is not None:
            translate = Translation(network, *idm, part.pose, part.embodiment)
        history = translate.history if translate else 4
        shown = slice(0, plan.shown)
        chunks = dream(
            network, part.frames[:, shown], part.condition.frames(shown), plan.frames, led, plan.steps, plan.settled,
            draws, translate, history,
        )  # fmt: skip
        at = 0
        while at < plan.frames:
            began = time.monotonic()
            chunk = next(chunks)
            if chunk.is_cuda:
                torch.cuda.synchronize()
            spent += time.monotonic() - began
            scribe.write(at, chunk.float())
            at += chunk.shape[1]
            if progress:
                progress(begin * plan.frames + len(rows) * at, total)
    return scribe.drift(spent)


class _Scribe:
    """Looks at chunks as they are dreamed, and writes down what is measured."""

    def __init__(self, footage: Footage, plan: Plan, judges: Judges, keep: int) -> None:
        self.footage, self.plan, self.judges = footage, plan, judges
        self.keep = min(keep, plan.count)
        self.network = footage.network
        self.measures: dict[str, np.ndarray] = {}
        self.episode = np.zeros(plan.count, np.int64)
        views = footage.network.meaning.views
        self.kept = {
            what: {v.name: np.zeros((self.keep, frames, v.size, v.size, 3), np.uint8) for v in views}
            for what, frames in {"seen": plan.shown, "truth": plan.compared, "dreamed": plan.frames}.items()
        }

    def begin(self, rows: np.ndarray, part: Part) -> None:
        """Take what came after the starts of some dreams, and what the simple guesses say."""
        plan = self.plan
        self.rows, self.part, self.last = rows, part, part.frames[:, plan.shown - 1]
        self.episode[rows] = part.episode
        true, device = part.frames[:, plan.shown :], part.frames.device
        seen = {
            "camera": {name: p.to(device).float() / 255 for name, p in part.pictures.items()},
            "rendered": self.network.decode(part.frames),
        }
        self.truth = {space: {n: p[:, plan.shown :] for n, p in views.items()} for space, views in seen.items()}
        self.start = {name: p[:, plan.shown - 1] for name, p in seen["camera"].items()}
        for space, views in seen.items():
            before = {name: p[:, : plan.shown] for name, p in views.items()}
            still = {name: copy_last(p, plan.compared) for name, p in before.items()}
            self._compare("copy_last", 0, still, space)
            self._compare("linear_motion", 0, {n: linear_motion(p, plan.compared) for n, p in before.items()}, space)
            if space == "camera":
                self._far("copy_last", 0, still)
        self._compare("rendered", 0, self.truth["rendered"], "camera")
        self._far("rendered", 0, self.truth["rendered"])
        before = part.frames[:, plan.shown - 1 : -1]
        self._put("motion/truth", 0, (true - before).square().mean((2, 3)).sqrt())
        if self.judges.probe is not None:
            self.read = self.judges.probe(true).cpu()
            self._off("truth", 0, self.read - part.positions[:, plan.shown :])
        kept = rows[rows < self.keep]
        for name, p in part.pictures.items():
            self.kept["seen"][name][kept] = p[: len(kept), : plan.shown].numpy()
            self.kept["truth"][name][kept] = p[: len(kept), plan.shown :].numpy()

    def write(self, at: int, chunk: Tensor) -> None:
        """Write down a chunk (B, n, N, D) of the dreams, whose first frame is `at`."""
        count = chunk.shape[1]
        before = torch.cat([self.last[:, None], chunk[:, :-1]], 1)
        self._put("motion/dream", at, (chunk - before).square().mean((2, 3)).sqrt())
        self.last = chunk[:, -1]
        truth = max(0, min(count, self.plan.compared - at))
        looked = [i for i in range(count) if i < truth or (at + i) % LOOKED == 0]
        kept = int((self.rows < self.keep).sum())
        pictures = self.network.decode(chunk[:kept] if kept and not looked else chunk) if looked or kept else {}
        for name, p in pictures.items():
            shown = (p[:kept] * 255).round().to(torch.uint8).cpu().numpy()
            self.kept["dreamed"][name][self.rows[:kept], at : at + count] = shown
        if truth:
            now = {name: p[:, :truth] for name, p in pictures.items()}
            for space in self.truth:
                self._compare("dream", at, now, space)
            self._far("dream", at, now)
            if self.judges.probe is not None:
                read = self.judges.probe(chunk[:, :truth]).cpu()
                begin = self.plan.shown + at
                self._off("dream", at, read - self.part.positions[:, begin : begin + truth])
                self._off("apart", at, read - self.read[:, at : at + truth])
        if looked and self.judges.manifold is not None:
            for i in looked:
                lively = detail({name: p[:, i] for name, p in pictures.items()})
                self._put("holds", at + i, self.judges.manifold.holds(chunk[:, i], lively).float()[:, None])

    def drift(self, seconds: float) -> Drift:
        """Return what was written."""
        footage = self.footage
        return Drift(
            self.plan, footage.network.meaning.rate, self.episode, footage.names, footage.joints, self.measures,
            self.kept["seen"], self.kept["truth"], self.kept["dreamed"], seconds,
        )  # fmt: skip

    def _compare(self, name: str, at: int, pictures: Mapping[str, Tensor], space: str) -> None:
        """Compare pictures (B, n, h, w, 3) by view with the truth, from frame `at` on."""
        square, moved, pixels = [], [], []
        for view, ours in pictures.items():
            here = slice(at, at + ours.shape[1])
            error = (ours - self.truth[space][view][:, here]).square().mean(-1)
            change = (self.truth["camera"][view][:, here] - self.start[view][:, None]).abs().amax(-1)
            changed = (change > CHANGED).float()
            square.append(error.mean((2, 3)))
            moved.append((error * changed).sum((2, 3)))
            pixels.append(changed.sum((2, 3)))
        self._put(f"{space}/{name}", at, torch.stack(square).mean(0))
        self._put(f"{space}/{name}/changed", at, torch.stack(moved).sum(0))
        self._put("changed", at, torch.stack(pixels).sum(0))

    def _far(self, name: str, at: int, pictures: Mapping[str, Tensor]) -> None:
        """Tell perceptual distances from the camera's pictures, now and then: they take their time."""
        chosen = [i for i in range(next(iter(pictures.values())).shape[1]) if (at + i + 1) % LOOKED == 0]
        if self.judges.perceptual is None or not chosen:
            return
        for i in chosen:
            truth = self.truth["camera"]
            far = [self.judges.perceptual(p[:, i], truth[view][:, at + i]) for view, p in pictures.items()]
            self._put(f"far/{name}", at + i, torch.stack(far).mean(0)[:, None])

    def _off(self, name: str, at: int, off: Tensor) -> None:
        joints = self.footage.joints
        for kind, which in {"joints": slice(0, joints), "places": slice(joints, None)}.items():
            if off[..., which].shape[-1]:
                self._put(f"{kind}/{name}", at, off[..., which].square().mean(-1))

    def _put(self, name: str, at: int, values: Tensor) -> None:
        shape = self.plan.count, self.plan.frames
        kept = self.measures.setdefault(name, np.full(shape, np.nan, np.float32))
        kept[self.rows[:, None], at + np.arange(values.shape[1])] = values.cpu().numpy()


def _led(part: Part) -> Tensor:
    """Return the normalized actions that lead to the frames after those shown."""
    actions, known = part.condition.actions, part.condition.actions_known
    if actions is None or known is None or not bool(known[:, part.shown :].all()):
        raise InputError("acts = told wants recorded actions; these videos have none: use acts=self")
    return actions[:, part.shown :]


def _seed(seed: int, row: int) -> int:
    return int(np.random.SeedSequence([seed, 1, row]).generate_state(1)[0])


def _few(n: int) -> Tensor:
    return torch.linspace(0, n - 1, min(n, SAMPLE)).round().long()


def _details(footage: Footage, numbers: Tensor) -> Tensor:
    """Return the detail of recorded frames as the tokenizer renders them: dreams are rendered, too."""
    device = next(footage.network.model.parameters()).device
    parts = [footage.network.decode(footage.latents[part].float().to(device)) for part in numbers.split(128)]
    return torch.cat([detail(pictures).cpu() for pictures in parts])
