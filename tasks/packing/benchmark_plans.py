"""Plans of the BED-BPP benchmark, and what of them a cell can stack.

The benchmark's plans leave no gaps between cartons, reach up to 3.5 m and stick out of the pallet
(https://github.com/floriankagerer/bed-bpp-env), so `executable` keeps what an arm can place and plans the rest anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assets.errors import InputError
from tasks.packing.orders import Carton, Order, carton_of_item, read_json
from tasks.packing.planner import Placed, Reachable, Weights, plan_order
from tasks.packing.plans import Placement, Plan, extents, place
from tasks.packing.stacking import Floats, Load, Rules

BENCHMARK_DECK = (1.2, 0.8)  # [m], the origin of the benchmark's coordinates is its corner


@dataclass(frozen=True)
class PlannedItem:
    """One carton of a benchmark plan.

    Attributes:
        sequence: number of the item in its order.
        carton: its goods, size and mass.
        position: centre of its base in the pallet frame [m].
        yaw: 0 or pi/2 [rad]; 0: its length lies along the pallet's x axis.
    """

    sequence: int
    carton: Carton
    position: tuple[float, float, float]
    yaw: float


@dataclass(frozen=True)
class Executable:
    """What became of a benchmark plan.

    Attributes:
        plan: the first pallet is the benchmark's, the further ones are our planner's.
        moved: index of each carton that left the benchmark's pallet, and why.
        scale: by which the positions were spread about the pallet's centre.
        shift: by which the load was then moved along x and y [m].
    """

    plan: Plan
    moved: tuple[tuple[int, str], ...]
    scale: float
    shift: tuple[float, float]


def read_bedbpp_plans(path: str | Path) -> dict[str, list[PlannedItem]]:
    """Read the plans of a file, by name of the order.

    Each plan is a list of {item, flb_coordinates [mm], orientation}: front-left-bottom corner, and 1 where the item is
    turned by 90 degrees.

    Raises:
        InputError: the file is missing or malformed.
    """
    path = Path(path)
    plans = {}
    for name, entries in read_json(path).items():
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{path}: plan {name}: a list of at least one item with its place is needed")
        plans[name] = [_item(entry, f"plan {name}, item {number}", path) for number, entry in enumerate(entries, 1)]
    return plans


def executable(
    items: Sequence[PlannedItem],
    order: Order,
    *,
    rules: Rules | None = None,
    weights: Weights | None = None,
    reachable: Reachable | None = None,
    max_pallets: int = 9,
    max_scale: float = 1.06,
    overhang: float | None = None,
) -> Executable:
    """Make a benchmark plan executable.

    The cartons are spread about the centre of the pallet by the smallest scale that opens the gap of the rules between
    all side-by-side cartons (at most `max_scale`), and the load is centred if it sticks out less then. A carton that
    still breaks a rule, that cannot be reached, or that the benchmark left out goes to further pallets, which our
    planner fills. The benchmark's own choice of what stands on what is kept: its pallet may be slender, and heavier
    cartons may stand on lighter ones.

    Args:
        items: the benchmark's plan.
        order: the order that it was made for.
        rules: hard rules; for the first pallet those on masses and slenderness are dropped.
        weights: of our planner.
        reachable: as in `plan_order`.
        max_pallets: most pallets, the first one included.
        max_scale: largest spread.
        overhang: how far the benchmark's cartons may stick out [m]; as the rules say by default.

    Raises:
        InputError: the plan does not belong to the order, or no pallet can hold any of it.
    """
    rules = rules or Rules()
    indices = _indices(items, order)
    sizes = np.array([extents(item.carton, item.yaw) for item in items])
    places = np.array([item.position for item in items])
    scale = _spread(places, sizes, rules.gap, max_scale)
    places[:, :2] *= scale
    lenient = replace(
        rules, mass_ratio=math.inf, slenderness=math.inf, overhang=rules.overhang if overhang is None else overhang
    )
    shift = _centring(places, sizes, lenient)
    places[:, :2] += shift
    load, kept, placed = Load(len(items), lenient), [], Placed()
    moved: list[tuple[int, str]] = []
    for item, index, (x, y, z) in zip(items, indices, places, strict=True):
        placement = Placement(index, (float(x), float(y), float(z)), item.yaw)
        if reachable is not None and not reachable(item.carton, placement, placed):
            reasons = ["the arm does not reach it"]
        else:
            reasons = place(load, item.carton, placement, only_if_ok=True)
        if reasons:
            moved.append((index, "; ".join(reasons)))
        else:
            kept.append(placement)
            placed.append((item.carton, placement))
    moved += [(i, "not in the benchmark's plan") for i in range(len(order.cartons)) if i not in set(indices)]
    pallets, unplaced = ([tuple(kept)] if kept else []), []
    if moved and max_pallets > len(pallets):
        rest = Order(order.name, tuple(order.cartons[i] for i, _ in moved))
        try:
            further = plan_order(
                rest, rules=rules, weights=weights, reachable=reachable, max_pallets=max_pallets - len(pallets)
            )
        except InputError:
            if not kept:
                raise
            further = Plan((), tuple((i, f"no further pallet can hold it: {why}") for i, (_, why) in enumerate(moved)))
        pallets += [tuple(replace(p, carton=moved[p.carton][0]) for p in pallet) for pallet in further.pallets]
        unplaced = [(moved[i][0], reason) for i, reason in further.unplaced]
    elif moved:
        unplaced = moved
    return Executable(Plan(tuple(pallets), tuple(unplaced)), tuple(moved), scale, (float(shift[0]), float(shift[1])))


def _item(entry: Any, where: str, path: Path) -> PlannedItem:
    if not isinstance(entry, dict) or not {"item", "flb_coordinates", "orientation"} <= entry.keys():
        raise InputError(f"{path}: {where}: an object with item, flb_coordinates and orientation is needed")
    carton, turned = carton_of_item(entry["item"], where, path)
    try:
        x, y, z = (float(value) / 1000 for value in entry["flb_coordinates"])
        sequence = int(entry["item"]["sequence"])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: {where}: three flb_coordinates [mm] and a whole sequence number are needed"
        ) from None
    if entry["orientation"] not in (0, 1) or not all(math.isfinite(value) for value in (x, y, z)):
        raise InputError(f"{path}: {where}: orientation 0 or 1 and finite flb_coordinates are needed")
    # The benchmark's yaw is that of the item as listed; our length is always the longer side.
    yaw = math.pi / 2 if (entry["orientation"] == 1) != turned else 0.0
    size = extents(carton, yaw)
    corner = (x - BENCHMARK_DECK[0] / 2 + size[0] / 2, y - BENCHMARK_DECK[1] / 2 + size[1] / 2, z)
    return PlannedItem(sequence, carton, (float(corner[0]), float(corner[1]), z), yaw)


def _indices(items: Sequence[PlannedItem], order: Order) -> list[int]:
    """The index of each item into the order's cartons, which are sorted by sequence number."""
    indices = []
    for item in items:
        index = item.sequence - 1
        if not 0 <= index < len(order.cartons) or order.cartons[index] != item.carton or index in indices:
            raise InputError(
                f"order {order.name}: the plan's item {item.sequence} ({item.carton.article}) is not the order's; "
                "give the plan that was made for this order"
            )
        indices.append(index)
    return indices


