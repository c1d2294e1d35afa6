"""What is done to learn about contact: tilting, dropping, pushing, pulling; planned, checked and shown before it runs.

Tilting and dropping are the operator's. Pushing slides a carton along with the side of the gripper, at constant speed,
over the pallet's deck and over another carton. Pulling, dragging and bending tear the gripper off a carton that the
operator holds down: only four of the eight cups seal where the force would be great. All motions stay within the arm's
limits; the greatest force that they can meet is told.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from assets.arms import arm_named
from assets.errors import InputError, unknown
from assets.gripper import PAD
from sim2real.identify.contact_paths import Paths
from sim2real.limits import Limits
from sim2real.robot import RATE
from sim2real.sidechannel import Places, Ware

# The cartons of the experiments, in the order in which they are announced.
BOX, BASE, NARROW = 0, 1, 2
WARES = (Ware((0.30, 0.24, 0.12), 8.0), Ware((0.50, 0.40, 0.20), 12.0), Ware((0.40, 0.15, 0.25), 6.0))
PAIRS = {"cardboard": "surface.cardboard_cardboard.friction", "wood": "surface.cardboard_wood.friction"}
DIRECTIONS = np.deg2rad([0.0, 60.0, -60.0])  # about the pallet's middle, from straight away
TILT_RATE = float(np.deg2rad(2.0))  # [rad/s]
DROPS = (0.015, 0.03, 0.05)  # [m]
PUSH_SPEED, PUSH_TRAVEL = 0.05, 0.13  # [m/s], [m]
PUSH_HEIGHT = 0.075  # [m] of the tool's tip over what the box lies on: only the cups' block touches the box
FREE_RUN = 0.03  # [m] that the tool moves at this speed before it meets the box
KINDS = ("tilt", "drop", "push", "pull", "drag", "bend")
GREATEST_FORCE = 1000.0  # [N]; cups of this size let go long before
# What strains the cups grows to so much of that force, for a bend [m] of lever.
TEARING = {"pull": 1.0, "drag": 0.8, "bend": 0.15}
PRESSING = 0.6  # of the force of a drag, downwards: or bending would peel the cups off before they slide
PRESS = 0.001  # [m] below a carton's top that the lips are sent to: they give 4 mm


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the operator puts a carton before an experiment: middle [m] in the world, heading [rad]."""

    carton: int
    position: tuple[float, float, float]
    yaw: float
    clamped: bool = False


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One thing to do.

    Attributes:
        name: unique.
        kind: "tilt" and "drop" (the operator's), "push", "pull", "drag" and "bend" (the robot's).
        says: one line that tells what will happen.
        on: surface that the carton lies on, for "tilt", "drop" and "push".
        value: direction of a tilt or push [rad], height of a drop [m], axis of a drag or bend (0 x, 1 y).
        placements: what the operator sets up.
        approach: joint targets (k, 6) [rad] at `RATE`, up to where the vacuum is switched on; empty for the operator's.
        motion: joint targets of what is measured, (k, 6).
        retreat: joint targets back to where all begin.
        force, moment: greatest that can act [N], [N m].
    """

    name: str
    kind: str
    says: str
    on: str = ""
    value: float = 0.0
    placements: tuple[Placement, ...] = ()
    approach: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 6)))
    motion: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 6)))
    retreat: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 6)))
    force: float = 0.0
    moment: float = 0.0

    @property
    def seconds(self) -> float:
        """How long the robot moves [s]."""
        return (len(self.approach) + len(self.motion) + len(self.retreat)) / RATE


@dataclasses.dataclass(frozen=True)
class Plan:
    """All experiments, and where they take place.

    Attributes:
        places: the cell's layout.
        ready: joint positions at which every motion begins and ends [rad], (6,).
        experiments: in the order in which they run.
    """

    places: Places
    ready: np.ndarray
    experiments: tuple[Experiment, ...]

    def describe(self) -> list[str]:
        """Return what will happen, a line for each experiment, to be shown before it runs."""
        lines = []
        for e in self.experiments:
            strain = f"{e.moment:.0f} N m" if e.moment else f"{e.force:.0f} N"
            lines.append(f"{e.name}: {e.says}" + (f" ({e.seconds:.0f} s, at most {strain})" if e.seconds else ""))
        return lines


def plan_contact(
    arm: str,
    limits: Limits,
    places: Places,
    kinds: tuple[str, ...] = KINDS,
    greatest_force: float = GREATEST_FORCE,
    stiffness: np.ndarray | None = None,
) -> Plan:
    """Plan the experiments of the given kinds.

    Args:
        arm: name of the arm.
        limits: that every motion keeps to.
        places: the cell's layout.
        kinds: of the experiments, among `KINDS`.
        greatest_force: to which a pull grows if nothing gives way before [N]; drags and bends in proportion. The force
            limit of the robot's own safety has to lie above what the cups bear, or it stops the arm.
        stiffness: of the joints' servos over the nominal ones (6,), if it has been identified.

    Raises:
        InputError: the arm does not reach a place, a motion breaks its limits, or a kind or force that is none.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of contact experiment", kind, KINDS)
    if not 50.0 <= greatest_force <= GREATEST_FORCE:
        raise InputError(f"greatest_force = {greatest_force} N must lie in 50 … {GREATEST_FORCE:g}")
    paths = Paths(arm_named(arm), limits, places, np.ones(6) if stiffness is None else stiffness)
    experiments: list[Experiment] = []
    for on in PAIRS:
        for k, direction in enumerate(DIRECTIONS):
            if "tilt" in kinds:
                angle = float(k * np.pi / 4)
                says = f"operator tilts carton {BOX} on {on} until it slides, downhill at {np.rad2deg(angle):.0f} deg"
                experiments.append(Experiment(f"tilt {on} {k}", "tilt", says, on, angle))
            if "push" in kinds:
                experiments.append(_push(paths, on, k, float(direction)))
        if "drop" in kinds:
            for height in DROPS:
                says = f"operator drops carton {BOX} flat onto {on} from {1000 * height:.0f} mm"
                experiments.append(Experiment(f"drop {on} {1000 * height:.0f} mm", "drop", says, on, height))
    experiments += [_tear(paths, *tear, greatest_force) for tear in _TEARS if tear[0] in kinds]
    return Plan(places, paths.ready, tuple(experiments))


