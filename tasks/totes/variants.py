"""Variants of tote breakdown: rows with a filled tote in them, ready to run.

A variation says which parts the tote holds; how they lie in it comes out of dropping them in, once, when the rows are
made. Where they came to rest stands in the row itself: a row is all that a world needs, and a reset is instantaneous.
"""

from __future__ import annotations

import functools

import numpy as np

from assets import folding_tote, totes
from assets.combi_tool import combi_cups
from assets.parts import pool
from sim.cell import Cell
from sim.cell_knobs import CELL_KNOBS, camera_knobs
from sim.knobs import Knob, Knobs, Rows
from sim.mujoco_worlds import MujocoWorlds
from sim.rotations import conjugate, multiply, rotate, yaw_quaternion
from sim.scene import compile_scene
from sim.totes import FOLDING, TOTE_KNOBS, Totes, pool_index, tote_mass
from sim.variations import stream
from tasks.totes.cell import TABLE_AT, ToteLayout, tote_scene

STAGES = ("decant", "check", "break_down", "stack")
DECANT, CHECK, BREAK_DOWN, STACK = range(len(STAGES))

TASK_KNOBS = (
    Knob("tote.position", "m", -0.05, 0.05, 0.0, "shift of the tote on its table, outwards and sideways", (2,)),
    Knob("tote.yaw", "rad", -0.15, 0.15, 0.0, "turn of the tote on its table"),
    Knob("pile.position", "m", -0.02, 0.02, 0.0, "shift of the pile on its dolly, outwards and sideways", (2,)),
    Knob("pile.yaw", "rad", -0.05, 0.05, 0.0, "turn of the pile on its dolly"),
    Knob("decant.pour", "index", 0, 1, 0, "pour the parts out, where tote and arm allow it", integer=True),
    Knob("check.left_over", "1", 0, 4, 0, "parts still in the tote where the check is the first stage", integer=True),
    Knob("test.direction", "rad", -np.pi, np.pi, 0.0, "heading of the tilt"),
    Knob("stage.first", "index", 0, STACK, DECANT, "stage to begin with: " + ", ".join(STAGES), integer=True),
    Knob("stage.last", "index", 0, STACK, STACK, "stage to end with", integer=True),
    Knob("fill.position", "m", -0.5, 0.5, 0.0, "where the part lies, in the tote's frame", ("slot", 3)),
    Knob("fill.rotation", "1", -1.0, 1.0, (1.0, 0.0, 0.0, 0.0), "how it is turned, a quaternion wxyz", ("slot", 4)),
)  # fmt: skip

FILL = 0.30  # share of a tote's inside that the parts' boxes may take
POURABLE = (
    "4280",
)  # high enough for the vacuum pad to hold a wall, small enough for it to hold the tote while it is tipped
POUR_MASS = 5.5  # [kg] of tote and parts that the pad holds by a wall while it is tipped
CHUNK = 8  # rows that settle at a time
LAYER_PERIODS, REST_PERIODS = 4, 16  # between layers of falling parts, and for all to come to rest
APART = 0.13  # [m] between parts that fall together


def tote_knobs(slots: int) -> Knobs:
    """Return the knobs of the tote cell with `slots` parts."""
    knobs = CELL_KNOBS + TOTE_KNOBS + camera_knobs("cell") + camera_knobs("wrist") + TASK_KNOBS
    return Knobs(knobs, {"slot": slots, "joint": 6, "wall": len(folding_tote.WALLS)})


def cavity(kind: int) -> tuple[tuple[float, float], float, float]:
    """Return length and width inside the open tote, and the heights of floor and rim above its underside [m]."""
    if kind == FOLDING:
        return folding_tote.INNER[:2], folding_tote.FLOOR_TOP, folding_tote.SIZE[2]
    (length, width, height), floor = totes.inner(totes.KINDS[kind])
    return (length, width), floor, floor + height


def tote_slot(goods: Totes, kind: np.ndarray) -> np.ndarray:
    """Return the slot of the tote that is worked on, for kinds (n,)."""
    return np.where(kind == FOLDING, goods.folding, goods.tote)


def fill_rows(drawn: Rows, layout: ToteLayout, slots: int, *, first_only: bool = False) -> Rows:
    """Return the rows with their totes filled: parts that do not fit are left out, the others lie where they fell."""
    del first_only  # a drawn row gives one row
    rows = _that_fit(drawn)
    parts = [_settled(rows.take(slice(k, k + CHUNK)), layout, slots) for k in range(0, len(rows), CHUNK)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in rows.columns}
    return Rows(rows.knobs, columns, rows.seed, rows.numbers)


def _that_fit(rows: Rows) -> Rows:
    """Leave out parts beyond what the tote holds, and pouring where it cannot be."""
    kind, count = rows["tote.kind"].astype(np.int64), rows["part.count"].copy()
    volume = _BOXES[pool_index(rows)].cumsum(axis=1)
    space = np.array([np.prod([*cavity(k)[0], cavity(k)[2] - cavity(k)[1]]) for k in kind])
    fits = np.maximum((volume <= FILL * space[:, None]).sum(axis=1), 1)
    count = np.minimum(np.minimum(count, fits), rows["part.family"].shape[1])
    there = np.arange(rows["part.family"].shape[1]) < count[:, None]
    masses = np.array([part.mass for part in pool()])[pool_index(rows)] * rows["part.mass"]
    heavy = np.where(there, masses, 0.0).sum(axis=1) + tote_mass(rows) > POUR_MASS
    possible = np.isin(kind, [totes.KINDS.index(k) for k in POURABLE]) & ~heavy
    return rows.replaced(part__count=count, decant__pour=np.where(possible, rows["decant.pour"], 0.0))