def _spread(places: Floats, sizes: Floats, gap: float, max_scale: float) -> float:
    """The smallest scale of xy, from 1 to `max_scale`, that opens `gap` between all cartons at the same height."""
    i, j = np.triu_indices(len(places), 1)
    low, high = places[:, 2], places[:, 2] + sizes[:, 2]
    beside = np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]) > 1e-6
    i, j = i[beside], j[beside]
    apart = np.abs(places[i, :2] - places[j, :2])
    wanted = (sizes[i, :2] + sizes[j, :2]) / 2 + gap
    with np.errstate(divide="ignore"):
        scales = np.where(apart > 0, wanted / apart, np.inf).min(axis=1)  # one axis is enough to part two cartons
    return float(np.clip(scales.max(initial=1.0) + 1e-9, 1.0, max_scale))


def _centring(places: Floats, sizes: Floats, rules: Rules) -> Floats:
    """The shift [m], shape (2,), that centres the load along the axes where it sticks out of the deck."""
    # Only what the height limit leaves on the pallet counts.
    stays = places[:, 2] + sizes[:, 2] <= rules.height_limit - rules.deck_height
    if not stays.any():
        return np.zeros(2)
    low, high = (places - sizes / 2)[stays, :2].min(axis=0), (places + sizes / 2)[stays, :2].max(axis=0)
    deck = np.array(rules.pallet_size) / 2 + rules.overhang
    sticks_out = (low < -deck) | (high > deck)
    return np.where(sticks_out, -(low + high) / 2, 0.0)
