"""The probe that reads positions from latents, and what else looks at dreams: the data's manifold, drift over time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from assets.errors import InputError
from policies.data.lerobot import INFO, LeRobotDataset
from policies.idm.labelled import write_columns
from policies.video.drift import Drift, Plan, margins, resampled, signal, standing, summary
from policies.video.footage import SURROUNDINGS, footage_of
from policies.video.manifold import Manifold, detail
from policies.video.probe import Grid, errors, fit
from policies.video.tokenizer import Autoencoder
from tests.policies.dream_lab import network_of
from tests.policies.policies_lab import little_dataset

GRID = Grid(1, 2, 2, 4, 2, 2)  # one view of 4 x 4 latents of 4 channels, 2 x 2 of them a token


def spots(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (n, 4, 16) with a soft spot in their plane, and where it is (n, 2)."""
    draw = torch.Generator().manual_seed(seed)
    at = torch.rand(n, 2, generator=draw) * 2 - 1
    y, x = torch.meshgrid(torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 4), indexing="ij")
    spot = (-(((y - at[:, 0, None, None]) ** 2 + (x - at[:, 1, None, None]) ** 2) / 0.5)).exp()
    planes = spot[:, None] * torch.tensor([3.0, -2.0, 1.0, 0.0])[:, None, None]
    planes = planes + 0.1 * torch.randn(planes.shape, generator=draw)
    tokens = planes.view(n, 4, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5)
    return tokens.reshape(n, 4, 16), at


def test_it_reads_where_a_spot_is_the_same_each_time() -> None:
    torch.set_num_threads(1)
    latents, at = spots(500, 0)
    before = torch.random.get_rng_state()
    told: list[int] = []
    probe = fit(GRID, latents[:400], at[:400], steps=60, progress=lambda done, _: told.append(done))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert told[-1] == 60
    off = errors(probe, latents[400:], at[400:], ["y", "x"])
    assert max(off.values()) < 0.25
    assert float(at[400:].std()) > 0.5
    few, again = (fit(GRID, latents[:400], at[:400], steps=5).read(latents[400:]) for _ in range(2))
    assert torch.equal(few, again)
    assert probe(latents[:6].view(2, 3, 4, 16)).shape == (2, 3, 2)


def test_tokens_become_the_planes_that_the_tokenizer_made() -> None:
    tokenizer = Autoencoder(size=32, channels=4, down=8, pack=(2, 2), width=16).eval()
    pictures = torch.rand(3, 2, 32, 32, 3)
    planes = Grid.of(tokenizer, 2).planes(tokenizer.encode(pictures).flatten(1, 2))
    for view in range(2):
        wanted = tokenizer.normalize(tokenizer.encoder(tokenizer._planes(pictures[:, view])))
        assert torch.allclose(planes[:, 4 * view : 4 * view + 4], wanted, atol=1e-6)


def test_what_a_probe_cannot_learn_is_named() -> None:
    latents, at = spots(10, 0)
    with pytest.raises(InputError, match="both are needed"):
        fit(GRID, latents, at[:, :0])
    with pytest.raises(InputError, match="some are not finite"):
        fit(GRID, latents, at * torch.nan)


