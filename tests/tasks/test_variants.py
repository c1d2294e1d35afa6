"""Variants: rows for every pallet of an order, in placing order, and what is left over."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import SETTINGS, SMALL

from assets.errors import InputError
from sim.knobs import Rows
from sim.variations import Variation
from tasks.families import variation_named
from tasks.packing.benchmark_plans import read_bedbpp_plans
from tasks.packing.orders import Carton, Order, read_orders
from tasks.packing.plans import Placement, Plan
from tasks.palletizing.cell import Layout
from tasks.palletizing.variants import (
    PALLETS_PER_ORDER,
    Planner,
    order_of_row,
    palletizing_knobs,
    plan_rows,
    rows_of_order,
)
from tasks.simulation import Settings, Source

CARTONS = tuple(Carton(f"c{k}", (0.5 - 0.01 * k, 0.3, 0.2 + 0.01 * k), 4.0 + k) for k in range(5))
ORDER = Order("five", CARTONS)
# Two pallets in an order of their own; carton 4 stays behind.
PLAN = Plan(
    pallets=(
        (Placement(2, (-0.3, 0.0, 0.0), 0.0), Placement(0, (0.3, 0.0, 0.0), np.pi / 2), Placement(3, (0, 0, 0.2), 0.0)),
        (Placement(1, (0.1, 0.1, 0.0), 0.0),),
    ),
    unplaced=((4, "no place"),),
)
ORDERS = os.environ.get("PALLETLAB_ORDERS")


def variation(slots: int, says: dict | None = None) -> Variation:
    return Variation.parse("test", says or {"carton": {"color": {"uniform": [0.5, 1.0]}}}, palletizing_knobs(slots))


def test_every_pallet_gets_a_row_with_its_cartons_in_placing_order() -> None:
    rows = rows_of_order(ORDER, PLAN, variation(5), seed=3, draws=2, slots=4)
    assert len(rows) == 4
    assert rows.numbers.tolist() == [0, 1, 100, 101]
    assert rows.seed == 3
    assert rows["plan.pallet"].tolist() == [0, 1, 0, 1]
    assert rows["carton.count"].tolist() == [3, 1, 3, 1]
    assert rows["plan.left_over"].tolist() == [2, 1, 2, 1]
    for row, pallet in ((0, 0), (1, 1), (2, 0), (3, 1)):
        for slot, placement in enumerate(PLAN.pallets[pallet]):
            carton = CARTONS[placement.carton]
            np.testing.assert_array_equal(rows["carton.size"][row, slot], carton.size)
            assert rows["carton.mass"][row, slot] == carton.mass
            np.testing.assert_array_equal(rows["plan.position"][row, slot], placement.position)
            assert rows["plan.yaw"][row, slot] == placement.yaw
    rows.check("here")


def test_what_is_drawn_per_carton_goes_with_the_carton() -> None:
    drawn = variation(5).sample(3, np.arange(2))
    rows = rows_of_order(ORDER, PLAN, variation(5), seed=3, draws=2, slots=4)
    for row, number, pallet in ((0, 0, 0), (1, 0, 1), (2, 1, 0)):
        for slot, placement in enumerate(PLAN.pallets[pallet]):
            wanted = drawn["carton.color"][number, placement.carton]
            np.testing.assert_array_equal(rows["carton.color"][row, slot], wanted)


def test_prefill_does_not_exceed_the_load() -> None:
    rows = rows_of_order(ORDER, PLAN, variation(5, {"pallet": {"prefill": 2}}), seed=0, draws=1, slots=4)
    assert rows["pallet.prefill"].tolist() == [2, 1]


def test_too_few_slots_are_told_with_the_number_that_is_needed() -> None:
    with pytest.raises(InputError, match="holds 3 cartons, the scene has 2 slots: set slots=3"):
        rows_of_order(ORDER, PLAN, variation(5), seed=0, draws=1, slots=2)


def test_planned_rows_number_their_pallets() -> None:
    says = {**SMALL, "carton": {**SMALL["carton"], "count": 4, "size": [0.6, 0.5, 0.5], "mass": 12.0}}
    low = Planner(Layout(height_limit=0.70))  # one layer of two cartons
    rows = plan_rows(Variation.parse("big", says, SETTINGS.knobs).sample(5, [7, 9]), low, 4)
    assert (
        rows["carton.count"].sum() + rows["plan.left_over"][rows["plan.pallet"] == rows["plan.pallet"].max()].sum() == 8
    )
    assert len(rows) >= 4
    numbers, pallet = rows.numbers // PALLETS_PER_ORDER, rows.numbers % PALLETS_PER_ORDER
    assert set(numbers.tolist()) == {7, 9}
    np.testing.assert_array_equal(pallet, rows["plan.pallet"])
    for number in (7, 9):
        mine = rows.take(np.flatnonzero(numbers == number))
        assert mine["plan.pallet"].tolist() == list(range(len(mine)))
        left = 4 - np.cumsum(mine["carton.count"])
        np.testing.assert_array_equal(mine["plan.left_over"], left)
    first = plan_rows(Variation.parse("big", says, SETTINGS.knobs).sample(5, [7, 9]), low, 4, first_only=True)
    assert first.numbers.tolist() == [700, 900]


def test_planning_is_the_same_whatever_is_planned_with_it() -> None:
    small = Variation.parse("small", SMALL, SETTINGS.knobs)
    planner = Planner(SETTINGS.layout)
    together = plan_rows(small.sample(2, np.arange(4)), planner, 4)
    for k in range(4):
        alone = plan_rows(small.sample(2, [k]), planner, 4)
        mine = together.take(np.flatnonzero(together.numbers // 100 == k))
        for name in mine.columns:
            assert mine[name].tobytes() == alone[name].tobytes()


def test_a_drawn_carton_is_turned_so_that_its_length_is_the_longer_side() -> None:
    says = {"carton": {"count": 1, "size": [0.3, 0.4, 0.2]}}
    rows = plan_rows(Variation.parse("turned", says, SETTINGS.knobs).sample(0, [0]), Planner(Layout()), 4)
    np.testing.assert_array_equal(rows["carton.size"][0, 0], [0.4, 0.3, 0.2])
    assert order_of_row(rows, 0).cartons[0].size == (0.4, 0.3, 0.2)


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    rows = rows_of_order(ORDER, PLAN, variation(5), seed=3, draws=2, slots=4)
    rows.to_parquet(tmp_path / "variants.parquet")
    again = Rows.from_parquet(tmp_path / "variants.parquet", rows.knobs)
    for name in rows.columns:
        assert rows[name].tobytes() == again[name].tobytes()
    assert (again.numbers == rows.numbers).all()


def test_a_source_gives_a_tables_rows_in_turn_and_a_variations_first_pallets() -> None:
    table = rows_of_order(ORDER, PLAN, variation(5), seed=3, draws=1, slots=4)
    settings = Settings(slots=4)
    assert Source(settings, table=table).rows(np.array([0, 1, 2, 5])).numbers.tolist() == [0, 1, 0, 1]
    drawn = Source(settings, Variation.parse("small", SMALL, settings.knobs), seed=2).rows(np.array([4, 1]))
    assert drawn.numbers.tolist() == [400, 100]


def test_unknown_variations_are_answered_with_the_nearest_names() -> None:
    with pytest.raises(InputError, match="nominal"):
        variation_named("nominall", SETTINGS.knobs, "palletizing")
    for name in ("nominal", "none"):
        assert len(variation_named(name, palletizing_knobs(24), "palletizing").sample(0, [0, 1])) == 2


def test_the_planner_refuses_what_the_cell_cannot_handle() -> None:
    planner = Planner(Layout())
    for carton, why in (
        (Carton("long", (0.9, 0.3, 0.2), 5.0), "long"),
        (Carton("heavy", (0.4, 0.3, 0.2), 19.0), "heavy"),
        (Carton("wide", (1.3, 0.3, 0.2), 5.0), "wide"),
    ):
        with pytest.raises(InputError, match=why):
            planner.check(Order("bad", (carton,)))


@pytest.mark.skipif(ORDERS is None, reason="PALLETLAB_ORDERS names no folder with the BED-BPP orders")
def test_the_real_orders_are_planned_whole() -> None:
    assert ORDERS is not None
    orders = read_orders(Path(ORDERS) / "bedbpp_orders.json")
    assert len(orders) == 3
    planner = Planner(Layout())
    for order in orders.values():
        planner.check(order)
        plan = planner.plan(order)
        placed = sorted(p.carton for pallet in plan.pallets for p in pallet)
        assert placed + sorted(k for k, _ in plan.unplaced) == list(range(len(order.cartons)))
        assert not plan.unplaced
        slots = max(map(len, plan.pallets))
        rows = rows_of_order(order, plan, variation(len(order.cartons)), seed=0, draws=1, slots=slots)
        assert len(rows) == len(plan.pallets)
        assert rows["carton.count"].sum() == len(order.cartons)
        assert rows["plan.left_over"][-1] == 0
        mass = sum(rows["carton.mass"][i, : int(n)].sum() for i, n in enumerate(rows["carton.count"]))
        assert mass == pytest.approx(sum(c.mass for c in order.cartons))


@pytest.mark.skipif(ORDERS is None, reason="PALLETLAB_ORDERS names no folder with the BED-BPP orders")
def test_the_published_plans_become_rows() -> None:
    assert ORDERS is not None
    orders = read_orders(Path(ORDERS) / "bedbpp_orders.json")
    plans = read_bedbpp_plans(Path(ORDERS) / "bedbpp_plans.json")
    for name, items in plans.items():
        made = Planner(Layout()).follow(items, orders[name])
        slots = max(map(len, made.plan.pallets))
        rows = rows_of_order(
            orders[name], made.plan, variation(len(orders[name].cartons)), seed=0, draws=1, slots=slots
        )
        assert rows["carton.count"].sum() + len(made.plan.unplaced) == len(orders[name].cartons)
