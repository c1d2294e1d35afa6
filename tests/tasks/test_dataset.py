"""The dataset: bytes, order, crashes, full disks, damage, resume."""

import errno
import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from assets.errors import InputError
from tasks import durable
from tasks.dataset import lerobot_format as lerobot
from tasks.dataset.lerobot_format import Features
from tasks.dataset.publisher import Publisher
from tasks.dataset.reader import open_dataset
from tasks.dataset.staging import Episode, EpisodeWriter, stage_episode, stage_quarantine, staging_folder
from tasks.dataset.video import VideoSink, is_whole_mp4, read_video
from tasks.durable import FullDiskError

FEATURES = Features(
    fps=10,
    robot_type="ur20",
    cameras={"cell": (32, 48), "wrist": (32, 32)},
    state_names=("joint_1.position", "joint_2.position", "tool"),
    action_names=("joint_1", "joint_2"),
    tasks=("empty the tote", "fold the tote", "stack the tote"),
    environment_state_names=("carton.x",),
)
SETTINGS = {"seed": 7, "task": "palletizing", "variants": "a1b2"}
QUARANTINED = 2


def example(variant: int) -> Episode:
    """A small episode that follows from its variant's number."""
    rng = np.random.default_rng(variant)
    length = 4 + variant % 3
    done = np.arange(length) == length - 1
    return Episode(
        variant=variant,
        tasks=[FEATURES.tasks[0]] * 2 + [FEATURES.tasks[1 + variant % 2]] * (length - 2),
        images={
            name: np.cumsum(rng.integers(0, 6, (length, height, width, 3)), axis=2).astype(np.uint8)
            for name, (height, width) in FEATURES.cameras.items()
        },
        state=rng.normal(size=(length, 3)),
        action=rng.normal(size=(length, 2)),
        environment_state=rng.normal(size=(length, 1)),
        reward=rng.normal(size=length),
        done=done,
        success=done & (variant % 2 == 0),
        full_states=rng.normal(size=(length + 1, 20)),
        metadata={"seed": 7, "row": {"carton.mass": rng.uniform(3, 12, 2)}, "events": [{"time": 0.1, "what": "grasp"}]},
    )


def stage(root: Path, variant: int) -> None:
    if variant == QUARANTINED:
        stage_quarantine(root, variant, "the state became NaN", {"carton.mass": np.array([3.0, 4.5])})
    else:
        stage_episode(root, FEATURES, example(variant))


