"""What a stand-in's arm and cell are really like: drawn from a seed, sealed by a hash, revealed when asked.

Names and units are those of the project's knobs, so that what identification finds can be scored against them. The
ranges are wide enough to matter: with the nominal model the arm is tens of milliradians off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError, unknown

STRUCTURES = ("contained", "richer")

# Name: (lowest, highest, number of values, drawn in log space).
_ARM: dict[str, tuple[float, float, int, bool]] = {
    "arm.damping": (0.5, 2.0, 6, True),
    "arm.friction": (0.4, 2.2, 6, True),
    "arm.armature": (0.6, 1.7, 6, True),
    "arm.stiffness": (0.6, 1.4, 6, True),
    "arm.servo_damping": (0.7, 1.4, 6, True),
    "arm.latency": (0.004, 0.040, 1, False),
    "arm.servo_filter": (0.003, 0.030, 1, False),
    "tool.mass": (0.7, 1.6, 1, True),
    "tool.center_of_mass": (-0.03, 0.03, 3, False),
}
_CELL: dict[str, tuple[float, float, int, bool]] = {
    "surface.cardboard_cardboard.friction": (0.30, 0.65, 1, False),
    "surface.cardboard_wood.friction": (0.30, 0.65, 1, False),
    "surface.cardboard_belt.friction": (0.50, 0.90, 1, False),
    "surface.cardboard_floor.friction": (0.40, 0.70, 1, False),
    "contact.time_constant": (0.006, 0.016, 1, True),
    "contact.damping_ratio": (1.0, 2.5, 1, True),
    "suction.max_force": (350.0, 800.0, 1, True),
    "suction.max_moment": (12.0, 40.0, 2, True),
    "suction.friction": (0.40, 0.80, 1, False),
    "suction.time_constant": (0.006, 0.020, 1, True),
}
# What a worn or badly set up cell has: ends of the ranges above, the slippery and weak ones.
_WEAK: dict[str, tuple[float, float]] = {
    "surface.cardboard_cardboard.friction": (0.22, 0.32),
    "surface.cardboard_wood.friction": (0.22, 0.32),
    "suction.max_force": (150.0, 300.0),
    "suction.max_moment": (6.0, 13.0),
    "suction.friction": (0.30, 0.45),
}
# Structure that the project's model does not have, or not in this form; the names say where it sits.
_RICHER: dict[str, tuple[float, float, int, bool]] = {
    "arm.stribeck": (0.2, 0.8, 6, False),  # part of the Coulomb friction that comes on top of it at standstill
    "arm.stribeck_velocity": (0.02, 0.10, 1, True),  # [rad/s]
    "standin.servo_jitter": (0.0003, 0.0012, 1, False),  # [s] over which the latency of a command scatters
    "standin.encoder_step": (2e-5, 1e-4, 1, True),  # [rad]
    "standin.encoder_bias": (-1e-3, 1e-3, 6, False),  # [rad] of what is reported
    "standin.backlash": (5e-5, 2.5e-4, 6, True),  # [rad] of lost motion between motor and link
    "standin.force_bias": (-2.0, 2.0, 3, False),  # [N] of the flange's sensor
    "standin.torque_bias": (-0.2, 0.2, 3, False),  # [N m]
    "standin.suction_compliance": (0.7, 1.5, 1, True),  # over the cups' nominal give
    "standin.mass_shift": (-0.25, 0.25, 1, False),  # true carton mass over declared, minus one, on average
}


class Sealed(Mapping[str, NDArray[np.float64]]):
    """Sealed parameters: a mapping from a knob's name to its values, (1,), (2,), (3,) or (6,) in the knob's unit.

    Example:
        sealed = Sealed.draw(seed=3, structure="contained")
        sealed["arm.stiffness"]  # six ratios over the figures in assets.arms
        sealed.seal()  # what may be published beforehand
    """

    def __init__(self, seed: int, structure: str, values: Mapping[str, NDArray[np.float64]]) -> None:
        """Hold `values`, drawn with that seed for that structure."""
        self.seed, self.structure = seed, structure
        self._values = dict(values)

    @classmethod
    def draw(cls, seed: int, structure: str = "contained", weak: bool = False) -> Sealed:
        """Draw the parameters of a stand-in.

        Args:
            seed: the same seed, the same arm; each parameter has a stream of random numbers of its own.
            structure: "contained": only what the project's model has too; "richer": with what it has not.
            weak: friction and suction come from the low end, as in a worn or badly set up cell.
        """
        if structure not in STRUCTURES:
            raise unknown("structure of a stand-in", structure, STRUCTURES)
        if seed < 0:
            raise InputError(f"the stand-in's seed must be 0 or more, not {seed}")
        ranges = {**_ARM, **_CELL, **(_RICHER if structure == "richer" else {})}
        if weak:
            ranges |= {name: (*ends, ranges[name][2], ranges[name][3]) for name, ends in _WEAK.items()}
        values = {name: _drawn(seed, name, *how) for name, how in ranges.items()}
        if structure == "contained":
            values["arm.stribeck"] = np.zeros(6)
        return cls(seed, structure, values)

    @classmethod
    def nominal(cls) -> Sealed:
        """The arm exactly as `assets` has it, without latency or filter: for tests."""
        values = {name: np.ones(count) for name, (_, _, count, _) in _ARM.items()}
        values |= {"arm.latency": np.zeros(1), "arm.servo_filter": np.zeros(1), "tool.center_of_mass": np.zeros(3)}
        values["arm.stribeck"] = np.zeros(6)
        values |= {name: np.full(count, (low + high) / 2) for name, (low, high, count, _) in _CELL.items()}
        return cls(0, "contained", values)

    def seal(self) -> str:
        """The hash that may be published before anything is identified: sha256 of what `reveal` will say."""
        return hashlib.sha256(json.dumps(self.reveal(), sort_keys=True).encode()).hexdigest()

    def reveal(self) -> dict[str, Any]:
        """Everything, fit for JSON: `structure`, `values` (a number, or a list of them), and the `salt` of the seal."""
        values = {
            name: float(v[0]) if len(v) == 1 else [float(x) for x in v] for name, v in sorted(self._values.items())
        }
        # The salt keeps a seal from being guessed by hashing likely values; it is revealed with them.
        salt = hashlib.sha256(f"palletlab stand-in {self.seed}".encode()).hexdigest()
        return {"structure": self.structure, "values": values, "salt": salt}

    def number(self, name: str, default: float = 0.0) -> float:
        """The only value of a parameter, or `default` where the structure does not have it."""
        return float(self._values[name][0]) if name in self._values else default

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _drawn(seed: int, name: str, low: float, high: float, count: int, logarithmic: bool) -> NDArray[np.float64]:
    """Values of one parameter, from the stream that belongs to its name."""
    stream = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    share = np.random.Generator(np.random.Philox(key=[seed, stream])).random(count)
    return low * (high / low) ** share if logarithmic else low + (high - low) * share
