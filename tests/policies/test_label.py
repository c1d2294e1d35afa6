"""Labels for video without actions: what is written, where it comes from, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from assets.errors import InputError
from policies.data.frames import prepare
from policies.data.lerobot import INFO, STATS, LeRobotDataset
from policies.data.statistics import Statistics
from policies.data.view import View
from policies.data.windows import Windows
from policies.embodiment import ACTION, STATE, Embodiment
from policies.idm.label import MARGIN, WINDOW, fuse, label, read_episode, windows_of
from policies.idm.labelled import SPREAD
from policies.idm.model import IDMConfig, InverseDynamics
from policies.video.network import Meaning
from tests.policies.policies_lab import little_dataset

VIEWS = (View("cell", size=32), View("wrist", size=32))


def drop_state(root: Path) -> None:
    """Leave nothing but the video."""
    for path in root.glob("data/*/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns([STATE]), path)
    info = json.loads((root / INFO).read_text())
    del info["features"][STATE]
    (root / INFO).write_text(json.dumps(info))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[InverseDynamics, Meaning]:
    """A model that knows the little cell's scales; its weights are random."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    p = prepare(LeRobotDataset(little_dataset(folder / "d", 2, 24)), VIEWS, 10.0, folder / "cache")
    windows = Windows([p], 8)
    module = InverseDynamics(IDMConfig.of(VIEWS, windows.embodiments, p.stride, width=20, depth=1, heads=2)).eval()
    assert p.proprio is not None
    assert p.actions is not None
    module.measure(0, p.embodiment, [(torch.from_numpy(p.proprio), torch.from_numpy(p.actions))])
    return module, Meaning(VIEWS, 10.0, p.stride, windows.texts, windows.embodiments, Statistics.of(windows))


