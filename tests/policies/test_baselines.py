"""The baselines: they learn, they see what they should and no more, and they drive arms as the video policy does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies_lab import FPS, action_names, little_dataset, little_video, state_names

from assets.errors import InputError
from policies.baselines.decider import BaselineDecider
from policies.baselines.learner import BaselineLearner
from policies.baselines.load import load, summary
from policies.baselines.network import HEADS, Baseline, load_baseline, make_baseline
from policies.baselines.relative import Relative
from policies.baselines.tokens import Tokens
from policies.checkpoint import save
from policies.data.frames import Prepared, prepare
from policies.data.lerobot import LeRobotDataset
from policies.data.statistics import Statistics
from policies.data.videos import VideoFiles
from policies.data.view import View
from policies.data.windows import Batches, Sampler, Windows
from policies.dva.leapfrog import Question, Rhythm
from policies.dva.policy import Cell, DVAPolicy
from policies.training import TrainSettings, train
from policies.video.cache import Cache
from policies.video.learner import condition_of
from policies.video.model import VideoConfig, VideoModel
from policies.video.network import Meaning, VideoNetwork, action_widths
from policies.video.tokenizer import Autoencoder

VIEWS = (View("cell", size=16),)
CHUNK, STRIDE, RATE = 2, 2, 10.0
CELL = Cell("arm", state_names(), action_names(), ("cell", "wrist"), 1.0 / FPS)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("baselines")
    data = LeRobotDataset(little_dataset(folder / "data", episodes=3, length=28))
    return prepare(data, VIEWS, RATE, folder / "cache")


@pytest.fixture(scope="module")
def windows(prepared: Prepared) -> Windows:
    return Windows([prepared], length=8)


def parts(windows: Windows, **more: int) -> tuple[Autoencoder, VideoConfig, Meaning]:
    """What video model and baselines have in common, small."""
    tokenizer = Autoencoder(size=16, width=16, pack=(1, 2)).eval()
    proprio, actions = action_widths(windows.embodiments, windows.stride)
    config = VideoConfig(
        width=32, depth=2, heads=2, views=1, tokens=tokenizer.tokens, latent=tokenizer.dim, context=8, local=4,
        anchors=1, chunk=CHUNK, proprio=proprio, actions=actions, tasks=len(windows.texts),
        embodiments=len(windows.embodiments), **more,
    )  # fmt: skip
    return tokenizer, config, Meaning(VIEWS, RATE, STRIDE, windows.texts, windows.embodiments, Statistics.of(windows))


def little_baseline(kind: str, windows: Windows, spread: float = 0.0) -> Baseline:
    torch.manual_seed(0)
    tokenizer, config, meaning = parts(windows)
    network = make_baseline(kind, tokenizer, config, meaning, windows)
    for name, parameter in network.named_parameters():
        if "tokenizer" not in name:
            parameter.data += spread * torch.randn_like(parameter)  # so that every weight matters
    return network


# ---- what the heads are told -----------------------------------------------------------------------------------------


def test_actions_come_back_and_joints_are_relative(windows: Windows) -> None:
    relative, chunks = Relative.of(windows, CHUNK)
    assert chunks.shape[1:] == (CHUNK * STRIDE, 4)
    assert torch.allclose(chunks.mean((0, 1)), torch.zeros(4), atol=0.02)
    assert torch.allclose(chunks.std((0, 1)), torch.ones(4), atol=0.02)
    batch = windows.batch(np.arange(6))
    told = relative.encode(batch.actions, batch.proprio[:, 3], batch.embodiment)
    assert torch.allclose(relative.decode(told, batch.proprio[:, 3], batch.embodiment), batch.actions, atol=1e-5)
    # An arm that stands elsewhere and goes as far is told the same; the tool's command is what it is.
    shift = torch.tensor([0.3, -0.2, 0.1])
    moved, there = batch.actions.clone(), batch.proprio[:, 3].clone()
    moved[..., :3] += shift
    there[:, :3] += shift
    assert torch.allclose(relative.encode(moved, there, batch.embodiment), told, atol=1e-4)
    again = Relative.from_dict(relative.to_dict(), windows.embodiments)
    assert torch.equal(again.encode(moved, there, batch.embodiment), relative.encode(moved, there, batch.embodiment))


def test_windows_with_other_arms_are_filled(prepared: Prepared, tmp_path: Path) -> None:
    other = LeRobotDataset(little_dataset(tmp_path / "other", episodes=1, length=28, joints=2))
    both = Windows([prepared, prepare(other, VIEWS, RATE, tmp_path / "cache")], length=8)
    relative, chunks = Relative.of(both, CHUNK)
    assert relative.target.tolist() == [[0, 1, 2, -1], [0, 1, -1, -1]]
    assert (chunks[-10:, :, 3] == 0).all()
    network = little_baseline("fast", both)
    assert torch.isfinite(BaselineLearner(network).loss(both.batch(np.array([0, len(both) - 1])))["loss"])


def test_video_without_actions_is_refused(tmp_path: Path) -> None:
    video = prepare(VideoFiles(little_video(tmp_path / "a.mp4")), VIEWS, RATE, tmp_path / "cache")
    with pytest.raises(InputError, match=r"has no actions; a baseline learns from nothing else"):
        Relative.of(Windows([video], 8), CHUNK)


def test_bins_give_the_middle_and_never_leave_their_range(windows: Windows) -> None:
    head = little_baseline("tokens", windows).head
    assert isinstance(head, Tokens)
    _, chunks = Relative.of(windows, CHUNK)
    assert ((head.decode(head.encode(chunks)) - chunks).abs() <= 0.51 * (head.high - head.low) / 256).all()
    far = head.decode(head.encode(50 * chunks))
    assert ((far >= head.low) & (far <= head.high)).all()


# ---- the networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HEADS)
def test_each_head_learns_a_window_by_heart(kind: str, prepared: Prepared) -> None:
    windows = Windows([prepared], length=2 * CHUNK)
    network = little_baseline(kind, windows)
    learner = BaselineLearner(network)
    optimizer, batch = learner.optimizer(5e-3), windows.batch(np.array([3, 3]))
    batch.frames = {name: network.video.tokenizer.encode(p).detach() for name, p in batch.frames.items()}
    before = learner.errors(batch)
    network.train()
    for _ in range(80):
        optimizer.zero_grad()
        learner.loss(batch)["loss"].backward()
        optimizer.step()
    network.eval()
    after = learner.errors(batch)
    assert after["joints_mrad"] < 0.2 * before["joints_mrad"], (before, after)
    assert after["tool"] < max(0.5 * before["tool"], 0.05), (before, after)


@pytest.mark.parametrize("kind", HEADS)
def test_what_is_not_in_flight_is_not_seen(kind: str, windows: Windows) -> None:
    network = little_baseline(kind, windows, spread=0.2)
    draw = torch.Generator().manual_seed(1)
    frames = torch.randn(2, network.backbone.config.tokens, 32, generator=draw)
    proprio, flight = torch.zeros(2, 8), torch.randn(2, CHUNK, STRIDE, 4, generator=draw)
    known, same = torch.zeros(2, dtype=torch.long), torch.randn(2, CHUNK, STRIDE, 4, generator=draw)

    def context(flight: torch.Tensor) -> torch.Tensor:
        return network.context(frames, proprio[:, : network.relative.target.shape[1] + 4], flight, count, known)

    count = torch.tensor([1, 0])
    later = flight.clone()
    later[:, 1] += 1.0
    assert torch.equal(context(flight), context(later))
    flight[:, 0] += 1.0
    changed = (context(flight) != context(later)).flatten(1).any(1)
    assert changed.tolist() == [True, False]
    chunk = network.act(frames, proprio[:, :8], later, count, known, same)
    assert chunk.shape == (2, CHUNK, STRIDE, 4)
    alone = network.act(frames[:1], proprio[:1, :8], later[:1], count[:1], known[:1], same[:1])
    assert torch.allclose(chunk[:1], alone, atol=1e-4)


def test_codes_are_told_from_those_before_alone(windows: Windows) -> None:
    head = little_baseline("tokens", windows, spread=0.2).head
    assert isinstance(head, Tokens)
    context, codes = torch.randn(1, 2 + CHUNK, 32), torch.randint(256, (1, 9))
    changed = codes.clone()
    changed[0, 4] = (codes[0, 4] + 7) % 256
    one, other = (head.codes(context, row) for row in (codes, changed))
    assert torch.equal(one[:, :5], other[:, :5])
    assert not torch.allclose(one[:, 5], other[:, 5])


def test_seen_frame_by_frame_is_seen_at_once_and_no_future_is(windows: Windows) -> None:
    network = little_baseline("flow", windows, spread=0.1)
    batch = windows.batch(np.array([0, 5]))
    latents, condition = network.video.encode(batch.frames), condition_of(network.video, batch)
    with torch.no_grad():
        whole = network.backbone.features(latents, condition)
        cache: Cache = network.backbone.cache(2, 0)
        for t in range(latents.shape[1]):
            here = slice(t, t + 1)
            known = network.backbone.look(latents[:, here], condition.frames(here), cache)
            assert torch.allclose(known, whole[:, t], atol=1e-4), t
        latents[:, 5] += 1.0
        assert torch.equal(network.backbone.features(latents, condition)[:, :5], whole[:, :5])


def test_it_begins_from_a_video_model(windows: Windows) -> None:
    tokenizer, config, meaning = parts(windows)
    video = VideoNetwork(tokenizer, VideoModel(config), meaning)
    network = little_baseline("flow", windows)
    network.start_from(video)
    assert all(torch.equal(a, b) for a, b in zip(
        video.state_dict().values(), network.video.state_dict().values(), strict=True
    ))  # fmt: skip
    wider = VideoNetwork(tokenizer, VideoModel(dataclasses.replace(config, width=48)), meaning)
    with pytest.raises(InputError, match="does not fit the baseline's backbone"):
        network.start_from(wider)


def test_windows_too_short_and_unknown_heads(windows: Windows, prepared: Prepared) -> None:
    with pytest.raises(InputError, match=r"windows of 3 frames; a baseline with chunks of 2 wants 4 or more"):
        BaselineLearner(little_baseline("flow", windows)).loss(Windows([prepared], 3).batch(np.arange(1)))
    with pytest.raises(InputError, match="head of a baseline 'flaw'"):
        little_baseline("flaw", windows)


# ---- in the loop -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=HEADS)
def checkpoint(request: pytest.FixtureRequest, windows: Windows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = little_baseline(request.param, windows, spread=0.1)
    return save(tmp_path_factory.mktemp(request.param), network.state_dict(), BaselineLearner(network).about())


def fly(policy: DVAPolicy, variants: list[int], periods: int = 14, worlds: list[int] | None = None) -> np.ndarray:
    """Act in worlds whose pictures tell them apart; return (periods, worlds, actions)."""
    ids, names = np.array(range(len(variants)) if worlds is None else worlds), state_names()
    policy.reset(ids, np.array(variants))
    state, done = np.zeros((len(ids), len(names)), np.float32), []
    pattern = np.random.default_rng(0).integers(0, 200, (16, 16, 3))
    for _ in range(periods):
        brighter = 50 * state[:, :2].sum(1) + 10 * np.array(variants)
        picture = np.clip(pattern + brighter[:, None, None, None], 0, 255).astype(np.uint8)
        action = policy.act({"state": state, "cell": picture}, ids)[:, 0]
        state[:, :3] = 0.5 * state[:, :3] + 0.5 * action[:, :3]
        done.append(action)
    return np.stack(done)


def with_robot(about: dict[str, Any]) -> Cell:
    return dataclasses.replace(CELL, robot=about["embodiments"][0]["name"].split("+")[0])


def test_a_checkpoint_drives_the_same_way_every_time_whoever_else_flies(checkpoint: Path) -> None:
    network = load_baseline(checkpoint)
    cell = with_robot(network.about)
    both = fly(load(checkpoint, cell, 3), [4, 1], worlds=[2, 0])
    assert both.dtype == np.float32
    assert np.isfinite(both).all()
    assert (both[: CHUNK * STRIDE] == 0).all()  # holding, while the first chunk is on its way
    assert len(np.unique(both[CHUNK * STRIDE :, 0, 0])) > 2
    alone = [fly(load(checkpoint, cell, 1), [variant]) for variant in (4, 1)]
    np.testing.assert_array_equal(both, np.concatenate(alone, axis=1))
    told = summary(checkpoint)
    assert (told.cameras, len(told.hash)) == (("cell",), 12)
    assert dataclasses.astuple(load(checkpoint, cell, 1, chunk=1, lead=0).rhythm) == (STRIDE, 1, 0, 1 / FPS)


def test_it_is_trained_kept_and_put_to_work(windows: Windows, tmp_path: Path) -> None:
    network = little_baseline("fast", windows)
    frozen = {name: w.clone() for name, w in network.video.tokenizer.state_dict().items()}
    settings = TrainSettings(steps=2, log_every=1, sample_every=1, device="cpu", ema=0.5)
    with Batches(windows, Sampler(len(windows), 2), threads=0) as batches:
        told = train(BaselineLearner(network), batches, settings, tmp_path, tests=[windows.batch(np.arange(2))])
    assert np.isfinite([told["loss"], told["test_loss"]]).all()
    kept = load_baseline(tmp_path)
    assert kept.about == network.about
    assert all(torch.equal(frozen[name], w) for name, w in kept.video.tokenizer.state_dict().items())
    assert np.isfinite(fly(load(tmp_path, with_robot(kept.about), 1), [0])).all()


def test_loops_that_cannot_be_get_one_line(checkpoint: Path) -> None:
    network = load_baseline(checkpoint)
    cell = with_robot(network.about)
    with pytest.raises(InputError, match="trained to decide 2 frames at most"):
        load(checkpoint, cell, 1, chunk=3)
    with pytest.raises(InputError, match=r"acts 20 times a second.*wants 10"):
        load(checkpoint, dataclasses.replace(cell, period=0.1), 1)
    says = "at least 1" if network.kind == "flow" else "has no denoising steps"
    with pytest.raises(InputError, match=says):
        load(checkpoint, cell, 1, steps=0)


def question(network: Baseline, first: int, frames: int, number: int, seed: int = 0) -> Question:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)[first : first + frames]
    proprio = rng.standard_normal((8, len(network.video.meaning.embodiments[0].proprio))).astype(np.float32)
    led = rng.standard_normal((8, STRIDE, 4)).astype(np.float32)
    here = slice(first, first + frames)
    return Question(0, number, 0, 0, first, {"cell": pictures}, proprio[here], led[here], led[:1])


def test_a_question_may_be_asked_again_and_frames_may_overlap(checkpoint: Path) -> None:
    network = load_baseline(checkpoint)
    rhythm = Rhythm(STRIDE, CHUNK, 1, 1 / FPS)

    def asked(*questions: Question) -> np.ndarray:
        decider = BaselineDecider(network, 0, rhythm, 1)
        return [decider.decide([q])[0] for q in questions][-1]

    whole = asked(question(network, 0, 6, 1))
    np.testing.assert_allclose(asked(question(network, 0, 4, 1), question(network, 4, 2, 2)), whole, atol=1e-4)
    np.testing.assert_allclose(asked(question(network, 0, 4, 1), question(network, 2, 4, 2)), whole, atol=1e-4)
    again = question(network, 0, 6, 1)
    np.testing.assert_array_equal(asked(again, again), whole)
    # What went before is forgotten with frame 0, and by name.
    np.testing.assert_array_equal(asked(question(network, 0, 5, 1, seed=1), again), whole)


def test_other_checkpoints_get_one_line(checkpoint: Path, windows: Windows, tmp_path: Path) -> None:
    network = load_baseline(checkpoint)
    save(tmp_path / "video", network.state_dict(), network.about | {"kind": "video"})
    with pytest.raises(InputError, match="is a checkpoint of kind 'video'"):
        load_baseline(tmp_path / "video")
    weights = {name: w for name, w in network.state_dict().items() if "head" not in name}
    save(tmp_path / "half", weights, network.about)
    with pytest.raises(InputError, match="is no checkpoint of this baseline"):
        load_baseline(tmp_path / "half")
