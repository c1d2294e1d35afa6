"""What the tests of the tote task share: rows with parts laid out by hand, places to put things, and short jobs."""

from __future__ import annotations

import functools

import numpy as np

from assets.combi_tool import LENGTH, STROKE
from assets.kinematics import Kinematics
from assets.parts import FAMILIES, SIZES, pool
from sim.knobs import Rows
from sim.latches import FLAT
from sim.totes import FOLDING
from tasks.simulation import Settings, Simulation
from tasks.totes.cell import BIN_AT, TABLE_AT
from tasks.totes.task import ToteBreakdown
from tasks.totes.variants import BREAK_DOWN, CHECK, DECANT, STACK, cavity

SETTINGS = Settings("tote_breakdown", slots=4)
DRUM = FAMILIES.index("drum")
DRUM_HEIGHT = float(np.ptp(pool()[DRUM * SIZES + 1].points[:, 2]))  # [m] standing
SPOTS = np.array([(-0.05, 0.0), (0.05, 0.0), (0.0, 0.07), (0.0, -0.07)])  # of the parts in the tote [m]
FLOOR_AWAY = np.array([0.3, 1.6, 0.03])  # a place on the floor [m]
NOISES = ("joint_position", "joint_torque", "part_position", "part_rotation", "tote_position", "tote_yaw")


def tote_rows(n: int = 1, **knobs: object) -> Rows:
    """Return rows with two drums standing in each tote, no sensor noise, and no pouring.

    `knobs` (dots as double underscores) are broadcast, their first axis is the row.
    """
    every, slots = SETTINGS.knobs, SETTINGS.slots
    given = {name.replace("__", "."): np.asarray(value, float) for name, value in knobs.items()}
    kind = np.broadcast_to(given.get("tote.kind", np.zeros(1)), n).astype(int)
    floor = np.array([cavity(k)[1] for k in kind])
    spots = np.broadcast_to(SPOTS[np.arange(slots) % len(SPOTS)], (n, slots, 2))
    height = np.broadcast_to((floor + DRUM_HEIGHT / 2)[:, None, None], (n, slots, 1))
    columns = {
        "part.count": np.array(2.0),
        "part.family": np.array(float(DRUM)),
        "fill.position": np.concatenate([spots, height], axis=2),
        **{f"sensor.{name}_noise": np.array(0.0) for name in NOISES},
    } | given
    shaped = {k: np.broadcast_to(v, (n, *every.shape(k))).copy() for k, v in columns.items()}
    return Rows(every, shaped, 0, np.arange(n))


def begun(rows: Rows, settings: Settings = SETTINGS, nthread: int = 1) -> tuple[Simulation, ToteBreakdown]:
    """Return a simulation with a world for each row, begun, and its task."""
    simulation = Simulation(settings, len(rows), nthread)
    task = simulation.task
    assert isinstance(task, ToteBreakdown)
    task.apply(rows, np.arange(len(rows)))
    return simulation, task


def stay(task: ToteBreakdown, periods: int = 1, ids: object = None, joints: np.ndarray | None = None) -> np.ndarray:
    """Hold the arms at `joints` (home by default), fingers open; return the rewards (periods, n)."""
    who = np.arange(task.cell.worlds.nworld) if ids is None else np.asarray(ids)
    action = np.tile(np.append(task.cell.home if joints is None else joints, (0.0, STROKE)), (len(who), 1))
    return np.stack([task.advance(action, who) for _ in range(periods)])


def put_part(task: ToteBreakdown, slot: int, position: np.ndarray, worlds: object = (0,)) -> None:
    """Stand a part at `position` (3,) or (n, 3) [m]."""
    ids = np.asarray(worlds)
    task.cell.put(np.full(len(ids), slot), np.broadcast_to(position, (len(ids), 3)), np.zeros(len(ids)), ids)


def in_bin(task: ToteBreakdown, slot: int) -> np.ndarray:
    """Return where a drum stands on the bin's floor (3,) [m]."""
    layout = task.layout
    aside = 0.08 * (slot - 1.5) * np.array([-np.sin(BIN_AT), np.cos(BIN_AT), 0.0])
    return layout.station(BIN_AT, layout.bin_floor + DRUM_HEIGHT / 2) + aside


def in_tote(task: ToteBreakdown, slot: int) -> np.ndarray:
    """Return where a drum stands on the floor of a tote of kind 6280 in the middle of its table (3,) [m]."""
    layout = task.layout
    return layout.station(TABLE_AT, layout.table_height) + np.array([*SPOTS[slot], cavity(0)[1] + DRUM_HEIGHT / 2])


def beside_tote(task: ToteBreakdown) -> np.ndarray:
    """Return a place on the table beside a tote of kind 4280, before it (3,) [m]."""
    return task.layout.station(TABLE_AT, task.layout.table_height) + np.array([-0.24, 0.0, 0.03])


