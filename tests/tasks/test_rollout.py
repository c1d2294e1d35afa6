"""Rollouts: the same bytes however the work is shared out and however often it is interrupted; replays."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing as mp
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tote_helpers
from helpers import Box, drawn, rows_of

from assets.errors import InputError
from sim.knobs import Rows
from tasks import rollout
from tasks.dataset.publisher import Publisher
from tasks.dataset.reader import Dataset, open_dataset
from tasks.dataset.staging import staging_folder
from tasks.palletizing import family as palletizing
from tasks.palletizing.task import SETTLE, Palletizing
from tasks.replay import replay
from tasks.rollout import Job, Progress, roll_out
from tasks.simulation import Settings

SETTINGS = Settings(slots=4, cameras=("cell", "wrist"), image_size=32)
BLIND = dataclasses.replace(SETTINGS, cameras=())
VARIANTS = 4
SHORT = 6.0  # [s] the carton has been picked up by then
# What a killed run is made of: a process of its own, so that its whole group can be killed.
SCRIPT = """
import json
import sys
from pathlib import Path
from sim.knobs import Rows
from tasks.rollout import Job, roll_out
from tasks.simulation import Settings
if __name__ == "__main__":
    settings = Settings.from_dict(json.loads(sys.argv[3]))
    rows = Rows.from_parquet(Path(sys.argv[1]), settings.knobs)
    job = Job(settings, "expert", rows, Path(sys.argv[2]), worlds=4, workers=2, seconds=float(sys.argv[4]))
    progress = roll_out(job, resume=True, report=lambda p: print(p.done, flush=True))
    print("end", progress.done, progress.total, progress.quarantined, flush=True)
"""


def table(n: int = VARIANTS) -> Rows:
    """Loads of three cartons of which two stand: one is placed, in some ten seconds."""
    return drawn(n, prefill=2)


def job(root: Path, rows: Rows | None = None, **more: Any) -> Job:
    """With two cameras an episode is cut short: pictures take their time."""
    given = {"settings": SETTINGS, "policy": "expert", "seconds": SHORT, "rows": table() if rows is None else rows}
    return Job(root=root, **{**given, **more})


def blind(root: Path, rows: Rows | None = None, **more: Any) -> Job:
    """Whole episodes without a camera."""
    return job(root, rows, **{"settings": BLIND, "seconds": 0.0, **more})


def totes(root: Path, **more: Any) -> Job:
    """Whole episodes of four short jobs with totes, without a camera."""
    rows = tote_helpers.jobs(8).take([1, 7, 6, 4])
    return job(root, **{"settings": tote_helpers.SETTINGS, "rows": rows, "seconds": 0.0, **more})


TASKS = {"palletizing": blind, "tote_breakdown": totes}


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def equal(one: Path, two: Path) -> None:
    a, b = files(one), files(two)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted dataset with two cameras, made by one worker with two worlds."""
    root = tmp_path_factory.mktemp("rollout") / "whole"
    assert roll_out(job(root, worlds=2, workers=1)) == Progress(VARIANTS, VARIANTS, 0, 0)
    return root


@pytest.fixture(params=sorted(TASKS), scope="module")
def task(request: pytest.FixtureRequest) -> str:
    """Name of the task that is rolled out."""
    return request.param