def test_the_manifold_knows_frames_of_other_episodes_and_refuses_noise_and_blur() -> None:
    draw = torch.Generator().manual_seed(0)
    base, ways = torch.randn(1, 4, 16, generator=draw), torch.randn(3, 64, generator=draw)

    def frames(n: int) -> torch.Tensor:
        moved = (torch.rand(n, 3, generator=draw) - 0.5) @ ways
        return base + moved.view(n, 4, 16) + 0.02 * torch.randn(n, 4, 16, generator=draw)

    lively = {"cell": torch.rand(50, 8, 8, 3, generator=draw)}
    manifold = Manifold(frames(200), torch.arange(200) // 20, detail(lively))
    details = detail(lively)
    assert float(manifold.holds(frames(50), details).float().mean()) > 0.8
    assert not bool(manifold.holds(3 * torch.randn(50, 4, 16, generator=draw), details).any())
    blurred = detail({"cell": lively["cell"].mean(0, keepdim=True).expand(50, -1, -1, -1)})
    assert bool(manifold.near(base.expand(50, -1, -1)).all())
    assert not bool(manifold.holds(base.expand(50, -1, -1), blurred).any())


def drift_of(ours: np.ndarray, still: np.ndarray, holds: np.ndarray | None = None) -> Drift:
    """What dreams of these square errors (count, frames) came to."""
    count, frames = ours.shape
    measures = {"changed": np.ones_like(ours), "motion/dream": np.ones_like(ours), "motion/truth": np.ones_like(ours)}
    for space in ("camera", "rendered"):
        for name, values in {"dream": ours, "copy_last": still, "linear_motion": 2 * still, "rendered": ours}.items():
            measures[f"{space}/{name}"] = measures[f"{space}/{name}/changed"] = values
    if holds is not None:
        measures["holds"] = holds
    plan = Plan(count, frames, 2, frames)
    return Drift(plan, 10.0, np.arange(count) // 2, (), 0, measures, {}, {}, {}, 1.0)


def test_margins_are_over_the_better_guess_with_an_interval_of_episodes() -> None:
    random = np.random.default_rng(0)
    still = np.full((8, 3), 0.1)
    drift = drift_of(0.01 * random.uniform(0.5, 1.5, (8, 3)), still)
    over, low, high = margins(drift)
    assert over == pytest.approx(signal(drift, "dream") - 10, abs=1e-6)
    assert (low < over).all()
    assert (over < high).all()
    weights = resampled(np.array([0, 0, 1, 2]), draws=50)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()


def test_a_dream_has_collapsed_if_its_end_is_unlike_the_data() -> None:
    holds = np.ones((3, 400))
    holds[1, 250:] = 0  # within the last ten seconds, more than half
    holds[2, :280] = 0  # found back
    holds[:, 1::2] = np.nan  # not looked at
    ones = np.full((3, 400), 0.1)
    drift = drift_of(ones, ones, holds)
    assert standing(drift) == pytest.approx([True, False, True])
    said = summary(drift)
    assert said["not_collapsed"] == pytest.approx(2 / 3)
    json.dumps(said, allow_nan=False)


def test_footage_knows_where_arm_and_carton_were(tmp_path: Path) -> None:
    root = little_dataset(tmp_path / "data", 4, 24)
    dataset = LeRobotDataset(root)
    names = ("carton.ready", "carton.x", "carton.top")
    columns = {e: {SURROUNDINGS: np.outer(np.arange(n), [0, 1, 10])} for e, n in enumerate(dataset.lengths)}
    write_columns(root, {SURROUNDINGS: names}, columns, "ur20")
    dataset = LeRobotDataset(root)
    network = network_of(tmp_path / "data", tmp_path / "cache")
    footage = footage_of([dataset, dataset], network, 0.25, 0, tmp_path / "cache")
    assert footage.names == ("joint0.position", "joint1.position", "joint2.position", "carton.x", "carton.top")
    assert footage.joints == 3
    assert [len(part) for part in (*footage.train, *footage.test)] == [3, 3, 1, 1]
    assert not set(footage.numbers(True)) & set(footage.numbers(False))
    part = footage.part(footage.starts(5, 8), 8, 3)
    assert len(part) == 5
    x = part.positions[..., 3]
    assert torch.equal(x[:, 1:] - x[:, :-1], torch.full((5, 7), 2.0))  # every second frame of 20 a second
    assert torch.equal(part.pose, part.positions[:, 2, :3])
    pictures = network.encode(part.pictures)
    assert torch.allclose(part.frames, pictures, atol=5e-3)
    info = json.loads((root / INFO).read_text())
    info["robot_type"] = "other"
    (root / INFO).write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"shows other.*which the model does not know; it knows ur20"):
        footage_of([LeRobotDataset(root)], network, 0.25, 0, tmp_path / "cache")
    one = LeRobotDataset(little_dataset(tmp_path / "one", 1, 24))
    with pytest.raises(InputError, match="held_out=0"):
        footage_of([one], network, 0.25, 0, tmp_path / "cache")
