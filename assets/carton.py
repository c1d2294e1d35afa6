"""A closed cardboard carton: one box that collides, tape along its top and a label on its side that are only seen.

Its frame: origin in the middle of the box, x along its length, y along its width, z up. A scene compiles one template
and gives every world its own sizes: `carton_geoms` says what each geom of the template becomes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assets.asset import Body, Geom, Vec3
from assets.errors import InputError

# The geoms of a carton, in the order of `carton_geoms`, with their looks.
PARTS = {"box": "cardboard", "tape_top": "tape", "tape_front": "tape", "tape_back": "tape", "label": "label"}

TAPE_WIDTH = 0.050  # of common packing tape [m]
TAPE_DROP = 0.060  # how far its ends are folded down the sides [m]
LABEL = (0.105, 0.074)  # an A7 label lying on its side [m]
PROUD = 0.0005  # how far tape and label stand out, so that a camera sees them and not the box [m]


def carton(name: str, size: Vec3, mass: float, center_of_mass: Vec3 = (0.0, 0.0, 0.0), look: str = "cardboard") -> Body:
    """A free carton.

    Args:
        name: prefix of its geoms' names.
        size: length, width and height [m].
        mass: of carton and goods [kg].
        center_of_mass: from the middle of the box [m].
        look: of the cardboard, a name in `assets.looks`.
    """
    if not np.isfinite(mass) or mass <= 0:
        raise InputError(f"carton {name!r}: mass {mass} kg must be positive")
    half, positions = (a[0].tolist() for a in carton_geoms(np.array([size])))
    xx, yy, zz = carton_inertia(np.array([size]), np.array([mass]), np.array([center_of_mass]))[0].tolist()
    return Body(
        name=name,
        mass=mass,
        center_of_mass=center_of_mass,
        inertia=(xx, 0.0, 0.0, yy, 0.0, zz),
        free=True,
        geoms=tuple(
            Geom(
                f"{name}_{part}",
                "box",
                tuple(half[i]),
                tuple(positions[i]),
                surface="cardboard" if part == "box" else None,
                look=look if part == "box" else part_look,
            )
            for i, (part, part_look) in enumerate(PARTS.items())
        ),
    )


def carton_geoms(sizes: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half extents and positions of the geoms `PARTS` for cartons of given sizes.

    Args:
        sizes: length, width, height [m], (n, 3).

    Returns:
        Half extents and positions in the carton's frame [m], each (n, 5, 3).
    """
    full = _sizes(sizes)
    length, width, height = full.T
    half, position = np.empty((len(full), len(PARTS), 3)), np.zeros((len(full), len(PARTS), 3))
    half[:, 0] = full / 2
    tape = np.minimum(TAPE_WIDTH, width / 3) / 2
    drop = np.minimum(TAPE_DROP, height / 3) / 2
    skin = PROUD / 2
    half[:, 1] = np.stack((length / 2 + PROUD, tape, np.full_like(tape, skin)), axis=1)
    position[:, 1, 2] = height / 2 + skin
    for part, sign in ((2, 1), (3, -1)):
        half[:, part] = np.stack((np.full_like(tape, skin), tape, drop), axis=1)
        position[:, part, 0] = sign * (length / 2 + skin)
        position[:, part, 2] = height / 2 - drop
    label_length = np.minimum(LABEL[0], 0.45 * length)
    label_height = np.minimum(LABEL[1], 0.6 * height)
    x, z = length / 2 - 0.7 * label_length, height / 2 - 0.7 * label_height
    half[:, 4] = np.stack((label_length / 2, np.full_like(tape, skin), label_height / 2), axis=1)
    position[:, 4] = np.stack((x, width / 2 + skin, z), axis=1)
    return half, position


def carton_inertia(sizes: ArrayLike, mass: ArrayLike, center_of_mass: ArrayLike) -> NDArray[np.float64]:
    """Moments of inertia of cartons about their centre of mass, along the carton's axes [kg m^2], (n, 3).

    The goods are taken as a solid block that stands against the walls on the heavy side: with the centre of mass c off
    the middle of an edge L, a block L - 2 |c| long. It fits into the carton, has its centre where it should be, and
    gives the inertia of a solid box for c = 0.

    Args:
        sizes: length, width, height [m], (n, 3).
        mass: [kg], (n,).
        center_of_mass: from the middle of the box [m], (n, 3).
    """
    full = _sizes(sizes)
    offset = np.asarray(center_of_mass, np.float64)
    weights = np.asarray(mass, np.float64)
    if offset.shape != full.shape or weights.shape != full.shape[:1]:
        raise InputError(
            f"cartons of sizes {full.shape} need masses of shape {full.shape[:1]} and centres of mass of shape "
            f"{full.shape}, not {weights.shape} and {offset.shape}"
        )
    block = full - 2 * np.abs(offset)
    if not (block > 0).all():
        row = int(np.argmin((block > 0).all(axis=1)))
        raise InputError(f"carton {row} of size {full[row]} m: its centre of mass {offset[row]} m lies outside")
    x, y, z = (block * block).T
    return weights[:, None] / 12 * np.stack((y + z, x + z, x + y), axis=1)


def _sizes(sizes: ArrayLike) -> NDArray[np.float64]:
    full = np.asarray(sizes, np.float64)
    if full.ndim != 2 or full.shape[1] != 3:
        raise InputError(f"carton sizes must have shape (n, 3), not {full.shape}")
    good = (np.isfinite(full) & (full > 0)).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(f"carton {row}: size {full[row]} must be positive and finite [m]")
    return full
