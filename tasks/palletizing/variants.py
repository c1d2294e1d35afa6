"""Variants of palletizing: rows with an order and its packing plan in them, ready to run.

A variation, or a real order, gives rows; planning says which carton stands where and in which sequence. Both end up in
the same table: slot k of a row is the k-th carton to be placed, `plan.position` and `plan.yaw` say where. So a row is
all that a world needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from assets.errors import InputError
from assets.gripper import Cups
from sim.cartons import CARTON_KNOBS
from sim.cell_knobs import CELL_KNOBS, camera_knobs
from sim.knobs import Knob, Knobs, Rows
from sim.variations import Variation
from tasks.packing.benchmark_plans import Executable, PlannedItem, executable
from tasks.packing.orders import Carton, Order, check_order
from tasks.packing.planner import plan_order
from tasks.packing.plans import Plan
from tasks.packing.stacking import Rules
from tasks.palletizing.cell import Layout

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
    knobs = CARTON_KNOBS + CELL_KNOBS + camera_knobs("cell") + camera_knobs("wrist") + PALLETIZING_KNOBS
    return Knobs(knobs, {"slot": slots, "joint": 6})


@dataclasses.dataclass(frozen=True)
class Planner:
    """The packing planner with the arm's reach: what may stand where in this cell."""

    layout: Layout

    @property
    def rules(self) -> Rules:
        """The stacking rules of this cell."""
        return Rules(height_limit=self.layout.height_limit)

    def check(self, order: Order) -> None:
        """Raise InputError for a carton that this cell cannot handle."""
        check_order(
            order,
            pallet_size=self.rules.pallet_size,
            max_mass=self.layout.max_carton_mass,
            max_length=Cups().max_carton_length,
        )

    def plan(self, order: Order) -> Plan:
        """Plan the loads of an order."""
        return plan_order(order, rules=self.rules, reachable=self.layout.reach)

    def follow(self, items: Sequence[PlannedItem], order: Order) -> Executable:
        """Make a given plan executable; what this cell cannot do as planned goes to further pallets.

        A given plan may stick out of the pallet a little, as the benchmark's do; our own loads do not.
        """
        return executable(items, order, rules=self.rules, reachable=self.layout.reach, overhang=GIVEN_OVERHANG)


GIVEN_OVERHANG = 0.06  # [m]
PALLETS_PER_ORDER = 100  # variant number = order number * 100 + pallet


def plan_rows(rows: Rows, planner: Planner, slots: int, *, first_only: bool = False) -> Rows:
    """Plan every row's order: a row for each pallet that it takes (or for its first one).

    Args:
        rows: a row an order, cartons as drawn.
        planner: of this cell.
        slots: of the rows that come out.
        first_only: leave further pallets out.
    """
    columns = {k: v.copy() for k, v in rows.columns.items()}
    # A carton's length is its longer side.
    columns["carton.size"][..., :2] = np.sort(columns["carton.size"][..., :2], axis=-1)[..., ::-1]
    rows = Rows(rows.knobs, columns, rows.seed, rows.numbers)
    out = [_pallet_rows(rows.take([i]), planner.plan(order_of_row(rows, i)), slots) for i in range(len(rows))]
    return _joined([pallets[0] for pallets in out] if first_only else [row for pallets in out for row in pallets])


def order_of_row(rows: Rows, i: int) -> Order:
    """Return the order that row `i` holds."""
    count = int(rows["carton.count"][i])
    sizes, masses = rows["carton.size"][i, :count].tolist(), rows["carton.mass"][i, :count].tolist()
    cartons = tuple(Carton(f"carton {k}", tuple(s), m) for k, (s, m) in enumerate(zip(sizes, masses, strict=True)))
    return Order(f"variant {rows.numbers[i]}", cartons)


def rows_of_order(order: Order, plan: Plan, variation: Variation, seed: int, draws: int, slots: int) -> Rows:
    """Return rows for every pallet of a planned order, `draws` times.

    The order fixes sizes and masses, the variation draws everything else; `variation` has as many slots as the
    order has cartons.
    """
    rows = variation.sample(seed, np.arange(draws))
    columns = dict(rows.columns)
    count = len(order.cartons)
    columns["carton.count"] = np.full(draws, float(count))
    columns["carton.size"] = np.broadcast_to(np.array([c.size for c in order.cartons]), (draws, count, 3))
    columns["carton.mass"] = np.broadcast_to(np.array([c.mass for c in order.cartons]), (draws, count))
    rows = Rows(rows.knobs, columns, seed, rows.numbers)
    made = _joined([row for i in range(draws) for row in _pallet_rows(rows.take([i]), plan, slots)])
    made.check(f"order {order.name}")
    return made


def _pallet_rows(row: Rows, plan: Plan, slots: int) -> list[Rows]:
    """Return a row for each pallet of the plan, its slots in placing order."""
    knobs = palletizing_knobs(slots)
    before = row.knobs.axes["slot"]
    made = []
    for pallet, placements in enumerate(plan.pallets):
        n = len(placements)
        if n > slots:
            raise InputError(f"pallet {pallet + 1} holds {n} cartons, the scene has {slots} slots: set slots={n}")
        # Slots beyond the load are filled with any cartons: they stay parked.
        filler = np.arange(slots - n) % before
        order = np.concatenate([np.array([p.carton for p in placements], dtype=np.int64), filler])
        columns = {}
        for name, column in row.columns.items():
            per_slot = knobs[name].shape[:1] == ("slot",)
            columns[name] = column[:, order].copy() if per_slot else column.copy()
        columns["carton.count"][0] = n
        columns["pallet.prefill"][0] = min(columns["pallet.prefill"][0], n)
        columns["plan.position"][0, :n] = [p.position for p in placements]
        columns["plan.yaw"][0, :n] = [p.yaw for p in placements]
        columns["plan.pallet"][0] = pallet
        columns["plan.left_over"][0] = sum(len(p) for p in plan.pallets[pallet + 1 :]) + len(plan.unplaced)
        made.append(Rows(knobs, columns, row.seed, row.numbers * PALLETS_PER_ORDER + pallet))
    return made


def _joined(parts: list[Rows]) -> Rows:
    columns = {k: np.concatenate([p.columns[k] for p in parts]) for k in parts[0].columns}
    return Rows(parts[0].knobs, columns, parts[0].seed, np.concatenate([p.numbers for p in parts]))
