"""What the tests of the tasks share: small loads for palletizing, rows for them, and loops that run any task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from sim.knobs import Rows
from sim.variations import Variation
from tasks.palletizing.variants import Planner, plan_rows
from tasks.rollout import make_policy
from tasks.simulation import Settings, Simulation
from tasks.task import Policy

SETTINGS = Settings(slots=4)
BOX = (0.4, 0.3, 0.24)  # [m]

# Loads of three cartons, drawn like those of the nominal variation but quick to plan and to place.
SMALL = {
    "carton": {
        "count": 3,
        "size": {"uniform": [[0.3, 0.2, 0.15], [0.5, 0.35, 0.3]]},
        "mass": {"uniform": [3.0, 8.0]},
        "size_error": {"truncnormal": {"mean": 0.0, "std": 0.0008, "low": -0.002, "high": 0.002}},
        "center_of_mass": {"uniform": [-0.05, 0.05]},
        "arrival_offset": {"uniform": [-0.03, 0.03]},
        "arrival_yaw": {"uniform": [-0.1, 0.1]},
    },
    "arm": {"latency": {"uniform": [0.0, 0.04]}},
    "conveyor": {"speed": {"uniform": [0.4, 0.6]}},
    "test": {"direction": {"uniform": [-3.0, 3.0]}},
}


@dataclasses.dataclass(frozen=True)
class Box:
    """A carton of a load: where it is to stand (centre of its base in the pallet frame), size, mass."""

    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    size: tuple[float, float, float] = BOX
    mass: float = 5.0


def rows_of(load: Sequence[Box], n: int = 1, settings: Settings = SETTINGS, **knobs: object) -> Rows:
    """Return `n` rows with this load; `knobs` (dots as double underscores) are broadcast, the first axis is the row."""
    spare = settings.slots - len(load)
    boxes = [*load, *[Box()] * spare]
    columns: dict[str, object] = {
        "carton.count": len(load),
        "carton.size": np.array([b.size for b in boxes]),
        "carton.mass": np.array([b.mass for b in boxes]),
        "plan.position": np.array([b.position for b in boxes]),
        "plan.yaw": np.array([b.yaw for b in boxes]),
        # Nothing but what a test asks for disturbs it.
        **{f"sensor.{name}_noise": 0.0 for name in ("joint_position", "joint_torque", "carton_position", "carton_yaw")},
    }
    columns |= {name.replace("__", "."): value for name, value in knobs.items()}
    every = settings.knobs
    shaped = {k: np.broadcast_to(np.asarray(v, float), (n, *every.shape(k))).copy() for k, v in columns.items()}
    return Rows(every, shaped, 0, np.arange(n))


def drawn(n: int, prefill: int = 0, settings: Settings = SETTINGS, seed: int = 1, says: dict | None = None) -> Rows:
    """Return planned rows of the small variation."""
    rows = Variation.parse("small", SMALL if says is None else says, settings.knobs).sample(seed, np.arange(n))
    rows = plan_rows(rows, Planner(settings.layout), settings.slots, first_only=True)
    prefilled = np.minimum(float(prefill), rows["carton.count"] - 1)
    return rows.replaced(pallet__prefill=prefilled)


def started(rows: Rows, settings: Settings = SETTINGS, nthread: int = 1) -> Simulation:
    """Return a simulation with a world for each row, begun."""
    simulation = Simulation(settings, len(rows), nthread)
    simulation.task.apply(rows, np.arange(len(rows)))
    return simulation


def standing(load: Sequence[Box], n: int = 1, **knobs: object) -> Simulation:
    """Return worlds in which the whole load stands on the pallet as planned."""
    return started(rows_of(load, n, pallet__prefill=len(load), **knobs))


def every(simulation: Simulation) -> np.ndarray:
    """Return all world indices."""
    return np.arange(simulation.worlds.nworld)


def hold_home(simulation: Simulation, periods: int, suction: bool = False) -> np.ndarray:
    """Keep the arm at home and what else the tool has shut; return the rewards (periods, n)."""
    ids = every(simulation)
    action = np.zeros(len(simulation.settings.family.action_names))
    action[: len(simulation.cell.home)], action[len(simulation.cell.home)] = simulation.cell.home, suction
    home = np.tile(action, (len(ids), 1))
    return np.stack([simulation.task.advance(home, ids) for _ in range(periods)])


@dataclasses.dataclass
class Run:
    """What happened in the worlds of a simulation while the expert ran; T periods, n worlds."""

    observations: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)
    actions: list[np.ndarray] = dataclasses.field(default_factory=list)
    rewards: list[np.ndarray] = dataclasses.field(default_factory=list)
    states: list[np.ndarray] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        """Periods."""
        return len(self.actions)


def run_expert(
    simulation: Simulation,
    rows: Rows,
    periods: int = 10_000,
    expert: Policy | None = None,
    before: Callable[[int], object] = lambda _: None,
) -> Run:
    """Run the expert in all worlds until all have finished, or for some periods.

    `before` is called with the number of the period before its action is executed.
    """
    ids, run = every(simulation), Run()
    if expert is None:
        expert = make_policy("expert", simulation.settings, len(ids))
        expert.reset(ids, rows.numbers)
    for period in range(periods):
        observation = simulation.task.observe(ids)
        # As in a rollout, what is executed is what a dataset would keep.
        action = expert.act(observation, ids)[:, 0].astype(np.float32)
        before(period)
        run.states.append(simulation.full_state(ids))
        run.rewards.append(simulation.task.advance(action.astype(np.float64), ids))
        run.observations.append(observation)
        run.actions.append(action)
        done, late = simulation.task.finished(ids)
        if (done | late).all():
            break
    return run


def events(simulation: Simulation, world: int = 0) -> list[tuple[int, str]]:
    """Return (carton, event) of a world, in order."""
    return [(e["carton"], e["event"]) for e in simulation.task.events[world]]