def test_video_alone_becomes_a_dataset_that_learns(model: tuple[InverseDynamics, Meaning], tmp_path: Path) -> None:
    module, meaning = model
    source = little_dataset(tmp_path / "video", 3, 45, actions=False, packed=True, robot="unknown")
    drop_state(source)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    told: list[tuple[int, int]] = []
    out = label(
        LeRobotDataset(source), tmp_path / "out", module, meaning, 0, tmp_path / "cache", lambda *n: told.append(n)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    dataset, body = LeRobotDataset(out), meaning.embodiments[0]
    assert Embodiment.of(dataset.info) == body
    assert dataset.lengths == [45, 47, 49]
    for episode, length in enumerate(dataset.lengths):
        columns = dataset.columns(episode)
        assert columns[ACTION].shape == columns[SPREAD].shape == (length, len(body.actions))
        assert columns[STATE].shape == (length, len(body.proprio))
        assert (columns[SPREAD] > 0).all()
        assert (columns[ACTION][-1] == columns[ACTION][2 * (length // 2) - 3]).all()  # held: nothing is seen of it
        assert (columns[SPREAD][-1] > columns[SPREAD][2 * (length // 2) - 3]).all()
        assert next(iter(dataset.video(episode, "cell"))).shape == (64, 64, 3)
    stats = json.loads((out / STATS).read_text())
    assert stats[ACTION]["count"] == [45 + 47 + 49]
    again = prepare(dataset, VIEWS, 10.0, tmp_path / "cache")
    assert again.embodiment == body
    assert again.actions is not None
    assert not list(tmp_path.glob("*.tmp"))


def test_along_a_recorded_state_targets_stay_near_it(model: tuple[InverseDynamics, Meaning], tmp_path: Path) -> None:
    module, meaning = model
    source = LeRobotDataset(little_dataset(tmp_path / "states", 1, 40, actions=False))
    out = LeRobotDataset(label(source, tmp_path / "out", module, meaning, 0, tmp_path / "cache"))
    columns, recorded = out.columns(0), source.columns(0)
    assert np.array_equal(columns[STATE], recorded[STATE])
    assert out.state_names == source.state_names
    # Even untrained, targets begin at the poses that were measured.
    near = np.abs(columns[ACTION][:-2, :3] - recorded[STATE][2:, :3]).mean()
    far = np.abs(columns[ACTION][:-2, :3] - recorded[STATE][2:, :3].mean(0)).mean()
    assert near < 0.5 * far


def test_what_cannot_be_labelled_is_named(model: tuple[InverseDynamics, Meaning], tmp_path: Path) -> None:
    module, meaning = model
    with_actions = LeRobotDataset(little_dataset(tmp_path / "actions", 1, 20))
    with pytest.raises(InputError, match="has actions already"):
        label(with_actions, tmp_path / "out", module, meaning)
    source = LeRobotDataset(little_dataset(tmp_path / "video", 1, 20, actions=False))
    with pytest.raises(InputError, match="embodiment 3: the model knows 1"):
        label(source, tmp_path / "out", module, meaning, 3)
    slow = LeRobotDataset(little_dataset(tmp_path / "slow", 1, 20, actions=False, fps=10))
    with pytest.raises(InputError, match="10 frames a second; the model reads 10 frames and 20 actions a second"):
        label(slow, tmp_path / "out", module, meaning)
    one = LeRobotDataset(little_dataset(tmp_path / "one", 1, 3, actions=False))
    with pytest.raises(InputError, match="episode 0 has 1 frames; two are needed"):
        label(one, tmp_path / "out", module, meaning, 0, tmp_path / "cache")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is there already"):
        label(source, tmp_path / "out", module, meaning)


@pytest.mark.parametrize("n", [2, 3, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 5])
def test_windows_read_every_interval_once(n: int) -> None:
    width = min(WINDOW, n)
    kept = []
    for begin, keep in windows_of(n, width):
        assert 0 <= begin <= n - width
        assert 0 <= keep.start < keep.stop <= width - 1
        assert keep.start == 0 or keep.start >= MARGIN
        kept += range(begin + keep.start, begin + keep.stop)
    assert kept == list(range(n - 1))


def test_a_path_agrees_with_rough_places_and_exact_steps() -> None:
    rng = np.random.default_rng(0)
    truth = np.cumsum(rng.normal(0, 0.05, (200, 2)), axis=0)
    places = truth + rng.normal(0, 0.05, truth.shape)
    spread = np.full((199, 2), 0.002)
    steps = np.diff(truth, axis=0) + rng.normal(0, 0.002, (199, 2))
    sure = np.zeros(200)
    path = fuse(places, sure, steps, spread)
    summed = places.mean(0) + np.cumsum(np.concatenate([np.zeros((1, 2)), steps]), 0)
    summed += (places - summed).mean(0)
    error = [np.sqrt(np.mean((x - truth) ** 2)) for x in (path, places, summed)]
    assert error[0] < 0.3 * error[1]
    assert error[0] < 1.05 * error[2]
    places[::2] += 1.0  # nonsense, of which the model says that it is not sure
    sure[::2] = -12.0
    assert np.abs(fuse(places, sure, steps, spread) - truth).max() < 0.1


def test_an_episode_is_read_the_same_whatever_stands_around_it(
    model: tuple[InverseDynamics, Meaning], tmp_path: Path
) -> None:
    module, _ = model
    p = prepare(LeRobotDataset(little_dataset(tmp_path / "d", 2, 40)), VIEWS, 10.0, tmp_path / "cache")
    poses, actions, spread = read_episode(module, p, 1, 0)
    n = int(p.starts[2] - p.starts[1])
    assert poses.shape == (n, 3)
    assert actions.shape == spread.shape == (n - 1, 2, module.config.actions)
    assert all(np.isfinite(x).all() for x in (poses, actions, spread))
    p.frames["cell"] = p.frames["cell"].copy()
    p.frames["cell"][: p.starts[1]] = 0
    assert np.array_equal(read_episode(module, p, 1, 0)[1], actions)