# How the cups are torn: kind, axis, and which way; a pull acts in the middle or beside it.
_TEARS = (
    *(("pull", 0, side) for side in (0, 1, -1)),
    *(("drag", axis, 1) for axis in (0, 1)),
    *(("bend", axis, way) for axis in (0, 1) for way in (1, -1)),
)
BESIDE = 0.06  # [m] from the middle


def _lain(places: Places, on: str, direction: float) -> tuple[list[Placement], float]:
    """What lies under a carton on a surface, and the height of that surface [m]."""
    if on == "wood":
        return [], places.pallet[2]
    height = WARES[BASE].size[2]
    below = Placement(BASE, _raised(np.array(places.pallet), height / 2), direction, True)
    return [below], places.pallet[2] + height


def _push(paths: Paths, on: str, number: int, direction: float) -> Experiment:
    """Slide a box along over the deck or over a carton that is held down."""
    places = paths.places
    middle = np.array(places.pallet)
    along = np.array([np.cos(direction), np.sin(direction), 0.0])
    half = WARES[BOX].size[0] / 2
    placements, ground = _lain(places, on, direction)
    start = middle - 0.5 * PUSH_TRAVEL * along
    rise = ground + WARES[BOX].size[2] / 2 - middle[2]
    placements.append(Placement(BOX, _raised(start, rise), direction))
    yaw = float((direction + np.pi) % np.pi - np.pi / 2)  # the pad's long side across; it looks the same turned round
    touch = start - (half + PAD[1] / 2) * along
    low = ground + PUSH_HEIGHT
    begin, end = touch - FREE_RUN * along, touch + PUSH_TRAVEL * along
    above = low + WARES[BOX].size[2] + 0.10
    approach = paths.through(
        [(*begin[:2], above, yaw), (*begin[:2], low, yaw)], speed=paths.calm_speed, from_ready=True
    )
    motion = paths.through([(*begin[:2], low, yaw), (*end[:2], low, yaw)], speed=PUSH_SPEED)
    back = end - 0.02 * along
    retreat = paths.through(
        [(*end[:2], low, yaw), (*back[:2], low, yaw), (*back[:2], above, yaw)],
        speed=paths.calm_speed,
        to_ready=True,
    )
    force = 1.3 * WARES[BOX].mass * 9.81
    what = "the pallet's deck" if on == "wood" else f"carton {BASE}, which the operator holds down"
    says = (
        f"robot pushes carton {BOX} {1000 * PUSH_TRAVEL:.0f} mm over {what} at {1000 * PUSH_SPEED:.0f} mm/s, "
        f"heading {np.rad2deg(direction):.0f} deg"
    )
    return Experiment(
        f"push {on} {number}", "push", says, on, direction, tuple(placements), approach, motion, retreat, force
    )


def _tear(paths: Paths, kind: str, axis: int, way: int, greatest_force: float) -> Experiment:
    """Tear the cups off a carton that is held down: straight up, sideways, or by bending the pad about `axis`."""
    places = paths.places
    carton = BASE if kind == "bend" else NARROW
    middle, size = np.array(places.pallet), WARES[carton].size
    # The narrow carton lies across the pad, so that only the inner four cups seal.
    yaw = 0.0 if kind == "bend" else float(np.pi / 2)
    x, y, top = float(middle[0]), float(middle[1]), float(middle[2] + size[2])
    above = (x, y, top + 0.10, 0.0)
    approach = paths.through([above, (x, y, top + 0.01, 0.0), (x, y, top - PRESS, 0.0)], speed=0.05, from_ready=True)
    wrench = np.zeros(6)
    strain = TEARING[kind] * greatest_force
    if kind == "pull":
        wrench[2], wrench[4] = strain, way * BESIDE * strain
    elif kind == "drag":
        wrench[axis], wrench[2] = strain, -PRESSING * strain
    else:
        wrench[3 + axis] = way * strain
    motion, relief, wrench = paths.strain(approach[-1], wrench)
    leave = paths.through([(x, y, top - PRESS, 0.0), above], speed=0.05, to_ready=True)
    name = f"{kind} {'-' if way < 0 else ''}{'xy'[axis]}"
    does = {
        "pull": "pulls the cups straight up",
        "drag": f"drags the cups along {'xy'[axis]}",
        "bend": f"bends the cups about their {('long', 'short')[axis]} side",
    }[kind]
    return Experiment(
        f"pull {('in the middle', 'beside', 'beside, other side')[way]}" if kind == "pull" else name,
        kind,
        f"robot {does} until they leave carton {carton}, which the operator holds down",
        value=float(axis),
        placements=(Placement(carton, _raised(middle, size[2] / 2), yaw, True),),
        approach=approach,
        motion=motion,
        retreat=np.concatenate([relief, leave]),
        force=float(np.abs(wrench[:3]).max()),
        moment=float(np.abs(wrench[3:]).max()) if kind == "bend" else 0.0,
    )


def _raised(point: np.ndarray, by: float) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in point)
    return x, y, z + float(by)
