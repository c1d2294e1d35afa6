"""The EPAL 1 pallet (1200 x 800 x 144 mm, 25 kg), board by board, after UIC 435-2.

Its frame, the pallet frame: origin in the middle of the deck's top surface, x along the 1200 mm side, y along the 800
mm side, z up. It has mass and inertia, and stands fixed unless a scene makes it free.
"""

from __future__ import annotations

import numpy as np

from assets.asset import Body, Geom, Vec3, inertia_tuple

SIZE: Vec3 = (1.2, 0.8, 0.144)  # [m]
MASS = 25.0  # [kg]

BOARD, BLOCK = 0.022, 0.078  # thickness of a board, height of a block [m]
WIDE, NARROW = 0.145, 0.100  # widths of boards and blocks [m]

# Layers from the top down, [m] below the deck's top.
_DECK, _CROSS, _BLOCKS, _BOTTOM = 0.0, BOARD, 2 * BOARD, 2 * BOARD + BLOCK


def epal1() -> Body:
    """The pallet: 5 deck boards, 3 cross boards, 9 blocks, 3 bottom boards; all of them collide."""
    length, width, _ = SIZE
    pieces: list[tuple[str, Vec3, Vec3]] = []  # name, size, centre

    def piece(name: str, size: Vec3, x: float, y: float, top: float) -> None:
        pieces.append((f"pallet_{name}", size, (x, y, -top - size[2] / 2)))

    deck = (WIDE, NARROW, WIDE, NARROW, WIDE)
    gap = (width - sum(deck)) / (len(deck) - 1)
    edge = -width / 2
    for i, board in enumerate(deck):
        piece(f"deck_{i}", (length, board, BOARD), 0, edge + board / 2, _DECK)
        edge += board + gap
    columns = (-(length - WIDE) / 2, 0.0, (length - WIDE) / 2)
    rows = ((-(width - NARROW) / 2, NARROW), (0.0, WIDE), ((width - NARROW) / 2, NARROW))
    for i, x in enumerate(columns):
        piece(f"cross_{i}", (WIDE, width, BOARD), x, 0, _CROSS)
        for j, (y, across) in enumerate(rows):
            piece(f"block_{i}{j}", (WIDE, across, BLOCK), x, y, _BLOCKS)
    for j, (y, across) in enumerate(rows):
        piece(f"bottom_{j}", (length, across, BOARD), 0, y, _BOTTOM)

    sizes = np.array([size for _, size, _ in pieces])
    centers = np.array([center for _, _, center in pieces])
    masses = sizes.prod(axis=1)
    masses *= MASS / masses.sum()
    middle = masses @ centers / MASS
    moments = np.zeros((3, 3))
    for mass, size, offset in zip(masses, sizes, centers - middle, strict=True):
        moments += mass * (np.diag(size @ size - size**2) / 12 + offset @ offset * np.eye(3) - np.outer(offset, offset))
    return Body(
        name="pallet",
        mass=MASS,
        center_of_mass=(float(middle[0]), float(middle[1]), float(middle[2])),
        inertia=inertia_tuple(moments),
        geoms=tuple(
            Geom(name, "box", (a / 2, b / 2, c / 2), center, surface="wood", look="pallet_wood")
            for name, (a, b, c), center in pieces
        ),
    )
