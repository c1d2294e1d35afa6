"""Rollouts: a policy runs over a table of variants in parallel worlds, and a dataset comes out.

Worker processes each drive some worlds with one thread: physics, rendering and encoding scale with the cores, and a
verdict in one worker holds up no other. A world that has finished its variant takes the worker's next one. Episodes are
staged by the workers and published in the order of their variants, so a run may be killed at any moment and resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing as mp
import os
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from assets.errors import InputError, unknown
from sim.cell import PERIOD
from sim.knobs import Rows
from tasks.dataset.lerobot_format import Features
from tasks.dataset.publisher import Publisher
from tasks.dataset.reader import open_dataset
from tasks.dataset.staging import EpisodeWriter, stage_quarantine
from tasks.disturbed_policy import DisturbedPolicy
from tasks.durable import FullDiskError
from tasks.random_policy import RandomPolicy
from tasks.simulation import Settings, Simulation, versions
from tasks.task import Policy

RANDOM = "random"  # the policy that every task has


def make_policy(name: str, settings: Settings, nworld: int) -> Policy:
    """Return the policy of that name for `nworld` worlds; InputError names the nearest ones if there is none."""
    task, layout = settings.family, settings.layout
    if name == RANDOM:
        return RandomPolicy(layout, task.action_bounds(layout), nworld)
    if name not in task.policies:
        # Learned policies are none of the task's: a `Job` is told how to make one.
        raise unknown(f"policy for {task.name}", name, (*task.policies, RANDOM))
    return task.policies[name](layout, nworld)


def features(settings: Settings) -> Features:
    """Return the dataset's features for these settings."""
    task = settings.family
    return Features(
        fps=round(1 / PERIOD),
        robot_type=settings.layout.robot,
        cameras={name: (settings.image_size, settings.image_size) for name in settings.cameras},
        state_names=task.state_names,
        action_names=task.action_names,
        environment_state_names=task.surroundings_names(settings.slots),
        tasks=task.instructions,
    )


@dataclasses.dataclass(frozen=True)
class Job:
    """What a rollout does.

    Attributes:
        settings: task, cell, slots, cameras.
        policy: name of the policy: one of the task family's, or "random"; with `make`, what it is known by, e.g. with
            the hash of its checkpoint: a run is only resumed with the same name.
        rows: variants, ready to run.
        root: folder of the dataset.
        worlds: worlds in all, shared out among the workers.
        workers: processes.
        seconds: time limit of an episode [s]; 0 for the task's own.
        disturbance: how far the joints are pushed aside now and then at most [rad], see `tasks.disturbed_policy`.
        make: makes any other policy for so many worlds, in each worker process: it is pickled on its way there.
    """

    settings: Settings
    policy: str
    rows: Rows
    root: Path
    worlds: int = 8
    workers: int = 2
    seconds: float = 0.0
    disturbance: float = 0.0
    make: Callable[[int], Policy] | None = None

    def make_policy(self, nworld: int) -> Policy:
        """Return the policy for so many worlds."""
        policy = make_policy(self.policy, self.settings, nworld) if self.make is None else self.make(nworld)
        if self.disturbance == 0.0:
            return policy
        return DisturbedPolicy(policy, len(self.settings.layout.arm.home), self.disturbance, nworld)

    def check(self) -> None:
        """Raise InputError for settings that cannot be run."""
        if not 0.0 <= self.disturbance <= 0.5:
            raise InputError(f"disturbance = {self.disturbance} rad must lie in 0 … 0.5")
        self.make_policy(1)
        if self.worlds < 1 or self.workers < 1:
            raise InputError(f"worlds = {self.worlds} and workers = {self.workers} must be at least 1")
        if len(self.rows) == 0:
            raise InputError("there are no variants to run")


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a rollout stands: episodes published of how many, successes, quarantined, simulated seconds so far."""

    done: int
    total: int
    successes: int
    quarantined: int


def roll_out(job: Job, *, resume: bool = False, report: Callable[[Progress], None] = lambda _: None) -> Progress:
    """Run the job; `report` hears of every published episode.

    Raises:
        InputError: the output folder exists (without `resume`), holds another run (with it), or the disk is full.
        RuntimeError: a worker died.
    """
    job.check()
    settings = {
        "simulation": job.settings.to_dict(),
        "policy": job.policy,
        "seed": job.rows.seed,
        "seconds": job.seconds,
        "disturbance": job.disturbance,
        "variants": _digest(job.rows),
        "versions": versions(),
    }
    numbers = [int(n) for n in job.rows.numbers]
    with Publisher(job.root, features(job.settings), settings, numbers, resume=resume) as publisher:
        finished = publisher.finished
        todo = [k for k, n in enumerate(numbers) if n not in finished]
        there = open_dataset(job.root)
        quarantined, done = len(there.quarantined), len(there) + len(there.quarantined)
        successes = sum(bool(there.metadata(k)["success"]) for k in range(len(there)))
        report(Progress(done, len(numbers), successes, quarantined))
        workers = max(1, min(job.workers, job.worlds, len(todo)))
        context = mp.get_context("spawn")
        complaints = context.Queue()
        processes = []
        for w in range(workers if todo else 0):
            mine = todo[w::workers]
            worlds = min(len(mine), job.worlds // workers + (w < job.worlds % workers))
            part = dataclasses.replace(job, rows=job.rows.take(np.array(mine)), worlds=max(worlds, 1))
            processes.append(context.Process(target=_work, args=(part, os.getpid(), complaints), daemon=True))
        try:
            for process in processes:
                process.start()
            while True:
                # A worker that died ends the run at once; what the others have finished is kept.
                alive = any(p.is_alive() for p in processes) and not any(p.exitcode for p in processes)
                for published in publisher.publish_ready():
                    done += 1
                    successes += bool(published.metadata.get("success", False))
                    quarantined += published.episode is None
                    report(Progress(done, len(numbers), successes, quarantined))
                if not alive:
                    break
                time.sleep(0.2)
            _raise_complaint(processes, complaints)
            publisher.finish()
        finally:
            for process in processes:
                process.kill()
    return Progress(done, len(numbers), successes, quarantined)


def _digest(rows: Rows) -> str:
    """Return a hash of all the rows' values, so that a run is only taken up with the rows it was begun with."""
    digest = hashlib.sha256()
    for name in sorted(rows.columns):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(rows[name]).tobytes())
    return digest.hexdigest()


