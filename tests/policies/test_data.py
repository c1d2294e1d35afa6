"""Reading LeRobotDatasets and plain video, preparing pictures: the same from any layout, decoded once, clear errors."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import policies_lab as lab
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.errors import InputError
from policies.data import frames
from policies.data.frames import Prepared, View, prepare
from policies.data.lerobot import LeRobotDataset
from policies.data.videos import VideoFiles, open_source
from policies.embodiment import VIDEO, Embodiment
from tasks.dataset import lerobot_format as lerobot

VIEWS = [View("cell"), View("wrist", (0.25, 0.0, 1.0, 0.75), size=32)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    lab.little_dataset(folder / "single", episodes=3, length=21)
    lab.little_dataset(folder / "packed", episodes=3, length=21, packed=True)
    return folder


def copy(here: Path, to: Path) -> Path:
    return Path(shutil.copytree(here / "single", to))


def edit(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def edit_column(path: Path, name: str, values: np.ndarray) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(name), name, lerobot.column(values)), path)


def test_episodes_packed_into_files_read_like_episodes_with_files_of_their_own(here: Path) -> None:
    single, packed = LeRobotDataset(here / "single"), LeRobotDataset(here / "packed")
    assert single.lengths == packed.lengths == [21, 23, 25]
    assert single.cameras == packed.cameras == lab.CAMERAS
    assert single.tasks == packed.tasks == list(lab.TASKS)
    assert single.hash != packed.hash
    for episode in range(3):
        a, b = single.columns(episode), packed.columns(episode)
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
        for camera in single.cameras:
            ours, theirs = (np.stack(list(d.video(episode, camera))) for d in (single, packed))
            assert ours.shape == (21 + 2 * episode, 64, 64, 3)
            # Encoded apart they differ a little, and far less than one picture from the next.
            error = np.abs(ours.astype(float) - theirs).mean()
            assert error < 0.7 * np.abs(ours[1:].astype(float) - theirs[:-1]).mean()
            assert error < 1.5
            np.testing.assert_array_equal(np.stack(list(packed.video(episode, camera, 3))), theirs[::3])


def test_pictures_stand_where_their_states_do(here: Path) -> None:
    dataset = LeRobotDataset(here / "packed")
    positions, pictures = dataset.columns(1)["observation.state"][:, :3], list(dataset.video(1, "cell"))
    cell = lab.LittleCell(np.random.default_rng(0), 1)
    for t in (0, 7, 22):
        cell.position = positions[t].astype(float)
        cell.carton = np.array([5.0, 5.0])  # out of sight
        drawn = cell.picture("cell").astype(float)
        at = np.round((cell.position[:2] * 0.8 + 1) * 32 - 0.5).astype(int)
        assert np.abs(pictures[t][at[1], at[0]].astype(float) - [[200, 60, 60], [60, 200, 90]]).sum(-1).min() < 60
        pointer = np.round((np.array([cell.position[2], 1.1]) * 0.8 + 1) * 32 - 0.5).astype(int)
        assert np.abs(pictures[t][pointer[1], pointer[0]] - drawn[pointer[1], pointer[0]]).max() < 40


def test_embodiments(here: Path) -> None:
    embodiment = Embodiment.of(LeRobotDataset(here / "single").info)
    assert embodiment.name == "ur20+suction"
    assert embodiment.proprio == (
        *(f"joint{i}.position" for i in range(3)),
        *(f"joint{i}.torque" for i in range(3)),
        "suction.sealed",
        "suction.holding",
    )
    assert embodiment.target_of == (0, 1, 2, -1)
    assert embodiment.columns(lab.state_names()) == [0, 1, 2, 6, 7, 8, 9, 10]
    with pytest.raises(InputError, match=r"the state has no 'joint0\.torque'"):
        embodiment.columns(lab.state_names(torques=False))
    info = LeRobotDataset(here / "single").info
    assert Embodiment.of(info, torques=False).torques == ()


def test_embodiments_of_other_robots() -> None:
    def info(state: Any, action: Any, width: int) -> dict[str, Any]:
        features = {"observation.state": state, "action": action}
        return {"features": {k: {"names": v, "shape": [width]} for k, v in features.items()}, "robot_type": "so101"}

    names = ["shoulder_pan.pos", "gripper.pos"]
    assert Embodiment.of(info(names, names, 2)).positions == tuple(names)
    assert Embodiment.of(info({"motors": ["x", "y"]}, {"motors": ["x", "y"]}, 2)).positions == ("x", "y")
    assert Embodiment.of(info(None, None, 3)).positions == ("motor_0", "motor_1", "motor_2")
    with pytest.raises(InputError, match="no joint positions"):
        Embodiment.of(info(["a"], ["b"], 1))
    with pytest.raises(InputError, match=r"no torque column \('shoulder_pan.torque'\)"):
        Embodiment.of(info(names, names, 2), torques=True)


def test_preparing_keeps_every_second_picture_and_the_actions_between(here: Path, tmp_path: Path) -> None:
    dataset = LeRobotDataset(here / "single")
    seen: list[tuple[int, int]] = []
    prepared = prepare(dataset, VIEWS, 10, tmp_path, progress=lambda done, of: seen.append((done, of)))
    assert prepared.stride == 2
    assert prepared.starts.tolist() == [0, 10, 21, 33]
    assert seen[-1] == (66, 66)
    assert prepared.frames["cell"].shape == (33, 64, 64, 3)
    assert prepared.frames["wrist"].shape == (33, 32, 32, 3)
    assert prepared.success is not None
    assert prepared.success.shape == (3,)
    assert prepared.proprio is not None
    assert prepared.actions is not None
    columns = dataset.columns(1)
    np.testing.assert_array_equal(prepared.actions[10:21].reshape(22, 4), columns["action"][:22])
    np.testing.assert_array_equal(prepared.proprio[10:21, :3], columns["observation.state"][:22:2, :3])
    assert prepared.task[10:21].tolist() == [1] * 11
    assert prepared.episode[9:11].tolist() == [0, 1]
    np.testing.assert_array_equal(prepared.frames["cell"][10:21], np.stack(list(dataset.video(1, "cell", 2)))[:11])


def test_views_average_over_areas() -> None:
    x, y = np.meshgrid(np.arange(96), np.arange(48))
    picture = np.stack([x, 4 * y, np.full_like(x, 7)], -1).astype(np.uint8)
    np.testing.assert_array_equal(View("a", (0, 0, 0.5, 1), size=48).of(picture), picture[:, :48])
    small = View("a", (0.25, 0.25, 0.75, 0.75), size=12).of(picture).astype(float)
    np.testing.assert_allclose(small[0, :, 0], 24 + 4 * np.arange(12) + 1.5, atol=0.5)
    np.testing.assert_allclose(small[:, 0, 1], 4 * (12 + 2 * np.arange(12) + 0.5), atol=0.5)
    # 96 columns to 36: parts of 2 2/3 columns, so pixels are shared between them.
    uneven = View("a", size=36).of(np.stack([picture, picture])).astype(float)
    assert uneven.shape == (2, 36, 36, 3)
    np.testing.assert_allclose(uneven[1, 0, :, 0], (np.arange(36) + 0.5) * 96 / 36 - 0.5, atol=0.6)
    with pytest.raises(InputError, match="left < right"):
        View("a", (0.5, 0, 0.5, 1))


def test_a_second_preparation_decodes_nothing(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = LeRobotDataset(here / "single")
    first = prepare(dataset, VIEWS, 10, tmp_path)
    monkeypatch.setattr(frames, "_write", None)
    again = prepare(LeRobotDataset(here / "single"), VIEWS, 10, tmp_path)
    np.testing.assert_array_equal(first.frames["wrist"], again.frames["wrist"])
    renamed = prepare(dataset, [VIEWS[0], View("wrist", VIEWS[1].crop, 32, "hand")], 10, tmp_path)
    np.testing.assert_array_equal(first.frames["wrist"], renamed.frames["hand"])
    monkeypatch.undo()
    other = prepare(dataset, [View("cell"), View("wrist", (0, 0, 1, 1), 32)], 10, tmp_path)
    assert (other.frames["wrist"] != first.frames["wrist"]).any()
    assert len(list(tmp_path.glob("*/about.json"))) == 2


def _prepare(root: Path, cache: Path, barrier: Any) -> None:
    barrier.wait()
    prepared = prepare(LeRobotDataset(root), VIEWS, 10, cache)
    assert int(prepared.frames["cell"].min(axis=(1, 2, 3)).max()) > 0


def test_two_at_once_do_not_disturb_each_other(here: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [context.Process(target=_prepare, args=(here / "single", tmp_path, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("*/about.json"))) == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_what_a_killed_preparation_left_is_made_again(here: Path, tmp_path: Path) -> None:
    whole = prepare(LeRobotDataset(here / "single"), VIEWS, 10, tmp_path / "a")
    folder = next((tmp_path / "a").glob("*/about.json")).parent
    left = tmp_path / "b" / f"{folder.name}.tmp"
    left.mkdir(parents=True)
    (left / "frames_0.npy").write_bytes(b"half")
    again = prepare(LeRobotDataset(here / "single"), VIEWS, 10, tmp_path / "b")
    np.testing.assert_array_equal(whole.frames["cell"], again.frames["cell"])
    assert not left.exists()


def test_a_failed_preparation_leaves_nothing(here: Path, tmp_path: Path) -> None:
    root = copy(here, tmp_path / "d")
    path = root / "videos/observation.images.cell/chunk-000/file-001.mp4"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"file-001.mp4: .*(cannot be decoded|ends after)"):
        prepare(LeRobotDataset(root), VIEWS, 10, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_a_full_disk_is_told(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frames.os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"no room for 0.00 GB of pictures \(No space left"):
        prepare(LeRobotDataset(here / "single"), VIEWS, 10, tmp_path)


def test_a_dataset_without_actions_is_video(tmp_path: Path) -> None:
    root = lab.little_dataset(tmp_path / "d", episodes=1, length=10, actions=False)
    prepared = prepare(LeRobotDataset(root), [View("cell")], 10, tmp_path / "cache")
    assert prepared.embodiment == VIDEO
    assert prepared.actions is None
    assert prepared.proprio is None
    assert prepared.texts == lab.TASKS


def test_plain_video(tmp_path: Path) -> None:
    lab.little_video(tmp_path / "v" / "a.mp4", 20, 64, 96)
    lab.little_video(tmp_path / "v" / "deep" / "b.mp4", 30, 48, 48, fps=30, seed=1)
    source = open_source(tmp_path / "v")
    assert isinstance(source, VideoFiles)
    prepared = prepare(source, VIEWS, 10, tmp_path / "cache")
    assert prepared.starts.tolist() == [0, 10, 20]
    assert not prepared.frames["wrist"].any()
    pictures = list(VideoFiles(tmp_path / "v" / "deep" / "b.mp4").video(0, 30))
    assert len(pictures) == 30
    np.testing.assert_array_equal(prepared.frames["cell"][13], View("x").of(pictures[9]))
    with pytest.raises(InputError, match="has 30 pictures a second, asked for are 60"):
        list(VideoFiles(tmp_path / "v" / "deep").video(0, 60))


def test_open_source_tells_datasets_from_videos(here: Path, tmp_path: Path) -> None:
    assert isinstance(open_source(here / "single"), LeRobotDataset)
    with pytest.raises(InputError, match="no such file or folder"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds no video; wanted is a LeRobotDataset or \.mp4"):
        open_source(tmp_path / "x.txt")


def read_all(root: Path) -> Prepared:
    return prepare(LeRobotDataset(root), VIEWS, 10, root.parent / "cache")


def break_version(root: Path) -> None:
    edit(root / "meta/info.json", {"codebase_version": "v2.1"})


def break_manifest(root: Path) -> None:
    (root / "meta/info.json").write_text("{")


def break_features(root: Path) -> None:
    edit(root / "meta/info.json", {"features": {"action": {"dtype": "float32"}}})


def remove_video(root: Path) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    edit(root / "meta/info.json", {"features": {k: v for k, v in features.items() if v["dtype"] != "video"}})


def remove_file(root: Path) -> None:
    (root / "videos/observation.images.wrist/chunk-000/file-002.mp4").unlink()


def spoil_file(root: Path) -> None:
    (root / "videos/observation.images.wrist/chunk-000/file-002.mp4").write_bytes(b"no video" * 100)


def spoil_table(root: Path) -> None:
    (root / "data/chunk-000/file-001.parquet").write_bytes(b"PAR1")


def nan_in_state(root: Path) -> None:
    path = root / "data/chunk-000/file-001.parquet"
    state = LeRobotDataset(root).columns(1)["observation.state"].copy()
    state[5, 2] = np.nan
    edit_column(path, "observation.state", state)


def lose_rows(root: Path) -> None:
    path = root / "data/chunk-000/file-001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 20), path)


def lose_episode(root: Path) -> None:
    (root / "meta/episodes/chunk-000/file-001.parquet").unlink()


def lose_texts(root: Path) -> None:
    pq.write_table(pa.table({"task_index": [0]}), root / "meta/tasks.parquet")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (break_version, "is LeRobotDataset v2.1, this reads v3.0; lerobot converts it"),
        (break_manifest, "info.json: is damaged"),
        (break_features, "info.json: is damaged"),
        (remove_video, "has no video; a policy that looks"),
        (remove_file, "file-002.mp4: is missing"),
        (spoil_file, "file-002.mp4: cannot be decoded"),
        (spoil_table, "file-001.parquet: is cut short"),
        (nan_in_state, r"observation.state \(joint2.position\) is nan at frame 5 of episode 1"),
        (lose_rows, "holds 20 frames of episode 1, not 23"),
        (lose_episode, "not the 3 episodes of meta/info.json"),
        (lose_texts, "wanted are task_index and the tasks' texts"),
    ],
)
def test_bad_datasets_are_told_in_one_line(here: Path, tmp_path: Path, spoil: Any, says: str) -> None:
    root = copy(here, tmp_path / "d")
    spoil(root)
    with pytest.raises(InputError, match=says) as told:
        read_all(root)
    assert "\n" not in str(told.value)


def test_wrong_wishes_are_told(here: Path, tmp_path: Path) -> None:
    dataset = LeRobotDataset(here / "single")
    with pytest.raises(InputError, match=r"unknown camera 'wrst': did you mean 'wrist'"):
        prepare(dataset, [View("wrst")], 10, tmp_path)
    with pytest.raises(InputError, match=r"20 frames a second give no rate of 8; use 20, 10, 6\.66667, 5"):
        prepare(dataset, VIEWS, 8, tmp_path)
    with pytest.raises(InputError, match="each name once"):
        prepare(dataset, [View("cell"), View("cell", size=32)], 10, tmp_path)
    with pytest.raises(InputError, match=r"episodes 0\.\.2"):
        dataset.columns(3)
    with pytest.raises(InputError, match=r"no such folder; a LeRobotDataset v3\.0 is wanted"):
        LeRobotDataset(tmp_path / "nowhere")
    bare = lab.little_dataset(tmp_path / "bare", episodes=1, length=6, torques=False)
    assert prepare(LeRobotDataset(bare), VIEWS, 10, tmp_path).embodiment.torques == ()
    with pytest.raises(InputError, match="no torque column"):
        prepare(LeRobotDataset(bare), VIEWS, 10, tmp_path, torques=True)
    empty = lab.little_dataset(tmp_path / "empty", episodes=0)
    with pytest.raises(InputError, match="has no episode yet"):
        prepare(LeRobotDataset(empty), VIEWS, 10, tmp_path)
