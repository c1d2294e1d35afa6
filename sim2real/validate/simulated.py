"""Trials in simulation: in parallel worlds on all cores, as the prediction; or one by one, in place of a robot."""

from __future__ import annotations

import dataclasses
import multiprocessing as mp
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from assets.errors import InputError
from sim.cell import PERIOD
from sim.knobs import Rows
from sim.rotations import yaw_of
from sim.variations import Variation
from sim2real.validate.policies import policy_named
from sim2real.validate.trials import Outcome, Trial
from tasks.durable import write_file
from tasks.palletizing.task import Palletizing
from tasks.simulation import Settings, Simulation

# What papers, plan and operator lay down for a trial. Everything else belongs to the cell, or is not seen.
GIVEN = (
    "carton.count", "carton.size", "carton.mass", "carton.arrival_offset", "carton.arrival_yaw",
    "pallet.prefill", "conveyor.speed", "test.direction",
    "plan.position", "plan.yaw", "plan.pallet", "plan.left_over",
)  # fmt: skip
WORLDS = 6  # of each worker
SHARE = 12  # runs per job: small enough to show progress, and to share out


def with_cell(trials: Rows, variation: Variation, seed: int) -> Rows:
    """Return the same trials in cells drawn anew from a variation of the same knobs."""
    drawn = variation.sample(seed, trials.numbers)
    return Rows(trials.knobs, {**drawn.columns, **{k: trials[k] for k in GIVEN}}, trials.seed, trials.numbers)


def in_one_cell(trials: Rows, truth: Variation, seed: int) -> Rows:
    """Return the same trials in one and the same cell, drawn once from a variation; what it leaves open stays."""
    once = truth.sample(seed, [0])
    named = {*truth.distributions, *(name for c in truth.calibrations for name in c.sizes)} - {*GIVEN}
    columns = {name: np.repeat(once[name], len(trials), axis=0) for name in named}
    return Rows(trials.knobs, {**trials.columns, **columns}, trials.seed, trials.numbers)


@dataclasses.dataclass(frozen=True)
class Runs:
    """Simulated runs to be made: each row of `rows` by the policy beside it, each kept in a file of its own."""

    settings: Settings
    policies: tuple[str, ...]
    rows: Rows
    files: tuple[Path, ...]

    def take(self, which: Sequence[int]) -> Runs:
        """Return some of them."""
        return Runs(
            self.settings,
            tuple(self.policies[k] for k in which),
            self.rows.take(np.array(which, dtype=np.int64)),
            tuple(self.files[k] for k in which),
        )


