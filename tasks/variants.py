"""Variants of palletizing: rows with an order and its packing plan in them, ready to run.

A variation, or a real order, gives rows; planning says which carton stands where and in which sequence. Both end up in
the same table: slot k of a row is the k-th carton to be placed, `plan.position` and `plan.yaw` say where. So a row is
all that a world needs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import yaml

from assets.errors import InputError, unknown
from sim.cell_knobs import CELL_KNOBS, camera_knobs
from sim.knobs import Knob, Knobs, Rows
from sim.variations import Variation
from tasks.cell import Layout
from tasks.orders import Carton, Order
from tasks.planner import plan_order
from tasks.plans import Placement, Plan
from tasks.stacking import Rules

PALLETIZING_KNOBS = (
    Knob("carton.arrival_offset", "m", -0.08, 0.08, 0.0, "sideways offset on the conveyor", ("slot",)),
    Knob("carton.arrival_yaw", "rad", -0.30, 0.30, 0.0, "turn on the conveyor", ("slot",)),
    Knob("conveyor.speed", "m/s", 0.2, 0.8, 0.5, "speed of the belt"),
    Knob("pallet.prefill", "1", 0, 64, 0, "cartons that already stand on the pallet at the start", integer=True),
    Knob("test.direction", "rad", -np.pi, np.pi, 0.0, "heading of the tilt and of the horizontal pulse"),
    Knob("plan.position", "m", -3.0, 3.0, 0.0, "planned centre of the carton's base in the pallet frame", ("slot", 3)),
    Knob("plan.yaw", "rad", 0.0, np.pi, 0.0, "planned heading in the pallet frame", ("slot",)),
    Knob("plan.pallet", "index", 0, 63, 0, "which pallet of its order this load is", integer=True),
    Knob("plan.left_over", "1", 0, 999, 0, "cartons of the order that go to further pallets", integer=True),
)  # fmt: skip


def palletizing_knobs(slots: int) -> Knobs:
    """Return the knobs of the palletizing cell with `slots` cartons."""
    knobs = CELL_KNOBS + camera_knobs("cell") + camera_knobs("wrist") + PALLETIZING_KNOBS
    return Knobs(knobs, {"slot": slots, "joint": 6})


def variation_named(name: str, knobs: Knobs) -> Variation:
    """Return a variation of `conf/variation`, e.g. "nominal"; InputError names the nearest ones if there is none."""
    folder = Path(__file__).parents[1] / "conf" / "variation"
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in known:
        raise unknown("variation", name, known)
    return Variation.parse(name, yaml.safe_load((folder / f"{name}.yaml").read_text()), knobs)


@dataclasses.dataclass(frozen=True)
class Planner:
    """The packing planner with the arm's reach: what may stand where."""

    layout: Layout

    @property
    def rules(self) -> Rules:
        """The stacking rules of this cell."""
        return Rules(height_limit=self.layout.height_limit)

    def plan(self, order: Order) -> Plan:
        """Plan the loads of an order."""
        return plan_order(order, rules=self.rules, reachable=self.layout.reach)


def plan_rows(rows: Rows, planner: Planner) -> Rows:
    """Plan every row's load and bring its slots into placing order.

    What does not fit on the first pallet leaves the row and is counted in `plan.left_over`.
    """
    columns = {k: v.copy() for k, v in rows.columns.items()}
    # A carton's length is its longer side.
    columns["carton.size"][..., :2] = np.sort(columns["carton.size"][..., :2], axis=-1)[..., ::-1]
    rows = Rows(rows.knobs, columns, rows.seed, rows.numbers)
    columns = {k: v.copy() for k, v in rows.columns.items()}
    for i in range(len(rows)):
        count = int(rows["carton.count"][i])
        cartons = tuple(
            Carton(f"slot {k}", (float(s[0]), float(s[1]), float(s[2])), float(m))
            for k, (s, m) in enumerate(
                zip(rows["carton.size"][i, :count], rows["carton.mass"][i, :count], strict=True)
            )
        )
        placements = planner.plan(Order(f"variant {rows.numbers[i]}", cartons)).pallets[0]
        _arrange(columns, i, placements, rows.knobs)
        columns["plan.left_over"][i] = count - len(placements)
    return Rows(rows.knobs, columns, rows.seed, rows.numbers)


def _arrange(columns: dict[str, np.ndarray], i: int, placements: tuple[Placement, ...], knobs: Knobs) -> None:
    """Put row i's slots into placing order and write the plan into it; slots that are not placed come last."""
    slots = knobs.axes["slot"]
    sequence = [p.carton for p in placements]
    order = np.array(sequence + [k for k in range(slots) if k not in set(sequence)])
    for name, column in columns.items():
        if knobs[name].shape[:1] == ("slot",) and not name.startswith("plan."):
            column[i] = column[i][order]
    columns["carton.count"][i] = len(placements)
    columns["pallet.prefill"][i] = min(columns["pallet.prefill"][i], len(placements))
    columns["plan.position"][i, : len(placements)] = [p.position for p in placements]
    columns["plan.yaw"][i, : len(placements)] = [p.yaw for p in placements]


def rows_of_order(
    order: Order, plan: Plan, variation: Variation, seed: int, numbers: np.ndarray
) -> tuple[Rows, list[tuple[int, int]]]:
    """Return rows for every pallet of a planned order, `len(numbers)` draws of the variation for each.

    The order fixes sizes and densities; the variation draws everything else. Variant `numbers[k] * pallets + p` is draw k
    of pallet p.

    Raises:
        InputError: a pallet holds more cartons than the scene has slots.
    """
    knobs, slots = variation.knobs, variation.knobs.axes["slot"]
    pallets = len(plan.pallets)
    all_numbers = (np.asarray(numbers)[:, None] * pallets + np.arange(pallets)).reshape(-1)
    rows = variation.sample(seed, all_numbers)
    columns = {k: v.copy() for k, v in rows.columns.items()}
    which = []
    for i in range(len(rows)):
        pallet = int(all_numbers[i]) % pallets
        placements = plan.pallets[pallet]
        if len(placements) > slots:
            raise InputError(
                f"order {order.name}: pallet {pallet + 1} holds {len(placements)} cartons, the scene has {slots} slots"
            )
        for slot, placement in enumerate(placements):
            carton = order.cartons[placement.carton]
            columns["carton.size"][i, slot] = carton.size
            columns["carton.mass"][i, slot] = carton.mass
        columns["carton.count"][i] = len(placements)
        columns["pallet.prefill"][i] = 0
        columns["plan.position"][i, : len(placements)] = [p.position for p in placements]
        columns["plan.yaw"][i, : len(placements)] = [p.yaw for p in placements]
        columns["plan.pallet"][i] = pallet
        columns["plan.left_over"][i] = sum(len(p) for p in plan.pallets[pallet + 1 :]) + len(plan.unplaced)
        which.append((int(all_numbers[i]) // pallets, pallet))
    rows = Rows(knobs, columns, seed, all_numbers)
    rows.check(f"order {order.name}")
    return rows, which
