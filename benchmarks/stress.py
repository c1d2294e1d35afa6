"""What the physics survives: variants in which every knob is drawn from all of its bounds.

Half of them run the expert, half random motion, each for 20 simulated seconds. After every control period each world is
looked at from outside: a world that is wrong without having been reported is a silent failure, and none is allowed.

Palletizing begins on a pallet that holds a random part of the load already. Carton sizes and masses are drawn far
beyond what the cell handles: what no plan can hold stays off the pallet, and an order of which nothing can be planned
is counted as refused, with the planner's reason. In tote breakdown no part may pass through a wall, either.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import crew
from benchmarks.common import Figure, add_draws, add_task, arguments, publish, sized, variation_with
from benchmarks.walls import WallWatch
from sim.knobs import Rows
from sim.scene import PARKING
from tasks.palletizing.variants import PALLETS_PER_ORDER
from tasks.simulation import Settings, Simulation

SECONDS = 20.0
VARIANTS = {"palletizing": 2000, "tote_breakdown": 1000}
PERIODS = 10  # on end with deep penetrations
SUNK = -0.05  # [m] goods' centre under the floor


@dataclasses.dataclass(frozen=True)
class Limits:
    """What cannot be in a sound world.

    Attributes:
        speed: of goods [m/s].
        spin: of goods [rad/s].
        joints: of the arm [rad/s].
        energy: kinetic, of one of the goods [J].
        depth: of a penetration [m], in as many periods on end as PERIODS says.
    """

    speed: float = 15.0  # what falls off a full load hits the floor at 5 m/s, the arm throws no faster
    spin: float = 80.0
    joints: float = 12.0  # three times the fastest joint's limit
    energy: float = 1500.0  # 20 kg at 12 m/s
    depth: float = 0.08


LIMITS = {
    "palletizing": Limits(),
    # A small part that falls past an edge spins fast, and the heaviest tote weighs 4 kg; walls are 11 to 25 mm thick.
    "tote_breakdown": Limits(spin=100.0, energy=200.0, depth=0.02),
}


class StateWatch:
    """Looks at the state of each world after every period; remembers the worst and what went wrong unreported."""

    def __init__(self, simulation: Simulation):
        """Watch the worlds of `simulation`."""
        nworld = simulation.worlds.nworld
        self.simulation, self.limits = simulation, LIMITS[simulation.settings.task]
        self.worst = {name: np.zeros(nworld) for name in ("speed", "spin", "joints", "energy", "depth")}
        self.deep = np.zeros(nworld, dtype=np.int64)
        self.wrong: list[str | None] = [None] * nworld
        self._buffer: Any = None

    def begin(self, ids: np.ndarray) -> None:
        """Forget the variants that ran in `ids`."""
        for values in self.worst.values():
            values[ids] = 0.0
        self.deep[ids] = 0
        for i in ids.tolist():
            self.wrong[i] = None

    def __call__(self, seen: dict[str, np.ndarray], ids: np.ndarray) -> None:
        """Look at the worlds `ids`, none of which is reported as broken, and at what the policy has `seen` of them."""
        simulation, limits = self.simulation, self.limits
        worlds, scene, task = simulation.worlds, simulation.scene, simulation.task
        finite = np.isfinite(worlds.qpos[ids]).all(1) & np.isfinite(worlds.qvel[ids]).all(1)
        finite &= np.all([np.isfinite(values).all(1) for values in seen.values()], axis=0)
        position, _ = simulation.cell.poses(ids)
        here = ~(position[..., 0] > PARKING[0] / 2)  # and what is no number is looked at, too
        dofs = scene.slot_dofs[:, None] + np.arange(6)
        velocity = np.where(here[..., None], worlds.qvel[ids[:, None, None], dofs], 0.0)
        linear, turning = (np.sqrt((v * v).sum(-1)) for v in (velocity[..., :3], velocity[..., 3:]))
        inertia = worlds.field("body_inertia")[ids[:, None], scene.slot_bodies].max(-1)
        mass = worlds.field("body_mass")[ids[:, None], scene.slot_bodies]
        now = {
            "speed": linear.max(1),
            "spin": turning.max(1),
            "joints": np.abs(worlds.qvel[ids[:, None], scene.arm_dofs]).max(1),
            "energy": ((mass * linear**2 + inertia * turning**2) / 2).max(1),
            "depth": np.array([self._depth(int(i)) for i in ids]),
        }
        for name, values in now.items():
            self.worst[name][ids] = np.fmax(self.worst[name][ids], values)
        self.deep[ids] = np.where(now["depth"] > limits.depth, self.deep[ids] + 1, 0)
        signs = {
            "state or observation not finite": ~finite,
            "goods too fast": now["speed"] > limits.speed,
            "goods spin too fast": now["spin"] > limits.spin,
            "arm too fast": now["joints"] > limits.joints,
            "goods have too much energy": now["energy"] > limits.energy,
            "lasting deep penetration": self.deep[ids] >= PERIODS,
            "goods under the floor": np.where(here, position[..., 2], 1.0).min(1) < SUNK,
        }
        for k, i in enumerate(ids.tolist()):
            said = [sign for sign, found in signs.items() if found[k]]
            if said and self.wrong[i] is None:
                self.wrong[i] = f"{said[0]} at {task.state.period[i] / 10:g} s"

    def _depth(self, world: int) -> float:
        """Return the deepest penetration in a world [m]."""
        self._buffer = self.simulation.worlds.data(world, self._buffer)
        distance = self._buffer.contact.dist
        return float(max(-distance.min(), 0.0)) if len(distance) else 0.0

    def end(self, world: int) -> dict[str, Any]:
        """Return the worst seen in `world`, and what went wrong there unreported."""
        return {"wrong": self.wrong[world]} | {name: float(values[world]) for name, values in self.worst.items()}


class ToteWatch(StateWatch):
    """Looks at tote breakdown: at the state, and whether parts pass through walls."""

    def __init__(self, simulation: Simulation):
        """Watch the worlds of `simulation`."""
        super().__init__(simulation)
        self.walls = WallWatch(simulation)

    def begin(self, ids: np.ndarray) -> None:
        """Forget the variants that ran in `ids`."""
        super().begin(ids)
        self.walls.begin(ids)

    def end(self, world: int) -> dict[str, Any]:
        """Return the worst seen in `world`, what went wrong there unreported, and what passed through walls."""
        return super().end(world) | {"through": self.walls.through[world]}


WATCHES = {"palletizing": StateWatch, "tote_breakdown": ToteWatch}


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("stress", "Variants with every knob at its widest.")
    add_task(parser, VARIANTS)
    add_draws(parser)
    given = parser.parse_args(words)
    variants = given.draws or sized(given, VARIANTS[given.task], 40, 4)
    seconds = sized(given, SECONDS, SECONDS, 2.0)
    settings = Settings(given.task)
    count = settings.family.count
    drawn = variation_with("widest", {}, given.task).sample(given.seed, np.arange(variants))
    if given.tiny:
        columns = drawn.columns | {count: np.minimum(drawn[count], 4.0)}
        drawn = Rows(drawn.knobs, columns, drawn.seed, drawn.numbers)
    rows, refused = crew.prepare(drawn, settings, first_only=True)
    number = rows.numbers
    if given.task == "palletizing":
        number = number // PALLETS_PER_ORDER
        # Up to 64 cartons may stand there already, more than most loads have: the share of 65 becomes one of the load,
        # so that in every variant there is something left to do.
        share = drawn["pallet.prefill"][np.searchsorted(drawn.numbers, number)] / 65.0
        rows = rows.replaced(pallet__prefill=np.floor(share * rows["carton.count"]))
    outcomes = []
    for first, policy in enumerate(("expert", "random")):
        part = rows.take(np.flatnonzero(number % 2 == first))
        if len(part):
            outcomes += crew.run(part, settings, policy, seconds=seconds, watch=WATCHES[given.task], worlds=12)
    silent = [o for o in outcomes if o.remarks["wrong"] is not None]
    broken = [o for o in outcomes if o.broken is not None]
    details: dict[str, Any] = {
        "refused": refused,
        "quarantined": [dataclasses.asdict(o) for o in broken],
        "silent": [dataclasses.asdict(o) for o in silent],
        "deepest": sorted((o.remarks["depth"] for o in outcomes), reverse=True)[:20],
    }
    figures = [
        Figure("worlds silently broken", float(len(silent)), "worlds", 0, "looked at every 0.1 s", most=True),
        Figure("variants run", float(len(outcomes)), "variants"),
        Figure("worlds quarantined with their row", float(len(broken)), "worlds"),
        Figure("variants refused with a reason", float(len(refused)), "variants", None, "they cannot be prepared"),
    ]
    reasons = Counter(str(o.broken).split(" at time")[0] for o in broken)
    figures += [Figure(f"quarantined: {why}", float(n), "worlds") for why, n in reasons.most_common()]
    if given.task == "tote_breakdown":
        # What flies about in a world that has been given up says nothing.
        pierced = [o for o in outcomes if o.remarks["through"] and o.broken is None]
        parts = float(sum(len({p["part"] for p in o.remarks["through"]}) for o in pierced))
        figures.insert(1, Figure("parts through a wall", parts, "parts", 0, "looked at every 10 ms", most=True))
        details["pierced"] = [dataclasses.asdict(o) for o in pierced]
    figures += [Figure(f"silent: {o.remarks['wrong']}", float(o.variant), "variant") for o in silent[:10]]
    for name, unit in (("speed", "m/s"), ("spin", "rad/s"), ("joints", "rad/s"), ("energy", "J"), ("depth", "m")):
        seen = [o.remarks[name] for o in outcomes if o.broken is None]
        figures.append(Figure(f"greatest {name} in a sound world", max(seen), unit))
    half = "half with the expert, half with random motion"
    setting = f"{given.task}, {variants} variants of `widest`, seed {given.seed}, {seconds:g} s each, {half}"
    publish("stress", given, figures, setting, details)


if __name__ == "__main__":
    main()