@pytest.fixture(scope="module")
def unseen(task: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole episodes without pictures, made by one worker with two worlds."""
    root = tmp_path_factory.mktemp("rollout") / f"unseen_{task}"
    told: list[Progress] = []
    result = roll_out(TASKS[task](root, worlds=2, workers=1), report=told.append)
    assert result == Progress(VARIANTS, VARIANTS, VARIANTS, 0)
    assert [p.done for p in told] == list(range(VARIANTS + 1))
    return root


# ---- what is in it ---------------------------------------------------------------------------------------------------


def test_every_episode_keeps_what_it_was_made_from(task: str, unseen: Path) -> None:
    made = TASKS[task](unseen)
    dataset, rows, settings = open_dataset(unseen), made.rows, made.settings
    assert len(dataset) == VARIANTS
    assert not staging_folder(unseen).exists()
    assert Settings.from_dict(dataset.settings["simulation"]) == settings
    assert dataset.tasks == list(settings.family.instructions)
    for k in range(VARIANTS):
        metadata = dataset.metadata(k)
        assert metadata["variant"] == rows.numbers[k]
        assert metadata["seed"] == rows.seed
        assert metadata["row"] == rows.row(k)
        assert metadata["success"]
        assert metadata["verdict"]["success"]
        if task == "palletizing":
            assert [e["event"] for e in metadata["events"]] == ["arrived", "attached", "released"]
        assert settings.family.pieces(metadata) == ((3, 3) if task == "palletizing" else (0, 0))
        episode, length = dataset.episode(k), metadata["length"]
        assert metadata["seconds"] == pytest.approx(length * 0.1)
        assert episode["next.done"].tolist() == [False] * (length - 1) + [True]
        assert np.isfinite(episode["observation.state"]).all()
        assert episode["action"].shape == (length, len(settings.family.action_names))


def test_every_frame_of_a_tote_has_its_stages_sentence(tmp_path: Path) -> None:
    """The stage that was seen at a frame, the check's and the stack's one after the other, is what the frame says."""
    root, rows = tmp_path / "staged", tote_helpers.jobs(8).take([6, 1])
    roll_out(totes(root, rows=rows, worlds=2, workers=1))
    dataset, names = open_dataset(root), tote_helpers.SETTINGS.family.surroundings_names(4)
    sentences = tote_helpers.SETTINGS.family.instructions
    for k, stages in enumerate(([1, 2, 3], [2])):
        episode = dataset.episode(k)
        seen = episode["observation.environment_state"][:, names.index("stage")].astype(int)
        said = [int(i) for i in episode["task_index"]]
        assert list(dict.fromkeys(said)) == stages
        assert said == np.minimum(seen, stages[-1]).tolist()  # all done: still the last one's
        assert dataset.metadata(k)["tasks"] == [sentences[i] for i in stages]


def test_every_frame_has_the_sentence_of_its_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task with stages labels its frames: here one that changes its mind after a second."""
    sentences = ("Never said.", "Take the carton.", "Place it.")

    def instruction(self: Palletizing, ids: np.ndarray) -> list[str]:
        return [sentences[1 if period < 10 else 2] for period in self.state.period[ids]]

    monkeypatch.setattr(palletizing, "FAMILY", dataclasses.replace(palletizing.FAMILY, instructions=sentences))
    monkeypatch.setattr(Palletizing, "instruction", instruction)
    short = blind(tmp_path / "staged", table(2), worlds=2, workers=1, seconds=1.5)
    with Publisher(short.root, rollout.features(BLIND), {}, [int(n) for n in short.rows.numbers]) as publisher:
        rollout._run(short, lambda: True)
        publisher.finish()
    dataset = open_dataset(short.root)
    assert dataset.tasks == list(sentences)
    for k in range(2):
        assert dataset.episode(k)["task_index"].tolist() == [1] * 10 + [2] * 5
        assert dataset.metadata(k)["tasks"] == list(sentences[1:])


def test_two_cameras_film_every_frame(whole: Path) -> None:
    dataset = open_dataset(whole)
    assert dataset.lengths == [round(SHORT * 10)] * VARIANTS
    for k in range(VARIANTS):
        assert dataset.metadata(k)["verdict"]["reasons"] == ["carton 2 not placed in time"]
        assert not dataset.metadata(k)["success"]
        for camera in SETTINGS.cameras:
            frames = dataset.frames(k, camera)
            assert frames.shape == (dataset.lengths[k], 32, 32, 3)
            assert frames.std() > 5
    # A camera on the wrist sees other things when the arm moves.
    assert np.abs(np.diff(dataset.frames(0, "wrist").astype(float), axis=0)).mean((1, 2, 3)).max() > 3


def test_workers_and_worlds_do_not_change_a_byte(task: str, unseen: Path, tmp_path: Path) -> None:
    roll_out(TASKS[task](tmp_path / "unseen", worlds=5, workers=2))
    equal(unseen, tmp_path / "unseen")


def test_nor_do_they_change_a_picture(whole: Path, tmp_path: Path) -> None:
    roll_out(job(tmp_path / "whole", worlds=5, workers=2))
    equal(whole, tmp_path / "whole")


def test_an_episode_may_be_cut_short(tmp_path: Path) -> None:
    roll_out(blind(tmp_path / "cut", table(2), policy="random", seconds=1.5, workers=1, worlds=2))
    dataset = open_dataset(tmp_path / "cut")
    assert dataset.lengths == [15, 15]
    assert dataset.metadata(0)["verdict"]["reasons"] == ["carton 2 not placed in time"]
    assert not dataset.metadata(0)["success"]


# ---- interruptions ---------------------------------------------------------------------------------------------------


def start(rows: Path, wanted: Job) -> subprocess.Popen[str]:
    # A file, not "-c": the workers import the main module again.
    script = rows.with_suffix(".py")
    script.write_text(SCRIPT)
    settings = json.dumps(wanted.settings.to_dict())
    command = [sys.executable, str(script), str(rows), str(wanted.root), settings, str(wanted.seconds)]
    here = str(Path(rollout.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": here}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def interrupt(whole: Path, wanted: Job, kills: int, seed: int, within: float = 3.0) -> None:
    """Kill a rollout at random moments `within` seconds of its start, then let it end: it is `whole` again."""
    root, variants = wanted.root, len(wanted.rows)
    rows = root.with_name("rows.parquet")
    wanted.rows.to_parquet(rows)
    rng = random.Random(seed)
    finished = interrupted = 0
    for _ in range(kills):
        process = start(rows, wanted)
        assert process.stdout is not None
        process.stdout.readline()  # it has begun; its workers take a second to start
        time.sleep(rng.uniform(0.0, within))
        interrupted += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        there = len(open_dataset(root))  # whole, and nothing that was finished is lost
        assert there >= finished
        finished = there
    assert interrupted >= kills * 2 / 3  # else it would show little
    process = start(rows, wanted)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == f"end {variants} {variants} 0"
    equal(whole, root)


def test_a_rollout_killed_three_times_ends_up_the_same(whole: Path, tmp_path: Path) -> None:
    interrupt(whole, job(tmp_path / "killed"), 3, seed=1)


def test_a_rollout_of_totes_killed_three_times_ends_up_the_same(tmp_path: Path) -> None:
    """Work of some seconds; what was half folded or in hand when it was killed begins anew."""
    rows = tote_helpers.jobs(16).take([1, 2, 3, 4, 6, 7, 9, 12])
    roll_out(totes(tmp_path / "whole", rows=rows, seconds=10.0, worlds=8, workers=1))
    interrupt(tmp_path / "whole", totes(tmp_path / "killed", rows=rows, seconds=10.0), 3, seed=3, within=2.0)


@pytest.mark.slow
def test_a_rollout_killed_twenty_times_ends_up_the_same(tmp_path: Path) -> None:
    roll_out(job(tmp_path / "whole", table(24), worlds=2, workers=1))
    interrupt(tmp_path / "whole", job(tmp_path / "killed", table(24)), 20, seed=2)


def children(process: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(what: Any, seconds: float = 20.0) -> None:
    begin = time.monotonic()
    while not what():
        assert time.monotonic() - begin < seconds
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="wants /proc to find a run's workers")
def test_workers_of_a_killed_run_stop(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    table().to_parquet(rows)
    process = start(rows, job(tmp_path / "orphaned"))
    wait_until(lambda: len(children(process.pid)) >= 3)  # two workers and Python's resource tracker
    workers = children(process.pid)
    wait_until(lambda: any((tmp_path / "orphaned").rglob("info.json")))
    process.kill()
    process.wait()
    wait_until(lambda: not any(alive(w) for w in workers))


def test_a_worker_that_dies_is_told_and_the_run_can_go_on(task: str, unseen: Path, tmp_path: Path) -> None:
    root = tmp_path / "died"

    def kill_all(progress: Progress) -> None:
        if progress.done == 1:
            for worker in mp.active_children():
                worker.kill()

    with pytest.raises(RuntimeError, match=r"worker died.*--resume"):
        roll_out(TASKS[task](root, worlds=1, workers=1), report=kill_all)
    left = len(open_dataset(root))
    assert 1 <= left < VARIANTS
    told: list[Progress] = []
    result = roll_out(TASKS[task](root, worlds=3, workers=2), resume=True, report=told.append)
    assert result == Progress(VARIANTS, VARIANTS, VARIANTS, 0)  # those from before are counted, and once
    assert [p.done for p in told] == list(range(left, VARIANTS + 1))
    equal(unseen, root)


def test_resuming_a_finished_rollout_changes_nothing(task: str, unseen: Path) -> None:
    before = files(unseen)
    assert roll_out(TASKS[task](unseen), resume=True) == Progress(VARIANTS, VARIANTS, VARIANTS, 0)
    assert files(unseen) == before


def test_what_goes_wrong_in_a_worker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []

    class Complaints:
        def put(self, complaint: tuple[str, str]) -> None:
            told.append(complaint)

    def broken(*_: object, **__: object) -> None:
        raise errors.pop(0)

    errors: list[Exception] = [InputError("no such thing"), ZeroDivisionError("oh")]
    monkeypatch.setattr(rollout, "Simulation", broken)
    rollout._work(job(tmp_path), os.getppid(), Complaints())
    rollout._work(job(tmp_path), os.getppid(), Complaints())
    assert told[0] == ("input", "no such thing")
    assert told[1][0] == "other"
    assert told[1][1].startswith("ZeroDivisionError: oh\n")


# ---- quarantine ------------------------------------------------------------------------------------------------------


def test_a_variant_that_breaks_is_quarantined_with_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves its log there
    rows = rows_of([Box()], 3, settings=BLIND, pallet__prefill=1)
    rows.columns["arm.damping"][1] = -1e6  # far out of bounds: the arm explodes
    told: list[Progress] = []
    result = roll_out(blind(tmp_path / "q", rows, worlds=2, workers=1), report=told.append)
    assert (result.done, result.total, result.quarantined) == (3, 3, 1)
    dataset = open_dataset(tmp_path / "q")
    assert [dataset.metadata(k)["variant"] for k in range(2)] == [0, 2]
    assert dataset.lengths == [SETTLE, SETTLE]
    (entry,) = dataset.quarantined
    assert entry["variant"] == 1
    assert entry["reason"]
    assert entry["row"] == rows.row(1)
    # The neighbour in the same worker has not noticed.
    alone = roll_out(blind(tmp_path / "alone", rows.take([0, 2]), worlds=2, workers=1))
    assert alone.quarantined == 0
    other = open_dataset(tmp_path / "alone")
    for k in range(2):
        assert dataset.states(k).tobytes() == other.states(k).tobytes()
    again = roll_out(blind(tmp_path / "q", rows), resume=True)
    assert again.quarantined == 1


# ---- wrong input -----------------------------------------------------------------------------------------------------


def test_an_existing_folder_is_not_written_into(whole: Path, tmp_path: Path) -> None:
    before = files(whole)
    with pytest.raises(InputError, match="not empty"):
        roll_out(job(whole))
    assert files(whole) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for resume in (False, True):
        with pytest.raises(InputError):
            roll_out(job(tmp_path / "mine"), resume=resume)
    assert files(tmp_path / "mine") == {"letter.txt": b"dear"}


def test_resuming_with_something_else_is_refused(whole: Path) -> None:
    before, rows = files(whole), table()
    heavier = rows.replaced(carton__mass=rows["carton.mass"] + 0.5)
    for other, what in (
        (job(whole, policy="random"), "policy"),
        (job(whole, heavier), "variants"),
        (job(whole, rows.take(range(3))), "variants"),
        (job(whole, settings=BLIND), "simulation.cameras"),
        (job(whole, seconds=3.0), "seconds"),
    ):
        with pytest.raises(InputError, match=what):
            roll_out(other, resume=True)
    assert files(whole) == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file" / "dataset", Path("/proc/dataset"), tmp_path / "file"):
        with pytest.raises(InputError, match=r"folder"):
            roll_out(job(root))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(locked: Path) -> None:
    with pytest.raises(InputError, match="cannot be made a folder"):
        roll_out(job(locked / "dataset"))


def test_jobs_that_make_no_sense(tmp_path: Path) -> None:
    for wrong, what in (
        (job(tmp_path / "d", policy="expret"), "expert"),
        (job(tmp_path / "d", worlds=0), "worlds"),
        (job(tmp_path / "d", workers=0), "workers"),
        (job(tmp_path / "d", table().take([])), "no variants"),
    ):
        with pytest.raises(InputError, match=what):
            roll_out(wrong)
    assert not (tmp_path / "d").exists()


# ---- replay ----------------------------------------------------------------------------------------------------------


def test_every_episode_replays_bit_for_bit(unseen: Path) -> None:
    for episode in range(VARIANTS):
        again = replay(unseen, episode)
        assert again.matches
        assert again.first_difference is None
        assert again.greatest == 0.0
        assert again.versions == {}


def test_pictures_do_not_act_back_on_the_physics(whole: Path) -> None:
    assert replay(whole, 1).matches


def test_a_replay_finds_the_first_difference(unseen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Dataset.episode

    def changed(self: Dataset, episode: int) -> dict[str, np.ndarray]:
        columns = original(self, episode)
        columns["action"] = columns["action"].copy()
        columns["action"][30, 0] += 1e-4
        return columns

    monkeypatch.setattr(Dataset, "episode", changed)
    again = replay(unseen, 0)
    assert not again.matches
    assert again.first_difference == 31  # the state after action 30
    assert 0 < again.greatest < np.inf


def test_a_replay_of_an_episode_that_is_not_there(unseen: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="episodes 0"):
        replay(unseen, VARIANTS)
    with pytest.raises(InputError, match="no dataset"):
        replay(tmp_path, 0)
