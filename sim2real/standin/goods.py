"""What stands and lies in the stand-in's cell: floor, pedestal, pallet, conveyor and room for 24 cartons.

Written for MuJoCo on its own, from the figures in `assets`, and with the stand-in's sealed surfaces: nothing here is
shared with the simulator that identification uses. All of it hangs in the arm's base frame, as the arm does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from assets.asset import Body, Geom
from assets.carton import carton_inertia
from assets.conveyor import conveyor
from assets.errors import InputError
from assets.looks import LOOKS
from assets.pallet import epal1
from assets.pedestal import pedestal
from sim2real.standin.sealed import Sealed

SLOTS = 24
GRAVITY = 9.81  # [m/s2]
ELSEWHERE = 40.0  # [m] where cartons wait that are not in the cell
BELT_STILL = 1e-9  # [m/s]: with a speed of zero the engine would leave the belt's motion out of the model
SHADES = {"cardboard": [0.74, 0.58, 0.40, 1.0], "wood": [0.78, 0.66, 0.48, 1.0], "floor": [0.62, 0.62, 0.60, 1.0]}
# Whose friction counts where two surfaces meet: the higher rank's, of equals the greater.
RANK = {"cardboard": 0, "metal": 0, "rubber": 0, "wood": 1, "belt": 1, "floor": 1}
KINDS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


@dataclasses.dataclass(frozen=True)
class Contacts:
    """How surfaces touch, from the sealed parameters.

    Attributes:
        friction: by surface: of the pair it forms with cardboard.
        solref: time constant [s] and damping ratio of the contacts.
        solimp: their impedance. The richer structure's contacts grow firm over another depth than our model's.
        impratio: of frictional to normal impedance.
    """

    friction: Mapping[str, float]
    solref: tuple[float, float]
    solimp: tuple[float, float, float, float, float]
    impratio: float

    @staticmethod
    def of(sealed: Sealed) -> Contacts:
        """Read the sealed parameters."""
        richer = sealed.structure == "richer"
        return Contacts(
            friction={
                "cardboard": sealed.number("surface.cardboard_cardboard.friction"),
                "wood": sealed.number("surface.cardboard_wood.friction"),
                "belt": sealed.number("surface.cardboard_belt.friction"),
                "floor": sealed.number("surface.cardboard_floor.friction"),
                # The pads and the housing that push a carton: slippery where our model takes them to be grippy.
                "metal": 0.35 if richer else 1.0,
                "rubber": 0.6 if richer else 1.0,
            },
            solref=(sealed.number("contact.time_constant"), sealed.number("contact.damping_ratio")),
            solimp=(0.35, 0.95, 0.00035, 0.5, 2.0) if richer else (0.3, 0.95, 0.0003, 0.5, 2.0),
            impratio=30.0 if richer else 10.0,
        )

    def set_options(self, spec: mujoco.MjSpec) -> None:
        """Choose the engine's contact model."""
        spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, self.impratio
        spec.option.iterations, spec.option.ls_iterations = 50, 50

    def dress(self, geom: mujoco.MjsGeom, surface: str, bits: tuple[int, int] = (1, 1)) -> None:
        """Make a geom collide as `surface` does; `bits` say with what."""
        geom.contype, geom.conaffinity = bits
        geom.priority = RANK[surface]
        geom.friction[0] = self.friction[surface]
        geom.solref, geom.solimp = list(self.solref), list(self.solimp)


@dataclasses.dataclass(frozen=True)
class Stock:
    """The cartons that were announced.

    Attributes:
        size: true lengths, widths, heights [m], (n, 3).
        stated: masses as their papers state them [kg], (n,).
        mass: true masses [kg], (n,).
        offset, yaw: how they come along the conveyor [m], [rad], (n,) each.
    """

    size: np.ndarray
    stated: np.ndarray
    mass: np.ndarray
    offset: np.ndarray
    yaw: np.ndarray

    @staticmethod
    def announced(cartons: Any, mass_error: np.ndarray) -> Stock:
        """Read the list of a `cell.reset`; the packer was wrong by `mass_error` (SLOTS,) about the masses."""
        if not isinstance(cartons, list) or not 1 <= len(cartons) <= SLOTS:
            count = len(cartons) if isinstance(cartons, list) else cartons
            raise InputError(f"cartons: a list of 1 to {SLOTS} is wanted, got {count!r}")
        size, stated, offset, yaw = np.zeros((len(cartons), 3)), *np.zeros((3, len(cartons)))
        for i, carton in enumerate(cartons):
            try:
                size[i], stated[i] = carton["size"], carton["mass"]
                offset[i], yaw[i] = carton.get("offset", 0.0), carton.get("yaw", 0.0)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise InputError(f"cartons[{i}]: size [l, w, h] and mass are wanted, got {carton!r}") from None
            sound = np.isfinite([*size[i], stated[i], offset[i], yaw[i]]).all()
            if not sound or not ((size[i] >= 0.05) & (size[i] <= 0.8)).all() or not 0.3 <= stated[i] <= 30.0:
                raise InputError(f"cartons[{i}]: edges of 0.05 … 0.8 m and 0.3 … 30 kg are wanted, got {carton!r}")
        return Stock(size, stated, stated * (1.0 + mass_error[: len(stated)]), offset, yaw)


