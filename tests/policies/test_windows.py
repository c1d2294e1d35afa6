"""Windows, their order and their statistics: whole windows only, nothing twice in an epoch, exact positions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import policies_lab as lab
import pytest
import torch

from assets.errors import InputError
from policies.data.frames import Prepared, View, prepare
from policies.data.lerobot import LeRobotDataset
from policies.data.statistics import Statistics
from policies.data.videos import VideoFiles
from policies.data.windows import Batches, Sampler, Windows, batches, train_test
from policies.embodiment import Embodiment

VIEWS = [View("cell", size=16), View("wrist", size=16)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def arm(here: Path) -> Prepared:
    lab.little_dataset(here / "arm", episodes=4, length=20)  # 10, 11, 12, 10 pictures
    return prepare(LeRobotDataset(here / "arm"), VIEWS, 10, here / "cache")


@pytest.fixture(scope="module")
def other(here: Path) -> Prepared:
    lab.little_dataset(here / "other", episodes=2, length=16, joints=2, robot="ur10e", seed=5)
    return prepare(LeRobotDataset(here / "other"), VIEWS, 10, here / "cache")


@pytest.fixture(scope="module")
def video(here: Path) -> Prepared:
    lab.little_video(here / "video" / "a.mp4", 20)
    return prepare(VideoFiles(here / "video"), VIEWS, 10, here / "cache")


def test_windows_are_whole_and_lie_within_an_episode(arm: Prepared) -> None:
    windows = Windows([arm], 11)
    assert len(windows) == 0 + 1 + 2 + 0
    assert windows.skipped == 2
    assert [episodes.tolist() for episodes in windows.episodes] == [[1, 2]]
    batch = windows.batch(np.arange(3))
    np.testing.assert_array_equal(batch.frames["wrist"][2].numpy(), arm.frames["wrist"][22:33])
    assert arm.proprio is not None
    assert arm.actions is not None
    np.testing.assert_array_equal(batch.proprio[1].numpy(), arm.proprio[21:32])
    np.testing.assert_array_equal(batch.actions[1].numpy(), arm.actions[21:32])
    assert batch.task.tolist() == [1, 0, 0]
    assert len(batch) == 3
    assert batch.known.all()


def test_windows_of_chosen_episodes(arm: Prepared) -> None:
    windows = Windows([arm], 10, [[3]])
    assert len(windows) == 1
    np.testing.assert_array_equal(windows.batch(np.array([0])).frames["cell"][0].numpy(), arm.frames["cell"][33:])


def test_windows_serve_what_stands_in_the_place_of_pictures(arm: Prepared) -> None:
    latents = {name: np.random.default_rng(0).random((len(arm.task), 4, 6), np.float32) for name in arm.frames}
    batch = Windows([dataclasses.replace(arm, frames=latents)], 5).batch(np.arange(2))
    assert batch.frames["cell"].dtype == torch.float32
    np.testing.assert_array_equal(batch.frames["cell"][1].numpy(), latents["cell"][1:6])


def test_several_embodiments_and_plain_video_fit_into_one_batch(
    arm: Prepared, other: Prepared, video: Prepared
) -> None:
    windows = Windows([arm, other, video], 8)
    batch = windows.batch(np.arange(len(windows)))
    assert [e.name for e in windows.embodiments] == ["ur20+suction", "ur10e+suction"]
    assert set(zip(batch.embodiment.tolist(), batch.known.tolist(), strict=True)) == {(0, True), (1, True), (-1, False)}
    assert batch.actions.shape[2:] == (2, 4)
    assert batch.proprio.shape[2:] == (8,)
    ours, theirs = batch.embodiment == 1, batch.embodiment == -1
    assert not batch.actions[ours][..., 3:].any()
    assert batch.actions[ours][..., :3].any()
    assert not batch.actions[theirs].any()
    assert batch.task[theirs].tolist() == [-1] * int(theirs.sum())
    assert windows.texts == lab.TASKS


def test_numbers_of_a_checkpoint_stay(arm: Prepared, other: Prepared) -> None:
    before = Windows([arm], 8)
    after = Windows([other], 8, None, ("Something else.", *before.texts), before.embodiments)
    batch = after.batch(np.array([0]))
    assert batch.embodiment.tolist() == [1]
    assert batch.task.tolist() == [1]
    assert batch.actions.shape[-1] == 4  # as wide as the widest that the network knows


def test_datasets_that_do_not_fit_are_told(here: Path, arm: Prepared) -> None:
    slower = prepare(LeRobotDataset(here / "arm"), VIEWS, 5, here / "cache")
    with pytest.raises(InputError, match=r"at 5 Hz, .* at 10"):
        Windows([arm, slower], 4)
    with pytest.raises(InputError, match="differ in actions per picture"):
        Windows([arm, dataclasses.replace(arm, stride=1)], 4)
    with pytest.raises(InputError, match="windows of 13 pictures at 10 Hz: the longest of all episodes has 12"):
        Windows([arm], 13)
    with pytest.raises(InputError, match="no dataset"):
        Windows([], 4)


def test_an_epoch_holds_everything_once_and_the_next_is_another(arm: Prepared) -> None:
    sampler = Sampler(10, 4, seed=3)
    drawn = np.concatenate([sampler.next() for _ in range(10)])
    for epoch in range(4):
        assert sorted(drawn[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:20].tolist()
    assert drawn.tolist() == np.concatenate([Sampler(10, 40, seed=3).next()]).tolist()
    assert drawn[:10].tolist() != Sampler(10, 10, seed=4).next().tolist()


def test_processes_share_what_one_would_see() -> None:
    one = Sampler(7, 6, seed=1)
    parts = [Sampler(7, 2, 1, rank, 3) for rank in range(3)]
    for _ in range(5):
        assert one.next().tolist() == np.concatenate([part.next() for part in parts]).tolist()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_come_in_order_and_go_on_from_a_position(arm: Prepared, threads: int) -> None:
    windows = Windows([arm], 6)
    expected = Sampler(len(windows), 4, seed=2)
    with Batches(windows, Sampler(len(windows), 4, seed=2), threads) as made:
        seen = []
        for _ in range(7):
            seen.append(next(made))
            torch.testing.assert_close(seen[-1].frames["cell"], windows.batch(expected.next()).frames["cell"])
            assert made.position == expected.position
        made.restore(8)
        torch.testing.assert_close(next(made).actions, seen[2].actions)
    with batches(windows, Sampler(len(windows), 4, seed=2), threads) as again:
        again.restore(16)
        torch.testing.assert_close(next(again).actions, seen[4].actions)


def test_a_batch_moves_as_a_whole(arm: Prepared) -> None:
    windows = Windows([arm], 6)
    moved = windows.batch(np.arange(2)).to("meta")
    assert {t.device.type for t in (*moved.frames.values(), moved.proprio, moved.actions, moved.task)} == {"meta"}


def test_statistics_make_unit_spread_and_go_back(arm: Prepared, other: Prepared, video: Prepared) -> None:
    windows = Windows([arm, other, video], 6)
    statistics = Statistics.of(windows)
    assert statistics.actions.mean.shape == (2, 4)
    assert arm.actions is not None
    values = torch.from_numpy(arm.actions)
    number = torch.zeros(len(values), dtype=torch.int64)
    normal = statistics.actions.normalize(values, number)
    torch.testing.assert_close(normal.mean((0, 1)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(normal.std((0, 1), correction=0), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(statistics.actions.denormalize(normal, number), values)
    # The other arm has a number less: what is padded stays zero.
    batch = windows.batch(np.flatnonzero(windows.batch(np.arange(len(windows))).embodiment == 1))
    assert not statistics.actions.normalize(batch.actions, batch.embodiment)[..., 3].any()
    again = Statistics.from_dict(statistics.to_dict())
    assert torch.equal(again.proprio.std, statistics.proprio.std)
    assert torch.equal(again.actions.mean, statistics.actions.mean)
    unknown = windows.batch(np.array([len(windows) - 1]))
    assert torch.isfinite(statistics.proprio.normalize(unknown.proprio, unknown.embodiment)).all()


def test_constants_are_not_blown_up(arm: Prepared) -> None:
    assert arm.proprio is not None
    still = dataclasses.replace(arm, proprio=np.full_like(arm.proprio, 0.3))
    statistics = Statistics.of(Windows([still], 6))
    assert torch.equal(statistics.proprio.std, torch.ones_like(statistics.proprio.std))


def test_statistics_are_those_of_the_chosen_episodes(arm: Prepared) -> None:
    assert arm.actions is not None
    statistics = Statistics.of(Windows([arm], 6, [[1]]))
    np.testing.assert_allclose(statistics.actions.mean[0], arm.actions[10:21].reshape(-1, 4).mean(0), rtol=1e-5)


def test_episodes_are_split_for_training_and_test() -> None:
    starts = np.arange(0, 210, 10)
    train, test = train_test(starts, 0.1, seed=1)
    assert len(test) == 2
    assert sorted([*train, *test]) == list(range(20))
    assert test.tolist() == train_test(starts, 0.1, seed=1)[1].tolist()
    assert test.tolist() != train_test(starts, 0.1, seed=2)[1].tolist()
    assert [len(part) for part in train_test(starts[:3], 0.1)] == [1, 1]
    assert [len(part) for part in train_test(starts[:2], 0.5)] == [1, 0]
    assert [len(part) for part in train_test(starts, 0.0)] == [20, 0]


def test_an_embodiment_comes_back_from_a_checkpoint(arm: Prepared) -> None:
    assert Embodiment.from_dict(dataclasses.asdict(arm.embodiment)) == arm.embodiment
