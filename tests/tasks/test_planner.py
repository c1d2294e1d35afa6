"""Plans: the rules, our planner, and the benchmark's plans made executable."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assets.errors import InputError
from tasks.packing.benchmark_plans import executable, read_bedbpp_plans
from tasks.packing.orders import Carton, Order, read_orders
from tasks.packing.planner import plan_order
from tasks.packing.plans import Placement, Plan, check_plan
from tasks.packing.stacking import Rules

CRATE = Carton("crate", (0.4, 0.3, 0.2), 8.0)
REAL = Path(os.environ.get("PALLETLAB_ORDERS", "nowhere"))


def random_order(seed: int) -> Order:
    rng = np.random.default_rng(seed)
    cartons = []
    for number in range(rng.integers(12, 25)):
        sides = sorted((rng.uniform(0.27, 0.6), rng.uniform(0.13, 0.4)), reverse=True)
        length, width, height = (round(float(side), 3) for side in (*sides, rng.uniform(0.11, 0.36)))
        density = math.exp(rng.uniform(math.log(87), math.log(749)))
        mass = float(np.clip(density * length * width * height, 0.5, 12.5))
        cartons.append(Carton(f"goods {number}", (length, width, height), mass))
    return Order(f"random {seed}", tuple(cartons))


def complaints(*placements: Placement, cartons: tuple[Carton, ...] = (CRATE, CRATE), rules: Rules | None = None) -> str:
    return "\n".join(check_plan(Plan((placements,)), Order("7", cartons), rules))


def test_check_names_each_broken_rule() -> None:
    floor = Placement(0, (0.0, 0.0, 0.0), 0.0)
    assert not complaints(floor, Placement(1, (0.0, 0.0, 0.2), 0.0))
    assert not complaints(floor, Placement(1, (0.0, 0.312, 0.0), 0.0), rules=Rules(overhang=0.1))
    assert "overlaps" in complaints(floor, Placement(1, (0.39, 0.0, 0.0), 0.0))
    assert "gap of 5.0 mm" in complaints(floor, Placement(1, (0.0, 0.305, 0.0), 0.0))
    assert "50% of the base" in complaints(floor, Placement(1, (0.2, 0.0, 0.2), 0.0))
    assert "0% of the base" in complaints(floor, Placement(1, (0.0, 0.0, 0.25), 0.0))
    assert "overhang 50 mm" in complaints(floor, Placement(1, (0.45, 0.0, 0.0), 0.0))
    assert "into the deck" in complaints(floor, Placement(1, (0.45, 0.0, -0.1), 0.0))
    assert "is above it" in complaints(Placement(1, (0.0, 0.0, 0.2), 0.0), floor)
    assert "the limit is 0.256" in complaints(floor, Placement(1, (0, 0, 0.2), 0.0), rules=Rules(height_limit=0.4))
    heavy = replace(CRATE, mass=12.0)
    assert "1.50 times as heavy" in complaints(floor, Placement(1, (0.0, 0.0, 0.2), 0.0), cartons=(CRATE, heavy))
    tower = replace(CRATE, size=(0.4, 0.1, 0.2))
    pile = (Placement(0, (0.0, 0.0, 0.0), 0.0), Placement(1, (0.0, 0.0, 0.2), 0.0))
    assert "slenderness 4.00" in complaints(*pile, cartons=(tower, tower))
    assert "occurs 2 times" in complaints(floor, floor)
    assert "occurs 0 times" in complaints(floor)
    assert "is not in order" in complaints(Placement(5, (0.0, 0.0, 0.0), 0.0))


def test_check_sees_a_tall_neighbour_in_the_grippers_way() -> None:
    tall, flat = Carton("tall", (0.4, 0.4, 0.36), 9.0), Carton("flat", (0.4, 0.13, 0.12), 3.0)
    beside = Placement(1, (0.0, 0.277, 0.0), 0.0)
    assert "gripper" in complaints(Placement(0, (0.0, 0.0, 0.0), 0.0), beside, cartons=(tall, flat))
    assert not complaints(beside, Placement(0, (0.0, 0.0, 0.0), 0.0), cartons=(tall, flat))


def test_a_carton_must_not_hang_beyond_its_support() -> None:
    # Three quarters of the base are supported, but all on one side of the centre.
    order = (CRATE, Carton("plank", (0.4, 0.3, 0.1), 4.0))
    spots = (Placement(0, (0.0, 0.0, 0.0), 0.0), Placement(1, (0.195, 0.0, 0.2), 0.0))
    assert "centre of mass" in complaints(*spots, cartons=order, rules=Rules(support=0.5))


@pytest.mark.parametrize("seed", range(12))
def test_random_orders_are_planned_completely(seed: int) -> None:
    order = random_order(seed)
    plan = plan_order(order)
    assert not check_plan(plan, order)
    assert not plan.unplaced
    assert len(plan.pallets) <= 4


def test_plans_are_reproducible_and_survive_json() -> None:
    order = random_order(3)
    plan = plan_order(order)
    assert plan == plan_order(order)
    assert plan == Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    with pytest.raises(InputError, match="malformed plan"):
        Plan.from_dict({"pallets": [[{"carton": 0}]]})


def test_even_cartons_make_layers() -> None:
    order = Order("7", (CRATE,) * 12)
    plan = plan_order(order)
    assert len(plan.pallets) == 1
    assert max(p.position[2] for p in plan.pallets[0]) <= 0.4 + 1e-9


def test_the_arm_is_asked() -> None:
    order = random_order(4)

    def reachable(carton: Carton, placement: Placement, placed: list[tuple[Carton, Placement]]) -> bool:
        assert all(spot.carton != placement.carton for _, spot in placed)
        return placement.position[0] < 0.2 and carton.mass < 12.0

    plan = plan_order(order, reachable=reachable)
    assert not check_plan(plan, order)
    assert all(placement.position[0] < 0.2 for pallet in plan.pallets for placement in pallet)
    assert {index for index, _ in plan.unplaced} == {i for i, c in enumerate(order.cartons) if c.mass >= 12.0}


def test_what_does_not_fit_is_reported() -> None:
    order = Order("7", (CRATE, replace(CRATE, size=(1.3, 0.3, 0.2)), replace(CRATE, size=(0.4, 0.3, 1.3))))
    plan = plan_order(order)
    assert [[p.carton for p in pallet] for pallet in plan.pallets] == [[0]]
    assert [index for index, _ in plan.unplaced] == [1, 2]
    assert "larger than the pallet" in plan.unplaced[0][1]
    assert "height limit" in plan.unplaced[1][1]
    with pytest.raises(InputError, match=r"order 7: no carton can be placed.*larger than the pallet"):
        plan_order(Order("7", order.cartons[1:2]))
    assert "no room" in plan_order(Order("7", (CRATE,) * 60), max_pallets=1).unplaced[0][1]


def item(sequence: int, corner: tuple[float, float, float], orientation: int = 0, **fields: float) -> dict[str, object]:
    goods = {"article": "crate", "length/mm": 400, "width/mm": 300, "height/mm": 200, "weight/kg": 8.0, **fields}
    return {"item": {**goods, "sequence": sequence}, "flb_coordinates": corner, "orientation": orientation}


def benchmark(folder: Path, *items: dict[str, object]) -> Path:
    path = folder / "plans.json"
    path.write_text(json.dumps({"7": items}))
    return path


def test_benchmark_plan_is_opened_and_kept(tmp_path: Path) -> None:
    spots = ((0, 0, 0), (400, 0, 0), (0, 300, 0), (0, 0, 200), (0, 0, 400), (0, 0, 1100), (700, 0, 200))
    items = read_bedbpp_plans(benchmark(tmp_path, *(item(i, spot) for i, spot in enumerate(spots, 1))))["7"]
    order = Order("7", (CRATE,) * 8)
    rules = Rules(overhang=0.02)
    made = executable(items, order, rules=rules)
    assert made.scale == pytest.approx(1.04)  # 300 mm to 312 mm
    assert [index for index, _ in made.moved] == [5, 6, 7]
    assert "limit" in made.moved[0][1]
    assert "supported" in made.moved[1][1]
    assert [p.carton for p in made.plan.pallets[0]] == [0, 1, 2, 3, 4]
    assert not check_plan(made.plan, order, replace(rules, slenderness=9.0))
    with pytest.raises(InputError, match="made for this order"):
        executable(items, Order("7", (replace(CRATE, mass=1.0),) * 8))


def test_benchmark_orientation(tmp_path: Path) -> None:
    turned = item(2, (800, 0, 0), **{"length/mm": 300, "width/mm": 400})
    items = read_bedbpp_plans(benchmark(tmp_path, item(1, (0, 0, 0), 1), turned))["7"]
    for planned, corner in zip(items, (0.0, 0.8), strict=True):
        assert planned.yaw == pytest.approx(math.pi / 2)
        assert planned.position == pytest.approx((corner - 0.6 + 0.15, -0.4 + 0.2, 0.0))


@pytest.mark.parametrize("change", [{"orientation": 2}, {"flb_coordinates": [1, 2]}, {"item": 3}, {"item": None}])
def test_malformed_benchmark_plan(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="plan 7, item 1"):
        read_bedbpp_plans(benchmark(tmp_path, item(1, (0, 0, 0)) | change))


@pytest.mark.skipif(
    not (REAL / "bedbpp_plans.json").is_file(), reason="PALLETLAB_ORDERS names no folder with real orders"
)
def test_real_orders() -> None:
    items = read_bedbpp_plans(REAL / "bedbpp_plans.json")
    for name, order in read_orders(REAL / "bedbpp_orders.json").items():
        plan = plan_order(order, tries=2, restarts=1)
        assert not check_plan(plan, order)
        assert not plan.unplaced
        made = executable(items[name], order)
        assert not made.plan.unplaced
        assert not check_plan(made.plan, order, Rules(mass_ratio=math.inf, slenderness=math.inf))
