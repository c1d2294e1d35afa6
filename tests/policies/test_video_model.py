"""The video model: what it may know and what not, and that it learns to imagine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policies_lab import little_dataset
from test_video_cache import LATENT, TOKENS, little_frames, little_model
from torch.utils.tensorboard import SummaryWriter

from assets.errors import InputError
from policies.checkpoint import load, save
from policies.data.frames import prepare
from policies.data.lerobot import LeRobotDataset
from policies.data.statistics import Statistics
from policies.data.view import View
from policies.data.windows import Windows
from policies.nn.optimizer import make_optimizer
from policies.video.condition import Condition
from policies.video.dream import compare, copy_last, dream, linear_motion, psnr
from policies.video.flow import draw_known, draw_levels, imagine, levels, noise_for, remember
from policies.video.learner import VideoLearner, condition_of, latents_of
from policies.video.model import VideoConfig, VideoModel, load_config
from policies.video.network import Meaning, VideoNetwork, action_widths, load_tokenizer, load_video
from policies.video.tokenizer import Autoencoder

FRAMES = 10


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def asked_of(
    model: VideoModel, frames: torch.Tensor, condition: Condition, asked: Condition | None = None
) -> torch.Tensor:
    """The model's answers (1, T, N, D) to the same question in each frame, given the frames before it as context."""
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(3), dtype=frames.dtype)
    zero, one = torch.zeros(frames.shape[:2], dtype=frames.dtype), torch.ones(frames.shape[:2], dtype=frames.dtype)
    return model.answer(frames, zero, noise, one, condition, condition.ahead(None) if asked is None else asked)


@pytest.mark.parametrize("what", ["frames", "proprio", "actions"])
def test_a_frame_changes_nothing_before_it_and_its_own_prediction_neither(what: str) -> None:
    model = little_model()
    frames, condition = little_frames(1, FRAMES)
    condition.proprio_known = condition.actions_known = torch.ones(1, FRAMES, dtype=torch.bool)
    before = asked_of(model, frames, condition)
    changed = {"frames": frames, "proprio": condition.proprio, "actions": condition.actions}[what]
    assert changed is not None
    changed[:, 4] += 1.0
    after = asked_of(model, frames, condition)
    assert torch.equal(before[:, :5], after[:, :5])
    for later in range(5, FRAMES):
        assert not torch.allclose(before[:, later], after[:, later]), later


def test_what_is_unknown_does_not_leak() -> None:
    """Not even where it is not a number."""
    model = little_model()
    frames, condition = little_frames(1, FRAMES)
    assert condition.proprio is not None
    assert condition.actions is not None
    assert condition.proprio_known is not None
    assert condition.actions_known is not None
    before = asked_of(model, frames, condition, condition)
    condition.proprio[~condition.proprio_known] = torch.nan
    condition.actions[~condition.actions_known] = 1e6
    assert torch.equal(before, asked_of(model, frames, condition, condition))
    nothing = Condition(condition.task, condition.embodiment)
    hidden = condition.hidden(torch.zeros(1, FRAMES).bool(), torch.zeros(1, FRAMES).bool())
    assert torch.equal(asked_of(model, frames, nothing), asked_of(model, frames, hidden, hidden))
    assert not torch.allclose(before, asked_of(model, frames, nothing))


def test_the_loss_hides_the_body_that_would_tell_the_frame() -> None:
    """The last frame's body is seen by no later question: the loss must not depend on it, as it does on others."""
    model = little_model()
    frames, condition = little_frames(4, FRAMES)
    condition.proprio_known = torch.ones(4, FRAMES, dtype=torch.bool)

    def loss() -> float:
        return float(model.loss(frames, condition, torch.Generator().manual_seed(5))["loss"])

    assert condition.proprio is not None
    before = loss()
    condition.proprio[:, -1] += 1.0
    assert loss() == before
    condition.proprio[:, 2] += 1.0
    assert loss() != before