def put_tote(task: ToteBreakdown, position: np.ndarray, turn: np.ndarray, worlds: object) -> None:
    """Set the totes that are worked on to positions (n, 3) [m], headings (n,) [rad]; derived arrays current."""
    ids = np.asarray(worlds)
    task.cell.put(task.tote[ids], position, turn, ids)
    task.cell.worlds.forward(ids)


def put_on_pile(task: ToteBreakdown, worlds: object, away: object = (0.0, 0.0), turned: float = 0.0) -> None:
    """Set the totes that are worked on to their places on the pile, `away` from them (2,) [m] and turned [rad]."""
    ids = np.asarray(worlds)
    goal, yaw = task.stack_goal(ids)
    put_tote(task, goal + np.array([*np.asarray(away), 0.0]), yaw + turned, ids)


def fold(task: ToteBreakdown, worlds: object, angles: object = FLAT) -> None:
    """Set the walls of folding totes to `angles` [rad]."""
    ids = np.asarray(worlds)
    task.cell.worlds.qpos[np.ix_(ids, task.cell.latches.qpos)] = angles
    task.cell.latches.update(ids)
    task.cell.worlds.forward(ids)


def arm_over(task: ToteBreakdown, tips: np.ndarray, lean: float = 0.0) -> np.ndarray:
    """Return joints (6,) [rad] that hang the tool down, or leaning [rad], with the fingertips at `tips` (3,) [m]."""
    along = np.array([np.sin(lean), 0.0, -np.cos(lean)])
    flange = np.asarray(tips, float) - LENGTH * along - np.array([0.0, 0.0, task.layout.base_height])
    across = np.array([0.0, -1.0, 0.0])
    axes = np.stack([across, np.cross(along, across), along], axis=1)
    found = Kinematics(task.layout.arm).inverse(flange[None], axes[None], task.cell.home[None])[0]
    return found[np.nanargmin(np.abs(found - task.cell.home).sum(1))]


def put_arm(task: ToteBreakdown, joints: np.ndarray, worlds: object = (0,)) -> None:
    """Set arms to `joints` (6,) [rad], at rest."""
    ids = np.asarray(worlds)
    cell = task.cell
    cell.worlds.qpos[np.ix_(ids, cell.scene.arm_qpos)] = joints
    cell.worlds.ctrl[np.ix_(ids, np.arange(6))] = joints
    cell.servo.reset(np.broadcast_to(joints, (len(ids), 6)), ids)
    cell.worlds.forward(ids)


def happened(task: ToteBreakdown, world: int = 0) -> list[tuple[int, str]]:
    """Return (part, event) of a world, in order, without the stages."""
    return [(e["part"], e["event"]) for e in task.events[world] if "part" in e]


# Short jobs, one of each sort: what carries, folds, looks and stacks, each in the tote where it goes fastest.
JOBS = (
    {"tote.kind": 2, "part.count": 1, "stage.last": STACK, "pile.count": 1},  # all of it
    {"tote.kind": FOLDING, "stage.first": BREAK_DOWN, "stage.last": BREAK_DOWN},
    {"tote.kind": 0, "stage.first": STACK, "pile.count": 2},  # hung on the vacuum pad by a wall
    {"tote.kind": FOLDING, "stage.first": STACK, "pile.count": 1},  # hung on it by the topmost wall
    {"tote.kind": 1, "stage.first": STACK, "pile.count": 0},  # pinched by its rim
    {"tote.kind": 0, "part.count": 2, "stage.last": DECANT},
    {"tote.kind": 3, "stage.first": CHECK, "stage.last": STACK},
    {"tote.kind": FOLDING, "stage.first": CHECK, "stage.last": CHECK},
)


def jobs(n: int = len(JOBS)) -> Rows:
    """Return `n` short jobs with the nominal sensor noise and small shifts, those of JOBS in turn."""
    columns: dict[str, object] = {}
    plain = {"tote.kind": 0, "part.count": 2, "stage.first": DECANT, "stage.last": STACK, "pile.count": 1}
    for name, usual in plain.items():
        columns[name.replace(".", "__")] = [JOBS[k % len(JOBS)].get(name, usual) for k in range(n)]
    shift = np.sin(np.arange(3 * n) * 1.7).reshape(n, 3)
    nominal = {f"sensor__{name}_noise": SETTINGS.knobs.nominal(f"sensor.{name}_noise") for name in NOISES}
    return tote_rows(
        n, **columns, **nominal, tote__position=0.01 * shift[:, :2], tote__yaw=0.03 * shift[:, 2],
        test__direction=shift[:, 0], arm__latency=0.02 + 0.02 * shift[:, 1],
    )  # fmt: skip


@functools.cache
def short_jobs() -> Rows:
    """Return one job of each sort."""
    return jobs()
