"""Real orders for palletizing: which file, which order in it, whose plan; and the rows that come of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from assets.errors import InputError, unknown
from palletlab.cli import CHECKOUT
from sim.knobs import Rows
from sim.variations import Variation
from tasks.packing.orders import Order, read_orders
from tasks.packing.plans import Plan
from tasks.palletizing.variants import Planner, rows_of_order
from tasks.simulation import Settings


@dataclasses.dataclass(frozen=True)
class Planned:
    """An order and where its cartons go."""

    order: Order
    plan: Plan

    @property
    def slots(self) -> int:
        """Cartons on the fullest pallet."""
        return max(len(pallet) for pallet in self.plan.pallets)

    def rows(self, variation: Variation, seed: int, draws: int) -> Rows:
        """Return a row for every pallet, `draws` times; `variation` has as many slots as the order has cartons."""
        return rows_of_order(self.order, self.plan, variation, seed, draws, self.slots)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in plan.json."""
        return {"order": self.order.name, **self.plan.to_dict()}

    def boxes(self) -> list[list[dict[str, Any]]]:
        """Return the boxes of each pallet, as `palletlab.plan_figure` draws them; labels count the sequence from 0."""
        cartons = self.order.cartons
        return [
            [
                {
                    "center": (*p.position[:2], p.position[2] + cartons[p.carton].size[2] / 2),
                    "size": cartons[p.carton].size,
                    "yaw": p.yaw,
                    "mass": cartons[p.carton].mass,
                    "label": str(number),
                }
                for number, p in enumerate(pallet)
            ]
            for pallet in self.plan.pallets
        ]

    def say(self, console: Console) -> None:
        """Report which cartons stand on which pallet, and those that stand on none."""
        cartons = self.order.cartons
        for number, pallet in enumerate(self.plan.pallets, 1):
            mass = sum(cartons[p.carton].mass for p in pallet)
            console.print(
                f"order {self.order.name}, pallet {number}: {len(pallet)} of {len(cartons)} cartons, {mass:.1f} kg"
            )
        for carton, reason in self.plan.unplaced:
            console.print(f"carton {carton + 1} ({cartons[carton].article}) stands on no pallet: {reason}")


def planned_of(config: DictConfig, settings: Settings) -> Planned | None:
    """Return the order that the settings name, planned; None without one.

    Raises:
        InputError: the task stacks no orders, or no such order or plan, or one that cannot be stacked here.
    """
    if config.order is None:
        if config.plan is not None:
            raise InputError("plan= follows the plan of an order: give order= too")
        return None
    if settings.task != "palletizing":
        raise InputError(f"order= is for task=palletizing, {settings.task} stacks none")
    planner, order = Planner(settings.layout), _order_of(config)
    planner.check(order)
    return Planned(order, _plan_of(config, order, planner))


def _order_of(config: DictConfig) -> Order:
    path = Path(config.order)
    if not path.exists() and (CHECKOUT / path).exists():
        path = CHECKOUT / path  # the bundled examples, from any folder
    orders = read_orders(path)
    name = config.order_name
    if name is None:
        if len(orders) > 1:
            raise InputError(
                f"{path} holds {len(orders)} orders: choose with order_name={' or '.join(list(orders)[:5])}"
            )
        return next(iter(orders.values()))
    if str(name) not in orders:
        raise unknown("order", str(name), orders)
    return orders[str(name)]


def _plan_of(config: DictConfig, order: Order, planner: Planner) -> Plan:
    """Our own plan, or the given one as far as this cell can follow it."""
    if config.plan is None:
        return planner.plan(order)
    from tasks.packing.benchmark_plans import read_bedbpp_plans

    plans = read_bedbpp_plans(Path(config.plan))
    if order.name not in plans:
        raise unknown("plan of order", order.name, plans)
    followed = planner.follow(plans[order.name], order)
    for carton, reason in followed.moved:
        print(f"carton {carton + 1} goes to a further pallet: {reason}")
    return followed.plan