def test_known_and_unknown_actions_task_and_embodiment_make_a_difference() -> None:
    model = little_model()
    frames, condition = little_frames(1, FRAMES)
    assert condition.actions is not None
    plain = asked_of(model, frames, condition)
    told = asked_of(model, frames, condition, condition.ahead(condition.actions))
    assert not torch.allclose(plain, told)
    for name in ("task", "embodiment"):
        other = Condition(**{**vars(condition), name: torch.tensor([-1])})
        assert not torch.allclose(plain, asked_of(model, frames, other)), name


def test_a_text_encoder_can_take_the_place_of_the_task() -> None:
    config = VideoConfig(width=32, depth=1, heads=2, views=1, tokens=2, latent=4, text=6)
    model = VideoModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    frames, zero = torch.randn(2, 3, 2, 4), torch.zeros(2, dtype=torch.long)
    one, other = (model(frames, torch.zeros(2, 3), Condition(zero, zero, text=text)) for text in torch.randn(2, 2, 6))
    assert not torch.allclose(one, other)


def test_begins_by_saying_that_nothing_moves() -> None:
    config = VideoConfig(width=32, depth=2, heads=2, views=1, tokens=TOKENS, latent=LATENT)
    model = VideoModel(config)
    frames, zero = torch.randn(2, 5, TOKENS, LATENT), torch.zeros(2, dtype=torch.long)
    assert torch.equal(model(frames, torch.rand(2, 5), Condition(zero, zero))[:, 1:], frames[:, :-1])
    parts = model.loss(frames, Condition(zero, zero))
    assert float(parts["error"]) < 1.2 * float(parts["still"])


