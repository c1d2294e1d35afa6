"""The inverse dynamics model: points followed, motion read, what is known passed on, embodiments kept apart."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from assets.errors import InputError
from policies.checkpoint import load, save
from policies.data.frames import Prepared
from policies.data.statistics import Statistics
from policies.data.view import View
from policies.data.windows import Batch, Windows
from policies.embodiment import Embodiment
from policies.idm.errors import extrapolation_errors, target_errors
from policies.idm.learner import IDMLearner, draw_told, painted
from policies.idm.model import IDMConfig, InverseDynamics
from policies.idm.points import GRID, describe, follow
from policies.idm.servo import TAPS, inverse_servo
from policies.idm.sights import see, sights_of
from policies.video.model import VideoConfig, VideoModel
from policies.video.network import Meaning, VideoNetwork, action_widths
from policies.video.tokenizer import Autoencoder

JOINTS = ("joint0.position", "joint1.position")
BODY = Embodiment("toy+suction", JOINTS, (), ("suction.holding",), (*JOINTS, "suction"))
VIEWS = (View("cell", size=64), View("wrist", size=64))
LENGTH, NOW, TRAINED, STEPS = 10, 3, 12, 100


def texture(x: Tensor, y: Tensor) -> Tensor:
    """Brightness at places [pixels] of a picture that goes on for ever."""
    waves = [(0.31, 0.17, 0.3), (-0.13, 0.36, 1.9), (0.22, -0.29, 4.0), (0.05, 0.11, 2.2)]
    return 0.5 + 0.1 * sum(torch.sin(a * x + b * y + c) for a, b, c in waves)


@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (0.13, -0.07), (1.6, 0.9), (-4.3, 2.5)])
def test_points_are_followed_to_a_fraction_of_a_pixel(right: float, down: float) -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    flow, gradients, difference = follow(texture(x, y)[None], texture(x - right, y - down)[None] + 0.05)
    inside = flow.view(GRID, GRID, 2)[2:-2, 2:-2].reshape(-1, 2)
    assert torch.allclose(inside.mean(0), torch.tensor([right, down]), atol=0.05)
    assert inside.std(0).max() < 0.15
    assert gradients.shape == (1, GRID * GRID, 3)
    assert difference.shape == (1, GRID * GRID)


def test_an_edge_tells_only_the_motion_across_it() -> None:
    x = torch.arange(64.0).expand(64, 64)

    def bars(shift: float) -> Tensor:
        return 0.5 + 0.3 * torch.sin(0.4 * (x - shift))[None]

    told = describe(*follow(bars(0.0), bars(1.0))).view(GRID, GRID, -1)[1:-1, 1:-1]
    assert told[..., 0].mean() == pytest.approx(0.5, abs=0.05)  # half of a pixel to the right, as `describe` scales it
    assert told[..., 1].abs().max() < 1e-3
    flat = describe(*follow(torch.full((1, 64, 64), 0.5), torch.full((1, 64, 64), 0.6)))
    assert torch.isfinite(flat).all()
    assert flat[..., :2].abs().max() < 1e-6


def wandering(episodes: int, length: int, seed: int = 0) -> Prepared:
    """Episodes in which two joints wander smoothly and pan the cameras; a picture for each two actions."""
    rng = np.random.default_rng(seed)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    frames: dict[str, list[np.ndarray]] = {view.name: [] for view in VIEWS}
    proprio, actions = [], []
    for _ in range(episodes):
        slow, phase, light = rng.uniform(0.06, 0.14, 2), rng.uniform(0, 6.3, 2), rng.uniform(0.8, 1.2, 3)
        position = 0.7 * np.sin(phase)
        for t in range(length):
            a, b = (20.0 * position).tolist()
            for name, (right, down) in (("cell", (a, b)), ("wrist", (a + b, a - b))):
                picture = texture(x - right, y - down)[..., None] * torch.tensor(light) * 200
                frames[name].append(picture.clamp(0, 255).round().byte().numpy())
            proprio.append(np.append(position, 0.0))
            actions.append([np.append(0.7 * np.sin(phase + slow * (t + k / 2 + 1)), 0.0) for k in range(2)])
            for command in actions[-1]:
                position = position + 0.6 * (command[:2] - position)
    starts = np.arange(episodes + 1) * length
    n = int(starts[-1])
    return Prepared(
        "wandering", "", VIEWS, {name: np.stack(pictures) for name, pictures in frames.items()},
        np.array(proprio, np.float32), np.array(actions, np.float32), np.zeros(n, np.int64),
        np.repeat(np.arange(episodes), length), starts, None, ("Wander.",), BODY, 10.0, 2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def windows() -> Windows:
    return Windows([wandering(TRAINED + 2, 24)], LENGTH)


def measured(windows: Windows, **network: Any) -> tuple[InverseDynamics, Meaning]:
    """A model that knows the embodiments' scales, and nothing else."""
    torch.manual_seed(0)
    settings = {"width": 32, "depth": 1, "heads": 2, "reader": 48} | network
    model = InverseDynamics(IDMConfig.of(VIEWS, windows.embodiments, windows.stride, **settings))
    for p in windows.prepared:
        assert p.proprio is not None
        assert p.actions is not None
        cuts = [slice(int(a), int(b)) for a, b in zip(p.starts[:-1], p.starts[1:], strict=True)]
        episodes = [(torch.from_numpy(p.proprio[cut]), torch.from_numpy(p.actions[cut])) for cut in cuts]
        model.measure(windows.embodiments.index(p.embodiment), p.embodiment, episodes)
    statistics = Statistics.of(windows)
    return model, Meaning(VIEWS, 10.0, windows.stride, windows.texts, windows.embodiments, statistics)