def make(root: Path, variants: Sequence[int], order: Sequence[int] | None = None, resume: bool = False) -> None:
    """Stage in an order, publishing now and then, as an (interrupted) run would."""
    with Publisher(root, FEATURES, SETTINGS, variants, resume) as publisher:
        for variant in order or variants:
            if variant not in publisher.finished:
                stage(root, variant)
                publisher.publish_ready()
        publisher.finish()


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of an uninterrupted run over five variants, one of them quarantined."""
    root = tmp_path_factory.mktemp("whole") / "dataset"
    make(root, range(5))
    return root


def test_reads_back_what_was_written(whole: Path) -> None:
    dataset = open_dataset(whole)
    variants = [0, 1, 3, 4]
    assert len(dataset) == 4
    assert dataset.features == FEATURES
    assert dataset.settings == SETTINGS
    assert dataset.tasks == list(FEATURES.tasks)
    assert [entry["variant"] for entry in dataset.quarantined] == [QUARANTINED]
    assert dataset.quarantined[0]["row"] == {"carton.mass": [3.0, 4.5]}
    assert not staging_folder(whole).exists()
    index = 0
    for number, variant in enumerate(variants):
        wanted, columns, metadata = example(variant), dataset.episode(number), dataset.metadata(number)
        length = len(wanted.state)
        np.testing.assert_array_equal(columns["observation.state"], wanted.state.astype(np.float32))
        np.testing.assert_array_equal(columns["action"], wanted.action.astype(np.float32))
        # A vector of one number is stored as a scalar, and read back as a vector.
        np.testing.assert_array_equal(
            columns["observation.environment_state"], wanted.environment_state.astype(np.float32)
        )
        np.testing.assert_array_equal(columns["next.success"], wanted.success)
        np.testing.assert_array_equal(columns["index"], np.arange(index, index + length))
        np.testing.assert_array_equal(columns["timestamp"], (np.arange(length) / 10).astype(np.float32))
        np.testing.assert_array_equal(dataset.states(number), wanted.full_states)
        assert (metadata["variant"], metadata["episode"], metadata["success"]) == (variant, number, variant % 2 == 0)
        assert metadata["row"]["carton.mass"] == wanted.metadata["row"]["carton.mass"].tolist()
        # Each frame has the task of its moment, the episode all of them.
        assert [dataset.tasks[index] for index in columns["task_index"]] == wanted.tasks
        row = pq.read_table(lerobot.episode_files(whole, number, FEATURES.cameras).row).to_pylist()[0]
        assert row["tasks"] == metadata["tasks"] == [FEATURES.tasks[0], FEATURES.tasks[1 + variant % 2]]
        assert row["stats/task_index/max"] == [1 + variant % 2]
        index += length
    assert dataset.frames(0, "cell").shape == (4, 32, 48, 3)
    with pytest.raises(InputError, match="unknown camera 'cel'"):
        dataset.frames(0, "cel")
    with pytest.raises(InputError, match=r"has episodes 0\.\.3"):
        dataset.episode(4)


def test_video_shows_the_images_wherever_it_is_entered(tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :64]
    images = [np.stack([x * 3, y * 3, np.full_like(x, 8 * k)], axis=-1).astype(np.uint8) for k in range(15)]
    sink = VideoSink(64, 64, 10)
    for image in images:
        sink.write(image)
    path = tmp_path / "a.mp4"
    path.write_bytes(sink.close())
    decoded = read_video(path, 0, 15)
    assert np.abs(decoded.astype(float) - images).mean() < 4
    for start, stop in (3, 4), (4, 9), (14, 15):
        np.testing.assert_array_equal(read_video(path, start, stop), decoded[start:stop])
    with pytest.raises(InputError, match="holds 3 of the images 12"):
        read_video(path, 12, 20)
    assert is_whole_mp4(path)
    for size in (0, 7, 100, path.stat().st_size - 1):
        cut = tmp_path / f"{size}.mp4"
        cut.write_bytes(path.read_bytes()[:size])
        assert not is_whole_mp4(cut)


def test_every_image_shows_its_own_moment(tmp_path: Path) -> None:
    y, x = np.mgrid[:128, :128]
    still = np.stack([120 + 40 * np.sin(x / 30), 110 + 30 * np.sin(y / 25), 90 + 20 * np.cos((x + y) / 40)], axis=-1)
    images = np.repeat(still[None].astype(np.uint8), 30, axis=0)
    for k in range(30):
        images[k, 42:78, 5 + 3 * k : 33 + 3 * k] = (165, 130, 95)  # a carton carried to the right
    sink = VideoSink(128, 128, 10)
    for image in images:
        sink.write(image)
    path = tmp_path / "a.mp4"
    path.write_bytes(sink.close())
    decoded = read_video(path, 0, 30).astype(float)
    for k in range(1, 30):
        moved = (images[k] != images[k - 1]).any(axis=-1)
        own, before = (np.abs(decoded[k] - images[n])[moved].mean() for n in (k, k - 1))
        assert own < before


def test_the_same_images_give_the_same_bytes() -> None:
    # Two encoders side by side, over and over: one that looks ahead gave other bytes once in a few hundred times.
    images = example(3).images
    found = set()
    for _ in range(400):
        sinks = {name: VideoSink(*size, 10) for name, size in FEATURES.cameras.items()}
        for frame in range(4):
            for name, sink in sinks.items():
                sink.write(images[name][frame])
        found.add(tuple(sink.close() for sink in sinks.values()))
    assert len(found) == 1


def test_statistics_are_those_of_all_frames(whole: Path) -> None:
    dataset = open_dataset(whole)
    stats = dataset.stats()
    states = np.concatenate([dataset.episode(number)["observation.state"] for number in range(len(dataset))])
    assert stats["observation.state"]["count"] == len(states)
    for name, value in ("min", states.min(0)), ("max", states.max(0)), ("mean", states.mean(0)), ("std", states.std(0)):
        np.testing.assert_allclose(stats["observation.state"][name], value, rtol=1e-5, atol=1e-6)
    images = np.concatenate([example(variant).images["cell"] for variant in (0, 1, 3, 4)]) / 255
    entry = stats["observation.images.cell"]
    for name, value in ("min", images.min((0, 1, 2))), ("mean", images.mean((0, 1, 2))), ("std", images.std((0, 1, 2))):
        assert entry[name].shape == (3, 1, 1)
        np.testing.assert_allclose(entry[name].ravel(), value, rtol=1e-9)
    one = example(0).images["cell"]
    exact = np.quantile(one.reshape(-1, 3), list(lerobot.QUANTILES.values()), axis=0, method="inverted_cdf") / 255
    row = lerobot.row_stats(lerobot.episode_files(whole, 0, FEATURES.cameras).row)["observation.images.cell"]
    np.testing.assert_allclose([row[name].ravel() for name in lerobot.QUANTILES], exact)


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [1, 4, 2, 0, 3]])
def test_order_of_finishing_does_not_matter(whole: Path, tmp_path: Path, order: list[int]) -> None:
    make(tmp_path / "d", range(5), order)
    assert contents(tmp_path / "d") == contents(whole)


def test_several_processes_stage_into_one_dataset(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "d"
    with Publisher(root, FEATURES, SETTINGS, range(5)) as publisher:
        with spawner().Pool(2) as pool:
            # The last one twice at once: the second to finish is dropped.
            pool.starmap(stage, [(root, variant) for variant in (4, 1, 0, 3, 2, 3)], chunksize=1)
        outcomes = publisher.publish_ready()
        publisher.finish()
    assert [(outcome.variant, outcome.episode) for outcome in outcomes] == [(0, 0), (1, 1), (2, None), (3, 2), (4, 3)]
    assert contents(root) == contents(whole)


def spawner() -> ForkServerContext:
    """Processes that start quickly, from one that has imported everything and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.dataset.publisher", "av", "pytest", __name__])
    return context


