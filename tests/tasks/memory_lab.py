"""What the tests of the bench tasks share: rows, and runs of the expert that keep what a policy sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from helpers import started

from sim.knobs import Rows
from tasks.families import variation_named
from tasks.rollout import make_policy
from tasks.simulation import CAMERAS, Settings, Simulation

Observation = dict[str, np.ndarray]
SIZE = 96  # [px]
ROBOT = ("joint", "suction")  # beginnings of the names of what a learned policy reads beside pictures


def settings_of(task: str, pictures: bool = False) -> Settings:
    """Return the settings of a task, with pictures as a policy sees them."""
    return Settings(task, cameras=CAMERAS if pictures else (), image_size=SIZE)


def rows_of(settings: Settings, n: int = 1, **knobs: object) -> Rows:
    """Return prepared rows of nominal knobs without sensor noise, all of variant 0: they differ by `knobs` alone.

    In `knobs` dots are double underscores; an array's first axis is the row where it is as long as there are rows.
    """
    still = {
        f"sensor.{name}_noise": 0.0 for name in ("joint_position", "joint_torque", "carton_position", "carton_yaw")
    }
    columns = still | {name.replace("__", "."): value for name, value in knobs.items()}
    every = settings.knobs
    shaped = {}
    for name, value in columns.items():
        value = np.asarray(value, float)
        each = value.reshape(n, *[1] * len(every.shape(name))) if value.ndim == 1 and len(value) == n else value
        shaped[name] = np.broadcast_to(each, (n, *every.shape(name))).copy()
    return settings.family.prepare(Rows(every, shaped, 0, np.zeros(n, int)), settings.layout, settings.slots)


def drawn(settings: Settings, n: int, variation: str = "nominal", seed: int = 3) -> Rows:
    """Return prepared rows of a variation of the task."""
    rows = variation_named(variation, settings.knobs, settings.task).sample(seed, np.arange(n))
    return settings.family.prepare(rows, settings.layout, settings.slots)


@dataclasses.dataclass
class Played:
    """An expert's run: what was seen before each action, the actions, the pictures from a period on."""

    simulation: Simulation
    observations: list[Observation]
    actions: list[np.ndarray]
    pictures: dict[int, Observation]

    def parting(self) -> int:
        """Return the first period in which the worlds' actions differ: there the expert makes use of what it knows."""
        apart = [bool((a != a[0]).any()) for a in self.actions]
        assert any(apart), "the worlds never parted"
        return apart.index(True)

    def robot(self, period: int) -> np.ndarray:
        """Return what a learned policy reads of the robot in a period (n, numbers)."""
        names = self.simulation.settings.family.state_names
        columns = [k for k, name in enumerate(names) if name.startswith(ROBOT)]
        return self.observations[period]["state"][:, columns]


def play(
    rows: Rows,
    settings: Settings,
    periods: int = 450,
    told: Callable[[Observation], Observation] = lambda seen: seen,
    pictured: Callable[[int], bool] = lambda _: True,
) -> Played:
    """Run the expert until every world has finished; `told` changes what it is told.

    With cameras in the settings, pictures are kept of the periods for which `pictured` says so.
    """
    simulation, ids = started(rows, settings), np.arange(len(rows))
    expert = make_policy("expert", settings, len(rows))
    expert.reset(ids, rows.numbers)
    played = Played(simulation, [], [], {})
    for period in range(periods):
        seen = simulation.task.observe(ids)
        if settings.cameras and pictured(period):
            played.pictures[period] = simulation.render(ids)
        action = expert.act(told({name: values.copy() for name, values in seen.items()}), ids)[:, 0].astype(np.float32)
        simulation.task.advance(action.astype(np.float64), ids)
        played.observations.append(seen)
        played.actions.append(action)
        if np.logical_or(*simulation.task.finished(ids)).all():
            break
    simulation.close()
    return played


def same_pictures(one: Observation, other: Observation, a: int, b: int) -> bool:
    """Say whether world `a` in one period looks like world `b` in another, but for a few pixels at edges of shadows."""
    away = [np.abs(one[name][a].astype(int) - other[name][b].astype(int)).max(axis=2) for name in one]
    return all((d > 24).sum() <= 4 and d.mean() < 0.05 for d in away)


def alike(played: Played, period: int, other: int, a: int, b: int) -> None:
    """Assert that world `a` in `period` and world `b` in `other` cannot be told apart by pictures and readings."""
    assert same_pictures(played.pictures[period], played.pictures[other], a, b)
    away = np.abs(played.robot(period)[a] - played.robot(other)[b])
    names = [n for n in played.simulation.settings.family.state_names if n.startswith(ROBOT)]
    # Far below the nominal noise: 0.1 mrad in joint readings, 0.5 N m in torques.
    limit = np.array([{"position": 1e-5, "velocity": 1e-5, "torque": 0.02}.get(n.split(".")[1], 1e-6) for n in names])
    assert (away <= limit).all(), dict(zip(names, away.tolist(), strict=True))


def goes_on_as_before(rows: Rows, settings: Settings, saved_at: int, after: int) -> None:
    """Assert that worlds which are saved, run, and restored do the same again, to the last bit of state and picture."""
    actions = [a.astype(np.float64) for a in play(rows, dataclasses.replace(settings, cameras=())).actions]
    simulation, ids = started(rows, settings), np.arange(len(rows))
    for action in actions[:saved_at]:
        simulation.task.advance(action, ids)

    def run() -> list[object]:
        out: list[object] = []
        for action in actions[saved_at : saved_at + after]:
            seen = simulation.task.observe(ids) | simulation.render(ids)
            out += [seen[name].tobytes() for name in seen]
            out += [simulation.task.advance(action, ids).tobytes(), simulation.full_state(ids).tobytes()]
        work = [values.tolist() for values in vars(simulation.task.state).values()]
        return [*out, work, [[dict(e) for e in events] for events in simulation.task.events]]

    saved = simulation.save(ids)
    first = run()
    simulation.restore(saved, ids)
    assert run() == first
    simulation.close()