def _raise_complaint(processes: list[Any], complaints: Any) -> None:
    """Say in the parent what went wrong in a worker."""
    try:
        kind, text = complaints.get(timeout=0.2)
    except queue.Empty:
        codes = [p.exitcode for p in processes if p.exitcode]
        if codes:
            raise RuntimeError(f"a rollout worker died (exit code {codes[0]}); run again with --resume") from None
        return
    raise InputError(text) if kind == "input" else RuntimeError(text)


def _work(job: Job, parent: int, complaints: Any) -> None:
    """Run one worker's share; an orphaned worker stops."""
    try:
        _run(job, lambda: os.getppid() == parent)
    except InputError as error:
        complaints.put(("input", str(error)))
    except KeyboardInterrupt:
        pass
    except Exception as error:
        import traceback

        complaints.put(("other", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


def _run(job: Job, keep_going: Callable[[], bool]) -> None:
    simulation = Simulation(job.settings, job.worlds, nthread=1)
    policy = job.make_policy(job.worlds)
    waiting = list(range(len(job.rows)))[::-1]
    running: dict[int, tuple[int, EpisodeWriter]] = {}  # world: row, writer
    every = features(job.settings)

    def begin(worlds: list[int]) -> None:
        starting = worlds[: len(waiting)]
        if not starting:
            return
        taken = [waiting.pop() for _ in starting]
        ids = np.array(starting)
        rows = job.rows.take(np.array(taken))
        simulation.task.apply(rows, ids)
        policy.reset(ids, rows.numbers)
        for world, row in zip(starting, taken, strict=True):
            variant = int(job.rows.numbers[row])
            running[world] = (row, EpisodeWriter(job.root, every, variant))

    begin(list(range(job.worlds)))
    while running and keep_going():
        ids = np.array(sorted(running))
        observation = simulation.task.observe(ids)
        pictures = simulation.render(ids)
        instructions = simulation.task.instruction(ids)
        before = simulation.full_state(ids)
        # What is executed is what the dataset keeps: float32.
        told = observation | pictures | {"instruction": np.array(instructions)}
        action = policy.act(told, ids)[:, 0].astype(np.float32)
        reward = simulation.task.advance(action.astype(np.float64), ids)
        terminated, truncated = simulation.task.finished(ids)
        if job.seconds:
            truncated |= simulation.task.state.period[ids] * PERIOD >= job.seconds
        broken = simulation.worlds.broken(ids)
        free = []
        for k, world in enumerate(ids.tolist()):
            row, writer = running[world]
            if broken[k] is not None:
                stage_quarantine(job.root, writer.variant, str(broken[k]), job.rows.row(row))
                free.append(world)
                continue
            end = bool(terminated[k] or truncated[k])
            after = simulation.full_state(ids[k : k + 1])[0] if end else None
            verdict = simulation.judge(ids[k : k + 1])[0] if end else None
            writer.add_frame(
                {name: picture[k] for name, picture in pictures.items()},
                state=observation["state"][k],
                environment_state=observation["environment_state"][k],
                action=action[k],
                reward=float(reward[k]),
                done=end,
                success=verdict is not None and verdict.success,
                full_state=before[k],
                task=instructions[k],
            )
            if verdict is not None and after is not None:
                metadata = {
                    "seed": job.rows.seed,
                    "row": job.rows.row(row),
                    "versions": versions(),
                    "events": simulation.task.events[world],
                    "seconds": round(len(writer) * PERIOD, 3),
                    "verdict": verdict.to_dict(),
                }
                try:
                    writer.close(metadata, after)
                except FullDiskError:
                    raise
                except InputError as error:  # a number that is not finite: this variant only
                    stage_quarantine(job.root, writer.variant, str(error), job.rows.row(row))
                free.append(world)
        for world in free:
            del running[world]
        begin(free)
    simulation.close()