@functools.lru_cache(maxsize=2)
def _settling_cell(layout: ToteLayout, slots: int) -> Cell:
    return Cell(MujocoWorlds(compile_scene(tote_scene(layout, slots)), CHUNK), combi_cups())


def _settled(rows: Rows, layout: ToteLayout, slots: int) -> Rows:
    """Drop the parts of a few rows into their totes and write down where they come to rest."""
    cell, n = _settling_cell(layout, slots), len(rows)
    ids, count = np.arange(n), rows["part.count"].astype(np.int64)
    kind = rows["tote.kind"].astype(np.int64)
    cell.apply(rows, ids)
    tote = tote_slot(cell.scene.scene.goods, kind)  # pyright: ignore[reportArgumentType]
    place = layout.station(TABLE_AT, layout.table_height)
    cell.put(tote, np.tile(place, (n, 1)), np.zeros(n), ids)
    random = [stream(rows.seed, int(number), "fill") for number in rows.numbers]
    waiting = [list(range(count[k])) for k in range(n)]
    for _ in range(3):
        # Each row waits for its own parts only: it comes out the same whatever is filled beside it.
        filling = [k for k in range(n) if waiting[k]]
        while any(waiting):
            falling = [k for k in range(n) if waiting[k]]
            for k in falling:
                _drop_layer(cell, k, waiting[k], kind[k], place, random[k])
            _wait(cell, LAYER_PERIODS, ids[falling])
        _wait(cell, REST_PERIODS, ids[filling])
        inside = _inside(cell, tote, kind, ids, slots)
        # What bounced out falls once more.
        waiting = [[j for j in range(count[k]) if not inside[k, j]] for k in range(n)]
        if not any(waiting):
            break
    position, rotation = _in_tote(cell, tote, ids, slots)
    columns = {name: column.copy() for name, column in rows.columns.items()}
    columns["fill.position"], columns["fill.rotation"] = position, rotation
    for k in range(n):
        stay = [j for j in range(count[k]) if inside[k, j]]
        order = stay + [j for j in range(slots) if j not in stay]
        columns["part.count"][k] = len(stay)
        for name in columns:
            if rows.knobs[name].shape[:1] == ("slot",) and len(stay) < count[k]:
                columns[name][k] = columns[name][k, order]
        columns["fill.position"][k, len(stay) :], columns["fill.rotation"][k, len(stay) :] = 0.0, (1.0, 0.0, 0.0, 0.0)
    return Rows(rows.knobs, columns, rows.seed, rows.numbers)


def _drop_layer(
    cell: Cell, world: int, waiting: list[int], kind: int, place: np.ndarray, random: np.random.Generator
) -> None:
    """Let as many of the waiting parts fall as find room side by side above the tote's rim."""
    (length, width), _, rim = cavity(kind)
    nx, ny = max(1, int(length / APART)), max(1, int(width / APART))
    spots = [(i, j) for i in range(nx) for j in range(ny)]
    for i, j in (spots[k] for k in random.permutation(len(spots))[: len(waiting)]):
        slot = waiting.pop(0)
        at = np.array([((i + 0.5) / nx - 0.5) * length, ((j + 0.5) / ny - 0.5) * width])
        at += random.uniform(-0.15, 0.15, 2) * np.array([length / nx, width / ny])
        # Neighbours begin at different heights: their corners do not meet.
        height = rim + 0.06 + 0.13 * ((i + j) % 2)
        turn = random.standard_normal(4)
        turn /= np.sqrt((turn * turn).sum())
        where = place + np.array([at[0], at[1], height])
        cell.put(np.array([slot]), where[None], turn[None], np.array([world]))


def _wait(cell: Cell, periods: int, ids: np.ndarray) -> None:
    home = np.tile(cell.home, (len(ids), 1))
    for _ in range(periods):
        cell.advance(home, np.zeros(len(ids), bool), ids, np.zeros(len(ids)))


def _in_tote(cell: Cell, tote: np.ndarray, ids: np.ndarray, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the parts are (n, slots, 3) [m] and how they are turned (n, slots, 4), in the tote's frame."""
    position, rotation = cell.poses(ids)
    row = np.arange(len(ids))
    back = conjugate(rotation[row, tote])[:, None, :]
    return rotate(back, position[:, :slots] - position[row, tote][:, None]), multiply(back, rotation[:, :slots])


def _inside(cell: Cell, tote: np.ndarray, kind: np.ndarray, ids: np.ndarray, slots: int) -> np.ndarray:
    """Return (n, slots) whether each part's centre is inside the tote."""
    position, _ = _in_tote(cell, tote, ids, slots)
    return in_cavity(position, kind)


def in_cavity(position: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Return (n, slots) whether points (n, slots, 3) [m] of the tote's frame are inside open totes of a kind (n,)."""
    floor, rim = _FLOOR[kind][:, None], _RIM[kind][:, None]
    beside = (np.abs(position[..., :2]) < _HALF[kind][:, None, :]).all(-1)
    return beside & (position[..., 2] > floor - 0.01) & (position[..., 2] < rim + 0.02)


def place_in_tote(
    position: np.ndarray, rotation: np.ndarray, tote: np.ndarray, yaw: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn poses (n, slots, …) of the tote's frame into world poses, for totes at (n, 3) turned by (n,)."""
    turn = yaw_quaternion(yaw)[:, None, :]
    return rotate(turn, position) + tote[:, None, :], multiply(turn, rotation)


_BOXES = np.array([np.prod(part.points.max(axis=0) - part.points.min(axis=0)) for part in pool()])
_CAVITIES = [cavity(kind) for kind in range(len(totes.KINDS))]
_HALF = np.array([inside for inside, _, _ in _CAVITIES]) / 2
_FLOOR, _RIM = (np.array([values[i] for values in _CAVITIES]) for i in (1, 2))
