"""Our packing planner: stacks an order on as few pallets as it takes, in loads that survive tilting and braking."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from assets.errors import InputError
from tasks.packing.orders import Carton, Order
from tasks.packing.plans import Placement, Plan, load_of
from tasks.packing.stacking import Bools, Findings, Floats, Load, Rules

Placed = list[tuple[Carton, Placement]]
Reachable = Callable[[Carton, Placement, Placed], bool]

_THIN = 1.7  # height over width of cartons that should be held by neighbours

_REACH_CHECKS = 6  # positions of a carton that are tried on the arm before the carton is put off


@dataclass(frozen=True)
class Weights:
    """What the planner likes; every term is a cost and about 1 large.

    Position of a carton: `top` height of its top [m]; `slender` slenderness of the pile it completes, squared, over its
    limit; `bare` share of the base that hangs free; `spare` share of the supporter's top that is left over; `apart`
    share of the sides without a near neighbour; `level` not making an area level with a neighbour; `inside` height
    times nearness to the middle (cartons at the edges first pack tightest); `border` a slender pile far from the middle
    along its thin direction; `brace` not holding up a slender neighbour.
    `row` is a limit, not a cost: cartons whose row of neighbours is more slender come off again (see
    `slenderness_of_rows`).
    Finished load: `left` share of the volume that did not fit; `lean` how easily cartons topple, row by row;
    `height` mean height of the mass [m].
    """

    top: float = 2.0
    slender: float = 0.6
    bare: float = 0.5
    spare: float = 0.3
    apart: float = 0.25
    level: float = 0.1
    inside: float = 0.6
    border: float = 3.0
    brace: float = 0.6
    row: float = 1.7
    left: float = 20.0
    lean: float = 1.0
    height: float = 0.5


def plan_order(
    order: Order,
    *,
    rules: Rules | None = None,
    weights: Weights | None = None,
    reachable: Reachable | None = None,
    max_pallets: int = 9,
    tries: int = 4,
    restarts: int = 2,
    seed: int = 0,
) -> Plan:
    """Plan the loads of an order; the same arguments give the same plan.

    Cartons are placed one by one at corner points of the load so far, in the order of a randomized priority; of several
    `tries` a pallet keeps the best load. What does not fit goes to the next pallet.

    Args:
        order: the cartons.
        rules: hard rules that every placement keeps.
        weights: preferences.
        reachable: says whether the arm can place a carton, given those already on the pallet (in its frame); called
            only for positions that keep all other rules, best first.
        max_pallets: most pallets to use.
        tries: loads to try per pallet.
        restarts: plans to try for the whole order; the one with fewest pallets, then the steadiest, is kept.
        seed: of the priorities.

    Raises:
        InputError: no carton of the order can be placed at all.
    """
    rules, weights = rules or Rules(), weights or Weights()
    plans = []
    for restart in range(restarts):
        rng = np.random.default_rng((seed, restart))
        pallets, remaining = _fill(order, rules, weights, reachable, max_pallets, tries, rng)
        cost = sum(_cost_of_load(load_of(order, pallet, rules), weights) for pallet in pallets)
        plans.append(((len(remaining), len(pallets), cost), restart, pallets, remaining))
    _, _, pallets, remaining = min(plans, key=lambda plan: plan[:2])
    unplaced = tuple(
        (carton, _reason(order.cartons[carton], rules, len(pallets) >= max_pallets)) for carton in remaining
    )
    if not pallets:
        reason = f"carton {unplaced[0][0] + 1}: {unplaced[0][1]}" if unplaced else "it has no cartons"
        raise InputError(f"order {order.name}: no carton can be placed; {reason}")
    return Plan(tuple(pallets), unplaced)


def _fill(
    order: Order,
    rules: Rules,
    weights: Weights,
    reachable: Reachable | None,
    max_pallets: int,
    tries: int,
    rng: np.random.Generator,
) -> tuple[list[tuple[Placement, ...]], list[int]]:
    """Fill pallet after pallet; also the cartons that are left."""
    remaining = list(range(len(order.cartons)))
    pallets: list[tuple[Placement, ...]] = []
    while remaining and len(pallets) < max_pallets:
        loads = _search(order, remaining, rules, weights, tries, rng)
        best: list[Placement] = loads[0] if loads else []
        if reachable is not None:
            # The search itself ignores the arm, since asking is dear; its best sequences are played again with the arm.
            replays = [_replay(order, load, remaining, rules, weights, reachable) for load in loads[:2]]
            best = max(replays, key=lambda load: _volume(order, [p.carton for p in load]), default=[])
        if not best:
            break
        pallets.append(tuple(best))
        used = {placement.carton for placement in best}
        remaining = [carton for carton in remaining if carton not in used]
    return pallets, remaining


def _search(
    order: Order, remaining: Sequence[int], rules: Rules, weights: Weights, tries: int, rng: np.random.Generator
) -> list[list[Placement]]:
    """Loads made of the remaining cartons, best first."""
    scored = []
    for number in range(tries):
        load, placements = _pack(
            order, _sequence(order, remaining, rng, number), rules, _varied(weights, rng, number), None
        )
        if placements:
            left = 1 - _volume(order, [p.carton for p in placements]) / _volume(order, remaining)
            scored.append((_cost_of_load(load, weights) + weights.left * left, number, placements))
    return [placements for _, _, placements in sorted(scored, key=lambda entry: entry[:2])]


def _replay(
    order: Order,
    load: list[Placement],
    remaining: Sequence[int],
    rules: Rules,
    weights: Weights,
    reachable: Reachable,
) -> list[Placement]:
    """A found load placed again, now with the arm; cartons that it cannot place there are tried elsewhere."""
    sequence = [placement.carton for placement in load]
    sequence += [carton for carton in remaining if carton not in set(sequence)]
    return _pack(order, sequence, rules, weights, reachable)[1]


def _varied(weights: Weights, rng: np.random.Generator, number: int) -> Weights:
    """The weights of one try: the first is as given, the others stress height, contact or the middle differently."""
    if number == 0:
        return weights
    top, apart, inside = np.exp(rng.uniform(-1.0, 1.0, 3))
    return replace(weights, top=weights.top * top, apart=weights.apart * apart, inside=weights.inside * inside)


def _sequence(order: Order, remaining: Sequence[int], rng: np.random.Generator, number: int) -> list[int]:
    """The remaining cartons by priority: heavy, broad and tall ones first, each in a share that is drawn at random."""
    cartons = [order.cartons[i] for i in remaining]
    mass = np.array([c.mass for c in cartons])
    area = np.array([c.size[0] * c.size[1] for c in cartons])
    height = np.array([c.size[2] for c in cartons])
    thin = np.array([max(c.size[2] / c.size[1] - 1.5, 0.0) for c in cartons])
    shares = np.array([1.0, 0.5, 0.3, 2.0]) if number == 0 else rng.uniform((0.4, 0.0, -0.2, 1.0), (1.0, 1.0, 0.6, 3.0))
    key = shares @ np.stack([mass / mass.max(), area / area.max(), height / height.max(), thin])
    key += 0.0 if number == 0 else rng.uniform(0, 0.3, len(cartons))
    return [remaining[i] for i in np.argsort(-key, kind="stable")]


def _pack(
    order: Order, sequence: Sequence[int], rules: Rules, weights: Weights, reachable: Reachable | None
) -> tuple[Load, list[Placement]]:
    """Fill one pallet in the given sequence; cartons that find no place are tried again after the others."""
    load = Load(len(sequence), rules)
    placements: list[Placement] = []
    placed: Placed = []
    waiting = list(sequence)
    while waiting:
        put_off: list[int] = []
        for index in waiting:
            placement = _best_place(load, index, order.cartons[index], weights, reachable, placed)
            if placement is None:
                put_off.append(index)
                continue
            placements.append(placement)
            placed.append((order.cartons[index], placement))
        if len(put_off) == len(waiting):
            break
        waiting = put_off
    steady = _steady(load, weights.row)
    if steady.all():
        return load, placements
    # What would topple comes off again and goes to the next pallet.
    placements = [p for p, keep in zip(placements, steady, strict=True) if keep]
    return load_of(order, placements, rules), placements


def _steady(load: Load, limit: float) -> Bools:
    """Which cartons stay: not those that would topple, nor what stands on them, nor what then lacks a brace."""
    keep = np.ones(load.count, dtype=np.bool_)
    overlap = np.minimum(load.high[:, None, :2], load.high[:, :2]) - np.maximum(load.low[:, None, :2], load.low[:, :2])
    stands_on = (overlap > 0).all(axis=2) & (np.abs(load.low[:, None, 2] - load.high[:, 2]) <= load.rules.level)
    while True:
        rows = slenderness_of_rows(load, keep).max(axis=1)
        topples = keep & (rows > limit) & (load.low[:, 2] > load.rules.level)
        if not topples.any():
            return keep
        last = int(np.flatnonzero(topples)[-1])
        while (above := keep & stands_on[:, last]).any():
            last = int(np.flatnonzero(above)[-1])
        keep[last] = False


def _best_place(
    load: Load, index: int, carton: Carton, weights: Weights, reachable: Reachable | None, placed: Placed
) -> Placement | None:
    """Add the carton to the load at its best position; None if there is none."""
    length, width, height = carton.size
    yaws = (0.0, np.pi / 2) if length > width else (0.0,)
    lows, sizes, alongs = [], [], []
    for yaw in yaws:
        size = np.array([length, width, height] if yaw == 0.0 else [width, length, height])
        low = _corner_points(load, size)
        lows.append(low)
        sizes.append(np.broadcast_to(size, low.shape))
        alongs.append(np.full(len(low), yaw == 0.0))
    low, size, along_x = np.concatenate(lows), np.concatenate(sizes), np.concatenate(alongs)
    kept, found = load.admissible(low, size, carton.mass, along_x)
    low, size, along_x = low[kept], size[kept], along_x[kept]
    cost = _cost_of_positions(load, low, size, found, weights)
    for i in np.argsort(cost, kind="stable")[: 1 if reachable is None else _REACH_CHECKS]:
        x, y, z = (float(v) for v in low[i] + size[i] * (0.5, 0.5, 0.0))
        placement = Placement(index, (x, y, z), 0.0 if along_x[i] else np.pi / 2)
        if reachable is None or reachable(carton, placement, placed):
            load.add(low[i], size[i], carton.mass, found, int(i))
            return placement
    return None


def _corner_points(load: Load, size: Floats) -> Floats:
    """Lower corners worth trying for a carton of the given extents [m], shape (C, 3)."""
    rules = load.rules
    deck = np.array(rules.pallet_size) / 2 + rules.overhang
    low, high = load.low, load.high
    # On the deck: against its edges and against the cartons there, along x and y in all combinations.
    floor = low[:, 2] < rules.level
    axes = []
    for axis in (0, 1):
        edges = np.array([rules.pallet_size[axis] / 2, deck[axis]])
        ends = [-edges, edges - size[axis], high[floor, axis] + rules.gap]
        ends.append(low[floor, axis] - rules.gap - size[axis])
        if size[2] > _THIN * size[axis]:
            ends.append(np.array([-0.2, 0.0, 0.2]) - size[axis] / 2)  # inside, with room for neighbours to hold it
        values = np.unique(np.concatenate(ends).round(6))
        axes.append(values[np.abs(values + size[axis] / 2) <= deck[axis] - size[axis] / 2 + 1e-6])
    grid = np.stack(np.meshgrid(axes[0], axes[1], [0.0], indexing="ij"), axis=-1).reshape(-1, 3)
    if not load.count:
        return grid
    # On one carton, or on two of the same height: flush with an edge, or in the middle.
    near = np.maximum(low[:, None, :2], low[None, :, :2]) - np.minimum(high[:, None, :2], high[None, :, :2])
    apart = near.max(axis=2)
    level = np.abs(high[:, None, 2] - high[None, :, 2]) <= rules.level
    a, b = np.nonzero(np.triu(level & (apart < 0.15)))  # the diagonal: one carton alone
    bottom, top = np.minimum(low[a, :2], low[b, :2]), np.maximum(high[a, :2], high[b, :2])
    height = np.maximum(high[a, 2], high[b, 2])
    flush = np.stack([bottom, top - size[:2], (bottom + top - size[:2]) / 2], axis=1)  # (S, 3, 2)
    # Also with the gap kept from a taller carton that is close.
    i, j = np.nonzero((apart[a] < 0.1) & (high[None, :, 2] > height[:, None] + rules.level))
    beside = np.stack([high[j, :2] + rules.gap, low[j, :2] - rules.gap - size[:2]], axis=1)  # (T, 2, 2)
    points = [grid, _cross(flush[..., 0], flush[..., 1], height)]
    points += [_cross(beside[..., 0], flush[i, :, 1], height[i]), _cross(flush[i, :, 0], beside[..., 1], height[i])]
    return np.concatenate(points)


def _cross(x: Floats, y: Floats, z: Floats) -> Floats:
    """All pairs of x (S, A) and y (S, B) at height z (S,), as points of shape (S * A * B, 3)."""
    shape = (len(z), x.shape[1], y.shape[1])
    parts = (x[:, :, None], y[:, None, :], z[:, None, None])
    return np.stack([np.broadcast_to(part, shape) for part in parts], axis=-1).reshape(-1, 3)


def _cost_of_positions(load: Load, low: Floats, size: Floats, found: Findings, weights: Weights) -> Floats:
    """Cost of C positions, shape (C,)."""
    rules, high = load.rules, low + size
    cost = weights.top * found.top + weights.slender * (found.slenderness / rules.slenderness) ** 2
    cost += weights.bare * (1 - found.support)
    middle = np.abs(low[:, :2] + size[:, :2] / 2) / (np.array(rules.pallet_size) / 2)
    # A slender pile belongs inside, where neighbours hold it on both sides of its thin direction.
    thin = np.maximum(found.top[:, None] / found.widths - 1.5, 0.0)
    cost += weights.border * (np.minimum(thin, 1.0) * middle).max(axis=1)
    cost -= weights.inside * found.top * middle.sum(axis=1)
    if not load.count:
        return cost
    areas = (load.high - load.low)[:, :2].prod(axis=1)
    spare = 1 - size[:, :2].prod(axis=1) / areas[found.main]
    cost += weights.spare * np.where(found.main >= 0, np.maximum(spare, 0.0), 0.0)
    overlap = np.minimum(high[:, None], load.high) - np.maximum(low[:, None], load.low)
    shared = np.maximum(overlap, 0.0)
    sides = np.zeros(len(low))
    levels = np.zeros(len(low), dtype=np.bool_)
    braces = np.zeros(len(low))
    extent = load.high - load.low
    for axis, other in ((0, 1), (1, 0)):
        near = (overlap[..., axis] > -rules.gap - 0.01) & (overlap[..., other] > 0)
        sides += (near * shared[..., other] * shared[..., 2]).sum(axis=1)
        holds = near & (overlap[..., other] > 0.05) & (high[:, None, 2] > load.low[:, 2] + 0.6 * extent[:, 2])
        braces += (holds & (load.low[:, 2] < rules.level) & (extent[:, 2] > _THIN * extent[:, axis])).sum(axis=1)
        levels |= (near & (np.abs(high[:, None, 2] - load.high[:, 2]) <= rules.level)).any(axis=1)
    around = 2 * (size[:, 0] + size[:, 1]) * size[:, 2]
    return cost + weights.apart * (1 - sides / around) - weights.level * levels - weights.brace * braces


def _cost_of_load(load: Load, weights: Weights) -> float:
    """Cost of a finished load."""
    middle = (load.low[:, 2] + load.high[:, 2]) / 2
    return weights.height * float(middle @ load.mass / load.mass.sum()) + weights.lean * lean(load)


def lean(load: Load) -> float:
    """How easily a load topples: the sum over its cartons of the worst slenderness beyond a safe one, squared."""
    return float((np.maximum(slenderness_of_rows(load) - 1.5, 0.0) ** 2).max(axis=1).sum())


def slenderness_of_rows(load: Load, keep: Bools | None = None) -> Floats:
    """Slenderness of the pile under each carton towards +x, -x, +y, -y, shape (n, 4).

    Cartons that lean on close neighbours stand or fall with them: the width that counts is that of the row.
    """
    low, high = load.low, load.high
    here = np.ones(load.count, dtype=np.bool_) if keep is None else keep
    result = np.zeros((load.count, 4))
    overlap = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    for column, (axis, sign) in enumerate(((0, 1), (0, -1), (1, 1), (1, -1))):
        face = high[:, axis] if sign > 0 else -low[:, axis]
        back = low[:, axis] if sign > 0 else -high[:, axis]
        ahead = (
            (back[None, :] >= face[:, None]) & (back[None, :] - face[:, None] < 0.03) & (overlap[..., 1 - axis] > 0.03)
        )
        ahead &= high[None, :, 2] > low[:, None, 2] + 0.6 * (high - low)[:, None, 2]  # reaches up the side far enough
        ahead &= here
        row = np.zeros(load.count)
        for i in np.argsort(-face, kind="stable"):
            if ahead[i].any():
                row[i] = (high - low)[ahead[i], axis].max() + row[ahead[i]].max()
        result[:, column] = load.worst_joint(axis, row)
    return result


def _volume(order: Order, cartons: Sequence[int]) -> float:
    return sum(float(np.prod(order.cartons[i].size)) for i in cartons)


def _reason(carton: Carton, rules: Rules, full: bool) -> str:
    (length, width, height), room = carton.size, rules.height_limit - rules.deck_height
    deck = [side + 2 * rules.overhang for side in rules.pallet_size]
    if length > max(deck) or width > min(deck):
        return f"{length:.3f} x {width:.3f} m is larger than the pallet of {deck[0]:.3f} x {deck[1]:.3f} m"
    if height > room:
        return f"{height:.3f} m is higher than the {room:.3f} m that the height limit leaves above the pallet"
    return (
        "no room on the pallets allowed" if full else "the arm reaches no place for it, or it breaks a rule of stacking"
    )