def some(windows: Windows, n: int = 6, seed: int = 0) -> Batch:
    return windows.batch(np.random.default_rng(seed).choice(len(windows), n, replace=False))


def asked(model: InverseDynamics, batch: Batch, **changed: Any) -> dict[str, Any]:
    """What `predict` is asked of a batch whose last real frame is NOW."""
    c = model.config
    wide = [
        torch.nn.functional.pad(x, (0, n - x.shape[-1]))
        for x, n in ((batch.proprio, c.proprio), (batch.actions, c.actions))
    ]
    proprio, actions = wide
    usual = {
        "frames": batch.frames,
        "now": NOW,
        "proprio": proprio[:, : NOW + 1],
        "past_actions": actions[:, :NOW],
        "embodiment": batch.embodiment,
    }
    return usual | changed


@pytest.fixture(scope="module")
def trained(windows: Windows) -> tuple[InverseDynamics, Windows]:
    """A tiny model, trained for some seconds on all episodes but the last two."""
    torch.set_num_threads(1)
    p = windows.prepared[0]
    model, meaning = measured(Windows([p], LENGTH, [range(TRAINED)]))
    learned = Windows([sights_of(p, model)], LENGTH, [range(TRAINED)])
    learner = IDMLearner(model.train(), meaning)
    optimizer = learner.optimizer(3e-3)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - step / STEPS)
        loss = learner.loss(some(learned, 32, step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), Windows([p], LENGTH, [range(TRAINED, TRAINED + 2)])


def test_motion_is_read_from_the_pictures(trained: tuple[InverseDynamics, Windows]) -> None:
    model, held_out = trained
    batch = held_out.batch(np.arange(len(held_out)))
    blind = extrapolation_errors(model, batch, NOW)
    error = target_errors(model, batch, NOW)[:4].square().mean().sqrt()
    print("error", error, {n: e[:4].square().mean().sqrt() for n, e in blind.items()})
    for name, errors in blind.items():
        assert error < 0.6 * errors[:4].square().mean().sqrt(), name
    still = {
        view: frames[:, : NOW + 1].repeat_interleave(3, 1)[:, 2 : 2 + LENGTH] for view, frames in batch.frames.items()
    }
    unseen = target_errors(model, batch, NOW, frames=still)[:4].square().mean().sqrt()
    assert error < 0.6 * unseen


def test_what_is_known_is_passed_on(trained: tuple[InverseDynamics, Windows]) -> None:
    model, held_out = trained
    batch = some(held_out)
    ahead = LENGTH - 1 - NOW
    flight = torch.randn(len(batch), ahead, model.config.stride, model.config.actions)
    known = (torch.arange(ahead) < 2).expand(len(batch), -1)
    found = model.predict(**asked(model, batch, known_actions=flight, known=known))
    assert found.mean.shape == found.spread.shape == flight.shape
    assert torch.equal(found.mean[:, :2], flight[:, :2])
    assert (found.spread[:, :2] == 0).all()
    assert (found.spread[:, 2:] > 0).all()
    free = model.predict(**asked(model, batch))
    assert not torch.allclose(free.mean[:, 2:], found.mean[:, 2:])
    ignored = model.predict(**asked(model, batch, known_actions=flight, known=torch.zeros_like(known)))
    assert torch.equal(ignored.mean, free.mean)


def test_later_frames_tell_of_earlier_actions_and_rows_keep_to_themselves(
    trained: tuple[InverseDynamics, Windows],
) -> None:
    model, held_out = trained
    batch = some(held_out)
    usual = model.predict(**asked(model, batch)).mean
    cut = {view: frames[:, :-2] for view, frames in batch.frames.items()}
    shorter = model.predict(**asked(model, batch, frames=cut)).mean
    assert (usual[:, 0] - shorter[:, 0]).abs().max() > 1e-5  # not causal
    alone = dataclasses.replace(
        batch,
        frames={view: frames[:1] for view, frames in batch.frames.items()},
        **{f: getattr(batch, f)[:1] for f in ("proprio", "actions", "known", "task", "embodiment")},
    )
    assert torch.allclose(model.predict(**asked(model, alone)).mean, usual[:1], atol=1e-5)
    assert torch.equal(model.predict(**asked(model, batch)).mean, usual)
    once = model.predict(**asked(model, batch, proprio=asked(model, batch)["proprio"][:, -1]))  # (B, P): one frame
    assert torch.isfinite(once.mean).all()


def test_without_measurements_poses_come_from_the_pictures(trained: tuple[InverseDynamics, Windows]) -> None:
    model, held_out = trained
    batch = held_out.batch(np.arange(len(held_out)))
    told = model.predict(**asked(model, batch, proprio=None, past_actions=None)).mean[..., :2]
    truth = batch.actions[:, NOW:-1, :, :2]
    assert (told - truth).square().mean() < 0.6 * truth.var(0).mean()


def test_embodiments_do_not_disturb_each_other(windows: Windows) -> None:
    """A narrower one next to a wider: what stands in its unused columns is nobody's joint."""
    names = tuple(f"joint{i}.position" for i in range(3))
    wide, narrow = (
        Embodiment("wide", names, (), (), names),
        Embodiment("small", names[:2], ("a.torque",), (), names[:2]),
    )
    torch.manual_seed(0)
    model = InverseDynamics(IDMConfig.of(VIEWS, (wide, narrow), 2, width=32, depth=1, heads=2)).eval()
    numbers = torch.linspace(-1, 1, 60).view(20, 3).cumsum(0)
    model.measure(0, wide, [(torch.randn(20, len(wide.proprio)), torch.randn(20, 2, len(wide.actions)))])
    before = {name: tensor[0].clone() for name, tensor in model.named_buffers()}
    proprio = torch.cat([numbers[:, :2], 1000 * torch.randn(20, 1)], 1)
    model.measure(1, narrow, [(proprio, torch.randn(20, 2, 2))])
    assert all(torch.equal(tensor[0], before[name]) for name, tensor in model.named_buffers())
    assert (model.motion[1] > 0).tolist() == [True, True, False]
    batch = some(windows, 2)
    batch.embodiment[:] = 1
    first = model.predict(**asked(model, batch)).mean[..., :2]
    moved = dataclasses.replace(batch, proprio=batch.proprio.clone())
    moved.proprio[:, :NOW, 2] += 1.0  # a torque, not a joint's position
    shift = (model.predict(**asked(model, moved)).mean[..., :2] - first).abs().max()
    assert shift < 0.1  # told as a number among others, of a spread of a thousand
    model.adopt(2, like=1)
    assert torch.equal(model.embodiment.weight[2], model.embodiment.weight[1])


def test_bad_input_is_named(windows: Windows) -> None:
    model, meaning = measured(windows)
    batch = some(windows, 2)
    with pytest.raises(InputError, match="needs view 'wrist' of 64 x 64 pixels, given are cell"):
        model.predict(**asked(model, batch, frames={"cell": batch.frames["cell"]}))
    with pytest.raises(InputError, match="frame 9 of 10 is the last real one"):
        model.predict(**asked(model, batch, now=9))
    with pytest.raises(InputError, match=r"proprio has the shape \(2, 1, 3\)"):
        model.predict(**asked(model, batch, proprio=torch.zeros(2, 3)))
    with pytest.raises(InputError, match="known_actions has the shape"):
        model.predict(**asked(model, batch, known_actions=torch.zeros(2, 3, 2, 8)))
    with pytest.raises(InputError, match="multiple of 16"):
        IDMConfig(("cell",), 3, 8, 4, size=50)
    learner = IDMLearner(model, meaning)
    with pytest.raises(InputError, match="learns from actions"):
        learner.loss(dataclasses.replace(batch, known=torch.tensor([True, False])))
    with pytest.raises(InputError, match="windows of 4 frames"):
        learner.loss(dataclasses.replace(batch, proprio=batch.proprio[:, :4]))


def test_a_checkpoint_brings_the_model_back(windows: Windows, tmp_path: Path) -> None:
    model, meaning = measured(windows)
    save(tmp_path / "idm", model.state_dict(), IDMLearner(model, meaning).about())
    kept = load(tmp_path / "idm", "idm")
    again = InverseDynamics(IDMConfig(**kept.about["config"]))
    again.load_state_dict(kept.weights)
    batch = some(windows, 2)
    assert torch.equal(
        again.eval().predict(**asked(again, batch)).mean, model.eval().predict(**asked(model, batch)).mean
    )
    assert sum(p.numel() for p in InverseDynamics(IDMConfig(("cell", "wrist"), 6, 16, 8)).parameters()) < 1_500_000


def test_what_is_known_is_drawn_as_the_loop_knows_it(windows: Windows) -> None:
    torch.manual_seed(0)
    batch = some(windows, len(windows))
    told = draw_told(batch, NOW)
    recorded = told.measured[:, -1]  # a state that was recorded throughout, as labels are read along
    assert 0.02 < recorded.float().mean() < 0.25
    assert told.measured[recorded].all()
    assert not told.commanded[recorded].any()
    assert not told.measured[~recorded, NOW + 1 :].any()
    share = told.measured[~recorded].float().mean(0)
    assert 1.0 > share[NOW] > share[0] > 0.5  # some have the last one alone, some none
    flight = told.commanded[:, NOW:].sum(1)
    assert set(flight.tolist()) >= {0, 1, 2}
    runs = told.commanded.long().diff(dim=1)
    assert (runs > 0).sum() == 0  # known up to some moment, unknown from there on


def test_the_servo_is_undone_from_the_motion_around() -> None:
    """A servo that goes half of the way to the mean of the last two targets: at rest and in motion."""
    generator = torch.Generator().manual_seed(0)
    body = Embodiment("toy", JOINTS[:1], (), (), JOINTS[:1])
    episodes = []
    for _ in range(20):
        targets = torch.nn.functional.avg_pool1d(torch.randn(1, 1, 100, generator=generator), 9, 1)[0, 0].cumsum(0)
        position, positions = targets[0], []
        for before, now in itertools.pairwise(targets):
            positions.append(position)
            position = position + 0.5 * ((before + now) / 2 - position)
        episodes.append((torch.stack(positions)[:, None], targets[1:, None, None]))
    filters = inverse_servo(body, episodes, 1)
    positions, targets = episodes[0][0][:, 0], episodes[0][1][:, 0, 0]
    steps = positions.diff().unfold(0, 2 * TAPS + 1, 1)

    def error(before: int, after: int) -> float:
        told = positions[TAPS + 1 : -TAPS] + (filters[before, after, 0, 0] * steps).sum(-1)
        return float((told - targets[TAPS : TAPS + len(told)]).square().mean().sqrt())

    held = float((positions[TAPS + 1 : -TAPS] - targets[TAPS : TAPS + len(steps)]).square().mean().sqrt())
    assert error(TAPS, TAPS) < 0.25 * held
    assert error(TAPS, TAPS) <= error(TAPS, 0) <= error(0, 0)
    assert (filters[1, 2, 0, 0] == 0).tolist() == [True, True, False, False, False, False, True]
    with pytest.raises(InputError, match="no episode has 8 frames"):
        inverse_servo(body, [(positions[:5, None], targets[:5, None, None])], 1)


def test_what_was_seen_once_is_recalled(windows: Windows) -> None:
    model, _ = measured(windows)
    p = windows.prepared[0]
    kept = Windows([sights_of(p, model)], LENGTH)
    rows = np.array([0, 5, len(windows) - 1])
    fresh, recalled = (see(model, w.batch(rows).frames) for w in (windows, kept))
    assert torch.allclose(recalled.points, fresh.points, atol=5e-3)
    assert torch.allclose(recalled.small, fresh.small, atol=1e-3)


def tiny_video(windows: Windows, meaning: Meaning) -> VideoNetwork:
    proprio, actions = action_widths(windows.embodiments, windows.stride)
    tokenizer = Autoencoder(64, 2, 8, (4, 4), 16)
    config = VideoConfig(
        width=16, depth=2, heads=2, kv_heads=1, views=2, tokens=tokenizer.tokens, latent=tokenizer.dim, context=16,
        local=8, anchors=1, proprio=proprio, actions=actions, tasks=2, embodiments=1,
    )  # fmt: skip
    model = VideoModel(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return VideoNetwork(tokenizer, model, meaning).eval()


def test_a_video_model_paints_the_future_and_leaves_the_past(windows: Windows) -> None:
    model, meaning = measured(windows)
    video, batch = tiny_video(windows, meaning), some(windows, 2)
    rendered, noised = (painted(video, batch, NOW, level) for level in (0.0, 0.6))
    again = video.decode(video.encode(batch.frames))
    for view, frames in batch.frames.items():
        real = frames.float() / 255
        assert torch.equal(rendered[view][:, : NOW + 1], real[:, : NOW + 1])
        assert torch.allclose(rendered[view][:, NOW + 1 :], again[view][:, NOW + 1 :], atol=1e-5)
        assert torch.equal(noised[view][:, : NOW + 1], real[:, : NOW + 1])
        assert not torch.allclose(noised[view][:, NOW + 1 :], rendered[view][:, NOW + 1 :], atol=1e-4)
    torch.manual_seed(1)
    losses = [IDMLearner(model, meaning, video).loss(batch)["loss"] for _ in range(3)]
    assert all(torch.isfinite(loss) for loss in losses)
    other = dataclasses.replace(meaning, views=VIEWS[:1])
    with pytest.raises(InputError, match="must see the same"):
        IDMLearner(model, other, video)