def predict(runs: Runs, workers: int, report: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Make the runs whose files are missing; `report` hears how many of how many are there."""
    total = len(runs.files)
    missing = [k for k in range(total) if not runs.files[k].exists()]
    report(total - len(missing), total)
    by_policy = [[k for k in missing if runs.policies[k] == p] for p in dict.fromkeys(runs.policies)]
    size = max(1, min(SHARE, -(-len(missing) // max(workers, 1))))
    shares = [runs.take(mine[k : k + size]) for mine in by_policy for k in range(0, len(mine), size)]
    done = total - len(missing)
    if workers == 1 or len(shares) <= 1:
        for share in shares:
            done += _run_share(share)
            report(done, total)
        return
    with ProcessPoolExecutor(min(workers, len(shares)), mp_context=mp.get_context("spawn")) as pool:
        futures = [pool.submit(_run_share, share) for share in shares]
        try:
            for future in as_completed(futures):
                done += future.result()
                report(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_share(runs: Runs) -> int:
    simulation = Simulation(runs.settings, min(WORLDS, len(runs.files)), nthread=1)
    for row, outcome in run_all(simulation, runs.policies[0], runs.rows):
        write_file(runs.files[row], outcome.to_json(policy=runs.policies[0], variant=int(runs.rows.numbers[row])))
    simulation.close()
    return len(runs.files)


def run_all(simulation: Simulation, policy_name: str, rows: Rows) -> Iterator[tuple[int, Outcome]]:
    """Run a policy over prepared rows in the worlds of a simulation; yield each row's number and outcome as it ends."""
    task, worlds = palletizing_of(simulation), simulation.worlds.nworld
    policy = policy_named(policy_name, simulation.settings, worlds)
    waiting = list(range(len(rows)))[::-1]
    running: dict[int, tuple[int, list[np.ndarray]]] = {}  # world: row, the tool's way

    def begin(free: list[int]) -> None:
        starting = free[: len(waiting)]
        if starting:
            taken, ids = [waiting.pop() for _ in starting], np.array(starting)
            chosen = rows.take(np.array(taken))
            task.apply(chosen, ids)
            policy.reset(ids, chosen.numbers)
            running.update({world: (row, []) for world, row in zip(starting, taken, strict=True)})

    begin(list(range(worlds)))
    while running:
        ids = np.array(sorted(running))
        # What is executed is what a dataset would keep, and a robot be sent: float32.
        action = policy.act(task.observe(ids), ids)[:, 0].astype(np.float32)
        task.advance(action.astype(np.float64), ids)
        for world, lips in zip(ids.tolist(), task.cell.suction.lip_pose(ids)[0], strict=True):
            running[world][1].append(lips)
        broken = dict(zip(ids.tolist(), simulation.worlds.broken(ids), strict=True))
        ended = ids[np.logical_or(*task.finished(ids))].tolist()
        free = [w for w in ids.tolist() if w in ended or broken[w] is not None]
        sound = np.array([w for w in free if broken[w] is None], dtype=np.int64)
        outcomes = dict(zip(sound.tolist(), _judged(simulation, sound, running), strict=True))
        for world in free:
            row, _ = running.pop(world)
            yield row, outcomes.get(world) or _unsound(str(broken[world]), int(rows["carton.count"][row]))
        begin(free)


def palletizing_of(simulation: Simulation) -> Palletizing:
    """Return the simulation's task, which is palletizing.

    Raises:
        InputError: it is another task: validation knows how to judge loads of cartons only.
    """
    if not isinstance(simulation.task, Palletizing):
        raise InputError(f"validation runs the task palletizing, not {simulation.settings.task}")
    return simulation.task


def _judged(simulation: Simulation, ids: np.ndarray, running: dict[int, tuple[int, list[np.ndarray]]]) -> list[Outcome]:
    if not len(ids):
        return []
    task = palletizing_of(simulation)
    position, quaternion = task.cell.poses(ids)
    poses = np.concatenate([position, yaw_of(quaternion)[..., None]], axis=-1)
    seconds = task.state.period[ids] * PERIOD
    outcomes = []
    for k, verdict in enumerate(simulation.judge(ids)):
        said = verdict.to_dict()
        outcomes.append(
            Outcome(
                success=verdict.success,
                reasons=verdict.reasons,
                placed=tuple(map(bool, said["placed"])),
                seconds=round(float(seconds[k]), 3),
                tool=np.array(running[int(ids[k])][1]),
                cartons=poses[k, : len(said["placed"])],
                events=tuple(task.events[ids[k]]),
            )
        )
    return outcomes


def _unsound(why: str, cartons: int) -> Outcome:
    """Return the outcome of a world that was given up: it counts neither as success nor as failure."""
    return Outcome(False, (), (False,) * cartons, 0.0, np.zeros((0, 3)), np.full((cartons, 4), np.nan), (), why)


class SimulatedCell:
    """A simulated cell in place of a robot: the same task, with knobs of its own."""

    what = "simulation in place of a robot"
    resets_itself = True

    def __init__(self, settings: Settings, rows: Rows):
        """Run trials on `rows`, whose knobs are those of this cell."""
        self.rows = rows
        self._simulation = Simulation(settings, 1, nthread=1)

    def check(self, predicted: Iterable[Outcome]) -> None:
        """Nothing is forbidden here."""

    def run(self, trial: Trial) -> Outcome:
        """Run one trial.

        Raises:
            InputError: the physics broke.
        """
        _, outcome = next(run_all(self._simulation, trial.policy, self.rows.take([trial.row])))
        if outcome.broken is not None:
            raise InputError(f"trial {trial.number}: the simulated cell broke ({outcome.broken})")
        return outcome

    def close(self) -> None:
        """Free the simulation."""
        self._simulation.close()
