"""What a rollout makes of the time that its pictures cost anyway.

Worker processes run the expert with two 128 x 128 cameras: physics, expert, verdicts, encoding, staging; the parent
publishes the dataset meanwhile. Then the same number of processes render the very same frames again, from the states in
that dataset, and nothing else is timed. Both are counted from the first period on, without the start of the processes.
"""

from __future__ import annotations

import dataclasses
import multiprocessing as mp
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import crew
from benchmarks.common import SLOTS, Figure, Spent, arguments, over_all, publish, ratio, sized, variation_with
from sim.knobs import Rows
from tasks import rollout
from tasks.dataset.publisher import Publisher
from tasks.dataset.reader import open_dataset
from tasks.rollout import Job
from tasks.simulation import CAMERAS, Settings, Simulation

BAR = 0.7
WORKERS = 2


def work(job: Job, spent: Any) -> None:
    """Run one worker's share of a rollout; leave the seconds that it took."""
    clock = Spent()
    with clock:
        rollout._run(job, lambda: True)
    spent.put(clock)


def whole(job: Job) -> tuple[float, float]:
    """Run a job as `roll_out` does; return images per second, of the clock and of the processor."""
    numbers = [int(n) for n in job.rows.numbers]
    context = mp.get_context("spawn")
    spent = context.Queue()
    publishing = Spent()
    features = rollout.features(job.settings)
    with publishing, Publisher(job.root, features, {}, numbers, resume=False) as publisher:
        shares = [np.arange(w, len(numbers), job.workers) for w in range(job.workers)]
        parts = [dataclasses.replace(job, rows=job.rows.take(s), worlds=job.worlds // job.workers) for s in shares]
        processes = [context.Process(target=work, args=(part, spent)) for part in parts]
        for process in processes:
            process.start()
        while any(p.is_alive() for p in processes):
            publisher.publish_ready()
            time.sleep(0.2)
        _check(processes)
        publisher.publish_ready()
        publisher.finish()
    return speeds(images(job.root), [spent.get() for _ in processes], publishing.cpu)


def speeds(pictures: int, workers: Sequence[Spent], more_cpu: float = 0.0) -> tuple[float, float]:
    """Return pictures per second that the workers were at it, and per second of processor time."""
    wall, cpu = float(np.mean([w.wall for w in workers])), sum(w.cpu for w in workers) + more_cpu
    return pictures / wall, pictures / cpu


def images(root: Path) -> int:
    """Return how many pictures a dataset holds."""
    dataset = open_dataset(root)
    return sum(dataset.metadata(i)["length"] for i in range(len(dataset))) * len(CAMERAS)


def draw(settings: Settings, rows: Rows, root: Path, episodes: list[int], spent: Any) -> None:
    """Render the frames of some episodes of a dataset; leave how long rendering alone took."""
    dataset = open_dataset(root)
    simulation = Simulation(settings, len(episodes), nthread=1)
    worlds, ids = simulation.worlds, np.arange(len(episodes))
    wanted = [int(dataset.metadata(i)["variant"]) for i in episodes]
    simulation.task.apply(rows.take(np.searchsorted(rows.numbers, wanted)), ids)
    states = [dataset.states(i)[:-1] for i in episodes]
    nq, clock = worlds.qpos.shape[1], Spent()
    simulation.render(ids)
    for frame in range(max(map(len, states))):
        here = ids[[frame < len(s) for s in states]]
        state = np.stack([states[i][frame] for i in here])
        worlds.qpos[here], worlds.qvel[here] = state[:, :nq], state[:, nq:]
        worlds.forward(here)
        with clock:
            simulation.render(here)
    simulation.close()
    spent.put(clock)


def rendering_alone(job: Job) -> tuple[float, float]:
    """Render the frames of the job's dataset again; return images per second, of the clock and of the processor."""
    context = mp.get_context("spawn")
    spent = context.Queue()
    episodes = len(open_dataset(job.root))
    processes = [
        context.Process(
            target=draw, args=(job.settings, job.rows, job.root, list(range(w, episodes, job.workers)), spent)
        )
        for w in range(min(job.workers, episodes))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    _check(processes)
    return speeds(images(job.root), [spent.get() for _ in processes])


def _check(processes: Sequence[BaseProcess]) -> None:
    """Raise RuntimeError where a process has died; it has said why on standard error."""
    if any(p.exitcode for p in processes):
        raise RuntimeError(f"a process died with exit code {max(p.exitcode or 0 for p in processes)}")


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments("rollout", "Rollouts with two cameras against rendering alone.").parse_args(words)
    blocks, worlds = sized(given, 3, 1, 1), sized(given, 4, 4, 2)
    settings = Settings(slots=SLOTS, cameras=CAMERAS)
    count = {"uniform": sized(given, [12, 24], [3, 3], [1, 1])}
    changed: dict[str, Any] = {"carton.count": count}
    if given.tiny:
        settings = dataclasses.replace(settings, image_size=32)
    drawn = variation_with("nominal", changed).sample(0, np.arange(blocks * worlds))
    rows, _ = crew.prepare(drawn, settings, first_only=True)
    limit = 1.0 if given.tiny else 0.0
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for block in range(blocks):
            part = rows.take(np.arange(block * worlds, (block + 1) * worlds))
            job = Job(settings, "expert", part, Path(folder) / f"{block}", worlds, WORKERS, limit)
            measured.append((*whole(job), *rendering_alone(job)))
    ours, our_cpu, alone, alone_cpu = np.array(measured).T.tolist()
    baseline = "the same frames, Renderer.render only"
    figures = [
        ratio("rollout over rendering alone", ours, alone, BAR, baseline),
        ratio("the same in processor time", our_cpu, alone_cpu, None, f"{baseline}; blind to other processes"),
        Figure("rollout", over_all(ours), "images/s"),
        Figure("rendering alone", over_all(alone), "images/s"),
    ]
    setting = f"two cameras of 128 x 128, {WORKERS} processes, {blocks} alternating blocks of {worlds} variants"
    publish("rollout", given, figures, setting, {"rollout": ours, "rendering": alone})


if __name__ == "__main__":
    main()
