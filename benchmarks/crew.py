"""Many variants of a task through preparation and simulation on all cores, without a dataset: what came of each.

Like a rollout, worker processes drive some worlds with one thread each, and a world that has finished takes the next
variant; but nothing is rendered or written.
"""

from __future__ import annotations

import dataclasses
import multiprocessing as mp
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, Protocol

import numpy as np
from rich.progress import Progress

from assets.errors import InputError
from sim.cell import PERIOD
from sim.knobs import Rows
from tasks.packing.orders import Order
from tasks.packing.planner import plan_order
from tasks.packing.plans import Plan
from tasks.palletizing.variants import Planner, plan_rows
from tasks.rollout import make_policy
from tasks.simulation import Settings, Simulation

WORKERS = os.cpu_count() or 1
SHARE = 12  # rows prepared, or run, per job at most: small enough to show progress


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one variant.

    Attributes:
        variant: its number.
        things, done: how many things (cartons, parts) it has, and how many are where they belong.
        success: of the whole work, as the task judges it.
        reasons: what is wrong.
        seconds: simulated.
        broken: why the world was given up, or None.
        remarks: what the watch said, if there was one.
    """

    variant: int
    things: int
    done: int
    success: bool
    reasons: tuple[str, ...]
    seconds: float
    broken: str | None
    remarks: dict[str, Any]


class Watch(Protocol):
    """Looks at the running worlds of a simulation after every period."""

    def __call__(self, seen: dict[str, np.ndarray], ids: np.ndarray) -> None:
        """Look at the worlds `ids`, none of which is reported as broken, and at what the policy has `seen` of them."""
        ...

    def begin(self, ids: np.ndarray) -> None:
        """Worlds `ids` start afresh."""
        ...

    def end(self, world: int) -> dict[str, Any]:
        """Return what there is to say of the variant that ran in `world`."""
        ...


@dataclasses.dataclass(frozen=True)
class Share:
    """What a worker runs: see `run`."""

    settings: Settings
    rows: Rows
    policy: str
    worlds: int
    seconds: float
    watch: Callable[[Simulation], Watch] | None


class HastyPlanner(Planner):
    """A palletizing planner that looks less far, for loads of which only the first pallet is used."""

    def plan(self, order: Order) -> Plan:
        """Plan the first pallet of an order."""
        return plan_order(order, rules=self.rules, reachable=self.layout.reach, max_pallets=1, tries=1, restarts=1)


def prepare(
    rows: Rows, settings: Settings, *, first_only: bool = False, workers: int = WORKERS
) -> tuple[Rows, list[str]]:
    """Make drawn rows ready to run; return what came of them, and why some were refused.

    With `first_only` only the first pallet of each order is planned, in haste.
    """
    jobs = [(part, settings, first_only) for part in _shares(rows, workers)]
    ready, refused = [], []
    for made, reasons in _in_parallel(_prepare_share, jobs, "preparing", workers):
        ready += made
        refused += reasons
    return joined(ready), refused


def _shares(rows: Rows, workers: int) -> list[Rows]:
    """Return the rows in parts of up to SHARE, smaller ones where not every worker would get one."""
    size = max(1, min(SHARE, -(-len(rows) // workers)))
    return [rows.take(np.arange(k, min(k + size, len(rows)))) for k in range(0, len(rows), size)]


def _prepare_share(job: tuple[Rows, Settings, bool]) -> tuple[list[Rows], list[str]]:
    rows, settings, first_only = job
    layout, slots = settings.layout, settings.slots
    made, refused = [], []
    for k in range(len(rows)):
        drawn = rows.take([k])
        try:
            if first_only and settings.task == "palletizing":
                made.append(plan_rows(drawn, HastyPlanner(layout), slots, first_only=True))
            else:
                made.append(settings.family.prepare(drawn, layout, slots, first_only=first_only))
        except InputError as error:
            refused.append(str(error))
    return made, refused


def joined(parts: Sequence[Rows]) -> Rows:
    """Return several tables as one, in the order of the variants' numbers."""
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0].columns}
    rows = Rows(parts[0].knobs, columns, parts[0].seed, np.concatenate([p.numbers for p in parts]))
    return rows.take(np.argsort(rows.numbers, kind="stable"))