def add_goods(spec: mujoco.MjSpec, contacts: Contacts, base_height: float) -> None:
    """Add furniture and waiting cartons to the arm's model, whose base stands at the origin."""
    contacts.set_options(spec)
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    spec.option.sleep_tolerance = 1e-3
    for geom in spec.geoms:  # those of the arm and its tool keep the bits by which they miss each other
        contacts.dress(geom, "rubber" if geom.name == "cups_proxy" else "metal", bits=(geom.contype, geom.conaffinity))
    world = spec.worldbody
    floor = world.add_body(name="floor", pos=[0, 0, -base_height])
    plane = floor.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.5], rgba=SHADES["floor"])
    contacts.dress(plane, "floor")
    for body in (pedestal(base_height), epal1(), conveyor()):
        _add_still(world, body, contacts)
    for i in range(SLOTS):
        at = [ELSEWHERE + 1.2 * (i % 6), 1.2 * (i // 6), 0.0]
        made = world.add_body(name=f"carton{i}", pos=at)
        made.mass, made.ipos, made.inertia = 5.0, [0.0, 0.0, 0.0], [0.05, 0.06, 0.07]
        made.explicitinertial, made.simple = True, False
        made.add_freejoint(name=f"carton{i}")
        box = made.add_geom(
            name=f"carton{i}", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.2, 0.15, 0.12], rgba=SHADES["cardboard"]
        )
        box.mass = 0.0
        contacts.dress(box, "cardboard")
        made.sleep = mujoco.mjtSleepPolicy.mjSLEEP_INIT
        for held_by, name in (("cups", f"hold{i}"), ("floor", f"clamp{i}")):
            tie = spec.add_equality(name=name, type=mujoco.mjtEq.mjEQ_WELD, name1=held_by, name2=f"carton{i}")
            tie.objtype, tie.active = mujoco.mjtObj.mjOBJ_BODY, False
            tie.solref = [0.004, 1.0]


def _add_still(world: mujoco.MjsBody, body: Body, contacts: Contacts) -> None:
    made = world.add_body(name=body.name)
    for geom in body.geoms:
        _add_geom(made, geom, contacts)


def _add_geom(parent: mujoco.MjsBody, geom: Geom, contacts: Contacts) -> None:
    made = parent.add_geom(name=geom.name, type=KINDS[geom.kind], pos=geom.position, quat=geom.quaternion)
    made.size = [*geom.size, *[0.0] * (3 - len(geom.size))]
    made.rgba = SHADES.get(geom.surface or "", LOOKS[geom.look].rgba)
    made.mass = 0.0
    made.group = 3 if geom.hidden else (2 if geom.surface is None else 0)
    made.contype = made.conaffinity = 0
    if geom.surface is not None:
        contacts.dress(made, geom.surface)
    if geom.surface == "belt":
        made.surfacevel[0] = BELT_STILL


def write_carton(model: mujoco.MjModel, body: int, geom: int, size: np.ndarray, mass: float) -> None:
    """Give a carton of the model its size [m] (3,) and mass [kg]; `mj_setConst` has to follow."""
    half = size / 2
    model.geom_size[geom] = half
    model.geom_rbound[geom] = float(np.sqrt((half * half).sum()))
    model.geom_aabb[geom] = [0.0, 0.0, 0.0, *half]
    model.body_mass[body] = mass
    model.body_inertia[body] = carton_inertia(size[None], np.array([mass]), np.zeros((1, 3)))[0]
