"""Cartons as goods: the slots of the template, their knobs, and where these act.

Nominal values and their sources: carton sizes and densities, BED-BPP sample orders (Kagerer et al. 2023); friction, CTU
Code appendix 2 (cardboard on cardboard and on wooden pallets 0.5).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from assets.asset import Body
from assets.carton import PARTS, carton, carton_geoms, carton_inertia
from assets.errors import InputError
from assets.looks import CARDBOARDS, WOODS
from sim.apply import block, paint
from sim.knobs import Knob, Rows
from sim.scene import set_texture

if TYPE_CHECKING:
    from sim.worlds import Worlds

TEMPLATE_SIZE = (0.4, 0.3, 0.24)  # [m] of the carton that is compiled; rows give every slot its own
LARGEST_CARTON = (0.60, 0.40, 0.36)  # [m] BED-BPP sample

CARTON_KNOBS = (
    Knob("carton.count", "1", 1, 64, 12, "how many cartons the load has", integer=True),
    Knob("carton.size", "m", (0.2, 0.13, 0.05), (0.8, 0.6, 0.5), (0.4, 0.3, 0.24),
         "length, width, height as the order states them", ("slot", 3)),
    Knob("carton.mass", "kg", 0.3, 20, 7.6, "mass as the order states it", ("slot",)),
    Knob("carton.size_error", "m", -0.004, 0.004, 0.0, "true size minus stated size", ("slot", 3)),
    Knob("carton.mass_error", "1", -0.3, 0.3, 0.0, "true mass over stated mass, minus one", ("slot",)),
    Knob("carton.center_of_mass", "1", -0.2, 0.2, 0.0,
         "offset of the centre of mass from the middle, as a share of the size", ("slot", 3)),
    Knob("carton.strength", "N", 200, 10000, 2500, "compression that crushes the carton", ("slot",)),
    Knob("carton.color", "1", 0.3, 1.0, 1.0, "colour that tints the cardboard", ("slot", 3)),
    Knob("carton.texture", "index", 0, 7, 0, "which cardboard texture", ("slot",), integer=True),
    Knob("surface.cardboard_cardboard.friction", "1", 0.2, 0.9, 0.5, "friction between cartons"),
    Knob("surface.cardboard_wood.friction", "1", 0.2, 0.9, 0.5, "friction between carton and pallet"),
    Knob("surface.cardboard_belt.friction", "1", 0.3, 1.2, 0.7, "friction between carton and conveyor belt"),
    Knob("surface.cardboard_floor.friction", "1", 0.2, 0.9, 0.5, "friction between carton and floor"),
    Knob("sensor.carton_position_noise", "m", 0.0, 0.004, 0.001, "standard deviation of detected carton positions"),
    Knob("sensor.carton_yaw_noise", "rad", 0.0, 0.02, 0.003, "standard deviation of detected carton headings"),
    Knob("pallet.color", "1", 0.4, 1.0, 1.0, "tint of the wood", (3,)),
    Knob("pallet.texture", "index", 0, 3, 0, "which wood", integer=True),
)  # fmt: skip


def carton_size(rows: Rows) -> np.ndarray:
    """Return the true sizes [m], (n, slots, 3): what the order says plus what the maker got wrong."""
    return rows["carton.size"] + rows["carton.size_error"]


def carton_mass(rows: Rows) -> np.ndarray:
    """Return the true masses [kg], (n, slots): what the order says plus what the packer got wrong."""
    return rows["carton.mass"] * (1.0 + rows["carton.mass_error"])


@dataclasses.dataclass(frozen=True)
class Cartons:
    """So many cartons, as `sim.scene.Goods`; the vacuum may hold each."""

    slots: int

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise InputError(f"a scene needs at least one carton slot, got {self.slots}")

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The slots."""
        return tuple(carton(f"slot{i}", TEMPLATE_SIZE, 5.0, look=f"carton{i}") for i in range(self.slots))

    @property
    def grips(self) -> tuple[str, ...]:
        """The box of every carton."""
        return tuple(f"slot{i}_box" for i in range(self.slots))

    def prepare(self, spec: mujoco.MjSpec) -> None:
        """Add a material for each carton."""
        for i in range(self.slots):
            material = spec.add_material(name=f"carton{i}", rgba=[1, 1, 1, 1], specular=0.1, shininess=0.1)
            set_texture(material, CARDBOARDS[0], 0.4)

    def write(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        """Write the cartons' knobs and those of what they stand on."""
        self._bodies(worlds, rows, ids)
        self._friction(worlds, rows, ids)
        materials = [f"carton{i}" for i in range(self.slots)]
        paint(worlds, materials, CARDBOARDS, rows["carton.texture"], rows["carton.color"], ids)
        paint(worlds, WOODS[:1], WOODS, rows["pallet.texture"][:, None], rows["pallet.color"][:, None, :], ids)

    def write_bounds(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        """Nothing: cartons have no meshes."""

    def grip_mass(self, rows: Rows) -> np.ndarray:
        """Return what the order says that the cartons weigh [kg], (n, slots)."""
        return rows["carton.mass"]

    def _bodies(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        scene = worlds.scene
        size, mass = carton_size(rows), carton_mass(rows)
        n, slots, _ = size.shape
        half, position = carton_geoms(size.reshape(-1, 3))
        geoms = block(ids, scene.geoms([f"slot{i}_{part}" for i in range(slots) for part in PARTS]))
        worlds.field("geom_size")[geoms] = half.reshape(n, -1, 3)
        worlds.field("geom_pos")[geoms] = position.reshape(n, -1, 3)
        center = rows["carton.center_of_mass"] * size
        bodies = block(ids, scene.slot_bodies)
        worlds.field("body_mass")[bodies] = mass
        worlds.field("body_ipos")[bodies] = center
        inertia = carton_inertia(size.reshape(-1, 3), mass.reshape(-1), center.reshape(-1, 3))
        worlds.field("body_inertia")[bodies] = inertia.reshape(n, slots, 3)

    def _friction(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        scene = worlds.scene
        friction = worlds.field("geom_friction")
        friction[block(ids, scene.grips, [0])] = rows["surface.cardboard_cardboard.friction"][:, None, None]
        for surface, knob in (("wood", "cardboard_wood"), ("belt", "cardboard_belt"), ("floor", "cardboard_floor")):
            if surface in scene.surfaces:
                friction[block(ids, scene.surfaces[surface], [0])] = rows[f"surface.{knob}.friction"][:, None, None]
