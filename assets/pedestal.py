"""The column under an arm: a flanged steel tube. Its frame: on the floor, in the middle."""

from __future__ import annotations

from assets.asset import Body, Geom

RADIUS = 0.11  # [m]


def pedestal(height: float) -> Body:
    """A column `height` [m] high."""
    return Body(
        name="pedestal",
        geoms=(
            Geom("pedestal_foot", "box", (0.25, 0.25, 0.01), (0, 0, 0.01), look="steel"),
            Geom("pedestal_tube", "cylinder", (RADIUS, height / 2), (0, 0, height / 2), surface="metal", look="steel"),
        ),
    )