def test_what_is_drawn() -> None:
    draw = torch.Generator().manual_seed(0)
    level = draw_levels(64, 32, draw, "cpu")
    assert float((level == 1).float().mean()) == pytest.approx(0.25, abs=0.05)
    assert float(level.min()) > 0
    known = draw_known(400, 32, 4, draw, "cpu")
    assert bool((~known.body | known.actions).all())  # what is real was also acted
    assert float(known.body.all(1).float().mean()) > 0.25
    assert 0.05 < float((~known.actions).float().mean()) < 0.4
    assert float(known.asked.float().mean()) == pytest.approx(0.5, abs=0.05)
    runs = (known.asked[:, 1:] != known.asked[:, :-1]).float().mean()
    assert float(runs) == pytest.approx(0.125, abs=0.03)  # in runs of a chunk of 4
    assert levels(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert levels(4, shift=3.0)[1] == pytest.approx(0.9)
    with pytest.raises(InputError, match="steps = 0 must be at least 1"):
        levels(0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"width": 30, "heads": 4}, "width 30, heads 4"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads 3 do not fit"),
        ({"depth": 0}, "depth = 0 must be at least 1"),
        ({"context": 1}, "context 1 and local"),
        ({"widht": 32}, "unknown setting 'widht'"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_config(settings)


def test_nano_is_small() -> None:
    """At most 5 million parameters with its tokenizer, for an arm of 6 joints with a tool, seen by two cameras."""
    tokenizer = Autoencoder()
    config = VideoConfig(proprio=16, actions=14, tasks=8, embodiments=4)
    assert (tokenizer.tokens, tokenizer.dim) == (config.tokens, config.latent)
    assert VideoModel(config).parameters_count + sum(p.numel() for p in tokenizer.parameters()) <= 5_000_000


def moving_block(rows: int, frames: int, generator: torch.Generator) -> torch.Tensor:
    """Frames (rows, T, 4, 16): pictures of 8 x 8 with a block that flies on and on, cut into patches of 4 x 4."""
    picture = torch.full((8, 8), -0.4)
    picture[:2, :2] = 3.6
    at = torch.randint(8, (rows, 2), generator=generator)
    speed = torch.randint(-1, 2, (rows, 2), generator=generator)
    whole = torch.stack(
        [
            torch.stack([picture.roll(tuple((at[i] + t * speed[i]).tolist()), (0, 1)) for t in range(frames)])
            for i in range(rows)
        ]
    )
    return whole.view(rows, frames, 2, 4, 2, 4).transpose(3, 4).reshape(rows, frames, 4, 16)


def test_learns_to_imagine_a_moving_block() -> None:
    """A few seconds of training; six frames imagined one after another are far better than the last one seen."""
    draw = torch.Generator().manual_seed(0)
    model = VideoModel(VideoConfig(width=64, depth=2, heads=2, views=1, tokens=4, latent=16, context=16, local=16))
    optimizer = make_optimizer(model, 5e-3)
    zero = torch.zeros(16, dtype=torch.long)
    losses = []
    for step in range(180):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min(1.0, (step + 1) / 10, (185 - step) / 90)
        parts = model.loss(moving_block(16, 9, draw), Condition(zero, zero), draw)
        optimizer.zero_grad()
        parts["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(parts["loss"].item())
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    truth = moving_block(16, 9, torch.Generator().manual_seed(1))
    cache = model.cache(16)
    remember(model, cache, truth[:, :3], Condition(zero, zero))
    imagined = imagine(model, cache, Condition(zero, zero), noise_for(model, 16, 6, draw), steps=3)
    error = (imagined - truth[:, 3:]).square().mean((0, 2, 3))
    still = (truth[:, 2:3] - truth[:, 3:]).square().mean((0, 2, 3))
    assert float(error[0] / still[0]) < 0.5
    assert bool((error < 0.9 * still).all()), (error / still).tolist()


def test_linear_motion_and_signal_to_noise() -> None:
    """A block that moves evenly is foreseen, what it leaves is filled with what was there before it came."""
    pictures = torch.full((1, 12, 32, 32, 3), 0.2)
    for t in range(12):
        pictures[0, t, 10:16, 2 * t : 2 * t + 6] = torch.tensor([0.9, 0.5, 0.1])
    seen, future = pictures[:, :8], pictures[:, 8:]
    guess = linear_motion(seen, 4)
    pairs = [(guess, future, seen[:, -1])]
    stills = [(copy_last(seen, 4), future, seen[:, -1])]
    assert bool((psnr(pairs) > psnr(stills) + 8).all())
    assert bool((psnr(stills, changed=True) < psnr(stills)).all())
    assert float(psnr([(future + 0.1, future, seen[:, -1])])[0]) == pytest.approx(20.0, abs=0.01)
    assert torch.equal(linear_motion(seen[:, :1], 2), copy_last(seen[:, :1], 2))


def network_of(windows: Windows, views: tuple[View, ...]) -> VideoNetwork:
    tokenizer = Autoencoder(size=32, width=16)
    proprio, actions = action_widths(windows.embodiments, windows.stride)
    config = VideoConfig(
        width=32, depth=2, heads=2, tokens=tokenizer.tokens, latent=tokenizer.dim, context=8, local=4,
        proprio=proprio, actions=actions, tasks=len(windows.texts), embodiments=len(windows.embodiments),
    )  # fmt: skip
    meaning = Meaning(views, 10.0, 2, windows.texts, windows.embodiments, Statistics.of(windows))
    return VideoNetwork(tokenizer, VideoModel(config), meaning)


def test_learner_network_checkpoint_and_dreams_on_a_dataset(tmp_path: Path) -> None:
    data = LeRobotDataset(little_dataset(tmp_path / "data", episodes=3, length=24))
    views = (View("cell", size=32), View("wrist", size=32))
    prepared = prepare(data, views, 10.0, tmp_path / "cache")
    windows = Windows([prepared], length=8)
    network = network_of(windows, views)
    learner = VideoLearner(network)
    frozen = [p.clone() for p in network.tokenizer.state_dict().values()]
    optimizer = learner.optimizer(1e-3)
    network.train()
    for _ in range(3):
        parts = learner.loss(windows.batch(np.arange(4)))
        parts["loss"].backward()
        optimizer.step()
    assert torch.isfinite(parts["loss"])
    assert all(torch.equal(a, b) for a, b in zip(frozen, network.tokenizer.state_dict().values(), strict=True))

    save(tmp_path / "video", network.state_dict(), learner.about())
    again = load_video(tmp_path / "video")
    network.eval().requires_grad_(False)
    batch = windows.batch(np.arange(2))
    frames, condition = network.encode(batch.frames), condition_of(network, batch)
    assert torch.equal(again.encode(batch.frames), frames)
    assert torch.equal(
        load_tokenizer(tmp_path / "video").encode(batch.frames["cell"]), frames[:, :, : frames.shape[2] // 2]
    )
    assert condition.actions_known is not None
    assert condition.actions_known[:, 0].tolist() == [False, False]
    assert condition.actions is not None
    scale = network.meaning.statistics.actions
    led = scale.normalize(batch.actions, batch.embodiment)[:, 2].flatten(1)
    assert torch.allclose(condition.actions[:, 3], led)

    # The same start and noise dream the same, in one go or two, and in the checkpoint that was read again.
    def dreamt(network: VideoNetwork, frames: torch.Tensor, condition: Condition, **more: object) -> torch.Tensor:
        draw = torch.Generator().manual_seed(2)
        return torch.cat(list(dream(network, frames, condition, 6, generator=draw, **more)), dim=1)  # pyright: ignore

    one = dreamt(network, frames, condition)
    assert one.shape == (2, 6, *frames.shape[2:])
    assert torch.equal(one, dreamt(again, frames, condition))
    told = dreamt(network, frames, condition, led=torch.zeros(2, 6, condition.actions.shape[-1]))
    assert not torch.allclose(one, told)
    asked = []

    def translate(frames: torch.Tensor, past: int) -> torch.Tensor:
        asked.append((frames.shape[1], past))
        return torch.zeros(2, frames.shape[1] - past, told.shape[-1] * 0 + condition.actions.shape[-1])  # pyright: ignore

    assert torch.isfinite(dreamt(network, frames, condition, translate=translate)).all()
    assert asked == [(12, 4), (12, 4)]
    comparison = compare(network, frames, condition, seen=4, generator=torch.Generator().manual_seed(0))
    assert comparison.psnr.shape == comparison.changed_psnr.shape == (4,)

    with SummaryWriter(str(tmp_path / "board")) as writer:
        learner.sample(batch, writer, 1)
    fast = network.fast()
    rough = dreamt(fast, frames, condition)
    assert float((rough - one).abs().mean()) < 0.05

    # Latents in the place of pictures: the same loss, but for their half precision.
    latents = latents_of(prepared, network)
    assert latents.frames["cell"].shape == (int(prepared.starts[-1]), network.tokenizer.tokens, network.tokenizer.dim)
    here = slice(int(prepared.starts[1]), int(prepared.starts[1]) + 8)
    for view in views:
        batch.frames[view.name] = torch.from_numpy(np.stack([latents.frames[view.name][here]] * 2))
    assert torch.isfinite(learner.loss(batch)["loss"])


def test_checkpoints_and_pictures_that_do_not_fit(tmp_path: Path) -> None:
    data = LeRobotDataset(little_dataset(tmp_path / "data", episodes=1, length=24))
    views = (View("cell", size=32), View("wrist", size=32))
    windows = Windows([prepare(data, views, 10.0, tmp_path / "cache")], length=8)
    network = network_of(windows, views)
    with pytest.raises(InputError, match="they must agree"):
        VideoNetwork(Autoencoder(size=32, width=16, pack=(2, 2)), network.model, network.meaning)
    with pytest.raises(InputError, match="no pictures of the view 'wrist'"):
        network.encode({"cell": torch.zeros(1, 32, 32, 3)})
    weights = {name: w for name, w in network.state_dict().items() if "place" not in name}
    save(tmp_path / "other", weights, network.about)
    with pytest.raises(InputError, match=r"weights of another network .*place"):
        load_video(tmp_path / "other")
    save(tmp_path / "idm", weights, {"kind": "idm"})
    with pytest.raises(InputError, match="is a checkpoint of kind 'idm'"):
        load_tokenizer(tmp_path / "idm")
    assert load(tmp_path / "other", "video").about["config"]["model"]["width"] == 32
