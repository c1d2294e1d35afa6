"""What is sought: knobs of the arm and its tool as a vector, with what is known of each before anything is measured.

Ratios are sought as logarithms, so that half and double are equally far from the estimate; what may be zero (latency,
filter, Stribeck friction, shifts) is sought as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from assets.errors import unknown
from sim.knobs import Rows
from sim2real.identify.model import KNOBS


@dataclasses.dataclass(frozen=True)
class Prior:
    """What is known of a knob beforehand.

    Attributes:
        spread: standard deviation around the nominal value: of the logarithm if `log`, else in the knob's unit.
        log: whether the logarithm is sought.
        least: lower bound where that of the knob has no logarithm, or no effect that could be measured.
    """

    spread: float
    log: bool = True
    least: float = -np.inf


# The estimates in `assets.arms` are guessed from size, for the figures are unpublished: gains better than friction.
PRIORS: dict[str, Prior] = {
    "arm.latency": Prior(0.02, log=False),
    "arm.servo_filter": Prior(0.02, log=False, least=0.001),
    "arm.stiffness": Prior(0.3),
    "arm.servo_damping": Prior(0.3),
    "arm.damping": Prior(0.5),
    "arm.friction": Prior(0.6, least=0.02),
    "arm.armature": Prior(0.4),
    "arm.stribeck": Prior(0.5, log=False),
    "arm.stribeck_velocity": Prior(0.7, least=0.001),
    "tool.mass": Prior(0.3),
    "tool.center_of_mass": Prior(0.03, log=False),
}

DELAY = ("arm.latency", "arm.servo_filter")
JOINTS = ("arm.stiffness", "arm.servo_damping", "arm.damping", "arm.friction", "arm.armature")
STRIBECK = ("arm.stribeck", "arm.stribeck_velocity")
PAYLOAD = ("tool.mass", "tool.center_of_mass")


class Parameters:
    """A vector x over the elements of some knobs, one after another; each element in its prior's scale."""

    def __init__(self, names: Sequence[str]):
        """Seek the knobs `names`, in this order."""
        for name in names:
            if name not in PRIORS:
                raise unknown("knob to identify", name, PRIORS)
        self.names = tuple(names)
        self.sizes = {name: int(np.prod(KNOBS.shape(name))) for name in names}
        self.labels = tuple(
            name if not KNOBS.shape(name) else f"{name}[{i}]" for name in names for i in range(self.sizes[name])
        )
        self.log = np.concatenate([np.full(self.sizes[n], PRIORS[n].log) for n in names])
        self.spread = np.concatenate([np.full(self.sizes[n], PRIORS[n].spread) for n in names])
        low, high = ([self._flat(n, getattr(KNOBS[n], side)) for n in names] for side in ("lower", "upper"))
        least = np.concatenate([np.full(self.sizes[n], PRIORS[n].least) for n in names])
        self.low = self.scaled(np.maximum(np.concatenate(low), least))
        self.high = self.scaled(np.concatenate(high))
        nominal = np.concatenate([self._flat(n, KNOBS[n].nominal) for n in names])
        self.nominal = self.scaled(np.maximum(nominal, least))

    def __len__(self) -> int:
        return len(self.labels)

    def _flat(self, name: str, value: float | tuple[float, ...]) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, np.float64), KNOBS.shape(name)).reshape(-1)

    def where(self, name: str) -> slice:
        """Return where a knob's elements stand in x."""
        at = sum(self.sizes[n] for n in self.names[: self.names.index(name)])
        return slice(at, at + self.sizes[name])

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Return x (..., p) of values in the knobs' units (..., p)."""
        return np.where(self.log, np.log(np.where(self.log, values, 1.0)), values)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Return values in the knobs' units (..., p) of x (..., p)."""
        return np.where(self.log, np.exp(np.where(self.log, x, 0.0)), x)

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """Return by how much a value changes with its x (p,): carries a covariance of x over to the knobs' units."""
        return np.where(self.log, self.values(x), 1.0)

    def knobs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return the knobs' values at x (p,), by name."""
        values = self.values(x)
        return {n: values[self.where(n)].reshape(KNOBS.shape(n)) for n in self.names}

    def vector(self, knobs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return x (p,) at the given values; a knob that is not among them has its nominal one. Within the bounds."""
        flat = [np.asarray(knobs.get(n, KNOBS.nominal(n)), np.float64).reshape(-1) for n in self.names]
        values = np.concatenate(flat)
        low = self.values(self.low)
        return np.clip(self.scaled(np.where(self.log, np.maximum(values, low), values)), self.low, self.high)

    def rows(self, x: np.ndarray, base: Mapping[str, np.ndarray]) -> Rows:
        """Return a row for each of x (n, p); knobs that are not sought stand as in `base`, else at nominal."""
        values = self.values(x)
        columns = {name: np.broadcast_to(value, (len(x), *KNOBS.shape(name))) for name, value in base.items()}
        for name in self.names:
            columns[name] = values[:, self.where(name)].reshape(len(x), *KNOBS.shape(name))
        return Rows(KNOBS, columns, 0, np.arange(len(x)))
