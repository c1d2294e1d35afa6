"""The vacuum gripper: a pad of 4 x 2 bellows cups on a housing, made to lift cartons from above.

Frame of the root: the arm's flange, z out of it. Its child `cups` carries the frame `suction` in the middle of the
cups' lip plane, z towards the carton: a force and torque sensor there reads the suction wrench.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from assets.asset import Body, Frame, Geom, box_inertia

LENGTH = 0.20  # from the flange to the cups' lips [m]
PAD = (0.24, 0.12)  # length and width of the pad [m]
MASS = 2.5  # [kg], of which the cups are:
CUPS_MASS = 0.2
# The lips give this much before the rigid collision box behind them touches [m]: a bellows cup's working stroke.
LIP_STROKE = 0.004

# Depth of the pad's underside and of the housing's top below the flange [m].
_PAD_BOTTOM, _HOUSING_TOP = 0.147, 0.085


@dataclass(frozen=True)
class Cups:
    """What the cups hold. Positions are in the frame `suction`.

    Attributes:
        positions: centres of the cups [m], (8, 2).
        radius: of a lip [m].
        vacuum: pressure below the ambient [Pa]; 60 kPa is what an ejector reaches on a tight surface.
        efficiency: part of vacuum times area that holds on leaky cardboard: an estimate, and a knob.
        overhang: how far a carton may stick out beyond each end of the pad [m].
    """

    positions: NDArray[np.float64] = field(
        default_factory=lambda: np.array([(x, y) for x in (-0.094, -0.032, 0.032, 0.094) for y in (-0.036, 0.036)])
    )
    radius: float = 0.024
    vacuum: float = 60e3
    efficiency: float = 0.75
    overhang: float = 0.25

    @property
    def max_force(self) -> float:
        """Pull that breaks one cup's hold [N]."""
        return self.vacuum * self.efficiency * float(np.pi) * self.radius**2

    @property
    def max_moment(self) -> tuple[float, float]:
        """Moments about the pad's x and y axes at which the outermost cup lets go [N m].

        The cups share a moment like springs, by their distance from the middle: M = force * sum(distance^2) / farthest.
        """
        x, y = np.abs(self.positions).T
        return self.max_force * float((y @ y) / y.max()), self.max_force * float((x @ x) / x.max())

    @property
    def max_carton_length(self) -> float:
        """Longest carton the pad may lift [m]."""
        return PAD[0] + 2 * self.overhang


def vacuum_gripper() -> Body:
    """The gripper's bodies: `gripper`, to be attached to the flange, and in it `cups`."""
    cups = Cups()
    length, width = PAD
    steel, dark = "metal", "gripper_dark"
    housing_depth, mast_top = _PAD_BOTTOM - _HOUSING_TOP, 0.020
    housing_middle = (_HOUSING_TOP + _PAD_BOTTOM) / 2
    geoms = (
        Geom("gripper_adapter", "cylinder", (0.050, 0.010), (0, 0, 0.010), look="arm_metal"),
        Geom("gripper_mast", "cylinder", (0.034, 0.035), (0, 0, 0.052), look="gripper_light"),
        Geom("gripper_ejector", "box", (0.022, 0.040, 0.026), (0.050, 0, 0.057), look=dark),
        Geom("gripper_hose", "cylinder", (0.008, 0.030), (-0.050, 0.02, 0.058), look="gripper_accent"),
        Geom("gripper_housing", "box", (length / 2 - 0.006, width / 2 - 0.006, 0.024), (0, 0, 0.110), look=dark),
        Geom(
            "gripper_stripe",
            "box",
            (length / 2 - 0.005, width / 2 - 0.005, 0.004),
            (0, 0, 0.104),
            look="gripper_accent",
        ),
        Geom("gripper_pad", "box", (length / 2, width / 2, 0.0065), (0, 0, _PAD_BOTTOM - 0.0065), look="gripper_light"),
        Geom("gripper_mast_proxy", "capsule", (0.048, 0.010), (0, 0, 0.058), surface=steel, hidden=True),
        Geom(
            "gripper_housing_proxy",
            "box",
            (length / 2, width / 2, housing_depth / 2),
            (0, 0, housing_middle),
            surface=steel,
            hidden=True,
        ),
    )
    # The mast and adapter weigh about a fifth of it, the housing with its ejectors and valves the rest.
    mass = MASS - CUPS_MASS
    return Body(
        name="gripper",
        mass=mass,
        center_of_mass=(0, 0, 0.095),
        inertia=box_inertia((length, width, _PAD_BOTTOM - mast_top), mass),
        geoms=geoms,
        children=(_cups_body(cups),),
    )


def _cups_body(cups: Cups) -> Body:
    """The cups, in a body of their own whose origin is the middle of the lip plane."""
    length, width = PAD
    depth = LENGTH - _PAD_BOTTOM
    geoms: list[Geom] = []
    for i, (x, y) in enumerate(cups.positions.tolist()):
        # A fitting, the bellows and the lip, from the pad down.
        for part, radius, top, bottom, look in (
            ("fitting", 0.009, depth, 0.034, "arm_metal"),
            ("bellows", 0.018, 0.034, 0.008, "cup"),
            ("lip", cups.radius, 0.008, 0.0, "cup"),
        ):
            size = (radius, (top - bottom) / 2)
            geoms.append(Geom(f"cup_{i}_{part}", "cylinder", size, (x, y, -(top + bottom) / 2), look=look))
    half = (depth - LIP_STROKE) / 2
    geoms.append(
        Geom(
            "cups_proxy",
            "box",
            (length / 2, width / 2, half),
            (0, 0, -LIP_STROKE - half),
            surface="rubber",
            hidden=True,
        )
    )
    return Body(
        name="cups",
        position=(0, 0, LENGTH),
        mass=CUPS_MASS,
        center_of_mass=(0, 0, -depth / 2),
        inertia=box_inertia((length, width, depth), CUPS_MASS),
        geoms=tuple(geoms),
        frames=(Frame("suction"),),
    )