def run_until_killed(work: Callable[..., None], *arguments: object, seconds: float | None = None) -> int:
    """Run in a process of its own, killed with SIGKILL after so many seconds; returns its exit code."""
    process = spawner().Process(target=work, args=arguments)
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def finished_variants(root: Path) -> set[int]:
    """Variants that are safe on the disk; the dataset must open at any time."""
    staged = {int(p.name) for p in staging_folder(root).glob("*") if not p.name.endswith(".tmp")}
    if not (root / lerobot.INFO_PATH).exists():
        return staged
    dataset = open_dataset(root)
    published = {dataset.metadata(number)["variant"] for number in range(len(dataset))}
    return staged | published | {entry["variant"] for entry in dataset.quarantined}


def test_killed_at_random_moments(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(3)
    order = [1, 0, 4, 2, 3]
    run_until_killed(print)  # starts the process that all others are forked from
    start = time.perf_counter()
    run_until_killed(make, tmp_path / "first", range(5), order)
    duration = time.perf_counter() - start
    root, finished, runs, kills = tmp_path / "run0", set(), 0, 0
    for _ in range(20):
        code = run_until_killed(make, root, range(5), order, True, seconds=rng.uniform(0.05, 0.8) * duration)
        now = finished_variants(root)
        assert now >= finished, "a finished episode was lost"
        finished = now
        kills += code != 0
        if code == 0:
            assert contents(root) == contents(whole)
            runs += 1
            root, finished = tmp_path / f"run{runs}", set()
    assert kills > 5
    make(root, range(5), order, resume=True)
    assert contents(root) == contents(whole)


def make_and_die(root: Path, variants: Sequence[int], order: Sequence[int], fatal: int) -> None:
    """As `make`, but the process ends without any clean-up just before its n-th change of the file system."""
    count = 0

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count > fatal:
                os._exit(9)
            return function(*arguments, **options)

        return call

    for name in ("replace", "rename", "link", "mkdir", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    make(root, variants, order, resume=True)


def test_killed_before_every_change_of_the_file_system(tmp_path: Path) -> None:
    variants, order = [1, QUARANTINED, 3], [3, 1, QUARANTINED]
    make(tmp_path / "whole", variants)
    wanted = contents(tmp_path / "whole")
    fatal = 0
    while True:
        root = tmp_path / f"d{fatal}"
        code = run_until_killed(make_and_die, root, variants, order, fatal)
        if root.exists():
            finished = finished_variants(root)
            with Publisher(root, FEATURES, SETTINGS, variants, resume=True) as publisher:
                assert publisher.finished >= finished
        make(root, variants, order, resume=True)
        assert contents(root) == wanted
        if code == 0:
            break
        assert code == 9
        fatal += 1
    assert fatal > 60  # every step of three variants was tried


def test_staged_episodes_wait_for_their_turn_and_survive_a_restart(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "d"
    with Publisher(root, FEATURES, SETTINGS, range(5)) as publisher:
        for variant in (3, 4, QUARANTINED):
            stage(root, variant)
        assert publisher.publish_ready() == []
        with pytest.raises(RuntimeError, match="neither finished nor quarantined"):
            publisher.finish()
    with Publisher(root, FEATURES, SETTINGS, range(5), resume=True) as publisher:
        assert publisher.finished == {2, 3, 4}
        stage(root, 0)
        stage(root, 1)
        publisher.finish()
    assert contents(root) == contents(whole)
    make(root, range(5), resume=True)  # nothing to do
    assert contents(root) == contents(whole)


@pytest.mark.parametrize("fail_at", [1, 4, 9])
def test_full_disk(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
    root = tmp_path / "d"
    real, count = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count >= fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with Publisher(root, FEATURES, SETTINGS, range(5)) as publisher:
        stage(root, 0)
        publisher.publish_ready()
        stage(root, 1)
        before = contents(root)
        monkeypatch.setattr(durable.os, "fsync", full)
        with pytest.raises(FullDiskError, match="the disk is full; free some space"):
            stage(root, 3)
        count = 0
        with pytest.raises(FullDiskError):
            publisher.publish_ready()
        monkeypatch.setattr(durable.os, "fsync", real)
        after = contents(root)
        for name, data in before.items():
            assert name == "meta/stats.json" or after[name] == data
        assert after.keys() == before.keys()
        assert len(open_dataset(root)) == 1
    make(root, range(5), resume=True)
    assert contents(root) == contents(whole)


def damaged(whole: Path, tmp_path: Path) -> Path:
    for name, data in contents(whole).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "data/chunk-000/file-001.parquet",
        "meta/episodes/chunk-000/file-003.parquet",
        "videos/observation.images.cell/chunk-000/file-002.mp4",
        "meta/palletlab/episodes/000001.json",
        "meta/palletlab/states/000000.parquet",
        "meta/palletlab/settings.json",
        "meta/tasks.parquet",
        "meta/info.json",
    ],
)
def test_damaged_dataset_is_refused(whole: Path, tmp_path: Path, name: str) -> None:
    root = damaged(whole, tmp_path)
    path = root / name
    if not name.endswith("episodes/000001.json"):  # small texts are checked when they are read
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(InputError, match=path.name) as caught:
            open_dataset(root)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        open_dataset(root)
    with pytest.raises(InputError):
        make(root, range(5), resume=True)


def test_manifest_that_disagrees_is_refused(whole: Path, tmp_path: Path) -> None:
    root = damaged(whole, tmp_path)
    path = root / lerobot.INFO_PATH
    info = json.loads(path.read_bytes())
    for change, message in (
        ({"total_frames": 99}, "counts 99 frames"),
        ({"total_episodes": 5}, "is missing, although"),
        ({"codebase_version": "v2.1"}, r"is LeRobotDataset v2\.1"),
    ):
        path.write_text(json.dumps({**info, **change}))
        with pytest.raises(InputError, match=message):
            open_dataset(root)
    with pytest.raises(InputError, match="no dataset"):
        open_dataset(tmp_path / "nowhere")


def test_resume_needs_the_same_settings(whole: Path) -> None:
    def resume(features: Features = FEATURES, settings: dict[str, object] = SETTINGS, variants: int = 5) -> Publisher:
        return Publisher(whole, features, settings, range(variants), resume=True)

    before = contents(whole)
    with pytest.raises(InputError, match=r"begun with settings\.seed = 7, the run now has 8"):
        resume(settings={**SETTINGS, "seed": 8})
    with pytest.raises(InputError, match="fps = 10, the run now has 20"):
        resume(features=replace(FEATURES, fps=20, cameras={}))
    with pytest.raises(InputError, match="holds variants 0, 1, 2, 3, 4"):
        resume(variants=4)
    with pytest.raises(InputError, match="is not empty; resume it"):
        make(whole, range(5))
    assert contents(whole) == before
    with resume(variants=6) as publisher:  # more variants of the same kind may be added
        assert publisher.finished == set(range(5))
        with pytest.raises(InputError, match="another run is writing"):
            resume()


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"holds 'thesis\.tex' but no dataset"):
        make(tmp_path, range(1), resume=True)
    assert contents(tmp_path) == {"thesis.tex": b"precious"}


def test_bad_episodes_are_refused(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path, FEATURES, 5)
    with pytest.raises(InputError, match="without frames"):
        writer.close({}, [])
    images = {name: np.zeros((*size, 3), np.uint8) for name, size in FEATURES.cameras.items()}
    outcome = {"environment_state": [0], "reward": 0.0, "done": False, "success": False, "full_state": [0.0]}
    outcome |= {"task": FEATURES.tasks[2]}
    with pytest.raises(ValueError, match="task 'wait' is none of the dataset's"):
        writer.add_frame(images, state=[0, 0, 0], action=[0, 0], **outcome | {"task": "wait"})
    with pytest.raises(ValueError, match=r"action has shape \(3,\), the dataset has \(2,\)"):
        writer.add_frame(images, state=[0, 0, 0], action=[0, 0, 0], **outcome)
    writer = EpisodeWriter(tmp_path, FEATURES, 5)
    writer.add_frame(images, state=[0, np.nan, 0], action=[0, 0], **outcome)
    with pytest.raises(
        InputError, match=r"variant 5: observation\.state \(joint_2\.position\) is not finite at frame 0"
    ):
        writer.close({}, [0.0])
    writer = EpisodeWriter(tmp_path, FEATURES, 5)
    writer.add_frame(images, state=[0, 0, 0], action=[0, 0], **outcome)
    with pytest.raises(InputError, match="only finite numbers"):
        writer.close({"row": {"x": float("nan")}}, [0.0])
    assert contents(tmp_path) == {}
    with pytest.raises(InputError, match="must be even"):
        Features(10, "ur20", {"cell": (33, 32)}, ("a",), ("b",), ("stack",))
    with pytest.raises(InputError, match="each once"):
        Features(10, "ur20", {}, ("a",), ("b",), ("stack", "stack"))
