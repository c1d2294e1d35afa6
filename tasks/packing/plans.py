"""Packing plans: which carton stands where, on which pallet; their JSON form and their check against the rules."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.errors import InputError
from tasks.packing.orders import Carton, Order
from tasks.packing.stacking import Floats, Load, Rules


@dataclass(frozen=True)
class Placement:
    """Where a carton stands.

    Attributes:
        carton: index into the order's cartons.
        position: centre of the carton's base in the pallet frame [m].
        yaw: 0 or pi/2 [rad]; 0: its length lies along the pallet's x axis.
    """

    carton: int
    position: tuple[float, float, float]
    yaw: float


@dataclass(frozen=True)
class Plan:
    """The loads of an order.

    Attributes:
        pallets: for each pallet its placements, in placing order.
        unplaced: the index of each carton that is on no pallet, and why.
    """

    pallets: tuple[tuple[Placement, ...], ...]
    unplaced: tuple[tuple[int, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain lists and numbers, fit for JSON."""
        return {
            "pallets": [
                [{"carton": p.carton, "position": list(p.position), "yaw": p.yaw} for p in pallet]
                for pallet in self.pallets
            ],
            "unplaced": [[carton, reason] for carton, reason in self.unplaced],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Plan":
        """The plan that `to_dict` wrote down; raises InputError if `content` is something else."""
        try:
            pallets = tuple(tuple(_placement(entry) for entry in pallet) for pallet in content["pallets"])
            unplaced = tuple((int(carton), str(reason)) for carton, reason in content["unplaced"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"malformed plan ({type(error).__name__}: {error}); pallets with carton, position (3), yaw and "
                "unplaced with carton, reason are needed"
            ) from None
        return cls(pallets, unplaced)


def extents(carton: Carton, yaw: float) -> Floats:
    """Extents of a carton along the pallet's x, y, z [m], shape (3,)."""
    length, width, height = carton.size
    return np.array([length, width, height] if math.cos(yaw) > 0.5 else [width, length, height])


def lower_corner(carton: Carton, placement: Placement) -> Floats:
    """The placed carton's corner of least x, y, z in the pallet frame [m], shape (3,)."""
    size = extents(carton, placement.yaw)
    return np.array(placement.position) - (size[0] / 2, size[1] / 2, 0.0)


def check_plan(plan: Plan, order: Order, rules: Rules | None = None) -> list[str]:
    """Every way in which a plan breaks the rules, one line each; an empty list for a good plan.

    The cartons are placed one after the other, so the check covers what is in the arm's way, too.
    """
    rules = rules or Rules()
    counts = np.zeros(len(order.cartons), dtype=np.int64)
    for carton in [*(p.carton for pallet in plan.pallets for p in pallet), *(carton for carton, _ in plan.unplaced)]:
        if not 0 <= carton < len(order.cartons):
            return [f"carton {carton} is not in order {order.name}, which has {len(order.cartons)}"]
        counts[carton] += 1
    found = [f"carton {i} occurs {counts[i]} times, not once" for i in np.flatnonzero(counts != 1)]
    for number, pallet in enumerate(plan.pallets, 1):
        load = Load(len(pallet), rules)
        for placement in pallet:
            where = f"pallet {number}, carton {placement.carton}"
            found += [f"{where}: {line}" for line in place(load, order.cartons[placement.carton], placement)]
    return found


def load_of(order: Order, pallet: Sequence[Placement], rules: Rules) -> Load:
    """The load that the placements of one pallet make."""
    load = Load(len(pallet), rules)
    for placement in pallet:
        place(load, order.cartons[placement.carton], placement)
    return load


def place(load: Load, carton: Carton, placement: Placement, *, only_if_ok: bool = False) -> list[str]:
    """Add a carton to a load and name the rules that it breaks; with `only_if_ok`, add it only if there are none."""
    rules = load.rules
    low, size = lower_corner(carton, placement), extents(carton, placement.yaw)
    found = load.examine(low[None], size[None], carton.mass, np.array([math.cos(placement.yaw) > 0.5]))
    limit = rules.height_limit - rules.deck_height
    lines = []
    if low[2] < -1e-6:
        lines.append(f"reaches {-low[2] * 1000:.0f} mm into the deck")
    if found.top[0] > limit + 1e-6:
        lines.append(f"top at {found.top[0]:.3f} m above the deck, the limit is {limit:.3f} m")
    if found.overhang[0] > rules.overhang + 1e-6:
        lines.append(f"overhang {found.overhang[0] * 1000:.0f} mm, the limit is {rules.overhang * 1000:.0f} mm")
    if found.gap[0] < -1e-6:
        lines.append("overlaps another carton")
    elif found.gap[0] < rules.gap - 1e-6:
        lines.append(f"gap of {found.gap[0] * 1000:.1f} mm to a neighbour, {rules.gap * 1000:.1f} mm are needed")
    if found.covered[0]:
        lines.append("a placed carton is above it")
    if found.gripper_hits[0]:
        lines.append("a taller neighbour is in the gripper's way")
    if found.support[0] < rules.support - 1e-6:
        lines.append(f"{found.support[0]:.0%} of the base is supported, {rules.support:.0%} are needed")
    elif not found.centered[0]:
        lines.append("the centre of mass is not over the support")
    if found.mass_ratio[0] > rules.mass_ratio + 1e-6:
        lines.append(f"{found.mass_ratio[0]:.2f} times as heavy as a carton below, the limit is {rules.mass_ratio:.2f}")
    if low[2] > rules.level and found.support[0] > 0 and found.slenderness[0] > rules.slenderness + 1e-6:
        lines.append(f"completes a pile of slenderness {found.slenderness[0]:.2f}, the limit is {rules.slenderness}")
    if not (only_if_ok and lines):
        load.add(low, size, carton.mass, found, 0)
    return lines


def _placement(entry: Mapping[str, Any]) -> Placement:
    x, y, z = (float(value) for value in entry["position"])
    return Placement(int(entry["carton"]), (x, y, z), float(entry["yaw"]))