def run(
    rows: Rows,
    settings: Settings,
    policy: str,
    *,
    worlds: int = 6,
    seconds: float = 0.0,
    watch: Callable[[Simulation], Watch] | None = None,
    workers: int = WORKERS,
) -> list[Outcome]:
    """Run a policy over prepared rows; return the outcomes in the order of the variants.

    Args:
        rows: variants, ready to run.
        settings: of the simulation, without cameras.
        policy: name of the policy.
        worlds: of each worker.
        seconds: time limit of an episode [s]; 0 for the task's own.
        watch: makes a watch for a simulation.
        workers: processes.
    """
    jobs = [Share(settings, part, policy, worlds, seconds, watch) for part in _shares(rows, workers)]
    outcomes = [o for share in _in_parallel(_run_share, jobs, f"running the {policy} policy", workers) for o in share]
    return sorted(outcomes, key=lambda o: o.variant)


def _in_parallel(work: Callable[[Any], Any], jobs: Sequence[Any], says: str, workers: int) -> Iterator[Any]:
    if workers == 1 or len(jobs) == 1:
        yield from map(work, jobs)
        return
    with Progress(transient=True) as bar, ProcessPoolExecutor(workers, mp_context=mp.get_context("spawn")) as pool:
        task = bar.add_task(says, total=len(jobs))
        for done in as_completed([pool.submit(work, job) for job in jobs]):
            bar.advance(task)
            yield done.result()


def _run_share(share: Share) -> list[Outcome]:
    rows, worlds = share.rows, min(share.worlds, len(share.rows))
    simulation = Simulation(share.settings, worlds, nthread=1)
    policy = make_policy(share.policy, share.settings, worlds)
    watch = share.watch(simulation) if share.watch else None
    task, family = simulation.task, share.settings.family
    waiting = list(range(len(rows)))[::-1]
    running: dict[int, int] = {}  # world: row
    outcomes: list[Outcome] = []

    def begin(free: list[int]) -> None:
        starting = free[: len(waiting)]
        if starting:
            taken, ids = [waiting.pop() for _ in starting], np.array(starting)
            task.apply(rows.take(np.array(taken)), ids)
            policy.reset(ids, rows.numbers[taken])
            if watch:
                watch.begin(ids)
            running.update(zip(starting, taken, strict=True))

    begin(list(range(worlds)))
    while running:
        ids = np.array(sorted(running))
        seen = task.observe(ids)
        action = policy.act(seen, ids)[:, 0].astype(np.float32)
        task.advance(action.astype(np.float64), ids)
        ended = np.logical_or(*task.finished(ids))
        if share.seconds:
            ended |= task.state.period[ids] * PERIOD >= share.seconds
        broken = simulation.worlds.broken(ids)
        lost = np.array([b is not None for b in broken])
        if watch and not lost.all():
            watch({name: values[~lost] for name, values in seen.items()}, ids[~lost])
        sound = ids[ended & ~lost]
        seconds = {int(i): float(task.state.period[i]) * PERIOD for i in ids}
        verdicts = dict(zip(sound.tolist(), simulation.judge(sound) if len(sound) else [], strict=True))
        free = ids[ended | lost].tolist()
        for world in free:
            row, verdict = running.pop(world), verdicts.get(world)
            outcomes.append(
                Outcome(
                    variant=int(rows.numbers[row]),
                    things=int(rows[family.count][row]),
                    done=family.pieces({"verdict": verdict.to_dict(), "row": rows.row(row)})[0] if verdict else 0,
                    success=bool(verdict and verdict.success),
                    reasons=verdict.reasons if verdict else (),
                    seconds=seconds[world],
                    broken=None if verdict else broken[int(np.searchsorted(ids, world))],
                    remarks=watch.end(world) if watch else {},
                )
            )
        begin(free)
    return outcomes
